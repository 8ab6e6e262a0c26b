//! What holds a key back: the policy of the sealed key, or those of the tokens, each over its PCRs.
//!
//! A leaf of a policy is a digest of PCR values. So whether values open a lock is told by computing the leaf; the
//! checks that a reader and a TPM make besides are made as well.

use std::collections::BTreeMap;

use super::{Inspection, KeyObjectKind, SealedKey, Tpm2Token};
use tpm::{Bank, Selection, composite};

/// Values of PCRs of one bank, by their numbers.
pub type Values = BTreeMap<u8, Vec<u8>>;

/// What lets a key out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opener {
    /// A branch of the sealed key's policy.
    Branch {
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// A token.
    Token {
        /// Its number.
        number: u32,
        /// True where a PIN is asked for as well.
        with_pin: bool,
    },
    /// The sealed key's policy, which names no PCR.
    AnyState,
}

/// A lock.
pub struct Lock<'a> {
    pub selection: Selection,
    policy: Policy<'a>,
}

enum Policy<'a> {
    Secboot(&'a SealedKey),
    Token(u32, &'a Tpm2Token),
}

/// The locks of an image, and for those that cannot be judged the reasons.
pub struct Locks<'a> {
    pub locks: Vec<Lock<'a>>,
    pub unjudged: Vec<String>,
}

impl<'a> Locks<'a> {
    /// The locks of an image that is deployed; none for others.
    pub fn of(inspection: &'a Inspection) -> Self {
        let mut locks = Self {
            locks: Vec::new(),
            unjudged: Vec::new(),
        };
        match inspection.key_object() {
            Some(KeyObjectKind::Secboot) => locks.add_sealed_key(inspection),
            Some(KeyObjectKind::SystemdTpm2) => locks.add_tokens(inspection),
            None => {}
        }
        locks
    }

    fn add_sealed_key(&mut self, inspection: &'a Inspection) {
        let Some(facts) = &inspection.key_files.sealed_key else {
            return;
        };
        match (&facts.content, &facts.flaw) {
            (Ok(key), None) => self.locks.push(Lock {
                selection: key.selection.clone(),
                policy: Policy::Secboot(key),
            }),
            (Err(problem), _) | (_, Some(problem)) => self.unjudged.push(problem.clone()),
        }
    }

    fn add_tokens(&mut self, inspection: &'a Inspection) {
        for facts in inspection.container.iter().flat_map(|facts| &facts.tpm2) {
            let number = facts.number;
            let token = match &facts.token {
                Ok(token) => token,
                Err(problem) => {
                    self.unjudged.push(format!("token {number}: {problem}"));
                    continue;
                }
            };
            match token.selection() {
                Some(selection) => self.locks.push(Lock {
                    selection,
                    policy: Policy::Token(number, token),
                }),
                None => self.unjudged.push(format!(
                    "token {number}: it names no bank, so its reader chooses one"
                )),
            }
        }
    }

    /// Drops the locks that name other banks or PCRs than what is predicted.
    pub fn keep(&mut self, bank: Bank, predicted: &[u8]) {
        let (kept, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.locks)
            .into_iter()
            .partition(|lock| {
                let pcrs = &lock.selection.pcrs;
                let is_of_bank = pcrs.is_empty() || lock.selection.bank == bank;
                is_of_bank && pcrs.iter().all(|pcr| predicted.contains(pcr))
            });
        self.locks = kept;
        self.unjudged.extend(others.iter().map(|lock| {
            let pcrs = lock.selection.pcrs.iter();
            let others = pcrs.filter(|pcr| !predicted.contains(pcr));
            let others: Vec<_> = others.map(ToString::to_string).collect();
            if others.is_empty() {
                return format!(
                    "{}: it is for another bank than those before it",
                    lock.name()
                );
            }
            format!(
                "{}: it asks for PCR {} as well, which this program does not predict",
                lock.name(),
                others.join(", ")
            )
        }));
    }

    /// The lock that values open, as the reader would find it.
    pub fn opened_by(&self, values: &Values) -> Option<Opener> {
        self.locks.iter().find_map(|lock| lock.opened_by(values))
    }
}

impl Lock<'_> {
    fn name(&self) -> String {
        match self.policy {
            Policy::Secboot(_) => "the sealed key".to_owned(),
            Policy::Token(number, _) => format!("token {number}"),
        }
    }

    /// What of this lock the values open; nothing where a value is missing.
    pub fn opened_by(&self, values: &Values) -> Option<Opener> {
        let selected: Option<Vec<_>> = self
            .selection
            .pcrs
            .iter()
            .map(|pcr| values.get(pcr).map(Vec::as_slice))
            .collect();
        let composite = composite(selected?);
        match self.policy {
            Policy::Secboot(key) => {
                key.opens_with(&composite).ok()?;
                if self.selection.pcrs.is_empty() {
                    return Some(Opener::AnyState);
                }
                let leaf = key.leaf(&composite);
                let place = key.tree.leaves().position(|own| *own == leaf)?;
                Some(Opener::Branch {
                    number: place + 1,
                    of: key.tree.leaves().count(),
                })
            }
            Policy::Token(number, token) => token
                .opens_with(&self.selection, &composite)
                .then_some(Opener::Token {
                    number,
                    with_pin: token.with_pin,
                }),
        }
    }
}
