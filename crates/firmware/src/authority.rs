//! Who signs what guests start: Microsoft's certificates by their digest, and any certificate's name.
//!
//! A stock shim is signed under Microsoft's UEFI CA of 2011, or of 2023, or twice. The 2011 certificates end
//! in 2026; firmware looks at no date and goes on to accept what they signed, but new files are signed under
//! the 2023 ones, and a guest whose db lacks these does not start such a file. Certificates are RFC 5280.
//!
//! Nothing here decides what firmware does: a certificate that cannot be read is reported, not refused.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::fmt;

use aws_lc_rs::digest;

use super::certificate::Name;
use super::der::tag;
use super::{Certificate, Error};

/// A certificate that Microsoft publishes for Secure Boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Microsoft {
    /// "Microsoft Corporation KEK CA 2011": may change db and dbx.
    KekCa2011,
    /// "Microsoft Windows Production PCA 2011": starts Windows.
    WindowsPca2011,
    /// "Microsoft Corporation UEFI CA 2011": starts shims and option ROMs.
    UefiCa2011,
    /// "Microsoft Corporation KEK 2K CA 2023".
    KekCa2023,
    /// "Windows UEFI CA 2023".
    WindowsCa2023,
    /// "Microsoft UEFI CA 2023": starts shims.
    UefiCa2023,
    /// "Microsoft Option ROM UEFI CA 2023": starts option ROMs only.
    OptionRomCa2023,
    /// "Windows OEM Devices PK".
    OemDevicesPk,
}

/// The certificates by the first 8 bytes of the SHA-256 digest of their DER.
const MICROSOFT: [(u64, Microsoft); 8] = [
    (0xa111_7f51_6a32_cefc, Microsoft::KekCa2011),
    (0xe8e9_5f07_33a5_5e8b, Microsoft::WindowsPca2011),
    (0x48e9_9b99_1f57_fc52, Microsoft::UefiCa2011),
    (0x3cd3_f030_9eda_e228, Microsoft::KekCa2023),
    (0x076f_1fea_90ac_2915, Microsoft::WindowsCa2023),
    (0xf612_4e34_125b_ee3f, Microsoft::UefiCa2023),
    (0xe5be_3e64_c6e6_6a28, Microsoft::OptionRomCa2023),
    (0x2f56_9e8e_daf9_657d, Microsoft::OemDevicesPk),
];

/// Which of Microsoft's certificates this is.
pub fn microsoft(certificate: &[u8]) -> Option<Microsoft> {
    let digest = digest::digest(&digest::SHA256, certificate);
    let start = u64::from_be_bytes(*digest.as_ref().first_chunk()?);
    MICROSOFT
        .iter()
        .find(|(known, _)| *known == start)
        .map(|(_, certificate)| *certificate)
}

/// What to call a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The common name of its subject, else all of the subject; without control characters.
    pub subject: String,
    /// The day on which its validity ends. Firmware does not look at it.
    pub valid_to: Date,
}

/// A day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Year.
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
    /// Day, from 1.
    pub day: u8,
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Something not exactly one certificate in DER, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not exactly one certificate in DER: {0}")]
pub struct NoCertificate(String);

impl From<Error> for NoCertificate {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// What to call this certificate.
pub fn describe(certificate: &[u8]) -> Result<Description, NoCertificate> {
    let certificate = Certificate::parse(certificate)?;
    let (kind, time) = certificate.not_after();
    Ok(Description {
        subject: display_name(&certificate.subject()),
        valid_to: day(kind, time).ok_or(Error::CertificateTime)?,
    })
}

/// The day of a `UTCTime` (RFC 5280 section 4.1.2.5.1) or a `GeneralizedTime`.
fn day(kind: u8, time: &[u8]) -> Option<Date> {
    let number = |digits: &[u8]| -> Option<u16> {
        let is_number = digits.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
        text.parse().ok()
    };
    let (year, rest) = time.split_at_checked(if kind == tag::UTC_TIME { 2 } else { 4 })?;
    let year = match (kind, number(year)?) {
        (tag::UTC_TIME, year @ 0..=49) => year.checked_add(2000)?,
        (tag::UTC_TIME, year) => year.checked_add(1900)?,
        (_, year) => year,
    };
    let (month, rest) = rest.split_at_checked(2)?;
    let (day, _) = rest.split_at_checked(2)?;
    let date = Date {
        year,
        month: number(month)?.try_into().ok()?,
        day: number(day)?.try_into().ok()?,
    };
    (matches!(date.month, 1..=12) && matches!(date.day, 1..=31)).then_some(date)
}

/// A name that a terminal can show: whoever made the certificate chose its characters.
fn display_name(name: &Name<'_>) -> String {
    let text = name.common_name().unwrap_or_else(|| name.to_string());
    let shown = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    shown.take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> Vec<u8> {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/data/certificates/"
        );
        std::fs::read(format!("{folder}{name}.der")).unwrap()
    }

    #[test]
    fn microsofts_certificates_are_known_by_their_digest() {
        assert_eq!(
            microsoft(&certificate("microsoft-uefi-ca-2011")),
            Some(Microsoft::UefiCa2011)
        );
        assert_eq!(
            microsoft(&certificate("microsoft-uefi-ca-2023")),
            Some(Microsoft::UefiCa2023)
        );
        assert_eq!(microsoft(&certificate("debian-secure-boot-ca")), None);
        assert_eq!(microsoft(b""), None);
    }

    #[test]
    fn a_certificate_is_called_by_its_common_name() {
        let described = describe(&certificate("microsoft-uefi-ca-2011")).unwrap();
        assert_eq!(described.subject, "Microsoft Corporation UEFI CA 2011");
        assert_eq!(described.valid_to.to_string(), "2026-06-27");
        let mut dateless = certificate("microsoft-uefi-ca-2011");
        let date = dateless.windows(6).position(|bytes| bytes == b"260627");
        dateless[date.unwrap()] = b'x';
        assert_eq!(
            describe(&dateless).unwrap_err().to_string(),
            "not exactly one certificate in DER: a certificate's validity does not end at a date"
        );
        let described = describe(&certificate("debian-secure-boot-ca")).unwrap();
        assert_eq!(described.subject, "Debian Secure Boot CA");
        let organisation = b"\x30\x14\x31\x12\x30\x10\x06\x03\x55\x04\x0a\x0c\x09SnakeOil\x1b";
        assert_eq!(
            display_name(&Name::new(organisation)),
            "O=SnakeOil" // what a name shows has no control characters
        );
        let common_name = b"\x30\x11\x31\x0f\x30\x0d\x06\x03\x55\x04\x03\x0c\x06red\x1b[3";
        assert_eq!(display_name(&Name::new(common_name)), "red\u{fffd}[3");
    }

    #[test]
    fn a_day_is_read_from_both_kinds_of_time() {
        let read = |kind, text: &str| day(kind, text.as_bytes()).map(|day| day.to_string());
        let utc = |text| read(tag::UTC_TIME, text);
        assert_eq!(utc("260627213244Z").unwrap(), "2026-06-27");
        assert_eq!(utc("491231000000Z").unwrap(), "2049-12-31");
        assert_eq!(utc("500101000000Z").unwrap(), "1950-01-01");
        let general = |text| read(tag::GENERALIZED_TIME, text);
        assert_eq!(general("99991231235959Z").unwrap(), "9999-12-31");
        for bad in [
            "",
            "2606",
            "261327213244Z",
            "260632213244Z",
            "26+627213244Z",
        ] {
            assert_eq!(utc(bad), None, "{bad}");
        }
    }

    #[test]
    fn bytes_behind_the_certificate_are_noticed() {
        let mut surplus = certificate("microsoft-uefi-ca-2011");
        surplus.push(0);
        let told = format!(
            "not exactly one certificate in DER: a certificate ends before its {} bytes do",
            surplus.len()
        );
        assert_eq!(describe(&surplus).unwrap_err().to_string(), told);
        assert!(describe(b"").is_err());
    }
}
