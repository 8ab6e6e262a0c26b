//! Whether a guest would open an image: each way to boot held against what the key is sealed to.

use std::path::PathBuf;

use super::lock::{Lock, Locks, Opener, Values};
use super::mismatch::{Known, Mismatch, mismatch};
use super::report::Report;
use super::{Error, Inspection, KeyObjectKind, State};
use crate::predict::{
    Bank, BootFiles, Branch, Gap, Guest, PredictError, Profile, Reader, Request, Rules, Separator,
    Ways,
};
use crate::uefi_config;
use measure::Source;

/// What is asked about an image.
#[derive(Debug, Clone)]
pub struct Question {
    /// What describes the guest's firmware: each of these that it may have.
    pub firmware: Vec<uefi_config::Source>,
    /// How that is read.
    pub options: uefi_config::Options,
    /// Whose rules count.
    pub rules: Rules,
    /// Whether systemd-pcrosseparator runs, where systemd's reader opens.
    pub separator: Separator,
    /// Files that systemd's stub would measure into PCR 12 are a warning, no error.
    pub allow_extra_measurements: bool,
    /// What the guest will boot, where it is not what the image has.
    pub boot_files: Option<BootFiles>,
    /// A report of the deploy.
    pub report: Option<PathBuf>,
    /// Configurations that the guest's firmware had before.
    pub earlier: Vec<PathBuf>,
}

/// Whether a guest would open an image.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The PCRs that are asked for.
    pub pcrs: Vec<u8>,
    /// Their bank.
    pub bank: Bank,
    /// The ways to boot under each configuration in their order, those of equal values under one of them once.
    pub ways: Vec<Way>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// One way to boot, or several that lead to the same values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The configuration of the firmware, by its path.
    pub configuration: String,
    /// The boot files that it ends in.
    pub kernels: Vec<String>,
    /// True where systemd-pcrosseparator runs on it.
    pub has_separator: bool,
    /// The values of the PCRs; empty where it does not start.
    pub values: Values,
    /// What becomes of the key.
    pub outcome: Outcome,
}

/// What becomes of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It comes out.
    Unlocks(Opener),
    /// It does not.
    StaysLocked(Mismatch),
    /// It is sealed to values that this way to boot leaves behind it, since more is measured.
    NeverReached {
        /// What.
        why: String,
    },
    /// The firmware, or shim, does not start the boot file.
    DoesNotStart {
        /// Why.
        why: String,
    },
    /// It cannot be told.
    Unknown {
        /// Why.
        why: String,
    },
}

impl Way {
    /// True where it leads to the key.
    pub fn unlocks(&self) -> bool {
        matches!(self.outcome, Outcome::Unlocks(_))
    }
}

impl Answer {
    /// True where every way to boot leads to the key.
    pub fn unlocks(&self) -> bool {
        self.ways.iter().all(Way::unlocks)
    }
}

impl Question {
    /// Predicts, and holds what comes out against what the image is sealed to.
    pub fn answer(&self, image: &Inspection) -> Result<Answer, Error> {
        let Some(key_object) = image.key_object() else {
            return Err(nothing_sealed(image.state));
        };
        let mut locks = Locks::of(image);
        let predictable: &[u8] = match key_object {
            KeyObjectKind::Secboot => &[4, 7, 12],
            KeyObjectKind::SystemdTpm2 => &[4, 7, 11, 12, 15],
        };
        let banks = locks
            .locks
            .iter()
            .filter(|lock| !lock.selection.pcrs.is_empty());
        let bank = banks.map(|lock| lock.selection.bank).next();
        let bank = bank.unwrap_or(Bank::Sha256);
        locks.keep(bank, predictable);
        let own = BootFiles::Image {
            path: image.source.clone(),
            backing_files: image
                .backing_files
                .iter()
                .map(|(path, _)| path.clone())
                .collect(),
            esp: image.esp.as_ref().map(|esp| esp.unique_guid),
        };
        let mut answer = Answer {
            pcrs: profile(&locks).pcrs().into_iter().collect(),
            bank,
            ways: Vec::new(),
            warnings: Vec::new(),
        };
        let mut predicted = Vec::new();
        for source in &self.firmware {
            let request = Request {
                boot_files: self.boot_files.clone().unwrap_or_else(|| own.clone()),
                guest: self.guest(key_object, &locks, bank, source),
            };
            let name = source.path().display().to_string();
            let ways = request.ways().map_err(|error| self.told_of(&name, error))?;
            predicted.push((name, request, ways));
        }
        for (name, request, ways) in &predicted {
            let mut warnings = ways.warnings.clone();
            let mut known = self.known(image, &locks, request, &own, &mut warnings)?;
            let others = predicted.iter().filter(|(other, ..)| other != name);
            known.extend(others.flat_map(|(name, _, ways)| states(&ways.branches, name)));
            let of_this = ways_under(name, ways, |branch| outcome(&locks, branch, &known));
            answer.ways.extend(of_this);
            warnings.retain(|warning| !answer.warnings.contains(warning));
            answer.warnings.extend(warnings);
        }
        Ok(answer)
    }

    /// Names the configuration in an error, where there are several.
    fn told_of(&self, name: &str, error: PredictError) -> PredictError {
        match self.firmware.as_slice() {
            [_] => error,
            _ => error.under(name),
        }
    }

    fn guest(
        &self,
        key_object: KeyObjectKind,
        locks: &Locks<'_>,
        bank: Bank,
        source: &uefi_config::Source,
    ) -> Guest {
        Guest {
            firmware: vec![source.clone()],
            options: self.options.clone(),
            profile: profile(locks),
            reader: match key_object {
                KeyObjectKind::Secboot => Reader::SnapBootstrap,
                KeyObjectKind::SystemdTpm2 => Reader::Systemd {
                    separator: self.separator,
                },
            },
            allow_extra_measurements: self.allow_extra_measurements,
            rules: self.rules,
            bank,
        }
    }

    /// The states that are known besides the predicted ones.
    fn known(
        &self,
        image: &Inspection,
        locks: &Locks<'_>,
        request: &Request,
        own: &BootFiles,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Known>, Error> {
        let mut known = Vec::new();
        if let Some(path) = &self.report {
            let report = Report::read(path)?;
            let fits = report
                .states
                .iter()
                .any(|state| locks.opened_by(&state.values).is_some());
            if !fits {
                warnings.push(format!(
                    "--report: none of the states in {} opens this image: it is the report of another deploy",
                    path.display()
                ));
            }
            let header = image
                .container
                .as_ref()
                .map(|facts| &facts.luks.header_sha256);
            if fits && report.header_sha256.as_ref() != header {
                warnings.push(format!(
                    "the LUKS2 header is not the one of {}: keyslots or tokens have changed since that deploy",
                    path.display()
                ));
            }
            known.extend(report.states);
        }
        for path in &self.earlier {
            let mut earlier = request.clone();
            earlier.guest.firmware = vec![uefi_config::Source::Json(path.clone())];
            known.extend(states(
                &earlier.ways()?.branches,
                &path.display().to_string(),
            ));
        }
        if self.boot_files.is_some() {
            let present = Request {
                boot_files: own.clone(),
                guest: request.guest.clone(),
            };
            // Where these cannot be predicted, they are just not among the known ones.
            let branches = present.ways().map(|ways| ways.branches).unwrap_or_default();
            known.extend(states(&branches, "the boot files that are in the image"));
        }
        if let Reader::Systemd { .. } = request.guest.reader {
            let mut both = request.clone();
            both.guest.reader = Reader::Systemd {
                separator: Separator::Both,
            };
            let (with, without): (Vec<_>, Vec<_>) =
                both.ways()?.branches.into_iter().partition(has_separator);
            known.extend(states(&with, "a boot with systemd-pcrosseparator"));
            known.extend(states(&without, "a boot without systemd-pcrosseparator"));
        }
        Ok(known)
    }
}

/// The PCRs that are asked for.
fn profile(locks: &Locks<'_>) -> Profile {
    let asks = |pcr: u8| {
        let mut locks = locks.locks.iter();
        locks.any(|lock| lock.selection.pcrs.contains(&pcr))
    };
    let profile = Profile {
        boot_manager: asks(4),
        secure_boot: asks(7),
        sections: asks(11),
        kernel: asks(12),
        volume_key: asks(15),
    };
    if profile == Profile::default() {
        // Any state will do; the ways to boot are listed all the same.
        return Profile {
            boot_manager: true,
            ..profile
        };
    }
    profile
}

fn nothing_sealed(state: State) -> Error {
    let (what, can_be_deployed) = match state {
        State::Plain => ("it is not encrypted", false),
        State::Encrypted => ("it is not deployed yet, and opens by its clear key", true),
        _ => (
            "its container was not made by this program, or the key is gone",
            false,
        ),
    };
    Error::NothingSealed {
        what,
        can_be_deployed,
    }
}

fn states(branches: &[Branch], label: &str) -> Vec<Known> {
    let known = branches.iter().map(|branch| Known {
        label: label.to_owned(),
        values: branch.pcrs.clone(),
    });
    known.collect()
}

fn has_separator(branch: &Branch) -> bool {
    let mut events = branch.events.iter();
    events.any(|event| event.source == Source::OsSeparator)
}

/// The ways to boot under a configuration, each with what becomes of the key.
fn ways_under(
    configuration: &str,
    predicted: &Ways,
    outcome: impl Fn(&Branch) -> Outcome,
) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for branch in &predicted.branches {
        // Boot files of equal values may differ in what is not predicted: addons lie there for one of them.
        let outcome_of_branch = match outcome(branch) {
            Outcome::Unlocks(opener) => started(predicted, branch, opener),
            other => other,
        };
        let is_same =
            |way: &&mut Way| way.values == branch.pcrs && way.outcome == outcome_of_branch;
        match ways.iter_mut().find(is_same) {
            Some(way) if way.kernels.contains(&branch.kernel) => {}
            Some(way) => way.kernels.push(branch.kernel.clone()),
            None => ways.push(Way {
                configuration: configuration.to_owned(),
                kernels: vec![branch.kernel.clone()],
                has_separator: has_separator(branch),
                outcome: outcome_of_branch,
                values: branch.pcrs.clone(),
            }),
        }
    }
    let refused = predicted.refused.iter().map(|refused| Way {
        configuration: configuration.to_owned(),
        kernels: vec![refused.kernel.clone()],
        has_separator: false,
        values: Values::new(),
        outcome: match refused.why.clone() {
            why if refused.does_not_start => Outcome::DoesNotStart { why },
            why => Outcome::Unknown { why },
        },
    });
    ways.extend(refused);
    ways
}

/// What opens the lock opens it only for a program that starts: where an option lifted that check, nothing is promised.
fn started(predicted: &Ways, branch: &Branch, opener: Opener) -> Outcome {
    let mut lifted = predicted.lifted.iter();
    match lifted.find(|lifted| lifted.kernel == branch.kernel) {
        Some(lifted) => Outcome::Unknown {
            why: lifted.why.clone(),
        },
        None => Outcome::Unlocks(opener),
    }
}

fn outcome(locks: &Locks<'_>, branch: &Branch, known: &[Known]) -> Outcome {
    let values = &branch.pcrs;
    if let Some(gap) = &branch.gap {
        return outcome_with_gap(locks, values, gap, known);
    }
    match (locks.opened_by(values), locks.unjudged.as_slice()) {
        (Some(opener), _) => Outcome::Unlocks(opener),
        (None, []) => Outcome::StaysLocked(mismatch(locks, values, known)),
        (None, unjudged) => Outcome::Unknown {
            why: unjudged.join("; "),
        },
    }
}

/// What becomes of the key where not every value is the guest's own: only the others count.
fn outcome_with_gap(locks: &Locks<'_>, values: &Values, gap: &Gap, known: &[Known]) -> Outcome {
    let why = gap.to_string();
    if let Gap::NoKernel { .. } = gap {
        return Outcome::DoesNotStart { why };
    }
    let mut certain = values.clone();
    certain.retain(|pcr, _| !gap.missed_pcrs().contains(pcr));
    if let Some(opener) = locks.opened_by(&certain) {
        return Outcome::Unlocks(opener);
    }
    if !locks.unjudged.is_empty() {
        let unjudged = locks.unjudged.iter().cloned();
        let why: Vec<_> = std::iter::once(why).chain(unjudged).collect();
        return Outcome::Unknown {
            why: why.join("; "),
        };
    }
    if locks.opened_by(values).is_some() && gap.is_certain() {
        return Outcome::NeverReached { why };
    }
    let are_certain = |lock: &Lock<'_>| {
        let mut pcrs = lock.selection.pcrs.iter();
        pcrs.all(|pcr| certain.contains_key(pcr))
    };
    if locks.locks.iter().all(are_certain) {
        return Outcome::StaysLocked(mismatch(locks, values, known));
    }
    Outcome::Unknown { why }
}
