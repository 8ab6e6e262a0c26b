//! PE images, as firmware loads them: headers, sections with long names, and what is hashed.
//!
//! Microsoft "PE Format", and its "Windows Authenticode Portable Executable Signature Format" for
//! [`Pe::digests`]. A section name of more than 8 bytes stands in the string table behind the COFF symbols
//! and is given as `/` and a decimal offset; the sections that make a shim recognisable are such ones.
//!
//! Reading checks that headers, certificate table and the raw data of every section lie within the file,
//! and that no two sections share bytes. The program's bytes are read once, for hashing, and never held.

use std::fmt;
use std::ops::Range;

use aws_lc_rs::digest::Context;

use super::{Error, Hash, Result};
use base::number::to_usize;
use base::storage::{self, ReadAt};

/// The shortest file whose headers could be read.
const MIN_BYTES: u64 = 96;
/// The longest file that is read: what a FAT can hold.
const MAX_BYTES: u64 = 0xffff_ffff;
/// The longest certificate table that is read.
const MAX_TABLE_BYTES: u64 = 4 << 20;
/// The longest section name that is compared with one that we look for.
const MAX_NAME_BYTES: u64 = 64;
/// The most that a section may be longer in memory than in the file, where it is hashed.
const MAX_ZEROS_BYTES: u64 = 16 << 20;
const CHUNK_BYTES: usize = 1 << 20;

/// A section of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name, from the string table where it is a long one. Bytes that are no UTF-8, and control characters, are
    /// replaced: messages print it.
    pub name: String,
    /// Size in memory, in bytes.
    pub virtual_bytes: u32,
    /// Where its data lies in the file, in bytes; empty where it has none.
    pub raw: Range<u64>,
}

/// The processor that a program is for: the field `Machine` of its COFF header (Microsoft's PE format, "Machine types").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine(pub u16);

impl Machine {
    /// True for x86 of 32 and of 64 bits.
    pub fn is_x86(self) -> bool {
        matches!(self.0, 0x14c | 0x8664)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0x14c => "32-bit x86",
            0x1c2 => "32-bit Arm",
            0x5064 => "64-bit RISC-V",
            0x6264 => "64-bit LoongArch",
            0x8664 => "x86-64",
            0xaa64 => "64-bit Arm",
            other => return write!(f, "machine type {other:#06x}"),
        };
        f.write_str(name)
    }
}

/// The headers of a program, checked against the file they stand in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pe {
    machine: Machine,
    file_bytes: u64,
    headers_bytes: u64,
    checksum: u64,
    /// The directory entry of the certificate table, where the header has room for it.
    certificate_entry: Option<u64>,
    certificate_table: Option<Range<u64>>,
    is_64_bit: bool,
    /// In the order of the section table.
    sections: Vec<Section>,
}

/// The digests of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// The hash function.
    pub hash: Hash,
    /// What is measured, and what a signature is over.
    pub measured: Vec<u8>,
    /// The same without the bytes behind headers and sections: what shim takes for the digest of a
    /// program without a certificate table.
    pub without_tail: Vec<u8>,
}

/// The COFF header, and where the optional header behind it begins.
struct CoffHeader {
    machine: Machine,
    section_count: u16,
    symbols: u32,
    symbol_count: u32,
    optional: u64,
    optional_bytes: u16,
}

impl CoffHeader {
    /// Follows the pointer of a DOS header; a file may begin with the COFF header itself.
    fn read(file: &dyn ReadAt) -> Result<Self> {
        let mut coff = 0;
        if bytes::<2>(file, 0, "the DOS header")? == *b"MZ" {
            let header = u64::from(long(file, 0x3c, "the pointer to the PE header")?);
            if bytes::<4>(file, header, "the PE header")? != *b"PE\0\0" {
                return Err(Error::PeSignature { offset: header });
            }
            coff = sum(header, 4)?;
        }
        let what = "the COFF header";
        Ok(Self {
            machine: Machine(word(file, coff, what)?),
            section_count: word(file, sum(coff, 2)?, what)?,
            symbols: long(file, sum(coff, 8)?, what)?,
            symbol_count: long(file, sum(coff, 12)?, what)?,
            optional_bytes: word(file, sum(coff, 16)?, what)?,
            optional: sum(coff, 20)?,
        })
    }
}

/// What is read of the optional header.
struct OptionalHeader {
    is_64_bit: bool,
    headers_bytes: u64,
    /// Where the checksum lies, which no digest covers.
    checksum: u64,
    certificate_entry: Option<u64>,
}

impl OptionalHeader {
    fn read(file: &dyn ReadAt, coff: &CoffHeader) -> Result<Self> {
        let (start, what) = (coff.optional, "the optional header");
        let magic = word(file, start, what)?;
        let fixed_bytes: u64 = match magic {
            0x10b => 96,
            0x20b => 112,
            _ => {
                return Err(Error::PeMagic {
                    magic,
                    offset: start,
                });
            }
        };
        let headers_bytes = u64::from(long(file, sum(start, 60)?, what)?);
        let directories = sum(start, fixed_bytes)?;
        let count = long(file, sum(start, fixed_bytes.saturating_sub(4))?, what)?;
        // Firmware refuses a header whose size and number of directories disagree.
        let len_bytes = u64::from(count)
            .saturating_mul(8)
            .saturating_add(fixed_bytes);
        if len_bytes != u64::from(coff.optional_bytes) {
            return Err(Error::PeDirectories {
                count,
                optional_bytes: coff.optional_bytes,
            });
        }
        let certificate_entry = (count > 4).then(|| sum(directories, 32)).transpose()?;
        Ok(Self {
            is_64_bit: magic == 0x20b,
            headers_bytes,
            checksum: sum(start, 64)?,
            certificate_entry,
        })
    }

    /// The end of what is hashed of the headers piece by piece, around checksum and certificate entry.
    fn hashed_to(&self) -> Result<u64> {
        match self.certificate_entry {
            Some(entry) => sum(entry, 8),
            None => sum(self.checksum, 4),
        }
    }
}

impl Pe {
    /// Reads and checks the headers.
    pub fn read(file: &dyn ReadAt) -> Result<Self> {
        let file_bytes = file.len_bytes();
        if file_bytes < MIN_BYTES {
            return Err(Error::PeShort { file_bytes });
        }
        if file_bytes > MAX_BYTES {
            return Err(Error::PeLong { file_bytes });
        }
        let coff = CoffHeader::read(file)?;
        let optional = OptionalHeader::read(file, &coff)?;
        let hashed_to = optional.hashed_to()?;
        let headers_bytes = optional.headers_bytes;
        if headers_bytes < hashed_to || headers_bytes > file_bytes {
            return Err(Error::PeHeadersSize {
                headers_bytes,
                file_bytes,
            });
        }
        let certificate_table = match optional.certificate_entry {
            Some(entry) => certificate_table(file, entry)?,
            None => None,
        };
        let names = StringTable::new(file, coff.symbols, coff.symbol_count)?;
        let table = sum(coff.optional, u64::from(coff.optional_bytes))?;
        let sections = (0..u64::from(coff.section_count))
            .map(|index| read_section_header(file, sum(table, index.saturating_mul(40))?, &names))
            .collect::<Result<Vec<_>>>()?;
        refuse_shared_bytes(&sections)?;
        Ok(Self {
            machine: coff.machine,
            file_bytes,
            headers_bytes,
            checksum: optional.checksum,
            certificate_entry: optional.certificate_entry,
            certificate_table,
            is_64_bit: optional.is_64_bit,
            sections,
        })
    }

    /// True for PE32+, the form of 64-bit programs.
    pub fn is_64_bit(&self) -> bool {
        self.is_64_bit
    }

    /// The sections in the order of their table.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The first section of this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The data of the first section of this name, which may be `max_bytes` long at most.
    pub fn section_bytes(
        &self,
        file: &dyn ReadAt,
        name: &'static str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>> {
        let Some(section) = self.section(name) else {
            return Ok(None);
        };
        let len_bytes = section.raw.end.saturating_sub(section.raw.start);
        match usize::try_from(len_bytes) {
            Ok(len) if len_bytes <= max_bytes => Ok(Some(file.read_vec(section.raw.start, len)?)),
            _ => Err(Error::SectionTooLong {
                name,
                len_bytes,
                max_bytes,
            }),
        }
    }

    /// The digest of the first section of this name, as it lies in memory: what the file lacks of its size there is
    /// zeros, 16 MiB at most.
    pub fn section_digest(
        &self,
        file: &dyn ReadAt,
        name: &'static str,
        hash: Hash,
    ) -> Result<Option<Vec<u8>>> {
        let Some(section) = self.section(name) else {
            return Ok(None);
        };
        let virtual_bytes = u64::from(section.virtual_bytes);
        let raw_bytes = section.raw.end.saturating_sub(section.raw.start);
        let zeros = virtual_bytes.saturating_sub(raw_bytes);
        if zeros > MAX_ZEROS_BYTES {
            return Err(Error::SectionTooLong {
                name,
                len_bytes: virtual_bytes,
                max_bytes: raw_bytes.saturating_add(MAX_ZEROS_BYTES),
            });
        }
        let end = sum(section.raw.start, virtual_bytes.min(raw_bytes))?;
        let mut contexts = [Context::new(hash.algorithm())];
        read_through(file, section.raw.start..end, &mut contexts)?;
        let [mut context] = contexts;
        context.update(&vec![0; to_usize(zeros)]);
        Ok(Some(context.finish().as_ref().to_vec()))
    }

    /// The processor that it is for.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// True where the program has a certificate table; what is in it, and whom it convinces, is another matter.
    pub fn is_signed(&self) -> bool {
        self.certificate_table.is_some()
    }

    /// The certificate table, as it is in the file; `None` where the program has no signature.
    pub fn certificate_table(&self, file: &dyn ReadAt) -> Result<Option<Vec<u8>>> {
        let Some(Range { start, end }) = self.certificate_table.clone() else {
            return Ok(None);
        };
        let len_bytes = end.saturating_sub(start);
        match usize::try_from(len_bytes) {
            Ok(len) if len_bytes <= MAX_TABLE_BYTES => Ok(Some(file.read_vec(start, len)?)),
            _ => Err(Error::CertificateTableTooLong {
                len_bytes,
                max_bytes: MAX_TABLE_BYTES,
            }),
        }
    }

    /// How many bytes follow the certificate table; shim refuses a program where there are any.
    pub fn bytes_behind_table(&self) -> u64 {
        let table_end = self.certificate_table.as_ref().map(|table| table.end);
        table_end.map_or(0, |end| self.file_bytes.saturating_sub(end))
    }

    /// The Authenticode digests of the program, one pass for all `hashes`, in their order.
    ///
    /// Left out are the checksum, the certificate table and its directory entry. The bytes behind the
    /// sections are counted from the *sum* of their sizes, so in a file with gaps some bytes are hashed
    /// never and some twice: firmware does the same.
    pub fn digests(&self, file: &dyn ReadAt, hashes: &[Hash]) -> Result<Vec<Digests>> {
        let mut contexts: Vec<Context> = hashes
            .iter()
            .map(|hash| Context::new(hash.algorithm()))
            .collect();
        let mut hash = |range: Range<u64>| read_through(file, range, &mut contexts);
        hash(0..self.checksum)?;
        let mut from = sum(self.checksum, 4)?;
        if let Some(entry) = self.certificate_entry {
            hash(from..entry)?;
            from = sum(entry, 8)?;
        }
        hash(from..self.headers_bytes)?;
        let mut data: Vec<&Range<u64>> = self.sections.iter().map(|section| &section.raw).collect();
        data.sort_by_key(|raw| (raw.start, raw.end));
        let mut done = self.headers_bytes;
        for raw in data {
            hash(raw.clone())?;
            done = sum(done, raw.end.saturating_sub(raw.start))?;
        }
        let without_tail = contexts.clone();
        if self.file_bytes > done {
            let table = self.certificate_table.as_ref();
            let table_bytes = table.map_or(0, |table| table.end.saturating_sub(table.start));
            let end = self.file_bytes.saturating_sub(table_bytes);
            if end < done {
                return Err(Error::TableOverSections {
                    table_bytes,
                    tail_bytes: self.file_bytes.saturating_sub(done),
                });
            }
            read_through(file, done..end, &mut contexts)?;
        }
        let ends = contexts.into_iter().zip(without_tail).zip(hashes);
        Ok(ends
            .map(|((measured, without_tail), hash)| Digests {
                hash: *hash,
                measured: measured.finish().as_ref().to_vec(),
                without_tail: without_tail.finish().as_ref().to_vec(),
            })
            .collect())
    }
}

/// Where the certificate table lies, as its directory entry says.
fn certificate_table(file: &dyn ReadAt, entry: u64) -> Result<Option<Range<u64>>> {
    let start = u64::from(long(file, entry, "the certificate table's entry")?);
    let len_bytes = u64::from(long(file, sum(entry, 4)?, "the certificate table's entry")?);
    if len_bytes == 0 {
        return Ok(None);
    }
    let end = sum(start, len_bytes)?;
    if end > file.len_bytes() {
        return Err(Error::CertificateTableBeyondEnd {
            offset: start,
            len_bytes,
            file_bytes: file.len_bytes(),
        });
    }
    Ok(Some(start..end))
}

fn read_section_header(file: &dyn ReadAt, at: u64, names: &StringTable<'_>) -> Result<Section> {
    let header = bytes::<40>(file, at, "a section header")?;
    let field = |offset: usize| {
        let bytes = header.get(offset..).and_then(|rest| rest.first_chunk());
        u32::from_le_bytes(bytes.copied().unwrap_or_default())
    };
    let short = header.get(..8).unwrap_or_default();
    let short = short.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = match short.strip_prefix(b"/") {
        Some(digits) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            let offset = digits.iter().fold(0_u64, |value, digit| {
                value
                    .saturating_mul(10)
                    .saturating_add(u64::from(digit & 0x0f))
            });
            names.get(offset)?
        }
        _ => text(short),
    };
    let (start, len_bytes) = (u64::from(field(20)), u64::from(field(16)));
    let raw = if len_bytes == 0 {
        0..0
    } else {
        start..sum(start, len_bytes)?
    };
    if raw.end > file.len_bytes() || (len_bytes > 0 && start == 0) {
        return Err(Error::SectionPlace {
            name,
            start,
            len_bytes,
            file_bytes: file.len_bytes(),
        });
    }
    Ok(Section {
        name,
        virtual_bytes: field(8),
        raw,
    })
}

/// The order in which sections that share bytes would be hashed is nowhere written down.
fn refuse_shared_bytes(sections: &[Section]) -> Result<()> {
    let mut data: Vec<&Section> = sections
        .iter()
        .filter(|section| !section.raw.is_empty())
        .collect();
    data.sort_by_key(|section| section.raw.start);
    for pair in data.windows(2) {
        if let [first, second] = pair
            && second.raw.start < first.raw.end
        {
            return Err(Error::SectionsOverlap {
                first: first.name.clone(),
                second: second.name.clone(),
                offset: second.raw.start,
            });
        }
    }
    Ok(())
}

/// The COFF string table, which stands behind the symbols.
struct StringTable<'a> {
    file: &'a dyn ReadAt,
    /// Start and end in the file; `None` where the file has no symbol table.
    place: Option<Range<u64>>,
}

impl<'a> StringTable<'a> {
    fn new(file: &'a dyn ReadAt, symbols: u32, symbol_count: u32) -> Result<Self> {
        let mut place = None;
        if symbols != 0 {
            let start = sum(u64::from(symbols), u64::from(symbol_count) * 18)?;
            let len_bytes = u64::from(long(file, start, "the string table")?);
            let end = sum(start, len_bytes)?;
            if end > file.len_bytes() {
                return Err(Error::StringTable {
                    offset: start,
                    len_bytes,
                    file_bytes: file.len_bytes(),
                });
            }
            place = Some(start..end);
        }
        Ok(Self { file, place })
    }

    /// The name at an offset that counts from the table's length field.
    fn get(&self, offset: u64) -> Result<String> {
        let missing = || Error::LongName { offset };
        let place = self.place.as_ref().ok_or_else(missing)?;
        let start = sum(place.start, offset)?;
        let len_bytes = place.end.saturating_sub(start).min(MAX_NAME_BYTES);
        if offset < 4 || len_bytes == 0 {
            return Err(missing());
        }
        let len_bytes = usize::try_from(len_bytes).map_err(|_| missing())?;
        let bytes = self.file.read_vec(start, len_bytes)?;
        let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(text(name))
    }
}

/// A name of a section, fit to be printed.
fn text(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let printable = name.chars().map(|character| {
        if character.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    });
    printable.collect()
}

/// Feeds a range of the file to all `contexts`.
fn read_through(file: &dyn ReadAt, range: Range<u64>, contexts: &mut [Context]) -> Result<()> {
    let mut at = range.start;
    let mut buffer = Vec::new();
    while at < range.end {
        let left = range.end.saturating_sub(at);
        let len = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        buffer.resize(len, 0);
        file.read_exact_at(&mut buffer, at)?;
        for context in &mut *contexts {
            context.update(&buffer);
        }
        at = sum(at, len as u64)?; // at most CHUNK_BYTES
    }
    Ok(())
}

/// A sum of offsets; what does not fit lies beyond the end of every file.
fn sum(a: u64, b: u64) -> Result<u64> {
    a.checked_add(b).ok_or(Error::PeTruncated {
        what: "an offset",
        offset: u64::MAX,
    })
}

fn bytes<const N: usize>(file: &dyn ReadAt, offset: u64, what: &'static str) -> Result<[u8; N]> {
    let mut buffer = [0; N];
    match file.read_exact_at(&mut buffer, offset) {
        Ok(()) => Ok(buffer),
        Err(storage::Error::BeyondEnd { .. }) => Err(Error::PeTruncated { what, offset }),
        Err(error) => Err(error.into()),
    }
}

fn word(file: &dyn ReadAt, offset: u64, what: &'static str) -> Result<u16> {
    Ok(u16::from_le_bytes(bytes(file, offset, what)?))
}

fn long(file: &dyn ReadAt, offset: u64, what: &'static str) -> Result<u32> {
    Ok(u32::from_le_bytes(bytes(file, offset, what)?))
}

#[cfg(test)]
mod tests;
