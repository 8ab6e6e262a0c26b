//! Until everything else is durable, a device that is written has no partition table: neither its old one nor the new one.

use base::secret::SystemEntropy;
use base::storage::{Fault, MemoryStorage, Overlay, ReadAt, Recorded, Recorder, WriteAt};
use gpt::Table;
use operations::encrypt::{EncryptedDisk, Options};
use operations::{Error, Observer, Phase, PublishStep, StopFlag};

use crate::a_device_is_a_source::extended;
use crate::ready;
use crate::support::crash;
use crate::support::image::{Shape, image};

struct Silent;

impl Observer for Silent {
    fn begin(&self, _: Phase, _: u64) {}
    fn advance(&self, _: u64) {}
    fn publishing(&self, _: PublishStep) {}
}

/// What stood on the device: another disk with a partition table, whose end is that of the device.
fn old_device() -> Vec<u8> {
    let len = usize::try_from(extended(Shape::Tiny).disk_bytes).unwrap();
    let mut bytes = std::fs::read(&image(Shape::Tiny).raw).unwrap();
    let backup = bytes[bytes.len() - 33 * 512..].to_vec();
    bytes.resize(len - backup.len(), 0xaa);
    bytes.extend(backup);
    bytes
}

fn write(device: &dyn WriteAt) -> Result<(), Error> {
    let source = std::fs::read(&image(Shape::Tiny).raw).unwrap();
    let options = Options {
        device_bytes: Some(device.len_bytes()),
        ..Options::default()
    };
    let mut entropy = SystemEntropy::new();
    let source = MemoryStorage::new(source);
    let prepared = EncryptedDisk::new(source, &options, 1_700_000_000, &mut entropy)?;
    prepared.write_to_device(device, 1, &Silent, &StopFlag::new())
}

#[test]
fn whatever_a_crash_leaves_of_its_writes() {
    if !ready() {
        return;
    }
    let recorder = Recorder::new(MemoryStorage::new(old_device()));
    write(&recorder).unwrap();
    let log = recorder.log();
    let last = log.iter().filter(|call| **call == Recorded::Flush).count() - 1;
    let disk = Overlay::new(MemoryStorage::new(old_device()));
    let (mut without, mut with) = (0, 0);
    let mut whole: Option<Vec<u8>> = None;
    let behind_the_table = 34 * 512;
    crash::each_state(&disk, &log, |state, place| {
        if place.flushes == 0 && !place.is_whole() {
            return; // what stood there is not gone yet
        }
        if Table::read(state).is_err() {
            without += 1;
            return;
        }
        // The data were durable before.
        assert!(place.flushes + 3 >= last, "{place:?}");
        let len = usize::try_from(state.len_bytes()).unwrap() - 2 * behind_the_table;
        let data = state.read_vec(behind_the_table as u64, len).unwrap();
        let whole = whole.get_or_insert_with(|| data.clone());
        assert!(*whole == data, "{place:?}");
        with += 1;
    });
    assert!(without > 400 && with > 2, "{without} {with}");
}

#[test]
fn whichever_write_fails() {
    if !ready() {
        return;
    }
    let recorder = Recorder::new(MemoryStorage::new(old_device()));
    write(&recorder).unwrap();
    let is_write = |call: &&Recorded| matches!(call, Recorded::Write { .. });
    let writes = recorder.log().iter().filter(is_write).count() as u64;
    // The table's own writes, too: it is taken away again.
    for number in 2..writes {
        let fault = Fault {
            write: Some(number),
            ..Fault::default()
        };
        let device = Recorder::with_fault(MemoryStorage::new(old_device()), fault);
        let error = write(&device).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot write at offset "),
            "{error}"
        );
        assert!(
            Table::read(&device.into_inner()).is_err(),
            "write {number} of {writes}"
        );
    }
}
