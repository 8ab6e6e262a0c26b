//! The partition table, judged by sgdisk, sfdisk and fdisk on tables that they made.

#![allow(missing_docs, clippy::unwrap_used, clippy::missing_panics_doc)]

#[path = "../support/mod.rs"]
mod support;

mod a_damaged_copy_is_replaced;
mod a_disk_grows_and_shrinks;
mod any_table_is_read_or_refused;
mod bad_tables_are_refused;
mod bytes_are_kept;
mod four_kib_sectors;
mod the_end_of_the_disk_is_found;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use base::storage::MemoryStorage;
use gpt::{Table, Warning};
use tempfile::TempDir;

pub const MIB: usize = 1 << 20;

/// A disk in a file, for programs to make and to judge, and in memory, for us to read and change.
pub struct Disk {
    folder: TempDir,
    pub bytes: Vec<u8>,
}

impl Disk {
    pub fn empty(len_bytes: usize) -> Self {
        let folder = support::scratch();
        Self {
            folder,
            bytes: vec![0; len_bytes],
        }
    }

    /// 16 MiB by sgdisk, with names, attributes and a gap: 14 BIOS boot, 15 ESP, 1 root up to the end.
    ///
    /// Made once for all tests: sgdisk sleeps for a second whenever it has written.
    pub fn by_sgdisk() -> Self {
        static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
        let bytes = BYTES.get_or_init(|| {
            let mut disk = Self::empty(16 * MIB);
            disk.sgdisk(&[
                "--new=14:2048:4095",
                "--typecode=14:ef02",
                "--new=15:4096:12287",
                "--typecode=15:ef00",
                "--change-name=15:EFI väldigt",
                "--new=1:14336:0",
                "--typecode=1:8300",
                "--attributes=1:set:59",
                "--attributes=1:set:2",
            ]);
            disk.bytes
        });
        let mut disk = Self::empty(0);
        disk.bytes.clone_from(bytes);
        disk
    }

    /// Lets sfdisk make a GPT out of the lines of its script.
    #[track_caller]
    pub fn by_sfdisk(len_bytes: usize, script: &str) -> Self {
        let mut disk = Self::empty(len_bytes);
        let script_file = disk.folder.path().join("script");
        fs::write(&script_file, script).unwrap();
        let file = disk.file();
        let mut sfdisk = support::command("sfdisk");
        support::run(
            sfdisk
                .arg(&file)
                .stdin(fs::File::open(script_file).unwrap()),
        );
        disk.bytes = fs::read(file).unwrap();
        disk
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }

    pub fn file(&self) -> PathBuf {
        fs::write(self.path(), &self.bytes).unwrap();
        self.path()
    }

    /// Lets sgdisk change the disk.
    #[track_caller]
    pub fn sgdisk(&mut self, arguments: &[&str]) -> String {
        let file = self.file();
        let output = support::run(support::command("sgdisk").args(arguments).arg(file));
        self.bytes = fs::read(self.path()).unwrap();
        output
    }

    /// What sgdisk says of the disk when it verifies it, without changing it.
    #[track_caller]
    pub fn verdict(&self) -> String {
        support::run(support::command("sgdisk").arg("-v").arg(self.file()))
    }

    #[track_caller]
    pub fn is_clean_for_sgdisk(&self) {
        let verdict = self.verdict();
        assert!(verdict.contains("No problems found"), "{verdict}");
        assert!(
            !verdict.contains("Warning") && !verdict.contains("corrupt"),
            "{verdict}"
        );
    }

    #[track_caller]
    pub fn is_clean_for_sfdisk(&self) {
        let verdict = support::exits(
            support::command("sfdisk").arg("--verify").arg(self.file()),
            0,
        );
        assert!(String::from_utf8_lossy(&verdict.stdout).contains("No errors detected"));
        assert_eq!(String::from_utf8_lossy(&verdict.stderr), "");
    }

    /// The table as sfdisk dumps it, sizes and GUIDs and names and all; it must find nothing to complain of.
    #[track_caller]
    pub fn sfdisk_dump(&self) -> String {
        let mut command = support::command("sfdisk");
        let output = support::exits(command.arg("--dump").arg(self.file()), 0);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs commands in an fdisk session with sectors of 4096 bytes; returns all that it wrote.
    #[track_caller]
    pub fn fdisk_4096(&mut self, session: &str) -> String {
        let mut fdisk = support::command("fdisk");
        fdisk.args(["--sector-size", "4096"]).arg(self.file());
        let output = support::fed(&mut fdisk, session);
        self.bytes = fs::read(self.path()).unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }

    #[track_caller]
    pub fn read(&self) -> (Table, Vec<Warning>) {
        Table::read(&MemoryStorage::new(self.bytes.clone())).unwrap()
    }

    /// Reads the table, which must need no warning.
    #[track_caller]
    pub fn table(&self) -> Table {
        let (table, warnings) = self.read();
        assert_eq!(warnings, []);
        table
    }

    /// The whole message of the error that reading the table must end in.
    #[track_caller]
    pub fn refusal(&self) -> String {
        Table::read(&MemoryStorage::new(self.bytes.clone()))
            .unwrap_err()
            .to_string()
    }

    /// Writes a table; what is not in its write ranges must stay as it was.
    #[track_caller]
    pub fn write(&mut self, table: &Table) {
        let before = self.bytes.clone();
        let storage = MemoryStorage::new(before.clone());
        table.write(&storage).unwrap();
        self.bytes = storage.into_bytes();
        let mut outside = 0;
        for range in table.write_ranges() {
            let (start, end) = (
                usize::try_from(range.start).unwrap(),
                usize::try_from(range.end).unwrap(),
            );
            assert!(outside <= start, "ranges overlap or are out of order");
            assert!(before[outside..start] == self.bytes[outside..start]);
            outside = end;
        }
        assert!(before[outside..] == self.bytes[outside..]);
    }

    pub fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub fn u32_at(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.bytes[offset..offset + 4].try_into().unwrap())
    }

    pub fn u64_at(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.bytes[offset..offset + 8].try_into().unwrap())
    }

    /// Offset of the header sector that ends a disk of 512-byte sectors.
    pub fn backup(&self) -> usize {
        self.bytes.len() - 512
    }

    /// Makes both checksums of the header at `header` right again after a test has changed fields.
    pub fn seal(&mut self, header: usize, sector: usize) {
        let entries = usize::try_from(self.u64_at(header + 72)).unwrap() * sector;
        let len = (self.u32_at(header + 80) * self.u32_at(header + 84)) as usize;
        if entries + len <= self.bytes.len() {
            let checksum = crc32fast::hash(&self.bytes[entries..entries + len]);
            self.put(header + 88, &checksum.to_le_bytes());
        }
        self.seal_header(header);
    }

    /// Makes the checksum of the header alone right again.
    pub fn seal_header(&mut self, header: usize) {
        let len = self.u32_at(header + 12) as usize;
        self.put(header + 16, &[0; 4]);
        let checksum = crc32fast::hash(&self.bytes[header..header + len]);
        self.put(header + 16, &checksum.to_le_bytes());
    }

    /// Changes a field of both headers (512-byte sectors) and makes their checksums right again.
    pub fn put_in_both(&mut self, offset: usize, bytes: &[u8]) {
        for header in [512, self.backup()] {
            self.put(header + offset, bytes);
            self.seal_header(header);
        }
    }

    /// Changes entry `number` in both copies (128-byte entries) and makes the checksums right again.
    pub fn put_in_entry(&mut self, number: usize, offset: usize, bytes: &[u8]) {
        for header in [512, self.backup()] {
            let entries = usize::try_from(self.u64_at(header + 72)).unwrap() * 512;
            self.put(entries + (number - 1) * 128 + offset, bytes);
            self.seal(header, 512);
        }
    }
}

pub fn texts(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(ToString::to_string).collect()
}
