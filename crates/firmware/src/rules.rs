//! Whose rules count when the description of a guest is read.

/// Whose rules count where this project and the reference (canonical/encrypt-cloud-image) differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rules {
    /// Refuse what cannot be meant.
    #[default]
    Ours,
    /// Take what the reference takes, and as it takes it.
    Reference,
}
