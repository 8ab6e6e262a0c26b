//! The LUKS2 header of a deployed image: without the clear key, with a recovery keyslot where one is asked for.
//!
//! One update does both (LUKS2 On-Disk Format, sections 3.2 and 3.5): the token of the clear key goes; the keyslot of
//! the recovery key comes, and the token that names it for readers that look for named keyslots. Both copies are
//! written whole, so nothing of the old text stays.

use super::container::Container;
use super::{Error, Phase, Step};
use crate::filesystem::fat::SectorWrite;
use crate::keyobject::secboot::MAX_KEY_BYTES;
use crate::keyobject::{RECOVERY_KEY_NAME, RecoveryKey, RecoveryToken, recovery_token};
use crate::luks2::{self, ClearKeyToken, Header, Position, Update, VolumeKey};
use crate::secret::{Entropy, SecretBytes};
use crate::storage::{Overlay, ReadAt, WriteAt};

/// The keyslot that the sealed key opens.
pub const UNLOCK_KEYSLOT: u32 = 0;

/// The update of a header, as steps.
pub struct NewHeader {
    /// The steps, in their order.
    pub steps: Vec<Step>,
}

/// Opens the container with its clear key. That it is one that can be sealed is checked here.
pub fn unlock(
    container: &Container,
    storage: &dyn ReadAt,
    clear_key: &ClearKeyToken,
) -> Result<VolumeKey, Error> {
    let len_bytes = clear_key.key.len();
    if !(1..=MAX_KEY_BYTES).contains(&len_bytes) {
        return Err(Error::ClearKeyLength { len_bytes });
    }
    let opened = container
        .header
        .unlock(Some(UNLOCK_KEYSLOT), &clear_key.key, storage);
    let number = container.partition.number;
    let (_, volume_key) = opened.map_err(|error| Error::container(number, error))?;
    Ok(volume_key)
}

/// Builds the header of a deployed container and checks it.
pub fn deployed(
    container: &Container,
    storage: &dyn ReadAt,
    clear_key: &ClearKeyToken,
    recovery_key: Option<&RecoveryKey>,
    entropy: &mut dyn Entropy,
) -> Result<NewHeader, Error> {
    let volume_key = unlock(container, storage, clear_key)?;
    let number = container.partition.number;
    let problem = |error| Error::container(number, error);
    let mut update = container.header.update().map_err(problem)?;
    while let Some((token, _)) = update.metadata().clear_key().map_err(problem)? {
        update.remove_token(token).map_err(problem)?;
    }
    let mut steps = Vec::new();
    if let Some(key) = recovery_key {
        refuse_taken_name(&update)?;
        let material = update
            .add_keyslot(None, &volume_key, key.passphrase(), entropy)
            .map_err(problem)?;
        let keyslot = material.keyslot();
        update
            .add_token(None, &recovery_token(keyslot))
            .map_err(problem)?;
        let write = SectorWrite {
            offset_bytes: material.offset_bytes(),
            bytes: material.bytes().to_vec(),
        };
        let start = container.range.start;
        steps.push(Step::at(start, Phase::Keyslot, vec![write]));
    }
    steps.extend(copies(container, &update, entropy)?);
    verify(
        container,
        storage,
        &steps,
        &volume_key,
        clear_key,
        recovery_key,
    )?;
    Ok(NewHeader { steps })
}

/// The steps that write both copies of a header that is deployed already, the one first that a reader does not take.
pub fn rewritten(container: &Container, entropy: &mut dyn Entropy) -> Result<[Step; 2], Error> {
    let update = container.header.update();
    let update = update.map_err(|error| Error::container(container.partition.number, error))?;
    copies(container, &update, entropy)
}

fn copies(
    container: &Container,
    update: &Update,
    entropy: &mut dyn Entropy,
) -> Result<[Step; 2], Error> {
    let mut step = |phase, position| {
        let bytes = update.copy_bytes(position, entropy);
        let bytes = bytes.map_err(|error| Error::container(container.partition.number, error))?;
        let offset_bytes = match position {
            Position::Primary => 0,
            Position::Secondary => update.metadata().header_size_bytes,
        };
        let write = SectorWrite {
            offset_bytes,
            bytes,
        };
        Ok::<_, Error>(Step::at(container.range.start, phase, vec![write]))
    };
    let [first, second] = update.order();
    Ok([
        step(Phase::FirstHeader, first)?,
        step(Phase::SecondHeader, second)?,
    ])
}

/// Two keys of the same name make newer readers refuse the header.
fn refuse_taken_name(update: &Update) -> Result<(), Error> {
    let tokens = update.metadata().tokens.iter();
    let names = tokens.filter_map(|token| RecoveryToken::parse(token)?.name);
    let mut taken = names.filter(|name| name == RECOVERY_KEY_NAME);
    match taken.next() {
        Some(name) => Err(Error::RecoveryNameTaken { name }),
        None => Ok(()),
    }
}

/// Reads back what was built, as it will lie on the disk.
fn verify(
    container: &Container,
    storage: &dyn ReadAt,
    steps: &[Step],
    volume_key: &VolumeKey,
    clear_key: &ClearKeyToken,
    recovery_key: Option<&RecoveryKey>,
) -> Result<(), Error> {
    let built = Overlay::new(storage);
    for write in steps.iter().flat_map(|step| &step.writes) {
        let offset_bytes = write.offset_bytes - container.range.start;
        let written = built.write_all_at(&write.bytes, offset_bytes);
        written.map_err(crate::provision::Error::Source)?;
    }
    let failed = |what| Error::Verify { what };
    let header = Header::read(&built).map_err(|_| failed("the LUKS2 header"))?;
    let is_gone = header
        .valid_copies()
        .all(|copy| matches!(copy.metadata().clear_key(), Ok(None)));
    if !header.warnings().is_empty() || !is_gone {
        return Err(failed("the LUKS2 header's copies"));
    }
    let opens = |keyslot, key: &SecretBytes| -> Result<bool, luks2::Error> {
        let (_, opened) = header.unlock(keyslot, key, &built)?;
        Ok(opened.expose() == volume_key.expose())
    };
    if !matches!(opens(Some(UNLOCK_KEYSLOT), &clear_key.key), Ok(true)) {
        return Err(failed("the keyslot of the sealed key"));
    }
    let recovers = recovery_key.is_none_or(|key| matches!(opens(None, key.passphrase()), Ok(true)));
    if !recovers {
        return Err(failed("the recovery keyslot"));
    }
    Ok(())
}
