//! What a log is, as its first event tells.
//!
//! TCG PC Client Platform Firmware Profile 1.05, section 10.4.5.1 (`TCG_EfiSpecIDEvent`) and 10.2.1
//! (`TCG_PCClientPCREvent`, the event of TPM 1.2: PCR, type, SHA-1 digest, counted data). UEFI 2.10, section 38.4.1: the log
//! of confidential computing has the format of a crypto-agile one, with the index of a measurement register in place
//! of the PCR. Its first event carries the index 1, where a TPM's has PCR 0; td-shim, which writes 0, is known by its
//! vendor information.

use super::cursor::Cursor;
use super::{EV_NO_ACTION, Error, Kind, PCRS, SHA1_BYTES, padding_start};
use crate::Bank;

pub(super) const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
/// Algorithms of a log: more than a TPM has banks.
const MAX_ALGORITHMS: u32 = 16;
/// Measurement registers that a log of confidential computing can begin with.
const MEASUREMENT_REGISTERS: std::ops::RangeInclusive<u32> = 1..=4;
/// Vendor information of td-shim.
const TD_SHIM: &[u8] = b"td-shim";
/// Whole events from which on a log of TPM 1.2 is one, though its last event is cut.
const ENOUGH_EVENTS: usize = 2;

/// `TPM_ALG_ID` of each algorithm of a log, with the length of its digest.
pub(super) type Algorithms = Vec<(u16, usize)>;

/// What the first event says of the rest.
#[derive(Debug)]
pub(super) struct Beginning {
    pub kind: Kind,
    pub algorithms: Algorithms,
}

/// Reads the first event of a crypto-agile log.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Beginning, Error> {
    let log = cursor.bytes();
    if log.is_empty() {
        return Err(Error::Empty);
    }
    let not_one = || {
        if is_of_tpm_12(log) {
            Error::Tpm12
        } else {
            Error::NotALog
        }
    };
    let (Some(register), Some(EV_NO_ACTION)) = (cursor.long(), cursor.long()) else {
        return Err(not_one());
    };
    let is_register = MEASUREMENT_REGISTERS.contains(&register);
    if cursor.take(SHA1_BYTES).is_none() || !(is_register || register == 0) {
        return Err(not_one());
    }
    let Some(data) = cursor.counted() else {
        // So short a log has at least the start of the signature, or it is anything.
        let start = log.get(32..).unwrap_or_default();
        let begins = !start.is_empty() && start.iter().zip(SIGNATURE).all(|(a, b)| a == b);
        return Err(match (begins, is_register) {
            (true, true) => Error::MeasurementRegisters,
            (true, false) => Error::Cut { offset: 0 },
            (false, _) => not_one(),
        });
    };
    if !data.starts_with(SIGNATURE) {
        return Err(not_one());
    }
    let start = cursor.offset().saturating_sub(data.len());
    let (algorithms, vendor) = spec_id(data, start)?;
    let kind = if is_register || vendor == TD_SHIM {
        Kind::ConfidentialComputing
    } else {
        Kind::CryptoAgile
    };
    Ok(Beginning { kind, algorithms })
}

/// The algorithms of `TCG_EfiSpecIDEvent`, which begins at `start` of the log, and its vendor information.
fn spec_id(data: &[u8], start: usize) -> Result<(Algorithms, &[u8]), Error> {
    let mut data = Cursor::new(data);
    let wrong = |at: usize| Error::Algorithms {
        offset: start.saturating_add(at),
    };
    // Behind the signature the platform class, the version and the size of a pointer.
    data.take(SIGNATURE.len())
        .and_then(|_| data.take(8))
        .ok_or(wrong(SIGNATURE.len()))?;
    let at = data.offset();
    let count = data.long().filter(|count| *count <= MAX_ALGORITHMS);
    let mut algorithms = Algorithms::new();
    for _ in 0..count.ok_or(wrong(at))? {
        let at = data.offset();
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
    let vendor = data.byte();
    let vendor = vendor.and_then(|len| data.take(len.into()));
    Ok((algorithms, vendor.unwrap_or_default()))
}

/// True where the bytes are events of TPM 1.2 to their end, or to padding; the last of several may be cut.
fn is_of_tpm_12(log: &[u8]) -> bool {
    let end = padding_start(log);
    let mut cursor = Cursor::new(log);
    let mut whole = 0_usize;
    while cursor.offset() < end {
        let (Some(pcr), Some(event_type)) = (cursor.long(), cursor.long()) else {
            return whole >= ENOUGH_EVENTS;
        };
        // Types of the TCG, and those of a vendor between them.
        let is_type = matches!(event_type, 1..=0xffff | 0x8000_0001..=0x8000_00ff);
        if !is_type || (pcr >= PCRS && event_type != EV_NO_ACTION) {
            return false;
        }
        if cursor.take(SHA1_BYTES).is_none() || cursor.counted().is_none() {
            return whole >= ENOUGH_EVENTS;
        }
        whole = whole.saturating_add(1);
    }
    whole > 0
}
