//! What binds an image to one guest, planned on the parts of a disk, wherever these lie: those of `deploy` are in a file,
//! those of `provision` in memory, of an image that is not written yet.
//!
//! The plan is the steps down to their bytes, read back before anybody writes them: the keys open their keyslots, the
//! files on the EFI system partition are what they shall be.

use super::container::{Container, Stored};
use super::error::Error;
use super::plan::{FileFacts, KeyObjectKind, SrkFacts};
use super::recovery::{Recovery, RecoverySource};
use super::sealing::{self, Access, KeyObject, Srk, SrkOptions};
use super::step::Step;
use super::unlock::OpenedKeyslot;
use super::{esp, header, reseal, step, tokens};
use crate::predict::{EspVolume, Guest, Sealable};
use base::secret::Entropy;
use base::storage::ReadAt;
use filesystem::fat::Fat;
use luks2::ClearKeyToken;

/// To whom an image is bound, and by what.
#[derive(Clone)]
pub struct Binding {
    /// What carries the key to the guest.
    pub key_object: KeyObject,
    /// The guest's SRK.
    pub srk: SrkOptions,
    /// The guest, and the PCRs to seal to; `None` seals to the vTPM alone.
    pub guest: Option<Guest>,
    /// Sealed although the PCRs cover neither initrd nor command line of what boots.
    pub allow_uncovered_initrd: bool,
    /// The recovery key.
    pub recovery: Option<RecoverySource>,
}

/// The parts of a disk that a binding changes.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// The container.
    pub container: &'a Container,
    /// Its partition; of the segment nothing is read.
    pub storage: &'a dyn ReadAt,
    /// The EFI system partition.
    pub esp: &'a dyn ReadAt,
    /// Where that lies in the disk, in bytes.
    pub esp_start_bytes: u64,
}

/// What opens the container of a disk before it is bound.
pub enum Unlocked {
    /// The key that lies open in its header. It goes into the sealed-key file.
    ByClearKey(ClearKeyToken),
    /// A key of its owner's; the disk is deployed, and gets a fresh key in place of the one that was sealed.
    ByOwner(OpenedKeyslot),
}

/// A binding that was planned for a disk.
pub struct PlannedBinding {
    /// What is to be written, in its order.
    pub steps: Vec<Step>,
    /// To whom the key is sealed.
    pub srk: SrkFacts,
    /// In which states; `None` for any.
    pub prediction: Option<Sealable>,
    /// Files on the EFI system partition.
    pub files: Vec<FileFacts>,
    /// The recovery key, and where it came from.
    pub recovery: Option<(RecoverySource, Recovery)>,
    /// What the operator should know before relying on the result.
    pub warnings: Vec<String>,
}

impl Binding {
    /// Plans everything that binds a disk to the guest. Nothing is written.
    pub fn plan(
        &self,
        parts: Parts<'_>,
        unlocked: &Unlocked,
        now: i64,
        entropy: &mut dyn Entropy,
    ) -> Result<PlannedBinding, Error> {
        let recovery = match &self.recovery {
            Some(from) => Some((from.clone(), from.key(self.key_object, entropy)?)),
            None => None,
        };
        let srk = Srk::read(&self.srk, self.key_object)?;
        if let Unlocked::ByClearKey(clear_key) = unlocked {
            if let Access::Template(_) = srk.access {
                header::check_can_be_sealed(clear_key)?;
            }
            header::check_opens(parts.container, parts.storage, clear_key)?;
        }
        let mut warnings = Vec::new();
        let prediction = self.predict(parts.esp, &mut warnings)?;
        let mut bound = PlannedBinding {
            steps: Vec::new(),
            srk: SrkFacts::new(&self.srk, &srk),
            prediction,
            files: Vec::new(),
            recovery,
            warnings,
        };
        bound.steps = bound.sealing_steps(parts, unlocked, &srk, now, entropy)?;
        bound.warnings.extend(srk.warnings);
        Ok(bound)
    }

    fn predict(
        &self,
        esp: &dyn ReadAt,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Sealable>, Error> {
        let Some(guest) = &self.guest else {
            warnings.extend(sealing::policy_warnings(None, self.key_object.into()));
            return Ok(None);
        };
        let fat = Fat::open_read_only(esp).map_err(Error::esp)?;
        let predicted = guest.predict_on(&EspVolume(&fat))?;
        warnings.extend(predicted.warnings);
        warnings.extend(sealing::policy_warnings(
            Some(&predicted.prediction),
            self.key_object.into(),
        ));
        let sealable = Sealable::new(predicted.prediction, self.allow_uncovered_initrd)?;
        Ok(Some(sealable))
    }
}

impl PlannedBinding {
    /// The steps that seal the key, and take the clear one or the old one away.
    fn sealing_steps(
        &mut self,
        parts: Parts<'_>,
        unlocked: &Unlocked,
        srk: &Srk,
        now: i64,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<Step>, Error> {
        let sealed_to = self.prediction.as_ref();
        let recovery = self.recovery.as_ref().map(|(_, key)| key);
        let place = Stored {
            container: parts.container,
            storage: parts.storage,
        };
        Ok(match &srk.access {
            Access::Template(template) => {
                let key = match unlocked {
                    Unlocked::ByClearKey(clear_key) => clear_key.key.clone(),
                    Unlocked::ByOwner(_) => reseal::new_key(entropy)?,
                };
                let sealed_key = sealing::sealed_key(&srk.parent, sealed_to, &key, entropy)?;
                let files = esp::Files {
                    sealed_key,
                    srk_template: template.clone(),
                };
                self.files = esp::facts(&files);
                if template.is_none() && esp::has_template(parts.esp).map_err(Error::esp)? {
                    self.warnings.push(format!(
                        "--standard-srk-template: {} of an earlier deploy is removed",
                        esp::SRK_TEMPLATE
                    ));
                }
                let (esp, start) = (parts.esp, parts.esp_start_bytes);
                match unlocked {
                    Unlocked::ByClearKey(clear_key) => {
                        let header = header::deployed(place, clear_key, recovery, entropy)?;
                        step::in_order(esp::steps(esp, start, &files, now)?, header)
                    }
                    Unlocked::ByOwner(opened) => {
                        let files = esp::switching(esp, start, &files, now)?;
                        reseal::steps(place, opened, &key, files, recovery, entropy)?
                    }
                }
            }
            Access::Token(found) => {
                let sealing = tokens::Sealing {
                    srk: &srk.parent,
                    found: *found,
                    states: sealed_to,
                };
                let header = match unlocked {
                    Unlocked::ByClearKey(clear_key) => {
                        tokens::deployed(place, clear_key, &sealing, recovery, entropy)?
                    }
                    Unlocked::ByOwner(opened) => {
                        tokens::replacing(place, opened, &sealing, recovery, entropy)?
                    }
                };
                step::in_order([], header)
            }
        })
    }
}

/// Which key object a container that is not deployed gets: Ubuntu's initramfs finds it by its label alone.
pub fn key_object_for(
    container: &Container,
    key_object: KeyObject,
) -> Result<KeyObjectKind, Error> {
    let wanted = KeyObjectKind::from(key_object);
    if wanted == KeyObjectKind::Secboot && !container.is_labelled() {
        return Err(Error::NotLabelled {
            partition: container.partition.number,
            label: container.header.current().label().to_owned(),
        });
    }
    Ok(wanted)
}
