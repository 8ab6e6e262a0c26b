//! What was measured, beside what a case expects and what `predict` says.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::cases::{Entry, STRICTER, role};
use super::log::{self, Event};
use super::machine::{Told, start_with_one_bank};
use super::pki::Certificate;
use super::{Loader, Signed};
use crate::prediction::Branch;
use crate::process;
use crate::tpm::Extend;

/// `EV_EFI_BOOT_SERVICES_APPLICATION`.
const APPLICATION: u32 = 0x8000_0003;
/// What firmware measures into PCR 4 before each boot option but the first, by SHA-256: "Returning from EFI Application
/// from Boot Option", and "Calling EFI Application from Boot Option".
const NEXT_OPTION: [&str; 2] = [
    "7044f06303e54fa96c3fcd1a0f11047c03d209074470b1fd60460c9f007e28a6",
    "3d6772b4f84ed47595d72a2c4c5ffd15f5bb72c7507fe26f2aaee2c69d5633ba",
];

/// What came out for one program.
pub struct Compared {
    pub name: &'static str,
    /// The roles of what was measured as authorities.
    pub measured: Vec<String>,
    /// The digests of these events.
    pub digests: Vec<String>,
    pub is_accepted: bool,
    pub fault: Option<String>,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ok = if self.fault.is_none() { "ok" } else { "FAILED" };
        let verdict = if self.is_accepted {
            "accepted"
        } else {
            "refused"
        };
        write!(f, "{ok}  {}: {verdict}", self.name)?;
        if !self.measured.is_empty() {
            write!(f, ", measured {}", self.measured.join(", "))?;
        }
        if let Some(fault) = &self.fault {
            write!(f, "; {fault}")?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Predicted {
    branches: Vec<Branch>,
}

/// What `predict` says of a chain of files below the configuration in `folder`; the reason where it is refused.
pub fn predict(folder: &Path, chain: &[&str]) -> Result<Result<Branch, String>> {
    let mut predict = process::released("encrypt-cloud-image")?;
    predict.args(["predict", "--json", "--allow-no-kernel"]);
    predict.args([
        "--add-efi-boot-manager-profile",
        "--add-efi-secure-boot-profile",
    ]);
    predict.args(["--uefi-config", "uefi-config.json", "--chain"]);
    let output = predict
        .arg(chain.join(","))
        .current_dir(folder)
        .output()
        .context("cannot start `encrypt-cloud-image`")?;
    if !output.status.success() {
        let talk = String::from_utf8_lossy(&output.stderr);
        let error = talk.lines().find(|line| line.starts_with("error"));
        return Ok(Err(error.unwrap_or(&talk).to_owned()));
    }
    let predicted: Predicted = serde_json::from_slice(&output.stdout)?;
    let mut branches = predicted.branches.into_iter();
    Ok(Ok(branches.next().context("no branch is predicted")?))
}

/// One boot of several programs, read.
pub struct Boot<'a> {
    pub loader: Loader,
    pub cases: &'a [Signed],
    pub told: &'a Told,
    /// With all files of the boot.
    pub folder: &'a Path,
}

impl Boot<'_> {
    /// Holds the boot against the expectations of its cases, and its log as a whole against the predictions.
    pub fn compare(&self, tpm: &Path) -> Result<Vec<Compared>> {
        let events = log::events(&self.told.log)?;
        replays(&events, &self.told.pcrs, tpm)?;
        let teller = predict(self.folder, &self.chain("teller.efi"))?;
        let teller = teller.map_err(anyhow::Error::msg)?;
        let mut predictions = Vec::new();
        let mut compared = Vec::new();
        for (number, case) in self.cases.iter().enumerate() {
            let predicted = predict(self.folder, &self.chain(&self.loader.file(number)))?;
            let mut one = self.measured(number, &events);
            one.fault = case
                .fault(self.loader, &one)
                .or_else(|| differs(&one, &predicted, &teller));
            predictions.push(predicted.ok());
            compared.push(one);
        }
        if compared.iter().all(|one| one.fault.is_none()) {
            self.compare_whole(&events, &predictions, &teller)?;
        }
        Ok(compared)
    }

    /// Holds the boot of one program against its prediction: every event, and the values of the PCRs.
    pub fn compare_one(&self, tpm: &Path) -> Result<Compared> {
        let events = log::events(&self.told.log)?;
        replays(&events, &self.told.pcrs, tpm)?;
        let mut one = self.measured(0, &events);
        one.is_accepted = (events.iter()).any(|event| event.digest == self.cases[0].digest);
        let predicted = predict(self.folder, &self.chain("program.efi"))?;
        let logged: Vec<Extend> = events.iter().map(Event::as_extend).collect();
        let wrong = match predicted {
            Err(error) => Some(format!("the prediction refuses it: {error}")),
            Ok(branch) if branch.events != logged => Some(format!(
                "other events are predicted: {:?} for {logged:?}",
                branch.events
            )),
            Ok(branch) => {
                let values = ["4", "7"].map(|pcr| branch.pcrs.get(pcr).cloned());
                let is_equal = values == self.told.pcrs.clone().map(Some);
                (!is_equal).then(|| format!("other values are predicted: {values:?}"))
            }
        };
        one.fault = self.cases[0].fault(self.loader, &one).or(wrong);
        Ok(one)
    }

    fn chain<'c>(&self, file: &'c str) -> Vec<&'c str> {
        match self.loader {
            Loader::Firmware => vec![file],
            Loader::Shim => vec!["shimx64.efi", file],
        }
    }

    /// What the log says of a case.
    fn measured(&self, number: usize, events: &[Event]) -> Compared {
        let case = &self.cases[number];
        let (mut measured, mut digests) = (Vec::new(), Vec::new());
        for event in events {
            if let Some(role) = case.role_of(event) {
                measured.push(role);
                digests.push(event.digest.clone());
            }
        }
        let mut programs = events.iter().filter(|event| event.kind == APPLICATION);
        let is_accepted = match self.loader {
            Loader::Firmware => programs.any(|event| event.digest == case.digest),
            Loader::Shim => self.told.answers.get(number) == Some(&0),
        };
        Compared {
            name: case.case.name,
            measured,
            digests,
            is_accepted,
            fault: None,
        }
    }

    /// Everything in the log, but for what refused programs left there, is what the predictions say one behind the other.
    fn compare_whole(
        &self,
        events: &[Event],
        predictions: &[Option<Branch>],
        teller: &Branch,
    ) -> Result<()> {
        let refused: Vec<&Signed> = (self.cases.iter().zip(predictions))
            .filter(|(_, predicted)| predicted.is_none())
            .map(|(case, _)| case)
            .collect();
        let is_of_refused = |event: &&Event| {
            let mut refused = refused.iter();
            refused.any(|case| event.digest == case.digest || case.role_of(event).is_some())
        };
        let logged = events.iter().filter(|event| !is_of_refused(event));
        let logged: Vec<Extend> = logged.map(Event::as_extend).collect();

        let next = NEXT_OPTION.map(|digest| Extend {
            pcr: 4,
            digest: digest.to_owned(),
        });
        let common = common(predictions, teller);
        let mut expected = Vec::new();
        match self.loader {
            Loader::Firmware => {
                expected.extend_from_slice(&teller.events[..common]);
                for predicted in predictions {
                    let events = predicted.as_ref().map(|branch| &branch.events[common..]);
                    expected.extend_from_slice(events.unwrap_or_default());
                    expected.extend_from_slice(&next);
                }
                expected.extend_from_slice(&teller.events[common..]);
            }
            Loader::Shim => {
                expected.extend_from_slice(&teller.events);
                for predicted in predictions.iter().flatten() {
                    expected.extend_from_slice(&predicted.events[common..]);
                }
            }
        }
        // Asked by its protocol, shim measures a program before it verifies it; what it starts, behind that.
        let by_pcr = |events: &[Extend], pcr: u64| -> Vec<Extend> {
            let of_pcr = events.iter().filter(|event| event.pcr == pcr);
            of_pcr.cloned().collect()
        };
        let is_equal = match self.loader {
            Loader::Firmware => expected == logged,
            Loader::Shim => [4, 7]
                .iter()
                .all(|pcr| by_pcr(&expected, *pcr) == by_pcr(&logged, *pcr)),
        };
        ensure!(
            is_equal,
            "the log as a whole is not what was predicted:\n{logged:?}\n{expected:?}"
        );
        Ok(())
    }
}

/// How many events are the same whatever is started.
fn common(predictions: &[Option<Branch>], teller: &Branch) -> usize {
    let lengths = predictions.iter().flatten().map(|branch| {
        let pairs = branch.events.iter().zip(&teller.events);
        pairs.take_while(|(one, other)| one == other).count()
    });
    lengths.min().unwrap_or(teller.events.len() - 2)
}

/// What is wrong with a prediction.
fn differs(one: &Compared, predicted: &Result<Branch, String>, teller: &Branch) -> Option<String> {
    match (one.is_accepted, predicted) {
        (false, Err(_)) => None,
        (false, Ok(_)) => Some("it is predicted to boot".to_owned()),
        (true, Err(_)) if STRICTER.contains(&one.name) => None,
        (true, Err(error)) => Some(format!("the prediction refuses it: {error}")),
        (true, Ok(branch)) => {
            let known = &teller.events;
            let new = branch.events.iter().filter(|event| !known.contains(event));
            let authorities: Vec<_> = new
                .filter(|event| event.pcr == 7)
                .map(|event| event.digest.clone())
                .collect();
            (authorities != one.digests).then(|| {
                format!(
                    "other authorities are predicted: {authorities:?} for {:?}",
                    one.digests
                )
            })
        }
    }
}

/// Fails where a log, cut off or with gaps, does not lead to the values of the PCRs.
pub fn replays(events: &[Event], pcrs: &[String; 2], folder: &Path) -> Result<()> {
    let tpm = start_with_one_bank(folder)?;
    let extends: Vec<Extend> = events.iter().map(Event::as_extend).collect();
    for few in extends.chunks(16) {
        tpm.extend(few)?;
    }
    let file = folder.join("values");
    let mut read = tpm.tool("tpm2_pcrread");
    read.arg("sha256:4,7").arg("-o").arg(&file);
    process::quiet_output(&mut read)?;
    let values = process::hex(&fs::read(&file)?);
    ensure!(
        values == pcrs.concat(),
        "the event log does not lead to the PCRs: {values}, not {}",
        pcrs.concat()
    );
    Ok(())
}

impl Signed {
    /// What of this case an event measures as an authority; that of dbx is marked.
    fn role_of(&self, event: &Event) -> Option<String> {
        let (variable, data) = event.authority()?;
        let entries = self.parts.db.iter().chain(&self.parts.dbx);
        let mut certificates = entries.flat_map(|entry| match entry {
            Entry::Certificate(certificate) => vec![certificate],
            Entry::Pair(one, other) => vec![one, other],
            Entry::Revoked(..) | Entry::Program(_) | Entry::Other(..) => Vec::new(),
        });
        let content = data.get(16..)?;
        let of_certificate = |one: &Certificate| {
            let behind = content.strip_prefix(&one.der[..])?;
            let name = role(self.case.name, &one.spec.subject)?;
            let padded = if behind.is_empty() { "" } else { ", padded" };
            Some(format!("{name}{padded}"))
        };
        let mut digests = self.digests.iter();
        let of_program = digests
            .find(|(_, digest)| content == digest)
            .map(|(hash, _)| hash.spoken().to_owned());
        let name = of_program.or_else(|| certificates.find_map(of_certificate))?;
        Some(match variable.as_str() {
            "db" => name,
            other => format!("{other} {name}"),
        })
    }

    /// What is other than this case expects.
    fn fault(&self, loader: Loader, one: &Compared) -> Option<String> {
        let expected = self.case.expected_of(loader);
        // Of a refused program it is no matter what was measured before it was refused.
        let is_met = match expected {
            [] => !one.is_accepted,
            roles => one.is_accepted && one.measured == *roles,
        };
        (!is_met).then(|| format!("expected {expected:?}"))
    }
}
