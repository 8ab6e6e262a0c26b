//! Whatever a crash leaves of the writes that seal an image again, the sealed key that lies there, the old or the new
//! one, opens a keyslot, the owner's key opens its own, and a second run ends with an image that is sealed again.
//!
//! The writes are recorded; the states that a crash can leave of them are enumerated (`support::crash`). cryptsetup,
//! `fsck.vfat` and a second run of the program judge a sample.

use base::storage::{FileStorage, Overlay, ReadAt, Slice};
use filesystem::fat::Fat;
use operations::deploy::{self, KeyObject, ReadyToDeploy, WritePhase};

use crate::crashed::{self, Run, damage_header, each_state, laid_out, recorded, storage};
use crate::encrypted::{
    ESP, Encrypted, ROOT, SEALED_KEY, TEMPLATE, WITHOUT_PCRS, open_offline, ready, soft_srk,
};
use crate::resealed::{RECOVERY_KEY, UNLOCK, again, any_state, deployed, opened_by, sealed_key};
use crate::support::crash::{self, Place};
use crate::support::header_of;
use crate::support::workshop::{stderr, stdout};
use crate::support::{exits, files};

/// The order in which an image with a template is sealed again.
const PHASES: [WritePhase; 10] = [
    WritePhase::Keyslot,
    WritePhase::FirstBesideOld,
    WritePhase::SecondBesideOld,
    WritePhase::FreeClusters,
    WritePhase::Allocations,
    WritePhase::Directories,
    WritePhase::Template,
    WritePhase::FirstHeader,
    WritePhase::Tidy,
    WritePhase::SecondHeader,
];

/// A job that seals for another guest: the template changes, too.
fn prepared(deployed: &Encrypted) -> ReadyToDeploy {
    let public = std::fs::read(soft_srk("soft-ecc")).unwrap();
    let run = Run {
        key_object: KeyObject::Secboot,
        public: deployed.workshop.write("other.pub", &public),
        recovery: None,
        unlock_with: Some(deployed.workshop.path("recovery.key")),
    };
    run.prepared(deployed)
}

/// A sealed key that may lie on the EFI system partition, the template beside it, and the keyslot that it opens.
#[derive(Clone)]
pub struct Seal {
    file: Vec<u8>,
    template: Vec<u8>,
    area_bytes: u64,
    material: Vec<u8>,
}

/// Where the parts of the image lie.
pub struct Parts {
    root: std::ops::Range<u64>,
    esp: std::ops::Range<u64>,
}

impl Parts {
    pub fn of(deployed: &Encrypted) -> Self {
        let table = deployed.table();
        Self {
            root: table.byte_range(ROOT),
            esp: table.byte_range(ESP),
        }
    }

    fn container<'s>(&self, disk: &'s dyn ReadAt) -> Slice<&'s dyn ReadAt> {
        Slice::new(disk, self.root.start, self.root.end - self.root.start).unwrap()
    }

    fn file(&self, disk: &dyn ReadAt, path: &str) -> Vec<u8> {
        let esp = Slice::new(disk, self.esp.start, self.esp.end - self.esp.start).unwrap();
        let fat = Fat::open_read_only(&esp).unwrap();
        assert!(fat.find("EFI/ubuntu/shimx64.efi").unwrap().is_some());
        fat.read_file(path, 1 << 20).unwrap()
    }

    /// The seal of a state, whose file opens this keyslot.
    pub fn seal(&self, disk: &dyn ReadAt, keyslot: u32) -> Seal {
        let container = self.container(disk);
        let header = header_of(&container).unwrap();
        let area = header.metadata().keyslot(keyslot).unwrap().area;
        let len = usize::try_from(area.size_bytes).unwrap();
        Seal {
            file: self.file(disk, SEALED_KEY),
            template: self.file(disk, TEMPLATE),
            area_bytes: area.offset_bytes,
            material: container.read_vec(area.offset_bytes, len).unwrap(),
        }
    }

    /// True where the header that counts has a keyslot of this material, untouched.
    fn opens(&self, disk: &dyn ReadAt, area_bytes: u64, material: &[u8]) -> bool {
        let container = self.container(disk);
        let header = header_of(&container).unwrap();
        let mut keyslots = header.metadata().keyslots.iter();
        keyslots.any(|keyslot| keyslot.area.offset_bytes == area_bytes)
            && container.read_vec(area_bytes, material.len()).unwrap() == material
    }
}

/// Enumerates the crash states, checks one of `every` so many, and hands a sample to `judge` with what lies there then.
pub fn check(
    deployed: &Encrypted,
    old: &Seal,
    every: usize,
    mut judge: impl FnMut(&Overlay<FileStorage>, WritePhase, &str),
) {
    let parts = Parts::of(deployed);
    let ready = prepared(deployed);
    let phases = crashed::phases(ready.steps());
    assert_eq!(phases, PHASES);
    let log = recorded(deployed, ready.steps());
    let disk = Overlay::new(storage(&deployed.image));
    deploy::write(ready.steps(), &disk, |_| Ok(())).unwrap();
    let new = parts.seal(&disk, 0);
    assert!(new.file != old.file && new.template != old.template);
    let owner = parts.seal(&disk, 1);

    let mut there = "old";
    each_state(deployed, (&phases, &log), every, |state| {
        let (disk, phase, place) = (state.disk, state.phase, state.place);
        // What a step does not write stays as the whole state before it had it.
        let is_of_esp = (WritePhase::FreeClusters..=WritePhase::Template).contains(&phase);
        if is_of_esp || phase == WritePhase::Tidy || place.is_whole() {
            there = check_files(&parts, disk, (old, &new), place);
        }
        if !is_of_esp || place.is_whole() {
            let seal = if there == "old" { old } else { &new };
            for (area_bytes, material) in [
                (owner.area_bytes, &owner.material),
                (seal.area_bytes, &seal.material),
            ] {
                assert!(
                    parts.opens(disk, area_bytes, material),
                    "{phase:?}, {place:?}"
                );
            }
        }
        if state.is_sample {
            judge(disk, phase, there);
        }
    });
}

/// Which sealed key lies there. The template follows it, after a flush.
fn check_files(
    parts: &Parts,
    state: &dyn ReadAt,
    (old, new): (&Seal, &Seal),
    place: Place,
) -> &'static str {
    let flushes = place.flushes;
    let at = |phase| PHASES.iter().position(|other| *other == phase).unwrap();
    let (file, template) = (parts.file(state, SEALED_KEY), parts.file(state, TEMPLATE));
    let is_new = if file == old.file {
        false
    } else {
        assert!(file == new.file, "{place:?}");
        true
    };
    let is_template_new = if template == old.template {
        false
    } else {
        assert!(template == new.template, "{place:?}");
        true
    };
    assert!(is_new || !is_template_new, "{place:?}");
    if flushes < at(WritePhase::Directories) {
        assert!(!is_new, "{place:?}");
    }
    if flushes > at(WritePhase::Directories) {
        assert!(is_new, "{place:?}");
    }
    if flushes > at(WritePhase::Template) {
        assert!(is_template_new, "{place:?}");
    }
    if is_new { "new" } else { "old" }
}

/// cryptsetup opens the state with the key that is sealed there, and with the owner's; `fsck.vfat -a` mends the ESP; a
/// run without a key says what is the matter, and one with it ends with an image that is sealed again.
pub fn judge_by_programs(
    image: &Encrypted,
    state: &Overlay<FileStorage>,
    phase: WritePhase,
    there: &str,
) {
    let copy = laid_out(state, image);
    let parent = if there == "old" {
        "soft-rsa"
    } else {
        "soft-ecc"
    };
    let key = sealed_key(&copy, parent, &any_state());
    let container = copy.container();
    assert_eq!(opened_by(&container, &key).len(), 1, "{phase:?}");
    assert_eq!(opened_by(&container, &RECOVERY_KEY), [1], "{phase:?}");
    let is_half = container.dump().contains("eci-reseal");
    copy.esp().assert_mendable();

    let output = copy
        .deploy(&WITHOUT_PCRS)
        .args(["--dry-run", "disk.img"])
        .output()
        .unwrap();
    let text = stderr(&output);
    let is_said = text.contains(
        "sealing the image again was interrupted: in partition 1 the old key and the new one open the container\n\
         hint: run deploy --unlock-with FILE again, with a recovery key or a passphrase\n",
    );
    assert_eq!(is_said, is_half, "{phase:?}: {text}");
    if is_half {
        let mut inspect = copy.workshop.command(copy.workshop.program());
        let told = stdout(&exits(inspect.args(["inspect", "--json", "disk.img"]), 0));
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["state"], "interrupted", "{phase:?}");
        assert!(
            told["warnings"]
                .to_string()
                .contains("run deploy --unlock-with again"),
            "{told}"
        );
    }

    let output = exits(&mut again(&copy, &WITHOUT_PCRS), 0);
    assert!(
        stderr(&output).contains("disk.img: sealed again"),
        "{phase:?}"
    );
    assert_is_sealed_again(&copy, &[&key, &copy.clear_key]);
}

/// One sealed key, which opens keyslot 0; no trace of a replacement, and the keys of before open nothing.
pub fn assert_is_sealed_again(copy: &Encrypted, keys_of_before: &[&[u8]]) {
    let container = copy.container();
    let key = sealed_key(copy, "soft-rsa", &any_state());
    assert_eq!(opened_by(&container, &key), [0]);
    assert_eq!(opened_by(&container, &RECOVERY_KEY), [1]);
    for key in keys_of_before {
        assert_eq!(opened_by(&container, key), [0; 0]);
    }
    let keyslots = container.metadata["keyslots"].as_object().unwrap();
    assert_eq!(keyslots.len(), 3, "{keyslots:?}");
    let tokens = container.metadata["tokens"].as_object().unwrap();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert_eq!(files::find(&copy.image, b"eci-reseal"), None);
}

#[test]
fn a_crash_at_any_point() {
    if !ready() {
        return;
    }
    let deployed = deployed(&WITHOUT_PCRS);
    let old = Parts::of(&deployed).seal(&storage(&deployed.image), 0);
    let mut seen = Vec::new();
    check(&deployed, &old, 1, |state, phase, there| {
        judge_by_programs(&deployed, state, phase, there);
        seen.push(there.to_owned());
    });
    assert!(seen.contains(&"old".to_owned()) && seen.contains(&"new".to_owned()));
}

/// A run after a crash can crash as well: the sealed key that lies there opens one of three keyslots then.
#[test]
fn a_crash_of_the_run_after_a_crash() {
    if !ready() {
        return;
    }
    for (stopped_after, keyslot) in [
        (WritePhase::SecondBesideOld, 0),
        (WritePhase::Directories, 2),
    ] {
        let deployed = deployed(&WITHOUT_PCRS);
        let first = prepared(&deployed);
        let done = first
            .steps()
            .iter()
            .position(|step| step.phase == stopped_after);
        let disk = Overlay::new(storage(&deployed.image));
        let steps = &first.steps()[..=done.unwrap()];
        deploy::write(steps, &disk, |_| Ok(())).unwrap();
        let half = laid_out(&disk, &deployed);
        let parts = Parts::of(&half);
        // What the template shall be is another one: the file of the second run would hold the same one.
        half.change_esp("mdel", &["::/tpm2-srk.tmpl"]);
        let template = half.workshop.write("template", b"another one");
        half.change_esp("mcopy", &[template.to_str().unwrap(), "::/tpm2-srk.tmpl"]);
        let there = parts.seal(&storage(&half.image), keyslot);
        check(&half, &there, 1, |state, phase, there| {
            if matches!(
                phase,
                WritePhase::SecondBesideOld | WritePhase::Template | WritePhase::FirstHeader
            ) {
                let copy = laid_out(state, &half);
                exits(&mut again(&copy, &WITHOUT_PCRS), 0);
                assert_is_sealed_again(&copy, &[&copy.clear_key]);
                assert!(there == "old" || phase != WritePhase::SecondBesideOld);
            }
        });
    }
}

#[test]
fn a_crash_where_one_header_copy_was_damaged_before() {
    if !ready() {
        return;
    }
    for damaged in [0, 1] {
        let deployed = deployed(&WITHOUT_PCRS);
        damage_header(&deployed, damaged);
        let old = Parts::of(&deployed).seal(&storage(&deployed.image), 0);
        check(&deployed, &old, 1, |state, phase, there| {
            if matches!(
                phase,
                WritePhase::FirstBesideOld | WritePhase::SecondBesideOld
            ) {
                judge_by_programs(&deployed, state, phase, there);
            }
        });
    }
}

/// The model finds an order that is wrong: with the header switched before the file, the old file opens nothing.
#[test]
fn the_header_switched_before_the_file_loses_the_guest() {
    if !ready() {
        return;
    }
    let deployed = deployed(&WITHOUT_PCRS);
    let parts = Parts::of(&deployed);
    let old = parts.seal(&storage(&deployed.image), 0);
    let ready = prepared(&deployed);
    let is_switch = |step: &deploy::Step| {
        matches!(
            step.phase,
            WritePhase::FirstHeader | WritePhase::SecondHeader
        )
    };
    let (switch, mut steps): (Vec<_>, Vec<_>) = ready.steps().iter().cloned().partition(is_switch);
    steps.splice(3..3, switch);
    let disk = Overlay::new(storage(&deployed.image));
    let mut lost = 0;
    crash::each_state(&disk, &recorded(&deployed, &steps), |state, _| {
        let is_old = parts.file(state, SEALED_KEY) == old.file;
        lost += usize::from(is_old && !parts.opens(state, old.area_bytes, &old.material));
    });
    assert!(lost > 0, "{lost} states");
}

/// The same by the program, stopped by a disk that fails: the run after it ends well.
#[test]
fn a_run_that_was_stopped_is_repeated() {
    if !ready() || !crate::support::programs(&["strace"]) {
        return;
    }
    let deployed = deployed(&WITHOUT_PCRS);
    let mut stopped = 0;
    for count in [1, 3, 4, 6, 8, 9] {
        let mut strace = deployed.workshop.command("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e"]);
        strace.arg(format!("inject=pwrite64:error=EIO:when={count}+"));
        strace.arg(deployed.workshop.program()).arg("deploy");
        let output = exits(strace.args(UNLOCK).args(WITHOUT_PCRS).arg("disk.img"), 1);
        let text = stderr(&output);
        assert!(text.contains("error: disk.img: writing "), "{text}");
        stopped += 1;
    }
    assert_eq!(stopped, 6);
    exits(&mut again(&deployed, &WITHOUT_PCRS), 0);
    assert_is_sealed_again(&deployed, &[&deployed.clear_key]);
    let file = &deployed.esp().files()[SEALED_KEY];
    assert_ne!(
        open_offline(file, "soft-rsa", &any_state()),
        deployed.clear_key
    );
}
