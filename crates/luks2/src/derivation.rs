//! Key derivation: from a passphrase to the key of a keyslot's area (LUKS2 On-Disk Format, section 3.2).
//!
//! Iterations, passes and memory come from the header, which may be hostile: each has a limit, and what is above it is
//! refused before anything is computed or allocated. The limit of the memory is cryptsetup's own.

use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params, Version};

use super::digest::ITERATIONS_LIMIT;
use super::keyslot::{Kdf, salt};
use super::pbkdf2::pbkdf2;
use super::{Error, Hash};
use base::secret::SecretBytes;

/// The most memory of Argon2 that is allocated: 4 GiB, more than which cryptsetup neither writes nor takes.
const MEMORY_LIMIT_KIB: u32 = 4 << 20;
/// The most that all passes of Argon2 go through: 256 GiB take some minutes, and nobody waits that long at every boot.
const PASSES_LIMIT_KIB: u64 = 256 << 20;

impl Kdf {
    /// The key of `len_bytes` that comes from a passphrase, for keyslot `number`.
    pub(super) fn derive(
        &self,
        number: u32,
        passphrase: &SecretBytes,
        len_bytes: usize,
    ) -> Result<SecretBytes, Error> {
        let unsupported = |what: &str| Error::unsupported(number, what);
        let salt =
            |text: &str| salt(text).ok_or_else(|| unsupported("a salt that is not 32 bytes"));
        let mut key = SecretBytes::zeroed(len_bytes);
        match self {
            Self::Pbkdf2 {
                hash,
                iterations,
                salt: text,
            } => {
                if *iterations > ITERATIONS_LIMIT {
                    return Err(Error::Iterations {
                        path: format!("keyslots.{number}.kdf.iterations"),
                        iterations: *iterations,
                        limit: ITERATIONS_LIMIT,
                    });
                }
                let hash = Hash::from_name(hash).ok_or_else(|| unsupported(hash))?;
                let iterations = NonZeroU32::new(*iterations);
                let iterations = iterations.ok_or_else(|| unsupported("0 iterations"))?;
                pbkdf2(
                    hash,
                    passphrase.expose(),
                    &salt(text)?,
                    iterations,
                    key.expose_mut(),
                );
            }
            Self::Argon2 {
                variant,
                time,
                memory_kib,
                cpus,
                salt: text,
            } => {
                let algorithm = match variant.as_str() {
                    "argon2i" => Algorithm::Argon2i,
                    "argon2id" => Algorithm::Argon2id,
                    other => return Err(unsupported(other)),
                };
                check_memory(number, *memory_kib, *time)?;
                let params = Params::new(*memory_kib, *time, *cpus, None);
                let params = params.map_err(|error| unsupported(&error.to_string()))?;
                let salt = salt(text)?;
                tracing::debug!(
                    "keyslot {number}: {variant} takes {} MiB of memory, {time} times",
                    memory_kib.div_ceil(1024)
                );
                Argon2::new(algorithm, Version::V0x13, params)
                    .hash_password_into(passphrase.expose(), &salt, key.expose_mut())
                    .map_err(|error| match error {
                        argon2::Error::OutOfMemory => Error::NoMemory {
                            keyslot: number,
                            memory_kib: *memory_kib,
                        },
                        error => unsupported(&error.to_string()),
                    })?;
            }
        }
        Ok(key)
    }

    /// True where trying it takes noticeable time and memory.
    pub(super) fn is_costly(&self) -> bool {
        matches!(self, Self::Argon2 { .. })
    }
}

/// Refuses what only a hostile header asks for.
fn check_memory(keyslot: u32, memory_kib: u32, time: u32) -> Result<(), Error> {
    let passes_kib = u64::from(memory_kib).saturating_mul(u64::from(time));
    if memory_kib > MEMORY_LIMIT_KIB || passes_kib > PASSES_LIMIT_KIB {
        return Err(Error::Memory {
            keyslot,
            memory_kib,
            time,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn argon2(variant: &str, time: u32, memory_kib: u32, cpus: u32) -> Kdf {
        Kdf::Argon2 {
            variant: variant.to_owned(),
            time,
            memory_kib,
            cpus,
            salt: SALT.to_owned(),
        }
    }

    fn refusal(kdf: &Kdf) -> String {
        let passphrase = SecretBytes::new(b"test only".to_vec());
        kdf.derive(3, &passphrase, 64).err().unwrap().to_string()
    }

    #[test]
    fn more_than_a_keyslot_of_cryptsetup_takes_is_refused_before_it_is_allocated() {
        const LIMIT: &str = "this program takes 4 GiB, and 256 GiB in all passes, at most";
        assert_eq!(
            refusal(&argon2("argon2id", 4, (4 << 20) + 1, 4)),
            format!("keyslot 3 asks for 4194305 KiB of memory, in 4 passes; {LIMIT}")
        );
        assert_eq!(
            refusal(&argon2("argon2id", u32::MAX, 32, 1)),
            format!("keyslot 3 asks for 32 KiB of memory, in 4294967295 passes; {LIMIT}")
        );
        assert!(check_memory(3, 4 << 20, 64).is_ok(), "exactly both limits");
        assert!(check_memory(3, 4 << 20, 65).is_err());
    }

    #[test]
    fn numbers_that_no_argon2_has_are_refused() {
        for (kdf, what) in [
            (argon2("argon2id", 0, 32, 1), "time cost is too small"),
            (argon2("argon2id", 1, 7, 1), "memory cost is too small"),
            (argon2("argon2id", 1, 32, 5), "memory cost is too small"),
            (argon2("argon2id", 1, 32, 0), "not enough threads"),
            (argon2("argon2id", 1, 32, u32::MAX), "too many threads"),
            (argon2("argon2d", 1, 32, 1), "argon2d"),
        ] {
            assert_eq!(
                refusal(&kdf),
                format!("keyslot 3 uses {what}, which this program does not support yet")
            );
        }
        assert_eq!(
            Error::NoMemory {
                keyslot: 3,
                memory_kib: 1024
            }
            .to_string(),
            "keyslot 3 needs 1024 KiB of memory, and there is not as much"
        );
    }
}
