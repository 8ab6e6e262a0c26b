//! The LUKS2 header of an image whose key systemd's reader gets from tokens.
//!
//! A new keyslot takes a secret of its own; tokens seal it, one for each state that is predicted, all for that keyslot.
//! The keyslot of the clear key goes in the same update, since it would open by a key that lay open in the pool, and its
//! area is overwritten when the header copy that counts names it no more.
//!
//! Readers differ in whether the number or the place in the text decides which token they try first. So ours ascend in
//! both, and no other token of this type may be there.

use std::collections::BTreeSet;

use super::container::{Container, Stored};
use super::error::Error;
use super::header::{self, Change, UNLOCK_KEYSLOT};
use super::recovery::Recovery;
use super::step::Step;
use super::unlock::OpenedKeyslot;
use crate::predict::{Sealable, distinct};
use base::secret::Entropy;
use keyobject::systemd_tpm2::{self, Parent, TOKEN_TYPE, UnlockSecret};
use luks2::{self, ClearKeyToken, Hash};
use tpm::{Bank, KeyKind, Selection, StorageParent, composite};

/// As systemd's own writer has it.
const HASH: Hash = Hash::Sha512;

/// To whom the secret is sealed, and in which states.
pub struct Sealing<'a> {
    /// The guest's SRK.
    pub srk: &'a StorageParent,
    /// How its reader gets at that.
    pub found: Parent,
    /// The states; `None` for any.
    pub states: Option<&'a Sealable>,
}

/// Builds the header of a deployed container and checks it.
pub fn deployed(
    Stored { container, storage }: Stored<'_>,
    clear_key: &ClearKeyToken,
    sealing: &Sealing<'_>,
    recovery: Option<&Recovery>,
    entropy: &mut dyn Entropy,
) -> Result<Vec<Step>, Error> {
    let mut change = Change::begin(container, storage, clear_key)?;
    refuse_other_tokens(&change)?;
    sealing.replace(&mut change, &[UNLOCK_KEYSLOT], recovery, entropy)?;
    change.finish(entropy)
}

/// The keyslots that tokens for this reader name: they are replaced.
pub fn replaced(container: &Container) -> Vec<u32> {
    let tokens = container.header.metadata().tokens.iter();
    let ours = tokens.filter(|token| token.kind == TOKEN_TYPE);
    let mut numbers: Vec<u32> = ours.flat_map(|token| token.keyslots.clone()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Builds the header of a container that is sealed again: the old tokens and their keyslots go, new ones come, all in one
/// update. What no keyslot has is overwritten, since an interrupted run may have left material there.
pub fn replacing(
    Stored { container, storage }: Stored<'_>,
    opened: &OpenedKeyslot,
    sealing: &Sealing<'_>,
    recovery: Option<&Recovery>,
    entropy: &mut dyn Entropy,
) -> Result<Vec<Step>, Error> {
    let volume_key = opened.volume_key.clone();
    let mut change = Change::of(container, &container.header, storage, volume_key)?;
    let tokens = change.metadata().tokens.iter();
    let old = tokens.filter(|token| token.kind == TOKEN_TYPE);
    let old: Vec<u32> = old.map(|token| token.number).collect();
    old.into_iter()
        .try_for_each(|token| change.remove_token(token))?;
    sealing.replace(&mut change, &replaced(container), recovery, entropy)?;
    let gaps = header::gaps(change.metadata());
    let tidy = header::overwriting(container, &gaps, entropy)?;
    Ok(header::with_tidy(change.write(entropy)?, tidy))
}

impl Sealing<'_> {
    /// Adds the keyslot of a new secret, and its tokens; takes other keyslots away.
    fn replace(
        &self,
        change: &mut Change,
        old: &[u32],
        recovery: Option<&Recovery>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Error> {
        let secret = UnlockSecret::random(entropy)?;
        let keyslot = change.add_keyslot(HASH, secret.passphrase(), entropy)?;
        let recovery = recovery.map(|recovery| {
            let keyslot = change.add_keyslot(recovery.hash(), recovery.passphrase(), entropy)?;
            Ok::<_, Error>(recovery.token(keyslot))
        });
        let recovery = recovery.transpose()?;
        // Not before the new ones have their areas: the old ones are read until the header is written, and overwritten
        // then.
        old.iter().try_for_each(|old| change.remove_keyslot(*old))?;
        let tokens = self.tokens(&secret, keyslot, entropy)?;
        // A recovery key's token takes one of the numbers.
        let reserved = usize::from(recovery.is_some());
        for (count, token) in tokens.iter().enumerate() {
            if let Err(error) = change.add_token(token) {
                let fit = count.saturating_sub(reserved);
                return Err(self.no_room(change, error, tokens.len(), fit));
            }
        }
        if let Some(Err(error)) = recovery.map(|token| change.add_token(&token)) {
            let fit = tokens.len().saturating_sub(reserved);
            return Err(self.no_room(change, error, tokens.len(), fit));
        }
        Ok(())
    }

    fn tokens(
        &self,
        secret: &UnlockSecret,
        keyslot: u32,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<String>, Error> {
        let any_state = Selection {
            bank: Bank::Sha256,
            pcrs: BTreeSet::new(),
        };
        let nothing = composite([]);
        let (selection, composites) = match self.states.map(Sealable::prediction) {
            Some(prediction) => (&prediction.selection, prediction.composites()),
            None => (&any_state, vec![nothing.as_slice()]),
        };
        Ok(systemd_tpm2::seal(
            self.srk, self.found, selection, composites, secret, keyslot, entropy,
        )?)
    }

    /// What to say where a token does not fit.
    fn no_room(&self, change: &Change, error: luks2::Error, tokens: usize, fit: usize) -> Error {
        let by_size = match error {
            luks2::Error::AllTaken { .. } => false,
            luks2::Error::MetadataSize { .. } => true,
            error => return change.problem(error),
        };
        let branches = self
            .states
            .map(Sealable::prediction)
            .map(distinct)
            .unwrap_or_default();
        let kernels: BTreeSet<_> = branches.iter().flat_map(|one| &one.kernels).collect();
        let configurations = branches.iter().flat_map(|one| &one.configurations);
        let configurations: BTreeSet<_> = configurations.collect();
        Error::NoRoomForTokens {
            tokens,
            kernels: kernels.len(),
            configurations: configurations.len(),
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
