//! Sealing again: the steps that replace the unlock key of an image whose sealed key lies on the EFI system partition.
//!
//! File and header cannot be switched in one write, so the header goes first and last:
//!
//! 1. the new key becomes a further keyslot, with a token that names it and the old one;
//! 2. the sealed-key file switches, then, after another flush, the template of the SRK;
//! 3. in the first header copy the new keyslot takes the number 0, the old one and the token go;
//! 4. every part of the keyslots area that no keyslot has is overwritten;
//! 5. the second header copy follows, and says that nothing is left to do.
//!
//! So at any point the file that is there, the old or the new one, opens a keyslot. A run that finds such a token was
//! preceded by one that ended in between: nobody knows which file lies there, so all keyslots that the token names stay
//! until this run's own file is there, and go then.

use super::container::{Container, Stored};
use super::error::Error;
use super::esp;
use super::header::{self, Change, UNLOCK_KEYSLOT};
use super::recovery::Recovery;
use super::step::{Step, WritePhase};
use super::unlock::OpenedKeyslot;
use base::secret::{Entropy, SecretBytes};
use keyobject::reseal_token;
use luks2::{Hash, Header};

/// Length of the unlock key, as `encrypt` makes it.
const KEY_BYTES: usize = 16;

/// The keyslots of which the sealed-key file opens one: they are replaced.
pub fn replaced(container: &Container) -> Vec<u32> {
    let mut numbers = container.half_replaced();
    if container
        .header
        .metadata()
        .keyslot(UNLOCK_KEYSLOT)
        .is_some()
    {
        numbers.push(UNLOCK_KEYSLOT);
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A new unlock key.
pub fn new_key(entropy: &mut dyn Entropy) -> Result<SecretBytes, Error> {
    let key = SecretBytes::random(entropy, KEY_BYTES);
    Ok(key.map_err(crate::Error::Entropy)?)
}

/// All steps, in their order. `key` is what the new file holds, `files` are the steps that bring it.
pub fn steps(
    Stored { container, storage }: Stored<'_>,
    opened: &OpenedKeyslot,
    key: &SecretBytes,
    files: esp::Switching,
    recovery: Option<&Recovery>,
    entropy: &mut dyn Entropy,
) -> Result<Vec<Step>, Error> {
    let replaced = replaced(container);
    let mut beside = Change::of(
        container,
        &container.header,
        storage,
        opened.volume_key.clone(),
    )?;
    let new = beside.add_keyslot(Hash::Sha256, key, entropy)?;
    remove_tokens(&mut beside)?;
    let named: Vec<u32> = replaced.iter().copied().chain([new]).collect();
    let added = beside.add_token(&reseal_token::token(&named));
    added.map_err(|error| beside.problem(error))?;
    let mut steps = beside.write(entropy)?.to_vec();
    for (step, phase) in steps.iter_mut().zip([
        WritePhase::Keyslot,
        WritePhase::FirstBesideOld,
        WritePhase::SecondBesideOld,
    ]) {
        step.phase = phase;
    }

    let built = container.with(&steps, storage)?;
    let header = Header::read_built(&built).map_err(|error| beside.problem(error))?;
    let mut alone = Change::of(container, &header, &built, opened.volume_key.clone())?;
    if let Some(recovery) = recovery {
        header::refuse_taken_name(&alone)?;
        alone.add_recovery_key(recovery, entropy)?;
    }
    for number in &replaced {
        alone.remove_keyslot(*number)?;
    }
    remove_tokens(&mut alone)?;
    alone.renumber_keyslot(new, UNLOCK_KEYSLOT)?;
    alone.opens(UNLOCK_KEYSLOT, key);

    steps.extend(files.switch);
    let gaps = header::gaps(alone.metadata());
    let mut tidy = header::overwriting(container, &gaps, entropy)?;
    tidy.writes.extend(files.tidy.writes);
    steps.extend(header::with_tidy(alone.write(entropy)?, tidy));
    steps.retain(|step| !step.writes.is_empty());
    Ok(steps)
}

/// Takes the tokens of this and earlier replacements away.
fn remove_tokens(change: &mut Change) -> Result<(), Error> {
    let tokens = change.metadata().tokens.iter();
    let ours = tokens.filter(|token| token.kind == reseal_token::TOKEN_TYPE);
    let numbers: Vec<u32> = ours.map(|token| token.number).collect();
    numbers
        .into_iter()
        .try_for_each(|number| change.remove_token(number))
}
