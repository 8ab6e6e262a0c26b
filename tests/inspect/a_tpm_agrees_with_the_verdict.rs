//! `inspect --against` says "unlocks" exactly where a TPM with those PCRs lets the key out.
//!
//! Images are sealed to different PCRs, for one configuration and two kernels. Each is held against several
//! configurations and boot files; every way to boot is then extended into a software TPM, event by event as `predict`
//! lists them, and tpm2-tools, or systemd's own reader, ask for the key.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::data;
use crate::encrypted::{BootFile, Encrypted, FLAGS, SEALED_KEY, ready};
use crate::support::tpm::{PROGRAMS, Tpm};
use crate::support::workshop::stdout;
use crate::support::{exits, programs, scratch};
use crate::systemd_guest::{KEY_OBJECT, SRKS, all_ready, two_kernels};
use crate::{judged, ways};

/// What the guests have: the configuration that was sealed for, one without the call of the boot option, whose PCR 4
/// is another, and one whose dbx has grown.
const CONFIGURATIONS: [&str; 3] = ["std", "std-omits", "dbx-hash"];

const PCR_4: &str = "--add-efi-boot-manager-profile";
const PCR_7: &str = "--add-efi-secure-boot-profile";
const PCR_12: &str = "--add-ubuntu-kernel-profile";

/// A sealed image with the question's files beside it: the configurations, and a directory in which one of the two
/// kernels is as it was and one is new.
fn sealed(flags: &[&str], srk: &[u8]) -> Encrypted {
    let image = Encrypted::new();
    image.boots(&two_kernels());
    image.workshop.write("srk.pub", srk);
    let image = image.deployed(&[&FLAGS[..4], flags].concat());
    for name in CONFIGURATIONS {
        let bytes = data::content(&format!("vectors/uefi/{name}.json"));
        image.workshop.write(&format!("{name}.json"), &bytes);
    }
    let folder = image.workshop.path("esp").join("EFI/ubuntu");
    fs::create_dir_all(&folder).unwrap();
    let shim = data::content("vectors/pe/shim-std.efi");
    fs::write(folder.join("shimx64.efi"), shim).unwrap();
    for (name, bytes) in [two_kernels()[1].clone(), new_kernel()] {
        fs::write(folder.join(name), bytes).unwrap();
    }
    image
}

/// A unified kernel image that was not there when the key was sealed: another byte in the middle. Nobody has signed that;
/// where signatures are not verified, the names in the old one decide.
fn new_kernel() -> BootFile {
    let mut bytes = two_kernels()[0].1.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    ("kernel.efi-6.8.0-1031-azure".to_owned(), bytes)
}

/// Every way to boot of a question: what `inspect` says, and the events that `predict` lists for the same values.
fn questions(
    image: &Encrypted,
    profile: &[&str],
    more: &[&str],
) -> Vec<(Value, Vec<(u32, String)>)> {
    let mut questions = Vec::new();
    for name in CONFIGURATIONS {
        for esp in [None, Some("esp")] {
            let configuration = format!("{name}.json");
            let firmware = [
                "--uefi-config",
                configuration.as_str(),
                "--no-verify-signatures",
            ];
            let boot_files = esp.map_or(Vec::new(), |esp| vec!["--esp", esp]);
            let document = judged(image, &[&firmware[..], &boot_files, more].concat());
            let place = if esp.is_some() {
                boot_files
            } else {
                vec!["disk.img"]
            };
            let mut predict = image.workshop.command(image.workshop.program());
            predict
                .args(["predict", "--json"])
                .args(place)
                .args(firmware);
            let output = exits(predict.args(profile).args(more), 0);
            let predicted: Value = serde_json::from_str(&stdout(&output)).unwrap();
            let branches = predicted["branches"].as_array().unwrap();
            assert_eq!(document["against"]["selection"], predicted["selection"]);
            assert_eq!(ways(&document).len(), branches.len());
            for way in ways(&document) {
                let same = |branch: &&Value| branch["pcrs"] == way["pcrs"];
                let branch = branches.iter().find(same).unwrap();
                let events = branch["events"].as_array().unwrap().iter();
                let event = |event: &Value| {
                    let pcr = u32::try_from(event["pcr"].as_u64().unwrap()).unwrap();
                    (pcr, event["digest"].as_str().unwrap().to_owned())
                };
                questions.push((way, events.map(event).collect()));
            }
        }
    }
    questions
}

/// Asks a TPM in each state. What it answers is what `inspect` said, and both answers come.
fn assert_agrees(
    questions: Vec<(Value, Vec<(u32, String)>)>,
    start: &dyn Fn(&Path) -> Tpm,
    opens: &dyn Fn(&Tpm) -> bool,
) {
    let folder = scratch();
    let mut seen = [0, 0];
    let mut asked: Vec<Vec<(u32, String)>> = Vec::new();
    for (way, events) in questions {
        if asked.contains(&events) {
            continue;
        }
        let tpm = start(&folder.path().join(asked.len().to_string()));
        for (pcr, digest) in &events {
            tpm.extend(*pcr, digest);
        }
        let is_open = opens(&tpm);
        if way["unlocks"].is_null() {
            // The TPM would, and the new kernel, which nobody has signed, does not start.
            let why = way["reason"].as_str().unwrap();
            assert!(
                is_open && why.contains("it cannot boot under Secure Boot"),
                "{way:#}"
            );
        } else {
            assert_eq!(way["unlocks"], is_open, "{way:#}");
        }
        seen[usize::from(is_open)] += 1;
        tpm.stop();
        asked.push(events);
    }
    assert!(seen[0] > 0 && seen[1] > 0, "refused and opened: {seen:?}");
}

#[test]
fn on_sealed_key_files() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let folder = scratch();
    let (state, public) = (folder.path().join("tpm"), folder.path().join("srk.pub"));
    let tpm = Tpm::start(&state);
    tpm.make_srk(&["-G", "ecc"], &public);
    tpm.stop();
    let public = fs::read(public).unwrap();
    for profile in [&[PCR_4, PCR_7, PCR_12][..], &[PCR_7], &[PCR_4, PCR_12]] {
        let image = sealed(profile, &public);
        let key = folder.path().join("sealed-key");
        fs::write(&key, &image.esp().files()[SEALED_KEY]).unwrap();
        let questions = questions(&image, profile, &[]);
        assert_agrees(
            questions,
            &|copy| Tpm::start_copy(&state, copy),
            &|tpm| match tpm.unseal(&key) {
                Ok(unsealed) => {
                    assert_eq!(unsealed, image.clear_key);
                    true
                }
                Err(said) => {
                    assert!(said.contains("tpm2_policyor failed"), "{said}");
                    false
                }
            },
        );
    }
}

#[test]
fn on_tokens_of_systemd() {
    let Some(systemd) = all_ready() else { return };
    for (srk, profile) in [
        (
            &SRKS[1],
            &[PCR_4, PCR_7, PCR_12, "--bind-pcr11", "--bind-pcr15"][..],
        ),
        (&SRKS[0], &[PCR_7]),
    ] {
        let flags = [&KEY_OBJECT[..], profile].concat();
        let image = sealed(
            &[&flags[..], &["--os-separator", "no"]].concat(),
            &srk.public(),
        );
        let mut all = questions(&image, &flags, &["--os-separator", "no"]);
        all.extend(questions(&image, &flags, &["--os-separator", "yes"]));
        let container = image.container();
        assert_agrees(
            all,
            &|copy| Tpm::of_data(srk.tpm, copy),
            &|tpm| match systemd.open(&container.header, tpm, None).answer.as_str() {
                "keyslot 1" => true,
                answer => {
                    assert_eq!(answer, "ENOENT");
                    false
                }
            },
        );
    }
}
