//! A prediction beside a guest's event log, as a table for people and as a part of the JSON document.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::status::Status;
use operations::predict::{
    self, Comparison, Distinct, Explanation, Measured, Other, Prediction, Row, Verdict,
};

/// What no firmware log has, for readers who compare with the PCRs of a running guest.
const NOTE: &str = "\
note: this is what was measured up to the start of the kernel. What the running system extends is in no
note: firmware log, and is no difference: snap-bootstrap's epoch and what closes it (PCR 12), systemd's phases,
note: volume key and separators (PCR 11, 15 and others), IMA (PCR 10).
";

/// The comparison of every PCR, event by event.
pub fn table(
    log: &Path,
    explanation: &Explanation,
    prediction: &Prediction,
    branches: &[Distinct<'_>],
) -> String {
    let bank = prediction.selection.bank;
    let (log, events) = (log.display(), explanation.events);
    let kernels = branches.get(explanation.branch);
    let kernels = kernels.map_or_else(String::new, |branch| branch.kernels.join(", "));
    let number = explanation.branch + 1;
    let mut text = match branches.len() {
        1 => format!("{log}: {events} events, beside the prediction for {kernels}\n"),
        count => format!(
            "{log}: {events} events, beside branch {number} of {count}, which fits best: {kernels}\n"
        ),
    };
    for comparison in &explanation.comparisons {
        let _ = writeln!(text, "\nPCR {} {}", comparison.pcr, conclusion(comparison));
        let mut last = None;
        for row in &comparison.rows {
            line(&mut text, row);
            // What explains several lines in a row is told behind the first.
            if let Some(cause) = row.cause.as_ref().filter(|cause| last != Some(*cause)) {
                let _ = writeln!(text, "       likely: {}", predict::cause(cause));
            }
            last = row.cause.as_ref();
        }
        let _ = writeln!(
            text,
            "  predicted    {}",
            hex::encode(&comparison.predicted)
        );
        let _ = writeln!(text, "  by the log   {}", hex::encode(&comparison.logged));
    }
    text.push('\n');
    let is_compared = |pcr: u32| {
        let mut compared = explanation.comparisons.iter();
        compared.any(|comparison| u32::from(comparison.pcr) == pcr)
    };
    for (pcr, value) in &explanation.values {
        if !is_compared(*pcr) {
            let _ = writeln!(
                text,
                "{bank} PCR {pcr:<2} {}, by the log",
                hex::encode(value)
            );
        }
    }
    text.push_str(NOTE);
    text
}

/// The events of the log that are compared with nothing.
pub fn others(explanation: &Explanation) -> String {
    let mut text = "\nWhat else the log has\n".to_owned();
    for Other { number, pcr, event } in &explanation.others {
        let (kind, what) = (&event.event_type, &event.description);
        let pcr = pcr.map_or_else(|| "-".to_owned(), |pcr| format!("PCR {pcr}"));
        let _ = writeln!(text, "  {number:>4} {pcr:<6} {kind}: {what}");
    }
    text
}

fn conclusion(comparison: &Comparison) -> String {
    let Some(first) = comparison.first_difference() else {
        let is_whole = comparison
            .rows
            .iter()
            .all(|row| row.verdict == Verdict::Equal);
        return if is_whole {
            "is as predicted".to_owned()
        } else {
            "is as predicted, as far as a log tells".to_owned()
        };
    };
    let what = first.logged.as_ref().or(first.predicted.as_ref());
    let what = what
        .map(|event| event.description.as_str())
        .unwrap_or_default();
    match first.number {
        Some(number) => format!("differs first at event {number}: {what}"),
        None => format!("differs first where the log lacks this: {what}"),
    }
}

fn line(text: &mut String, row: &Row) {
    let number = row.number.map(|number| number.to_string());
    let number = number.unwrap_or_else(|| "-".to_owned());
    let mut line = |number: &str, verdict: &str, event: &Option<Measured>, whose: &str| {
        if let Some(Measured {
            digest,
            description,
            ..
        }) = event
        {
            let _ = writeln!(
                text,
                "  {number:>4} {verdict:<8} {} {whose}{description}",
                hex::encode(digest)
            );
        }
    };
    match row.verdict {
        Verdict::Equal => line(&number, "equal", &row.predicted, ""),
        Verdict::Extra => line(&number, "extra", &row.logged, ""),
        Verdict::Missing => line("-", "missing", &row.predicted, ""),
        Verdict::NotLogged => line("-", "later", &row.predicted, ""),
        Verdict::Differs => {
            line(&number, "differs", &row.logged, "measured: ");
            line("", "", &row.predicted, "predicted: ");
        }
    }
}

/// Which PCRs differ, in a sentence.
pub fn difference(explanation: &Explanation) -> String {
    let differ: Vec<_> = explanation
        .comparisons
        .iter()
        .filter(|comparison| comparison.first_difference().is_some())
        .map(|comparison| comparison.pcr.to_string())
        .collect();
    format!(
        "the guest measured something else than predicted in PCR {}",
        differ.join(", ")
    )
}

/// The explanation as it stands in the document.
#[derive(Serialize)]
pub struct JsonExplanation<'a> {
    branch: usize,
    equal: bool,
    pcrs: Vec<JsonComparison<'a>>,
    other_events: Vec<JsonOther<'a>>,
    log_pcrs: BTreeMap<u32, String>,
}

impl JsonExplanation<'_> {
    /// How the program ends that printed it.
    pub fn exit_status(&self) -> Status {
        if self.equal { Status::Done } else { Status::No }
    }
}

#[derive(Serialize)]
struct JsonOther<'a> {
    log_event: usize,
    pcr: Option<u32>,
    #[serde(flatten)]
    event: JsonMeasured<'a>,
}

#[derive(Serialize)]
struct JsonComparison<'a> {
    pcr: u8,
    equal: bool,
    predicted: String,
    logged: String,
    first_difference: Option<usize>,
    events: Vec<JsonRow<'a>>,
}

#[derive(Serialize)]
struct JsonRow<'a> {
    verdict: &'static str,
    log_event: Option<usize>,
    predicted: Option<JsonMeasured<'a>>,
    logged: Option<JsonMeasured<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<JsonCause>,
}

#[derive(Serialize)]
struct JsonMeasured<'a> {
    event_type: &'a str,
    digest: String,
    description: &'a str,
}

#[derive(Serialize)]
struct JsonCause {
    name: &'static str,
    text: String,
}

/// The explanation as it stands in the document; branches count from 1, as in the table.
pub fn json(explanation: &Explanation) -> JsonExplanation<'_> {
    let values = explanation.values.iter();
    JsonExplanation {
        branch: explanation.branch + 1,
        equal: explanation.is_equal(),
        pcrs: explanation
            .comparisons
            .iter()
            .map(json_comparison)
            .collect(),
        other_events: explanation.others.iter().map(json_other).collect(),
        log_pcrs: values
            .map(|(pcr, value)| (*pcr, hex::encode(value)))
            .collect(),
    }
}

fn json_other(other: &Other) -> JsonOther<'_> {
    JsonOther {
        log_event: other.number,
        pcr: other.pcr,
        event: json_measured(&other.event),
    }
}

fn json_comparison(comparison: &Comparison) -> JsonComparison<'_> {
    let first = comparison.rows.iter().position(|row| row.verdict.differs());
    JsonComparison {
        pcr: comparison.pcr,
        equal: first.is_none(),
        predicted: hex::encode(&comparison.predicted),
        logged: hex::encode(&comparison.logged),
        first_difference: first,
        events: comparison.rows.iter().map(json_row).collect(),
    }
}

fn json_row(row: &Row) -> JsonRow<'_> {
    JsonRow {
        verdict: match row.verdict {
            Verdict::Equal => "equal",
            Verdict::Differs => "differs",
            Verdict::Extra => "extra",
            Verdict::Missing => "missing",
            Verdict::NotLogged => "not-logged",
        },
        log_event: row.number,
        predicted: row.predicted.as_ref().map(json_measured),
        logged: row.logged.as_ref().map(json_measured),
        cause: row.cause.as_ref().map(|cause| JsonCause {
            name: cause.name(),
            text: predict::cause(cause),
        }),
    }
}

fn json_measured(event: &Measured) -> JsonMeasured<'_> {
    JsonMeasured {
        event_type: &event.event_type,
        digest: hex::encode(&event.digest),
        description: &event.description,
    }
}
