//! The LUKS2 header of an image whose key systemd's reader gets from tokens.
//!
//! A new keyslot takes a secret of its own; tokens seal it, one for each state that is predicted, all for that keyslot.
//! The keyslot of the clear key goes in the same update, since it would open by a key that lay open in the pool, and its
//! area is overwritten when both header copies are written.
//!
//! Readers differ in whether the number or the place in the text decides which token they try first. So ours ascend in
//! both, and no other token of this type may be there.

use std::collections::BTreeSet;

use super::container::Container;
use super::header::Change;
use super::recovery::Recovery;
use super::{Error, Step};
use crate::keyobject::systemd_tpm2::{self, Parent, TOKEN_TYPE, UnlockSecret};
use crate::luks2::{self, Area, ClearKeyToken, Hash};
use crate::provision::predict::{Prediction, distinct};
use crate::secret::Entropy;
use crate::storage::ReadAt;
use crate::tpm::{Bank, KeyKind, Selection, StorageParent, composite};

/// As systemd's own writer has it.
const HASH: Hash = Hash::Sha512;

/// To whom the secret is sealed, and in which states.
pub struct Sealing<'a> {
    /// The guest's SRK.
    pub srk: &'a StorageParent,
    /// How its reader gets at that.
    pub found: Parent,
    /// The states; `None` for any.
    pub prediction: Option<&'a Prediction>,
}

/// Builds the header of a deployed container and checks it.
pub fn deployed(
    (container, storage): (&Container, &dyn ReadAt),
    clear_key: &ClearKeyToken,
    sealing: &Sealing<'_>,
    recovery: Option<&Recovery>,
    entropy: &mut dyn Entropy,
) -> Result<Vec<Step>, Error> {
    let mut change = Change::begin(container, storage, clear_key)?;
    refuse_other_tokens(&change)?;
    let secret = UnlockSecret::random(entropy)?;
    let keyslot = change.add_keyslot(HASH, secret.passphrase(), entropy)?;
    let recovery = recovery.map(|recovery| {
        let keyslot = change.add_keyslot(recovery.hash(), recovery.passphrase(), entropy)?;
        Ok::<_, Error>(recovery.token(keyslot))
    });
    let recovery = recovery.transpose()?;
    // Not before the new ones have their areas: the old one is read until the header is written, and overwritten then.
    change.remove_clear_keyslot()?;
    let tokens = sealing.tokens(&secret, keyslot, entropy)?;
    // A recovery key's token takes one of the numbers.
    let reserved = usize::from(recovery.is_some());
    for (count, token) in tokens.iter().enumerate() {
        if let Err(error) = change.add_token(token) {
            let fit = count.saturating_sub(reserved);
            return Err(sealing.no_room(&change, error, tokens.len(), fit));
        }
    }
    if let Some(Err(error)) = recovery.map(|token| change.add_token(&token)) {
        let fit = tokens.len().saturating_sub(reserved);
        return Err(sealing.no_room(&change, error, tokens.len(), fit));
    }
    change.finish(entropy)
}

impl Sealing<'_> {
    fn tokens(
        &self,
        secret: &UnlockSecret,
        keyslot: u32,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<String>, Error> {
        let parent = (self.srk, self.found);
        let any_state = Selection {
            bank: Bank::Sha256,
            pcrs: BTreeSet::new(),
        };
        let nothing = composite([]);
        let (selection, composites) = match self.prediction {
            Some(prediction) => (&prediction.selection, prediction.composites()),
            None => (&any_state, vec![nothing.as_slice()]),
        };
        let sealed = systemd_tpm2::seal(parent, selection, composites, secret, keyslot, entropy);
        Ok(sealed?)
    }

    /// What to say where a token does not fit.
    fn no_room(&self, change: &Change, error: luks2::Error, tokens: usize, fit: usize) -> Error {
        let by_size = match error {
            luks2::Error::AllTaken { .. } => false,
            luks2::Error::MetadataSize { .. } => true,
            error => return change.problem(error),
        };
        let branches = self.prediction.map(distinct).unwrap_or_default();
        let kernels: BTreeSet<_> = branches.iter().flat_map(|one| &one.kernels).collect();
        Error::NoRoomForTokens {
            tokens,
            kernels: kernels.len(),
            fit,
            by_size,
            is_rsa: self.srk.kind() == KeyKind::Rsa,
        }
    }
}

/// A token of another TPM before ours ends the search of readers before 261.
fn refuse_other_tokens(change: &Change) -> Result<(), Error> {
    let mut tokens = change.metadata().tokens.iter();
    match tokens.find(|token| token.kind == TOKEN_TYPE) {
        Some(token) => Err(Error::OtherTpm2Token {
            token: token.number,
        }),
        None => Ok(()),
    }
}

/// The areas between keyslots, where those that are gone may have left their material.
pub fn gaps(container: &Container) -> Vec<Area> {
    let metadata = container.header.metadata();
    let mut areas: Vec<Area> = metadata.keyslots.iter().map(|slot| slot.area).collect();
    areas.sort_unstable_by_key(|area| area.offset_bytes);
    let mut gaps = Vec::new();
    let mut offset_bytes = metadata.keyslots_start_bytes();
    for area in areas {
        let size_bytes = area.offset_bytes.saturating_sub(offset_bytes);
        if size_bytes > 0 {
            gaps.push(Area {
                offset_bytes,
                size_bytes,
            });
        }
        offset_bytes = area.offset_bytes.saturating_add(area.size_bytes);
    }
    gaps
}
