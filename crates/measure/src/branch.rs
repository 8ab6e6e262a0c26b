//! The walk over all ways to boot: chains times the states that shim's variable may be in.
//!
//! The one thing that a boot leaves behind and the next one measures is shim's SBAT level. So all chains
//! are walked with the variable absent; where a shim leaves another level than it found, all are walked once
//! more with that level, until no new one appears. For an ordinary image that is two rounds with equal
//! values; it matters where a second stage is a newer shim. States are the outer loop and chains the inner
//! one: the order of the branches is the order of the leaves of the policy.

use std::collections::BTreeMap;

use super::boot::Boot;
use super::error::{Error, Warning};
use super::event::Event;
use super::gap::Gap;
use super::input::Input;
use super::rules::Profile;
use super::walk::Walk;
use tpm::{Bank, Selection, composite, event_log};

/// Most branches: the leaves that a policy can have.
const MAX_BRANCHES: usize = 4096;

/// One way to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The boot file that it ends in.
    pub kernel: String,
    /// The configuration that it holds for, by the name that the caller gives it; empty where there is one alone.
    pub configuration: String,
    /// What is extended into the PCRs that are asked for, in the order of a log.
    pub events: Vec<Event>,
    /// The values of these PCRs.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// The digest over the values that a policy holds.
    pub composite: Vec<u8>,
    /// What of the boot these values do not cover; `None` where they cover it all.
    pub gap: Option<Gap>,
}

/// All ways to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// In the order of the reference, equal ones kept; the configuration is the outermost loop.
    pub branches: Vec<Branch>,
    /// The PCRs that are asked for.
    pub selection: Selection,
    /// What is worth saying, each once.
    pub warnings: Vec<Warning>,
}

impl Prediction {
    /// Adds the branches of another configuration behind these; the same PCRs must be asked for.
    ///
    /// Fails with [`Error::TooManyBranches`].
    pub fn extend(&mut self, other: Self) -> Result<(), Error> {
        if self.branches.len().saturating_add(other.branches.len()) > MAX_BRANCHES {
            return Err(Error::TooManyBranches { max: MAX_BRANCHES });
        }
        self.branches.extend(other.branches);
        for warning in other.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        Ok(())
    }

    /// The composite digests in the order of their first branch, each once: the leaves of the policy.
    pub fn composites(&self) -> Vec<&[u8]> {
        let mut found: Vec<&[u8]> = Vec::new();
        for branch in &self.branches {
            if !found.contains(&branch.composite.as_slice()) {
                found.push(&branch.composite);
            }
        }
        found
    }
}

/// Predicts what a guest measures.
pub fn predict(input: &Input<'_>) -> Result<Prediction, Error> {
    let Input {
        configuration,
        boot,
        profile,
        reader,
        rules,
        bank,
    } = *input;
    if profile == Profile::default() || rules.follow_reference && !profile.asks_for_firmware() {
        return Err(Error::NoProfile);
    }
    if configuration.is_empty() && rules.secure_boot && !rules.follow_reference {
        return Err(Error::EmptyConfiguration);
    }
    let mut walk = Walk::new(input)?;
    if !rules.allow_no_kernel && has_no_kernel(boot) {
        return Err(Error::NoKernel);
    }
    if boot.chains.is_empty() {
        return Err(Error::NoChain);
    }
    let mut states = vec![String::new()];
    let mut branches = Vec::new();
    let mut next = 0;
    while let Some(state) = states.get(next).cloned() {
        next = next.saturating_add(1);
        let more = boot
            .chains
            .len()
            .saturating_mul(reader.separators(boot).len());
        if branches.len().saturating_add(more) > MAX_BRANCHES {
            return Err(Error::TooManyBranches { max: MAX_BRANCHES });
        }
        for chain in &boot.chains {
            let (events, left) = walk.branch(chain, &state)?;
            if profile.secure_boot && rules.secure_boot {
                for level in left {
                    if !states.contains(&level) {
                        states.push(level);
                    }
                }
            }
            let (kernel, gap) = walk.end(chain)?;
            for with_separator in reader.separators(boot) {
                let events = [events.clone(), reader.events(bank, *with_separator)].concat();
                branches.push(Branch {
                    gap: gap.clone(),
                    ..branch(kernel.clone(), events, profile, bank)
                });
            }
        }
    }
    Ok(Prediction {
        branches,
        selection: Selection {
            bank,
            pcrs: profile.pcrs(),
        },
        warnings: walk.warnings,
    })
}

fn has_no_kernel(boot: &Boot) -> bool {
    let mut chains = boot.chains.iter();
    chains.any(|chain| chain.is_of_one() && boot.is_shim(chain.last()))
}

fn branch(kernel: String, mut events: Vec<Event>, profile: Profile, bank: Bank) -> Branch {
    let wanted = profile.pcrs();
    events.retain(|event| wanted.contains(&event.pcr));
    let digests = events
        .iter()
        .map(|event| (u32::from(event.pcr), event.digest.as_slice()));
    let replayed = event_log::replay(digests, bank);
    let value = |pcr: u8| {
        replayed
            .get(&u32::from(pcr))
            .cloned()
            .unwrap_or_else(|| bank.zero())
    };
    let pcrs: BTreeMap<u8, Vec<u8>> = wanted.into_iter().map(|pcr| (pcr, value(pcr))).collect();
    Branch {
        kernel,
        configuration: String::new(),
        composite: composite(pcrs.values().map(Vec::as_slice)),
        events,
        pcrs,
        gap: None,
    }
}
