//! What the programs' options add to the words of [`measure`], which knows of none of them.

use measure::{Cause, Error, Gap, NotSealable, Problem, Warning};

/// A warning of a prediction, with the option that has to do with it.
pub fn warning(warning: &Warning) -> String {
    let more = match warning {
        Warning::ReferenceDiffers { .. } => "; --compat reference gives that value",
        Warning::MokListTrusted { .. } => ", and --compat reference gives that value",
        Warning::NoVolumeKey { .. } => " and --bind-pcr15 closes nothing",
        _ => "",
    };
    format!("{warning}{more}")
}

/// The likely cause of a difference, with the option that describes such a guest.
pub fn cause(cause: &Cause) -> String {
    let more = match cause {
        Cause::SecureBootOff => " (--secure-boot off predicts such a boot)",
        Cause::NoReadyToBoot | Cause::ReadyToBootElsewhere { .. } => {
            ": describe it with --omits-ready-to-boot-signal"
        }
        Cause::ReadyToBoot => ": leave --omits-ready-to-boot-signal out",
        _ => "",
    };
    format!("{cause}{more}")
}

/// Why there is no prediction.
pub(super) fn error(error: &Error) -> String {
    match error {
        Error::Program { file, problem } => program(file, problem),
        other => other.to_string(),
    }
}

/// What is wrong with the boot file of that name.
pub(super) fn program(file: &str, problem: &Problem) -> String {
    let more = match problem {
        Problem::NotUnified => ", so --bind-pcr11 would bind nothing",
        _ => "",
    };
    format!("{file}: {problem}{more}")
}

/// The option that lifts a check, where there is one besides `--compat reference`.
pub(super) fn lifts(problem: &Problem) -> Option<&'static str> {
    Some(match problem {
        Problem::Unsigned { .. }
        | Problem::Untrusted { .. }
        | Problem::Rollover { .. }
        | Problem::DigestMismatch { .. }
        | Problem::BytesBehindTable { .. }
        | Problem::SignatureInvalid { .. }
        | Problem::ChainRefused { .. }
        | Problem::ChainUnknown { .. } => "--no-verify-signatures",
        Problem::Forbidden { .. } => "--ignore-dbx",
        Problem::NoSbat { .. } | Problem::Sbat(_) | Problem::SbatTooOld { .. } => "--ignore-sbat",
        _ => return None,
    })
}

/// The way out of a prediction that no key is sealed to.
pub(crate) fn way_to_seal(error: &NotSealable) -> &'static str {
    match error {
        NotSealable::Uncovered { .. } => {
            "a unified kernel image in its place has both in it; --allow-uncovered-initrd seals all the same"
        }
        NotSealable::NotPredicted { gap, .. } => match gap {
            Gap::NoKernel { .. } => "put a unified kernel image beside it first",
            Gap::Kernel { .. } | Gap::SystemdBoot { .. } | Gap::SecondShim { .. } => {
                "put a unified kernel image in its place"
            }
            Gap::Grub { .. } | Gap::Unknown { .. } => {
                "put a unified kernel image in its place; or seal to PCR 7 without PCR 4, and give --allow-uncovered-initrd"
            }
            Gap::Addons { .. } => "remove them from the EFI system partition",
        },
    }
}
