//! The LUKS2 header of a deployed image: without the clear key, with the keyslots and tokens that come for it.
//!
//! One update does it all (LUKS2 On-Disk Format, sections 3.2 and 3.5). For the sealed-key file it takes the clear key's
//! token away, and the keyslot that this key opens stays. A recovery key brings a keyslot, and the token that names it
//! for its reader. Both copies are written whole, so nothing of the old text stays.

use super::container::Container;
use super::recovery::Recovery;
use super::{Error, Phase, Step};
use crate::filesystem::fat::SectorWrite;
use crate::keyobject::secboot::MAX_KEY_BYTES;
use crate::keyobject::{RECOVERY_KEY_NAME, RecoveryToken};
use crate::luks2::{self, Area, ClearKeyToken, Hash, Header, Position, Update, VolumeKey};
use crate::secret::{Entropy, SecretBytes};
use crate::storage::{Overlay, ReadAt, WriteAt};

/// The keyslot that the clear key opens, and the sealed-key file after it.
pub const UNLOCK_KEYSLOT: u32 = 0;

/// A header that is being changed, and the steps that this takes.
pub struct Change<'a> {
    container: &'a Container,
    storage: &'a dyn ReadAt,
    volume_key: VolumeKey,
    update: Update,
    keyslots: Vec<SectorWrite>,
    removed: Vec<Area>,
    /// What opens the container afterwards.
    opens: Vec<(u32, SecretBytes)>,
}

impl<'a> Change<'a> {
    /// Opens the container with its clear key, and takes that key's token away.
    pub fn begin(
        container: &'a Container,
        storage: &'a dyn ReadAt,
        clear_key: &ClearKeyToken,
    ) -> Result<Self, Error> {
        let problem = |error| Error::container(container.partition.number, error);
        let opened = container
            .header
            .unlock(Some(UNLOCK_KEYSLOT), &clear_key.key, storage);
        let (_, volume_key) = opened.map_err(problem)?;
        let mut update = container.header.update().map_err(problem)?;
        while let Some((token, _)) = update.metadata().clear_key().map_err(problem)? {
            update.remove_token(token).map_err(problem)?;
        }
        Ok(Self {
            container,
            storage,
            volume_key,
            update,
            keyslots: Vec::new(),
            removed: Vec::new(),
            opens: vec![(UNLOCK_KEYSLOT, clear_key.key.clone())],
        })
    }

    /// The metadata as they are so far.
    pub fn metadata(&self) -> &luks2::Metadata {
        self.update.metadata()
    }

    /// Adds a keyslot; its number.
    pub fn add_keyslot(
        &mut self,
        hash: Hash,
        passphrase: &SecretBytes,
        entropy: &mut dyn Entropy,
    ) -> Result<u32, Error> {
        let volume_key = &self.volume_key;
        let material = self
            .update
            .add_keyslot_with(hash, None, volume_key, passphrase, entropy);
        let material = material.map_err(|error| self.problem(error))?;
        self.keyslots.push(SectorWrite {
            offset_bytes: material.offset_bytes(),
            bytes: material.bytes().to_vec(),
        });
        self.opens.push((material.keyslot(), passphrase.clone()));
        Ok(material.keyslot())
    }

    /// Adds a token. The error is that of the container, for a caller who knows more of it.
    pub fn add_token(&mut self, json: &str) -> Result<u32, luks2::Error> {
        self.update.add_token(None, json)
    }

    /// Adds the keyslot of a recovery key, and its token.
    pub fn add_recovery_key(
        &mut self,
        recovery: &Recovery,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Error> {
        let keyslot = self.add_keyslot(recovery.hash(), recovery.passphrase(), entropy)?;
        let added = self.add_token(&recovery.token(keyslot));
        added.map(drop).map_err(|error| self.problem(error))
    }

    /// Takes the keyslot of the clear key away. Its area is overwritten when no header names it any more.
    pub fn remove_clear_keyslot(&mut self) -> Result<(), Error> {
        let removed = self.update.remove_keyslot(UNLOCK_KEYSLOT);
        self.removed
            .push(removed.map_err(|error| self.problem(error))?);
        self.opens.retain(|(number, _)| *number != UNLOCK_KEYSLOT);
        Ok(())
    }

    /// An error of this container.
    pub fn problem(&self, error: luks2::Error) -> Error {
        Error::container(self.container.partition.number, error)
    }

    /// The steps, after what they make was read back.
    pub fn finish(self, entropy: &mut dyn Entropy) -> Result<Vec<Step>, Error> {
        let start = self.container.range.start;
        let mut steps = vec![Step::at(start, Phase::Keyslot, self.keyslots.clone())];
        steps.extend(copies(self.container, &self.update, entropy)?);
        steps.push(overwriting(self.container, &self.removed, entropy)?);
        self.verify(&steps)?;
        Ok(steps)
    }

    /// Reads back what was built, as it will lie on the disk.
    fn verify(&self, steps: &[Step]) -> Result<(), Error> {
        let built = Overlay::new(self.storage);
        for write in steps.iter().flat_map(|step| &step.writes) {
            let offset_bytes = write.offset_bytes - self.container.range.start;
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
        for (keyslot, key) in &self.opens {
            let opened = header.unlock(Some(*keyslot), key, &built);
            if !opened.is_ok_and(|(_, opened)| opened.expose() == self.volume_key.expose()) {
                return Err(failed("a keyslot"));
            }
        }
        if !self.removed.is_empty() && header.metadata().keyslot(UNLOCK_KEYSLOT).is_some() {
            return Err(failed("the removal of the clear key's keyslot"));
        }
        Ok(())
    }
}

/// The header of a container whose keyslot 0 the sealed-key file opens.
pub fn deployed(
    (container, storage): (&Container, &dyn ReadAt),
    clear_key: &ClearKeyToken,
    recovery: Option<&Recovery>,
    entropy: &mut dyn Entropy,
) -> Result<Vec<Step>, Error> {
    let mut change = Change::begin(container, storage, clear_key)?;
    if let Some(recovery) = recovery {
        refuse_taken_name(&change)?;
        change.add_recovery_key(recovery, entropy)?;
    }
    change.finish(entropy)
}

/// Checks that the clear key opens its keyslot.
pub fn check_opens(
    container: &Container,
    storage: &dyn ReadAt,
    clear_key: &ClearKeyToken,
) -> Result<(), Error> {
    Change::begin(container, storage, clear_key).map(drop)
}

/// Refuses a clear key that no sealed-key file takes.
pub fn check_can_be_sealed(clear_key: &ClearKeyToken) -> Result<(), Error> {
    let len_bytes = clear_key.key.len();
    if (1..=MAX_KEY_BYTES).contains(&len_bytes) {
        return Ok(());
    }
    Err(Error::ClearKeyLength { len_bytes })
}

/// The steps that write both copies of a header that is deployed already, the one first that a reader does not take.
pub fn rewritten(container: &Container, entropy: &mut dyn Entropy) -> Result<[Step; 2], Error> {
    let update = container.header.update();
    let update = update.map_err(|error| Error::container(container.partition.number, error))?;
    copies(container, &update, entropy)
}

/// The step that overwrites areas of keyslots that are gone.
pub fn overwriting(
    container: &Container,
    areas: &[Area],
    entropy: &mut dyn Entropy,
) -> Result<Step, Error> {
    let mut writes = Vec::new();
    for area in areas {
        let mut bytes = vec![0; usize::try_from(area.size_bytes).unwrap_or_default()];
        let filled = entropy.fill(&mut bytes);
        filled.map_err(crate::provision::Error::Entropy)?;
        writes.push(SectorWrite {
            offset_bytes: area.offset_bytes,
            bytes,
        });
    }
    Ok(Step::at(container.range.start, Phase::Tidy, writes))
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
fn refuse_taken_name(change: &Change) -> Result<(), Error> {
    let tokens = change.metadata().tokens.iter();
    let names = tokens.filter_map(|token| RecoveryToken::parse(token)?.name);
    let mut taken = names.filter(|name| name == RECOVERY_KEY_NAME);
    match taken.next() {
        Some(name) => Err(Error::RecoveryNameTaken { name }),
        None => Ok(()),
    }
}
