//! The ways to boot, each for itself: one boot file that does not start keeps the others from nothing.
//!
//! All are predicted together where they all start, since one may leave a level of shim that another one finds. Else each
//! chain is predicted alone.

use super::{Branch, Guest, PredictError, Request, options};
use firmware::UefiConfig;
use measure::{self, Boot, Input};

/// What becomes of each way to boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    /// Those that lead to a state, in the order of the policy.
    pub branches: Vec<Branch>,
    /// Those that lead to none that is known.
    pub refused: Vec<Refused>,
    /// Those among `branches` that do not start, and are predicted since an option lifts the check.
    pub lifted: Vec<Refused>,
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
                lifted: predicted.lifted,
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
            chains: vec![chain.clone()],
            ..boot.clone()
        };
        match guest.predict(&alone, Vec::new()) {
            Ok(predicted) => {
                ways.branches.extend(predicted.prediction.branches);
                ways.lifted.extend(predicted.lifted);
                for warning in predicted.warnings {
                    if !ways.warnings.contains(&warning) {
                        ways.warnings.push(warning);
                    }
                }
            }
            Err(PredictError::Measure(measure::Error::Program { file, problem })) => {
                ways.refused.push(Refused {
                    kernel: kernel_of(&alone),
                    why: options::program(&file, &problem),
                    does_not_start: problem.keeps_from_booting(),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ways)
}

/// The ways to boot that firmware or shim would not go, and that are predicted since an option lifts a check of theirs.
pub(super) fn lifted(guest: &Guest, configuration: &UefiConfig, boot: &Boot) -> Vec<Refused> {
    let Some(rules) = guest.rules.with_every_check() else {
        return Vec::new();
    };
    let mut lifted = Vec::new();
    for chain in &boot.chains {
        let alone = Boot {
            chains: vec![chain.clone()],
            ..boot.clone()
        };
        let checked = measure::predict(&Input {
            configuration,
            boot: &alone,
            profile: guest.profile,
            reader: guest.reader,
            rules,
            bank: guest.bank,
        });
        if let Err(measure::Error::Program { file, problem }) = checked
            && problem.keeps_from_booting()
            && let Some(option) = options::lifts(&problem)
        {
            lifted.push(Refused {
                kernel: kernel_of(&alone),
                why: format!(
                    "{}; {option} predicts it all the same, and no guest with Secure Boot on asks for a key then",
                    options::program(&file, &problem)
                ),
                does_not_start: true,
            });
        }
    }
    lifted
}

/// The boot file that the one chain of a boot ends in.
fn kernel_of(boot: &Boot) -> String {
    let kernel = boot.kernels().next();
    kernel.map(|file| file.name.clone()).unwrap_or_default()
}
