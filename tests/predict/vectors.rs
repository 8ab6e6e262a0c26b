//! Every prediction of the reference: the same branches, digests, events and errors.

use std::collections::BTreeMap;

use firmware::azure;
use firmware::config::{self, UefiConfig};
use measure::{self, Input, Prediction, Problem, Profile, Reader, Rules, Source, predict};
use operations::predict::{EspDirectory, PredictError, Wanted, on_esp};
use tpm::Bank;

use crate::data::{self, Case, CaseEvents, Cases};

/// What came out: a prediction, or the class of the error and the file at fault.
type Outcome = Result<Prediction, (String, Option<String>)>;

fn run(case: &Case, rules: Rules) -> Outcome {
    let fault = |class: &str| (class.to_owned(), None);
    let whose = if rules.follow_reference {
        config::Rules::Reference
    } else {
        config::Rules::Ours
    };
    let configuration = match (&case.uefi_config, &case.az_disk_profile) {
        (Some(file), None) => {
            UefiConfig::from_json(&data::content(&format!("vectors/{file}")), whose)
                .map_err(|_| fault("bad-config"))?
                .config
        }
        (None, Some(file)) => {
            azure::from_json(&data::content(&format!("vectors/{file}")), whose)
                .map_err(|error| {
                    let is_empty = matches!(error, azure::Error::Missing(_));
                    fault(if is_empty {
                        "empty-config"
                    } else {
                        "bad-az-profile"
                    })
                })?
                .config
        }
        _ => return Err(fault("no-firmware-description")),
    };
    let folder = tempfile::tempdir().unwrap();
    case.lay_out(folder.path());
    let profile = Profile {
        boot_manager: case.flags.boot_manager,
        secure_boot: case.flags.secure_boot,
        kernel: case.flags.kernel,
        ..Profile::default()
    };
    let boot = on_esp(&EspDirectory(folder.path().to_owned()), Wanted::default()).map_err(class)?;
    predict(&Input {
        configuration: &configuration,
        boot: &boot,
        profile,
        reader: Reader::SnapBootstrap,
        rules,
        bank: Bank::Sha256,
    })
    .map_err(|error| class(error.into()))
}

/// The class that the vectors have for an error, and the file it names.
fn class(error: PredictError) -> (String, Option<String>) {
    use firmware::Error as Efi;
    let (class, file) = match error {
        PredictError::NoShim => ("no-shim", Some("shimx64.efi".to_owned())),
        PredictError::IsDirectory { file } | PredictError::Unreadable { file, .. } => {
            ("unreadable-image", Some(file))
        }
        PredictError::Program { file, problem } => {
            let class = match problem {
                Efi::PeShort { .. }
                | Efi::PeTruncated { .. }
                | Efi::PeSignature { .. }
                | Efi::PeMagic { .. }
                | Efi::PeDirectories { .. } => "bad-pe",
                _ => "bad-signature-data",
            };
            (class, Some(file))
        }
        PredictError::Measure(measure::Error::NoProfile) => ("no-profile", None),
        PredictError::Measure(measure::Error::EmptyConfiguration) => ("empty-config", None),
        PredictError::Measure(measure::Error::NoKernel) => ("no-kernel", None),
        PredictError::Measure(measure::Error::Database { variable, .. }) => (
            if variable == "db" {
                "bad-db"
            } else {
                "bad-dbx"
            },
            None,
        ),
        PredictError::Measure(measure::Error::Program { file, problem }) => {
            let class = match problem {
                Problem::Unsigned { .. } => "unsigned-image",
                Problem::Untrusted { .. } | Problem::Rollover { .. } => "untrusted-signer",
                Problem::DigestMismatch { .. } | Problem::BytesBehindTable { .. } => {
                    "digest-mismatch"
                }
                Problem::SignatureInvalid { .. } => "signature-invalid",
                Problem::ChainRefused { .. } => "chain-refused",
                Problem::Forbidden { list: "dbx", .. } => "forbidden-by-dbx",
                Problem::Forbidden { .. } => "forbidden-by-vendor-dbx",
                Problem::SignatureForm { .. }
                | Problem::SignatureUnread { .. }
                | Problem::NoSignatureRead { .. } => "bad-signature-data",
                Problem::NoSbat { .. } => "no-sbat",
                Problem::Sbat(_) | Problem::SbatTooOld { .. } => "bad-sbat",
                Problem::ShimVersion(_) | Problem::ShimWithoutIdent => "shim-version-unreadable",
                Problem::ShimTooOld(_) => "shim-too-old",
                Problem::Vendor(_) | Problem::NoVendor => "bad-vendor-certificates",
                Problem::Level(_) => "bad-sbat-level",
                Problem::GrubModules(_) => "bad-grub-modules",
                Problem::UnknownLoader { .. } => "unsupported-boot-chain",
                other => panic!("no vector has this problem: {other:?}"),
            };
            (class, Some(file))
        }
        other => panic!("no vector has this error: {other:?}"),
    };
    (class.to_owned(), file)
}

/// Compares an outcome with the reference's answer; what differs, in words.
fn difference(case: &Case, outcome: &Outcome) -> Option<String> {
    let expected = &case.expected;
    match (outcome, expected.result.as_str()) {
        (Ok(prediction), "ok") => {
            let ours: Vec<_> = prediction
                .branches
                .iter()
                .map(|branch| {
                    let pcrs: BTreeMap<String, String> = branch
                        .pcrs
                        .iter()
                        .map(|(pcr, value)| (pcr.to_string(), hex::encode(value)))
                        .collect();
                    (pcrs, hex::encode(&branch.composite))
                })
                .collect();
            let theirs: Vec<_> = expected
                .branches
                .iter()
                .map(|branch| (branch.pcrs.clone(), branch.composite.clone()))
                .collect();
            let composites: Vec<_> = prediction.composites().iter().map(hex::encode).collect();
            let pcrs: Vec<u8> = prediction.selection.pcrs.iter().copied().collect();
            if ours != theirs {
                return Some(format!("branches\n ours {ours:#?}\n expected {theirs:#?}"));
            }
            if composites != expected.composites || pcrs != expected.selection {
                return Some("composites or selection".to_owned());
            }
            let kernels: Vec<_> = prediction
                .branches
                .iter()
                .map(|branch| &branch.kernel)
                .collect();
            if !kernels
                .iter()
                .zip(expected.kernels.iter().cycle())
                .all(|(a, b)| *a == b)
            {
                return Some(format!("kernels {kernels:?}"));
            }
            event_difference(case, prediction)
        }
        (Err((class, file)), "error") => {
            (Some(class) != expected.class.as_ref() || *file != expected.image).then(|| {
                format!(
                    "{class} {file:?}, expected {:?} {:?}",
                    expected.class, expected.image
                )
            })
        }
        (Ok(_), _) => Some(format!("success, expected {:?}", expected.class)),
        (Err(fault), _) => Some(format!("{fault:?}, expected success")),
    }
}

fn event_difference(case: &Case, prediction: &Prediction) -> Option<String> {
    let expected: CaseEvents = data::json(&format!("vectors/events/{}.json", case.name));
    for branch in expected.branches {
        let ours = &prediction.branches[branch.branch].events;
        for pcr in [4, 7, 12] {
            let ours: Vec<_> = ours
                .iter()
                .filter(|event| event.pcr == pcr)
                .map(|event| (event.type_name().to_owned(), hex::encode(&event.digest)))
                .collect();
            let theirs: Vec<_> = branch
                .events
                .iter()
                .filter(|event| event.pcr == pcr)
                .map(|event| (event.kind.clone(), event.digest.clone()))
                .collect();
            if ours != theirs {
                return Some(format!("events of PCR {pcr}: {ours:?} {theirs:?}"));
            }
        }
    }
    None
}

fn cases() -> Vec<Case> {
    let cases: Cases = data::json("vectors/cases.json");
    assert_eq!(cases.cases.len(), 135);
    cases.cases
}

#[test]
fn every_recorded_list_of_events_belongs_to_a_case_and_covers_its_branches() {
    let mut recorded: Vec<_> = std::fs::read_dir(data::path("vectors/events"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned())
        .collect();
    recorded.sort();
    let mut succeeding: Vec<_> = cases()
        .into_iter()
        .filter(|case| case.expected.result == "ok")
        .collect();
    succeeding.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(succeeding.len(), 90);
    assert!(
        recorded
            .iter()
            .eq(succeeding.iter().map(|case| case.name.as_str()))
    );
    for case in succeeding {
        let events: CaseEvents = data::json(&format!("vectors/events/{}.json", case.name));
        let composites: Vec<_> = events
            .branches
            .iter()
            .map(|branch| &case.expected.branches[branch.branch].composite)
            .collect();
        // One list of events for each set of values, and none of them empty.
        assert_eq!(
            composites,
            case.expected.composites.iter().collect::<Vec<_>>(),
            "{}",
            case.name
        );
        assert!(
            events
                .branches
                .iter()
                .all(|branch| !branch.events.is_empty())
        );
    }
}

#[test]
fn with_compat_reference_every_case_is_the_references() {
    let wrong: Vec<String> = cases()
        .iter()
        .filter_map(|case| {
            let difference = difference(case, &run(case, Rules::reference()))?;
            Some(format!("{}: {difference}", case.name))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// By the main class of a strictness: the flag that gives the reference's answer, and the rules with it.
fn without_check(class: &str) -> Option<(&'static str, Rules)> {
    let ours = Rules::firmware();
    Some(match class {
        "no-kernel" => (
            "--allow-no-kernel",
            Rules {
                allow_no_kernel: true,
                ..ours
            },
        ),
        "unsigned-image" | "untrusted-signer" | "signature-invalid" | "digest-mismatch"
        | "chain-refused" => (
            "--no-verify-signatures",
            Rules {
                verify_signatures: false,
                ..ours
            },
        ),
        "forbidden-by-dbx" | "forbidden-by-vendor-dbx" => (
            "--ignore-dbx",
            Rules {
                obey_dbx: false,
                ..ours
            },
        ),
        "bad-sbat" | "no-sbat" => (
            "--ignore-sbat",
            Rules {
                obey_sbat: false,
                ..ours
            },
        ),
        // No finer flag than --compat reference.
        "empty-config" | "bad-dbx" | "bad-db" | "bad-signature-data" => return None,
        other => panic!("no flag for {other}"),
    })
}

/// Cases in which an earlier check of ours hides the reference's error: ours, by the name of the case.
const HIDDEN: [(&str, &str); 3] = [
    ("config-empty", "empty-config"),
    ("forged-ms-no-vendor-section", "signature-invalid"),
    ("forged-ms-kernel-bad-sbat", "signature-invalid"),
];

/// Cases in which ours refuses what the vectors have as a success, with our class: shim has no elliptic curves.
const REFUSED_BY_SHIM: [(&str, &str); 1] = [("signer-ec", "chain-refused")];

/// Cases whose shim measures `MokListTrusted`, which the reference does not know of.
const MOK_LIST_TRUSTED: [&str; 2] = ["shim-15.6-level", "forged-ms-15.6-no-level"];

/// As [`difference`] for the cases of [`MOK_LIST_TRUSTED`]: that one event more in each branch, and nothing else.
fn difference_by_default(case: &Case, outcome: &Outcome) -> Option<String> {
    let (true, Ok(prediction)) = (
        MOK_LIST_TRUSTED.contains(&case.name.as_str()),
        outcome.as_ref(),
    ) else {
        return difference(case, outcome);
    };
    let mut prediction = prediction.clone();
    for branch in &mut prediction.branches {
        let before = branch.events.len();
        let is_it = |source: &Source| matches!(source, Source::MokListTrusted { .. });
        branch.events.retain(|event| !is_it(&event.source));
        if branch.events.len() + 1 != before {
            return Some("not one MokListTrusted".to_owned());
        }
    }
    event_difference(case, &prediction)
}

#[test]
fn by_default_every_case_is_the_references_or_stricter_as_it_says() {
    let mut wrong = Vec::new();
    let mut strict = 0;
    for case in cases() {
        let outcome = run(&case, Rules::firmware());
        let name = &case.name;
        if let Some(stricter) = &case.stricter {
            strict += 1;
            match &outcome {
                Err((class, _)) if *class == stricter.class => {}
                Ok(_) if !stricter.required => {
                    // Not refused, so it is the reference's answer.
                    wrong.extend(
                        difference_by_default(&case, &outcome)
                            .map(|what| format!("{name}: {what}")),
                    );
                }
                other => {
                    wrong.push(format!("{name}: {other:?}, expected {}", stricter.class));
                    continue;
                }
            }
            if let Some((flag, rules)) = without_check(&stricter.class)
                && let Some(difference) = difference_by_default(&case, &run(&case, rules))
            {
                wrong.push(format!("{name} with {flag}: {difference}"));
            }
        } else if let Some((_, class)) = HIDDEN.iter().find(|(hidden, _)| hidden == name) {
            if outcome.as_ref().err().map(|(class, _)| class.as_str()) != Some(*class) {
                wrong.push(format!("{name}: {outcome:?}, expected {class}"));
            }
        } else if let Some((_, class)) = REFUSED_BY_SHIM.iter().find(|(own, _)| own == name) {
            if outcome.as_ref().err().map(|(class, _)| class.as_str()) != Some(*class) {
                wrong.push(format!("{name}: {outcome:?}, expected {class}"));
            }
            let (flag, rules) = without_check(class).unwrap();
            if let Some(difference) = difference(&case, &run(&case, rules)) {
                wrong.push(format!("{name} with {flag}: {difference}"));
            }
        } else if case.differs.is_some() {
            if difference(&case, &outcome).is_none() {
                wrong.push(format!("{name} does not differ"));
            }
        } else if let Some(difference) = difference_by_default(&case, &outcome) {
            wrong.push(format!("{name}: {difference}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(strict, 31);
}

/// The databases that the authority events of a case name, for each file once.
fn authorities(case: &Case) -> Vec<String> {
    let prediction = run(case, Rules::firmware()).unwrap();
    let events = &prediction.branches[0].events;
    events
        .iter()
        .filter_map(|event| match &event.source {
            Source::Authority { file, database } => Some(format!("{file} {database}")),
            _ => None,
        })
        .collect()
}

#[test]
fn where_ours_differs_on_purpose_it_is_what_the_guest_measures() {
    let shim = "shimx64.efi db";
    for case in cases().iter().filter(|case| case.differs.is_some()) {
        let expected: &[&str] = match case.name.as_str() {
            "flags-kernel-only" => &[],
            // shim asks db before its own certificate, and measures every signature that verifies.
            "signer-both-in-db-and-vendor" | "db-hash-kernel" | "db-hash-kernel-signed" => {
                &[shim, "kernel.efi-1 db"]
            }
            "shim-hash-in-db" => &[shim, "kernel.efi-1 db"],
            "signer-dual-both" => &[shim, "kernel.efi-1 db", "kernel.efi-1 MokListRT"],
            "debian-shim-pesign" => &[shim, "grubx64.efi MokListRT"],
            "shim-15.4-no-level" => &[shim, "kernel.efi-1 Shim"],
            other => panic!("{other}: what it measures is not said here"),
        };
        assert_eq!(authorities(case), expected, "{}", case.name);
    }
}
