//! Policy digests: what a TPM's policy session holds after a sequence of assertions.
//!
//! TPM 2.0 Library, part 3, section 23. A session starts with zeros; each assertion replaces its digest by a
//! digest over the old one, the number of the command and the command's arguments. `PolicyOR` is the one that
//! starts over: it leaves the old digest out, having checked that it is in the list.

use super::Name;
use super::kdf::sha256;

const POLICY_AUTHORIZE: u32 = 0x0000_016a;
const POLICY_AUTH_VALUE: u32 = 0x0000_016b;
const POLICY_OR: u32 = 0x0000_0171;
const POLICY_PCR: u32 = 0x0000_017f;

/// The digest of a policy session with SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy([u8; 32]);

impl Policy {
    /// A session that has just started.
    pub const START: Self = Self([0; 32]);

    /// The digest as it is now.
    pub fn digest(self) -> [u8; 32] {
        self.0
    }

    /// After `PolicyPCR`: `selection` is a `TPML_PCR_SELECTION`, `composite` the digest of the values.
    #[must_use]
    pub fn pcr(self, selection: &[u8], composite: &[u8]) -> Self {
        Self(sha256(&[
            &self.0,
            &POLICY_PCR.to_be_bytes(),
            selection,
            composite,
        ]))
    }

    /// After `PolicyOR` over these digests. A TPM wants at least two, so a lone one is named twice.
    pub fn or(digests: &[[u8; 32]]) -> Self {
        let command = POLICY_OR.to_be_bytes();
        let zeros = [0; 32];
        let mut parts: Vec<&[u8]> = vec![&zeros, &command];
        parts.extend(digests.iter().map(<[u8; 32]>::as_slice));
        if let [lone] = digests {
            parts.push(lone);
        }
        Self(sha256(&parts))
    }

    /// After `PolicyAuthorize`, which takes the place of whatever policy the key with the name `key` signed
    /// together with `policy_ref`.
    pub fn authorize(key: &Name, policy_ref: &[u8]) -> Self {
        let signed = sha256(&[&[0; 32], &POLICY_AUTHORIZE.to_be_bytes(), key.bytes()]);
        Self(sha256(&[&signed, policy_ref]))
    }

    /// After `PolicyAuthValue`: the object's authorisation value is asked for as well.
    #[must_use]
    pub fn auth_value(self) -> Self {
        Self(sha256(&[&self.0, &POLICY_AUTH_VALUE.to_be_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_over_no_pcr_is_the_known_one() {
        let composite = sha256(&[]);
        let policy = Policy::START.pcr(&[0; 4], &composite);
        assert_eq!(
            hex::encode(policy.digest()),
            "0236b3d936e962df76207a2402de6096ec64c2aafc9b1ed3b4adb5b6754f010e"
        );
    }

    #[test]
    fn a_lone_digest_is_hashed_twice() {
        let [one, two] = [[1; 32], [2; 32]];
        assert_eq!(Policy::or(&[one]), Policy::or(&[one, one]));
        assert_ne!(Policy::or(&[one, two]), Policy::or(&[two, one]));
    }
}
