//! Programs of a few sections, made by hand, with one thing wrong at a time.

use super::*;
use base::storage::{MemoryStorage, Result as StorageResult};

/// Where things stand in the programs of [`Made`], by the layout of PE32+.
mod at {
    pub const POINTER: usize = 0x3c;
    pub const PE: usize = 0x40;
    pub const COFF: usize = 0x44;
    pub const OPTIONAL: usize = 0x58;
    pub const HEADERS_BYTES: usize = OPTIONAL + 60;
    pub const CHECKSUM: usize = OPTIONAL + 64;
    pub const COUNT: usize = OPTIONAL + 108;
    pub const CERTIFICATES: usize = OPTIONAL + 112 + 32;
    pub const SECTIONS: usize = OPTIONAL + 112 + 16 * 8;
}
const HEADERS_BYTES: usize = 512;

/// A program of 2048 bytes, all different enough to tell which of them were hashed.
struct Made(Vec<u8>);

impl Made {
    fn new() -> Self {
        let mut made = Self((0..2048_u32).map(|at| (at * 7 % 251) as u8).collect());
        made.0[..HEADERS_BYTES].fill(0);
        made.put(0, b"MZ");
        made.long(at::POINTER, at::PE);
        made.put(at::PE, b"PE\0\0");
        made.word(at::COFF + 16, 112 + 16 * 8);
        made.word(at::OPTIONAL, 0x20b);
        made.long(at::HEADERS_BYTES, HEADERS_BYTES);
        made.long(at::CHECKSUM, 0x1234_5678);
        made.long(at::COUNT, 16);
        made
    }

    /// The same with sections: name, where their data starts, how many bytes it has.
    fn with(sections: &[(&[u8], usize, usize)]) -> Self {
        let mut made = Self::new();
        made.word(at::COFF + 2, sections.len());
        for (number, (name, start, len_bytes)) in sections.iter().enumerate() {
            let header = at::SECTIONS + 40 * number;
            made.put(header, name);
            made.long(header + 8, *len_bytes);
            made.long(header + 16, *len_bytes);
            made.long(header + 20, *start);
        }
        made
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&mut self, at: usize, number: usize) {
        self.put(at, &u16::try_from(number).unwrap().to_le_bytes());
    }

    fn long(&mut self, at: usize, number: usize) {
        self.put(at, &u32::try_from(number).unwrap().to_le_bytes());
    }

    /// A COFF symbol table of two symbols at `at`, so that the table of names is 36 bytes behind it.
    fn with_names(mut self, at: usize, names: &[u8]) -> Self {
        self.long(at::COFF + 8, at);
        self.long(at::COFF + 12, 2);
        self.long(at + 36, names.len() + 4);
        self.put(at + 40, names);
        self
    }

    fn with_table(mut self, start: usize, len_bytes: usize) -> Self {
        self.long(at::CERTIFICATES, start);
        self.long(at::CERTIFICATES + 4, len_bytes);
        self
    }

    fn read(&self) -> Result<Pe> {
        Pe::read(&MemoryStorage::new(self.0.clone()))
    }

    fn names(&self) -> Vec<String> {
        let sections = self.read().unwrap().sections;
        sections.into_iter().map(|section| section.name).collect()
    }

    fn refusal(&self) -> String {
        self.read().unwrap_err().to_string()
    }

    fn digests(&self, hashes: &[Hash]) -> Result<Vec<Digests>> {
        let file = MemoryStorage::new(self.0.clone());
        Pe::read(&file)?.digests(&file, hashes)
    }

    fn measured(&self) -> Vec<u8> {
        self.digests(&[Hash::Sha256]).unwrap().remove(0).measured
    }

    /// SHA-256 over the headers without what is left out of them, and then these ranges.
    fn hashed(&self, ranges: &[Range<usize>]) -> Vec<u8> {
        let headers = [
            0..at::CHECKSUM,
            at::CHECKSUM + 4..at::CERTIFICATES,
            at::CERTIFICATES + 8..HEADERS_BYTES,
        ];
        let all: Vec<u8> = headers
            .iter()
            .chain(ranges)
            .flat_map(|range| &self.0[range.clone()])
            .copied()
            .collect();
        Hash::Sha256.digest(&all).as_ref().to_vec()
    }
}

#[test]
fn a_long_name_stands_in_the_string_table_behind_the_symbols() {
    let names = b".sbatlevel\0.vendor_cert\0";
    let made = Made::with(&[
        (b"/15", 512, 8),
        (b"/4", 520, 8),
        (b".textbss", 528, 8),
        (b".sbat", 536, 8),
    ])
    .with_names(1024, names);
    assert_eq!(
        made.names(),
        [".vendor_cert", ".sbatlevel", ".textbss", ".sbat"]
    );
    let pe = made.read().unwrap();
    assert_eq!(pe.section(".vendor_cert").unwrap().raw, 512..520);
    // A name that starts within another is the rest of it.
    let inside = Made::with(&[(b"/9", 512, 8)]).with_names(1024, names);
    assert_eq!(inside.names(), ["level"]);
    // The last one may end with the table, without a NUL.
    let last = Made::with(&[(b"/4", 512, 8)]).with_names(1024, b".sbat");
    assert_eq!(last.names(), [".sbat"]);
    // What is no number after the slash is a name like any other.
    let odd = Made::with(&[(b"/", 512, 8), (b"/4x", 520, 8)]).with_names(1024, names);
    assert_eq!(odd.names(), ["/", "/4x"]);
}

#[test]
fn a_long_name_that_is_nowhere_is_refused() {
    let told = |offset: &str| {
        format!(
            "a section's name is at offset {offset} of a table of names that does not reach there"
        )
    };
    let without_table = Made::with(&[(b"/4", 512, 8)]);
    assert_eq!(without_table.refusal(), told("4"));
    for offset in ["0", "3", "9", "9999999"] {
        let name = format!("/{offset}");
        let made = Made::with(&[(name.as_bytes(), 512, 8)]).with_names(1024, b".sbat");
        assert_eq!(made.refusal(), told(offset));
    }
    let mut made = Made::with(&[(b"/4", 512, 8)]).with_names(1024, b".sbat");
    made.long(1024 + 36, 4000);
    assert_eq!(
        made.refusal(),
        "the table of long section names claims 4000 bytes at 0x424, in a file of 2048 bytes"
    );
    made.long(at::COFF + 12, 0xffff_ffff);
    assert_eq!(
        made.refusal(),
        "not a PE program: the string table at 0x12000003ee lies beyond the end of the file"
    );
}

#[test]
fn a_name_cannot_write_to_a_terminal() {
    let made =
        Made::with(&[(b"\x1b[2J\xff", 512, 8), (b"/4", 520, 8)]).with_names(1024, b"\x1b]0;\x07");
    assert_eq!(made.names(), ["\u{fffd}[2J\u{fffd}", "\u{fffd}]0;\u{fffd}"]);
}

#[test]
fn of_two_sections_of_a_name_the_first_counts() {
    let made = Made::with(&[(b".sbat", 1024, 16), (b".sbat", 512, 16)]);
    let pe = made.read().unwrap();
    assert_eq!(pe.section(".sbat").unwrap().raw, 1024..1040);
    let file = MemoryStorage::new(made.0.clone());
    let bytes = pe.section_bytes(&file, ".sbat", 16).unwrap().unwrap();
    assert_eq!(bytes, made.0[1024..1040]);
    assert_eq!(pe.section_bytes(&file, ".linux", 16).unwrap(), None);
    assert_eq!(
        pe.section_bytes(&file, ".sbat", 15)
            .unwrap_err()
            .to_string(),
        "the section .sbat has 16 bytes; at most 15 are read"
    );
}

#[test]
fn directories_must_fill_the_optional_header_also_where_their_size_wraps() {
    // The last two have 2^32 bytes, and 128 more: what 32 bits hold of that would do.
    for count in [15, 17, 0x1fff_fff2, 0x2000_0010] {
        let mut made = Made::new();
        made.long(at::COUNT, count);
        assert_eq!(
            made.refusal(),
            format!(
                "the optional header of 240 bytes does not hold the {count} directories it claims: firmware refuses such a program"
            )
        );
    }
}

#[test]
fn without_a_directory_for_certificates_the_checksum_alone_is_left_out() {
    let mut made = Made::new();
    made.long(at::COUNT, 4);
    made.word(at::COFF + 16, 112 + 4 * 8);
    assert!(!made.read().unwrap().is_signed());
    let all = [
        &made.0[..at::CHECKSUM],
        &made.0[at::CHECKSUM + 4..HEADERS_BYTES],
        &made.0[HEADERS_BYTES..],
    ]
    .concat();
    assert_eq!(made.measured(), Hash::Sha256.digest(&all).as_ref());
}

#[test]
fn bytes_behind_the_sections_are_counted_from_the_sum_of_their_sizes() {
    // A gap in front of the first section and one between the two, which stand in the other order in the file.
    let made = Made::with(&[(b".b", 1280, 256), (b".a", 768, 256)]);
    assert_eq!(
        made.measured(),
        made.hashed(&[768..1024, 1280..1536, 1024..2048])
    );
    // The table is cut from the end.
    let signed = Made::with(&[(b".b", 1280, 256), (b".a", 768, 256)]).with_table(1920, 128);
    assert_eq!(
        signed.measured(),
        signed.hashed(&[768..1024, 1280..1536, 1024..1920])
    );
    // Bytes behind the table shift that over it.
    let behind = Made::with(&[(b".a", 512, 256)]).with_table(1792, 128);
    assert_eq!(behind.read().unwrap().bytes_behind_table(), 128);
    assert_eq!(behind.measured(), behind.hashed(&[512..768, 768..1920]));
    assert_eq!(signed.read().unwrap().bytes_behind_table(), 0);
}

#[test]
fn a_section_without_data_is_not_looked_for() {
    let made = Made::with(&[
        (b".bss", 0xffff_ffff, 0),
        (b".a", 512, 1536),
        (b".c", 600, 0),
    ]);
    assert_eq!(made.names(), [".bss", ".a", ".c"]);
    assert_eq!(made.measured(), made.hashed(&[512..2048, 0..0]));
}

#[test]
fn what_firmware_hashes_is_not_what_shim_takes_for_an_unsigned_program() {
    let made = Made::with(&[(b".a", 512, 256)]);
    let digests = made.digests(&[Hash::Sha256]).unwrap().remove(0);
    assert_eq!(digests.measured, made.hashed(&[512..2048, 0..0]));
    assert_eq!(digests.without_tail, made.hashed(&[512..768, 0..0]));
}

#[test]
fn all_hash_functions_are_fed_in_one_pass() {
    let made = Made::with(&[(b".a", 512, 256)]);
    let hashes = [Hash::Sha384, Hash::Sha256, Hash::Sha512, Hash::Sha1];
    let together = made.digests(&hashes).unwrap();
    let alone = hashes.map(|hash| made.digests(&[hash]).unwrap().remove(0));
    assert_eq!(together, alone);
}

#[test]
fn sections_that_share_bytes_or_lie_outside_are_refused() {
    for (second, offset) in [(512, 0x200), (767, 0x2ff)] {
        let made = Made::with(&[(b".a", 512, 256), (b".b", second, 256)]);
        assert_eq!(
            made.refusal(),
            format!("the sections .a and .b share bytes of the file, from {offset:#x} on")
        );
    }
    assert!(
        Made::with(&[(b".a", 512, 256), (b".b", 768, 256)])
            .read()
            .is_ok()
    );
    for (start, len_bytes) in [(2047, 2), (0, 16), (0xffff_ffff, 0xffff_ffff)] {
        assert_eq!(
            Made::with(&[(b".a", start, len_bytes)]).refusal(),
            format!(
                "the section .a claims {len_bytes} bytes at {start:#x}, in a file of 2048 bytes"
            )
        );
    }
    let mut made = Made::new();
    made.0[HEADERS_BYTES..].fill(0);
    made.word(at::COFF + 2, 60_000);
    assert_eq!(
        made.refusal(),
        "not a PE program: a section header at 0x800 lies beyond the end of the file"
    );
}

#[test]
fn headers_end_within_the_file_and_behind_what_is_left_out_of_the_digest() {
    for (headers_bytes, is_good) in [
        (at::CERTIFICATES + 7, false),
        (at::CERTIFICATES + 8, true),
        (2048, true),
        (2049, false),
    ] {
        let mut made = Made::new();
        made.long(at::HEADERS_BYTES, headers_bytes);
        let refusal = made.read().err().map(|error| error.to_string());
        let told = format!("the headers claim {headers_bytes} bytes, in a file of 2048");
        assert_eq!(refusal, (!is_good).then_some(told));
    }
}

#[test]
fn the_certificate_table_lies_behind_the_sections_and_within_the_file() {
    assert!(!Made::new().with_table(4000, 0).read().unwrap().is_signed());
    assert_eq!(
        Made::new().with_table(2000, 49).refusal(),
        "the certificate table claims 49 bytes at 0x7d0, in a file of 2048 bytes"
    );
    let over = Made::with(&[(b".a", 512, 1024)]).with_table(1024, 1000);
    assert_eq!(
        over.digests(&[Hash::Sha256]).unwrap_err().to_string(),
        "the certificate table has 1000 bytes, but only 512 bytes of the file are left behind headers and sections"
    );
    let mut long = Made::new().with_table(2048, (4 << 20) + 8);
    long.0.resize(2048 + (4 << 20) + 8, 0);
    let file = MemoryStorage::new(long.0);
    let refusal = Pe::read(&file).unwrap().certificate_table(&file);
    assert_eq!(
        refusal.unwrap_err().to_string(),
        "the certificate table has 4194312 bytes; at most 4194304 are read"
    );
}

#[test]
fn what_is_no_program_is_refused() {
    let mut made = Made::new();
    made.0.truncate(95);
    assert_eq!(
        made.refusal(),
        "95 bytes are too few for a PE program, whose headers take 96"
    );
    let mut made = Made::new();
    made.long(at::POINTER, 0xffff_fffe);
    assert_eq!(
        made.refusal(),
        "not a PE program: the PE header at 0xfffffffe lies beyond the end of the file"
    );
    made.long(at::POINTER, 0x80);
    assert_eq!(
        made.refusal(),
        "not a PE program: no PE signature at 0x80, where the DOS header points"
    );
    let mut made = Made::new();
    made.word(at::OPTIONAL, 0x107);
    assert_eq!(
        made.refusal(),
        "not a PE program: the optional header at 0x58 starts with 0x107, which is neither PE32 (0x10b) nor PE32+ (0x20b)"
    );
}

#[test]
fn a_file_without_a_dos_header_begins_with_its_coff_header() {
    let mut made = Made::with(&[(b".a", 512, 256)]);
    made.0.drain(..at::COFF);
    made.0.extend([0; at::COFF]);
    made.long(60 + 20, HEADERS_BYTES - at::COFF);
    assert_eq!(made.names(), [".a"]);
}

/// A file that claims a length, and reads as zeros behind its start.
struct Long(Vec<u8>, u64);

impl ReadAt for Long {
    fn len_bytes(&self) -> u64 {
        self.1
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> StorageResult<()> {
        let start = usize::try_from(offset_bytes).unwrap();
        let rest = self.0.get(start..).unwrap_or_default();
        let rest = rest.iter().chain(std::iter::repeat(&0));
        buffer
            .iter_mut()
            .zip(rest)
            .for_each(|(byte, new)| *byte = *new);
        Ok(())
    }
}

#[test]
fn a_file_that_no_fat_could_hold_is_refused_before_it_is_hashed() {
    let start = Made::with(&[(b".a", 512, 256)]).0;
    assert!(Pe::read(&Long(start.clone(), u64::from(u32::MAX))).is_ok());
    assert_eq!(
        Pe::read(&Long(start, 1 << 32)).unwrap_err().to_string(),
        "4294967296 bytes are more than a boot file can have: a FAT holds no longer file"
    );
}
