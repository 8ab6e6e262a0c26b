//! A conversion is resumed on the partition where it was begun, and only where that is as the conversion left it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use base::secret::SystemEntropy;
use base::storage::{Fault, FileStorage, Recorder, Slice};
use operations::encrypt::{EncryptedDisk, Options};
use operations::in_place::{self};
use operations::{Control, Error, Observer, Phase, PublishStep, StopFlag};

use crate::disks::{CHUNK_BYTES, NOW, Roomy, TestOnlyEntropy, convert, ready};
use crate::support::container::Container;
use crate::support::header_of;
use crate::support::image::{ROOT, ROOT_GUID, change_partition};
use crate::support::root::debugfs;
use crate::support::workshop::{Workshop, refused, state};
use crate::support::{command, disk, exits, files};

const TAIL_BYTES: u64 = 8 << 20;
const RESTORE: &str = "hint: put back what was there, or restore the disk from a backup: nothing was changed by this run\n";

/// A small disk with an unfinished conversion.
struct Half {
    workshop: Workshop,
    disk: PathBuf,
}

/// Stops when so much is converted.
struct StopAt(u64, AtomicU64, StopFlag);

impl Observer for StopAt {
    fn begin(&self, _: Phase, _: u64) {}
    fn advance(&self, bytes: u64) {
        if self.1.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.0 {
            self.2.raise();
        }
    }
    fn publishing(&self, _: PublishStep) {}
}

impl Half {
    /// After so many chunks.
    fn after_chunks(chunks: u64) -> Self {
        let workshop = Workshop::new();
        let disk = Roomy::tiny().put(&workshop);
        let file = FileStorage::new(files::open_to_write(&disk)).unwrap();
        let options = Options {
            in_place: Some(CHUNK_BYTES),
            ..Options::default()
        };
        let mut entropy = TestOnlyEntropy::new();
        let prepared = EncryptedDisk::new(&file, &options, NOW, &mut entropy).unwrap();
        let stop = StopFlag::new();
        let observer = StopAt(chunks * CHUNK_BYTES, AtomicU64::new(0), stop.clone());
        let control = Control {
            observer: &observer,
            stop: &stop,
        };
        let error = prepared.convert(1, control, &mut entropy);
        let stopped = |error| matches!(error, Error::InPlace(in_place::Error::Stopped { .. }));
        assert!(stopped(error.unwrap_err()));
        Self { workshop, disk }
    }

    /// With a write that failed, counted from 0: MBR, two of the backup table, two of the primary one, a record that is
    /// cleared, two of the tail, the record, the first block, keyslots, header copies.
    fn at_write(number: u64) -> Self {
        let workshop = Workshop::new();
        let disk = Roomy::tiny().put(&workshop);
        let fault = Fault {
            write: Some(number),
            ..Fault::default()
        };
        let file = FileStorage::new(files::open_to_write(&disk)).unwrap();
        convert(Recorder::with_fault(file, fault), CHUNK_BYTES).unwrap_err();
        Self { workshop, disk }
    }

    fn root(&self) -> std::ops::Range<u64> {
        disk::read(&self.disk).byte_range(ROOT)
    }

    fn flip(&self, offset_bytes: u64) {
        files::flip(&self.disk, offset_bytes);
    }

    #[track_caller]
    fn refuses(&self, message: &str) {
        let before = state(&self.disk);
        let mut encrypt = self.workshop.encrypt();
        assert_eq!(refused(encrypt.args(["--resume", "source.img"])), message);
        assert_eq!(state(&self.disk), before);
    }

    #[track_caller]
    fn is_resumed(&self) {
        exits(self.workshop.encrypt().args(["--resume", "source.img"]), 0);
        Roomy::tiny().judge(&self.disk);
    }
}

fn sgdisk(disk: &Path, arguments: &[&str]) {
    exits(command("sgdisk").args(arguments).arg(disk), 0);
}

#[test]
fn where_there_is_nothing_to_resume() {
    if !ready() {
        return;
    }
    let message = "error: source.img: no conversion in place is unfinished in the root partition\n\
                   hint: leave --resume out to begin\n";
    let workshop = Workshop::new();
    let plain = Half {
        disk: Roomy::tiny().put(&workshop),
        workshop,
    };
    plain.refuses(message);
    let half = Half::after_chunks(2);
    half.is_resumed();
    half.refuses(
        "error: source.img: nothing is left to resume: the root partition is encrypted, and not deployed yet\n\
         hint: deploy binds it to a guest\n",
    );
}

#[test]
fn another_partition() {
    if !ready() {
        return;
    }
    let half = Half::after_chunks(2);
    let other = "a1b2c3d4-0001-4000-8000-00000000ffff";
    sgdisk(&half.disk, &["-u", &format!("1:{other}")]);
    half.refuses(&format!(
        "error: source.img: the conversion was begun in partition {ROOT_GUID}, and this is {other}\n\
         hint: resume on the disk on which it was begun; a copy of it needs the same partition table\n"
    ));
    sgdisk(&half.disk, &["-u", &format!("1:{ROOT_GUID}")]);
    half.is_resumed();
}

#[test]
fn a_partition_of_another_length() {
    if !ready() {
        return;
    }
    let half = Half::after_chunks(2);
    let root = half.root();
    let table = files::read(&half.disk, 0, 34 * 512);
    let backup_at = Roomy::tiny().disk_bytes - 33 * 512;
    let backup = files::read(&half.disk, backup_at, 33 * 512);
    let (first, last) = (root.start / 512, root.end / 512 - 9);
    let shorter = format!("1:{first}:{last}");
    let guid = format!("1:{ROOT_GUID}");
    sgdisk(
        &half.disk,
        &[
            "-a", "1", "-d", "1", "-n", &shorter, "-u", &guid, "-t", "1:8300",
        ],
    );
    let bytes = root.end - root.start;
    half.refuses(&format!(
        "error: source.img: the conversion was begun in a partition of {bytes} bytes, and this one has {}\n\
         hint: give the partition its old length again\n",
        bytes - 8 * 512
    ));
    files::write(&half.disk, 0, &table);
    files::write(&half.disk, backup_at, &backup);
    half.is_resumed();
}

#[test]
fn what_is_kept_at_the_end() {
    if !ready() {
        return;
    }
    for half in [Half::after_chunks(1), Half::at_write(9), Half::at_write(11)] {
        let tail = half.root().end - TAIL_BYTES;
        let message = format!(
            "error: source.img: what the conversion keeps at the end of the partition was changed\n{RESTORE}"
        );
        // Index, an extent, the old head.
        for at in [4096, 64 << 10, 5 << 20] {
            half.flip(tail + at);
            half.refuses(&message);
            half.flip(tail + at);
        }
        half.is_resumed();
    }
    // The new head counts until it is written.
    let half = Half::at_write(11);
    let at = half.root().end - (1 << 20);
    half.flip(at);
    half.refuses(&format!(
        "error: source.img: what the conversion keeps at the end of the partition was changed\n{RESTORE}"
    ));
    half.flip(at);
    half.is_resumed();
}

#[test]
fn what_was_converted_last() {
    if !ready() {
        return;
    }
    for chunks in [1, 3, 5] {
        let half = Half::after_chunks(chunks);
        let filesystem = Roomy::tiny().source.geometry.filesystem_bytes();
        let boundary = filesystem.saturating_sub(chunks * CHUNK_BYTES);
        let len = (filesystem - boundary).min(CHUNK_BYTES);
        let len = if boundary == 0 {
            filesystem % CHUNK_BYTES
        } else {
            len
        };
        let start = (16 << 20) + boundary;
        let message = format!(
            "error: source.img: what was converted last was changed: {len} bytes at {start} bytes from the start of \
             the partition\n{RESTORE}"
        );
        for at in [start, start + len - 1] {
            half.flip(half.root().start + at);
            half.refuses(&message);
            half.flip(half.root().start + at);
        }
        half.is_resumed();
    }
}

#[test]
fn the_beginning_of_the_partition() {
    if !ready() {
        return;
    }
    // Before the header is whole, every sector is the old one or the new one.
    let half = Half::at_write(11);
    let root = half.root().start;
    let message = |offset: u64| {
        format!(
            "error: source.img: the partition was changed: the sector at {offset} bytes from its start is neither \
             what the conversion found nor what it writes\n{RESTORE}"
        )
    };
    for at in [0, 4096, 600_000, (2 << 20) - 1] {
        half.flip(root + at);
        half.refuses(&message(at / 512 * 512));
        half.flip(root + at);
    }
    half.is_resumed();

    // Afterwards the header's own checksums and the key tell it.
    let half = Half::after_chunks(2);
    half.flip(root + 5000);
    half.flip(root + (512 << 10) + 5000);
    half.refuses(&message(0));
    half.flip(root + 5000);
    half.flip(root + (1 << 20) + 100);
    half.refuses(&format!(
        "error: source.img: the key in the half-converted container's header does not open it: header or keyslot was \
         changed\n{RESTORE}"
    ));
    half.flip(root + (1 << 20) + 100);
    half.is_resumed(); // with one damaged copy
}

/// Data are converted already: to begin anew would lose them, and is not advised.
#[test]
fn a_primary_header_that_is_lost() {
    if !ready() {
        return;
    }
    let half = Half::after_chunks(2);
    let root = half.root();
    files::write(&half.disk, root.start, &[0; 4096]);
    half.refuses(
        "error: source.img: the root partition is half converted, and its primary LUKS2 header is lost\n\
         hint: cryptsetup luksDump on the partition writes the primary copy again, from the secondary one; then run again \
         with --resume\n",
    );
    let partition = half.workshop.path("partition");
    let table = disk::read(&half.disk);
    crate::support::judge::extract(&half.disk, &table, ROOT, &partition);
    exits(command("cryptsetup").arg("luksDump").arg(&partition), 0);
    let repaired = files::read(&partition, 0, 16 << 20);
    files::write(&half.disk, root.start, &repaired);
    std::fs::remove_file(partition).unwrap();
    half.is_resumed();
}

#[test]
fn a_filesystem_that_was_used_before_it_was_touched() {
    if !ready() {
        return;
    }
    let half = Half::at_write(9);
    let table = disk::read(&half.disk);
    change_partition(&half.disk, &table, ROOT, |root| {
        debugfs(root, "set_super_value volume_name another\n");
    });
    half.refuses(
        "error: source.img: the filesystem was changed after its conversion was prepared; nothing of it is converted\n\
         hint: leave --resume out to begin\n",
    );
    exits(
        half.workshop.encrypt().args(["--in-place", "source.img"]),
        0,
    );
    let container = Container::open(&half.disk, &table, ROOT);
    assert_eq!(container.test_key(0, &container.unlock_key()), 0);
}

#[test]
fn a_mark_that_says_nothing() {
    if !ready() {
        return;
    }
    let half = Half::after_chunks(1);
    let root = half.root();
    let file = FileStorage::new(files::open_to_write(&half.disk)).unwrap();
    let partition = Slice::new(file, root.start, root.end - root.start).unwrap();
    let mut update = header_of(&partition)
        .unwrap()
        .update_knowing("eci-in-place-v1")
        .unwrap();
    update
        .set_token(1, r#"{"type":"eci-in-place","keyslots":[]}"#)
        .unwrap();
    for position in update.order() {
        update
            .write_copy(position, &partition, &mut SystemEntropy::new())
            .unwrap();
    }
    half.refuses(&format!(
        "error: source.img: the LUKS2 header's mark of the conversion in place is damaged\n{RESTORE}"
    ));
}

#[test]
fn others_name_what_is_half_converted() {
    if !ready() {
        return;
    }
    // With a header, and before it is whole.
    for half in [
        Half::after_chunks(2),
        Half::at_write(10),
        Half::at_write(11),
    ] {
        let message = "error: source.img: partition 1 is half converted: encrypt --in-place did not come to its end\n\
                       hint: encrypt-cloud-image encrypt --in-place --resume source.img\n";
        for arguments in [&["--in-place"][..], &["-o", "output.img"], &["--dry-run"]] {
            let mut encrypt = half.workshop.encrypt();
            assert_eq!(refused(encrypt.args(arguments).arg("source.img")), message);
        }
        let srk = crate::support::data("sealed/soft-rsa.pub");
        let mut deploy = half.workshop.command(half.workshop.program());
        deploy.args([
            "deploy",
            "--no-pcr-policy",
            "--standard-srk-template",
            "--srk-pub",
        ]);
        assert_eq!(refused(deploy.arg(srk).arg("source.img")), message);
        let mut inspect = half.workshop.command(half.workshop.program());
        assert_eq!(refused(inspect.args(["inspect", "source.img"])), message);
        half.is_resumed();
    }
}

/// What others see of it: an encrypted volume that they neither open nor change.
#[test]
fn other_programs_leave_it_alone() {
    if !ready() {
        return;
    }
    let half = Half::after_chunks(2);
    let table = disk::read(&half.disk);
    let container = Container::open(&half.disk, &table, ROOT);
    assert!(
        container.dump().contains("eci-in-place-v1"),
        "{}",
        container.dump()
    );
    assert_eq!(container.test_key(0, &container.unlock_key()), 0);
    let key = half.workshop.write("key", &container.unlock_key());
    let mut add = command("cryptsetup");
    add.args(["-q", "luksAddKey", "--key-file"]).arg(&key);
    let output = add.arg(&container.header).arg(&key).output().unwrap();
    assert_ne!(output.status.code(), Some(0));
}
