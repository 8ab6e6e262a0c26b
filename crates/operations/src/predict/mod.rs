//! The use case behind `predict`: from the files that an operator has to a prediction.
//!
//! The boot files lie on the EFI system partition of an image, in a directory with that partition's files, or
//! are named one by one; the module `boot_files` finds them. [`uefi_config`] reads the guest's configuration, and
//! [`measure`] predicts. `deploy` seals to the same value: what is printed is what is sealed.

mod boot_files;
mod discovery;
mod error;
mod esp;
mod options;
mod ways;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

pub use boot_files::{EspDirectory, EspFiles, Name, Wanted, extra_folder, of_chains, on_esp};
pub use discovery::discover;
pub use error::PredictError;
pub use esp::EspVolume;
pub(crate) use options::way_to_seal;
pub use options::{cause, warning};
pub use ways::{Refused, Ways};

pub use measure::{
    Branch, Comparison, Event, Explanation, Gap, Input, Measured, NotSealable, Other, Prediction,
    Profile, Reader, Row, Rules, Sealable, Separator, Verdict,
};
pub use tpm::Bank;

use crate::common::staged::Staged;
use crate::uefi_config::{self, Warning};
use firmware::Hash;
use measure::{self, Boot};
use tpm::event_log::{self, LoggedEvent};

/// Most bytes of an event log that is read; a guest's has some ten KiB.
const MAX_LOG_BYTES: u64 = 16 << 20;

/// Where a guest's boot files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFiles {
    /// On the EFI system partition of an image.
    Image {
        /// The image, plain or encrypted.
        path: PathBuf,
        /// The files below it, from the top down, where it holds the changes to another one.
        backing_files: Vec<PathBuf>,
        /// Unique GUID of the partition, where it cannot be told by its type.
        esp: Option<Uuid>,
    },
    /// In a directory that has the files of an EFI system partition.
    Directory(PathBuf),
    /// Each by its path, in the order of a boot; one chain an element.
    Chains(Vec<Vec<PathBuf>>),
}

/// What is to be predicted.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the guest boots.
    pub boot_files: BootFiles,
    /// What the guest is, and what is asked about it.
    pub guest: Guest,
}

/// What a guest is apart from what it boots, and what is asked about it.
#[derive(Debug, Clone)]
pub struct Guest {
    /// What describes its firmware: each of these that it may have, one after the other or some day. Under the reference's
    /// rules the last one counts alone.
    pub firmware: Vec<uefi_config::Source>,
    /// How that is read.
    pub options: uefi_config::Options,
    /// The PCRs that are asked for.
    pub profile: Profile,
    /// Who asks its TPM for the key.
    pub reader: Reader,
    /// Files that systemd's stub would measure into PCR 12 are a warning, no error.
    pub allow_extra_measurements: bool,
    /// Whose rules count.
    pub rules: Rules,
    /// The bank.
    pub bank: Bank,
}

/// A prediction, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predicted {
    /// The prediction.
    pub prediction: Prediction,
    /// The ways to boot that do not start, and are predicted since an option lifts the check. The warnings tell them as well.
    pub lifted: Vec<Refused>,
    /// What the operator should know before relying on it.
    pub warnings: Vec<String>,
}

impl Request {
    /// Reads the files and predicts. Nothing is written.
    pub fn run(&self) -> Result<Predicted, PredictError> {
        let (boot, warnings) = self.boot()?;
        self.guest.predict(&boot, warnings)
    }

    fn boot(&self) -> Result<(Boot, Vec<String>), PredictError> {
        match &self.boot_files {
            BootFiles::Image {
                path,
                backing_files,
                esp,
            } => esp::of_image(path, backing_files, *esp, &self.guest),
            BootFiles::Directory(path) => self.guest.boot_on(&EspDirectory(path.clone())),
            BootFiles::Chains(chains) => {
                let boot = of_chains(chains, self.guest.wanted())?;
                let find = || boot_files::extra_measurements_beside(chains, &boot);
                let extra = self.guest.of_extra_measurements(find)?;
                Ok((boot, extra.into_iter().collect()))
            }
        }
    }
}

impl Guest {
    /// Predicts what the guest measures when it boots from this EFI system partition.
    pub fn predict_on(&self, esp: &dyn EspFiles) -> Result<Predicted, PredictError> {
        let (boot, warnings) = self.boot_on(esp)?;
        self.predict(&boot, warnings)
    }

    /// What it boots from this EFI system partition, and what is worth saying about that.
    fn boot_on(&self, esp: &dyn EspFiles) -> Result<(Boot, Vec<String>), PredictError> {
        match on_esp(esp, self.wanted()) {
            Err(PredictError::NoShim) if !self.rules.follow_reference => {
                let boot = discover(esp, self.wanted())?;
                let extra =
                    self.of_extra_measurements(|| boot_files::extra_measurements(esp, &boot))?;
                Ok((boot, extra.into_iter().collect()))
            }
            boot => {
                let boot = boot?;
                let warnings = self.warnings_on(esp, &boot)?;
                Ok((boot, warnings))
            }
        }
    }

    /// What is worth saying of the other files on the partition.
    fn warnings_on(&self, esp: &dyn EspFiles, boot: &Boot) -> Result<Vec<String>, PredictError> {
        let first = boot_files::other_first_program(esp, boot);
        let extra = self.of_extra_measurements(|| boot_files::extra_measurements(esp, boot))?;
        Ok(first.into_iter().chain(extra).collect())
    }

    /// What is worth saying of files that systemd's stub measures into PCR 12; where that is asked for, an error.
    fn of_extra_measurements(
        &self,
        find: impl FnOnce() -> Result<Vec<String>, PredictError>,
    ) -> Result<Option<String>, PredictError> {
        // The reference looks for none, and knows Ubuntu's reader alone.
        let asks_like_reference =
            self.rules.follow_reference && self.reader == Reader::SnapBootstrap;
        if !self.profile.kernel || asks_like_reference {
            return Ok(None);
        }
        let found = find()?;
        if found.is_empty() {
            return Ok(None);
        }
        let error = PredictError::ExtraMeasurements { found };
        if self.allow_extra_measurements {
            Ok(Some(error.to_string()))
        } else {
            Err(error)
        }
    }

    fn predict(&self, boot: &Boot, mut warnings: Vec<String>) -> Result<Predicted, PredictError> {
        let [sources @ .., last] = &self.firmware[..] else {
            return Err(PredictError::NoConfiguration);
        };
        if sources.is_empty() || self.rules.follow_reference {
            let predicted = self.predict_under(last, boot)?;
            warnings.extend(predicted.warnings);
            return Ok(Predicted {
                warnings,
                ..predicted
            });
        }
        let mut all = Vec::new();
        for source in &self.firmware {
            let name = source.path().display().to_string();
            let predicted = self.predict_under(source, boot);
            let mut predicted = predicted.map_err(|error| error.under(&name))?;
            for branch in &mut predicted.prediction.branches {
                branch.configuration.clone_from(&name);
            }
            all.push((name, predicted));
        }
        warnings.extend(said_of_several(&all));
        let lifted = all
            .iter()
            .flat_map(|(_, predicted)| predicted.lifted.clone());
        let lifted = lifted.collect();
        let mut predictions = all.into_iter().map(|(_, predicted)| predicted.prediction);
        let first = predictions.next().ok_or(PredictError::NoConfiguration)?;
        let prediction = predictions.try_fold(first, |mut prediction, other| {
            prediction.extend(other)?;
            Ok::<_, measure::Error>(prediction)
        })?;
        Ok(Predicted {
            prediction,
            lifted,
            warnings,
        })
    }

    /// The prediction for one configuration.
    fn predict_under(
        &self,
        source: &uefi_config::Source,
        boot: &Boot,
    ) -> Result<Predicted, PredictError> {
        let loaded = uefi_config::load(source, &self.options)?;
        let mut warnings = Vec::new();
        // Whether the shim at hand starts is what the prediction tells; advice for shims in general adds nothing.
        let firmware = loaded.warnings.iter().filter(|warning| {
            !matches!(
                warning,
                Warning::NoMicrosoftCa | Warning::Only2011 | Warning::Only2023
            )
        });
        warnings.extend(firmware.map(ToString::to_string));
        let prediction = measure::predict(&Input {
            configuration: &loaded.config,
            boot,
            profile: self.profile,
            reader: self.reader,
            rules: self.rules,
            bank: self.bank,
        })?;
        warnings.extend(prediction.warnings.iter().map(options::warning));
        let lifted = ways::lifted(self, &loaded.config, boot);
        for one in &lifted {
            if !warnings.contains(&one.why) {
                warnings.push(one.why.clone());
            }
        }
        Ok(Predicted {
            prediction,
            lifted,
            warnings,
        })
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            hash: match self.bank {
                Bank::Sha256 => None,
                Bank::Sha384 => Some(Hash::Sha384),
            },
            inner_kernel: !self.rules.secure_boot,
            sections: self.profile.sections,
        }
    }
}

/// Warnings of several configurations: what holds for all of them once, the others with the configuration's name.
fn said_of_several(all: &[(String, Predicted)]) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for (name, predicted) in all {
        for warning in &predicted.warnings {
            let holds = |(_, other): &(String, Predicted)| other.warnings.contains(warning);
            let text = if all.iter().all(holds) {
                warning.clone()
            } else {
                format!("{name}: {warning}")
            };
            if !said.contains(&text) {
                said.push(text);
            }
        }
    }
    said
}

/// A branch, with the boot files that lead to its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distinct<'a> {
    /// The first branch with these values.
    pub branch: &'a Branch,
    /// Names of the boot files in the order of their branches, each once.
    pub kernels: Vec<&'a str>,
    /// Names of the configurations under which they do, each once; none where there is one alone.
    pub configurations: Vec<&'a str>,
    /// What the values do not cover, in the first of these branches that has something of the kind.
    pub gap: Option<&'a Gap>,
}

/// The branches of a prediction, those of equal composites once: what a policy is made of, in its order.
pub fn distinct(prediction: &Prediction) -> Vec<Distinct<'_>> {
    let mut found: Vec<Distinct<'_>> = Vec::new();
    for branch in &prediction.branches {
        let same = |known: &Distinct<'_>| known.branch.composite == branch.composite;
        let at = found.iter().position(same).unwrap_or_else(|| {
            found.push(Distinct {
                branch,
                kernels: Vec::new(),
                configurations: Vec::new(),
                gap: None,
            });
            found.len() - 1
        });
        let known = &mut found[at];
        known.gap = known.gap.or(branch.gap.as_ref());
        for (names, name) in [
            (&mut known.kernels, &branch.kernel),
            (&mut known.configurations, &branch.configuration),
        ] {
            let is_named = !name.is_empty() && !names.contains(&name.as_str());
            if is_named {
                names.push(name);
            }
        }
    }
    found
}

/// Writes the events of a branch as a crypto-agile event log; a file that is there is replaced.
pub fn write_tcg_log(branch: &Branch, bank: Bank, path: &Path) -> Result<(), PredictError> {
    let events: Vec<_> = branch
        .events
        .iter()
        .map(|event| LoggedEvent {
            pcr: u32::from(event.pcr),
            event_type: event.kind.number(),
            digest: event.digest.clone(),
            data: event.data.clone(),
        })
        .collect();
    let log = event_log::write(&events, bank);
    let written = Staged::new(path, &log).and_then(Staged::publish);
    written.map_err(|source| PredictError::WriteLog {
        path: path.to_owned(),
        source,
    })
}

/// Compares a prediction with the event log that a guest has made, in the file `path`.
pub fn explain(prediction: &Prediction, path: &Path) -> Result<Explanation, PredictError> {
    let path = path.to_owned();
    let mut log = Vec::new();
    let read = File::open(&path).and_then(|file| {
        // The kernel's file claims to be empty, so its length is not asked for.
        file.take(MAX_LOG_BYTES.saturating_add(1))
            .read_to_end(&mut log)
    });
    if let Err(source) = read {
        return Err(PredictError::ReadLog { path, source });
    }
    if log.len() as u64 > MAX_LOG_BYTES {
        return Err(PredictError::LogTooLong { path });
    }
    let events = event_log::read(&log, prediction.selection.bank)
        .map_err(|problem| PredictError::Log { path, problem })?;
    let branches: Vec<_> = distinct(prediction)
        .iter()
        .map(|distinct| distinct.branch)
        .collect();
    Ok(measure::explain(&branches, &prediction.selection, &events))
}
