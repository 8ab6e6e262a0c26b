//! The predictions that a key can be sealed to: those that leave nothing out of the PCRs that are asked for. Nothing else makes
//! a [`Sealable`], and what seals takes nothing else.

use std::collections::BTreeSet;

use super::branch::Prediction;
use super::gap::Gap;

/// Why a key is not sealed to a prediction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSealable {
    /// A PCR that was asked for is not predicted whole.
    #[error("{gap}; a key that is sealed to {} would stay locked", in_words(pcrs))]
    NotPredicted {
        /// What is not.
        gap: Gap,
        /// The PCRs, ascending.
        pcrs: BTreeSet<u8>,
    },
    /// Whoever can write the disk chooses initrd and command line, and nobody allowed that.
    #[error("{gap}; whoever can write the disk chooses them, and gets the key")]
    Uncovered {
        /// What leaves them open.
        gap: Gap,
    },
}

fn in_words(pcrs: &BTreeSet<u8>) -> String {
    let numbers: Vec<_> = pcrs.iter().map(|pcr| format!("PCR {pcr}")).collect();
    numbers.join(" or ")
}

/// A prediction that a key can be sealed to: a guest that boots one of its ways has these values when it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealable(Prediction);

impl Sealable {
    /// Checks every branch. `uncovered_initrd` allows what the PCRs do not cover, but never a value that no guest has.
    pub fn new(prediction: Prediction, uncovered_initrd: bool) -> Result<Self, NotSealable> {
        let gaps = prediction
            .branches
            .iter()
            .filter_map(|branch| branch.gap.as_ref());
        for gap in gaps {
            let missed = gap.missed_pcrs().iter().copied();
            let pcrs: BTreeSet<u8> = missed
                .filter(|pcr| prediction.selection.pcrs.contains(pcr))
                .collect();
            let gap = gap.clone();
            if !pcrs.is_empty() {
                return Err(NotSealable::NotPredicted { gap, pcrs });
            }
            if !uncovered_initrd {
                return Err(NotSealable::Uncovered { gap });
            }
        }
        Ok(Self(prediction))
    }

    /// The values.
    pub fn prediction(&self) -> &Prediction {
        &self.0
    }

    /// The values alone.
    pub fn into_prediction(self) -> Prediction {
        self.0
    }
}
