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
//! then the length of the event data (4) and the data. An `EV_NO_ACTION` event is not extended; the one that
//! begins with `StartupLocality` and a NUL says in one byte what PCR 0 started with (section 10.4.5.3).

use std::collections::BTreeMap;

use super::Bank;

const EV_NO_ACTION: u32 = 3;
/// PCRs of a TPM.
const PCRS: u32 = 24;
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
/// Algorithms of a log: more than a TPM has banks.
const MAX_ALGORITHMS: u32 = 16;
const SHA1_BYTES: usize = 20;

/// Why a log cannot be read. Offsets count from the start of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first event does not describe a crypto-agile log.
    #[error(
        "not an event log in the crypto-agile format: the event at byte 0 is no Spec ID Event03 (a log of TPM 1.2, or another file)"
    )]
    NoSpecId,
    /// A number of algorithms or a digest's length is impossible.
    #[error(
        "the event log describes algorithms that cannot be, at byte {offset} of its first event"
    )]
    Algorithms {
        /// Where the number, identifier or length lies that cannot be.
        offset: usize,
    },
    /// The log ends within an event.
    #[error("the event log ends within the event at byte {offset}")]
    Cut {
        /// Where the event starts.
        offset: usize,
    },
    /// An event has more digests than the log has algorithms.
    #[error(
        "the event at byte {offset} claims {count} digests, and the log announces {announced} algorithms"
    )]
    DigestCount {
        /// Where the event starts.
        offset: usize,
        /// What it claims.
        count: u32,
        /// How many the log announces.
        announced: usize,
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
    /// An event was extended into a PCR that no TPM has.
    #[error("the event at byte {offset} is for PCR {pcr}, which no TPM has")]
    Pcr {
        /// Where the event starts.
        offset: usize,
        /// The number.
        pcr: u32,
    },
    /// The log has no digests of the bank that was asked for.
    #[error("the event log has no digests of the {bank} bank; it has those of {}", algorithm_names(.announced))]
    NoBank {
        /// The bank.
        bank: Bank,
        /// `TPM_ALG_ID` of each that it announces.
        announced: Vec<u16>,
    },
    /// One event lacks the digest of the bank.
    #[error("the event at byte {offset} has no digest of the {bank} bank")]
    NoDigest {
        /// Where the event starts.
        offset: usize,
        /// The bank.
        bank: Bank,
    },
}

/// Names of algorithms, as tpm2-tools write them.
fn algorithm_names(ids: &[u16]) -> String {
    let name = |id: &u16| match id {
        0x0004 => "sha1".to_owned(),
        0x000b => "sha256".to_owned(),
        0x000c => "sha384".to_owned(),
        0x000d => "sha512".to_owned(),
        0x0012 => "sm3_256".to_owned(),
        other => format!("{other:#06x}"),
    };
    match ids {
        [] => "no bank".to_owned(),
        ids => ids.iter().map(name).collect::<Vec<_>>().join(", "),
    }
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

/// The events of a log, with their digests in `bank`; the first event, which describes the log, is not among
/// them. Zeros behind the last event are no event: a kernel may show the whole buffer.
pub fn read(log: &[u8], bank: Bank) -> Result<Vec<LoggedEvent>, Error> {
    let mut cursor = Cursor { bytes: log, at: 0 };
    let algorithms = spec_id(&mut cursor)?;
    if !algorithms.iter().any(|(id, _)| *id == bank.algorithm_id()) {
        let announced = algorithms.iter().map(|(id, _)| *id).collect();
        return Err(Error::NoBank { bank, announced });
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

/// The algorithms that the first event announces, with the lengths of their digests.
fn spec_id(cursor: &mut Cursor<'_>) -> Result<Vec<(u16, usize)>, Error> {
    let header: Option<[u8; 8]> = cursor.array();
    let digest = cursor.take(SHA1_BYTES);
    let data = cursor.counted();
    let (Some([0, 0, 0, 0, 3, 0, 0, 0]), Some(_), Some(data)) = (header, digest, data) else {
        return Err(Error::NoSpecId);
    };
    let start = cursor.at.saturating_sub(data.len());
    let mut data = Cursor { bytes: data, at: 0 };
    if data.array() != Some(*SIGNATURE) {
        return Err(Error::NoSpecId);
    }
    let wrong = |at: usize| Error::Algorithms {
        offset: start.saturating_add(at),
    };
    data.take(8).ok_or(wrong(data.at))?;
    let at = data.at;
    let count = data.long().filter(|count| *count <= MAX_ALGORITHMS);
    let mut algorithms: Vec<(u16, usize)> = Vec::new();
    for _ in 0..count.ok_or(wrong(at))? {
        let at = data.at;
        let (Some(id), Some(len)) = (data.word(), data.word()) else {
            return Err(wrong(at));
        };
        let known = [Bank::Sha256, Bank::Sha384];
        let bank = known.iter().find(|bank| bank.algorithm_id() == id);
        let fits = bank.is_none_or(|bank| bank.digest_bytes() == usize::from(len));
        if !fits || algorithms.iter().any(|(earlier, _)| *earlier == id) {
            return Err(wrong(at));
        }
        algorithms.push((id, usize::from(len)));
    }
    Ok(algorithms)
}

fn event(
    cursor: &mut Cursor<'_>,
    offset: usize,
    algorithms: &[(u16, usize)],
    bank: Bank,
) -> Result<LoggedEvent, Error> {
    let cut = || Error::Cut { offset };
    let pcr = cursor.long().ok_or_else(cut)?;
    let event_type = cursor.long().ok_or_else(cut)?;
    // What is only noted may stand for no PCR, written as 0xffffffff.
    if pcr >= PCRS && event_type != EV_NO_ACTION {
        return Err(Error::Pcr { offset, pcr });
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
    let mut found = None;
    for _ in 0..count {
        let algorithm = cursor.word().ok_or_else(cut)?;
        let known = algorithms.iter().find(|(id, _)| *id == algorithm);
        let (_, len) = known.ok_or(Error::UnknownAlgorithm { offset, algorithm })?;
        let digest = cursor.take(*len).ok_or_else(cut)?;
        if algorithm == bank.algorithm_id() {
            found = Some(digest.to_vec());
        }
    }
    let data = cursor.counted().ok_or_else(cut)?;
    Ok(LoggedEvent {
        pcr,
        event_type,
        digest: found.ok_or(Error::NoDigest { offset, bank })?,
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
) -> BTreeMap<u32, Vec<u8>> {
    extend_all(BTreeMap::new(), digests, bank)
}

/// The values that the PCRs of a log have at its end; PCRs that it does not name are left out.
pub fn values(log: &[LoggedEvent], bank: Bank) -> BTreeMap<u32, Vec<u8>> {
    let mut start = BTreeMap::new();
    let mut noted = log.iter().filter(|event| event.is_only_noted());
    let locality = noted.find_map(|event| match event.data.strip_prefix(STARTUP_LOCALITY) {
        Some([locality]) => Some(*locality),
        _ => None,
    });
    if let Some(locality) = locality {
        let mut value = bank.zero();
        value.pop();
        value.push(locality);
        start.insert(0, value);
    }
    let extended = log.iter().filter(|event| !event.is_only_noted());
    let digests = extended.map(|event| (event.pcr, event.digest.as_slice()));
    extend_all(start, digests, bank)
}

fn extend_all<'a>(
    mut values: BTreeMap<u32, Vec<u8>>,
    digests: impl IntoIterator<Item = (u32, &'a [u8])>,
    bank: Bank,
) -> BTreeMap<u32, Vec<u8>> {
    for (pcr, digest) in digests {
        let value = values.entry(pcr).or_insert_with(|| bank.zero());
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
