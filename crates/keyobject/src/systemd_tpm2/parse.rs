//! Reading a token: what it seals, to which PCRs, below which parent. The secret stays sealed.
//!
//! What systemd's writers of other versions have is read, too: blob and policy hash as arrays of one element, a hash in
//! upper case. What asks for more than a state of the PCRs and a PIN (a signature, a policy in an NV index) is refused by
//! its member's name.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{Error, TOKEN_TYPE};
use luks2::Token;
use tpm::{Bank, Cursor, Error as TpmError, KeyKind, Public, SealedObject, Selection};

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tpm2Token {
    /// The keyslot that the secret opens.
    pub keyslot: u32,
    /// The PCRs of the policy.
    pub pcrs: BTreeSet<u8>,
    /// Their bank; none where the reader chooses one.
    pub bank: Option<Bank>,
    /// The kind of the parent, where the token tells it.
    pub primary: Option<KeyKind>,
    /// True where a PIN is asked for as well.
    pub with_pin: bool,
    /// The digest of the policy, which is also that of the object.
    pub policy: [u8; 32],
    /// The sealed object.
    pub object: SealedObject,
    /// The parent, where it lies at a handle.
    pub srk: Option<PersistentSrk>,
}

/// A parent that lies in the TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersistentSrk {
    /// Its handle.
    pub handle: u32,
    /// Its public area.
    pub public: Public,
}

impl Tpm2Token {
    /// What `token` says; `None` where it is of another type.
    pub fn parse(token: &Token) -> Result<Option<Self>, Error> {
        if token.kind != TOKEN_TYPE {
            return Ok(None);
        }
        let [keyslot] = token.keyslots[..] else {
            return Err(Error::Member {
                member: "keyslots",
                expected: "an array of one keyslot",
            });
        };
        let object: Map<String, Value> =
            serde_json::from_str(&token.json).map_err(|_| Error::NotAnObject)?;
        refuse_what_is_unknown(&object)?;
        let policy = policy_hash(&object)?;
        let sealed = sealed_object(&base64(&object, "tpm2-blob")?)?;
        if sealed.public.auth_policy != policy {
            return Err(Error::Policy);
        }
        Ok(Some(Self {
            keyslot,
            pcrs: pcrs(&object)?,
            bank: bank(&object)?,
            primary: primary(&object)?,
            with_pin: asks(&object, "tpm2-pin"),
            policy,
            object: sealed,
            srk: match object.get("tpm2_srk") {
                Some(_) => Some(persistent_srk(&base64(&object, "tpm2_srk")?)?),
                None => None,
            },
        }))
    }

    /// The PCRs with their bank; `None` where the reader chooses the bank, and so what counts cannot be told.
    pub fn selection(&self) -> Option<Selection> {
        let bank = match self.bank {
            None if self.pcrs.is_empty() => Bank::Sha256, // it selects nothing in any
            bank => bank?,
        };
        Some(Selection {
            bank,
            pcrs: self.pcrs.clone(),
        })
    }

    /// True where a TPM whose values of `selection` have this composite digest satisfies the policy, with the PIN where
    /// one is asked for. Which TPM it is does not show.
    pub fn opens_with(&self, selection: &Selection, composite: &[u8]) -> bool {
        super::policy(selection, composite, self.with_pin) == self.policy
    }
}

fn asks(object: &Map<String, Value>, member: &str) -> bool {
    !matches!(object.get(member), None | Some(Value::Bool(false)))
}

fn refuse_what_is_unknown(object: &Map<String, Value>) -> Result<(), Error> {
    let further = ["tpm2_pubkey", "tpm2_pcrlock"];
    match further.into_iter().find(|member| asks(object, member)) {
        Some(member) => Err(Error::Further { member }),
        None => Ok(()),
    }
}

/// A member's text, which may stand in an array of one.
fn text<'a>(object: &'a Map<String, Value>, member: &'static str) -> Option<&'a str> {
    match object.get(member)? {
        Value::Array(parts) => match parts.as_slice() {
            [only] => only.as_str(),
            _ => None,
        },
        value => value.as_str(),
    }
}

fn base64(object: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, Error> {
    let bytes = text(object, member).and_then(|text| STANDARD.decode(text).ok());
    bytes.ok_or(Error::Member {
        member,
        expected: "base64 text",
    })
}

fn policy_hash(object: &Map<String, Value>) -> Result<[u8; 32], Error> {
    const MEMBER: &str = "tpm2-policy-hash";
    let mut policy = [0; 32];
    let decoded = text(object, MEMBER).map(|text| hex::decode_to_slice(text, &mut policy));
    match decoded {
        Some(Ok(())) => Ok(policy),
        _ => Err(Error::Member {
            member: MEMBER,
            expected: "64 hexadecimal digits",
        }),
    }
}

fn pcrs(object: &Map<String, Value>) -> Result<BTreeSet<u8>, Error> {
    const MEMBER: &str = "tpm2-pcrs";
    let pcr = |value: &Value| {
        let number = u8::try_from(value.as_u64()?).ok()?;
        (number < 24).then_some(number)
    };
    let pcrs = object.get(MEMBER).and_then(Value::as_array);
    let pcrs = pcrs.and_then(|pcrs| pcrs.iter().map(pcr).collect());
    pcrs.ok_or(Error::Member {
        member: MEMBER,
        expected: "an array of numbers from 0 to 23",
    })
}

fn bank(object: &Map<String, Value>) -> Result<Option<Bank>, Error> {
    const MEMBER: &str = "tpm2-pcr-bank";
    match (object.contains_key(MEMBER), text(object, MEMBER)) {
        (false, _) => Ok(None),
        (true, Some("sha256")) => Ok(Some(Bank::Sha256)),
        (true, Some("sha384")) => Ok(Some(Bank::Sha384)),
        (true, _) => Err(Error::Member {
            member: MEMBER,
            expected: "sha256 or sha384",
        }),
    }
}

fn primary(object: &Map<String, Value>) -> Result<Option<KeyKind>, Error> {
    const MEMBER: &str = "tpm2-primary-alg";
    match (object.contains_key(MEMBER), text(object, MEMBER)) {
        (false, _) => Ok(None),
        (true, Some("rsa")) => Ok(Some(KeyKind::Rsa)),
        (true, Some("ecc")) => Ok(Some(KeyKind::Ecc)),
        (true, _) => Err(Error::Member {
            member: MEMBER,
            expected: "rsa or ecc",
        }),
    }
}

/// The three parts of the blob; what follows them is not looked at, as readers do not.
fn sealed_object(blob: &[u8]) -> Result<SealedObject, Error> {
    let problem = |problem| Error::Structure {
        member: "tpm2-blob",
        problem,
    };
    let read = || -> Result<SealedObject, TpmError> {
        let mut cursor = Cursor::new(blob);
        let private = cursor.sized("private")?.to_vec();
        let area = cursor.sized("public")?;
        let seed = cursor.sized("seed")?.to_vec();
        let public = whole_area(area)?;
        Ok(SealedObject {
            public,
            private,
            seed,
        })
    };
    read().map_err(problem)
}

fn persistent_srk(bytes: &[u8]) -> Result<PersistentSrk, Error> {
    let problem = |problem| Error::Structure {
        member: "tpm2_srk",
        problem,
    };
    let read = || -> Result<(PersistentSrk, Vec<u8>), TpmError> {
        let mut cursor = Cursor::new(bytes);
        let handle = cursor.long("handle")?;
        let name = cursor.sized("name")?.to_vec();
        cursor.long("kind of resource")?;
        let public = whole_area(cursor.sized("public")?)?;
        Ok((PersistentSrk { handle, public }, name))
    };
    let (srk, name) = read().map_err(problem)?;
    if srk.public.name().bytes() != name {
        return Err(Error::Member {
            member: "tpm2_srk",
            expected: "a key with the name of its public area",
        });
    }
    Ok(srk)
}

/// A public area that fills its bytes.
fn whole_area(area: &[u8]) -> Result<Public, TpmError> {
    let mut cursor = Cursor::new(area);
    let public = Public::read(&mut cursor)?;
    match cursor.left() {
        0 => Ok(public),
        extra => Err(TpmError::Trailing {
            end: cursor.offset(),
            extra,
        }),
    }
}
