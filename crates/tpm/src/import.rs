//! Sealing without the TPM: an object that is duplicated towards a storage parent, which then imports it.
//!
//! TPM 2.0 Library, part 1, section 23.3 (duplication, outer wrapper only) and annex B.10.3, C.6.3. In order:
//!
//! 1. `unique` = SHA-256(seed value ‖ payload) ties the data to the public area, whose name is N.
//! 2. The *sensitive area*: type, authorisation value (zeros or nothing: none), seed value, payload.
//! 3. A *seed* of 32 bytes for the parent alone: for RSA by OAEP under the label `DUPLICATE`; for ECC from an
//!    ephemeral key by `KDFe`.
//! 4. Two keys from the seed by `KDFa`: AES-CFB encrypts the sensitive area, HMAC covers that and N.
//!
//! All that is random comes from the caller, but the seed of the OAEP padding, which is AWS-LC's own.

use aws_lc_rs::cipher::{
    AES_128, AES_256, Algorithm, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents,
};

use super::kdf::{hmac_sha256, kdf_a, kdf_e, sha256};
use super::marshal::Marshal;
use super::storage_parent::ParentKey;
use super::{Error, KeyPair, Public, PublicKind, StorageParent};
use base::secret::{Entropy, SecretBytes};

/// The most that can be sealed: a hash block. Some TPMs take more, none must.
pub const MAX_PAYLOAD_BYTES: usize = 64;

const TPM_ALG_KEYEDHASH: u16 = 0x0008;
/// With its zero, as the specification counts it for OAEP; `KDFe` adds the zero itself.
const OAEP_LABEL: &[u8] = b"DUPLICATE\0";
const KDF_LABEL: &[u8] = b"DUPLICATE";
const SEED_BYTES: usize = 32;
/// In `objectAttributes`.
const NO_DA: u32 = 1 << 10;

/// Sealed data, ready for `TPM2_Import`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedObject {
    /// Its public area.
    pub public: Public,
    /// Content of the `TPM2B_PRIVATE`: HMAC (behind its length) and encrypted sensitive area.
    pub private: Vec<u8>,
    /// Content of the `TPM2B_ENCRYPTED_SECRET` that carries the seed.
    pub seed: Vec<u8>,
}

/// What the writer of a sealed object chooses about it. It is never bound to its TPM for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealTerms {
    /// `authPolicy`: the digest of the policy in whose session alone the object is unsealed.
    pub auth_policy: [u8; 32],
    /// True: dictionary attack protection does not count (`noDA`), so a TPM in lockout still unseals. Nothing is lost
    /// by it where no authorisation value could be guessed.
    pub no_da: bool,
    /// How many zeros are written as authorisation value. A TPM takes zeros at the end as absent, so any number of them
    /// means that there is none.
    pub auth_zeros: usize,
    /// True: the seed value of the object is the seed that is sent, as systemd writes it; else it is drawn for itself.
    /// Both lie within what is encrypted.
    pub shares_seed: bool,
}

/// Seals `payload` so that the TPM with `parent` alone imports it, and unseals it on these terms alone.
pub fn seal_for(
    parent: &StorageParent,
    terms: SealTerms,
    payload: &SecretBytes,
    entropy: &mut dyn Entropy,
) -> Result<SealedObject, Error> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Error::PayloadLength {
            len_bytes: payload.len(),
        });
    }
    let (seed_value, (seed, secret)) = if terms.shares_seed {
        let (seed, secret) = send_seed(parent, entropy)?;
        (seed.clone(), (seed, secret))
    } else {
        let seed_value = SecretBytes::random(entropy, SEED_BYTES)?;
        (seed_value, send_seed(parent, entropy)?)
    };
    let unique = sha256(&[seed_value.expose(), payload.expose()]).to_vec();
    let public = Public {
        attributes: if terms.no_da { NO_DA } else { 0 },
        auth_policy: terms.auth_policy.to_vec(),
        kind: PublicKind::KeyedHash { unique },
    };
    let name = public.name();
    let mut encrypted = sensitive_area(terms.auth_zeros, &seed_value, payload);
    let key = kdf_a(&seed, b"STORAGE", name.bytes(), parent.aes_bits());
    encrypt(&key, encrypted.expose_mut())?;
    let hmac_key = kdf_a(&seed, b"INTEGRITY", &[], 256);
    let mac = hmac_sha256(hmac_key.expose(), &[encrypted.expose(), name.bytes()]);
    let mut private = Vec::new();
    private.put_sized(&mac);
    private.put(encrypted.expose());
    Ok(SealedObject {
        public,
        private,
        seed: secret,
    })
}

/// The sensitive area behind its length, in one buffer that never grows: nothing of it stays in memory.
fn sensitive_area(
    auth_zeros: usize,
    seed_value: &SecretBytes,
    payload: &SecretBytes,
) -> SecretBytes {
    let mut area = Vec::with_capacity(256);
    area.put_word(TPM_ALG_KEYEDHASH);
    area.put_sized(&vec![0; auth_zeros]);
    area.put_sized(seed_value.expose());
    area.put_sized(payload.expose());
    let area = SecretBytes::new(area);
    let mut sized = Vec::with_capacity(256);
    sized.put_sized(area.expose());
    SecretBytes::new(sized)
}

/// A seed, and the secret from which the parent's TPM alone gets it.
fn send_seed(
    parent: &StorageParent,
    entropy: &mut dyn Entropy,
) -> Result<(SecretBytes, Vec<u8>), Error> {
    match parent.key() {
        ParentKey::Rsa { modulus, exponent } => {
            let seed = SecretBytes::random(entropy, SEED_BYTES)?;
            let secret = encrypt_for_rsa(modulus, *exponent, &seed);
            let secret = secret.ok_or(Error::Library {
                operation: "an encryption with RSA-OAEP",
            })?;
            Ok((seed, secret))
        }
        ParentKey::Ecc(point) => {
            let ephemeral = KeyPair::random(entropy)?;
            let own = ephemeral.point();
            let shared_x = ephemeral.agree(point)?;
            let seed = kdf_e(shared_x.expose(), KDF_LABEL, &own.x, &point.x);
            let mut secret = Vec::new();
            secret.put_sized(&own.x);
            secret.put_sized(&own.y);
            Ok((seed, secret))
        }
    }
}

fn encrypt_for_rsa(modulus: &[u8], exponent: u32, seed: &SecretBytes) -> Option<Vec<u8>> {
    let exponent = exponent.to_be_bytes();
    let components = PublicKeyComponents {
        n: modulus,
        e: exponent.split_at_checked(1)?.1, // 65537 without the zero in front
    };
    let key: PublicEncryptingKey = components.try_into().ok()?;
    let key = OaepPublicEncryptingKey::new(key).ok()?;
    let mut secret = vec![0; key.ciphertext_size()];
    let written = key
        .encrypt(
            &OAEP_SHA256_MGF1SHA256,
            seed.expose(),
            &mut secret,
            Some(OAEP_LABEL),
        )
        .ok()?
        .len();
    (written == secret.len()).then_some(secret)
}

/// AES-CFB with an IV of zeros, in place: every key is used once.
fn encrypt(key: &SecretBytes, data: &mut [u8]) -> Result<(), Error> {
    let failed = |_| Error::Library {
        operation: "an encryption with AES-CFB",
    };
    let algorithm: &'static Algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    let key = UnboundCipherKey::new(algorithm, key.expose()).map_err(failed)?;
    let key = EncryptingKey::cfb128(key).map_err(failed)?;
    let zeros = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    key.less_safe_encrypt(data, zeros).map_err(failed)?;
    Ok(())
}
