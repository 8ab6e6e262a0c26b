//! Why something of EFI's cannot be read.

use super::signature_list;
use base::storage;

/// Why something of EFI's cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("the file cannot be read")]
    Storage(#[from] storage::Error),

    /// The kernel inside of a unified kernel image cannot be read.
    #[error("the kernel inside of it, its section .linux: {0}")]
    InnerKernel(#[source] Box<Self>),

    /// A file is too short for a program.
    #[error("{file_bytes} bytes are too few for a PE program, whose headers take 96")]
    PeShort {
        /// The file's length.
        file_bytes: u64,
    },
    /// A file is longer than any boot file.
    #[error("{file_bytes} bytes are more than a boot file can have: a FAT holds no longer file")]
    PeLong {
        /// The file's length.
        file_bytes: u64,
    },
    /// A header lies beyond the end of the file.
    #[error("not a PE program: {what} at {offset:#x} lies beyond the end of the file")]
    PeTruncated {
        /// What was to be read.
        what: &'static str,
        /// Where.
        offset: u64,
    },
    /// The DOS header points at something else.
    #[error("not a PE program: no PE signature at {offset:#x}, where the DOS header points")]
    PeSignature {
        /// Where it should be.
        offset: u64,
    },
    /// The optional header is none.
    #[error(
        "not a PE program: the optional header at {offset:#x} starts with {magic:#x}, which is neither PE32 (0x10b) nor PE32+ (0x20b)"
    )]
    PeMagic {
        /// What stands there.
        magic: u16,
        /// Where.
        offset: u64,
    },
    /// The number of directories does not fit the header.
    #[error(
        "the optional header of {optional_bytes} bytes does not hold the {count} directories it claims: firmware refuses such a program"
    )]
    PeDirectories {
        /// Directories claimed.
        count: u32,
        /// Size of the optional header.
        optional_bytes: u16,
    },
    /// The size of all headers is impossible.
    #[error("the headers claim {headers_bytes} bytes, in a file of {file_bytes}")]
    PeHeadersSize {
        /// `SizeOfHeaders`.
        headers_bytes: u64,
        /// The file's length.
        file_bytes: u64,
    },
    /// A section's data does not lie in the file.
    #[error(
        "the section {name} claims {len_bytes} bytes at {start:#x}, in a file of {file_bytes} bytes"
    )]
    SectionPlace {
        /// Its name.
        name: String,
        /// Where its data should start.
        start: u64,
        /// How long it should be.
        len_bytes: u64,
        /// The file's length.
        file_bytes: u64,
    },
    /// Two sections share bytes of the file.
    #[error("the sections {first} and {second} share bytes of the file, from {offset:#x} on")]
    SectionsOverlap {
        /// The one that starts first.
        first: String,
        /// The other.
        second: String,
        /// Where the other starts.
        offset: u64,
    },
    /// A section that must be read is too long.
    #[error("the section {name} has {len_bytes} bytes; at most {max_bytes} are read")]
    SectionTooLong {
        /// Its name.
        name: &'static str,
        /// Its length.
        len_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// The string table does not lie in the file.
    #[error(
        "the table of long section names claims {len_bytes} bytes at {offset:#x}, in a file of {file_bytes} bytes"
    )]
    StringTable {
        /// Where it starts.
        offset: u64,
        /// What it claims.
        len_bytes: u64,
        /// The file's length.
        file_bytes: u64,
    },
    /// A section's long name is not in the string table.
    #[error("a section's name is at offset {offset} of a table of names that does not reach there")]
    LongName {
        /// The offset in the string table.
        offset: u64,
    },

    /// The certificate table does not lie in the file.
    #[error(
        "the certificate table claims {len_bytes} bytes at {offset:#x}, in a file of {file_bytes} bytes"
    )]
    CertificateTableBeyondEnd {
        /// Where it should start.
        offset: u64,
        /// How long it should be.
        len_bytes: u64,
        /// The file's length.
        file_bytes: u64,
    },
    /// The certificate table is absurdly long.
    #[error("the certificate table has {len_bytes} bytes; at most {max_bytes} are read")]
    CertificateTableTooLong {
        /// Its length.
        len_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// The certificate table would lie over sections.
    #[error(
        "the certificate table has {table_bytes} bytes, but only {tail_bytes} bytes of the file are left behind headers and sections"
    )]
    TableOverSections {
        /// The table's length.
        table_bytes: u64,
        /// What is left.
        tail_bytes: u64,
    },
    /// The certificate table ends within an entry's header.
    #[error(
        "the certificate table ends within an entry: {left_bytes} bytes at offset {offset} are no header of 8"
    )]
    CertificateEntryCut {
        /// Where in the table.
        offset: usize,
        /// What is left.
        left_bytes: usize,
    },
    /// A certificate entry has an impossible length.
    #[error(
        "the entry at offset {offset} of the certificate table claims {len_bytes} bytes, with {left_bytes} left and a header of 8"
    )]
    CertificateEntryLength {
        /// Where in the table.
        offset: usize,
        /// What it claims.
        len_bytes: u32,
        /// What is left.
        left_bytes: usize,
    },
    /// A certificate entry is no Authenticode signature.
    #[error(
        "the entry at offset {offset} of the certificate table has revision {revision:#06x} and type {kind}, not 0x0200 and 2 as a signature has"
    )]
    CertificateEntryType {
        /// Where in the table.
        offset: usize,
        /// Its revision.
        revision: u16,
        /// Its type.
        kind: u16,
    },

    /// A program has more signatures than any in life.
    #[error("the certificate table has more than {max} signatures")]
    TooManySignatures {
        /// The limit.
        max: usize,
    },
    /// A signature carries more certificates than any in life.
    #[error("a signature carries more than {max} certificates")]
    TooManyCertificates {
        /// The limit.
        max: usize,
    },

    /// A DER value is not what must stand there.
    #[error("{what} is malformed or missing at byte {offset} of its DER")]
    Asn1 {
        /// What was expected.
        what: &'static str,
        /// Where, from the start of the outermost value.
        offset: usize,
    },
    /// A bit string is not made of whole bytes.
    #[error("{what} is not made of whole bytes")]
    UnusedBits {
        /// What it is.
        what: &'static str,
    },
    /// Bytes follow a certificate.
    #[error("a certificate ends before its {len_bytes} bytes do")]
    BehindCertificate {
        /// What was given as one certificate.
        len_bytes: usize,
    },
    /// The end of a certificate's validity is no date.
    #[error("a certificate's validity does not end at a date")]
    CertificateTime,
    /// A PKCS#7 structure is of another kind.
    #[error("a signature is PKCS#7, but not signed data")]
    NotSignedData,
    /// A PKCS#7 structure has another version.
    #[error("{what} is not of version 1")]
    Pkcs7Version {
        /// Of which structure.
        what: &'static str,
    },
    /// A signature is by several signers.
    #[error("a signature has several signers; firmware takes one")]
    SeveralSigners,
    /// A signature does not carry its signer's certificate.
    #[error("a signature does not carry the certificate of its signer")]
    SignerMissing,
    /// What was signed is no program's digest.
    #[error("a signature is over something else than the digest of a program")]
    NotAuthenticode,
    /// The digest that was signed is by no hash function that is known, or has another length.
    #[error(
        "a signature is over a digest of {digest_bytes} bytes that is not SHA-1, SHA-256, SHA-384 or SHA-512"
    )]
    ImageDigest {
        /// The digest's length.
        digest_bytes: usize,
    },
    /// Of a program no digest by SHA-256 is known.
    #[error("no digest of the program by SHA-256 is known")]
    DigestMissing,

    /// Signature lists that are built into a shim are malformed.
    #[error("a list built into the shim {0}")]
    VendorLists(#[from] signature_list::Error),

    /// `.data.ident` is missing its lines.
    #[error("the section .data.ident names no version of shim")]
    ShimIdent,
    /// A shim's version is none.
    #[error("the version of shim, {text}, is not made of one or two numbers")]
    ShimVersion {
        /// What stands there.
        text: String,
    },
    /// `.vendor_cert` is too short.
    #[error("the section .vendor_cert has {len_bytes} bytes, less than its header of 16")]
    VendorHeader {
        /// Its length.
        len_bytes: usize,
    },
    /// A blob does not lie in `.vendor_cert`.
    #[error(
        "the {what} part of .vendor_cert claims {len_bytes} bytes at {offset}, in a section of {section_bytes} bytes"
    )]
    VendorBlob {
        /// Which of the two.
        what: &'static str,
        /// Where it should start.
        offset: u32,
        /// How long it should be.
        len_bytes: u32,
        /// The section's length.
        section_bytes: usize,
    },
    /// `.sbatlevel` is too short.
    #[error("the section .sbatlevel has {len_bytes} bytes, less than its header of 12")]
    SbatLevelCut {
        /// Its length.
        len_bytes: usize,
    },
    /// `.sbatlevel` is of another version.
    #[error("the section .sbatlevel is of version {version}; only 0 is known")]
    SbatLevelVersion {
        /// Its version.
        version: u32,
    },
    /// A text does not lie in `.sbatlevel`.
    #[error("a level starts at offset {offset} of .sbatlevel, which has {len_bytes} bytes")]
    SbatLevelOffset {
        /// Where, counted from the first offset field.
        offset: u32,
        /// The section's length.
        len_bytes: usize,
    },
    /// A level cannot be compared.
    #[error("the SBAT level's first line is {line:?}, without three fields")]
    LevelFields {
        /// The line.
        line: String,
    },
    /// `.sbat` has a quote in a wrong place.
    #[error("the section .sbat: a quote in a wrong place in record {record}")]
    SbatQuote {
        /// Counted from 1.
        record: usize,
    },
    /// `.sbat` has a line of another form.
    #[error("the section .sbat: record {record} has {count} fields, not 6")]
    SbatFields {
        /// Counted from 1.
        record: usize,
        /// How many fields.
        count: usize,
    },
    /// `.sbat` has a generation that is no number.
    #[error("the section .sbat: the generation in record {record} is {text:?}, not a number")]
    SbatGeneration {
        /// Counted from 1.
        record: usize,
        /// What stands there.
        text: String,
    },
    /// `.sbat` is of another version.
    #[error("the section .sbat is of version {generation}; only 1 is known")]
    SbatVersion {
        /// The generation of the component `sbat`.
        generation: u64,
    },
    /// A GRUB's modules cannot be read.
    #[error("the GRUB modules: {problem}")]
    GrubModules {
        /// What is wrong.
        problem: &'static str,
    },
}
