//! UTF-16LE, in which firmware writes names and paths (UEFI specification, section 1.8.1).

/// The text of these bytes as a person reads it, whatever is wrong with it; half a unit at the end is left out.
pub fn text(bytes: &[u8]) -> String {
    decoded(units(bytes))
}

/// The same up to the first NUL, or all where there is none.
pub fn until_nul(bytes: &[u8]) -> String {
    decoded(units(bytes).take_while(|unit| *unit != 0))
}

fn units(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    let (units, _) = bytes.as_chunks();
    units.iter().map(|unit| u16::from_le_bytes(*unit))
}

fn decoded(units: impl Iterator<Item = u16>) -> String {
    char::decode_utf16(units)
        .map(|one| one.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_replaced_and_what_is_half_left_out() {
        assert_eq!(text(b"d\0b\0"), "db");
        assert_eq!(text(b"d\0\0\0b\0b"), "d\0b");
        assert_eq!(until_nul(b"d\0\0\0b\0"), "d");
        assert_eq!(until_nul(b"\x00\xd8d\0"), "\u{fffd}d");
        assert_eq!(until_nul(b""), "");
    }
}
