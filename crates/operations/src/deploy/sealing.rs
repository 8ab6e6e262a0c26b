//! The guest's SRK, and how the guest gets at it; the sealed-key file for its predicted states.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::plan::KeyObjectKind;
use crate::predict::{Prediction, Sealable};
use base::secret::{Entropy, SecretBytes};
use keyobject::secboot::{self, PcrProfile};
use keyobject::systemd_tpm2::Parent;
use tpm::{SrkFile, StorageParent, UniqueData, UniqueForm};

/// The largest file that holds a public area, a key or unique data.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// What carries the key to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyObject {
    /// The sealed-key file on the EFI system partition, which Ubuntu's initramfs reads.
    Secboot,
    /// Tokens in the LUKS2 header, which systemd-cryptsetup reads.
    SystemdTpm2 {
        /// `--srk-mode`.
        srk_mode: SrkMode,
        /// `--srk-handle`.
        srk_handle: u32,
    },
}

/// How systemd's reader gets at the SRK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SrkMode {
    /// Derived where systemd's legacy template makes it, else persistent.
    #[default]
    Auto,
    /// It lies in the TPM, at a handle.
    Persistent,
    /// The reader makes it again from that template.
    Derived,
}

/// How a guest's SRK is described.
#[derive(Debug, Clone)]
pub struct SrkOptions {
    /// `--srk-pub`.
    pub public: PathBuf,
    /// What the guest needs to make it again.
    pub template: TemplateChoice,
}

/// How the guest makes its SRK again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateChoice {
    /// By the standard template, which every reader knows: no file.
    Standard,
    /// By the attributes of the public area, with unique data from a file where there is one.
    Written {
        /// `--srk-template-unique-data`.
        unique_data: Option<PathBuf>,
    },
}

/// A guest's SRK, as far as it is known here.
pub struct Srk {
    /// Its public area.
    pub parent: StorageParent,
    /// How the guest gets at it.
    pub access: Access,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// How the guest gets at its SRK.
pub enum Access {
    /// For the sealed-key file: by this template on the EFI system partition; `None` for the standard one.
    Template(Option<Vec<u8>>),
    /// For tokens.
    Token(Parent),
}

impl Srk {
    /// Reads the files.
    pub fn read(options: &SrkOptions, key_object: KeyObject) -> Result<Self, Error> {
        let mut warnings = Vec::new();
        let parent = read_parent(options, &mut warnings)?;
        let access = match key_object {
            KeyObject::Secboot => Access::Template(template(options, &parent, &mut warnings)?),
            KeyObject::SystemdTpm2 {
                srk_mode,
                srk_handle,
            } => {
                let found = parent_of_tokens(options, &parent, srk_mode, srk_handle)?;
                Access::Token(found)
            }
        };
        Ok(Self {
            parent,
            access,
            warnings,
        })
    }
}

fn read_parent(options: &SrkOptions, warnings: &mut Vec<String>) -> Result<StorageParent, Error> {
    const OPTION: &str = "--srk-pub";
    let path = &options.public;
    let bytes = read(OPTION, path)?;
    let refused = |problem| Error::TpmFile {
        option: OPTION,
        path: path.clone(),
        problem,
    };
    match SrkFile::read(&bytes).map_err(refused)? {
        SrkFile::PublicArea(parent) => {
            parent.check_is_srk().map_err(refused)?;
            Ok(parent)
        }
        SrkFile::KeyAlone(parent) if options.template == TemplateChoice::Standard => {
            warnings.push(format!(
                "{OPTION}: {} holds a key without attributes, which do not show whether it is the guest's SRK or its endorsement key, as clouds hand out; no guest unlocks what is sealed to the latter",
                path.display()
            ));
            Ok(parent)
        }
        SrkFile::KeyAlone(_) => Err(Error::KeyAlone { path: path.clone() }),
    }
}

/// From what Ubuntu's initramfs makes the SRK again; `None` for the standard template, which it knows. A key that this does not
/// make is refused: the guest would make another one.
fn template(
    options: &SrkOptions,
    parent: &StorageParent,
    warnings: &mut Vec<String>,
) -> Result<Option<Vec<u8>>, Error> {
    match &options.template {
        TemplateChoice::Standard => match parent.differs_from_standard() {
            Some(difference) => Err(Error::NotStandard {
                path: options.public.clone(),
                difference,
            }),
            None => Ok(None),
        },
        TemplateChoice::Written { unique_data } => {
            let unique = match unique_data {
                Some(path) => unique_data_of(path, parent, warnings)?,
                None => UniqueData::none(parent.kind()),
            };
            Ok(Some(parent.template(&unique).map_err(Error::Template)?))
        }
    }
}

/// How systemd's reader gets at the SRK. A key that was made with unique data looks like one that the template makes.
fn parent_of_tokens(
    options: &SrkOptions,
    parent: &StorageParent,
    mode: SrkMode,
    handle: u32,
) -> Result<Parent, Error> {
    let has_unique_data = match &options.template {
        TemplateChoice::Written {
            unique_data: Some(path),
        } => {
            unique_data_of(path, parent, &mut Vec::new())?;
            true
        }
        _ => false,
    };
    let can_be_derived = parent.is_of_legacy_template() && !has_unique_data;
    match mode {
        SrkMode::Derived if !can_be_derived => Err(Error::NotDerivable {
            attributes: parent.attributes(),
            has_unique_data,
        }),
        SrkMode::Auto if can_be_derived => Ok(Parent::Derived),
        SrkMode::Derived => Ok(Parent::Derived),
        SrkMode::Auto | SrkMode::Persistent => Ok(Parent::Persistent { handle }),
    }
}

/// Seals a key in the states that were predicted, in any where nothing was: the content of the sealed-key file.
pub fn sealed_key(
    parent: &StorageParent,
    states: Option<&Sealable>,
    key: &SecretBytes,
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, Error> {
    let profile = match states.map(Sealable::prediction) {
        Some(prediction) => PcrProfile::new(prediction.selection.clone(), prediction.composites()),
        None => PcrProfile::any_state(),
    }?;
    Ok(secboot::seal(parent, &profile, key, entropy)?)
}

fn unique_data_of(
    path: &Path,
    parent: &StorageParent,
    warnings: &mut Vec<String>,
) -> Result<UniqueData, Error> {
    const OPTION: &str = "--srk-template-unique-data";
    let bytes = read(OPTION, path)?;
    let read = UniqueData::read(&bytes, parent.kind());
    let (unique, form) = read.map_err(|problem| Error::TpmFile {
        option: OPTION,
        path: path.to_owned(),
        problem,
    })?;
    if form == UniqueForm::Tools {
        warnings.push(format!(
            "{OPTION}: {} is in the form of tpm2-tools and was taken as that",
            path.display()
        ));
    }
    Ok(unique)
}

/// What a choice of PCRs leaves open, and what closes it.
pub fn policy_warnings(prediction: Option<&Prediction>, key_object: KeyObjectKind) -> Vec<String> {
    let Some(prediction) = prediction else {
        return vec![
            "--no-pcr-policy: whatever runs on the guest's vTPM gets the key, in every state; --add-efi-boot-manager-profile, --add-efi-secure-boot-profile and --add-ubuntu-kernel-profile bind it to what boots"
                .to_owned(),
        ];
    };
    let pcrs = &prediction.selection.pcrs;
    let is = |wanted: &[u8]| pcrs.iter().eq(wanted);
    let mut warnings = Vec::new();
    if is(&[7]) {
        let time = match key_object {
            KeyObjectKind::Secboot => {
                ", --add-ubuntu-kernel-profile the time before the root is mounted"
            }
            KeyObjectKind::SystemdTpm2 => "",
        };
        warnings.push(format!(
            "PCR 7 alone: every program that an authority in db has signed can ask for the key; --add-efi-boot-manager-profile allows the boot files of this image only{time}"
        ));
    }
    if is(&[12]) {
        warnings.push(
            "PCR 12 alone: every program that boots on the guest can ask for the key, with Secure Boot on or off; add --add-efi-boot-manager-profile and --add-efi-secure-boot-profile"
                .to_owned(),
        );
    }
    // Ubuntu's initramfs extends PCR 12 when the root is open; systemd's extends 11, and 15 where it is told to.
    if key_object == KeyObjectKind::SystemdTpm2 && !pcrs.contains(&11) && !pcrs.contains(&15) {
        warnings.push(
            "nothing closes when the root is open: another root, which somebody put on the disk, can ask for the key as well; --bind-pcr11 ends that, --bind-pcr15 in part (docs/security.md)"
                .to_owned(),
        );
    }
    warnings
}

/// The whole of a small file.
fn read(option: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
    read.map_err(|source| Error::Unreadable {
        option,
        path: path.to_owned(),
        source,
    })?;
    Ok(bytes)
}
