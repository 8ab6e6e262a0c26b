//! Changes to the metadata: the text is edited member by member, and checked again as a whole.
//!
//! New members and array elements go to the end, whatever their number, as cryptsetup does it. A change that
//! would not be taken back by the parser fails and leaves the document as it was.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::area::{self, AREA_BYTES, ITERATIONS, KeyslotMaterial, SALT_BYTES};
use super::json::{self, Object};
use super::keyslot::{self, Area};
use super::metadata::CIPHER;
use super::refusal::Refusal;
use super::{Error, Hash, Metadata, VolumeKey, token};
use base::secret::{Entropy, SecretBytes};

/// Metadata that can be changed: the text and what it says.
pub(crate) struct Document {
    text: String,
    metadata: Metadata,
}

impl Document {
    /// Text that is put together here or was read before.
    pub(crate) fn parse(text: String, header_size_bytes: u64) -> Result<Self, Error> {
        match Metadata::parse(&text, header_size_bytes) {
            Ok(metadata) => Ok(Self { text, metadata }),
            Err(Refusal::Invalid(error) | Refusal::Unsupported(error)) => Err(error),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Adds a keyslot for `volume_key`, which must be the container's: `number`, or the lowest free one. Its
    /// area is the first gap that is long enough. `hash` is that of its key derivation and its split.
    ///
    /// Draws the salt, then the anti-forensic stripes.
    pub(crate) fn add_keyslot(
        &mut self,
        number: Option<u32>,
        volume_key: &VolumeKey,
        passphrase: &SecretBytes,
        hash: Hash,
        entropy: &mut dyn Entropy,
    ) -> Result<KeyslotMaterial, Error> {
        let taken = self.metadata.keyslots.iter().map(|keyslot| keyslot.number);
        let number = choose("keyslot", number, taken, keyslot::LAST_NUMBER)?;
        let digest = self.digest_of(volume_key)?;
        let offset_bytes = self.gap()?;

        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt)?;
        let bytes = area::seal(volume_key, passphrase, hash, &salt, entropy)?;
        let keyslot = json!({
            "type": "luks2",
            "key_size": VolumeKey::LEN_BYTES,
            "af": {"type": "luks1", "stripes": super::area::STRIPES, "hash": hash.name()},
            "area": {
                "type": "raw",
                "offset": offset_bytes.to_string(),
                "size": AREA_BYTES.to_string(),
                "encryption": CIPHER,
                "key_size": VolumeKey::LEN_BYTES,
            },
            "kdf": {
                "type": "pbkdf2",
                "hash": hash.name(),
                "iterations": ITERATIONS,
                "salt": STANDARD.encode(salt),
            },
        });
        let name = number.to_string();
        self.change(|document| {
            document.edit(&["keyslots"], |keyslots| {
                keyslots.set(&name, json::raw(&keyslot));
                Ok(())
            })?;
            document.edit(&["digests", &digest.to_string()], |digest| {
                let mut names = digest.strings("keyslots")?;
                names.push(name.clone());
                digest.set("keyslots", json::raw(&names.into()));
                Ok(())
            })
        })?;
        Ok(KeyslotMaterial {
            keyslot: number,
            offset_bytes,
            bytes,
        })
    }

    /// Takes a keyslot out, and its number out of every digest and token. Returns its area, whose bytes are
    /// to be overwritten once no header names it any more.
    pub(crate) fn remove_keyslot(&mut self, number: u32) -> Result<Area, Error> {
        let keyslot = self.metadata.keyslot(number);
        let area = keyslot.ok_or(Error::NoKeyslot { keyslot: number })?.area;
        let name = number.to_string();
        let holders = self.holders(number);
        self.change(|document| {
            document.edit(&["keyslots"], |keyslots| {
                keyslots.remove(&name);
                Ok(())
            })?;
            for (kind, holder) in &holders {
                document.edit(&[kind, holder], |holder| {
                    let mut names = holder.strings("keyslots")?;
                    names.retain(|other| *other != name);
                    holder.set("keyslots", json::raw(&names.into()));
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        Ok(area)
    }

    /// Gives a keyslot another number, which must be free, wherever it is named.
    pub(crate) fn renumber_keyslot(&mut self, from: u32, to: u32) -> Result<(), Error> {
        let taken = self.metadata.keyslots.iter().map(|keyslot| keyslot.number);
        choose("keyslot", Some(to), taken, keyslot::LAST_NUMBER)?;
        if self.metadata.keyslot(from).is_none() {
            return Err(Error::NoKeyslot { keyslot: from });
        }
        let holders = self.holders(from);
        let (from, to) = (from.to_string(), to.to_string());
        self.change(|document| {
            document.edit(&["keyslots"], |keyslots| {
                let keyslot = keyslots.object(&from)?.to_raw();
                keyslots.remove(&from);
                keyslots.set(&to, keyslot);
                Ok(())
            })?;
            for (kind, holder) in &holders {
                document.edit(&[kind, holder], |holder| {
                    let mut names = holder.strings("keyslots")?;
                    for name in names.iter_mut().filter(|name| **name == from) {
                        name.clone_from(&to);
                    }
                    holder.set("keyslots", json::raw(&names.into()));
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    /// The digests and tokens that name a keyslot, by their kind and number.
    fn holders(&self, keyslot: u32) -> Vec<(&'static str, String)> {
        let digests = self.metadata.digests.iter();
        let digests = digests.filter(|digest| digest.keyslots.contains(&keyslot));
        let tokens = self.metadata.tokens.iter();
        let tokens = tokens.filter(|token| token.keyslots.contains(&keyslot));
        let digests = digests.map(|digest| ("digests", digest.number.to_string()));
        let tokens = tokens.map(|token| ("tokens", token.number.to_string()));
        digests.chain(tokens).collect()
    }

    /// Adds a token, whose text must be an object with `type` and `keyslots`; returns its number.
    pub(crate) fn add_token(&mut self, number: Option<u32>, json: &str) -> Result<u32, Error> {
        let taken = self.metadata.tokens.iter().map(|other| other.number);
        let number = choose("token", number, taken, token::LAST_NUMBER)?;
        json::check(json)?;
        let value = Object::outermost(json)?.to_raw();
        self.change(|document| {
            document.edit(&["tokens"], |tokens| {
                tokens.set(&number.to_string(), value);
                Ok(())
            })
        })?;
        Ok(number)
    }

    /// Gives a token another text, which must be an object with `type` and `keyslots`.
    pub(crate) fn set_token(&mut self, number: u32, json: &str) -> Result<(), Error> {
        self.check_has_token(number)?;
        json::check(json)?;
        let value = Object::outermost(json)?.to_raw();
        self.change(|document| {
            document.edit(&["tokens"], |tokens| {
                tokens.set(&number.to_string(), value);
                Ok(())
            })
        })
    }

    /// Takes a requirement out, and with the last one the member that holds them.
    pub(crate) fn remove_requirement(&mut self, name: &str) -> Result<(), Error> {
        self.change(|document| {
            document.edit(&["config"], |config| {
                let Some(mut requirements) = config.optional_object("requirements")? else {
                    return Ok(());
                };
                let mut names = requirements.strings("mandatory")?;
                names.retain(|other| other != name);
                if names.is_empty() {
                    config.remove("requirements");
                } else {
                    requirements.set("mandatory", json::raw(&names.into()));
                    config.set("requirements", requirements.to_raw());
                }
                Ok(())
            })
        })
    }

    fn check_has_token(&self, number: u32) -> Result<(), Error> {
        let mut tokens = self.metadata.tokens.iter();
        if tokens.any(|token| token.number == number) {
            Ok(())
        } else {
            Err(Error::NoToken { token: number })
        }
    }

    /// Takes a token out.
    pub(crate) fn remove_token(&mut self, number: u32) -> Result<(), Error> {
        self.check_has_token(number)?;
        self.change(|document| {
            document.edit(&["tokens"], |tokens| {
                tokens.remove(&number.to_string());
                Ok(())
            })
        })
    }

    /// The digest of the segment, which must be that of `volume_key`.
    fn digest_of(&self, volume_key: &VolumeKey) -> Result<u32, Error> {
        let key = SecretBytes::new(volume_key.expose().to_vec());
        for digest in &self.metadata.digests {
            if !digest.segments.is_empty() && digest.is_of(&key)? {
                return Ok(digest.number);
            }
        }
        Err(Error::VolumeKey)
    }

    /// Begin of the first gap in the keyslots area that takes a keyslot of ours.
    fn gap(&self) -> Result<u64, Error> {
        let mut areas: Vec<Area> = self
            .metadata
            .keyslots
            .iter()
            .map(|slot| slot.area)
            .collect();
        areas.sort_unstable_by_key(|area| area.offset_bytes);
        let mut gap_bytes = self.metadata.keyslots_start_bytes();
        for area in areas {
            if area.offset_bytes.saturating_sub(gap_bytes) >= AREA_BYTES {
                return Ok(gap_bytes);
            }
            let end = area.offset_bytes.saturating_add(area.size_bytes); // checked by the parser
            gap_bytes = end.checked_next_multiple_of(4096).unwrap_or(u64::MAX);
        }
        if self.metadata.header_end_bytes().saturating_sub(gap_bytes) >= AREA_BYTES {
            Ok(gap_bytes)
        } else {
            Err(Error::NoRoom {
                size_bytes: AREA_BYTES,
            })
        }
    }

    fn change(
        &mut self,
        change: impl FnOnce(&mut Object) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut object = Object::outermost(&self.text)?;
        change(&mut object)?;
        let text = object.to_raw().get().to_owned();
        let size_bytes = self.metadata.header_size_bytes;
        let limit_bytes = size_bytes.saturating_sub(4097); // binary header, and the NUL that ends the text
        if u64::try_from(text.len()).is_ok_and(|len| len > limit_bytes) {
            return Err(Error::MetadataSize {
                len_bytes: text.len(),
                limit_bytes,
            });
        }
        *self = Self::parse(text, size_bytes)?;
        Ok(())
    }
}

/// The number that is asked for, or the lowest that is free.
fn choose(
    kind: &'static str,
    wanted: Option<u32>,
    taken: impl Iterator<Item = u32>,
    last: u32,
) -> Result<u32, Error> {
    let taken: Vec<u32> = taken.collect();
    match wanted {
        Some(number) if number > last => Err(Error::Number { kind, number, last }),
        Some(number) if taken.contains(&number) => Err(Error::Taken { kind, number }),
        Some(number) => Ok(number),
        None => {
            let free = (0..=last).find(|number| !taken.contains(number));
            free.ok_or(Error::AllTaken {
                kind,
                count: last.saturating_add(1),
            })
        }
    }
}
