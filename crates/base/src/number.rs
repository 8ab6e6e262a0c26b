//! Lengths and offsets, which are `u64` on disk, `usize` in memory, and of other widths in fields.

const _: () = assert!(usize::BITS == 64, "lengths of disks are held in a usize");

/// A length or an offset, in bytes, as an index in memory. Lossless: the workspace builds for 64 bits only.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a usize has 64 bits, which is checked above"
)]
pub const fn to_usize(bytes: u64) -> usize {
    bytes as usize
}

/// A number in another width, where the caller knows that it fits.
///
/// # Panics
///
/// Where it does not fit: what would be written or measured then is a wrong value, and the error is the caller's.
#[allow(
    clippy::expect_used,
    reason = "a number that does not fit is an error in the program, and must not become another number"
)]
#[track_caller]
pub fn fitting<N, T: TryFrom<N>>(number: N) -> T {
    T::try_from(number)
        .ok()
        .expect("BUG: a number that was to be bounded does not fit its field")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_the_same_number() {
        assert_eq!(fitting::<usize, u8>(255), 255);
        assert_eq!(fitting::<u64, u32>(u64::from(u32::MAX)), u32::MAX);
    }

    #[test]
    #[should_panic(expected = "BUG: a number that was to be bounded does not fit its field")]
    fn what_does_not_fit_becomes_no_other_number() {
        let _: u16 = fitting(65_536_u64);
    }
}
