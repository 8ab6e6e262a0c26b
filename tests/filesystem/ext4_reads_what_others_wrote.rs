//! Files, links, directories and holes as mke2fs laid them out, compared with another reader (ext4-view).

use ext4_view::Ext4;
use filesystem::Error;
use filesystem::ext4::{Filesystem, Kind};

use crate::ext4_image::{image, ready};

#[test]
fn every_file_reads_as_another_reader_reads_it() {
    if !ready() {
        return;
    }
    for arguments in [&["-t", "ext4"][..], &["-t", "ext4", "-b", "1024"]] {
        let image = image(arguments, "32M");
        let storage = image.storage();
        let filesystem = Filesystem::open_read_only(&storage).unwrap();
        let other = Ext4::load(Box::new(std::fs::read(&image.path).unwrap())).unwrap();
        let mut files = 0;
        let mut folders = vec!["/".to_owned()];
        while let Some(folder) = folders.pop() {
            let mut names: Vec<_> = filesystem.list_dir(&folder).unwrap();
            names.sort_by(|a, b| a.name.cmp(&b.name));
            let mut expected: Vec<String> = other
                .read_dir(folder.as_str())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().as_str().unwrap().to_owned())
                .filter(|name| name != "." && name != "..")
                .collect();
            expected.sort();
            let found: Vec<_> = names.iter().map(|entry| entry.name.as_slice()).collect();
            assert_eq!(
                found,
                expected.iter().map(String::as_bytes).collect::<Vec<_>>()
            );
            for name in expected {
                let path = format!("{}/{name}", folder.trim_end_matches('/'));
                let ours = filesystem.symlink_metadata(&path).unwrap().unwrap();
                let theirs = other.symlink_metadata(path.as_str()).unwrap();
                assert_eq!(ours.mode, u32::from(theirs.mode()) & 0o7777, "{path}");
                assert_eq!((ours.uid, ours.gid), (theirs.uid(), theirs.gid()), "{path}");
                assert_eq!(ours.size_bytes, theirs.len(), "{path}");
                match ours.kind {
                    Kind::Directory => folders.push(path),
                    Kind::File => {
                        let bytes = filesystem.read_file(&path, 1 << 20).unwrap();
                        assert!(bytes == other.read(path.as_str()).unwrap(), "{path}");
                        files += 1;
                    }
                    Kind::Symlink => {
                        let target = other.read_link(path.as_str()).unwrap();
                        assert_eq!(filesystem.read_link(&path).unwrap(), target.as_ref());
                    }
                    Kind::Special => panic!("{path}"),
                }
            }
        }
        assert_eq!(files, 6);
    }
}

#[test]
fn inline_files_and_directories_are_read() {
    if !ready() {
        return;
    }
    let image = image(&["-t", "ext4", "-O", "inline_data", "-I", "256"], "32M");
    assert!(
        image.stat("/etc/os-release").contains("Flags: 0x10000000"),
        "not inline"
    );
    let storage = image.storage();
    let filesystem = Filesystem::open_read_only(&storage).unwrap();
    assert_eq!(
        filesystem.read_file("/usr/os-release", 100).unwrap(),
        b"ID=test\n"
    );
    assert_eq!(
        filesystem.read_link("/home/a/long-link").unwrap(),
        [b'x'; 100]
    );
    assert!(filesystem.exists("/etc/cloud/cloud.cfg.d").unwrap());
    assert!(!filesystem.exists("/etc/cloud/none").unwrap());
}

#[test]
fn devices_are_not_read_as_files() {
    if !ready() {
        return;
    }
    let image = image(&["-t", "ext4"], "16M");
    image.debugfs(&["cd /home", "mknod null c 1 3", "mknod pipe p"]);
    let storage = image.storage();
    let filesystem = Filesystem::open_read_only(&storage).unwrap();
    let found = filesystem.metadata("/home/null").unwrap().unwrap();
    assert_eq!(found.kind, Kind::Special);
    for path in ["/home/null", "/home/pipe"] {
        let Err(Error::NotAFile { path: named }) = filesystem.read_file(path, 10) else {
            panic!("{path} was read");
        };
        assert_eq!(named, path);
    }
    assert_eq!(
        filesystem
            .read_file("/home/pipe", 10)
            .unwrap_err()
            .to_string(),
        "/home/pipe is not a regular file"
    );
}

#[test]
fn label_uuid_and_sizes_are_those_that_were_given() {
    if !ready() {
        return;
    }
    let image = image(&["-t", "ext4", "-b", "1024"], "16M");
    let storage = image.storage();
    let filesystem = Filesystem::open_read_only(&storage).unwrap();
    let superblock = filesystem.superblock();
    assert_eq!(superblock.label(), b"cloudimg-rootfs");
    assert_eq!(superblock.uuid()[..4], [0x01, 0x23, 0x45, 0x67]);
    assert_eq!(
        (superblock.block_bytes(), superblock.first_data_block()),
        (1024, 1)
    );
    assert_eq!(superblock.len_bytes(), 16 << 20);
    filesystem.close().unwrap();
}
