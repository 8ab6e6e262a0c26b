//! Which PCR keeps a lock closed, by trial.
//!
//! A policy holds one hash over all of its PCRs, so it cannot be asked for one of them. But where other states are
//! known (of a report, of a firmware as it was, of the boot files that are in the image), their values can be put in the
//! place of the predicted ones, one PCR after the other, then two at a time: what opens tells which were others.

use std::collections::BTreeSet;

use super::lock::{Lock, Locks, Values};

/// The most trials for one way to boot.
const MAX_TRIALS: u32 = 20_000;

/// A state that is known, with its place in words.
pub struct Known {
    pub label: String,
    pub values: Values,
}

/// Why a way to boot does not unlock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// These PCRs are others than what was sealed.
    Pcrs {
        /// Their numbers.
        pcrs: BTreeSet<u8>,
        /// The states whose values would open; none where the policy has no other PCR.
        like: Vec<String>,
    },
    /// It cannot be told which.
    Untold {
        /// The PCRs that one hash covers.
        pcrs: BTreeSet<u8>,
    },
}

/// Tries the values of known states.
pub fn mismatch(locks: &Locks<'_>, values: &Values, known: &[Known]) -> Mismatch {
    let mut trials = Trials { left: MAX_TRIALS };
    let all: BTreeSet<u8> = locks
        .locks
        .iter()
        .flat_map(|lock| &lock.selection.pcrs)
        .copied()
        .collect();
    for count in 1..=all.len() {
        for lock in &locks.locks {
            let pcrs: Vec<u8> = lock.selection.pcrs.iter().copied().collect();
            for chosen in subsets(&pcrs, count) {
                let mut changed = values.clone();
                let mut like = Vec::new();
                if trials.open(lock, &chosen, &mut changed, known, &mut like) {
                    like.dedup();
                    return Mismatch::Pcrs {
                        pcrs: chosen.into_iter().collect(),
                        like,
                    };
                }
            }
        }
    }
    let is_lone = locks
        .locks
        .iter()
        .all(|lock| lock.selection.pcrs.len() == 1);
    if is_lone && all.len() == 1 {
        return Mismatch::Pcrs {
            pcrs: all,
            like: Vec::new(),
        };
    }
    Mismatch::Untold { pcrs: all }
}

struct Trials {
    left: u32,
}

impl Trials {
    /// Puts known values in the place of those of `pcrs`, one after the other, until the lock opens; the labels of the
    /// states that they are from are then in `like`.
    fn open(
        &mut self,
        lock: &Lock<'_>,
        pcrs: &[u8],
        values: &mut Values,
        known: &[Known],
        like: &mut Vec<String>,
    ) -> bool {
        let Some((pcr, rest)) = pcrs.split_first() else {
            self.left = self.left.saturating_sub(1);
            return self.left > 0 && lock.opened_by(values).is_some();
        };
        let own = values.get(pcr).cloned();
        let mut tried: Vec<&[u8]> = own.as_deref().into_iter().collect();
        for state in known {
            let Some(value) = state.values.get(pcr) else {
                continue;
            };
            if tried.contains(&value.as_slice()) {
                continue;
            }
            tried.push(value);
            values.insert(*pcr, value.clone());
            like.push(state.label.clone());
            if self.open(lock, rest, values, known, like) {
                return true;
            }
            like.pop();
        }
        if let Some(own) = own {
            values.insert(*pcr, own);
        }
        false
    }
}

/// Every choice of `count` of these numbers, in ascending order.
fn subsets(pcrs: &[u8], count: usize) -> Vec<Vec<u8>> {
    let Some(fewer) = count.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let mut found = Vec::new();
    for (place, pcr) in pcrs.iter().enumerate() {
        for rest in subsets(&pcrs[place + 1..], fewer) {
            found.push([&[*pcr][..], &rest].concat());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_comes_once() {
        assert_eq!(subsets(&[4, 7, 12], 1), [[4], [7], [12]]);
        assert_eq!(subsets(&[4, 7, 12], 2), [[4, 7], [4, 12], [7, 12]]);
        assert_eq!(subsets(&[4, 7, 12], 3), [[4, 7, 12]]);
        assert_eq!(subsets(&[4], 2), [[0; 0]; 0]);
    }
}
