//! The LUKS2 header of a deployed image: without the clear key, with the keyslots and tokens that come for it.
//!
//! One update does it all (LUKS2 On-Disk Format, sections 3.2 and 3.5). For the sealed-key file it takes the clear key's
//! token away, and the keyslot that this key opens stays. A recovery key brings a keyslot, and the token that names it
//! for its reader. Both copies are written whole, so nothing of the old text stays.

use super::container::{Container, Stored};
use super::error::Error;
use super::recovery::Recovery;
use super::step::{Step, WritePhase};
use base::number::to_usize;
use base::secret::{Entropy, SecretBytes};
use base::storage::ReadAt;
use filesystem::fat::SectorWrite;
use keyobject::secboot::MAX_KEY_BYTES;
use keyobject::{RECOVERY_KEY_NAME, RecoveryToken};
use luks2::{self, Area, ClearKeyToken, Hash, Header, Keyslot, Position, Update, VolumeKey};

/// The keyslot that the clear key opens, and the sealed-key file after it.
pub const UNLOCK_KEYSLOT: u32 = 0;

/// A header that is being changed, and the steps that this takes.
pub struct Change<'a> {
    container: &'a Container,
    /// The header as it lies there before.
    before: &'a Header,
    storage: &'a dyn ReadAt,
    volume_key: VolumeKey,
    update: Update,
    keyslots: Vec<SectorWrite>,
    removed: Vec<Keyslot>,
    /// Keyslots of other numbers than before: the old and the new one.
    renumbered: Vec<(u32, u32)>,
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
        let mut change = Self::of(container, &container.header, storage, volume_key)?;
        while let Some((token, _)) = change.metadata().clear_key().map_err(problem)? {
            change.remove_token(token)?;
        }
        change.opens.push((UNLOCK_KEYSLOT, clear_key.key.clone()));
        Ok(change)
    }

    /// Changes a header of the container, as it lies on `storage`, whose volume key is known.
    pub fn of(
        container: &'a Container,
        before: &'a Header,
        storage: &'a dyn ReadAt,
        volume_key: VolumeKey,
    ) -> Result<Self, Error> {
        let update = before.update();
        Ok(Self {
            container,
            before,
            storage,
            volume_key,
            update: update.map_err(|error| Error::container(container.partition.number, error))?,
            keyslots: Vec::new(),
            removed: Vec::new(),
            renumbered: Vec::new(),
            opens: Vec::new(),
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

    /// Takes a token away.
    pub fn remove_token(&mut self, number: u32) -> Result<(), Error> {
        let removed = self.update.remove_token(number);
        removed.map_err(|error| self.problem(error))
    }

    /// Takes a keyslot away. Its area is overwritten when no header names it any more.
    pub fn remove_keyslot(&mut self, number: u32) -> Result<(), Error> {
        let keyslot = self.metadata().keyslot(number).cloned();
        let removed = self.update.remove_keyslot(number);
        removed.map_err(|error| self.problem(error))?;
        self.removed.extend(keyslot);
        self.opens.retain(|(opened, _)| *opened != number);
        Ok(())
    }

    /// Gives a keyslot another number.
    pub fn renumber_keyslot(&mut self, from: u32, to: u32) -> Result<(), Error> {
        let renumbered = self.update.renumber_keyslot(from, to);
        renumbered.map_err(|error| self.problem(error))?;
        self.renumbered.push((from, to));
        for (number, _) in &mut self.opens {
            if *number == from {
                *number = to;
            }
        }
        Ok(())
    }

    /// Says of a keyslot that this key opens it afterwards.
    pub fn opens(&mut self, number: u32, key: &SecretBytes) {
        self.opens.push((number, key.clone()));
    }

    /// An error of this container.
    pub fn problem(&self, error: luks2::Error) -> Error {
        Error::container(self.container.partition.number, error)
    }

    /// The steps, after what they make was read back: those of [`Change::write`], and the one that overwrites the areas
    /// of removed keyslots.
    pub fn finish(self, entropy: &mut dyn Entropy) -> Result<Vec<Step>, Error> {
        let areas: Vec<Area> = self.removed.iter().map(|keyslot| keyslot.area).collect();
        let tidy = overwriting(self.container, &areas, entropy)?;
        Ok(with_tidy(self.write(entropy)?, tidy))
    }

    /// The steps that write new keyslots and both header copies, after what they make was read back.
    pub fn write(&self, entropy: &mut dyn Entropy) -> Result<[Step; 3], Error> {
        let start = self.container.range.start;
        let keyslots = Step::at(start, WritePhase::Keyslot, self.keyslots.clone());
        let [first, second] = copies(self.container, &self.update, entropy)?;
        let steps = [keyslots, first, second];
        self.verify(&steps)?;
        Ok(steps)
    }

    /// Reads back what was built, as it will lie on the disk.
    fn verify(&self, steps: &[Step]) -> Result<(), Error> {
        let built = self.container.with(steps, self.storage)?;
        let failed = |what| Error::Verify { what };
        let header = Header::read_built(&built).map_err(|_| failed("the LUKS2 header"))?;
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
        for keyslot in &self.before.metadata().keyslots {
            if !self.is_as_it_should_be(keyslot, header.metadata()) {
                return Err(failed("a keyslot that was there before"));
            }
            let area =
                keyslot.area.offset_bytes..keyslot.area.offset_bytes + keyslot.area.size_bytes;
            let writes = steps.iter().flat_map(|step| &step.writes);
            let is_written = |write: &SectorWrite| {
                let from = write.offset_bytes - self.container.range.start;
                from < area.end && area.start < from + write.bytes.len() as u64
            };
            if writes.into_iter().any(is_written) {
                return Err(failed("the material of a keyslot that was there before"));
            }
        }
        Ok(())
    }

    /// True where a keyslot of before is gone as asked for, or is the very same, perhaps with another number.
    fn is_as_it_should_be(&self, keyslot: &Keyslot, after: &luks2::Metadata) -> bool {
        if self.removed.contains(keyslot) {
            let mut others = after.keyslots.iter();
            return others.all(|other| other.area != keyslot.area);
        }
        let mut renumbered = self.renumbered.iter();
        let renumbered = renumbered.find(|(from, _)| *from == keyslot.number);
        let number = renumbered.map_or(keyslot.number, |(_, to)| *to);
        after
            .keyslot(number)
            .is_some_and(|found| found.area == keyslot.area && found.kind == keyslot.kind)
    }
}

/// The header of a container whose keyslot 0 the sealed-key file opens.
pub fn deployed(
    Stored { container, storage }: Stored<'_>,
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
        let mut bytes = vec![0; to_usize(area.size_bytes)];
        let filled = entropy.fill(&mut bytes);
        filled.map_err(crate::Error::Entropy)?;
        writes.push(SectorWrite {
            offset_bytes: area.offset_bytes,
            bytes,
        });
    }
    Ok(Step::at(container.range.start, WritePhase::Tidy, writes))
}

/// Steps of a header with what is done when the first copy has dropped the old keyslots: before the second copy, which says
/// that nothing is left to do.
pub fn with_tidy([keyslots, first, second]: [Step; 3], tidy: Step) -> Vec<Step> {
    vec![keyslots, first, tidy, second]
}

/// The areas between keyslots, where those that are gone may have left their material.
pub fn gaps(metadata: &luks2::Metadata) -> Vec<Area> {
    let mut areas: Vec<Area> = metadata.keyslots.iter().map(|slot| slot.area).collect();
    areas.sort_unstable_by_key(|area| area.offset_bytes);
    let end = Area {
        offset_bytes: metadata.header_end_bytes(),
        size_bytes: 0,
    };
    let mut gaps = Vec::new();
    let mut offset_bytes = metadata.keyslots_start_bytes();
    for area in areas.into_iter().chain([end]) {
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
        step(WritePhase::FirstHeader, first)?,
        step(WritePhase::SecondHeader, second)?,
    ])
}

/// Two keys of the same name make newer readers refuse the header.
pub fn refuse_taken_name(change: &Change) -> Result<(), Error> {
    let tokens = change.metadata().tokens.iter();
    let names = tokens.filter_map(|token| RecoveryToken::parse(token)?.name);
    let mut taken = names.filter(|name| name == RECOVERY_KEY_NAME);
    match taken.next() {
        Some(name) => Err(Error::RecoveryNameTaken { name }),
        None => Ok(()),
    }
}
