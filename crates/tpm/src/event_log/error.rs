//! Why a log cannot be read.

use crate::Bank;

/// Why a log cannot be read. Offsets count from the start of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are no bytes.
    #[error("the event log is empty")]
    Empty,
    /// Neither format begins so.
    #[error(
        "not an event log: the event at byte 0 is neither that of a crypto-agile log, Spec ID Event03, nor one of a log of TPM 1.2"
    )]
    NotALog,
    /// Events in the format of TPM 1.2.
    #[error(
        "an event log in the format of TPM 1.2, which has SHA-1 digests alone, and no other bank"
    )]
    Tpm12,
    /// A log of confidential computing.
    #[error(
        "an event log of confidential computing (CCEL): its events went into the measurement registers of a confidential guest (RTMRs), and not into PCRs"
    )]
    MeasurementRegisters,
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
