//! Which of two names in `cloud.cfg.d` comes later: to Python, to a shell that compares bytes, to one that asks the locale.

/// A byte that is no UTF-8 has this plus its value as its code point in Python's names of files (PEP 383).
const ESCAPED: u32 = 0xdc00;

/// The code points by which Python sorts names.
pub(super) fn code_points(name: &[u8]) -> impl Iterator<Item = u32> {
    name.utf8_chunks().flat_map(|chunk| {
        let escaped = chunk
            .invalid()
            .iter()
            .map(|byte| ESCAPED + u32::from(*byte));
        chunk.valid().chars().map(u32::from).chain(escaped)
    })
}

/// What a locale compares first: letters without their case, and digits; marks are passed over.
fn letters(name: &[u8]) -> impl Iterator<Item = u32> {
    let points = code_points(name).map(|point| match u8::try_from(point) {
        Ok(byte) => u32::from(byte.to_ascii_lowercase()),
        Err(_) => point,
    });
    points.filter(|point| match u8::try_from(*point) {
        Ok(byte) => byte.is_ascii_alphanumeric() || !byte.is_ascii(),
        Err(_) => true,
    })
}

/// True where `name` comes before `later` in each of the orders.
pub fn comes_before(name: &[u8], later: &[u8]) -> bool {
    name < later && code_points(name).lt(code_points(later)) && letters(name).lt(letters(later))
}

/// How many letters Z a name begins with.
pub(super) fn leading_z(name: &[u8]) -> usize {
    letters(name)
        .take_while(|point| *point == u32::from(b'z'))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_before_another_in_each_order_or_it_does_not() {
        let ours = b"99_datasources_override.cfg";
        for before in ["05_logging.cfg", "90_dpkg.cfg", "99-cloud.cfg", "95-ü.cfg"] {
            assert!(comes_before(before.as_bytes(), ours), "{before}");
        }
        for later in [
            "zz-site.cfg",
            "99_fake.cfg",
            "Curtin.cfg",
            "99_datasources_override.cfg",
            // By bytes it comes before, in a locale it does not.
            "99-disable.cfg",
            "ü.cfg",
        ] {
            assert!(!comes_before(later.as_bytes(), ours), "{later}");
        }
        // Python sorts a byte that is no UTF-8 before characters beyond U+FFFF, a shell behind them.
        let (byte, far) = (&b"\xff.cfg"[..], "\u{10000}.cfg".as_bytes());
        assert!(!comes_before(byte, far) && !comes_before(far, byte));
        assert!(code_points(byte).lt(code_points(far)) && byte > far);
    }

    #[test]
    fn leading_letters_are_counted_without_marks() {
        assert_eq!(leading_z(b"zZ-z_a.cfg"), 3);
        assert_eq!(leading_z(b"0z.cfg"), 0);
    }
}
