//! The content of the file, field by field, and what of it can be checked without a TPM.
//!
//! | field | encoding | content |
//! | --- | --- | --- |
//! | private | sized | the import object's private part; after the import a TPM's own |
//! | public | `TPMT_PUBLIC` | the sealed object: keyed hash, no attributes, the static policy |
//! | hint | 1 byte | 0; readers pass over it |
//! | import seed | sized | what carries the seed to the parent; version 2 alone |
//! | policy key | `TPMT_PUBLIC` | ECDSA on P-256 |
//! | counter | 4 bytes | 40000007: none |
//! | reference | sized | empty; readers pass over it |
//! | selection | `TPML_PCR_SELECTION` | one bank, or nothing |
//! | tree | see [`Tree`] | the leaves and what joins them |
//! | sequence | 8 bytes | 0 |
//! | approved policy | sized | digest of the tree's root |
//! | signature | 0018 000b, r, s (sized) | by the policy key |
//!
//! "Sized" is behind a 16-bit length; numbers are big-endian. A [`SealedKey`] can be decoded; whether it
//! holds together, [`SealedKey::check`] says.

use super::{
    Error, NO_COUNTER, POLICY_KEY_ATTRIBUTES, Tree, VERSION, file, signed_message, static_policy,
};
use tpm::{
    Bank, Cursor, EccScheme, Error as TpmError, Marshal, Point, Policy, Public, PublicKind,
    Selection,
};

const ECDSA_WITH_SHA256: [u16; 2] = [0x0018, 0x000b];
/// Bytes of a PCR bitmap: 24 PCRs.
const BITMAP_BYTES: u8 = 3;

/// An ECDSA signature; each number has 1 to 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The number r.
    pub r: Vec<u8>,
    /// The number s.
    pub s: Vec<u8>,
}

/// A sealed-key file as it was read. Nothing in it is secret: the payload is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// Version of the file: 2, or 1 for one that a guest has rewritten.
    pub version: u32,
    /// The import object's private part.
    pub private: Vec<u8>,
    /// Public area of the sealed object.
    pub object: Public,
    /// A byte without meaning.
    pub hint: u8,
    /// What carries the seed; none in version 1, which is bound to its TPM.
    pub import_seed: Option<Vec<u8>>,
    /// Public area of the policy key.
    pub policy_key: Public,
    /// Handle of the policy's counter.
    pub counter: u32,
    /// A reference without meaning.
    pub reference: Vec<u8>,
    /// The PCRs.
    pub selection: Selection,
    /// The branches.
    pub tree: Tree,
    /// Number of the policy, where there is a counter.
    pub sequence: u64,
    /// Digest of the approved policy.
    pub approved_policy: [u8; 32],
    /// The policy key's signature.
    pub signature: Signature,
    /// Bytes behind the content and behind the stripes, which readers pass over.
    pub trailing_bytes: usize,
}

/// A sized SHA-256 digest.
pub(super) fn digest(cursor: &mut Cursor<'_>, field: &'static str) -> Result<[u8; 32], TpmError> {
    let offset = cursor.offset();
    let bytes = cursor.sized(field)?;
    bytes.try_into().map_err(|_| TpmError::Length {
        field,
        offset,
        len_bytes: bytes.len(),
        allowed: "32",
    })
}

fn read_selection(cursor: &mut Cursor<'_>) -> Result<Selection, TpmError> {
    let mut pcrs = std::collections::BTreeSet::new();
    let unsupported = |field, offset, found, supported| TpmError::Unsupported {
        field,
        offset,
        found,
        supported,
    };
    let offset = cursor.offset();
    let banks = cursor.long("count of PCR banks")?;
    if banks > 1 {
        let field = "count of PCR banks";
        return Err(unsupported(field, offset, banks, "one bank or none"));
    }
    if banks == 1 {
        let bank = Bank::Sha256;
        let offset = cursor.offset();
        let algorithm = cursor.word("PCR bank")?;
        if algorithm != bank.algorithm_id() {
            let found = u32::from(algorithm);
            return Err(unsupported("PCR bank", offset, found, "0x000b (SHA-256)"));
        }
        let offset = cursor.offset();
        let size = cursor.byte("size of the PCR bitmap")?;
        let bitmap = cursor.take(usize::from(BITMAP_BYTES), "PCR bitmap")?;
        pcrs = (0..24)
            .zip(
                bitmap
                    .iter()
                    .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)),
            )
            .filter(|(_, bit)| *bit == 1)
            .map(|(pcr, _)| pcr)
            .collect();
        if size != BITMAP_BYTES || pcrs.is_empty() {
            let field = "size of the PCR bitmap";
            let found = u32::from(size);
            return Err(unsupported(field, offset, found, "3 with a bit set"));
        }
    }
    Ok(Selection {
        bank: Bank::Sha256,
        pcrs,
    })
}

/// `TPML_PCR_SELECTION`; a selection without PCRs names no bank.
pub(super) fn selection_bytes(selection: &Selection) -> Vec<u8> {
    if selection.pcrs.is_empty() {
        return vec![0; 4];
    }
    selection.to_bytes()
}

fn read_signature(cursor: &mut Cursor<'_>) -> Result<Signature, TpmError> {
    for wanted in ECDSA_WITH_SHA256 {
        cursor.expect_word(
            "signature algorithm",
            wanted,
            "ECDSA with SHA-256 (0x0018, 0x000b)",
        )?;
    }
    let mut number = |field| -> Result<Vec<u8>, TpmError> {
        let offset = cursor.offset();
        let bytes = cursor.sized(field)?;
        if !(1..=32).contains(&bytes.len()) {
            return Err(TpmError::Length {
                field,
                offset,
                len_bytes: bytes.len(),
                allowed: "1 to 32",
            });
        }
        Ok(bytes.to_vec())
    };
    Ok(Signature {
        r: number("signature r")?,
        s: number("signature s")?,
    })
}

impl SealedKey {
    /// Reads a file.
    pub fn read(file: &[u8]) -> Result<Self, Error> {
        let file::Unwrapped {
            version,
            body,
            trailing_bytes,
        } = file::unwrap(file)?;
        let mut read = Self::from_body(version, body.expose())?;
        read.trailing_bytes = read.trailing_bytes.saturating_add(trailing_bytes);
        Ok(read)
    }

    /// Reads the content of a file of that version.
    pub fn from_body(version: u32, body: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(body);
        let cursor = &mut cursor;
        Ok(Self {
            version,
            private: cursor.sized("private")?.to_vec(),
            object: Public::read(cursor)?,
            hint: cursor.byte("hint")?,
            import_seed: if version == VERSION {
                Some(cursor.sized("import seed")?.to_vec())
            } else {
                None
            },
            policy_key: Public::read(cursor)?,
            counter: cursor.long("counter")?,
            reference: cursor.sized("reference")?.to_vec(),
            selection: read_selection(cursor)?,
            tree: Tree::read(cursor)?,
            sequence: cursor.quad("policy sequence")?,
            approved_policy: digest(cursor, "approved policy")?,
            signature: read_signature(cursor)?,
            trailing_bytes: cursor.left(),
        })
    }

    /// The content, without what followed it.
    pub fn to_body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_sized(&self.private);
        body.put(&self.object.to_bytes());
        body.put(&[self.hint]);
        if let Some(seed) = &self.import_seed {
            body.put_sized(seed);
        }
        body.put(&self.policy_key.to_bytes());
        body.put_long(self.counter);
        body.put_sized(&self.reference);
        body.put(&selection_bytes(&self.selection));
        self.tree.write(&mut body);
        body.put(&self.sequence.to_be_bytes());
        body.put_sized(&self.approved_policy);
        for number in ECDSA_WITH_SHA256 {
            body.put_word(number);
        }
        body.put_sized(&self.signature.r);
        body.put_sized(&self.signature.s);
        body
    }

    /// The leaf of a branch whose PCR values have this composite digest.
    pub fn leaf(&self, composite: &[u8]) -> [u8; 32] {
        let selection = selection_bytes(&self.selection);
        Policy::START.pcr(&selection, composite).digest()
    }

    /// Checks all that can be derived again without the TPM: the types and attributes, every node of the
    /// tree, the approved policy, its signature, and that the object asks for this policy key.
    pub fn check(&self) -> Result<(), Error> {
        self.check_object()?;
        self.tree.check()?;
        self.check_approval()
    }

    /// What a reader would say to a TPM whose PCR values have this composite digest, as far as that can be
    /// told without it: which TPM it is, and whether the private part is whole, does not show.
    ///
    /// Fails with [`Error::NotABranch`] where the values are others. Only the nodes on the way of this branch
    /// are looked at.
    pub fn opens_with(&self, composite: &[u8]) -> Result<(), Error> {
        self.check_object()?;
        self.tree.path(&self.leaf(composite))?;
        self.check_approval()
    }

    fn check_object(&self) -> Result<(), Error> {
        if self.object.attributes != 0 {
            return Err(Error::ObjectAttributes {
                attributes: self.object.attributes,
            });
        }
        if !matches!(self.object.kind, PublicKind::KeyedHash { .. }) {
            return Err(Error::ObjectType);
        }
        if self.counter != NO_COUNTER {
            return Err(Error::Counter {
                counter: self.counter,
            });
        }
        Ok(())
    }

    fn check_approval(&self) -> Result<(), Error> {
        let point = self.policy_point()?;
        let Signature { r, s } = &self.signature;
        if !point.verifies(&signed_message(&self.approved_policy), r, s) {
            return Err(Error::Signature);
        }
        if self.tree.root_digest() != self.approved_policy {
            return Err(Error::NotApproved);
        }
        if self.object.auth_policy != static_policy(&self.policy_key.name()) {
            return Err(Error::StaticPolicy);
        }
        Ok(())
    }

    fn policy_point(&self) -> Result<Point, Error> {
        let refused = |reason| Error::PolicyKey { reason };
        let PublicKind::Ecc { aes_bits, x, y, .. } = &self.policy_key.kind else {
            return Err(refused("is no ECC key"));
        };
        if self.policy_key.attributes != POLICY_KEY_ATTRIBUTES {
            return Err(refused("has other attributes than 0x00040060"));
        }
        if aes_bits.is_some() || !self.policy_key.auth_policy.is_empty() {
            return Err(refused("is no plain signing key"));
        }
        Point::new(x, y).ok_or(refused("is no point on the curve NIST P-256"))
    }
}

/// The public area of a policy key.
pub(super) fn policy_key_area(point: &Point) -> Public {
    Public {
        attributes: POLICY_KEY_ATTRIBUTES,
        auth_policy: Vec::new(),
        kind: PublicKind::Ecc {
            aes_bits: None,
            scheme: EccScheme::EcdsaSha256,
            x: point.x.to_vec(),
            y: point.y.to_vec(),
        },
    }
}
