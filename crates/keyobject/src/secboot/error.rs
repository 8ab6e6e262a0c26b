//! What can be wrong with a sealed-key file, and with what shall be sealed.

use super::{MAX_FILE_BYTES, MAX_KEY_BYTES, MAX_LEAVES};
use base::secret;

/// An error of the sealed-key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // --- Sealing ---
    /// The object cannot be made.
    #[error("the key cannot be sealed")]
    Seal(#[source] tpm::Error),
    /// No random bytes.
    #[error("no random bytes for the sealed-key file")]
    Entropy(#[from] secret::EntropyError),
    /// The disk key is too long for some TPMs, or there is none.
    #[error(
        "the disk key has {len_bytes} bytes; what can be sealed has 1 to {MAX_KEY_BYTES}, since a TPM imports at most 64 bytes and the policy key takes 36"
    )]
    KeyLength {
        /// Length of the key.
        len_bytes: usize,
    },
    /// No branch at all.
    #[error("no PCR values to seal to")]
    NoBranch,
    /// More branches than a reader takes.
    #[error("{leaves} different branches; a policy has at most {MAX_LEAVES}")]
    TooManyBranches {
        /// How many there are.
        leaves: usize,
    },
    /// A bank that the file cannot name.
    #[error("the PCRs are of the {bank} bank; the sealed-key file takes sha256 alone")]
    Bank {
        /// The bank.
        bank: tpm::Bank,
    },
    /// The digest of a branch's PCR values is no SHA-256.
    #[error("the digest over a branch's PCR values has {len_bytes} bytes; it must have 32")]
    Composite {
        /// Its length.
        len_bytes: usize,
    },
    /// What was sealed is not what is read back.
    #[error("the sealed-key file, read back, is not what was to be sealed")]
    ReadBack,

    // --- The file ---
    /// The first four bytes are others.
    #[error("no sealed-key file: it does not begin with USK$")]
    Magic,
    /// A version with another content.
    #[error("the sealed-key file has version {version}; 1 and 2 are supported")]
    Version {
        /// The version.
        version: u32,
    },
    /// The file is longer than any can be.
    #[error("the sealed-key file has {len_bytes} bytes, more than {MAX_FILE_BYTES}")]
    FileLength {
        /// Its length.
        len_bytes: usize,
    },
    /// The splitter's hash is another.
    #[error(
        "the sealed-key file is split with the hash {algorithm:#06x}; 0x000b (SHA-256) is supported"
    )]
    SplitHash {
        /// `TPM_ALG_ID`.
        algorithm: u16,
    },
    /// The stripes cannot be.
    #[error("the sealed-key file has {size_bytes} bytes in {stripes} stripes, which cannot be")]
    Stripes {
        /// Length of all stripes.
        size_bytes: u32,
        /// Their number.
        stripes: u32,
    },
    /// The header of the file is cut, or the stripes are.
    #[error("the sealed-key file is cut")]
    Cut(#[source] tpm::Error),
    /// The content behind the splitter is no key data; offsets count from its start.
    #[error("the content of the sealed-key file cannot be decoded")]
    Body(#[from] tpm::Error),

    // --- The tree ---
    /// The tree has none, or more than a tree of 4096 leaves.
    #[error("the policy tree has {nodes} nodes; it must have 1 to 1024")]
    Nodes {
        /// Their number.
        nodes: u32,
    },
    /// A node with none, or more than `PolicyOR` takes.
    #[error("node {node} of the policy tree has {digests} digests; it must have 1 to 8")]
    Digests {
        /// Index of the node.
        node: usize,
        /// Their number.
        digests: u32,
    },
    /// A node names a parent that is not there.
    #[error("node {node} of the policy tree names node {parent} as its parent; there are {nodes}")]
    NoParent {
        /// Index of the node.
        node: usize,
        /// Index of the parent.
        parent: u64,
        /// Number of nodes.
        nodes: usize,
    },
    /// A node has another parent than the order of the nodes says.
    #[error(
        "node {node} of the policy tree names node {parent} as its parent; it must be {wanted}"
    )]
    Parent {
        /// Index of the node.
        node: usize,
        /// Index of the parent.
        parent: u64,
        /// Index of the node that it must be; its own for the root.
        wanted: usize,
    },
    /// A tree of more than four levels.
    #[error(
        "the policy tree has {leaf_nodes} leaf nodes; readers take at most 512, in four levels"
    )]
    TooDeep {
        /// Their number.
        leaf_nodes: usize,
    },
    /// A node to which no leaf leads.
    #[error("no branch leads to node {node} of the policy tree")]
    Unreachable {
        /// Index of the node.
        node: usize,
    },
    /// A node has fewer digests than children, or more.
    #[error("node {node} of the policy tree has {digests} digests; it must have {wanted}")]
    Fill {
        /// Index of the node.
        node: usize,
        /// Their number.
        digests: usize,
        /// What it must be.
        wanted: usize,
    },

    // --- What a TPM would refuse ---
    /// The object has attributes that the reader does not take.
    #[error("the sealed object has the attributes {attributes:#010x}; it must have none")]
    ObjectAttributes {
        /// `objectAttributes`.
        attributes: u32,
    },
    /// The public area of the object is that of a key.
    #[error("the sealed object is no sealed data")]
    ObjectType,
    /// The policy key is no key that can sign policies.
    #[error("the policy key {reason}")]
    PolicyKey {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The policy hangs on a counter.
    #[error(
        "the policy is bound to the counter {counter:#010x} of a TPM; this file must have none"
    )]
    Counter {
        /// The handle.
        counter: u32,
    },
    /// These PCR values are in no branch.
    #[error("these PCR values are in none of the {leaves} branches of the policy")]
    NotABranch {
        /// How many there are.
        leaves: usize,
    },
    /// The digest of a node is not in its parent.
    #[error("node {node} of the policy tree is not among the digests of its parent")]
    BrokenNode {
        /// Index of the node.
        node: usize,
    },
    /// The approved policy is another one than the tree's.
    #[error("the approved policy is not that of the policy tree")]
    NotApproved,
    /// The signature over the approved policy is wrong.
    #[error("the approved policy is not signed by the policy key")]
    Signature,
    /// The object does not ask for this policy key.
    #[error("the sealed object was made for another policy key")]
    StaticPolicy,
}
