//! Why an image cannot be deployed, and the way out where there is one.

use std::path::{Path, PathBuf};

use super::plan::KeyObjectKind;
use super::step::WritePhase;
use crate::common::error::LOST_PRIMARY;
use crate::common::recovery_key;
use crate::predict::{self, NotSealable, PredictError};
use crate::{About, Error as CommonError};
use base::storage;
use image::{self, Error as ImageError, FileKind, OtherFormat};
use keyobject::{RecoveryTextError, secboot, systemd_tpm2};

/// Why a deploy fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What can go wrong in other use cases, too.
    #[error(transparent)]
    Common(#[from] crate::Error),
    /// A file in which nothing can be changed in place.
    #[error(
        "the file is {format}; deploy changes an image where it lies, which it does in raw and fixed VHD files"
    )]
    NotInPlace {
        /// The format.
        format: OtherFormat,
    },
    /// No partition holds a LUKS2 container.
    #[error("no partition holds a LUKS2 container: the table has {found}")]
    NoContainer {
        /// The partitions that there are.
        found: String,
    },
    /// Several containers could be meant.
    #[error(
        "several partitions hold a container to deploy: {}",
        numbers(partitions)
    )]
    SeveralContainers {
        /// Their numbers.
        partitions: Vec<u32>,
    },
    /// The root holds no container, and another partition does.
    #[error(
        "partition {partition} holds a container, and the root is partition {root} by its type, which holds none: the container may be left over from what the disk was before"
    )]
    NotTheRoot {
        /// Number of the root partition.
        root: u32,
        /// Number of the partition with the container.
        partition: u32,
    },
    /// The sealed key on the EFI system partition may be that of another container.
    #[error(
        "partition {partition} holds a container that is deployed: its sealed key on the EFI system partition would be replaced"
    )]
    SealedKeyOfAnother {
        /// Number of the partition with the other container.
        partition: u32,
    },
    /// A container of somebody else.
    #[error(
        "partition {partition} holds a LUKS2 container without a clear key; it has no token of type systemd-tpm2, and no sealed key lies on the EFI system partition: it was not made by encrypt"
    )]
    NotOurs {
        /// The partition's number.
        partition: u32,
    },
    /// A header that may be one of an earlier container.
    #[error(
        "partition {partition} has the secondary copy of a LUKS2 header, and nothing of the primary one: it may be left over from an earlier container"
    )]
    LostPrimary {
        /// The partition's number.
        partition: u32,
    },
    /// There is nothing to do.
    #[error(
        "the image is deployed already: partition {partition} holds no clear key, in no header copy"
    )]
    AlreadyDeployed {
        /// The partition's number.
        partition: u32,
    },
    /// An image that was sealed in part.
    #[error(
        "sealing the image again was interrupted: in partition {partition} the old key and the new one open the container"
    )]
    HalfReplaced {
        /// The partition's number.
        partition: u32,
    },
    /// There is nothing to unlock.
    #[error(
        "--unlock-with: the image is not deployed yet: partition {partition} holds its clear key"
    )]
    ClearKeyThere {
        /// The partition's number.
        partition: u32,
    },
    /// Sealing again does not change what carries the key.
    #[error("--unlock-with: the image is deployed with --key-object {}, which stays", found.name())]
    OtherKeyObject {
        /// What it has.
        found: KeyObjectKind,
    },
    /// A key file that cannot be one.
    #[error(
        "--unlock-with: {} {}", path.display(),
        if *is_empty { "is empty" } else { "has more than 8 MiB, and is no key" }
    )]
    UnlockKeyLength {
        /// The file.
        path: PathBuf,
        /// True where it has no byte.
        is_empty: bool,
    },
    /// A key that opens no keyslot.
    #[error(
        "--unlock-with: the key in {} opens no keyslot of the LUKS2 container in partition {partition}{}",
        path.display(),
        if *ends_in_newline { "; it ends in a newline, which is a part of it" } else { "" }
    )]
    UnlocksNothing {
        /// The file.
        path: PathBuf,
        /// The partition's number.
        partition: u32,
        /// True where the last byte is one.
        ends_in_newline: bool,
    },
    /// A key that would be gone.
    #[error(
        "--unlock-with: the key in {} opens keyslot {keyslot}, which is the one to be replaced",
        path.display()
    )]
    UnlocksReplaced {
        /// The file.
        path: PathBuf,
        /// The keyslot.
        keyslot: u32,
    },
    /// The container cannot be read or changed.
    #[error("the LUKS2 container in partition {partition}: {problem}")]
    Container {
        /// The partition's number.
        partition: u32,
        /// What is wrong with it.
        #[source]
        problem: luks2::Error,
    },
    /// The clear key is none that can be sealed.
    #[error(
        "the clear key has {len_bytes} bytes; 1 to {} can be sealed to a vTPM",
        secboot::MAX_KEY_BYTES
    )]
    ClearKeyLength {
        /// Its length.
        len_bytes: usize,
    },
    /// A recovery key of the same name is there.
    #[error("the container has a recovery key named {name:?} already")]
    RecoveryNameTaken {
        /// The name.
        name: String,
    },
    /// A token that a reader would try before ours, or that would make it give up.
    #[error(
        "token {token} is of type systemd-tpm2 already, and guests would try it together with the new ones"
    )]
    OtherTpm2Token {
        /// Its number.
        token: u32,
    },
    /// Ubuntu's initramfs could not find the volume.
    #[error(
        "the LUKS2 container in partition {partition} has {}, and Ubuntu's initramfs finds it by the label {}",
        label_in_words(label),
        crate::common::content::LABEL
    )]
    NotLabelled {
        /// The partition's number.
        partition: u32,
        /// The label that it has.
        label: String,
    },
    /// More tokens than the header takes.
    #[error(
        "{tokens} tokens are needed, one for each way to boot {kernels} {}{}, and the LUKS2 header takes {fit}",
        if *.kernels == 1 { "kernel" } else { "kernels" },
        if *.configurations > 1 { format!(" under {configurations} configurations") } else { String::new() }
    )]
    NoRoomForTokens {
        /// How many are needed.
        tokens: usize,
        /// How many kernels they are for.
        kernels: usize,
        /// Under how many configurations; 0 or 1 where that is one.
        configurations: usize,
        /// How many there is room for.
        fit: usize,
        /// True where the text has no room, false where no number is free.
        by_size: bool,
        /// True for an RSA key, whose objects are larger.
        is_rsa: bool,
    },
    /// The EFI system partition cannot be read or changed.
    #[error("the EFI system partition: {0}")]
    Esp(#[source] filesystem::Error),
    /// A file cannot be read.
    #[error("{option}: cannot read {}", path.display())]
    Unreadable {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{option}: {}: {problem}", path.display())]
    TpmFile {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: tpm::Error,
    },
    /// A public key without attributes.
    #[error(
        "--srk-pub: {} holds a key alone, and the guest's SRK has attributes, too", path.display()
    )]
    KeyAlone {
        /// The file.
        path: PathBuf,
    },
    /// The standard template does not make the key.
    #[error(
        "--standard-srk-template: that template does not make the SRK in {}: {difference}; the guest would make another SRK, and never unlock", path.display()
    )]
    NotStandard {
        /// The file.
        path: PathBuf,
        /// The first difference.
        difference: tpm::StandardDifference,
    },
    /// The guest could not make the SRK again.
    #[error(
        "--srk-mode derived: systemd's legacy template does not make this SRK: {}",
        not_derivable(*attributes, *has_unique_data)
    )]
    NotDerivable {
        /// `objectAttributes`.
        attributes: u32,
        /// True where it was made with unique data.
        has_unique_data: bool,
    },
    /// The template of the SRK cannot be made.
    #[error("cannot describe the SRK for the guest: {0}")]
    Template(tpm::Error),
    /// The PCRs cannot be predicted.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// Not all that a guest measures, or boots, is predicted.
    #[error(transparent)]
    NotSealable(#[from] NotSealable),
    /// The key cannot be sealed.
    #[error("cannot seal the key: {0}")]
    Seal(#[from] secboot::Error),
    /// The tokens cannot be made.
    #[error("cannot seal the key: {0}")]
    SealTokens(#[from] systemd_tpm2::Error),
    /// The recovery key cannot be read.
    #[error(transparent)]
    RecoveryKey(#[from] recovery_key::Error),
    /// The digits are no recovery key.
    #[error("--recovery-key-text: {0}")]
    RecoveryKeyText(RecoveryTextError),
    /// The file for a new recovery key is there.
    #[error("--recovery-key-out: {} exists already", path.display())]
    RecoveryKeyExists {
        /// The file.
        path: PathBuf,
    },
    /// The new recovery key could not be written.
    #[error("--recovery-key-out: cannot write {}", path.display())]
    RecoveryKeyOut {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file of a new recovery key could not be removed, and its image is not there.
    #[error(
        "--recovery-key-out: {} is left behind, and opens nothing: it could not be removed ({source})",
        path.display()
    )]
    RecoveryKeyLeft {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
        /// Why there is no image; `None` where the run was interrupted.
        #[source]
        problem: Option<Box<Error>>,
    },
    /// The image was changed in part, and may need the new recovery key.
    #[error("{} stays: a keyslot of the image may have its key", path.display())]
    RecoveryKeyKept {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        problem: Box<Error>,
    },
    /// What was built is not what it should be; nothing is written.
    #[error("{what} did not come out as planned; nothing was written")]
    Verify {
        /// What was looked at.
        what: &'static str,
    },
    /// The image could not be written.
    #[error("writing {phase}")]
    Write {
        /// What was being written.
        phase: WritePhase,
        /// What the operating system said.
        source: storage::Error,
    },
    /// The copy could not be made.
    #[error("cannot copy the image")]
    Copy(#[source] storage::Error),
}

fn numbers(numbers: &[u32]) -> String {
    let words: Vec<_> = numbers.iter().map(u32::to_string).collect();
    words.join(", ")
}

fn label_in_words(label: &str) -> String {
    if label.is_empty() {
        "no label".to_owned()
    } else {
        format!("the label {label:?}")
    }
}

fn not_derivable(attributes: u32, has_unique_data: bool) -> String {
    if has_unique_data {
        "it was made with unique data".to_owned()
    } else {
        format!(
            "its attributes are {attributes:#010x}, and the template's 0x00030072, with AES-128 and the exponent 0"
        )
    }
}

impl Error {
    /// An error of the container in a partition; a read that failed below is one of the source.
    pub(super) fn container(partition: u32, problem: luks2::Error) -> Self {
        match problem {
            luks2::Error::Storage(error) if error.io().is_some() => {
                crate::Error::Source(error).into()
            }
            luks2::Error::Entropy(error) => crate::Error::Entropy(error).into(),
            problem => Self::Container { partition, problem },
        }
    }

    /// The same for an error of the EFI system partition.
    pub(super) fn esp(problem: filesystem::Error) -> Self {
        match problem {
            filesystem::Error::Storage(error) if error.io().is_some() => {
                crate::Error::Source(error).into()
            }
            problem => Self::Esp(problem),
        }
    }

    /// Which file the error is about.
    pub fn about(&self) -> About {
        match self {
            Self::Common(error) => error.about(),
            Self::NotInPlace { .. }
            | Self::NoContainer { .. }
            | Self::SeveralContainers { .. }
            | Self::NotTheRoot { .. }
            | Self::SealedKeyOfAnother { .. }
            | Self::NotOurs { .. }
            | Self::LostPrimary { .. }
            | Self::AlreadyDeployed { .. }
            | Self::HalfReplaced { .. }
            | Self::ClearKeyThere { .. }
            | Self::OtherKeyObject { .. }
            | Self::Container { .. }
            | Self::ClearKeyLength { .. }
            | Self::RecoveryNameTaken { .. }
            | Self::OtherTpm2Token { .. }
            | Self::NotLabelled { .. }
            | Self::NoRoomForTokens { .. }
            | Self::NotSealable(_)
            | Self::Esp(_) => About::Source,
            Self::Predict(error) if error.is_about_boot_files() => About::Source,
            Self::Write { .. } | Self::Copy(_) => About::Output,
            Self::RecoveryKeyKept { problem, .. } => problem.about(),
            Self::Predict(_)
            | Self::UnlockKeyLength { .. }
            | Self::UnlocksNothing { .. }
            | Self::UnlocksReplaced { .. }
            | Self::Unreadable { .. }
            | Self::TpmFile { .. }
            | Self::KeyAlone { .. }
            | Self::NotStandard { .. }
            | Self::NotDerivable { .. }
            | Self::Template(_)
            | Self::Seal(_)
            | Self::SealTokens(_)
            | Self::RecoveryKey(_)
            | Self::RecoveryKeyText(_)
            | Self::RecoveryKeyExists { .. }
            | Self::RecoveryKeyOut { .. }
            | Self::RecoveryKeyLeft { .. }
            | Self::Verify { .. } => About::Neither,
        }
    }

    /// The way out, where there is one: lines to show below the message. `source` is the image's name.
    pub fn hint(&self, source: &Path) -> Option<String> {
        match self {
            Self::Common(CommonError::OutputFile(ImageError::TargetNotAFile {
                kind: FileKind::BlockDevice,
            })) => Some(
                "deploy writes a copy into a file; copy the encrypted image onto the device, and deploy the device"
                    .to_owned(),
            ),
            Self::Common(error) => error.hint(source),
            Self::NotInPlace { format } => Some(format.conversion(source)),
            Self::OtherKeyObject { found } => {
                Some(format!("give --key-object {}", found.name()))
            }
            Self::UnlocksNothing {
                ends_in_newline: true,
                path,
                ..
            } => Some(format!(
                "take the newline off: head -c -1 {0} | encrypt-cloud-image deploy --unlock-with /dev/stdin ...",
                path.display()
            )),
            Self::OtherTpm2Token { token } => Some(format!(
                "remove it first, on a copy of the partition: cryptsetup token remove --token-id {token}"
            )),
            Self::NoRoomForTokens {
                tokens,
                kernels,
                configurations,
                by_size,
                is_rsa,
                ..
            } => {
                let ways = kernels.saturating_mul((*configurations).max(1));
                let mut hint = fewer_tokens(*tokens, ways, *by_size, *is_rsa);
                if *configurations > 1 {
                    hint.push_str("; or give fewer configurations");
                }
                Some(hint)
            }
            Self::Predict(error) => error.hint_of_sealing(),
            Self::NotSealable(error) => Some(predict::way_to_seal(error).to_owned()),
            Self::RecoveryKeyKept { problem, .. } => problem.hint(source),
            Self::RecoveryKeyLeft { path, .. } => {
                Some(format!("rm {}", image::quoted(path)))
            }
            _ => {
                let hint = self.hint_on_image().or_else(|| self.hint_on_keys());
                hint.map(str::to_owned)
            }
        }
    }

    /// The way out of what is wrong with the image, or with writing it.
    fn hint_on_image(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoContainer { .. } => "encrypt it first: encrypt-cloud-image encrypt",
            Self::LostPrimary { .. } => LOST_PRIMARY,
            Self::SeveralContainers { .. } => {
                "name both partitions: --root-partition-uuid GUID --efi-partition-uuid GUID"
            }
            Self::NotTheRoot { .. } => {
                "encrypt the root first: encrypt-cloud-image encrypt; or, where the container is the root, name both partitions: --root-partition-uuid GUID --efi-partition-uuid GUID"
            }
            Self::SealedKeyOfAnother { .. } => {
                "one EFI system partition carries the sealed key of one container; where nothing is in need of the other one, overwrite its first 16 MiB"
            }
            Self::AlreadyDeployed { .. } => {
                "--unlock-with FILE seals it again, with a recovery key or a passphrase; or deploy a copy of the encrypted image, with --output"
            }
            Self::HalfReplaced { .. } => {
                "run deploy --unlock-with FILE again, with a recovery key or a passphrase"
            }
            Self::ClearKeyThere { .. } => "leave --unlock-with out: the clear key opens it",
            Self::Esp(filesystem::Error::FatNoSpace { .. }) => {
                "remove files from the EFI system partition; fsck.vfat -a on it frees what interrupted runs left"
            }
            Self::Esp(filesystem::Error::FatLink { .. }) => {
                "remove files from the directory that is full"
            }
            Self::NotLabelled { .. } => {
                "encrypt with --profile ubuntu, or deploy with --key-object systemd-tpm2 for a guest whose initrd systemd runs"
            }
            // The first header copy counts: the image is bound, and the next run completes it.
            Self::Write {
                phase: WritePhase::SecondHeader | WritePhase::Tidy,
                ..
            } => {
                "when the cause is gone, run deploy again, without --unlock-with and --recovery-key-out: it completes what this run began, and binds nothing anew; do not ship the image before"
            }
            Self::Write { .. } => {
                "run deploy again when the cause is gone; do not ship the image before"
            }
            _ => return None,
        })
    }

    /// The way out of what is wrong with a key that was given, or with the SRK.
    fn hint_on_keys(&self) -> Option<&'static str> {
        Some(match self {
            Self::UnlocksReplaced { .. } => {
                "give a key that stays: a recovery key, or a passphrase of another keyslot"
            }
            Self::KeyAlone { .. } => {
                "add --standard-srk-template if the SRK is the standard one, or give the output of tpm2_readpublic"
            }
            Self::NotStandard { .. } => {
                "leave --standard-srk-template out, and give the output of tpm2_readpublic -o: the guest gets a template of this key"
            }
            Self::TpmFile {
                option: "--srk-pub",
                problem:
                    tpm::Error::NotAnSrk(_)
                    | tpm::Error::NotAParent { .. }
                    | tpm::Error::NotAsymmetric { .. }
                    | tpm::Error::Unsupported { .. },
                ..
            } => {
                "read the SRK on the guest: tpm2_createprimary -C o -c srk.ctx && tpm2_readpublic -c srk.ctx -o srk.pub"
            }
            Self::RecoveryKeyExists { .. } => {
                "--recovery-key-file takes a key that is there already"
            }
            Self::RecoveryNameTaken { .. } => {
                "that key goes on opening the disk: leave out --recovery-key-file, --recovery-key-text and --recovery-key-out"
            }
            Self::NotDerivable { .. } => {
                "--srk-mode persistent seals to the key at a handle, where the guest must have it before it boots"
            }
            _ => return None,
        })
    }
}

impl Error {
    /// True where the image, or what is put into it, is to blame, whatever the guest.
    pub fn is_of_every_guest(&self) -> bool {
        match self {
            Self::Common(error) => {
                error.about() == About::Source
                    || matches!(
                        error,
                        CommonError::BootFileUnreadable { .. }
                            | CommonError::BootFileNotPe { .. }
                            | CommonError::BootFileTooLong { .. }
                            | CommonError::NoResize2fs
                            | CommonError::Interrupted
                            | CommonError::Entropy(_)
                    )
            }
            Self::NotLabelled { .. } | Self::NotSealable(_) => true,
            _ => false,
        }
    }

    /// The same as [`Error::hint`], for a run that encrypts and binds in one pass.
    pub fn hint_of_provision(&self, source: &Path) -> Option<String> {
        match self {
            Self::Common(CommonError::OutputFile(ImageError::OutputIsSource)) => {
                Some("name another file".to_owned())
            }
            Self::Common(CommonError::OutputFile(ImageError::TargetNotAFile {
                kind: FileKind::BlockDevice,
            })) => {
                Some("--guests makes files; a device is made for one guest: --output".to_owned())
            }
            Self::NotLabelled { .. } => Some(
                "add --profile ubuntu, or --key-object systemd-tpm2 for a guest whose initrd systemd runs"
                    .to_owned(),
            ),
            error => error.hint(source),
        }
    }
}

/// What would make tokens fewer, or smaller.
fn fewer_tokens(tokens: usize, ways_to_boot: usize, by_size: bool, is_rsa: bool) -> String {
    let mut ways = vec!["remove kernels from the EFI system partition"];
    if tokens > ways_to_boot {
        ways.push("give --os-separator yes or no in place of both");
    }
    if by_size && is_rsa {
        ways.push("seal to an ECC SRK, whose tokens are smaller");
    }
    if by_size {
        ways.push("encrypt anew: containers of encrypt have room for 32 tokens");
    }
    ways.join("; or ")
}
