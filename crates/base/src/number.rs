//! Lengths and offsets, which are `u64` on disk and `usize` in memory.

const _: () = assert!(usize::BITS == 64, "lengths of disks are held in a usize");

/// A length or an offset, in bytes, as an index in memory. Lossless: the workspace builds for 64 bits only.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a usize has 64 bits, which is checked above"
)]
pub const fn to_usize(bytes: u64) -> usize {
    bytes as usize
}
