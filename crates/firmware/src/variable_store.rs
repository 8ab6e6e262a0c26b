//! The variable store of edk2's firmware in flash: `OVMF_VARS*.fd`, `AAVMF_VARS*.fd`, or the start of an image
//! that holds code and variables. UEFI Platform Initialization 1.8, volume 3, section 3.2.1 (firmware volume
//! header); edk2 `MdeModulePkg/Include/Guid/VariableFormat.h` (store and records). Little-endian; erased
//! flash is 0xFF.
//!
//! | offset in the volume | size | field |
//! | --- | --- | --- |
//! | 16 | 16 | `fff12b8d-7696-4c8b-a985-2747075b4f50`: system NV data |
//! | 32 | 8 | length of the volume; a file may be longer, and the block map may say something else |
//! | 40 | 4 | `_FVH` |
//! | 48 | 2 | length of this header, 72 |
//! | 50 | 2 | checksum: the header's 16-bit words sum to 0 |
//!
//! | offset in the store | size | field |
//! | --- | --- | --- |
//! | 0 | 16 | `aaf32c78-947b-439a-a180-2e144ec37792`: authenticated variables |
//! | 16 | 4 | length of the store, this header included |
//! | 20 | 2 | 0x5a formatted, 0xfe healthy |
//! | 28 | … | records (the module `variable_record`) |
//!
//! The records are a log; which one of a name is the variable, [`VariableStore::variable`] knows. A block that
//! firmware was just writing anew (fault tolerant write) is not looked at: the guest must be shut down.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::collections::HashMap;

use uuid::{Uuid, uuid};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::guid;
use super::variable_record::{self, Record, RecordError, State};
use base::number::to_usize;
use base::storage::{self, ReadAt};

/// `EFI_SYSTEM_NV_DATA_FV_GUID`.
pub(super) const NV_DATA: Uuid = uuid!("fff12b8d-7696-4c8b-a985-2747075b4f50");
/// `EFI_FIRMWARE_FILE_SYSTEM2_GUID`: a volume of code, which is stepped over.
const FILE_SYSTEM_2: Uuid = uuid!("8c8ce578-8a3d-4f1c-9935-896185c32dd3");
/// `EFI_AUTHENTICATED_VARIABLE_GUID`, with time stamps.
const AUTHENTICATED: Uuid = uuid!("aaf32c78-947b-439a-a180-2e144ec37792");
/// `EFI_VARIABLE_GUID`: a store of firmware without Secure Boot.
const NOT_AUTHENTICATED: Uuid = uuid!("ddcf3616-3275-4164-98b6-fe85707ffe7d");

/// Volumes begin at multiples of this.
const VOLUME_STEP_BYTES: usize = 1 << 10;
/// The bits of an offset at which a volume may begin.
const VOLUME_MASK: u64 = !(VOLUME_STEP_BYTES as u64 - 1);
/// How much is looked through at a time.
const SEARCH_BYTES: usize = 1 << 20;
/// Largest file that is looked through. The largest seen, Arm's, has 64 MiB.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// Largest store that is read; the usual one has 256 KiB.
pub const MAX_STORE_BYTES: u32 = 16 << 20;

/// Bytes of a store's header.
const STORE_HEADER_BYTES: usize = 28;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct VolumeHeader {
    zero_vector: [u8; 16],
    file_system: [u8; 16],
    volume_bytes: U64,
    signature: [u8; 4],
    attributes: U32,
    header_bytes: U16,
    checksum: U16,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct StoreHeader {
    format: [u8; 16],
    store_bytes: U32,
    formatted: u8,
    healthy: u8,
    reserved: [u8; 6],
}

/// Why there are no variables to be had from a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The file is longer than [`MAX_FILE_BYTES`].
    #[error("no variable store: {len_bytes} bytes, where a store's file has 256 MiB at most")]
    FileTooLong {
        /// Length of the file.
        len_bytes: u64,
    },
    /// The file has erased or zero bytes only.
    #[error("an empty variable store: it holds no variables, hence no keys")]
    Blank,
    /// There is no volume of variables in the file.
    #[error("no variable store: no firmware volume has the GUID {NV_DATA}")]
    NoVolume,
    /// The volume's header is damaged.
    #[error(
        "the firmware volume at offset {offset_bytes:#x} has a damaged header: its 16-bit words sum to {sum:#06x} and not to 0"
    )]
    Checksum {
        /// Where the volume begins.
        offset_bytes: u64,
        /// The sum.
        sum: u16,
    },
    /// A length in a header cannot be.
    #[error(
        "the firmware volume at offset {offset_bytes:#x} claims a {what} of {claimed_bytes} bytes, between {least_bytes} and {most_bytes} are possible"
    )]
    Length {
        /// Where the volume begins.
        offset_bytes: u64,
        /// Which length.
        what: &'static str,
        /// What the field says.
        claimed_bytes: u64,
        /// The least.
        least_bytes: u64,
        /// The most.
        most_bytes: u64,
    },
    /// The store holds variables without authentication.
    #[error(
        "the variable store at offset {offset_bytes:#x} has no authenticated variables: this firmware was built without Secure Boot"
    )]
    NotAuthenticated {
        /// Where the store begins.
        offset_bytes: u64,
    },
    /// The store has a format that is not known.
    #[error("the variable store at offset {offset_bytes:#x} has the unknown format {format}")]
    UnknownFormat {
        /// Where the store begins.
        offset_bytes: u64,
        /// What stands there.
        format: Uuid,
    },
    /// The store is not in order.
    #[error(
        "the variable store at offset {offset_bytes:#x} is not healthy: its state is {formatted:#04x} {healthy:#04x} and not 0x5a 0xfe"
    )]
    Unhealthy {
        /// Where the store begins.
        offset_bytes: u64,
        /// The first byte of the state.
        formatted: u8,
        /// The second one.
        healthy: u8,
    },
    /// A record cannot be read.
    #[error("the record at offset {offset_bytes:#x} {problem}")]
    Record {
        /// Where the record begins in the file.
        offset_bytes: u64,
        /// What is wrong with it.
        problem: RecordError,
    },
    /// There are several records of a variable, and no rule says which one counts.
    #[error(
        "the variable {name} has two live copies, at offsets {first_bytes:#x} and {second_bytes:#x}: firmware does not boot with such a store"
    )]
    TwoCopies {
        /// Name of the variable.
        name: String,
        /// Where the first begins in the file.
        first_bytes: u64,
        /// Where the second begins.
        second_bytes: u64,
    },
}

/// Whether Secure Boot is on in a guest that starts with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecureBoot {
    /// There is a PK, and nobody switched Secure Boot off.
    On,
    /// There is no PK: setup mode.
    SetupMode,
    /// There is a PK, but `SecureBootEnable` is not 1.
    SwitchedOff,
}

/// The records of a variable store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableStore {
    offset_bytes: u64,
    records: Vec<Record>,
}

impl VariableStore {
    /// Finds the store in a file and reads its records.
    pub fn read(file: &dyn ReadAt) -> Result<Self, Error> {
        let len_bytes = file.len_bytes();
        if len_bytes > MAX_FILE_BYTES {
            return Err(Error::FileTooLong { len_bytes });
        }
        let volume = find_volume(file)?;
        let (offset_bytes, store) = read_store(file, volume)?;
        let records = variable_record::parse(&store, STORE_HEADER_BYTES, offset_bytes).map_err(
            |(offset_bytes, problem)| Error::Record {
                offset_bytes,
                problem,
            },
        )?;
        let store = Self {
            offset_bytes,
            records,
        };
        store.refuse_two_copies()?;
        Ok(store)
    }

    /// Where the store begins in the file.
    pub fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// All records, dead ones too, in the order of the store.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The record that is the variable of this name: the one that was added and not deleted, else the one
    /// that was about to be replaced, which firmware honours.
    pub fn variable(&self, name: &str, vendor: Uuid) -> Option<&Record> {
        let find = |state| {
            self.records.iter().find(|record| {
                record.state == state && record.vendor == vendor && record.is_named(name)
            })
        };
        find(State::Added).or_else(|| find(State::InDeleteTransition))
    }

    /// Whether Secure Boot is on in a guest that starts with this store.
    pub fn secure_boot(&self) -> SecureBoot {
        let enable = self.variable("SecureBootEnable", guid::SECURE_BOOT_ENABLE);
        if self
            .variable("PK", guid::GLOBAL_VARIABLE)
            .is_none_or(|pk| pk.data.is_empty())
        {
            SecureBoot::SetupMode
        } else if enable.is_none_or(|enable| enable.data == [1]) {
            SecureBoot::On // firmware writes a missing SecureBootEnable anew, as 1
        } else {
            SecureBoot::SwitchedOff
        }
    }

    fn refuse_two_copies(&self) -> Result<(), Error> {
        let mut seen: HashMap<_, &Record> = HashMap::new();
        for record in self.records.iter().filter(|record| record.is_live()) {
            let key = (&record.name, record.vendor, record.state);
            if let Some(first) = seen.insert(key, record) {
                return Err(Error::TwoCopies {
                    name: record.display_name(),
                    first_bytes: first.offset_bytes,
                    second_bytes: record.offset_bytes,
                });
            }
        }
        Ok(())
    }
}

/// The offset of the first volume of variables.
fn find_volume(file: &dyn ReadAt) -> Result<u64, Error> {
    let mut is_blank = true;
    let mut next_volume = 0;
    let mut chunk_start = 0;
    while let Some(data) = file.next_data(chunk_start)? {
        // Holes are zeros, hence no volume begins in them; a chunk begins where a volume may.
        chunk_start = chunk_start.max(data.start & VOLUME_MASK);
        let left = file.len_bytes().saturating_sub(chunk_start);
        let chunk = file.read_vec(
            chunk_start,
            usize::try_from(left).map_or(SEARCH_BYTES, |left| left.min(SEARCH_BYTES)),
        )?;
        is_blank &= [0, 0xff]
            .iter()
            .any(|erased| chunk.iter().all(|byte| byte == erased));
        for (start, bytes) in (chunk_start..)
            .step_by(VOLUME_STEP_BYTES)
            .zip(chunk.chunks(VOLUME_STEP_BYTES))
        {
            let Ok((header, _)) = VolumeHeader::ref_from_prefix(bytes) else {
                continue;
            };
            if start < next_volume || header.signature != *b"_FVH" {
                continue;
            }
            match Uuid::from_bytes_le(header.file_system) {
                NV_DATA => return Ok(start),
                FILE_SYSTEM_2 => next_volume = start.saturating_add(header.volume_bytes.get()),
                _ => {}
            }
        }
        chunk_start = chunk_start.saturating_add(SEARCH_BYTES as u64);
    }
    Err(if is_blank {
        Error::Blank
    } else {
        Error::NoVolume
    })
}

/// Checks the headers of a volume and reads the store in it; returns where that begins, too.
fn read_store(file: &dyn ReadAt, volume: u64) -> Result<(u64, Vec<u8>), Error> {
    let length = |what, claimed_bytes: u64, least_bytes: usize, most_bytes: u64| {
        let least_bytes = least_bytes as u64;
        if (least_bytes..=most_bytes).contains(&claimed_bytes) {
            return Ok(to_usize(claimed_bytes)); // at most 256 MiB
        }
        Err(Error::Length {
            offset_bytes: volume,
            what,
            claimed_bytes,
            least_bytes,
            most_bytes,
        })
    };
    let fixed = file.read_vec(volume, size_of::<VolumeHeader>())?;
    let Ok((header, _)) = VolumeHeader::ref_from_prefix(&fixed) else {
        return Err(Error::NoVolume);
    };
    let left = file.len_bytes().saturating_sub(volume);
    let header_bytes = length(
        "header",
        header.header_bytes.get().into(),
        fixed.len(),
        left,
    )?;
    let whole = file.read_vec(volume, header_bytes)?;
    let words = whole.chunks_exact(2).filter_map(|word| word.first_chunk());
    let sum = words.fold(0_u16, |sum, word| {
        sum.wrapping_add(u16::from_le_bytes(*word))
    });
    if sum != 0 {
        return Err(Error::Checksum {
            offset_bytes: volume,
            sum,
        });
    }
    let least = header_bytes.saturating_add(STORE_HEADER_BYTES);
    length("length", header.volume_bytes.get(), least, left)?;

    let offset_bytes = volume.saturating_add(header_bytes as u64);
    let fixed = file.read_vec(offset_bytes, STORE_HEADER_BYTES)?;
    let Ok(store) = StoreHeader::ref_from_bytes(&fixed) else {
        return Err(Error::NoVolume);
    };
    match Uuid::from_bytes_le(store.format) {
        AUTHENTICATED => {}
        NOT_AUTHENTICATED => return Err(Error::NotAuthenticated { offset_bytes }),
        format => {
            return Err(Error::UnknownFormat {
                offset_bytes,
                format,
            });
        }
    }
    let (formatted, healthy) = (store.formatted, store.healthy);
    if (formatted, healthy) != (0x5a, 0xfe) {
        return Err(Error::Unhealthy {
            offset_bytes,
            formatted,
            healthy,
        });
    }
    let room = header
        .volume_bytes
        .get()
        .saturating_sub(header_bytes as u64);
    let claimed = store.store_bytes.get().into();
    let store_bytes = length(
        "variable store",
        claimed,
        STORE_HEADER_BYTES,
        room.min(MAX_STORE_BYTES.into()),
    )?;
    Ok((offset_bytes, file.read_vec(offset_bytes, store_bytes)?))
}

#[cfg(test)]
mod tests {
    use super::variable_record::made::{self, record};
    use super::*;
    use base::storage::MemoryStorage;

    const STORE: usize = 72;

    /// A volume of 8 KiB whose store holds these records.
    fn volume(records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; STORE];
        bytes[16..32].copy_from_slice(&NV_DATA.to_bytes_le());
        bytes[32..40].copy_from_slice(&0x2000_u64.to_le_bytes());
        bytes[40..44].copy_from_slice(b"_FVH");
        bytes[48] = 72;
        bytes.extend(AUTHENTICATED.to_bytes_le());
        bytes.extend(0x1000_u32.to_le_bytes());
        bytes.extend([0x5a, 0xfe, 0, 0, 0, 0, 0, 0]);
        for record in records {
            bytes.extend(record);
            while !bytes.len().is_multiple_of(4) {
                bytes.push(0xff);
            }
        }
        bytes.resize(0x2000, 0xff);
        with_checksum(bytes)
    }

    fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes[50..52].fill(0);
        let words = bytes[..72]
            .chunks(2)
            .map(|word| u16::from_le_bytes([word[0], word[1]]));
        let sum = words.fold(0_u16, u16::wrapping_add);
        bytes[50..52].copy_from_slice(&0_u16.wrapping_sub(sum).to_le_bytes());
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<VariableStore, Error> {
        VariableStore::read(&MemoryStorage::new(bytes))
    }

    fn message(bytes: Vec<u8>) -> String {
        read(bytes).unwrap_err().to_string()
    }

    fn pk(state: u8, data: &[u8]) -> Vec<u8> {
        record(state, "PK", guid::GLOBAL_VARIABLE, data)
    }

    fn pk_of(records: &[Vec<u8>]) -> Option<Vec<u8>> {
        let store = read(volume(records)).unwrap();
        store
            .variable("PK", guid::GLOBAL_VARIABLE)
            .map(|record| record.data.clone())
    }

    #[test]
    fn the_live_record_is_the_variable() {
        assert_eq!(pk_of(&[pk(0x3f, b"1")]), Some(b"1".to_vec()));
        assert_eq!(
            pk_of(&[pk(0x3e, b"1")]),
            Some(b"1".to_vec()),
            "about to be replaced"
        );
        for dead in [0x3d, 0x3c, 0x7f, 0x7e, 0x00, 0x1f] {
            assert_eq!(pk_of(&[pk(dead, b"1")]), None, "{dead:#x}");
            assert_eq!(
                pk_of(&[pk(dead, b"1"), pk(0x3f, b"22")]),
                Some(b"22".to_vec())
            );
        }
        let transition = [pk(0x3e, b"old"), pk(0x3f, b"new")];
        assert_eq!(pk_of(&transition), Some(b"new".to_vec()));
        let reverse = [pk(0x3f, b"new"), pk(0x3e, b"old")];
        assert_eq!(pk_of(&reverse), Some(b"new".to_vec()));
        let elsewhere = record(0x3f, "PK", guid::IMAGE_SECURITY_DATABASE, b"1");
        assert_eq!(pk_of(std::slice::from_ref(&elsewhere)), None);
        assert_eq!(pk_of(&[elsewhere, pk(0x3f, b"2")]), Some(b"2".to_vec()));
    }

    #[test]
    fn two_live_copies_are_refused() {
        assert_eq!(
            message(volume(&[pk(0x3f, b"1"), pk(0x3f, b"1")])),
            "the variable PK has two live copies, at offsets 0x64 and 0xa8: firmware does not boot with such a store"
        );
        assert!(read(volume(&[pk(0x3e, b"1"), pk(0x3e, b"2")])).is_err());
        let enable = record(0x3f, "SecureBootEnable", guid::SECURE_BOOT_ENABLE, &[1]);
        assert!(read(volume(&[enable.clone(), enable])).is_err());
    }

    #[test]
    fn secure_boot_is_on_with_a_pk_unless_it_is_switched_off() {
        let enable =
            |state, data: &[u8]| record(state, "SecureBootEnable", guid::SECURE_BOOT_ENABLE, data);
        let state = |records: &[Vec<u8>]| read(volume(records)).unwrap().secure_boot();
        assert_eq!(state(&[]), SecureBoot::SetupMode);
        assert_eq!(state(&[enable(0x3f, &[1])]), SecureBoot::SetupMode);
        assert_eq!(
            state(&[pk(0x3d, b"1"), enable(0x3f, &[1])]),
            SecureBoot::SetupMode
        );
        assert_eq!(state(&[pk(0x3f, b"1"), enable(0x3f, &[1])]), SecureBoot::On);
        assert_eq!(state(&[pk(0x3e, b"1"), enable(0x3f, &[1])]), SecureBoot::On);
        assert_eq!(state(&[pk(0x3f, b"1")]), SecureBoot::On);
        assert_eq!(state(&[pk(0x3f, b"1"), enable(0x3d, &[0])]), SecureBoot::On);
        assert_eq!(
            state(&[pk(0x3f, b"1"), enable(0x3f, &[0])]),
            SecureBoot::SwitchedOff
        );
        assert_eq!(
            state(&[pk(0x3f, b"1"), enable(0x3f, &[])]),
            SecureBoot::SwitchedOff
        );
    }

    #[test]
    fn the_volume_is_found_behind_others() {
        let records = [pk(0x3f, b"1")];
        let mut code = volume(&[]);
        code[16..32].copy_from_slice(&FILE_SYSTEM_2.to_bytes_le());
        code[0x800..0x1000].copy_from_slice(&volume(&[])[..0x800]); // a decoy inside
        for before in [vec![0xff; 0x400], vec![0; 3 << 20], code] {
            let start = before.len() as u64;
            let store = read([before, volume(&records)].concat()).unwrap();
            assert_eq!(store.offset_bytes(), start + 72);
            assert_eq!(store.records()[0].offset_bytes, start + 72 + 28);
        }
        assert!(matches!(
            read([vec![1; 0x200], volume(&records)].concat()),
            Err(Error::NoVolume)
        ));
    }

    #[test]
    fn a_file_without_a_store_is_named() {
        let none = "no variable store: no firmware volume has the GUID fff12b8d-7696-4c8b-a985-2747075b4f50";
        let empty = "an empty variable store: it holds no variables, hence no keys";
        assert_eq!(message(vec![7; 4096]), none);
        for blank in [vec![0; 4096], vec![0xff; 3 << 20], vec![]] {
            assert_eq!(message(blank), empty);
        }
        let large =
            VariableStore::read(&base::storage::Slice::new(Large, 0, MAX_FILE_BYTES + 1).unwrap());
        assert_eq!(
            large.unwrap_err().to_string(),
            "no variable store: 268435457 bytes, where a store's file has 256 MiB at most"
        );
    }

    struct Large;

    impl ReadAt for Large {
        fn len_bytes(&self) -> u64 {
            u64::MAX
        }
        fn read_exact_at(&self, _: &mut [u8], _: u64) -> storage::Result<()> {
            unreachable!()
        }
    }

    #[test]
    fn damaged_headers_are_refused() {
        let with = |at: usize, bytes: &[u8]| {
            let mut volume = volume(&[]);
            volume[at..at + bytes.len()].copy_from_slice(bytes);
            if at < STORE {
                with_checksum(volume)
            } else {
                volume
            }
        };
        let mut damaged = volume(&[]);
        damaged[0] ^= 1;
        assert_eq!(
            message(damaged),
            "the firmware volume at offset 0x0 has a damaged header: its 16-bit words sum to 0x0001 and not to 0"
        );
        assert_eq!(
            message(with(32, &0x2001_u64.to_le_bytes())),
            "the firmware volume at offset 0x0 claims a length of 8193 bytes, between 100 and 8192 are possible"
        );
        assert_eq!(
            message(with(48, &0_u16.to_le_bytes())),
            "the firmware volume at offset 0x0 claims a header of 0 bytes, between 52 and 8192 are possible"
        );
        assert_eq!(
            message(with(STORE + 16, &u32::MAX.to_le_bytes())),
            "the firmware volume at offset 0x0 claims a variable store of 4294967295 bytes, between 28 and 8120 are possible"
        );
        assert_eq!(
            message(with(STORE, &NOT_AUTHENTICATED.to_bytes_le())),
            "the variable store at offset 0x48 has no authenticated variables: this firmware was built without Secure Boot"
        );
        assert_eq!(
            message(with(STORE, &[0; 16])),
            "the variable store at offset 0x48 has the unknown format 00000000-0000-0000-0000-000000000000"
        );
        assert_eq!(
            message(with(STORE + 20, &[0x5a, 0xff])),
            "the variable store at offset 0x48 is not healthy: its state is 0x5a 0xff and not 0x5a 0xfe"
        );
    }

    #[test]
    fn a_damaged_record_is_refused_with_its_place_in_the_file() {
        let mut bytes = pk(0x3f, b"1");
        bytes[made::DATA_BYTES_AT..made::DATA_BYTES_AT + 4]
            .copy_from_slice(&0x1000_u32.to_le_bytes());
        assert_eq!(
            message([vec![0xff; 1024], volume(&[bytes])].concat()),
            "the record at offset 0x464 claims 6 bytes of name and 4096 of data, which reach behind the end of the store"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_store_or_an_error(
            changes in proptest::collection::vec((0_usize..0x200, proptest::num::u8::ANY), 1..8),
            len in 0_usize..0x2000,
        ) {
            let mut bytes = volume(&[pk(0x3f, b"1"), pk(0x3d, b"2"), pk(0x3e, b"3")]);
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes = with_checksum(bytes);
            bytes.truncate(len.max(100));
            let _ = read(bytes);
        }
    }
}
