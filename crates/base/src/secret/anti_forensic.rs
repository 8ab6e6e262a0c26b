//! The anti-forensic split (LUKS1 On-Disk Format Specification 1.2.3, section 2.4), for any length and hash.
//!
//! A secret is spread over *stripes* of its own length, all of which are needed to get it back, so that
//! overwriting any part of the material destroys it. All stripes but the last are random; each is
//! mixed into a running buffer, which is then *diffused*: cut into blocks of the hash's length, block *j*
//! replaced by hash(be32(*j*) ‖ block). The last stripe is that buffer xor the secret.
//!
//! LUKS2 keyslots and the sealed-key file both are in this form.

use aws_lc_rs::digest::{Algorithm, Context};

use super::{Entropy, EntropyError, SecretBytes};

/// Spreads `key` over `stripes` stripes. The random ones are drawn in one call.
pub fn split(
    key: &[u8],
    stripes: usize,
    hash: &'static Algorithm,
    entropy: &mut dyn Entropy,
) -> Result<SecretBytes, EntropyError> {
    let mut material = SecretBytes::zeroed(key.len().saturating_mul(stripes));
    let random_bytes = key.len().saturating_mul(stripes.saturating_sub(1));
    let (random, last) = material.expose_mut().split_at_mut(random_bytes);
    entropy.fill(random)?;
    let mixed = mix(random, key.len(), hash);
    last.copy_from_slice(mixed.expose());
    xor(last, key);
    Ok(material)
}

/// Gets a key of `key_bytes` bytes back from its stripes; `None` where they are not whole.
pub fn merge(material: &[u8], key_bytes: usize, hash: &'static Algorithm) -> Option<SecretBytes> {
    let random_bytes = material.len().checked_sub(key_bytes)?;
    if key_bytes == 0 || !material.chunks_exact(key_bytes).remainder().is_empty() {
        return None;
    }
    let (random, last) = material.split_at_checked(random_bytes)?;
    let mut key = mix(random, key_bytes, hash);
    xor(key.expose_mut(), last);
    Some(key)
}

/// The buffer that the last stripe is xored with.
pub fn mix(stripes: &[u8], key_bytes: usize, hash: &'static Algorithm) -> SecretBytes {
    let mut buffer = SecretBytes::zeroed(key_bytes);
    for stripe in stripes.chunks_exact(key_bytes) {
        xor(buffer.expose_mut(), stripe);
        diffuse(buffer.expose_mut(), hash);
    }
    buffer
}

fn diffuse(buffer: &mut [u8], hash: &'static Algorithm) {
    for (number, block) in (0_u32..).zip(buffer.chunks_mut(hash.output_len())) {
        let mut context = Context::new(hash);
        context.update(&number.to_be_bytes());
        context.update(block);
        for (byte, new) in block.iter_mut().zip(context.finish().as_ref()) {
            *byte = *new; // the last block may be shorter than the digest
        }
    }
}

fn xor(buffer: &mut [u8], other: &[u8]) {
    for (byte, other) in buffer.iter_mut().zip(other) {
        *byte ^= other;
    }
}
