//! What both header copies of a container say: keyslots and tokens by what they are for, and where a clear key lies.
//!
//! The copy that counts decides who opens the volume. The other one may still hold the clear key, which no dump
//! shows: a copy that is damaged is searched for the text of its token.

use super::{KeyObjectKind, State};
use crate::deploy::container::{Container, LABEL};
use crate::deploy::{Luks, Purpose};
use crate::{Error as CommonError, deploy};
use base::number::to_usize;
use base::storage::ReadAt;
use keyobject::systemd_tpm2::{self, Tpm2Token};
use keyobject::{RECOVERY_TOKEN_TYPE, RecoveryToken, reseal_token, systemd_recovery};
use luks2::{self, ClearKeyToken, Header, HeaderCopy, Position, Token};

/// A container. Nothing in it is secret.
#[derive(Debug, Clone)]
pub struct ContainerFacts {
    /// Number of its partition.
    pub partition: u32,
    /// What the copy that counts says of the whole.
    pub luks: Luks,
    /// Both copies, the primary first.
    pub copies: [CopyFacts; 2],
    /// The keyslots.
    pub keyslots: Vec<KeyslotFacts>,
    /// The tokens.
    pub tokens: Vec<TokenFacts>,
    /// What systemd's reader would try, in the order of the numbers.
    pub tpm2: Vec<Tpm2Facts>,
    /// The recovery keys that tokens name.
    pub recovery: Vec<RecoveryFacts>,
    /// What is not as it should be in the copy that does not count.
    pub damage: Vec<String>,
}

/// One copy of the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFacts {
    /// Which of the two.
    pub position: Position,
    /// True for the one that readers take.
    pub counts: bool,
    /// Whether it is sound.
    pub state: CopyState,
    /// True where the clear key stands in it.
    pub holds_clear_key: bool,
}

/// Whether a copy is sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// It is.
    Valid {
        /// How often the header was changed.
        sequence_id: u64,
    },
    /// No reader takes it.
    Damaged,
    /// This program does not take it, others may.
    Unsupported,
}

/// A keyslot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyslotFacts {
    /// Its number.
    pub number: u32,
    /// Whose passphrase opens it.
    pub role: KeyslotRole,
    /// Its key derivation, and what it costs.
    pub kdf: String,
}

/// Whose passphrase opens a keyslot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyslotRole {
    /// The clear key's.
    ClearKey,
    /// The one that is sealed to a TPM.
    Sealed,
    /// The one with which cloud-init grows the root.
    Growpart,
    /// A recovery key's.
    Recovery,
    /// Not known.
    Unknown,
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// Its number.
    pub number: u32,
    /// Its type.
    pub kind: String,
    /// The keyslots that it names.
    pub keyslots: Vec<u32>,
    /// What it is for.
    pub role: TokenRole,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRole {
    /// It holds the clear key.
    ClearKey,
    /// It holds a sealed key, for systemd's reader.
    Sealed,
    /// It names the keyslot of a recovery key.
    Recovery,
    /// Not known.
    Unknown,
}

/// A token of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tpm2Facts {
    /// Its number.
    pub number: u32,
    /// What it says, or why it cannot be read.
    pub token: Result<Tpm2Token, String>,
}

/// A recovery key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryFacts {
    /// The keyslot that it opens; none where its token names none, or several.
    pub keyslot: Option<u32>,
    /// Whose prompt takes it.
    pub kind: RecoveryKind,
    /// Its name, where it has one.
    pub name: Option<String>,
}

/// Whose prompt takes a recovery key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryKind {
    /// That of Ubuntu's initramfs.
    Ubuntu,
    /// systemd's.
    Systemd,
}

impl ContainerFacts {
    pub(super) fn read(
        container: &Container,
        disk: &dyn ReadAt,
        state: State,
    ) -> Result<Self, deploy::Error> {
        let header = &container.header;
        let tokens = &header.metadata().tokens;
        let storage = container.window(disk)?;
        let luks = Luks::of(container, &storage)?;
        let clear_key = tokens
            .iter()
            .filter(|token| token.kind == ClearKeyToken::TYPE);
        let clear_keyslots: Vec<u32> = clear_key.flat_map(|token| token.keyslots.clone()).collect();
        let keyslots = luks.keyslots.iter().map(|keyslot| KeyslotFacts {
            number: keyslot.number,
            role: match keyslot.purpose {
                _ if clear_keyslots.contains(&keyslot.number) => KeyslotRole::ClearKey,
                Purpose::Recovery => KeyslotRole::Recovery,
                _ if state == State::Other => KeyslotRole::Unknown,
                Purpose::Unlock if state != State::Encrypted => KeyslotRole::Sealed,
                Purpose::Growpart => KeyslotRole::Growpart,
                _ => KeyslotRole::Unknown,
            },
            kdf: keyslot.kdf.clone(),
        });
        let mut tpm2: Vec<Tpm2Facts> = tokens.iter().filter_map(tpm2_facts).collect();
        tpm2.sort_by_key(|facts| facts.number);
        Ok(Self {
            partition: container.partition.number,
            keyslots: keyslots.collect(),
            copies: copies(header, &storage)?,
            tokens: tokens.iter().map(token_facts).collect(),
            tpm2,
            recovery: tokens.iter().filter_map(recovery_facts).collect(),
            damage: header.warnings().iter().map(ToString::to_string).collect(),
            luks,
        })
    }

    /// The copy that does not count, where the clear key stands in it although it is gone from the other one.
    pub fn left_behind(&self) -> Option<&CopyFacts> {
        let [first, second] = &self.copies;
        let (current, other) = if first.counts {
            (first, second)
        } else {
            (second, first)
        };
        (other.holds_clear_key && !current.holds_clear_key).then_some(other)
    }

    /// True while the key that was sealed before and the one in its place both open it.
    fn is_half_replaced(&self) -> bool {
        let mut tokens = self.luks.tokens.iter();
        tokens.any(|(_, kind)| kind == reseal_token::TOKEN_TYPE)
    }

    pub(super) fn warnings(&self, state: State) -> Vec<String> {
        let mut warnings = self.damage.clone();
        if state == State::Encrypted {
            warnings.push(
                "the LUKS2 header holds the clear key: who can read this file can read the disk; deploy removes it"
                    .to_owned(),
            );
        }
        if let Some(copy) = self.left_behind() {
            warnings.push(format!(
                "the {} LUKS2 header copy, which does not count, still holds the clear key: who can read this file can read the disk; run deploy again, which completes what was interrupted",
                copy.position
            ));
        } else if self.is_half_replaced() {
            warnings.push(
                "sealing the image again was interrupted: the old key and the new one open the container; run deploy --unlock-with again"
                    .to_owned(),
            );
        } else if let State::Interrupted(_) = state {
            warnings.push(
                "the two LUKS2 header copies are not the same: a deploy may have ended before it overwrote the keyslots that it took away; run deploy again, which completes what was interrupted"
                    .to_owned(),
            );
        }
        let is_labelled = self.luks.label == LABEL;
        if !is_labelled && matches!(state, State::Deployed(KeyObjectKind::Secboot)) {
            warnings.push(format!(
                "the container is not labelled {LABEL}, by which Ubuntu's initramfs finds it"
            ));
        }
        for facts in &self.tpm2 {
            if let Err(problem) = &facts.token {
                warnings.push(format!("token {}: {problem}", facts.number));
            }
        }
        warnings
    }
}

fn copies(header: &Header, storage: &dyn ReadAt) -> Result<[CopyFacts; 2], deploy::Error> {
    let current = header.current();
    let other_position = current.position().other();
    let other = CopyFacts {
        position: other_position,
        counts: false,
        state: match header.other() {
            luks2::CopyState::Valid(copy) => CopyState::Valid {
                sequence_id: copy.sequence_id(),
            },
            luks2::CopyState::Invalid(_) => CopyState::Damaged,
            luks2::CopyState::Unsupported { .. } => CopyState::Unsupported,
        },
        holds_clear_key: match header.other() {
            luks2::CopyState::Valid(copy) => holds_clear_key(copy),
            _ => has_text_of_clear_key(header, other_position, storage)?,
        },
    };
    let current = CopyFacts {
        position: current.position(),
        counts: true,
        state: CopyState::Valid {
            sequence_id: current.sequence_id(),
        },
        holds_clear_key: holds_clear_key(current),
    };
    Ok(match current.position {
        Position::Primary => [current, other],
        Position::Secondary => [other, current],
    })
}

fn holds_clear_key(copy: &HeaderCopy) -> bool {
    let mut tokens = copy.metadata().tokens.iter();
    tokens.any(|token| token.kind == ClearKeyToken::TYPE)
}

/// Looks for a clear key's token in the bytes of a copy that cannot be read.
fn has_text_of_clear_key(
    header: &Header,
    position: Position,
    storage: &dyn ReadAt,
) -> Result<bool, deploy::Error> {
    let size_bytes = header.metadata().header_size_bytes; // of the sound copy, 4 MiB at most
    let offset_bytes = match position {
        Position::Primary => 0,
        Position::Secondary => size_bytes,
    };
    let len = to_usize(size_bytes);
    let bytes = storage.read_vec(offset_bytes, len);
    let bytes = bytes.map_err(CommonError::Source)?;
    let wanted = ClearKeyToken::TYPE.as_bytes();
    Ok(bytes.windows(wanted.len()).any(|window| window == wanted))
}

fn token_facts(token: &Token) -> TokenFacts {
    TokenFacts {
        number: token.number,
        kind: token.kind.clone(),
        keyslots: token.keyslots.clone(),
        role: match token.kind.as_str() {
            ClearKeyToken::TYPE => TokenRole::ClearKey,
            systemd_tpm2::TOKEN_TYPE => TokenRole::Sealed,
            RECOVERY_TOKEN_TYPE | systemd_recovery::TOKEN_TYPE => TokenRole::Recovery,
            _ => TokenRole::Unknown,
        },
    }
}

fn tpm2_facts(token: &Token) -> Option<Tpm2Facts> {
    let parsed = Tpm2Token::parse(token).transpose()?;
    Some(Tpm2Facts {
        number: token.number,
        token: parsed.map_err(|problem| problem.to_string()),
    })
}

fn recovery_facts(token: &Token) -> Option<RecoveryFacts> {
    if let Some(ubuntu) = RecoveryToken::parse(token) {
        return Some(RecoveryFacts {
            keyslot: ubuntu.keyslot,
            kind: RecoveryKind::Ubuntu,
            name: ubuntu.name,
        });
    }
    let keyslot = match token.keyslots[..] {
        [keyslot] => Some(keyslot),
        _ => None,
    };
    (token.kind == systemd_recovery::TOKEN_TYPE).then_some(RecoveryFacts {
        keyslot,
        kind: RecoveryKind::Systemd,
        name: None,
    })
}
