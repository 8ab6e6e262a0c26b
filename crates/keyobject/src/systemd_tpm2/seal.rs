//! Making tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Error, Parent, TOKEN_TYPE, Tpm2Token, policy, primary_algorithm};
use base::secret::{Entropy, SecretBytes};
use luks2::Token;
use tpm::{Bank, Marshal, SealTerms, SealedObject, Selection, StorageParent, seal_for};

const SECRET_BYTES: usize = 32;
/// The kind of resource, in the serialisation of a key by tpm2-tss.
const RESOURCE_KEY: u32 = 1;

/// What is sealed for an image, and the passphrase of its keyslot that a reader makes of it.
pub struct UnlockSecret {
    secret: SecretBytes,
    passphrase: SecretBytes,
}

impl UnlockSecret {
    /// Draws one.
    pub fn random(entropy: &mut dyn Entropy) -> Result<Self, Error> {
        Ok(Self::new(SecretBytes::random(entropy, SECRET_BYTES)?))
    }

    /// The secret with these bytes.
    pub fn new(secret: SecretBytes) -> Self {
        // In one buffer that never grows: nothing of it stays in memory.
        let mut passphrase = SecretBytes::zeroed(secret.len().div_ceil(3).saturating_mul(4));
        // It fits: that is the length of base64 with padding.
        let _ = STANDARD.encode_slice(secret.expose(), passphrase.expose_mut());
        Self { secret, passphrase }
    }

    /// The passphrase: base64 with padding, 44 bytes.
    pub fn passphrase(&self) -> &SecretBytes {
        &self.passphrase
    }
}

/// Seals `secret` to the TPM with `parent`: for each state in which the values of `selection` have one of these
/// composite digests a token for `keyslot`, in their order, each once. Where `selection` names no PCR, one token for
/// any state.
///
/// The tokens are handed out after they were read back.
pub fn seal<'a>(
    parent: &StorageParent,
    found: Parent,
    selection: &Selection,
    composites: impl IntoIterator<Item = &'a [u8]>,
    secret: &UnlockSecret,
    keyslot: u32,
    entropy: &mut dyn Entropy,
) -> Result<Vec<String>, Error> {
    let bank = selection.bank;
    if bank != Bank::Sha256 {
        return Err(Error::Bank { bank });
    }
    if !parent.has_whole_coordinates() {
        return Err(Error::Coordinate);
    }
    let mut policies: Vec<[u8; 32]> = Vec::new();
    for composite in composites {
        let policy = policy(selection, composite, false);
        if !policies.contains(&policy) {
            policies.push(policy);
        }
    }
    if policies.is_empty() {
        return Err(Error::NoBranch);
    }
    let token = |auth_policy: [u8; 32]| {
        let terms = SealTerms {
            auth_policy,
            no_da: true,
            auth_zeros: 0,
            shares_seed: true,
        };
        let object = seal_for(parent, terms, &secret.secret, entropy).map_err(Error::Seal)?;
        let token = json(&object, &auth_policy, selection, parent, found, keyslot);
        read_back(&token, &object, parent, found, keyslot)?;
        Ok(token)
    };
    policies.into_iter().map(token).collect()
}

/// The members in the order in which the specification lists them.
fn json(
    object: &SealedObject,
    policy: &[u8; 32],
    selection: &Selection,
    parent: &StorageParent,
    found: Parent,
    keyslot: u32,
) -> String {
    let mut token = Map::new();
    let mut put = |name: &str, value: Value| {
        token.insert(name.to_owned(), value);
    };
    put("type", TOKEN_TYPE.into());
    put("keyslots", json!([keyslot.to_string()]));
    put("tpm2-blob", STANDARD.encode(blob(object)).into());
    put("tpm2-pcrs", selection.pcrs.iter().copied().collect());
    if !selection.pcrs.is_empty() {
        put("tpm2-pcr-bank", selection.bank.to_string().into());
    }
    put("tpm2-primary-alg", primary_algorithm(parent.kind()).into());
    put("tpm2-policy-hash", hex::encode(policy).into());
    if let Parent::Persistent { handle } = found {
        let srk = STANDARD.encode(persistent_srk(parent, handle));
        put("tpm2_srk", srk.into());
    }
    Value::Object(token).to_string()
}

/// The object, in the three parts that a reader imports.
fn blob(object: &SealedObject) -> Vec<u8> {
    let mut blob = Vec::new();
    blob.put_sized(&object.private);
    blob.put(&object.public.to_sized_bytes());
    blob.put_sized(&object.seed);
    blob
}

/// The parent as tpm2-tss serialises what lies at a handle: handle, name, kind of resource, public area.
fn persistent_srk(parent: &StorageParent, handle: u32) -> Vec<u8> {
    let mut srk = Vec::new();
    srk.put_long(handle);
    srk.put_sized(parent.name().bytes());
    srk.put_long(RESOURCE_KEY);
    srk.put(&parent.to_bytes());
    srk
}

fn read_back(
    json: &str,
    object: &SealedObject,
    parent: &StorageParent,
    found: Parent,
    keyslot: u32,
) -> Result<(), Error> {
    let token = Token {
        number: 0,
        kind: TOKEN_TYPE.to_owned(),
        keyslots: vec![keyslot],
        json: json.to_owned(),
    };
    let token = Tpm2Token::parse(&token)?.ok_or(Error::ReadBack)?;
    let srk_is_right = match (found, &token.srk) {
        (Parent::Derived, None) => true,
        (Parent::Persistent { handle }, Some(srk)) => {
            srk.handle == handle && srk.public.to_sized_bytes() == parent.to_bytes()
        }
        _ => false,
    };
    if token.object != *object || !srk_is_right || token.primary != Some(parent.kind()) {
        return Err(Error::ReadBack);
    }
    Ok(())
}
