//! Whatever a crash leaves of a deploy's writes, the image opens, and deploying it again gives a deployed image.
//!
//! The writes are recorded; the states that a crash can leave of them are enumerated (`support::crash` says how, and
//! what it takes a disk to be). LUKS2's own rule, the valid copy with the higher sequence id, decides which state an
//! image is in; cryptsetup, `fsck.vfat` and a second run of the program judge a sample.

use std::collections::BTreeMap;
use std::ops::Range;

use base::secret::SecretBytes;
use base::storage::{FileStorage, Overlay, ReadAt, Recorded, Slice};
use filesystem::fat::Fat;
use operations::deploy::{KeyObject, ReadyToDeploy, RecoverySource, WritePhase};

use crate::crashed::{self, Run, damage_header, each_state, laid_out, recorded, storage};
use crate::encrypted::{ESP, Encrypted, ROOT, SEALED_KEY, TEMPLATE, WITHOUT_PCRS, find_key, ready};
use crate::support::crash::{self, Place};
use crate::support::exits;
use crate::support::header_of;
use crate::support::workshop::stderr;

const RECOVERY_KEY: [u8; 16] = *b"0123456789abcdef";

fn prepared(encrypted: &Encrypted) -> ReadyToDeploy {
    let recovery = encrypted.workshop.write("recovery.key", &RECOVERY_KEY);
    let run = Run {
        key_object: KeyObject::Secboot,
        public: encrypted.workshop.path("srk.pub"),
        recovery: Some(RecoverySource::File(recovery)),
        unlock_with: None,
    };
    run.prepared(encrypted)
}

fn part<'s>(disk: &'s dyn ReadAt, range: &Range<u64>) -> Slice<&'s dyn ReadAt> {
    Slice::new(disk, range.start, range.end - range.start).unwrap()
}

struct Truth {
    root: Range<u64>,
    esp: Range<u64>,
    clear_key: SecretBytes,
    /// The sealed key and the template before.
    old_files: BTreeMap<String, Vec<u8>>,
}

impl Truth {
    fn of(encrypted: &Encrypted) -> Self {
        let table = encrypted.table();
        let disk = storage(&encrypted.image);
        let mut truth = Self {
            root: table.byte_range(ROOT),
            esp: table.byte_range(ESP),
            clear_key: SecretBytes::new(encrypted.clear_key.clone()),
            old_files: BTreeMap::new(),
        };
        truth.old_files = truth.files(&disk);
        truth
    }

    /// The template and what lies in `device/fde`, by their paths.
    fn files(&self, disk: &dyn ReadAt) -> BTreeMap<String, Vec<u8>> {
        let esp = part(disk, &self.esp);
        let fat = Fat::open_read_only(&esp).unwrap();
        // The boot files are found, whatever happens beside them.
        assert!(fat.find("EFI/ubuntu/shimx64.efi").unwrap().is_some());
        let mut paths: Vec<_> = [TEMPLATE.to_owned()]
            .into_iter()
            .filter(|path| fat.find(path).unwrap().is_some())
            .collect();
        // It may not be there yet.
        let sealed = fat.list_dir("device/fde").unwrap_or_default();
        paths.extend(
            sealed
                .iter()
                .map(|entry| format!("device/fde/{}", entry.name)),
        );
        let read = |path: String| {
            let bytes = fat.read_file(&path, 1 << 20).unwrap();
            (path, bytes)
        };
        paths.into_iter().map(read).collect()
    }

    /// True where the header that counts holds no clear key. In either state every keyslot opens that should.
    fn is_deployed(&self, disk: &dyn ReadAt, try_keys: bool) -> bool {
        let container = part(disk, &self.root);
        let header = header_of(&container).unwrap();
        let clear_key = header.metadata().clear_key().unwrap();
        let is_deployed = clear_key.is_none();
        assert_eq!(
            header.metadata().keyslots.len(),
            if is_deployed { 3 } else { 2 }
        );
        if let Some((_, token)) = clear_key {
            assert!(token.key == self.clear_key);
        }
        if try_keys {
            let unlock = |keyslot, key: &SecretBytes| header.unlock(Some(keyslot), key, &container);
            assert!(unlock(0, &self.clear_key).is_ok());
            if is_deployed {
                assert!(unlock(1, &SecretBytes::new(RECOVERY_KEY.to_vec())).is_ok());
            }
        }
        is_deployed
    }
}

/// Enumerates the crash states of a deploy, checks one of `every` so many, and hands a sample to `judge`.
pub fn check(
    encrypted: &Encrypted,
    every: usize,
    mut judge: impl FnMut(&Overlay<FileStorage>, WritePhase, bool),
) {
    let truth = Truth::of(encrypted);
    let ready = prepared(encrypted);
    let log = recorded(encrypted, ready.steps());
    assert_keyslots_are_left_alone(&truth, &log);

    let mut new_files = BTreeMap::new();
    let phases = crashed::phases(ready.steps());
    each_state(encrypted, (&phases, &log), every, |state| {
        let (disk, phase, place) = (state.disk, state.phase, state.place);
        let is_deployed = truth.is_deployed(disk, place.is_whole());
        let expected = match phase {
            WritePhase::FirstHeader => place.is_whole(),
            phase => phase > WritePhase::FirstHeader,
        };
        assert_eq!(is_deployed, expected, "{phase:?}, {place:?}");
        if phase <= WritePhase::Directories || phase == WritePhase::Tidy || place.is_whole() {
            check_files(&truth, &truth.files(disk), &mut new_files, phase, place);
        }
        if state.is_sample {
            judge(disk, phase, is_deployed);
        }
    });
}

/// The files are the old ones until the directories are written, and the new ones from then on.
fn check_files(
    truth: &Truth,
    found: &BTreeMap<String, Vec<u8>>,
    new: &mut BTreeMap<String, Vec<u8>>,
    phase: WritePhase,
    place: Place,
) {
    if phase < WritePhase::Directories {
        assert!(*found == truth.old_files, "{phase:?}, {place:?}");
    } else if phase == WritePhase::Directories && !place.is_whole() {
        for (name, bytes) in &truth.old_files {
            assert!(
                found.contains_key(name) || bytes.is_empty(),
                "{name}, {place:?}"
            );
        }
    } else {
        if new.is_empty() {
            new.clone_from(found);
        }
        assert!(found == new, "{phase:?}, {place:?}");
        for path in [SEALED_KEY, TEMPLATE] {
            assert!(found.contains_key(path), "{found:?}");
        }
    }
}

/// No write touches the material of a keyslot that is there.
fn assert_keyslots_are_left_alone(truth: &Truth, log: &[Recorded]) {
    let areas = truth.root.start + (1 << 20)..truth.root.start + (1 << 20) + 2 * 258_048;
    for call in log {
        if let Recorded::Write {
            offset_bytes,
            bytes,
        } = call
        {
            let end = offset_bytes + bytes.len() as u64;
            assert!(end <= areas.start || areas.end <= *offset_bytes);
        }
    }
}

/// The state in a file, judged by programs: cryptsetup opens it, and says what we say of the token; `fsck.vfat -a`
/// mends the ESP; a second deploy ends with a deployed image.
pub fn judge_by_programs(
    image: &Encrypted,
    state: &Overlay<FileStorage>,
    phase: WritePhase,
    is_deployed: bool,
) {
    let copy = laid_out(state, image);
    let container = copy.container();
    assert_eq!(container.test_key(0, &copy.clear_key), 0, "{phase:?}");
    let shows_token = container.dump().contains("ubuntu-fde-cloudimg-key");
    assert_eq!(shows_token, !is_deployed, "{phase:?}");
    copy.esp().assert_mendable();

    let output = copy.deploy(&WITHOUT_PCRS).arg("disk.img").output().unwrap();
    let text = stderr(&output);
    if output.status.code() == Some(1) {
        assert!(
            text.contains("the image is deployed already"),
            "{phase:?}: {text}"
        );
        assert_eq!(phase, WritePhase::SecondHeader);
    } else {
        assert_eq!(output.status.code(), Some(0), "{phase:?}: {text}");
        assert_eq!(
            text.contains("an interrupted deploy was completed"),
            is_deployed,
            "{text}"
        );
    }
    assert_eq!(find_key(&copy.image, &copy.clear_key), None, "{phase:?}");
    assert_eq!(copy.container().test_key(0, &copy.clear_key), 0);
    assert!(copy.esp().files().contains_key(SEALED_KEY));
}

#[test]
fn a_crash_at_any_point_of_a_first_deploy() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    check(&encrypted, 1, |state, phase, is_deployed| {
        judge_by_programs(&encrypted, state, phase, is_deployed);
    });
}

#[test]
fn a_crash_of_a_deploy_after_one_that_left_its_files() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let sealed = encrypted.workshop.write("sealed", &vec![7; 140_000]);
    encrypted.change_esp("mmd", &["::/device", "::/device/fde"]);
    for path in [SEALED_KEY, TEMPLATE] {
        let place = format!("::/{path}");
        encrypted.change_esp("mcopy", &[sealed.to_str().unwrap(), &place]);
    }
    check(&encrypted, 1, |state, phase, is_deployed| {
        if phase == WritePhase::Directories || phase == WritePhase::Tidy {
            judge_by_programs(&encrypted, state, phase, is_deployed);
        }
    });
}

#[test]
fn a_crash_where_one_header_copy_was_damaged_before() {
    if !ready() {
        return;
    }
    for damaged in [0, 1] {
        let encrypted = Encrypted::new();
        damage_header(&encrypted, damaged);
        check(&encrypted, 1, |state, phase, is_deployed| {
            if phase == WritePhase::FirstHeader || phase == WritePhase::SecondHeader {
                judge_by_programs(&encrypted, state, phase, is_deployed);
            }
        });
    }
}

/// The model finds an order that is wrong: with the copies exchanged, an image whose secondary is damaged is lost.
#[test]
fn a_fixed_order_of_the_copies_loses_an_image_with_a_damaged_one() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let truth = Truth::of(&encrypted);
    damage_header(&encrypted, 1);
    let ready = prepared(&encrypted);
    let mut steps: Vec<_> = ready.steps().to_vec();
    let at = |phase| steps.iter().position(|step| step.phase == phase).unwrap();
    let (first, second) = (at(WritePhase::FirstHeader), at(WritePhase::SecondHeader));
    steps.swap(first, second);
    let disk = Overlay::new(storage(&encrypted.image));
    let mut lost = 0;
    crash::each_state(&disk, &recorded(&encrypted, &steps), |state, _| {
        lost += usize::from(header_of(&part(state, &truth.root)).is_err());
    });
    assert!(lost > 0, "{lost} states");
}

/// The same by the program: what it was stopped at leaves what the model says.
#[test]
fn a_write_that_fails_says_what_to_do() {
    if !ready() || !crate::support::programs(&["strace"]) {
        return;
    }
    let encrypted = Encrypted::new();
    let mut strace = encrypted.workshop.command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e"]);
    strace.arg("inject=pwrite64:error=EIO:when=4+");
    strace
        .arg(encrypted.workshop.program())
        .arg("deploy")
        .args(WITHOUT_PCRS);
    let output = exits(strace.arg("disk.img"), 1);
    let text = stderr(&output);
    assert!(text.contains("error: disk.img: writing "), "{text}");
    assert!(
        text.ends_with(
            "hint: run deploy again when the cause is gone; do not ship the image before\n"
        ),
        "{text}"
    );
    let deployed = encrypted.deployed(&WITHOUT_PCRS);
    assert_eq!(find_key(&deployed.image, &deployed.clear_key), None);
}
