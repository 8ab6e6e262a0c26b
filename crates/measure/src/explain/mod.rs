//! A prediction beside what a guest really measured: event by event what is equal, where each PCR parts,
//! and what the likely cause is.
//!
//! A guest's firmware hands its event log to the system (`binary_bios_measurements`). PCR by PCR its events
//! are aligned with those of the branch that they fit best. What the running system extends later is in no
//! firmware log; a predicted event of that kind ([`Verdict::NotLogged`]) is no difference. A PCR is
//! *equal* where all other events are, which is where its values are equal up to those.
//!
//! The log is hostile: nothing of it is believed but for the comparison, and its texts are shown without
//! characters that act on a terminal.

mod align;
mod cause;
mod database;
mod diagnosis;

mod logged;
mod origin;
mod owners;
mod text;
mod words;

use std::collections::BTreeMap;

pub use cause::Cause;

use super::branch::Branch;
use super::event::{Event, Source};
use align::{Likeness, Line};
use diagnosis::Sides;
use logged::{Logged, Meaning, is_shims_variable, section};
use tpm::event_log::{self, LoggedEvent};
use tpm::{Bank, Selection};

/// How an event of one side stands to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Predicted, and measured by the guest.
    Equal,
    /// Predicted, and measured with another digest.
    Differs,
    /// Measured by the guest, and not predicted.
    Extra,
    /// Predicted, and not in the log.
    Missing,
    /// Predicted, and of a kind that no firmware log has.
    NotLogged,
}

impl Verdict {
    /// True where the value of the PCR parts, or has parted before.
    pub fn differs(self) -> bool {
        !matches!(self, Self::Equal | Self::NotLogged)
    }
}

/// An event as one side has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The TCG's name of its type; its number where it has none, nothing for what is not logged.
    pub event_type: String,
    /// What was extended.
    pub digest: Vec<u8>,
    /// What it is.
    pub description: String,
}

/// One line of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// How the sides compare.
    pub verdict: Verdict,
    /// Number of the event in the log, as `tpm2_eventlog` counts: the log's first event is 0.
    pub number: Option<usize>,
    /// What was predicted.
    pub predicted: Option<Measured>,
    /// What the guest measured.
    pub logged: Option<Measured>,
    /// Why, where the sides differ.
    pub cause: Option<Cause>,
}

/// One PCR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Its number.
    pub pcr: u8,
    /// Its events, those of the log in their order.
    pub rows: Vec<Row>,
    /// The predicted value.
    pub predicted: Vec<u8>,
    /// The value that the log leads to.
    pub logged: Vec<u8>,
}

impl Comparison {
    /// Where the PCR parts from the prediction.
    pub fn first_difference(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.verdict.differs())
    }
}

/// An event of the log that is compared with nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Number of the event in the log.
    pub number: usize,
    /// Number of the PCR that it was extended into; `None` for what was only noted.
    pub pcr: Option<u32>,
    /// What it is.
    pub event: Measured,
}

/// A prediction beside a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The branch that fits best, as its place among those that were given.
    pub branch: usize,
    /// The PCRs of the selection, ascending.
    pub comparisons: Vec<Comparison>,
    /// The events of all other PCRs, and those that were only noted, in their order.
    pub others: Vec<Other>,
    /// The values that the log leads to, of all PCRs that it has.
    pub values: BTreeMap<u32, Vec<u8>>,
    /// How many events the log has, the first one included.
    pub events: usize,
}

impl Explanation {
    /// True where the guest measured what was predicted.
    pub fn is_equal(&self) -> bool {
        self.comparisons
            .iter()
            .all(|comparison| comparison.first_difference().is_none())
    }
}

/// Compares a log with the branch that it fits best: the one with the fewest differences, the first of
/// equals.
pub fn explain(branches: &[&Branch], selection: &Selection, log: &[LoggedEvent]) -> Explanation {
    let all = (1..).zip(log);
    let all = all.map(|(number, event)| Logged::new(number, event, selection.bank));
    let is_compared = |event: &Logged<'_>| {
        let pcr = u8::try_from(event.event.pcr);
        pcr.is_ok_and(|pcr| selection.pcrs.contains(&pcr)) && !event.event.is_only_noted()
    };
    let (mut extended, mut others) = (Vec::new(), Vec::new());
    for event in all {
        if !is_compared(&event) {
            others.push(other(&event));
        }
        if !event.event.is_only_noted() {
            extended.push(event);
        }
    }
    let values = event_log::values(log, selection.bank);
    let compared = branches.iter().enumerate().map(|(place, branch)| {
        let lines: Vec<_> = selection
            .pcrs
            .iter()
            .map(|pcr| Aligned::new(*pcr, branch, &extended, selection.bank))
            .collect();
        let differences: usize = lines.iter().map(Aligned::differences).sum();
        (differences, place, lines)
    });
    let best = compared.min_by_key(|(differences, place, _)| (*differences, *place));
    let (_, branch, lines) = best.unwrap_or_default();
    let events = branches
        .get(branch)
        .map_or(&[][..], |branch| &branch.events);
    let sides = Sides::new(events, &extended, selection.bank);
    let comparisons = lines.into_iter().map(|aligned| {
        let value = values.get(&u32::from(aligned.pcr)).cloned();
        Comparison {
            pcr: aligned.pcr,
            predicted: aligned
                .branch
                .pcrs
                .get(&aligned.pcr)
                .cloned()
                .unwrap_or_default(),
            logged: value.unwrap_or_else(|| selection.bank.zero()),
            rows: aligned.rows(&sides),
        }
    });
    Explanation {
        branch,
        comparisons: comparisons.collect(),
        events: log.len().saturating_add(1),
        others,
        values,
    }
}

/// The events of one PCR on both sides, aligned.
struct Aligned<'a> {
    pcr: u8,
    branch: &'a Branch,
    predicted: Vec<&'a Event>,
    logged: Vec<&'a Logged<'a>>,
    lines: Vec<Line>,
}

impl<'a> Aligned<'a> {
    fn new(pcr: u8, branch: &'a Branch, log: &'a [Logged<'a>], bank: Bank) -> Self {
        let of_pcr = |event: &&Event| event.pcr == pcr;
        let predicted: Vec<_> = branch.events.iter().filter(of_pcr).collect();
        let logged: Vec<_> = log
            .iter()
            .filter(|event| event.event.pcr == u32::from(pcr))
            .collect();
        let likeness = |left: usize, right: usize| match (predicted.get(left), logged.get(right)) {
            (Some(predicted), Some(logged)) => likeness(predicted, logged, bank),
            _ => Likeness::Unrelated,
        };
        let lines = align::align(predicted.len(), logged.len(), likeness);
        Self {
            pcr,
            branch,
            predicted,
            logged,
            lines,
        }
    }

    fn sides(&self, line: Line) -> (Option<&'a Event>, Option<&'a Logged<'a>>) {
        let predicted = |at: usize| self.predicted.get(at).copied();
        let logged = |at: usize| self.logged.get(at).copied();
        match line {
            Line::Both(left, right) => (predicted(left), logged(right)),
            Line::Left(at) => (predicted(at), None),
            Line::Right(at) => (None, logged(at)),
        }
    }

    fn verdict(&self, line: Line) -> Verdict {
        match self.sides(line) {
            (Some(predicted), Some(logged)) if predicted.digest == logged.event.digest => {
                Verdict::Equal
            }
            (Some(_), Some(_)) => Verdict::Differs,
            (None, _) => Verdict::Extra,
            (Some(predicted), None) if !predicted.source.is_logged() => Verdict::NotLogged,
            (_, None) => Verdict::Missing,
        }
    }

    fn differences(&self) -> usize {
        let verdicts = self.lines.iter().map(|line| self.verdict(*line));
        verdicts.filter(|verdict| verdict.differs()).count()
    }

    /// The lines with their causes.
    fn rows(&self, sides: &Sides<'_>) -> Vec<Row> {
        let row = |line: &Line| {
            let (predicted, logged) = self.sides(*line);
            let verdict = self.verdict(*line);
            Row {
                verdict,
                number: logged.map(|event| event.number),
                predicted: predicted.map(predicted_side),
                logged: logged.map(logged_side),
                cause: verdict.differs().then(|| sides.cause(predicted, logged)),
            }
        };
        self.lines.iter().map(row).collect()
    }
}

fn predicted_side(event: &Event) -> Measured {
    Measured {
        event_type: event.type_name().to_owned(),
        digest: event.digest.clone(),
        description: event.description.clone(),
    }
}

fn other(event: &Logged<'_>) -> Other {
    let is_extended = !event.event.is_only_noted();
    Other {
        number: event.number,
        pcr: is_extended.then_some(event.event.pcr),
        event: logged_side(event),
    }
}

fn logged_side(event: &Logged<'_>) -> Measured {
    Measured {
        event_type: event.type_name(),
        digest: event.event.digest.clone(),
        description: event.description(),
    }
}

/// Whether a logged event is the predicted one, or stands where it should.
fn likeness(predicted: &Event, logged: &Logged<'_>, bank: Bank) -> Likeness {
    if predicted.digest == logged.event.digest {
        return Likeness::Equal;
    }
    let same_place = match (&predicted.source, &logged.meaning) {
        (Source::Variable(wanted), Meaning::Variable { name, .. }) => wanted == name,
        (Source::Level { .. }, Meaning::Authority { name, .. }) => name == "SbatLevel",
        (Source::MokListTrusted { .. }, Meaning::Authority { name, .. }) => {
            name == "MokListTrusted"
        }
        (Source::Authority { .. }, Meaning::Authority { name, .. }) => !is_shims_variable(name),
        // The first pass through fallback is one boot within another, not another kernel.
        (Source::Program { .. } | Source::InnerKernel { .. }, Meaning::Program(_)) => {
            logged.fallback().is_none()
        }
        (Source::Separator, Meaning::Separator(_)) => true,
        (Source::Section { .. }, Meaning::Section { name, part }) => {
            section(&predicted.data, &predicted.digest, bank)
                .is_some_and(|(wanted, of)| wanted == *name && of == *part)
        }
        _ => false,
    };
    if same_place {
        Likeness::SamePlace
    } else {
        Likeness::Unrelated
    }
}
