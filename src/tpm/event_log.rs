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
//! Each further event is PCR (4), type (4), number of digests (4), for each its algorithm (2) and bytes,
//! then the length of the event data (4) and the data.

use super::Bank;

const EV_NO_ACTION: u32 = 3;
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
/// Algorithms of a log: more than a TPM has banks.
const MAX_ALGORITHMS: u32 = 16;
const SHA1_BYTES: usize = 20;

/// Why a log cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first event does not describe a crypto-agile log.
    #[error(
        "not an event log in the crypto-agile format: the first event is no Spec ID Event03 (a log of TPM 1.2, or another file)"
    )]
    NoSpecId,
    /// A number of algorithms or a digest's length is impossible.
    #[error("the event log's first event describes algorithms that cannot be")]
    Algorithms,
    /// The log ends within an event.
    #[error("the event log ends within the event at byte {offset}")]
    Cut {
        /// Where the event starts.
        offset: usize,
    },
    /// A digest is of an algorithm that the log did not announce.
    #[error(
        "the event at byte {offset} has a digest of the algorithm {algorithm:#06x}, which the log does not announce"
    )]
    UnknownAlgorithm {
        /// Where the event starts.
        offset: usize,
        /// `TPM_ALG_ID`.
        algorithm: u16,
    },
    /// The log has no digests of the bank that was asked for.
    #[error("the event log has no digests of the {bank} bank")]
    NoBank {
        /// The bank.
        bank: Bank,
    },
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

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn long(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn word(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Bytes behind their 32-bit length.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.long()?).ok()?;
        self.take(len)
    }
}

/// The events of a log, with their digests in `bank`. Zeros behind the last event are no event: a kernel
/// may show the whole buffer.
pub fn read(log: &[u8], bank: Bank) -> Result<Vec<LoggedEvent>, Error> {
    let mut cursor = Cursor { bytes: log, at: 0 };
    let algorithms = spec_id(&mut cursor)?;
    if !algorithms.iter().any(|(id, _)| *id == bank.algorithm_id()) {
        return Err(Error::NoBank { bank });
    }
    let mut events = Vec::new();
    let end = log
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last.saturating_add(1));
    while cursor.at < end {
        let offset = cursor.at;
        events.push(event(&mut cursor, offset, &algorithms, bank)?);
    }
    Ok(events)
}

fn spec_id(cursor: &mut Cursor<'_>) -> Result<Vec<(u16, usize)>, Error> {
    let header: Option<[u8; 8]> = cursor.array();
    let digest = cursor.take(SHA1_BYTES);
    let data = cursor.counted();
    let (Some([0, 0, 0, 0, 3, 0, 0, 0]), Some(_), Some(data)) = (header, digest, data) else {
        return Err(Error::NoSpecId);
    };
    let mut data = Cursor { bytes: data, at: 0 };
    if data.array() != Some(*SIGNATURE) {
        return Err(Error::NoSpecId);
    }
    data.take(8).ok_or(Error::Algorithms)?;
    let count = data.long().ok_or(Error::Algorithms)?;
    if count > MAX_ALGORITHMS {
        return Err(Error::Algorithms);
    }
    let mut algorithms = Vec::new();
    for _ in 0..count {
        let (Some(id), Some(len)) = (data.word(), data.word()) else {
            return Err(Error::Algorithms);
        };
        algorithms.push((id, usize::from(len)));
    }
    let lengths_fit = [Bank::Sha256, Bank::Sha384].iter().all(|bank| {
        let announced = algorithms
            .iter()
            .filter(|(id, _)| *id == bank.algorithm_id());
        announced
            .into_iter()
            .all(|(_, len)| *len == bank.digest_bytes())
    });
    if lengths_fit {
        Ok(algorithms)
    } else {
        Err(Error::Algorithms)
    }
}

fn event(
    cursor: &mut Cursor<'_>,
    offset: usize,
    algorithms: &[(u16, usize)],
    bank: Bank,
) -> Result<LoggedEvent, Error> {
    let cut = Error::Cut { offset };
    let pcr = cursor.long().ok_or(cut)?;
    let event_type = cursor.long().ok_or(cut)?;
    let count = cursor.long().ok_or(cut)?;
    let mut found = None;
    for _ in 0..count {
        let algorithm = cursor.word().ok_or(cut)?;
        let known = algorithms.iter().find(|(id, _)| *id == algorithm);
        let (_, len) = known.ok_or(Error::UnknownAlgorithm { offset, algorithm })?;
        let digest = cursor.take(*len).ok_or(cut)?;
        if algorithm == bank.algorithm_id() {
            found = Some(digest.to_vec());
        }
    }
    let data = cursor.counted().ok_or(cut)?;
    Ok(LoggedEvent {
        pcr,
        event_type,
        digest: found.ok_or(Error::NoBank { bank })?,
        data: data.to_vec(),
    })
}

/// A log of these events, with digests of one bank. `EV_NO_ACTION` is written with zeros, as firmware
/// does.
pub fn write<'a>(events: impl IntoIterator<Item = &'a LoggedEvent>, bank: Bank) -> Vec<u8> {
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let digest_bytes = u16::try_from(bank.digest_bytes()).unwrap_or(u16::MAX);
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
) -> std::collections::BTreeMap<u32, Vec<u8>> {
    let mut values = std::collections::BTreeMap::new();
    for (pcr, digest) in digests {
        let value = values.entry(pcr).or_insert_with(|| bank.zero());
        *value = bank.extend(value, digest);
    }
    values
}
