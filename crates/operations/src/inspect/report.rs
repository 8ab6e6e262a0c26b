//! The states that a report of `deploy` tells, and which header it is about.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use super::Error;
use super::error::ReportProblem;
use super::lock::Values;
use super::mismatch::Known;
use tpm::Bank;

/// The longest report that is read: 4096 branches have some 30 MiB.
const MAX_REPORT_BYTES: u64 = 64 << 20;

/// What a report tells.
pub struct Report {
    pub header_sha256: Option<String>,
    pub states: Vec<Known>,
}

impl Report {
    pub fn read(path: &Path) -> Result<Self, Error> {
        let problem = |problem| Error::Report {
            path: path.to_owned(),
            problem,
        };
        let mut bytes = Vec::new();
        let read = File::open(path)
            .and_then(|file| file.take(MAX_REPORT_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|source| Error::ReportUnreadable {
            path: path.to_owned(),
            source,
        })?;
        if bytes.len() as u64 > MAX_REPORT_BYTES {
            return Err(problem(ReportProblem::TooLong));
        }
        let document: Value =
            serde_json::from_slice(&bytes).map_err(|_| problem(ReportProblem::NotJson))?;
        if document["version"] != 1 || document["luks2"].is_null() {
            return Err(problem(ReportProblem::NotAReport));
        }
        if document["completed_interrupted_deploy"] == true {
            return Err(problem(ReportProblem::NothingSealed));
        }
        let states = states(path, &document).ok_or_else(|| problem(ReportProblem::NotAReport))?;
        let header_sha256 = document["luks2"]["header_sha256"].as_str();
        Ok(Self {
            header_sha256: header_sha256.map(str::to_owned),
            states,
        })
    }
}

fn states(path: &Path, document: &Value) -> Option<Vec<Known>> {
    let branches = document["policy"]["branches"].as_array()?;
    let state = |(number, branch): (usize, &Value)| {
        let mut values = Values::new();
        for (pcr, value) in branch["pcrs"].as_object()? {
            let value = hex::decode(value.as_str()?).ok()?;
            if value.len() != Bank::Sha256.digest_bytes() {
                return None;
            }
            values.insert(pcr.parse().ok().filter(|pcr| *pcr < 24)?, value);
        }
        let kernels = branch["kernels"].as_array()?.iter();
        let kernels: Option<Vec<_>> = kernels.map(Value::as_str).collect();
        let kernels = kernels?.join(", ");
        Some(Known {
            label: format!(
                "branch {} of {} ({})",
                number + 1,
                path.display(),
                kernels.escape_debug()
            ),
            values,
        })
    };
    branches.iter().enumerate().map(state).collect()
}
