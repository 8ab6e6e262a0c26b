//! A prediction as a table for people and as JSON for programs.
//!
//! The JSON document's form is docs/schemas/predict-1.json; members are only ever added to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::explanation::JsonExplanation;
use crate::json;
use operations::predict::{Distinct, Gap, Prediction};

/// The events of every branch, and the values that they lead to.
pub fn table(prediction: &Prediction, branches: &[Distinct<'_>]) -> String {
    let bank = prediction.selection.bank;
    let mut text = String::new();
    for (number, distinct) in (1..).zip(branches) {
        let branch = distinct.branch;
        let _ = writeln!(
            text,
            "branch {number} of {}: {}",
            branches.len(),
            leads_to(distinct)
        );
        for event in &branch.events {
            let _ = writeln!(
                text,
                "  {:>2} {} {:<32} {}",
                event.pcr,
                hex::encode(&event.digest),
                event.type_name(),
                event.description
            );
        }
        for (pcr, value) in &branch.pcrs {
            let _ = writeln!(text, "{bank} PCR {pcr:<2} {}", hex::encode(value));
        }
        let _ = writeln!(text, "composite     {}\n", hex::encode(&branch.composite));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// What leads to the values of a branch: the boot files, and of several configurations those under which they do.
pub fn leads_to(distinct: &Distinct<'_>) -> String {
    let kernels = distinct.kernels.join(", ");
    match &distinct.configurations[..] {
        [] => kernels,
        configurations => format!("{kernels}, under {}", configurations.join(", ")),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<u8>,
    bank: String,
    selection: Vec<u8>,
    branches: Vec<JsonBranch<'a>>,
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<JsonExplanation<'a>>,
}

/// A branch as it stands in documents.
#[derive(Serialize)]
pub struct JsonBranch<'a> {
    kernels: &'a [&'a str],
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    configurations: &'a [&'a str],
    pcrs: BTreeMap<u8, String>,
    composite: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<JsonGap>,
    events: Vec<JsonEvent<'a>>,
}

/// What the values of a branch do not cover.
#[derive(Serialize)]
struct JsonGap {
    kind: &'static str,
    pcrs: &'static [u8],
    reason: String,
}

impl From<&Gap> for JsonGap {
    fn from(gap: &Gap) -> Self {
        Self {
            kind: match gap {
                Gap::NoKernel { .. } => "no-kernel",
                Gap::Kernel { .. } => "kernel",
                Gap::Grub { .. } => "grub",
                Gap::SystemdBoot { .. } => "systemd-boot",
                Gap::SecondShim { .. } => "second-shim",
                Gap::Unknown { .. } => "unknown",
                Gap::Addons { .. } => "addons",
            },
            pcrs: gap.missed_pcrs(),
            reason: gap.to_string(),
        }
    }
}

#[derive(Serialize)]
struct JsonEvent<'a> {
    pcr: u8,
    event_type: &'a str,
    digest: String,
    description: &'a str,
}

/// The same as one JSON document, with a line end behind it.
pub fn json(
    prediction: &Prediction,
    branches: &[Distinct<'_>],
    warnings: &[String],
    explanation: Option<JsonExplanation<'_>>,
) -> String {
    let document = Document {
        version: 1,
        exit_status: explanation.as_ref().map(|told| told.exit_status().number()),
        bank: prediction.selection.bank.to_string(),
        selection: prediction.selection.pcrs.iter().copied().collect(),
        branches: json_branches(branches),
        warnings,
        explanation,
    };
    json::text(&document)
}

/// Branches as they stand in documents.
pub fn json_branches<'a>(branches: &'a [Distinct<'a>]) -> Vec<JsonBranch<'a>> {
    branches
        .iter()
        .map(|distinct| (distinct, distinct.branch))
        .map(|(distinct, branch)| JsonBranch {
            kernels: &distinct.kernels,
            configurations: &distinct.configurations,
            pcrs: branch
                .pcrs
                .iter()
                .map(|(pcr, value)| (*pcr, hex::encode(value)))
                .collect(),
            composite: hex::encode(&branch.composite),
            gap: distinct.gap.map(JsonGap::from),
            events: branch
                .events
                .iter()
                .map(|event| JsonEvent {
                    pcr: event.pcr,
                    event_type: event.type_name(),
                    digest: hex::encode(&event.digest),
                    description: &event.description,
                })
                .collect(),
        })
        .collect()
}
