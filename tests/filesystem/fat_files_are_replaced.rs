//! A file on the ESP gets other bytes; names, neighbours and the table stay sound. Judged by fsck.vfat and mtools.

use std::thread;

use base::storage::{Fault, Overlay, Recorder};
use filesystem::Error;
use filesystem::fat::{Fat, FatType};

use crate::fat_image::{KINDS, NOW, image, pattern, ready};
use crate::faults::every_fault_is_an_error;

#[test]
fn a_replaced_file_has_the_new_bytes_and_no_other_file_changes() {
    if !ready() {
        return;
    }
    for (arguments, len_bytes) in KINDS {
        let image = image(arguments, len_bytes);
        image.assert_clean();
        for len in [0, 1, 100_000, 99_999, 200_000] {
            let bytes = pattern(len, 11);
            let edited = image.edited(|fat| fat.replace_file("/efi/UBUNTU/grubx64.EFI", &bytes));
            edited.assert_clean();
            let mut expected = image.files();
            // The entry keeps its name, and its case.
            expected.insert("EFI/ubuntu/GrubX64.efi".to_owned(), bytes);
            assert!(edited.files() == expected, "{arguments:?}, {len} bytes");
        }
    }
}

#[test]
fn new_files_and_directories_get_the_names_that_they_are_given() {
    if !ready() {
        return;
    }
    for (arguments, len_bytes) in KINDS {
        let image = image(arguments, len_bytes);
        let edited = image.edited(|fat| {
            fat.create_dir_all("/EFI/fedora/a longer name")?;
            fat.replace_file(
                "EFI/fedora/a longer name/cloudimg-rootfs.sealed-key",
                b"sealed",
            )?;
            for i in 0..70 {
                fat.replace_file(&format!("/EFI/fedora/entry number {i}.conf"), b"title x\n")?;
            }
            fat.replace_file("/EFI/fedora/grubx64.efi", &pattern(5000, 13))
        });
        edited.assert_clean();
        let mut files = image.files();
        let path = "EFI/fedora/a longer name/cloudimg-rootfs.sealed-key";
        files.insert(path.to_owned(), b"sealed".to_vec());
        for i in 0..70 {
            files.insert(
                format!("EFI/fedora/entry number {i}.conf"),
                b"title x\n".to_vec(),
            );
        }
        files.insert("EFI/fedora/grubx64.efi".to_owned(), pattern(5000, 13));
        assert!(edited.files() == files, "{arguments:?}");
    }
}

#[test]
fn what_is_free_is_counted_in_the_table_with_what_is_replaced() {
    if !ready() {
        return;
    }
    for (arguments, len_bytes) in KINDS {
        let image = image(arguments, len_bytes);
        let listing = image.mtools("mdir", &["::"]);
        let free = listing
            .lines()
            .rev()
            .find(|line| line.contains("bytes free"))
            .unwrap();
        let digits: String = free.chars().filter(char::is_ascii_digit).collect();
        let overlay = Overlay::new(image.storage());
        let fat = Fat::open(&overlay, NOW).unwrap();
        let free_bytes = fat.free_bytes().unwrap();
        assert_eq!(free_bytes.to_string(), digits, "{arguments:?}");

        let cluster_bytes = fat.geometry().cluster_bytes();
        let freed = 100_000_u64.div_ceil(cluster_bytes) * cluster_bytes;
        let fits = usize::try_from(free_bytes + freed).unwrap();
        let error = fat
            .replace_file("/EFI/ubuntu/grubx64.efi", &vec![1; fits + 1])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "no room in the FAT filesystem for /EFI/ubuntu/grubx64.efi: {} bytes are needed, {fits} are free for it",
                fits as u64 + cluster_bytes
            )
        );
        assert_eq!(overlay.changed_bytes(), 0, "written before it was refused");
        if len_bytes <= 2 << 20 {
            let edited =
                image.edited(|fat| fat.replace_file("/EFI/ubuntu/grubx64.efi", &vec![1; fits]));
            edited.assert_clean();
            assert_eq!(edited.cat("EFI/ubuntu/grubx64.efi").len(), fits);
        }
    }
}

#[test]
fn label_width_and_contents_are_read() {
    if !ready() {
        return;
    }
    let widths = [
        FatType::Fat12,
        FatType::Fat16,
        FatType::Fat32,
        FatType::Fat12,
    ];
    for ((arguments, len_bytes), width) in KINDS.into_iter().zip(widths) {
        let image = image(arguments, len_bytes);
        let storage = image.storage();
        let fat = Fat::open_read_only(&storage).unwrap();
        assert_eq!(fat.fat_type(), width);
        assert_eq!(fat.geometry().len_bytes(), len_bytes);
        assert_eq!(fat.label().unwrap().as_deref(), Some("UEFI"));
        assert!(!fat.is_dirty().unwrap());
        let names: Vec<_> = fat
            .list_dir("EFI/Ubuntu")
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(
            names,
            ["shimx64.efi", "GrubX64.efi", "a file with a long name.cfg"]
        );
        let found = fat
            .find("/efi/ubuntu/A FILE with a long name.cfg")
            .unwrap()
            .unwrap();
        assert_eq!((found.is_directory, found.size_bytes), (false, 11));
        assert!(fat.find("/EFI").unwrap().unwrap().is_directory);
        assert!(fat.find("/EFI/none/x").unwrap().is_none());
        assert!(fat.read_file("EFI/BOOT/bootx64.efi", 30_000).unwrap() == pattern(30_000, 3));
    }
}

#[test]
fn the_same_edits_at_the_same_time_give_the_same_bytes_and_that_time() {
    if !ready() {
        return;
    }
    let image = image(KINDS[1].0, KINDS[1].1);
    let edit = || {
        image.edited(|fat| {
            fat.create_dir("/new")?;
            fat.replace_file("/new/file", b"x")?;
            fat.replace_file("/EFI/ubuntu/grubx64.efi", b"x")
        })
    };
    let (one, two) = (
        edit(),
        thread::scope(|scope| scope.spawn(edit).join().unwrap()),
    );
    assert!(std::fs::read(&one.path).unwrap() == std::fs::read(&two.path).unwrap());
    for directory in ["::/new", "::/EFI/ubuntu"] {
        let listing = one.mtools("mdir", &[directory]);
        assert!(listing.contains("2024-01-02   3:04"), "{listing}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    if !ready() {
        return;
    }
    let image = image(KINDS[1].0, KINDS[1].1);
    let overlay = Overlay::new(image.storage());
    let fat = Fat::open(&overlay, NOW).unwrap();
    let message = |result: Result<(), Error>| result.unwrap_err().to_string();
    assert_eq!(
        message(fat.replace_file("/EFI/ubuntu", b"")),
        "/EFI/ubuntu is a directory"
    );
    assert_eq!(
        message(fat.replace_file("/none/x", b"")),
        "/none is not there"
    );
    assert_eq!(
        message(fat.replace_file("/EFI/BOOT/BOOTX64.EFI/x", b"")),
        "/EFI/BOOT/BOOTX64.EFI is not a directory"
    );
    assert_eq!(message(fat.create_dir("/efi")), "/efi is there already");
    assert_eq!(
        message(fat.create_dir_all("/EFI/BOOT/BOOTX64.EFI/x")),
        "/EFI/BOOT/BOOTX64.EFI is not a directory"
    );
    assert_eq!(
        message(fat.replace_file("/EFI/..", b"")),
        "/EFI/.. cannot name a file: a name is 1 to 255 bytes without NUL, and neither . nor .."
    );
    let read = |path, limit| fat.read_file(path, limit).unwrap_err().to_string();
    assert_eq!(read("/EFI", 10), "/EFI is a directory");
    assert_eq!(
        read("/EFI/ubuntu/../x", 10),
        "/EFI/ubuntu/../x is not there"
    );
    assert_eq!(
        read("/EFI/ubuntu/grubx64.efi", 99_999),
        "/EFI/ubuntu/grubx64.efi has 100000 bytes, more than the 99999 that are read of it"
    );
    assert_eq!(overlay.changed_bytes(), 0);
    // The library refuses after we let it begin: no other edit follows.
    let error = fat.replace_file("/a?b", b"").unwrap_err().to_string();
    assert!(
        error.starts_with("the FAT filesystem cannot be used: "),
        "{error}"
    );
    assert!(error.ends_with(" (writing /a?b)"), "{error}");
    assert_eq!(
        message(fat.replace_file("/x", b"")),
        "an edit of the filesystem failed before, its storage must be thrown away"
    );
}

#[test]
fn what_is_no_fat_and_what_is_damaged_is_named() {
    if !ready() {
        return;
    }
    let (arguments, len_bytes) = KINDS[1];
    let refusal = |offset: u64, bytes: &[u8]| {
        let image = image(arguments, len_bytes);
        image.patch(offset, bytes);
        Fat::open_read_only(&image.storage())
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refusal(0x1fe, &[0, 0]),
        "no FAT filesystem: the boot sector ends with 0x0000, not with 0xaa55"
    );
    assert_eq!(
        refusal(0x0b, &[0, 0]),
        "the FAT boot sector's bytes a sector (offset 0xb) is 0, allowed is 512, 1024, 2048 or 4096"
    );
    assert_eq!(
        refusal(0x13, &[0xff, 0xff]),
        "the FAT filesystem has 33553920 bytes and is larger than its partition of 16777216 bytes"
    );
    // The file's chain is closed to a circle: its cluster 2 leads to itself.
    let image = image(arguments, len_bytes);
    let table = u64::from(image_u16(&image, 0x0e)) * 512;
    let first = 2; // the directory EFI
    image.patch(table + first * 2, &[2, 0]);
    let overlay = Overlay::new(image.storage());
    let fat = Fat::open(&overlay, NOW).unwrap();
    assert_eq!(
        fat.geometry()
            .chain(&image.storage(), first)
            .unwrap_err()
            .to_string(),
        "the FAT filesystem is damaged: the chain that begins with cluster 2 leads in a circle or out of the filesystem"
    );
}

fn image_u16(image: &crate::fat_image::Image, offset: u64) -> u16 {
    use base::storage::ReadAt;
    let bytes = image.storage().read_vec(offset, 2).unwrap();
    u16::from_le_bytes(bytes.try_into().unwrap())
}

#[test]
fn every_failing_read_and_write_below_is_an_error_above() {
    if !ready() {
        return;
    }
    let image = image(KINDS[0].0, KINDS[0].1);
    let edit = |fault: Fault| {
        let recorder = Recorder::with_fault(Overlay::new(image.storage()), fault);
        let fat = Fat::open(&recorder, NOW)?;
        fat.create_dir("/EFI/new")?;
        fat.replace_file("/EFI/new/x", &pattern(5000, 3))?;
        fat.replace_file("/EFI/ubuntu/grubx64.efi", b"x")
    };
    every_fault_is_an_error(&edit);
}
