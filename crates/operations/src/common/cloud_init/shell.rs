//! Lines as ds-identify sees them: by the shell's `read`, without `-r`.

/// A text without the backslashes that `read` takes out: each keeps what stands behind it, and joins two lines where that is the
/// end of one.
pub fn read(text: &[u8]) -> Vec<u8> {
    let mut seen = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => seen.extend(bytes.next().filter(|next| **next != b'\n')),
            byte => seen.push(*byte),
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_hides_nothing() {
        assert_eq!(
            read(b"data\\source_\\\nlist: [ a\\\\b ]\n\\"),
            b"datasource_list: [ a\\b ]\n"
        );
        assert_eq!(read(b""), b"");
    }
}
