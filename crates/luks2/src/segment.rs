//! A segment in the metadata: where the encrypted data lie, and how they are encrypted
//! (LUKS2 On-Disk Format, section 3.3).
//!
//! An image has one segment, from the end of the header to the end of the partition. More occur during a
//! reencryption alone; a container in that state can be looked at and nothing else.

use super::Error;
use super::json::Object;
use super::refusal::{Refusal, supported, valid};

/// A segment that is encrypted with the volume key, or (during a reencryption) not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its number, the name of its member.
    pub number: u32,
    /// First byte, from the start of the container.
    pub offset_bytes: u64,
    /// Length in bytes; `None` reaches to the end of the container.
    pub size_bytes: Option<u64>,
    /// How it is encrypted; `None` for plain data.
    pub crypt: Option<Crypt>,
    /// Marks of a reencryption.
    pub(crate) flags: Vec<String>,
}

/// How a segment is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crypt {
    /// Added to the number of a 512-byte unit to get its tweak.
    pub iv_tweak: u64,
    /// Name of the cipher, in dm-crypt's spelling.
    pub encryption: String,
    /// 512, 1024, 2048 or 4096.
    pub sector_size_bytes: u32,
    /// True with authenticated encryption.
    pub has_integrity: bool,
}

impl Segment {
    pub(crate) fn parse(number: u32, object: &Object) -> Result<Self, Refusal> {
        let kind = object.name("type")?;
        let offset_bytes = object.uint64("offset")?;
        let size_bytes = match object.string("size")?.as_str() {
            "dynamic" => None,
            _ => Some(object.uint64("size")?),
        };
        let crypt = match kind.as_str() {
            "crypt" => Some(Crypt::parse(object)?),
            "linear" => None,
            _ => {
                return Err(Refusal::Unsupported(Error::Value {
                    path: object.path_of("type"),
                    expected: "crypt or linear",
                }));
            }
        };
        Ok(Self {
            number,
            offset_bytes,
            size_bytes,
            crypt,
            flags: object.optional_strings("flags")?,
        })
    }

    /// Checks place and size of the only segment of a container without a reencryption.
    pub(crate) fn check(&self, header_end_bytes: u64) -> Result<(), Refusal> {
        let path = |member: &str| format!("segments.{}.{member}", self.number);
        let sector_bytes = self
            .crypt
            .as_ref()
            .map_or(512, |crypt| u64::from(crypt.sector_size_bytes));
        let multiple_of_512 = |bytes: u64| bytes.is_multiple_of(512);
        valid(multiple_of_512(self.offset_bytes), || Error::Value {
            path: path("offset"),
            expected: "a multiple of 512",
        })?;
        if let Some(size_bytes) = self.size_bytes {
            let whole_sectors = size_bytes > 0 && size_bytes.checked_rem(sector_bytes) == Some(0);
            valid(multiple_of_512(size_bytes) && whole_sectors, || {
                Error::Value {
                    path: path("size"),
                    expected: "dynamic, or a multiple of the sector size above 0",
                }
            })?;
        }
        let behind_header = self.offset_bytes >= header_end_bytes;
        let error = || Error::SegmentOffset {
            number: self.number,
            offset_bytes: self.offset_bytes,
            end_bytes: header_end_bytes,
        };
        // cryptsetup takes offset 0 for a header in a file of its own.
        supported(self.offset_bytes != 0, error)?;
        valid(behind_header, error)?;
        let end = self.offset_bytes.checked_add(self.size_bytes.unwrap_or(0));
        supported(end.is_some(), || Error::Value {
            path: path("size"),
            expected: "small enough for an end below 2^64",
        })?;
        supported(self.flags.is_empty(), || Error::UnfinishedReencryption)?;
        supported(self.crypt.is_some(), || Error::Value {
            path: path("type"),
            expected: "crypt",
        })
    }
}

impl Crypt {
    fn parse(object: &Object) -> Result<Self, Refusal> {
        let sector_size_bytes = object.number("sector_size")?;
        let error = || Error::Value {
            path: object.path_of("sector_size"),
            expected: "512, 1024, 2048 or 4096",
        };
        valid(
            sector_size_bytes >= 512 && sector_size_bytes.is_multiple_of(512),
            error,
        )?;
        supported([512, 1024, 2048, 4096].contains(&sector_size_bytes), error)?;
        if object.text("integrity").is_some() {
            let integrity = object.object("integrity")?;
            integrity.name("type")?;
        }
        Ok(Self {
            iv_tweak: object.uint64("iv_tweak")?,
            encryption: object.name("encryption")?,
            sector_size_bytes,
            has_integrity: object.text("integrity").is_some(),
        })
    }
}
