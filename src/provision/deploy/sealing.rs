//! From the guest's SRK, its predicted states and the clear key to the files of the EFI system partition.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Error;
use super::esp::Files;
use crate::keyobject::secboot::{self, PcrProfile};
use crate::provision::predict::Prediction;
use crate::secret::{Entropy, SecretBytes};
use crate::tpm::{SrkFile, StorageParent, UniqueData, UniqueForm};

/// The largest file that holds a public area, a key or unique data.
const MAX_FILE_BYTES: u64 = 64 << 10;

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
    /// From what the guest makes it again; `None` for the standard template.
    pub template: Option<Vec<u8>>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

impl Srk {
    /// Reads the files.
    pub fn read(options: &SrkOptions) -> Result<Self, Error> {
        const OPTION: &str = "--srk-pub";
        let path = &options.public;
        let bytes = read(OPTION, path)?;
        let file = SrkFile::read(&bytes).map_err(|problem| Error::TpmFile {
            option: OPTION,
            path: path.clone(),
            problem,
        })?;
        let is_standard = options.template == TemplateChoice::Standard;
        let parent = match file {
            SrkFile::PublicArea(parent) => parent,
            SrkFile::KeyAlone(parent) if is_standard => parent,
            SrkFile::KeyAlone(_) => return Err(Error::KeyAlone { path: path.clone() }),
        };
        let mut warnings = Vec::new();
        let template = match &options.template {
            TemplateChoice::Standard => {
                if let Some(difference) = parent.differs_from_standard() {
                    warnings.push(format!(
                        "--standard-srk-template: the SRK is not one that the standard template makes: {difference}; the guest would make another SRK, and never unlock"
                    ));
                }
                None
            }
            TemplateChoice::Written { unique_data } => {
                let unique = match unique_data {
                    Some(path) => unique_data_of(path, &parent, &mut warnings)?,
                    None => UniqueData::none(parent.kind()),
                };
                Some(parent.template(&unique).map_err(Error::Template)?)
            }
        };
        Ok(Self {
            parent,
            template,
            warnings,
        })
    }

    /// Seals a key in the states that were predicted, in any where nothing was.
    pub fn seal(
        &self,
        prediction: Option<&Prediction>,
        key: &SecretBytes,
        entropy: &mut dyn Entropy,
    ) -> Result<Files, Error> {
        let profile = match prediction {
            Some(prediction) => {
                PcrProfile::new(prediction.selection.clone(), prediction.composites())
            }
            None => PcrProfile::any_state(),
        }?;
        Ok(Files {
            sealed_key: secboot::seal(&self.parent, &profile, key, entropy)?,
            srk_template: self.template.clone(),
        })
    }
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

/// What PCRs alone leave open, and what closes it.
pub fn policy_warning(prediction: Option<&Prediction>) -> Option<String> {
    let Some(prediction) = prediction else {
        return Some(
            "--no-pcr-policy: whatever runs on the guest's vTPM gets the key, in every state; --add-efi-boot-manager-profile, --add-efi-secure-boot-profile and --add-ubuntu-kernel-profile bind it to what boots"
                .to_owned(),
        );
    };
    let is = |pcrs: &[u8]| prediction.selection.pcrs.iter().eq(pcrs);
    if is(&[7]) {
        return Some(
            "PCR 7 alone: every program that an authority in db has signed can ask for the key; --add-efi-boot-manager-profile allows the boot files of this image only, --add-ubuntu-kernel-profile the time before the root is mounted"
                .to_owned(),
        );
    }
    is(&[12]).then(|| {
        "PCR 12 alone: every program that boots on the guest can ask for the key, with Secure Boot on or off; add --add-efi-boot-manager-profile and --add-efi-secure-boot-profile"
            .to_owned()
    })
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
