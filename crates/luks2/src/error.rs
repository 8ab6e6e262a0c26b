//! What can be wrong with a LUKS2 container, and with what a caller asks of it.

use super::Position;
use base::{secret, storage};

/// An error of this crate; where a byte offset is named, it counts from the start of the container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // --- The world below ---
    /// The container could not be read or written.
    #[error("the LUKS2 container cannot be read or written")]
    Storage(#[from] storage::Error),
    /// No random bytes.
    #[error("no random bytes for the LUKS2 container")]
    Entropy(#[from] secret::EntropyError),
    /// The cipher's library refused a call.
    #[error("the AES-XTS implementation failed")]
    Cipher,

    // --- Keys and sectors ---
    /// AES-256-XTS takes 64 bytes.
    #[error("the key has {len_bytes} bytes, AES-256 in XTS mode takes 64")]
    KeyLength {
        /// The length that was given.
        len_bytes: usize,
    },
    /// XTS with equal halves gives its secrecy away; libraries refuse such keys.
    #[error("both halves of the key are equal, which XTS does not allow")]
    EqualHalves,
    /// Data to encrypt or decrypt must be whole sectors.
    #[error("{len_bytes} bytes are no whole number of sectors of {sector_bytes} bytes")]
    PartialSector {
        /// Length of the data.
        len_bytes: usize,
        /// The sector size.
        sector_bytes: usize,
    },
    /// The sector numbers would wrap around.
    #[error("sector numbers from {first_unit} on run over for {len_bytes} bytes")]
    SectorNumber {
        /// The first number, in units of 512 bytes.
        first_unit: u64,
        /// Length of the data.
        len_bytes: usize,
    },

    // --- The whole ---
    /// Both copies are damaged.
    #[error(
        "no usable LUKS2 header copy: the primary is invalid ({primary}), and so is the secondary ({secondary})"
    )]
    NoValidCopy {
        /// Why the primary is invalid.
        primary: Box<Error>,
        /// Why the secondary is invalid.
        secondary: Box<Error>,
    },
    /// There is a valid secondary, and what lies in the place of the primary is something else.
    #[error(
        "the secondary LUKS2 header copy is valid, and in the place of the primary lies something else than its remains (at offset {offset_bytes:#x})"
    )]
    Remains {
        /// The first byte that no primary of this container has.
        offset_bytes: usize,
    },
    /// The copy that other programs would take holds what this one does not accept.
    #[error("the {position} LUKS2 header copy is refused")]
    Refused {
        /// Which copy.
        position: Position,
        /// What is refused in it.
        source: Box<Error>,
    },
    /// The container ends before its own header does.
    #[error(
        "the LUKS2 header and its keyslots take {needed_bytes} bytes, the container has {len_bytes}"
    )]
    TooShort {
        /// Both header copies and the keyslots area.
        needed_bytes: u64,
        /// Length of the container.
        len_bytes: u64,
    },

    // --- The binary header ---
    /// The magic number is another one.
    #[error("no magic number of a {position} header at offset {offset_bytes:#x}")]
    Magic {
        /// Which copy was expected.
        position: Position,
        /// Where.
        offset_bytes: u64,
    },
    /// The container ends within a header copy.
    #[error("the container ends within the header at offset {offset_bytes:#x}")]
    Truncated {
        /// Where the copy begins.
        offset_bytes: u64,
    },
    /// The version is not 2.
    #[error("the header at offset {offset_bytes:#x} has version {version}, not 2")]
    Version {
        /// Where.
        offset_bytes: u64,
        /// The version that it claims.
        version: u16,
    },
    /// The header names another place than the one where it lies.
    #[error("the header at offset {offset_bytes:#x} says that it lies at {claimed_bytes:#x}")]
    HeaderOffset {
        /// Where it lies.
        offset_bytes: u64,
        /// Where it claims to lie.
        claimed_bytes: u64,
    },
    /// A header size that LUKS2 does not have.
    #[error(
        "the header at offset {offset_bytes:#x} claims a size of {claimed_bytes} bytes; sizes are 16 KiB times a power of two, up to 4 MiB"
    )]
    HeaderSize {
        /// Where.
        offset_bytes: u64,
        /// The size that it claims.
        claimed_bytes: u64,
    },
    /// A checksum that nobody here can compute.
    #[error("the header at offset {offset_bytes:#x} names an unknown checksum algorithm")]
    ChecksumAlgorithm {
        /// Where.
        offset_bytes: u64,
    },
    /// The checksum does not match.
    #[error("the checksum of the header at offset {offset_bytes:#x} is wrong")]
    Checksum {
        /// Where.
        offset_bytes: u64,
    },

    // --- The text of the metadata ---
    /// The JSON area must begin with `{`.
    #[error("the JSON area does not begin with an opening brace")]
    TextStart,
    /// A NUL must follow the text, and nothing but NULs.
    #[error(
        "the JSON area holds other bytes than NUL behind its text, at offset {offset_bytes} of the area"
    )]
    TextEnd {
        /// Offset within the JSON area.
        offset_bytes: usize,
    },
    /// The text fills the area: the NUL that ends it is missing.
    #[error("the JSON text fills its area of {area_bytes} bytes, no NUL ends it")]
    TextUnterminated {
        /// Length of the area.
        area_bytes: usize,
    },
    /// Text that is no UTF-8.
    #[error("the JSON text is not UTF-8 at offset {offset_bytes} of its area")]
    TextNotUtf8 {
        /// Offset within the JSON area.
        offset_bytes: usize,
    },
    /// Text that RFC 8259 does not allow.
    #[error("{path}: not valid JSON ({reason})")]
    Json {
        /// The member, as names joined by dots.
        path: String,
        /// What the JSON parser says.
        reason: serde_json::Error,
    },
    /// A NUL within a string ends it for some readers and not for others.
    #[error("{path}: a string with a NUL character")]
    NulCharacter {
        /// The member.
        path: String,
    },
    /// Two members of one name: readers differ in which they take.
    #[error("{path}: two members named {name}")]
    DuplicateMember {
        /// The object.
        path: String,
        /// The name.
        name: String,
    },
    /// More levels than readers allow.
    #[error("{path}: nested deeper than {limit} levels")]
    TooDeep {
        /// The member.
        path: String,
        /// The limit.
        limit: usize,
    },

    // --- The members of the metadata ---
    /// A member that must be there is not.
    #[error("{path} is missing")]
    Missing {
        /// The member.
        path: String,
    },
    /// A member has another type or value than it may have.
    #[error("{path} must be {expected}")]
    Value {
        /// The member.
        path: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A reference to something that is not there.
    #[error("{path} names {kind} {number}, which does not exist")]
    Reference {
        /// The member that refers.
        path: String,
        /// `keyslot` or `segment`.
        kind: &'static str,
        /// The number that it names.
        number: String,
    },
    /// Every keyslot and every segment belongs to a digest, a keyslot to exactly one.
    #[error("{kind} {number} belongs to {count} digests instead of one")]
    Digests {
        /// `keyslot` or `segment`.
        kind: &'static str,
        /// Its number.
        number: u32,
        /// To how many digests it belongs.
        count: usize,
    },
    /// A keyslot's area does not lie in the keyslots area.
    #[error(
        "keyslot {keyslot} claims {size_bytes} bytes at {offset_bytes:#x}, the keyslots area reaches from {start_bytes:#x} to {end_bytes:#x}"
    )]
    AreaBounds {
        /// The keyslot.
        keyslot: u32,
        /// Where it claims that its area begins.
        offset_bytes: u64,
        /// How long it claims that its area is.
        size_bytes: u64,
        /// Begin of the keyslots area.
        start_bytes: u64,
        /// End of the keyslots area.
        end_bytes: u64,
    },
    /// Two keyslots share bytes.
    #[error("the areas of keyslots {first} and {second} overlap")]
    AreaOverlap {
        /// The one that begins first.
        first: u32,
        /// The other.
        second: u32,
    },
    /// An area that does not begin at a multiple of 4096.
    #[error(
        "the area of keyslot {keyslot} begins at {offset_bytes:#x}, which is no multiple of 4096"
    )]
    AreaAlignment {
        /// The keyslot.
        keyslot: u32,
        /// Where the area begins.
        offset_bytes: u64,
    },
    /// An area that is shorter than the key material in it.
    #[error(
        "the area of keyslot {keyslot} has {size_bytes} bytes, its key material takes {material_bytes}"
    )]
    AreaSize {
        /// The keyslot.
        keyslot: u32,
        /// The length of the area.
        size_bytes: u64,
        /// What is needed.
        material_bytes: u64,
    },
    /// A number above what this program accepts.
    #[error("{kind} {number}: numbers end at {last}")]
    Number {
        /// `keyslot` or `token`.
        kind: &'static str,
        /// The number.
        number: u32,
        /// The highest that is allowed.
        last: u32,
    },
    /// More members than LUKS2 has of a kind.
    #[error("{path} has more than {limit} members")]
    Count {
        /// The object.
        path: String,
        /// The most that is taken.
        limit: usize,
    },
    /// Stripes other than 4000: cryptsetup ignores the number, so it cannot be trusted.
    #[error("keyslot {keyslot} claims {stripes} anti-forensic stripes, LUKS2 uses 4000")]
    Stripes {
        /// The keyslot.
        keyslot: u32,
        /// What it claims.
        stripes: u32,
    },
    /// Segment numbers must run from 0 without a gap.
    #[error("segment {number} is missing: segments are numbered from 0 without a gap")]
    SegmentGap {
        /// The missing number.
        number: u32,
    },
    /// Only the last segment may have a dynamic size.
    #[error("segment {number} is dynamic but not the last")]
    SegmentDynamic {
        /// The segment.
        number: u32,
    },
    /// A segment begins within the header.
    #[error(
        "segment {number} begins at {offset_bytes:#x}, within the header that ends at {end_bytes:#x}"
    )]
    SegmentOffset {
        /// The segment.
        number: u32,
        /// Where it begins.
        offset_bytes: u64,
        /// End of the keyslots area.
        end_bytes: u64,
    },
    /// This program takes containers with one segment.
    #[error("{count} segments; this program takes containers with one")]
    SegmentCount {
        /// How many there are.
        count: usize,
    },

    // --- What a caller asks for ---
    /// An unfinished reencryption.
    #[error(
        "an unfinished reencryption: finish it with cryptsetup before anything else changes this container"
    )]
    UnfinishedReencryption,
    /// A requirement that this program does not know.
    #[error(
        "the header demands {requirement}, which this program does not know, so it changes nothing"
    )]
    Requirement {
        /// Its name.
        requirement: String,
    },
    /// A cipher other than the one that this program uses.
    #[error("{path} is {cipher}; this program knows aes-xts-plain64 alone")]
    CipherName {
        /// The member.
        path: String,
        /// The cipher.
        cipher: String,
    },
    /// dm-integrity below dm-crypt.
    #[error("segment {number} has authenticated encryption, which this program does not know")]
    Integrity {
        /// The segment.
        number: u32,
    },
    /// There is no keyslot of that number.
    #[error("there is no keyslot {keyslot}")]
    NoKeyslot {
        /// The number.
        keyslot: u32,
    },
    /// There is no token of that number.
    #[error("there is no token {token}")]
    NoToken {
        /// The number.
        token: u32,
    },
    /// The keyslot, or all of them, did not open.
    #[error("the key {}", match .keyslot { Some(number) => format!("does not open keyslot {number}"), None => "opens no keyslot".to_owned() })]
    WrongKey {
        /// The keyslot that was tried, where one was named.
        keyslot: Option<u32>,
    },
    /// A keyslot that this program cannot try.
    #[error("keyslot {keyslot} uses {what}, which this program does not support yet")]
    KeyslotUnsupported {
        /// The keyslot.
        keyslot: u32,
        /// The part that is unknown.
        what: String,
    },
    /// So many iterations that trying the key would take minutes: nobody sets that, but a hostile header.
    #[error("{path} asks for {iterations} iterations; this program computes {limit} at most")]
    Iterations {
        /// The member.
        path: String,
        /// What it asks for.
        iterations: u32,
        /// The limit.
        limit: u32,
    },
    /// More memory or passes than any keyslot of cryptsetup: so says a hostile header.
    #[error(
        "keyslot {keyslot} asks for {memory_kib} KiB of memory, in {time} passes; this program takes 4 GiB, and 256 GiB in all passes, at most"
    )]
    Memory {
        /// The keyslot.
        keyslot: u32,
        /// What it asks for, in KiB.
        memory_kib: u32,
        /// How often it goes through it.
        time: u32,
    },
    /// The system has no such memory.
    #[error("keyslot {keyslot} needs {memory_kib} KiB of memory, and there is not as much")]
    NoMemory {
        /// The keyslot.
        keyslot: u32,
        /// What it needs, in KiB.
        memory_kib: u32,
    },
    /// A number that is taken already.
    #[error("{kind} {number} exists already")]
    Taken {
        /// `keyslot` or `token`.
        kind: &'static str,
        /// The number.
        number: u32,
    },
    /// No number is free.
    #[error("all {count} {kind}s are taken")]
    AllTaken {
        /// `keyslot` or `token`.
        kind: &'static str,
        /// How many there can be.
        count: u32,
    },
    /// No gap in the keyslots area is long enough.
    #[error("no room for a further keyslot: no gap of {size_bytes} bytes in the keyslots area")]
    NoRoom {
        /// What is needed.
        size_bytes: u64,
    },
    /// The new metadata do not fit.
    #[error("the new metadata have {len_bytes} bytes, the JSON area takes {limit_bytes}")]
    MetadataSize {
        /// Length of the text.
        len_bytes: usize,
        /// The most that fits.
        limit_bytes: u64,
    },
    /// A label that does not fit its field.
    #[error("a label has at most 47 bytes and no NUL")]
    Label,
    /// No higher sequence id is possible.
    #[error("the header's sequence id is the highest possible")]
    SequenceId,
    /// A volume key that is not that of the container.
    #[error("the volume key is not that of the container")]
    VolumeKey,
}

impl Error {
    /// A keyslot that cannot be tried, for a reason that comes from its header.
    pub(super) fn unsupported(keyslot: u32, what: &str) -> Self {
        Self::KeyslotUnsupported {
            keyslot,
            what: what.chars().take(40).flat_map(char::escape_debug).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VolumeKey;
    use base::secret::{Entropy, EntropyError, SecretBytes};

    struct Nothing;

    impl Entropy for Nothing {
        fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
            Err(EntropyError)
        }
    }

    #[test]
    fn what_keys_are_refused_for_is_said() {
        let of_bytes = |bytes: Vec<u8>| {
            VolumeKey::from_bytes(SecretBytes::new(bytes))
                .err()
                .unwrap()
        };
        assert_eq!(
            of_bytes(vec![0; 32]).to_string(),
            "the key has 32 bytes, AES-256 in XTS mode takes 64"
        );
        assert_eq!(
            of_bytes(vec![0; 64]).to_string(),
            "both halves of the key are equal, which XTS does not allow"
        );
        let error = VolumeKey::generate(&mut Nothing).err().unwrap();
        assert_eq!(error.to_string(), "no random bytes for the LUKS2 container");
        // No input reaches this one: the library fails where it is out of memory.
        assert_eq!(
            Error::Cipher.to_string(),
            "the AES-XTS implementation failed"
        );
    }
}
