//! Texts of a log, made fit for a terminal.
//!
//! A log comes from a guest: its texts are shown without characters that act on a terminal, and cut at some
//! length.

use firmware::utf16;

/// Most characters of a text that are shown.
pub(super) const MAX_TEXT: usize = 200;

/// Text in UTF-16 or in one byte a character, up to its NUL. Line ends stay: it is shown with escapes.
pub(super) fn text(data: &[u8]) -> String {
    // Some loaders log UTF-16 with half of its NUL.
    let whole = data.get(..data.len() & !1).unwrap_or(data);
    let is_ascii = whole.len() >= 2 && whole.chunks_exact(2).all(|unit| matches!(unit, [_, 0]));
    let is_utf16 =
        is_ascii || (data.len() >= 2 && whole.len() == data.len() && data.ends_with(&[0, 0]));
    let text = if is_utf16 {
        utf16::until_nul(whole)
    } else {
        let text = data.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    shown(&text, |character| {
        character == '\n' || !character.is_control()
    })
}

/// True for bytes that are a text and nothing else: printable ASCII, alone or as UTF-16, up to one NUL.
pub(super) fn is_text(data: &[u8]) -> bool {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    let one_byte = data.strip_suffix(&[0]).unwrap_or(data);
    let two_bytes = data.strip_suffix(&[0, 0]).unwrap_or(data);
    let mut units = two_bytes.chunks_exact(2);
    let is_utf16 = two_bytes.len() >= 2
        && units.all(|unit| matches!(unit, [byte, 0] if is_printable(byte)))
        && two_bytes.len().is_multiple_of(2);
    !one_byte.is_empty() && (one_byte.iter().all(is_printable) || is_utf16)
}

/// A text of a guest's that a terminal can show in one line.
pub(super) fn plain(text: &str) -> String {
    shown(text, |character| !character.is_control())
}

/// A text of a guest's without characters that change the direction of writing, and with those control
/// characters alone that are `wanted`; the start of a long one.
fn shown(text: &str, wanted: impl Fn(char) -> bool) -> String {
    let turns = |character: char| matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = text.chars().map(|character| {
        if wanted(character) && !turns(character) {
            character
        } else {
            '\u{fffd}'
        }
    });
    shown.take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_guest_do_not_act_on_a_terminal() {
        assert_eq!(text(b"quiet\0rest"), "quiet");
        assert_eq!(text(b"a\x1b[2Jb\r"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(text(b"q\0u\0i\0\0\0"), "qui");
        assert_eq!(text(b"q\0u\0i\0\0"), "qui");
        assert_eq!(text(&[]), "");
        assert_eq!(
            (text(b"a\n"), plain("a\n")),
            ("a\n".to_owned(), "a\u{fffd}".to_owned())
        );
        assert_eq!(text("a\u{202e}b".as_bytes()), "a\u{fffd}b");
        assert_eq!(text(&[b'x'; 1000]).len(), MAX_TEXT);
    }

    #[test]
    fn a_text_is_told_from_other_bytes() {
        for data in [&b"ACPI DATA"[..], b"ACPI DATA\0", b"a\0b\0\0\0", b"a\0b\0"] {
            assert!(is_text(data), "{data:?}");
        }
        for data in [
            &b""[..],
            b"\0",
            b"\0\0",
            b"a\0b",
            b"a\x01",
            &[0, 0, 0x13, 0xff],
        ] {
            assert!(!is_text(data), "{data:?}");
        }
    }
}
