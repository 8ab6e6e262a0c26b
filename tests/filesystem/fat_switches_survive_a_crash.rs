//! Files that are switched in the order of [`phases`] are old or new after a crash at any point, and no other file
//! changes.

use std::collections::BTreeMap;

use base::storage::{Overlay, ReadAt, Recorded};
use filesystem::fat::{Fat, Phases, phases};
use filesystem::{Error, Result};

use crate::fat_image::{Image, KINDS, NOW, image, pattern, ready};
use crate::support::crash::{self, Place};

const KEY: &str = "device/fde/cloudimg-rootfs.sealed-key";
const TEMPLATE: &str = "tpm2-srk.tmpl";

/// Every file by its path, as our reader sees them; the directories are listed whole.
fn files(storage: &dyn ReadAt) -> BTreeMap<String, Vec<u8>> {
    let fat = Fat::open_read_only(storage).unwrap();
    let mut files = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fat.list_dir(&folder).unwrap() {
            let path = format!("{folder}/{}", entry.name);
            if entry.is_directory {
                folders.push(path);
            } else {
                let bytes = fat.read_file(&path, 1 << 20).unwrap();
                files.insert(path.trim_start_matches('/').to_owned(), bytes);
            }
        }
    }
    files
}

fn switched(image: &Image, edit: impl FnOnce(&Fat<'_>) -> Result<()>) -> Result<Phases> {
    let old = image.storage();
    let new = Overlay::new(image.storage());
    let fat = Fat::open(&new, NOW)?;
    edit(&fat)?;
    fat.finish()?;
    phases(fat.geometry(), &old, &new, &new.changed_ranges())
}

/// The writes of the phases, with a flush behind each.
fn log(phases: Phases) -> Vec<Recorded> {
    let mut log = Vec::new();
    for step in phases.into_steps() {
        log.extend(step.into_iter().map(|write| Recorded::Write {
            offset_bytes: write.offset_bytes,
            bytes: write.bytes,
        }));
        log.push(Recorded::Flush);
    }
    log
}

/// In which phase a crash happened.
const DIRECTORIES: usize = 3;

/// Makes an edit, and checks every state that a crash can leave. `key` and `template` are what the files shall hold.
fn check(
    image: &Image,
    edit: impl FnOnce(&Fat<'_>) -> Result<()>,
    after: &[(&str, Option<&[u8]>)],
) {
    let before = image.files();
    let mut expected = before.clone();
    for (path, bytes) in after {
        match bytes {
            Some(bytes) => expected.insert((*path).to_owned(), bytes.to_vec()),
            None => expected.remove(*path),
        };
    }
    let log = log(switched(image, edit).unwrap());
    let disk = Overlay::new(image.storage());
    let mut seen = 0;
    crash::each_state(&disk, &log, |state, place| {
        seen += 1;
        let found = files(state);
        match place.flushes {
            ..DIRECTORIES => assert!(found == before, "{place:?}"),
            DIRECTORIES => assert_between(&found, &before, &expected, place),
            _ => assert!(found == expected, "{place:?}"),
        }
    });
    assert!(seen > 20, "{seen} states");
    // Other programs say the same of what it is in the end.
    let done = image.edited(|_| Ok(())).patched(&disk);
    done.assert_clean();
    assert!(done.files() == expected);
}

/// Each file is what it was or what it shall be. One that is new may have a short name only.
fn assert_between(
    found: &BTreeMap<String, Vec<u8>>,
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
    place: Place,
) {
    for (path, bytes) in before {
        let is_old = found.get(path) == Some(bytes);
        let is_new = found.get(path) == after.get(path);
        // A long name that is taken away before the short one leaves the file under the latter.
        assert!(is_old || is_new, "{path}, {place:?}");
    }
    for (path, bytes) in found {
        let is_known = [before, after]
            .iter()
            .any(|files| files.get(path) == Some(bytes));
        let is_short = path.contains('~')
            && after
                .values()
                .chain(before.values())
                .any(|known| known == bytes);
        assert!(is_known || is_short, "{path}, {place:?}");
    }
}

fn put(fat: &Fat<'_>, key: &[u8], template: Option<&[u8]>) -> Result<()> {
    fat.create_dir_all("/device/fde")?;
    fat.switch_file(KEY, key)?;
    match template {
        Some(template) => fat.switch_file(TEMPLATE, template),
        None => fat.remove_file(TEMPLATE),
    }
}

/// An image that was deployed before, with other files in the same directory.
fn deployed(arguments: &[&str], len_bytes: u64) -> Image {
    let image = image(arguments, len_bytes);
    image.mtools("mmd", &["::/device", "::/device/fde"]);
    image.add("device/fde/another", b"not ours");
    image.add(KEY, &pattern(3000, 17));
    image.add(TEMPLATE, &pattern(300, 19));
    image
}

#[test]
fn new_files_are_there_whole_or_not_at_all() {
    if !ready() {
        return;
    }
    for (arguments, len_bytes) in KINDS {
        let (key, template) = (pattern(5000, 11), pattern(314, 13));
        check(
            &image(arguments, len_bytes),
            |fat| put(fat, &key, Some(&template)),
            &[(KEY, Some(&key)), (TEMPLATE, Some(&template))],
        );
    }
}

#[test]
fn replaced_files_are_the_old_or_the_new_ones() {
    if !ready() {
        return;
    }
    for (arguments, len_bytes) in KINDS {
        let (key, template) = (pattern(1234, 11), pattern(9000, 13));
        check(
            &deployed(arguments, len_bytes),
            |fat| put(fat, &key, Some(&template)),
            &[(KEY, Some(&key)), (TEMPLATE, Some(&template))],
        );
        check(
            &deployed(arguments, len_bytes),
            |fat| put(fat, &key, None),
            &[(KEY, Some(&key)), (TEMPLATE, None)],
        );
    }
}

#[test]
fn a_full_directory_becomes_longer() {
    if !ready() {
        return;
    }
    for (arguments, len_bytes) in KINDS {
        let image = image(arguments, len_bytes);
        image.mtools("mmd", &["::/device", "::/device/fde"]);
        let bytes_per_cluster = Fat::open_read_only(&image.storage())
            .unwrap()
            .geometry()
            .cluster_bytes();
        // `.`, `..` and files fill a cluster but for one entry.
        for number in 0..bytes_per_cluster / 32 - 3 {
            image.add(&format!("device/fde/F{number}"), b"");
        }
        let key = pattern(700, 11);
        check(
            &image,
            |fat| fat.switch_file(KEY, &key),
            &[(KEY, Some(&key))],
        );
    }
}

#[test]
fn a_directory_whose_link_lies_in_two_sectors_is_refused() {
    if !ready() {
        return;
    }
    let (arguments, len_bytes) = KINDS[0];
    let image = image(arguments, len_bytes);
    image.mtools("mmd", &["::/device"]);
    // The entry of cluster 341 has bits in the bytes 511 and 512 of the table.
    let taken = image.first_cluster_of("device");
    let cluster_bytes = 2048;
    let filler = usize::try_from((341 - taken - 1) * cluster_bytes).unwrap();
    image.add("filler", &pattern(filler, 3));
    image.mtools("mmd", &["::/device/fde"]);
    assert_eq!(image.first_cluster_of("device/fde"), 341);
    for number in 0..cluster_bytes / 32 - 3 {
        image.add(&format!("device/fde/F{number}"), b"");
    }
    let error = switched(&image, |fat| fat.switch_file(KEY, b"key")).unwrap_err();
    assert!(matches!(error, Error::FatLink { cluster: 341 }));
    assert_eq!(
        error.to_string(),
        "the directory whose last cluster is 341 is full, and the FAT filesystem cannot make it longer in one write"
    );
}

#[test]
fn clusters_of_a_replaced_file_are_not_taken_for_others() {
    if !ready() {
        return;
    }
    let (arguments, len_bytes) = KINDS[1];
    let image = deployed(arguments, len_bytes);
    let overlay = Overlay::new(image.storage());
    let fat = Fat::open(&overlay, NOW).unwrap();
    let free_bytes = fat.free_bytes().unwrap();
    // Room that only the replaced file could give does not count.
    let error = fat.switch_file(KEY, &vec![1; usize::try_from(free_bytes).unwrap() + 1]);
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "no room in the FAT filesystem for /{KEY}: {} bytes are needed, {free_bytes} are free for it",
            free_bytes + fat.geometry().cluster_bytes()
        )
    );
    assert_eq!(overlay.changed_bytes(), 0);
    fat.switch_file(KEY, b"new").unwrap();
    fat.remove_file(TEMPLATE).unwrap();
    let cluster_bytes = fat.geometry().cluster_bytes();
    assert_eq!(fat.free_bytes().unwrap(), free_bytes - cluster_bytes);
    fat.finish().unwrap();
    let freed = 3000_u64.div_ceil(cluster_bytes) + 1 - 1;
    assert_eq!(
        fat.free_bytes().unwrap(),
        free_bytes + freed * cluster_bytes
    );
    let message = |result: Result<()>| result.unwrap_err().to_string();
    assert_eq!(message(fat.remove_file("/EFI")), "/EFI is a directory");
    assert_eq!(message(fat.remove_file("/none")), "/none is not there");
    assert_eq!(
        message(fat.switch_file("/EFI", b"x")),
        "/EFI is a directory"
    );
}
