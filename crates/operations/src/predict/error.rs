//! Why a prediction fails, from the files it starts with.

use std::path::PathBuf;

use super::options;
use crate::{Error, uefi_config};
use base::storage;
use measure::Problem;
use tpm::event_log;

/// Why a prediction fails.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// A directory could not be listed.
    #[error("cannot list the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no shim where it must be.
    #[error("there is no EFI/ubuntu/shimx64.efi on the EFI system partition")]
    NoShim,
    /// A boot file cannot be read.
    #[error("{file}: cannot be read")]
    Unreadable {
        /// Its name.
        file: String,
        /// Why.
        source: storage::Error,
    },
    /// More kernels than any guest has.
    #[error("there are {count} kernels in EFI/ubuntu; at most {max} are looked at")]
    TooManyKernels {
        /// How many there are.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A boot file's name belongs to a directory.
    #[error("{file}: is a directory, not a boot file")]
    IsDirectory {
        /// Its name.
        file: String,
    },
    /// A boot file is no program that firmware could load.
    #[error("{file}: {problem}")]
    Program {
        /// Its name.
        file: String,
        /// Why.
        #[source]
        problem: firmware::Error,
    },
    /// Nothing that firmware starts by itself is there, nor Ubuntu's shim.
    #[error(
        "nothing boots from the EFI system partition: there is no EFI/ubuntu/shimx64.efi, no EFI/BOOT/BOOTX64.EFI and no EFI/BOOT/BOOTAA64.EFI"
    )]
    NothingBoots,
    /// More ways to boot than any guest has.
    #[error("there are more than {max} ways to boot from the EFI system partition")]
    TooManyWays {
        /// The limit.
        max: usize,
    },
    /// The image cannot be read as far as its partitions.
    #[error(transparent)]
    Image(#[from] Box<Error>),
    /// The filesystem of the EFI system partition cannot be read.
    #[error("the EFI system partition: {0}")]
    Volume(#[from] filesystem::Error),
    /// Files on the partition that systemd's stub would measure.
    #[error(
        "PCR 12 would be another: systemd-stub measures what it finds in {}", found.join(", ")
    )]
    ExtraMeasurements {
        /// Their paths.
        found: Vec<String>,
    },
    /// Nothing describes the guest's firmware.
    #[error("nothing says what the guest's firmware holds")]
    NoConfiguration,
    /// What is wrong under one of several configurations.
    #[error("under {name}: {problem}")]
    Under {
        /// The configuration.
        name: String,
        /// What is wrong.
        problem: Box<PredictError>,
    },
    /// The guest's configuration cannot be read.
    #[error(transparent)]
    Firmware(#[from] uefi_config::Error),
    /// The prediction itself.
    #[error("{}", options::error(.0))]
    Measure(measure::Error),
    /// An event log cannot be written.
    #[error("cannot write {}", path.display())]
    WriteLog {
        /// Where to.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A guest's event log cannot be opened.
    #[error("cannot read {}", path.display())]
    ReadLog {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A guest's event log is longer than any.
    #[error("{} has more than 16 MiB, and is not read: a guest's event log has some ten KiB", path.display())]
    LogTooLong {
        /// Which one.
        path: PathBuf,
    },
    /// A guest's event log is none.
    #[error("{}: {problem}", path.display())]
    Log {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        problem: event_log::Error,
    },
}

impl From<measure::Error> for PredictError {
    fn from(error: measure::Error) -> Self {
        Self::Measure(error)
    }
}

impl PredictError {
    /// The same for one of several configurations. Errors that name the configuration's file stay as they are.
    pub(crate) fn under(self, name: &str) -> Self {
        match self {
            Self::Measure(_) => Self::Under {
                name: name.to_owned(),
                problem: Box::new(self),
            },
            other => other,
        }
    }

    /// True where the error is about the image or directory that the boot files were looked for in.
    pub fn is_about_boot_files(&self) -> bool {
        match self {
            Self::NoShim
            | Self::NothingBoots
            | Self::TooManyWays { .. }
            | Self::Unreadable { .. }
            | Self::TooManyKernels { .. }
            | Self::IsDirectory { .. }
            | Self::ExtraMeasurements { .. }
            | Self::Program { .. }
            | Self::Image(_)
            | Self::Volume(_) => true,
            Self::Under { problem, .. } => problem.is_about_boot_files(),
            Self::Measure(error) => {
                matches!(
                    error,
                    measure::Error::NoKernel | measure::Error::Program { .. }
                )
            }
            Self::Directory { .. }
            | Self::NoConfiguration
            | Self::Firmware(_)
            | Self::WriteLog { .. }
            | Self::ReadLog { .. }
            | Self::LogTooLong { .. }
            | Self::Log { .. } => false,
        }
    }

    /// The way out for who seals, and has not the options of who predicts.
    pub fn hint_of_sealing(&self) -> Option<String> {
        match self {
            Self::Under { problem, .. } => problem.hint_of_sealing(),
            Self::NoShim | Self::NothingBoots => Some(
                "a guest without boot entries starts a program in EFI/BOOT; --no-pcr-policy binds to the vTPM alone, whatever boots"
                    .to_owned(),
            ),
            Self::Measure(measure::Error::NoKernel) => {
                Some("encrypt and provision put one there: --kernel-efi FILE".to_owned())
            }
            // An option that lifts the check would seal to what no guest reaches.
            Self::Measure(measure::Error::Program { problem, .. }) => problem
                .remedy()
                .map(str::to_owned)
                .or_else(|| self.hint()),
            _ => self.hint(),
        }
    }

    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Firmware(error) => error.hint(),
            Self::Under { problem, .. } => problem.hint(),
            Self::Image(error) => match error.as_ref() {
                Error::SeveralPartitions { .. } | Error::NoPartition { .. } => {
                    Some("name the partition: --efi-partition-uuid GUID".to_owned())
                }
                Error::SourceFile(image::Error::InUse) => {
                    Some("name the directory where its EFI system partition is mounted: --esp DIR".to_owned())
                }
                _ => None,
            },
            Self::ExtraMeasurements { .. } => Some(
                "remove them, or give --allow-extra-measurements where the guest's stub does not read them"
                    .to_owned(),
            ),
            Self::NoShim | Self::NothingBoots => Some(
                "name the programs that the guest loads, in their order: --chain FILE[,FILE...]"
                    .to_owned(),
            ),
            Self::Measure(measure::Error::NoKernel) => {
                Some("--allow-no-kernel predicts the values all the same".to_owned())
            }
            Self::Measure(measure::Error::Program {
                problem: Problem::Rollover { .. },
                ..
            }) => Some(
                "take a shim that is signed under both, or describe the guest after its db was updated"
                    .to_owned(),
            ),
            // Without a signer that is trusted there is no authority, hence no PCR 7.
            Self::Measure(measure::Error::Program {
                problem: Problem::Unsigned { .. } | Problem::Untrusted { .. },
                ..
            }) => Some(
                "--no-verify-signatures predicts PCR 4 all the same, with --add-efi-boot-manager-profile alone"
                    .to_owned(),
            ),
            Self::Measure(measure::Error::Program { problem, .. }) => {
                options::lifts(problem).map(|flag| format!("{flag} predicts the values all the same"))
            }
            Self::Log {
                problem: event_log::Error::NotALog | event_log::Error::Empty,
                ..
            } => Some(
                "in the guest the log is /sys/kernel/security/tpm0/binary_bios_measurements; only root may read it"
                    .to_owned(),
            ),
            Self::Log {
                problem: event_log::Error::Tpm12,
                ..
            } => Some("a guest with a TPM 2.0 has a log of several banks: /sys/kernel/security/tpm0/binary_bios_measurements".to_owned()),
            Self::Log {
                problem: event_log::Error::MeasurementRegisters,
                ..
            } => Some(
                "only PCRs are predicted: where the guest has a vTPM, too, its log is /sys/kernel/security/tpm0/binary_bios_measurements"
                    .to_owned(),
            ),
            Self::Log {
                problem: event_log::Error::NoBank { .. },
                ..
            } => Some("choose a bank that the log has: --bank sha256 or --bank sha384".to_owned()),
            _ => None,
        }
    }
}
