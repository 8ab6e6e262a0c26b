//! Making a sealed-key file.
//!
//! The payload is disk key ‖ private half of the policy key, each behind its 16-bit length; together they
//! may have 64 bytes, so the disk key may have 28. Numbers of the policy key and the signature are padded to
//! 32 bytes; snapcore/secboot leaves out zeros in front, and reads both.

use super::body::{policy_key_area, selection_bytes};
use super::{
    Error, MAX_LEAVES, NO_COUNTER, SealedKey, Signature, Tree, VERSION, file, signed_message,
    static_policy,
};
use base::secret::{Entropy, SecretBytes};
use tpm::{
    Bank, KeyPair, MAX_PAYLOAD_BYTES, Marshal, Policy, SealTerms, Selection, StorageParent,
    composite, seal_for,
};

/// The longest disk key: 64 bytes less the policy key's 32 and two lengths.
pub const MAX_KEY_BYTES: usize = MAX_PAYLOAD_BYTES - 36;

/// The PCR states to seal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrProfile {
    selection: Selection,
    composites: Vec<[u8; 32]>,
}

impl PcrProfile {
    /// The states in which the values of `selection` have one of these composite digests. Of equal ones the
    /// first counts; the order is that of the leaves.
    ///
    /// Fails with [`Error::Bank`], [`Error::Composite`], [`Error::NoBranch`], [`Error::TooManyBranches`].
    pub fn new<'a>(
        selection: Selection,
        composites: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, Error> {
        let bank = selection.bank;
        if bank != Bank::Sha256 {
            return Err(Error::Bank { bank });
        }
        let mut seen = std::collections::HashSet::new();
        let mut different: Vec<[u8; 32]> = Vec::new();
        for digest in composites {
            let digest = digest.try_into().map_err(|_| Error::Composite {
                len_bytes: digest.len(),
            })?;
            if seen.insert(digest) {
                different.push(digest);
            }
        }
        match different.len() {
            0 => Err(Error::NoBranch),
            1..=MAX_LEAVES => Ok(Self {
                selection,
                composites: different,
            }),
            leaves => Err(Error::TooManyBranches { leaves }),
        }
    }

    /// Any state: no PCR is looked at, the key is bound to the TPM alone.
    pub fn any_state() -> Result<Self, Error> {
        let selection = Selection {
            bank: Bank::Sha256,
            pcrs: std::collections::BTreeSet::new(),
        };
        let nothing = composite([]);
        Self::new(selection, [nothing.as_slice()])
    }
}

/// Seals `key` to the TPM with `parent`, in the states of `profile`. The file is handed out after it was
/// read back, and found to open in each of these states.
pub fn seal(
    parent: &StorageParent,
    profile: &PcrProfile,
    key: &SecretBytes,
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, Error> {
    if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Err(Error::KeyLength {
            len_bytes: key.len(),
        });
    }
    let policy_key = KeyPair::random(entropy).map_err(Error::Seal)?;
    let policy_area = policy_key_area(policy_key.point());
    // As the library writes it: dictionary attack protection counts, and the authorisation value is 32 zeros.
    let terms = SealTerms {
        auth_policy: static_policy(&policy_area.name()),
        no_da: false,
        auth_zeros: 32,
        shares_seed: false,
    };
    let object = seal_for(parent, terms, &payload(key, &policy_key), entropy);
    let object = object.map_err(Error::Seal)?;

    let selection = selection_bytes(&profile.selection);
    let leaf = |composite: &[u8; 32]| Policy::START.pcr(&selection, composite).digest();
    let leaves: Vec<[u8; 32]> = profile.composites.iter().map(leaf).collect();
    let tree = Tree::over(&leaves);
    let approved_policy = tree.root_digest();
    let signature = policy_key.sign(&signed_message(&approved_policy));
    let [r, s] = signature.map_err(Error::Seal)?.map(Vec::from);
    let sealed = SealedKey {
        version: VERSION,
        private: object.private,
        object: object.public,
        hint: 0,
        import_seed: Some(object.seed),
        policy_key: policy_area,
        counter: NO_COUNTER,
        reference: Vec::new(),
        selection: profile.selection.clone(),
        tree,
        sequence: 0,
        approved_policy,
        signature: Signature { r, s },
        trailing_bytes: 0,
    };
    let file = file::wrap(VERSION, &sealed.to_body(), entropy)?;
    read_back(&file, &sealed, profile)?;
    Ok(file)
}

/// In one buffer that never grows: nothing of it stays in memory.
fn payload(key: &SecretBytes, policy_key: &KeyPair) -> SecretBytes {
    let mut payload = Vec::with_capacity(MAX_PAYLOAD_BYTES);
    payload.put_sized(key.expose());
    payload.put_sized(policy_key.scalar().expose());
    SecretBytes::new(payload)
}

fn read_back(file: &[u8], sealed: &SealedKey, profile: &PcrProfile) -> Result<(), Error> {
    let read = SealedKey::read(file)?;
    if read != *sealed {
        return Err(Error::ReadBack);
    }
    read.check()?;
    profile
        .composites
        .iter()
        .try_for_each(|composite| read.opens_with(composite))
}
