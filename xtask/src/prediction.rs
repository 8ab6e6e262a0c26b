//! What `predict --json` and the report of `deploy` say of the states that a key is sealed to.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::tpm::Extend;

/// One way to boot, and what it measures.
#[derive(Debug, Deserialize)]
pub struct Branch {
    /// The boot files that lead there.
    pub kernels: Vec<String>,
    /// The values of the PCRs in the end, in hexadecimal, by their numbers.
    pub pcrs: BTreeMap<String, String>,
    /// Everything that is extended, in its order.
    pub events: Vec<Extend>,
}

/// What a deploy says that it did: the parts of its report that are looked at here.
#[derive(Debug, Deserialize)]
pub struct Report {
    pub srk: Srk,
    pub policy: Policy,
}

#[derive(Debug, Deserialize)]
pub struct Srk {
    pub name: String,
}

#[derive(Debug, Deserialize)]
pub struct Policy {
    pub selection: Vec<u64>,
    pub branches: Vec<Branch>,
}

impl Report {
    pub fn read(file: &Path) -> Result<Self> {
        let json = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        serde_json::from_reader(json).with_context(|| format!("cannot read {}", file.display()))
    }
}
