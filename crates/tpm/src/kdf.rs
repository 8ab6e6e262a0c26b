//! What the TPM makes of SHA-256: digests, HMACs and its two key derivation functions.
//!
//! TPM 2.0 Library, part 1, section 11.4.10. `KDFa` is NIST SP 800-108's counter mode with HMAC, `KDFe` NIST SP
//! 800-56A's concatenation with a digest. One round gives 256 bits, and no more is ever asked for.

use aws_lc_rs::{digest, hmac};
use zeroize::Zeroize as _;

use base::secret::SecretBytes;

/// SHA-256 of `parts`, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// HMAC with SHA-256 of `parts`, one after the other.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

/// `KDFa`: a key of `bits` bits, a multiple of 8 up to 256, for the purpose `label`.
pub(crate) fn kdf_a(key: &SecretBytes, label: &[u8], context: &[u8], bits: u16) -> SecretBytes {
    let bits = bits.min(256);
    let round = hmac_sha256(
        key.expose(),
        &[
            &1_u32.to_be_bytes(),
            label,
            &[0],
            context,
            &u32::from(bits).to_be_bytes(),
        ],
    );
    taken(round, usize::from(bits / 8))
}

/// `KDFe`: 256 bits from the x coordinate of a shared point, for the purpose `label` between the two parties.
pub(crate) fn kdf_e(shared_x: &[u8], label: &[u8], party_u: &[u8], party_v: &[u8]) -> SecretBytes {
    let parts = [
        &1_u32.to_be_bytes(),
        shared_x,
        label,
        &[0],
        party_u,
        party_v,
    ];
    taken(sha256(&parts), 32)
}

/// The first bytes of a round, which is wiped.
fn taken(mut round: [u8; 32], len_bytes: usize) -> SecretBytes {
    let key = round.iter().copied().take(len_bytes).collect();
    round.zeroize();
    SecretBytes::new(key)
}
