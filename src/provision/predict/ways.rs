//! The ways to boot, each for itself: one boot file that does not start keeps the others from nothing.
//!
//! All are predicted together where they all start, since one may leave a level of shim that another one finds. Else each
//! chain is predicted alone.

use super::{Branch, Guest, PredictError, Request};
use crate::measure::{self, Boot};

/// What becomes of each way to boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    /// Those that lead to a state, in the order of the policy.
    pub branches: Vec<Branch>,
    /// Those that lead to none that is known.
    pub refused: Vec<Refused>,
    /// What the operator should know, each once.
    pub warnings: Vec<String>,
}

/// A way to boot that is not predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The boot file that it would end in.
    pub kernel: String,
    /// Why.
    pub why: String,
    /// Firmware or shim does not start it; else nobody can say what it measures.
    pub does_not_start: bool,
}

impl Request {
    /// Reads the files and predicts every way to boot. Nothing is written.
    pub fn ways(&self) -> Result<Ways, PredictError> {
        let (boot, warnings) = self.boot()?;
        match self.guest.predict(&boot, warnings.clone()) {
            Ok(predicted) => Ok(Ways {
                branches: predicted.prediction.branches,
                refused: Vec::new(),
                warnings: predicted.warnings,
            }),
            Err(PredictError::Measure(measure::Error::Program { .. })) => {
                each(&self.guest, &boot, warnings)
            }
            Err(error) => Err(error),
        }
    }
}

fn each(guest: &Guest, boot: &Boot, warnings: Vec<String>) -> Result<Ways, PredictError> {
    let mut ways = Ways {
        warnings,
        ..Ways::default()
    };
    for chain in &boot.chains {
        let alone = Boot {
            chains: vec![*chain],
            ..boot.clone()
        };
        match guest.predict(&alone, Vec::new()) {
            Ok(predicted) => {
                ways.branches.extend(predicted.prediction.branches);
                for warning in predicted.warnings {
                    if !ways.warnings.contains(&warning) {
                        ways.warnings.push(warning);
                    }
                }
            }
            Err(PredictError::Measure(measure::Error::Program { file, problem })) => {
                let kernel = alone.kernels().next().map(|file| file.name.clone());
                ways.refused.push(Refused {
                    kernel: kernel.unwrap_or_default(),
                    why: format!("{file}: {problem}"),
                    does_not_start: problem.keeps_from_booting(),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ways)
}
