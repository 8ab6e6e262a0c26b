//! Event logs in the crypto-agile format: what firmware and boot loaders extended into the PCRs.
//!
//! TCG PC Client Platform Firmware Profile 1.05, sections 10.2 and 10.4.5; Linux shows such a log as
//! `binary_bios_measurements`. Numbers are little-endian. The first event is in the old form and describes
//! the rest:
//!
//! | offset | size | name |
//! | --- | --- | --- |
//! | 0 | 4 | PCR, 0 |
//! | 4 | 4 | type, `EV_NO_ACTION` (3) |
//! | 8 | 20 | digest, zeros |
//! | 28 | 4 | length of the event data |
//! | 32 | 16 | `Spec ID Event03` and a NUL |
//! | 48 | 8 | platform class, version 2.0, errata, size of a native integer |
//! | 56 | 4 | number of algorithms; for each: id (2), length of its digest (2) |
//! | … | 1 + n | vendor information |
//!
//! `beginning` tells such a log from one of TPM 1.2 and from one of confidential computing.
//!
//! Each further event is PCR (4), type (4), number of digests (4), for each its algorithm (2) and bytes,
//! then the length of the event data (4) and the data. An `EV_NO_ACTION` event is not extended; the one that
//! begins with `StartupLocality` and a NUL says in one byte what PCR 0 started with (section 10.4.5.3).

mod beginning;
mod cursor;
mod error;

use std::collections::BTreeMap;

use aws_lc_rs::digest;

pub use error::Error;

use super::Bank;
use base::number::fitting;
use beginning::{Beginning, SIGNATURE};
use cursor::Cursor;

const EV_NO_ACTION: u32 = 3;
/// PCRs of a TPM.
const PCRS: u32 = 24;
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";
const SHA1_BYTES: usize = 20;
/// `TPM_ALG_ID` of SHA-1.
const SHA1: u16 = 0x0004;

/// What a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// That of a TPM, in the crypto-agile format.
    CryptoAgile,
    /// That of a TPM in the format of TPM 1.2: one digest an event, of SHA-1.
    Tpm12,
    /// That of a confidential guest. Its events were extended into measurement registers: 0 is that of its build (MRTD of
    /// TDX), 1 to 4 are RTMR 0 to 3.
    ConfidentialComputing,
}

/// A log of any kind, with the digests of all its banks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// What it is.
    pub kind: Kind,
    /// `TPM_ALG_ID` of the algorithms that its first event announces.
    pub algorithms: Vec<u16>,
    events: Vec<Agile>,
}

/// An event with all its digests.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Agile {
    /// Where it starts in the log.
    offset: usize,
    register: u32,
    event_type: u32,
    /// Each behind its `TPM_ALG_ID`.
    digests: Vec<(u16, Vec<u8>)>,
    data: Vec<u8>,
}

/// One event, with its digest in one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Number of the PCR.
    pub pcr: u32,
    /// Type, as the TCG numbers them.
    pub event_type: u32,
    /// What was extended.
    pub digest: Vec<u8>,
    /// What the log says of it; for many types not what was hashed.
    pub data: Vec<u8>,
}

impl LoggedEvent {
    /// True for an event that was only noted, and not extended.
    pub fn is_only_noted(&self) -> bool {
        self.event_type == EV_NO_ACTION
    }
}

impl Log {
    /// Reads a log of any kind. Zeros or 0xff behind the last event are no event: a kernel may show the whole
    /// buffer.
    pub fn parse(log: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(log);
        let Beginning { kind, algorithms } = match beginning::read(&mut cursor) {
            Err(Error::Tpm12) => return Self::of_tpm_12(log),
            beginning => beginning?,
        };
        let mut events = Vec::new();
        let end = padding_start(log);
        while cursor.offset() < end {
            events.push(event(&mut cursor, &algorithms)?);
        }
        Ok(Self {
            kind,
            algorithms: algorithms.into_iter().map(|(id, _)| id).collect(),
            events,
        })
    }

    /// The events of a log in the format of TPM 1.2; the first one counts as any other.
    fn of_tpm_12(log: &[u8]) -> Result<Self, Error> {
        let end = padding_start(log);
        let mut cursor = Cursor::new(log);
        let mut events = Vec::new();
        while cursor.offset() < end {
            let offset = cursor.offset();
            let event = old_event(&mut cursor, offset);
            events.push(event.ok_or(Error::Tpm12)?);
        }
        Ok(Self {
            kind: Kind::Tpm12,
            algorithms: vec![SHA1],
            events,
        })
    }

    /// How many events it has, those included that were only noted, and without the first one of a crypto-agile log.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// The events with their digests in `bank`; the first event, which describes the log, is not among them. An
    /// event that was only noted needs no digest: where it has none, it gets zeros.
    pub fn in_bank(&self, bank: Bank) -> Result<Vec<LoggedEvent>, Error> {
        if !self.algorithms.contains(&bank.algorithm_id()) {
            let announced = self.algorithms.clone();
            return Err(Error::NoBank { bank, announced });
        }
        let event = |event: &Agile| {
            let digest = event.digest(bank.algorithm_id()).map(<[u8]>::to_vec);
            let noted = (event.event_type == EV_NO_ACTION).then(|| bank.zero());
            let offset = event.offset;
            Ok(LoggedEvent {
                pcr: event.register,
                event_type: event.event_type,
                digest: digest.or(noted).ok_or(Error::NoDigest { offset, bank })?,
                data: event.data.clone(),
            })
        };
        self.events.iter().map(event).collect()
    }

    /// The values that the registers have at the log's end, in the bank of any `TPM_ALG_ID`; `None` for a hash function
    /// that is not known here, for a bank that the log has not, and where an event lacks its digest.
    pub fn values(&self, algorithm: u16) -> Option<BTreeMap<u32, Vec<u8>>> {
        let hash = match algorithm {
            SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            0x000b => &digest::SHA256,
            0x000c => &digest::SHA384,
            0x000d => &digest::SHA512,
            _ => return None,
        };
        if !self.algorithms.contains(&algorithm) {
            return None;
        }
        let is_noted = |event: &&Agile| event.event_type == EV_NO_ACTION;
        let noted = self.events.iter().filter(is_noted);
        let locality = locality(noted.map(|event| event.data.as_slice()));
        let mut values = BTreeMap::new();
        for event in self.events.iter().filter(|event| !is_noted(event)) {
            let register = event.register;
            let start = || start(register, locality, hash.output_len());
            let value = values.entry(register).or_insert_with(start);
            let both = [value.as_slice(), event.digest(algorithm)?].concat();
            *value = digest::digest(hash, &both).as_ref().to_vec();
        }
        Some(values)
    }
}

impl Agile {
    fn digest(&self, algorithm: u16) -> Option<&[u8]> {
        let mut digests = self.digests.iter();
        let (_, digest) = digests.find(|(id, _)| *id == algorithm)?;
        Some(digest)
    }
}

/// The events of a TPM's log, with their digests in `bank`, as [`Log::in_bank`] has them. A log of another kind is refused
/// by its first event, whatever follows.
pub fn read(log: &[u8], bank: Bank) -> Result<Vec<LoggedEvent>, Error> {
    let beginning = beginning::read(&mut Cursor::new(log))?;
    if beginning.kind == Kind::ConfidentialComputing {
        return Err(Error::MeasurementRegisters);
    }
    let announced: Vec<_> = beginning.algorithms.iter().map(|(id, _)| *id).collect();
    if !announced.contains(&bank.algorithm_id()) {
        return Err(Error::NoBank { bank, announced });
    }
    Log::parse(log)?.in_bank(bank)
}

/// Where the padding at the end of a log starts: bytes that are all zero, or all 0xff.
fn padding_start(log: &[u8]) -> usize {
    let Some(filler @ (0 | 0xff)) = log.last() else {
        return log.len();
    };
    let last = log.iter().rposition(|byte| byte != filler);
    last.map_or(0, |last| last.saturating_add(1))
}

/// An event of TPM 1.2; `None` where it is cut.
fn old_event(cursor: &mut Cursor<'_>, offset: usize) -> Option<Agile> {
    let (register, event_type) = (cursor.long()?, cursor.long()?);
    let digest = cursor.take(SHA1_BYTES)?.to_vec();
    Some(Agile {
        offset,
        register,
        event_type,
        digests: vec![(SHA1, digest)],
        data: cursor.counted()?.to_vec(),
    })
}

fn event(cursor: &mut Cursor<'_>, algorithms: &[(u16, usize)]) -> Result<Agile, Error> {
    let offset = cursor.offset();
    let cut = || Error::Cut { offset };
    let register = cursor.long().ok_or_else(cut)?;
    let event_type = cursor.long().ok_or_else(cut)?;
    // What is only noted may stand for no PCR, written as 0xffffffff.
    if register >= PCRS && event_type != EV_NO_ACTION {
        return Err(Error::Pcr {
            offset,
            pcr: register,
        });
    }
    let count = cursor.long().ok_or_else(cut)?;
    if usize::try_from(count).is_ok_and(|count| count > algorithms.len()) {
        let announced = algorithms.len();
        return Err(Error::DigestCount {
            offset,
            count,
            announced,
        });
    }
    let mut digests = Vec::new();
    for _ in 0..count {
        let algorithm = cursor.word().ok_or_else(cut)?;
        let known = algorithms.iter().find(|(id, _)| *id == algorithm);
        let (_, len) = known.ok_or(Error::UnknownAlgorithm { offset, algorithm })?;
        let digest = cursor.take(*len).ok_or_else(cut)?;
        digests.push((algorithm, digest.to_vec()));
    }
    let data = cursor.counted().ok_or_else(cut)?;
    Ok(Agile {
        offset,
        register,
        event_type,
        digests,
        data: data.to_vec(),
    })
}

/// A log of these events, with digests of one bank. `EV_NO_ACTION` is written with zeros, as firmware
/// does.
pub fn write<'a>(events: impl IntoIterator<Item = &'a LoggedEvent>, bank: Bank) -> Vec<u8> {
    let len = |bytes: &[u8]| fitting::<_, u32>(bytes.len()).to_le_bytes();
    let digest_bytes: u16 = fitting(bank.digest_bytes());
    let mut spec_id = SIGNATURE.to_vec();
    spec_id.extend([0, 0, 0, 0, 0, 2, 0, 2]); // class: client; version 2.0; errata 0; native integers of 8 bytes
    spec_id.extend(1_u32.to_le_bytes());
    spec_id.extend(bank.algorithm_id().to_le_bytes());
    spec_id.extend(digest_bytes.to_le_bytes());
    spec_id.push(0); // no vendor information
    let mut log = [[0; 4], EV_NO_ACTION.to_le_bytes()].concat();
    log.extend([0; SHA1_BYTES]);
    log.extend(len(&spec_id));
    log.extend(&spec_id);
    for event in events {
        log.extend(event.pcr.to_le_bytes());
        log.extend(event.event_type.to_le_bytes());
        log.extend(1_u32.to_le_bytes());
        log.extend(bank.algorithm_id().to_le_bytes());
        log.extend(&event.digest);
        log.extend(len(&event.data));
        log.extend(&event.data);
    }
    log
}

/// The values that PCRs have after `digests` were extended, each given with its PCR's number.
pub fn replay<'a>(
    digests: impl IntoIterator<Item = (u32, &'a [u8])>,
    bank: Bank,
) -> BTreeMap<u32, Vec<u8>> {
    extend_all(0, digests, bank)
}

/// The values that the PCRs of a log have at its end; PCRs that nothing was extended into are left out.
pub fn values(log: &[LoggedEvent], bank: Bank) -> BTreeMap<u32, Vec<u8>> {
    let noted = log.iter().filter(|event| event.is_only_noted());
    let locality = locality(noted.map(|event| event.data.as_slice()));
    let extended = log.iter().filter(|event| !event.is_only_noted());
    let digests = extended.map(|event| (event.pcr, event.digest.as_slice()));
    extend_all(locality, digests, bank)
}

/// The locality that the TPM was started from, where one of the events that are only noted tells.
fn locality<'a>(mut noted: impl Iterator<Item = &'a [u8]>) -> u8 {
    let locality = noted.find_map(|data| match data.strip_prefix(STARTUP_LOCALITY) {
        Some([locality]) => Some(*locality),
        _ => None,
    });
    locality.unwrap_or_default()
}

/// What a PCR starts with: zeros, and in PCR 0 the locality in the last byte.
fn start(pcr: u32, locality: u8, digest_bytes: usize) -> Vec<u8> {
    let mut value = vec![0; digest_bytes];
    if let Some(last) = value.last_mut().filter(|_| pcr == 0) {
        *last = locality;
    }
    value
}

fn extend_all<'a>(
    locality: u8,
    digests: impl IntoIterator<Item = (u32, &'a [u8])>,
    bank: Bank,
) -> BTreeMap<u32, Vec<u8>> {
    let mut values = BTreeMap::new();
    for (pcr, digest) in digests {
        let start = || start(pcr, locality, bank.digest_bytes());
        let value = values.entry(pcr).or_insert_with(start);
        *value = bank.extend(value, digest);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pcr_0_starts_with_the_locality_that_the_log_notes() {
        let event = |event_type, data: &[u8]| LoggedEvent {
            pcr: 0,
            event_type,
            digest: Bank::Sha256.digest(b"a"),
            data: data.to_vec(),
        };
        let extended = event(8, b"");
        let value = |noted: &[u8]| {
            let log = [event(EV_NO_ACTION, noted), extended.clone()];
            hex::encode(&values(&log, Bank::Sha256)[&0])
        };
        // printf '%062d03%s' 0 $(printf a | sha256sum | cut -c1-64) | xxd -r -p | sha256sum
        assert_eq!(
            value(b"StartupLocality\0\x03"),
            "ee267a2749991983e1ecf867d48996dcaf80163cc57ad81fce4216741f419bfb"
        );
        let zero = value(b"StartupLocality\0\0");
        assert_eq!(value(b"StartupLocality\0"), zero);
        assert_eq!(value(b"something else"), zero);
        assert_eq!(
            zero,
            hex::encode(Bank::Sha256.extend(&[0; 32], &extended.digest))
        );
    }
}
