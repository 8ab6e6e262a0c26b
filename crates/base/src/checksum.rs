//! Checksums that the formats of disks share.

/// CRC-32C (RFC 3720, section 12.1), begun with all ones and *not* inverted at the end, as ext4 keeps it. Others,
/// VHDX for one, keep its complement.
pub fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c_without_the_last_inversion() {
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283); // the check value of CRC-32C (RFC 3720, appendix B.4)
    }
}
