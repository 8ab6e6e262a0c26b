//! `--unlock-with`: a key that its owner has opens a container that is deployed.
//!
//! The bytes of the file are the passphrase, as cryptsetup takes them. Two forms of a recovery key are tried besides: of 16
//! bytes the digits, which is what systemd's prompt gets, and of digits the 16 bytes, which is what Ubuntu's initramfs
//! makes of them. Keyslots that are to be replaced do not count: nobody knows their keys but the guest.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::container::Container;
use super::error::Error;
use base::secret::SecretBytes;
use base::storage::ReadAt;
use keyobject::RecoveryKey;
use luks2::{self, Kdf, Keyslot, VolumeKey};

/// The longest key file that cryptsetup reads.
const MAX_KEY_FILE_BYTES: usize = 8 << 20;

/// A container that was opened.
pub struct OpenedKeyslot {
    /// The keyslot that the key opens.
    pub keyslot: u32,
    /// What it holds.
    pub volume_key: VolumeKey,
}

/// Opens a container with the key in a file, by any keyslot but those that will be `replaced`.
pub fn open(
    container: &Container,
    storage: &dyn ReadAt,
    path: &Path,
    replaced: &[u32],
) -> Result<OpenedKeyslot, Error> {
    let partition = container.partition.number;
    let problem = |error| Error::container(partition, error);
    let key = read(path)?;
    let header = &container.header;
    // Argon2 takes seconds: nobody set it up with another form of a key than that of the file.
    let not_quick = header
        .metadata()
        .keyslots
        .iter()
        .filter(|slot| is_costly(slot));
    let not_quick = not_quick.map(|slot| slot.number);
    let left_out: Vec<u32> = replaced.iter().copied().chain(not_quick).collect();
    let others = other_forms(&key);
    let attempts = others.iter().map(|other| (&left_out[..], other));
    let mut wrong = None;
    for (left_out, key) in attempts.chain([(replaced, &key)]) {
        match header.unlock_any(left_out, key, storage) {
            Ok((keyslot, volume_key)) => {
                return Ok(OpenedKeyslot {
                    keyslot,
                    volume_key,
                });
            }
            Err(luks2::Error::Storage(error)) => {
                return Err(problem(luks2::Error::Storage(error)));
            }
            Err(error) => wrong = Some(error),
        }
    }
    for keyslot in replaced {
        if header.unlock(Some(*keyslot), &key, storage).is_ok() {
            return Err(Error::UnlocksReplaced {
                path: path.to_owned(),
                keyslot: *keyslot,
            });
        }
    }
    Err(match wrong {
        Some(luks2::Error::WrongKey { .. }) | None => Error::UnlocksNothing {
            path: path.to_owned(),
            partition,
            ends_in_newline: key.expose().ends_with(b"\n"),
        },
        Some(error) => problem(error),
    })
}

fn is_costly(keyslot: &Keyslot) -> bool {
    let kdf = keyslot.luks2().map(|luks2| &luks2.kdf);
    matches!(kdf, Some(Kdf::Argon2 { .. }))
}

/// What the recovery key in a file is for another reader.
fn other_forms(key: &SecretBytes) -> Vec<SecretBytes> {
    let given = RecoveryKey::from_bytes(key.clone()).ok();
    let text = std::str::from_utf8(key.expose()).ok();
    let typed = text.and_then(|text| RecoveryKey::from_text(text.trim_end()).ok());
    let digits = |key: &RecoveryKey| SecretBytes::new(key.text().as_bytes().to_vec());
    let mut forms: Vec<SecretBytes> = given.iter().chain(&typed).map(digits).collect();
    forms.extend(typed.map(|key| key.passphrase().clone()));
    forms
}

fn read(path: &Path) -> Result<SecretBytes, Error> {
    let key = File::open(path).and_then(read_key);
    let key = key.map_err(|source| Error::Unreadable {
        option: "--unlock-with",
        path: path.to_owned(),
        source,
    })?;
    if key.is_empty() || key.len() > MAX_KEY_FILE_BYTES {
        return Err(Error::UnlockKeyLength {
            path: path.to_owned(),
            is_empty: key.is_empty(),
        });
    }
    Ok(key)
}

/// One byte more than a key has, at most. What a buffer held that had to grow is wiped.
fn read_key(mut file: File) -> io::Result<SecretBytes> {
    let mut buffer = SecretBytes::zeroed(4096);
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            let mut longer = SecretBytes::zeroed(buffer.len() * 2);
            longer.expose_mut()[..filled].copy_from_slice(buffer.expose());
            buffer = longer;
        }
        match file.read(&mut buffer.expose_mut()[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled > MAX_KEY_FILE_BYTES {
            break;
        }
    }
    Ok(SecretBytes::new(buffer.expose()[..filled].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_key_is_tried_in_the_forms_of_both_readers() {
        let digits = b"00256-00770-01284-01798-02312-02826-03340-03854";
        let bytes: Vec<u8> = (0..16).collect();
        let forms = |key: &[u8]| -> Vec<Vec<u8>> {
            let forms = other_forms(&SecretBytes::new(key.to_vec()));
            forms.iter().map(|key| key.expose().to_vec()).collect()
        };
        assert_eq!(forms(&bytes), [digits.to_vec()]);
        let of_digits = [digits.to_vec(), bytes];
        assert_eq!(forms(digits), of_digits);
        assert_eq!(forms(&[&digits[..], b"\n"].concat()), of_digits);
        assert!(forms(b"a passphrase").is_empty());
    }
}
