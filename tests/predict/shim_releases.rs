//! Each row of the table of shim's releases in `docs/explanation.md` is what is predicted for a shim of that version;
//! the releases whose programs are beside this checkout measure what the row says.

use std::fs;
use std::path::Path;

use base::storage::MemoryStorage;
use firmware::config::Rules as Reading;
use firmware::pe::Digests;
use firmware::{Hash, Program, UefiConfig};
use measure::{
    Boot, BootFile, Chain, Event, Input, Prediction, Profile, Reader, Rules, Source, Warning,
    explain, parse_variable_data, predict,
};
use tpm::Bank;
use tpm::event_log::LoggedEvent;

use crate::{data, support};

const RELEASES: [&str; 9] = [
    "15.2", "15.3", "15.4", "15.5", "15.6", "15.7", "15.8", "16.0", "16.1",
];
/// The level of a shim that has a section for it.
const OWN_LEVEL: &str = "sbat,1,2099010100\nshim,4\n";
/// What shim 15.6 extended into PCR 7 behind its level, under OVMF 2022.11 on an empty variable store.
const MOK_LIST_TRUSTED: &str = "5f62a2107fa11ce0485fd252d2e6c603cb8ed075861f9513bfed0a26bf6ed62b";

fn read(name: &str) -> Program {
    let file = MemoryStorage::new(data::content(&format!("vectors/pe/{name}.efi")));
    Program::read(&file, &[], false).unwrap()
}

/// A shim of this version that stands in for the real one: signatures and certificates of the vectors'.
fn shim(version: &str) -> Program {
    let mut level = [0_u32, 8, 8].map(u32::to_le_bytes).concat();
    level.extend(OWN_LEVEL.as_bytes());
    let has_section = RELEASES.iter().position(|release| *release == version)
        >= RELEASES.iter().position(|release| *release == "15.7");
    with_sections(&read("shim-std"), version, has_section.then_some(level))
}

/// The same program under another version.
fn of_version(program: &Program, version: &str) -> Program {
    let level = program.section(".sbatlevel").map(<[u8]>::to_vec);
    with_sections(program, version, level)
}

fn with_sections(base: &Program, version: &str, level: Option<Vec<u8>>) -> Program {
    let digest = base.digest(Hash::Sha256).unwrap().to_vec();
    let digests = vec![Digests {
        hash: Hash::Sha256,
        measured: digest.clone(),
        without_tail: digest,
    }];
    let ident = format!("UEFI SHIM\n$Version: {version} $\n");
    let kept = |name: &str| (name.to_owned(), base.section(name).unwrap().to_vec());
    let mut sections = vec![
        (".data.ident".to_owned(), ident.into_bytes()),
        kept(".vendor_cert"),
        kept(".sbat"),
    ];
    sections.extend(level.map(|level| (".sbatlevel".to_owned(), level)));
    Program::new(digests, base.signatures.clone(), sections).unwrap()
}

fn boot(version: &str, kernel: &str, beside: &[&str]) -> Boot {
    let file = |name: &str, program| BootFile {
        folder: Vec::new(),
        name: name.to_owned(),
        program,
    };
    Boot {
        files: vec![file("shim", shim(version)), file("kernel", read(kernel))],
        chains: vec![Chain::new(0, [1])],
        beside_shim: beside.iter().map(|name| (*name).to_owned()).collect(),
        addons: Vec::new(),
    }
}

fn predicted(boot: &Boot, rules: Rules) -> Result<Prediction, String> {
    let configuration = data::content("vectors/uefi/std.json");
    let configuration = UefiConfig::from_json(&configuration, Reading::Ours).unwrap();
    let profile = Profile {
        boot_manager: true,
        secure_boot: true,
        ..Profile::default()
    };
    let prediction = predict(&Input {
        configuration: &configuration.config,
        boot,
        profile,
        reader: Reader::default(),
        rules,
        bank: Bank::Sha256,
    });
    prediction.map_err(|error| error.to_string())
}

fn events(version: &str, kernel: &str) -> Vec<Event> {
    let prediction = predicted(&boot(version, kernel, &[]), Rules::firmware()).unwrap();
    prediction.branches[0].events.clone()
}

/// Name and content of the variable in the first event that is `wanted`.
fn variable(events: &[Event], wanted: impl Fn(&Source) -> bool) -> Option<(String, Vec<u8>)> {
    let event = events.iter().find(|event| wanted(&event.source))?;
    let (_, name, content) = parse_variable_data(&event.data).unwrap();
    Some((name, content.to_vec()))
}

/// The level that a shim measures; nothing is booted behind it.
fn level(version: &str, secure_boot: bool) -> String {
    let mut boot = boot(version, "kernel-vendor-1", &[]);
    boot.chains = vec![Chain::new(0, [])];
    let rules = Rules {
        secure_boot,
        allow_no_kernel: true,
        ..Rules::firmware()
    };
    let events = predicted(&boot, rules).unwrap().branches[0].events.clone();
    match variable(&events, |source| matches!(source, Source::Level { .. })) {
        None => "none".to_owned(),
        Some((_, content)) if content == OWN_LEVEL.as_bytes() => "its own".to_owned(),
        Some((_, content)) => format!("`{}`", String::from_utf8(content).unwrap().trim_end()),
    }
}

fn trusted(version: &str) -> String {
    let events = events(version, "kernel-vendor-1");
    let is_it = |source: &Source| matches!(source, Source::MokListTrusted { .. });
    match variable(&events, is_it) {
        None => "no".to_owned(),
        Some((name, content)) => {
            assert_eq!(name, "MokListTrusted");
            let place = events
                .iter()
                .position(|event| is_it(&event.source))
                .unwrap();
            assert!(matches!(events[place - 1].source, Source::Level { .. }));
            assert_eq!(hex::encode(&events[place].digest), MOK_LIST_TRUSTED);
            hex::encode(content)
        }
    }
}

/// How the certificate that authorised the kernel is measured: the variable's name, and what stands before it.
fn authority(version: &str, kernel: &str) -> String {
    let events = events(version, kernel);
    let is_it =
        |source: &Source| matches!(source, Source::Authority { file, .. } if file == "kernel");
    let (name, content) = variable(&events, is_it).unwrap();
    // A certificate is a DER sequence of more than 255 bytes.
    let owner = if content.starts_with(&[0x30, 0x82]) {
        "without owner"
    } else {
        "with owner"
    };
    format!("`{name}`, {owner}")
}

fn without_sbat(version: &str) -> String {
    let message = predicted(&boot(version, "kernel-no-sbat", &[]), Rules::firmware());
    match message {
        Ok(_) => "starts".to_owned(),
        Err(message) => {
            let wanted = format!("kernel: has no section .sbat: shim {version} refuses it");
            assert_eq!(message, wanted);
            "refused".to_owned()
        }
    }
}

/// The files beside shim with which nothing is predicted.
fn companions(version: &str) -> String {
    let names = [
        ("shim_certificate*", "Shim_Certificate_0.efi", true),
        ("revocations.efi", "revocations.efi", true),
        ("revocations_sbat.efi", "REVOCATIONS_SBAT.EFI", true),
        ("revocations_sku.efi", "revocations_sku.efi", true),
        ("options.csv", "options.csv", false),
    ];
    let refused = names.into_iter().filter(|(_, name, is_loaded)| {
        let boot = boot(version, "kernel-vendor-1", &["mmx64.efi", name]);
        let Err(message) = predicted(&boot, Rules::firmware()) else {
            return false;
        };
        let what = if *is_loaded {
            "loads and measures it before the kernel"
        } else {
            "starts what this file names in place of the kernel"
        };
        let wanted =
            format!("{name}: lies beside shim {version}, which {what}: that is not predicted");
        assert_eq!(message, wanted);
        true
    });
    let refused: Vec<_> = refused.map(|(shown, ..)| format!("`{shown}`")).collect();
    if refused.is_empty() {
        return "none".to_owned();
    }
    refused.join(", ")
}

/// The rows of the table in the page, as its cells.
fn rows() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/explanation.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("| shim | `SbatLevel`").unwrap();
    let lines = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    lines
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

#[test]
fn each_row_of_the_page_is_what_is_predicted_for_that_release() {
    let rows = rows();
    let versions: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(versions, RELEASES);
    for row in &rows {
        let version = row[0].as_str();
        let ours = [
            version.to_owned(),
            level(version, true),
            level(version, false),
            trusted(version),
            authority(version, "kernel-db-a"),
            authority(version, "kernel-vendor-1"),
            without_sbat(version),
            companions(version),
        ];
        assert_eq!(row[..8], ours, "shim {version}");
        assert!(["booted", "source"].contains(&row[8].as_str()), "{row:?}");
    }
}

#[test]
fn a_version_between_two_rows_is_taken_for_the_older_one() {
    for (version, release) in [("15.9", "15.8"), ("16.7", "16.1"), ("17", "16.1")] {
        // What the two programs have in their sections for it is the same here.
        let like = |version: &str| {
            let mut boot = boot(release, "kernel-vendor-1", &[]);
            boot.files[0].program = of_version(&boot.files[0].program, version);
            predicted(&boot, Rules::firmware()).unwrap().branches
        };
        assert_eq!(like(version), like(release), "{version}");
    }
}

#[test]
fn what_the_reference_leaves_out_is_said_and_left_out_under_its_rules() {
    let boot = boot("15.6", "kernel-vendor-1", &[]);
    let ours = predicted(&boot, Rules::firmware()).unwrap();
    let wanted = Warning::MokListTrusted {
        file: "shim".to_owned(),
        shim: firmware::shim::Version(15, 6),
    };
    assert!(ours.warnings.contains(&wanted), "{:?}", ours.warnings);
    assert_eq!(
        operations::predict::warning(&wanted),
        "shim: shim 15.6 measures MokListTrusted into PCR 7; the reference leaves it out, and \
         --compat reference gives that value"
    );
    let theirs = predicted(&boot, Rules::reference()).unwrap();
    assert_eq!(theirs.warnings, []);
    let events = &theirs.branches[0].events;
    assert_eq!(
        variable(events, |source| matches!(
            source,
            Source::MokListTrusted { .. }
        )),
        None
    );
}

#[test]
fn a_guest_without_mok_list_trusted_is_explained() {
    let prediction = predicted(&boot("15.6", "kernel-vendor-1", &[]), Rules::firmware()).unwrap();
    let branch = &prediction.branches[0];
    let logged = |is_wanted: &dyn Fn(&Source) -> bool| -> Vec<LoggedEvent> {
        let events = branch
            .events
            .iter()
            .filter(|event| is_wanted(&event.source));
        let log = events.map(|event| LoggedEvent {
            pcr: u32::from(event.pcr),
            event_type: event.kind.number(),
            digest: event.digest.clone(),
            data: event.data.clone(),
        });
        log.collect()
    };
    let causes = |log: &[LoggedEvent]| -> Vec<String> {
        let explanation = explain(&[branch], &prediction.selection, log);
        let rows = explanation.comparisons.iter().flat_map(|one| &one.rows);
        rows.filter_map(|row| row.cause.as_ref().map(ToString::to_string))
            .collect()
    };
    assert_eq!(causes(&logged(&|_| true)), [""; 0]);
    let without = logged(&|source| !matches!(source, Source::MokListTrusted { .. }));
    assert_eq!(
        causes(&without),
        [
            "the log has no MokListTrusted: somebody took the trust away with mokutil, or shim is not the shim of \
             15.6 that the prediction takes it for"
        ]
    );
}

/// The first round predicted 3545899b… for these files, which no guest reached.
#[test]
fn shim_15_6_of_almalinux_is_predicted_as_a_guest_measured_it() {
    let Some(folder) = support::shared("real-machines/shim156") else {
        return;
    };
    let file = |name: &str| {
        let bytes = MemoryStorage::new(fs::read(folder.join(name)).unwrap());
        BootFile {
            folder: Vec::new(),
            name: name.to_owned(),
            program: Program::read(&bytes, &[], false).unwrap(),
        }
    };
    let configuration = fs::read(folder.join("own.json")).unwrap();
    let configuration = UefiConfig::from_json(&configuration, Reading::Ours).unwrap();
    let boot = Boot {
        files: vec![
            file("shimx64-15.6-signed-by-test-db.efi"),
            file("second.efi"),
        ],
        chains: vec![Chain::new(0, [1])],
        beside_shim: Vec::new(),
        addons: Vec::new(),
    };
    let prediction = predict(&Input {
        configuration: &configuration.config,
        boot: &boot,
        profile: Profile {
            secure_boot: true,
            ..Profile::default()
        },
        reader: Reader::default(),
        rules: Rules::firmware(),
        bank: Bank::Sha256,
    });
    let branch = &prediction.unwrap().branches[0];
    assert_eq!(hex::encode(&branch.pcrs[&7])[..8], *"d5046fcb");
}
