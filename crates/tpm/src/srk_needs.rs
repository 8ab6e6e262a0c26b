//! What a storage root key must be beyond a storage parent, so that a guest makes it and its reader uses it.
//!
//! Readers load their object below the key with its password, which is empty: that takes `userWithAuth`. They find the
//! key in the owner hierarchy, made from a template without a policy, by the TPM (`sensitiveDataOrigin`), bound to it
//! (`fixedTPM`, `fixedParent`), and able to stay at a handle (`stClear` clear). TPM 2.0 Library, part 1, section 25, and
//! TCG TPM v2.0 Provisioning Guidance, section 7.5.1.
//!
//! An endorsement key (TCG EK Credential Profile for TPM 2.0, templates L-1, L-2 and H-1 to H-7) is a storage parent as
//! well, and the one key that clouds hand out. It has another seed and a policy, and a guest never makes it as an SRK.

use std::fmt;

use super::{Error, StorageParent};

const FIXED_TPM: u32 = 1 << 1;
const ST_CLEAR: u32 = 1 << 2;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const USER_WITH_AUTH: u32 = 1 << 6;
const ENCRYPTED_DUPLICATION: u32 = 1 << 11;
const X509_SIGN: u32 = 1 << 19;

/// `PolicyA` and `PolicyB` for SHA-256, of the EK Credential Profile, annex B.6.
const ENDORSEMENT_POLICIES: [[u8; 32]; 2] = [
    [
        0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7,
        0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14,
        0x69, 0xaa,
    ],
    [
        0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf,
        0xb3, 0xa3, 0x85, 0xd4, 0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0,
        0xb7, 0xa0,
    ],
];

/// How a storage parent differs from a storage root key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SrkDifference {
    /// It is an endorsement key.
    Endorsement {
        /// `authPolicy`.
        policy: Vec<u8>,
    },
    /// It has a policy.
    Policy {
        /// `authPolicy`.
        policy: Vec<u8>,
    },
    /// A bit of its attributes is clear that must be set.
    Lacks {
        /// `objectAttributes`.
        attributes: u32,
        /// The bit's name.
        bit: &'static str,
        /// What for.
        because: &'static str,
    },
    /// A bit of its attributes is set that must be clear.
    Has {
        /// `objectAttributes`.
        attributes: u32,
        /// The bit's name.
        bit: &'static str,
        /// Why.
        because: &'static str,
    },
}

impl fmt::Display for SrkDifference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endorsement { policy } => write!(
                formatter,
                "the key is an endorsement key, not the storage root key: its authPolicy is {}",
                hex::encode(policy)
            ),
            Self::Policy { policy } => write!(
                formatter,
                "the key is no storage root key: its authPolicy is {}, and no reader makes one with a policy",
                hex::encode(policy)
            ),
            Self::Lacks {
                attributes,
                bit,
                because,
            } => write!(
                formatter,
                "the key is no storage root key: attributes {attributes:#010x} without {bit}, {because}"
            ),
            Self::Has {
                attributes,
                bit,
                because,
            } => write!(
                formatter,
                "the key is no storage root key: attributes {attributes:#010x} with {bit}, {because}"
            ),
        }
    }
}

impl StorageParent {
    /// Refuses a key that is no storage root key, by the first field that differs.
    pub fn check_is_srk(&self) -> Result<(), Error> {
        match self.differs_from_srks() {
            Some(difference) => Err(Error::NotAnSrk(difference)),
            None => Ok(()),
        }
    }

    fn differs_from_srks(&self) -> Option<SrkDifference> {
        let attributes = self.attributes();
        let policy = self.auth_policy();
        if ENDORSEMENT_POLICIES.iter().any(|known| known == policy) {
            let policy = policy.to_vec();
            return Some(SrkDifference::Endorsement { policy });
        }
        if !policy.is_empty() {
            let policy = policy.to_vec();
            return Some(SrkDifference::Policy { policy });
        }
        let needed = [
            (
                USER_WITH_AUTH,
                "userWithAuth",
                "so that its empty password allows nothing",
            ),
            (
                SENSITIVE_DATA_ORIGIN,
                "sensitiveDataOrigin",
                "so that no TPM makes it from a template",
            ),
            (FIXED_TPM, "fixedTPM", "so that it may leave its TPM"),
            (FIXED_PARENT, "fixedParent", "so that it may leave its TPM"),
        ];
        let refused = [
            (
                ST_CLEAR,
                "stClear",
                "so that it cannot stay in the TPM at a handle",
            ),
            (
                ENCRYPTED_DUPLICATION,
                "encryptedDuplication",
                "so that it may leave its TPM",
            ),
            (X509_SIGN, "x509sign", "which is for keys that sign"),
        ];
        let lacks = needed.into_iter().find(|(bit, ..)| attributes & bit == 0);
        let has = refused.into_iter().find(|(bit, ..)| attributes & bit != 0);
        let lacks = lacks.map(|(_, bit, because)| SrkDifference::Lacks {
            attributes,
            bit,
            because,
        });
        let has = has.map(|(_, bit, because)| SrkDifference::Has {
            attributes,
            bit,
            because,
        });
        lacks.or(has)
    }
}
