//! `provision` onto a device: what it would make in a file, and no key in clear on its medium at any time.

use std::path::Path;

use crate::encrypted::{self, FLAGS, ROOT, WITHOUT_PCRS, disguises, find_key};
use crate::loops::{Loop, can_loop};
use crate::plain::{Made, Plain};
use crate::support::container::HEADER_BYTES;
use crate::support::trace::{Trace, WHOLE_BUFFERS};
use crate::support::workshop::{refused, state, stderr, stdout};
use crate::support::{command, disk, exits, files, programs, run};

/// The folder of a plain image, and a device with room for it on which something stands.
fn used_device() -> Option<(Plain, Loop)> {
    let plain = Plain::new();
    let len_bytes = files::open(&plain.path("plain.img")).1 + HEADER_BYTES;
    let device = Loop::filled(&plain.path("device"), len_bytes, 0xaa)?;
    Some((plain, device))
}

fn sha256(file: &Path) -> String {
    run(command("sha256sum").arg(file))[..64].to_owned()
}

#[test]
fn as_one_in_a_file_is() {
    if !encrypted::ready() || !can_loop() {
        return;
    }
    let Some((plain, device)) = used_device() else {
        return;
    };
    // Without a growpart key nothing in the filesystem is random.
    let flags = [&FLAGS[..], &["--grow-root"]].concat();
    let in_a_file = plain.provisioned(&flags);
    let onto = ["--overwrite", "--report", "report.json", "-o"];
    let onto = [&onto[..], &[device.name(), "plain.img"]].concat();
    let output = exits(&mut plain.provision(&[flags, onto].concat()), 0);
    assert!(stderr(&output).contains("provisioned in"));
    device.settle();

    let made = Made::of(device.file.clone());
    let composites = plain.composites("device", &FLAGS[2..]);
    let key = made.unsealed(&composites);
    assert_eq!(made.container.test_key(0, &key), 0);
    made.esp.assert_clean();
    let key_of_file = in_a_file.unsealed(&composites);
    assert_ne!(key, key_of_file);
    // The root reaches farther on the device: up to its backup table.
    let (there, here) = (made.decrypted(&key), in_a_file.decrypted(&key_of_file));
    assert!(there[..here.len()] == here[..]);
    assert!(files::is_zero(&there[here.len()..]));
    // All that lies before the root, but for what is sealed.
    let names = |made: &Made| made.esp.files().into_keys().collect::<Vec<_>>();
    assert_eq!(names(&made), names(&in_a_file));
    let table = disk::read(&made.path);
    let esp = table.byte_range(encrypted::ESP);
    let root = table.byte_range(ROOT);
    let behind_the_table = 34 * 512;
    for range in [behind_the_table..esp.start, esp.end..root.start] {
        let len = usize::try_from(range.end - range.start).unwrap();
        let read = |path| files::read(path, range.start, len);
        assert!(read(&made.path) == read(&in_a_file.path), "{range:?}");
    }

    let report = std::fs::read_to_string(plain.path("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let digest = |image: &str| report[image]["sha256"].as_str().unwrap().to_owned();
    assert_eq!(digest("input"), sha256(&plain.path("plain.img")));
    assert_eq!(digest("output"), sha256(&device.file));
    assert_eq!(report["output"]["path"], device.name());
}

#[test]
fn and_no_write_holds_its_key() {
    if !encrypted::ready() || !can_loop() || !programs(&["strace"]) {
        return;
    }
    let Some((plain, device)) = used_device() else {
        return;
    };
    let program = plain.workshop().program();
    let recovery = ["--recovery-key-out", "new.key"];
    let onto = ["--overwrite", "-o", device.name(), "plain.img"];
    let arguments = [&["provision"], &FLAGS[..], &recovery, &onto].concat();
    let (trace, output) = Trace::of(plain.workshop(), &WHOLE_BUFFERS, &program, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    device.settle();
    let made = Made::of(device.file.clone());
    let key = made.unsealed(&plain.composites("device", &FLAGS[2..]));
    let volume_key = made.container.volume_key_by(&key);
    for secret in [&key, &volume_key] {
        for text in disguises(secret) {
            assert!(!trace.wrote_bytes(&text));
        }
        assert_eq!(find_key(&device.file, secret), None);
    }
    assert!(trace.wrote_bytes(b"cloudimg-rootfs-enc"), "the header");
    assert_eq!(trace.kernel_copies(), [""; 0]);
    let recovery = std::fs::read(plain.path("new.key")).unwrap();
    assert_eq!(made.container.test_key(1, &recovery), 0);
}

#[test]
fn or_a_failed_run_leaves_neither_a_table_nor_a_recovery_key() {
    if !encrypted::ready() || !can_loop() || !programs(&["strace"]) {
        return;
    }
    let Some((plain, device)) = used_device() else {
        return;
    };
    let names = plain.workshop().names();
    let onto = ["--overwrite", "-o", device.name(), "plain.img"];
    let recovery = ["--threads=1", "--recovery-key-out", "new.key"];
    let mut strace = plain.workshop().command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e"]);
    strace.arg("inject=pwrite64:error=EIO:when=6");
    strace.arg(plain.workshop().program()).arg("provision");
    strace.args(WITHOUT_PCRS).args(recovery).args(onto);
    let talk = refused(&mut strace);
    let start = format!("error: {}: cannot write at offset ", device.name());
    assert!(talk.starts_with(&start), "{talk}");
    let hint = "hint: nobody takes what is on the device for a disk; run again with --overwrite\n";
    assert!(talk.ends_with(hint), "{talk}");
    assert!(files::is_zero(&files::read(&device.device, 0, 34 * 512)));
    assert_eq!(plain.workshop().names(), names);
}

/// Every flush of a run, in its order: the key's file, the blanked ends, the data, the directory of the key, LBA 0, both copies
/// of the table, what it leaves free.
#[test]
fn whichever_flush_fails() {
    if !encrypted::ready() || !can_loop() || !programs(&["strace"]) {
        return;
    }
    let Some((plain, device)) = used_device() else {
        return;
    };
    let names = plain.workshop().names();
    let onto = ["--overwrite", "-o", device.name(), "plain.img"];
    let provision = |fault: &str| {
        let mut strace = plain.workshop().command("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e"]);
        strace.arg(format!("inject=fsync:{fault}"));
        strace.arg(plain.workshop().program()).arg("provision");
        strace.args(WITHOUT_PCRS).arg("--recovery-key-out=new.key");
        strace.args(onto);
        strace
    };
    for number in [1, 4, 5, 7, 8] {
        let talk = refused(&mut provision(&format!("error=EIO:when={number}")));
        assert_eq!(plain.workshop().names(), names, "{number}: {talk}");
        let is_blank = files::is_zero(&files::read(&device.device, 0, 34 * 512));
        assert_eq!(is_blank, number > 1, "{number}: {talk}");
        let of_the_key = "error: --recovery-key-out: cannot write new.key\n  because: Input/output error (os error 5)\n";
        let of_the_device = format!("error: {}: cannot flush what was written\n", device.name());
        let is_told = match number {
            1 | 4 => talk == of_the_key,
            _ => talk.starts_with(&of_the_device),
        };
        assert!(is_told, "{number}: {talk}");
    }
    // From the table on: it cannot be taken away again, so nobody knows what the medium holds.
    let talk = refused(&mut provision("error=EIO:when=6+"));
    let said = format!(
        "error: {}: new.key stays: a keyslot of the image may have its key\n  \
         because: the device may have its partition table, or a part of it: its writes fail\n  \
         because: cannot flush what was written\n  \
         because: Input/output error (os error 5)\n\
         hint: do not use what is on the device; write it again with --overwrite, or another one\n",
        device.name()
    );
    assert_eq!(talk, said);
    assert!(plain.path("new.key").exists());
    std::fs::remove_file(plain.path("new.key")).unwrap();
    exits(&mut provision("error=EIO:when=99"), 0);
}

#[test]
fn and_what_does_not_go_is_refused() {
    if !encrypted::ready() || !can_loop() {
        return;
    }
    let Some((plain, device)) = used_device() else {
        return;
    };
    let before = state(&device.file);
    let onto = ["-o", device.name(), "plain.img"];
    let refusal = |more: &[&str]| {
        let arguments = [&WITHOUT_PCRS[..], more, &onto[..]].concat();
        refused(&mut plain.provision(&arguments))
    };
    let device_is = |what: &str| format!("error: {}: the {what}\n", device.name());
    assert_eq!(
        refusal(&[]),
        device_is("device is not blank")
            + "hint: --overwrite writes over what stands there, which is lost with the first write\n"
    );
    let no_holes = refusal(&["--overwrite", "--free-space", "skip"]);
    assert!(no_holes.starts_with("error: --free-space skip leaves holes, and a device"));
    let dry = [&WITHOUT_PCRS[..], &["--dry-run", "--overwrite"], &onto].concat();
    let told = stdout(&exits(&mut plain.provision(&dry), 0));
    assert!(told.contains(device.name()), "{told}");

    // The ways that make files alone.
    let line = format!(
        "{{\"output\": \"{}\", \"srk_pub\": \"srk.pub\"}}",
        device.name()
    );
    plain.workshop().write("guests.jsonl", line.as_bytes());
    let guests = [
        "--no-pcr-policy",
        "--overwrite",
        "--guests",
        "guests.jsonl",
        "plain.img",
    ];
    let is_replaced = device_is("output is a block device, which is not replaced");
    assert_eq!(
        refused(&mut plain.provision(&guests)),
        is_replaced.replace("error: ", "error: line 1: ")
            + "hint: --guests makes files; a device is made for one guest: --output\n\
               encrypting\n\
               error: guests.jsonl: 1 of 1 guests failed\n"
    );
    let copy = ["--overwrite", "-o", device.name(), "disk.img"];
    assert_eq!(
        refused(&mut plain.encrypted.deploy(&[&WITHOUT_PCRS[..], &copy].concat())),
        is_replaced
            + "hint: deploy writes a copy into a file; copy the encrypted image onto the device, and deploy the device\n"
    );
    assert_eq!(state(&device.file), before);
}
