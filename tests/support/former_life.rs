//! What a disk held before, made by the programs that make such disks, and what a sparse copy of a new image leaves of it.
//!
//! A sparse copy leaves out what the image does not need: blocks that its root filesystem calls free, holes of a file, and
//! all behind the image's end. (`dd conv=sparse` also leaves out zeros that are needed; over such a disk the copy itself
//! is unsound, and nothing that comes later can mend it.)

use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use probe::SECONDARY_OFFSETS_BYTES;

use super::{command, disk, files, run, scratch};

const MIB: u64 = 1 << 20;

/// What a disk was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// An image that this program encrypted.
    Ours,
    /// One that it deployed as well, and of which the header was changed more often than a new one is.
    OursDeployed,
    /// A LUKS1 container of cryptsetup's.
    Luks1,
    /// LUKS2 containers of cryptsetup's: of each size of a header the secondary copy lies in its place.
    Luks2,
    /// A LUKS2 container of cryptsetup's with headers of 4 MiB.
    LargeLuks2,
    /// Bytes without a meaning.
    Noise,
    /// Partition tables at both ends of the disk.
    Tables,
    /// An ext4 filesystem with backups of its superblock.
    Ext4,
    /// An XFS filesystem.
    Xfs,
    /// A btrfs filesystem.
    Btrfs,
}

/// Every one.
pub const LIVES: [Life; 10] = [
    Life::Ours,
    Life::OursDeployed,
    Life::Luks1,
    Life::Luks2,
    Life::LargeLuks2,
    Life::Noise,
    Life::Tables,
    Life::Ext4,
    Life::Xfs,
    Life::Btrfs,
];

/// Runs a test on disks of every life, or in the quick run of these alone.
pub fn each(quick: &[Life], mut test: impl FnMut(Life)) {
    for life in LIVES {
        if super::all() || quick.contains(&life) {
            test(life);
        }
    }
}

/// The same with so many lives at a time as there are processors: for what takes an hour for each.
pub fn each_beside_others(quick: &[Life], test: impl Fn(Life) + Sync) {
    let lives = Mutex::new(Vec::new());
    each(quick, |life| lives.lock().unwrap().push(life));
    let work = || {
        loop {
            let life = lives.lock().unwrap().pop();
            let Some(life) = life else { break };
            test(life);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // A thread that panics makes the scope panic.
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
}

/// Programs that make former lives.
pub const PROGRAMS: [&str; 9] = [
    "cryptsetup",
    "wipefs",
    "mke2fs",
    "dumpe2fs",
    "mkfs.vfat",
    "mkfs.xfs",
    "mkfs.btrfs",
    "mkswap",
    "sgdisk",
];

/// What must not come back.
#[derive(Debug, Clone)]
pub struct Former {
    /// What it was.
    pub life: Life,
    /// UUIDs and disk GUIDs that its programs gave it, as text.
    pub uuids: Vec<String>,
    /// What is left of it, in bytes: none where all of it lies under an image that has no holes.
    pub left_bytes: u64,
}

impl Life {
    /// Makes an image look as if it had been copied sparsely onto a disk of this life. The file is as long as the disk.
    pub fn under(self, image: &Path, root: u32) -> Former {
        let table = disk::read(image);
        let range = table.byte_range(root);
        let holes = left_out(image, &table, root);
        self.keep(image, range.start, &holes)
    }

    /// The same where the copy leaves out all blocks of zeros of a container, those of its header as well
    /// (`dd conv=sparse bs=4k`).
    pub fn under_zeros(self, image: &Path, root: u32) -> Former {
        let range = disk::read(image).byte_range(root);
        let len = usize::try_from(range.end - range.start).unwrap();
        let bytes = files::read(image, range.start, len);
        let blocks = (range.start..).step_by(4096).zip(bytes.chunks(4096));
        let zeros: Vec<_> = blocks
            .filter(|(_, block)| files::is_zero(block))
            .map(|(at, block)| at..at + block.len() as u64)
            .collect();
        self.keep(image, range.start, &zeros)
    }

    /// A whole disk of this life, with a partition from `start` to its end.
    pub fn whole(self, file: &Path, len_bytes: u64, start: u64) -> Former {
        let folder = scratch();
        File::create(file).unwrap().set_len(len_bytes).unwrap();
        let mut uuids = self.make(folder.path(), file, start, len_bytes);
        if self != Self::Tables {
            let partition = format!("1:{}:0", start / 512);
            run(command("sgdisk")
                .args(["-a", "1", "-n", &partition])
                .arg(file));
            uuids.push(guid_of(file));
        }
        Former {
            life: self,
            uuids,
            left_bytes: len_bytes,
        }
    }

    /// The same with these ranges left out.
    fn keep(self, image: &Path, start: u64, holes: &[Range<u64>]) -> Former {
        let disk_bytes = files::open(image).1;
        let folder = scratch();
        let old = folder.path().join("old");
        File::create(&old).unwrap().set_len(disk_bytes).unwrap();
        let uuids = self.make(folder.path(), &old, start, disk_bytes);
        let (from, to) = (files::open(&old).0, files::open_to_write(image));
        let mut left_bytes = 0;
        for hole in holes {
            for data in files::data_ranges(&from, hole.start..hole.end.min(disk_bytes)) {
                left_bytes += data.end - data.start;
                files::copy(&from, data.clone(), &to, data.start);
            }
        }
        Former {
            life: self,
            uuids,
            left_bytes,
        }
    }

    /// The old disk in a file of zeros; gives its UUIDs.
    fn make(self, folder: &Path, old: &Path, start: u64, disk_bytes: u64) -> Vec<String> {
        let part = folder.join("part");
        let len_bytes = disk_bytes - start;
        let blank = |len_bytes| File::create(&part).unwrap().set_len(len_bytes).unwrap();
        let of = |field: &str| vec![blkid(&part, field)];
        let uuids = match self {
            Self::Ours => {
                ours(folder, &part, false);
                of("UUID")
            }
            Self::OursDeployed => {
                ours(folder, &part, true);
                of("UUID")
            }
            Self::Luks1 => {
                blank(len_bytes);
                format(folder, &part, &["--type=luks1"]);
                of("UUID")
            }
            Self::LargeLuks2 => {
                blank(len_bytes.max(24 * MIB));
                let sizes = ["--luks2-metadata-size=4m", "--luks2-keyslots-size=256k"];
                format(folder, &part, &sizes);
                of("UUID")
            }
            Self::Luks2 => all_luks2(folder, &part, len_bytes),
            Self::Noise => {
                fs::write(&part, noise(len_bytes)).unwrap();
                Vec::new()
            }
            Self::Tables => return tables(old, disk_bytes),
            Self::Ext4 => {
                blank(len_bytes);
                run(command("mke2fs")
                    .args(["-q", "-t", "ext4", "-b", "1024"])
                    .arg(&part));
                of("UUID")
            }
            // These have a least size; what is left of them is their start.
            Self::Xfs => {
                blank(512 * MIB);
                run(command("mkfs.xfs").arg("-q").arg(&part));
                of("UUID")
            }
            Self::Btrfs => {
                blank(512 * MIB);
                run(command("mkfs.btrfs").arg("-q").arg(&part));
                of("UUID")
            }
        };
        let (from, part_bytes) = files::open(&part);
        let len_bytes = len_bytes.min(part_bytes);
        files::copy(&from, 0..len_bytes, &files::open_to_write(old), start);
        uuids
    }
}

/// What lay in the first block of a partition that ext4 has now: a sparse copy in blocks of 512 bytes leaves the sectors
/// beside the superblock, which ext4 never reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The head of a LUKS1 container.
    Luks1,
    /// Of the primary header of a LUKS2 container.
    Luks2,
    /// The same of a container whose magic numbers `wipefs` has taken away: all else is there.
    WipedLuks2,
    /// Of an XFS filesystem.
    Xfs,
    /// The boot sector of a FAT filesystem.
    Fat,
    /// The label of a physical volume of LVM.
    Lvm,
    /// The signature of swap space, at the end of its first page.
    Swap,
}

/// Every one.
pub const HEADS: [Head; 7] = [
    Head::Luks1,
    Head::Luks2,
    Head::WipedLuks2,
    Head::Xfs,
    Head::Fat,
    Head::Lvm,
    Head::Swap,
];

impl Head {
    /// Puts it beside the superblock of the filesystem in a partition of an image; gives its UUID, where it has one.
    pub fn beside_ext4(self, image: &Path, root: u32) -> Vec<String> {
        let folder = scratch();
        let part = folder.path().join("part");
        let uuid = self.make(folder.path(), &part);
        let start = disk::read(image).byte_range(root).start;
        let block = files::read(image, start, 4096);
        assert_eq!(block[0x438..0x43a], *b"\x53\xef");
        // With blocks of 1 KiB group descriptors follow.
        let is_one_block = block[0x418..0x41c] == [2, 0, 0, 0];
        let behind = if is_one_block { 2048..4096 } else { 0..0 };
        for range in [0..1024, behind] {
            assert!(
                files::is_zero(&block[range.clone()]),
                "a sparse copy would write this"
            );
            let bytes = files::read(&part, range.start as u64, range.len());
            files::write(image, start + range.start as u64, &bytes);
        }
        uuid.into_iter().collect()
    }

    /// A partition that begins with it, and its UUID.
    fn make(self, folder: &Path, part: &Path) -> Option<String> {
        let len_bytes = if self == Self::Xfs { 512 } else { 20 } * MIB;
        File::create(part).unwrap().set_len(len_bytes).unwrap();
        match self {
            Self::Luks1 => format(folder, part, &["--type=luks1"]),
            Self::Luks2 | Self::WipedLuks2 => format(folder, part, &["--type=luks2"]),
            Self::Xfs => drop(run(command("mkfs.xfs").arg("-q").arg(part))),
            Self::Fat => drop(run(command("mkfs.vfat").args(["-F", "16"]).arg(part))),
            Self::Lvm => files::write(part, 512, &lvm_label()),
            Self::Swap => drop(run(command("mkswap").arg(part))),
        }
        let kind = blkid(part, "TYPE");
        let kinds = ["crypto_LUKS", "xfs", "vfat", "LVM2_member", "swap"];
        assert!(kinds.contains(&kind.as_str()), "{self:?}: {kind}");
        let uuid = blkid(part, "UUID");
        if self == Self::WipedLuks2 {
            run(command("wipefs").args(["-q", "-a"]).arg(part));
            assert_eq!(files::read(part, 0, 8), [0, 0, 0, 0, 0, 0, 0, 2]);
        }
        (!uuid.is_empty()).then_some(uuid)
    }
}

/// The label of a physical volume in its second sector, as the on-disk format of LVM2 has it: `LABELONE`, the sector's
/// number, a CRC-32 from byte 20 on, the offset of what follows, the type, and the volume's UUID.
fn lvm_label() -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[..8].copy_from_slice(b"LABELONE");
    sector[8] = 1;
    sector[20] = 32;
    sector[24..32].copy_from_slice(b"LVM2 001");
    sector[32..64].copy_from_slice(b"0123456789abcdefghijABCDEFGHIJ01");
    let mut crc = 0xf597_a6cf_u32;
    for byte in &sector[20..] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xedb8_8320 * (crc & 1));
        }
    }
    sector[16..20].copy_from_slice(&crc.to_le_bytes());
    sector
}

/// UUIDs that programs find in a partition; `None` where one cannot decide, or finds nothing.
#[derive(Debug)]
pub struct Verdicts {
    /// `blkid -p`.
    pub blkid: Option<String>,
    /// cryptsetup, before it has mended the headers, and then.
    pub cryptsetup: [Option<String>; 2],
}

/// What programs say of a partition of so many bytes that begins with these.
pub fn verdicts(bytes: &[u8], len_bytes: u64) -> Verdicts {
    let folder = scratch();
    let file = folder.path().join("partition");
    fs::write(&file, bytes).unwrap();
    files::open_to_write(&file).set_len(len_bytes).unwrap();
    let says = |program: &str, arguments: &[&str]| {
        let output = command(program)
            .args(arguments)
            .arg(&file)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    let blkid = says("blkid", &["-p", "-o", "value", "-s", "UUID"]);
    let before = says("cryptsetup", &["luksUUID"]);
    says("cryptsetup", &["-q", "repair"]);
    Verdicts {
        blkid,
        cryptsetup: [before, says("cryptsetup", &["luksUUID"])],
    }
}

impl Verdicts {
    /// Checks that no program takes the partition for what it was.
    #[track_caller]
    pub fn assert_not(&self, former: &Former, what: &dyn std::fmt::Debug) {
        let mut found = self.cryptsetup.iter().chain([&self.blkid]).flatten();
        let is_old = found.any(|uuid| former.uuids.contains(uuid));
        assert!(!is_old, "{:?} comes back: {what:?}: {self:?}", former.life);
    }
}

fn blkid(part: &Path, field: &str) -> String {
    run(command("blkid")
        .args(["-p", "-o", "value", "-s", field])
        .arg(part))
    .trim()
    .to_owned()
}

fn format(folder: &Path, part: &Path, options: &[&str]) {
    let key = folder.join("key");
    fs::write(&key, "test only").unwrap();
    run(command("cryptsetup")
        .args(["-q", "luksFormat", "--pbkdf=pbkdf2"])
        .arg("--pbkdf-force-iterations=1000")
        .args(options)
        .arg("--key-file")
        .args([&key, part]));
}

/// Raises the sequence id of a container.
fn age(part: &Path) {
    for label in ["a", "b", "c", "d", "e", "f"] {
        run(command("cryptsetup")
            .args(["config", "--label", label])
            .arg(part));
    }
}

/// The last of nine containers, with the secondary copies of all.
fn all_luks2(folder: &Path, part: &Path, len_bytes: u64) -> Vec<String> {
    let mut copies = Vec::new();
    let mut uuids = Vec::new();
    for size in SECONDARY_OFFSETS_BYTES {
        File::create(part)
            .unwrap()
            .set_len(len_bytes.max(24 * MIB))
            .unwrap();
        let metadata = format!("--luks2-metadata-size={}k", size >> 10);
        format(
            folder,
            part,
            &["--type=luks2", "--luks2-keyslots-size=256k", &metadata],
        );
        age(part);
        copies.push((
            size,
            files::read(part, size, usize::try_from(size).unwrap()),
        ));
        uuids.push(blkid(part, "UUID"));
    }
    // A later one lies behind an earlier one, which is as long as its place is far.
    for (place, copy) in copies {
        files::write(part, place, &copy);
    }
    uuids
}

/// The root partition of an image that the program made.
fn ours(folder: &Path, part: &Path, is_deployed: bool) {
    let (tree, root) = (folder.join("tree"), folder.join("root"));
    fs::create_dir_all(tree.join("etc/systemd/system")).unwrap();
    fs::write(tree.join("etc/os-release"), "ID=debian\n").unwrap();
    run(command("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&tree, &root])
        .arg("16m"));
    let esp = folder.join("esp");
    File::create(&esp).unwrap().set_len(4 * MIB).unwrap();
    run(command("mkfs.vfat").arg(&esp));
    let plain = folder.join("plain.img");
    File::create(&plain).unwrap().set_len(40 * MIB).unwrap();
    run(command("sgdisk")
        .args([
            "-n",
            "1:1M:+4M",
            "-t",
            "1:EF00",
            "-n",
            "2:5M:+33M",
            "-t",
            "2:8304",
        ])
        .arg(&plain));
    for (file, start) in [(esp, MIB), (root, 5 * MIB)] {
        let (from, len_bytes) = files::open(&file);
        files::copy(&from, 0..len_bytes, &files::open_to_write(&plain), start);
    }
    let image = folder.join("encrypted.img");
    let program = env!("CARGO_BIN_EXE_encrypt-cloud-image");
    run(std::process::Command::new(program)
        .args(["encrypt", "--profile=generic", "-o"])
        .args([&image, &plain]));
    if is_deployed {
        run(std::process::Command::new(program)
            .args([
                "deploy",
                "--key-object=systemd-tpm2",
                "--standard-srk-template",
            ])
            .args(["--no-pcr-policy", "--srk-pub"])
            .args([&super::data("sealed/soft-rsa.pub"), &image]));
    }
    super::judge::extract(&image, &disk::read(&image), 2, part);
    if is_deployed {
        age(part);
    }
}

fn noise(len_bytes: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::new();
    for _ in 0..len_bytes / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

fn guid_of(file: &Path) -> String {
    uuid::Uuid::from_bytes_le(disk::read(file).guid).to_string()
}

/// A table over the whole disk, and one for each half of it, as smaller images leave them.
fn tables(old: &Path, disk_bytes: u64) -> Vec<String> {
    let folder = scratch();
    let mut guids = Vec::new();
    let half = (disk_bytes / 2) & !(MIB - 1);
    for (start, len_bytes) in [(0, disk_bytes), (0, half), (half, 8 * MIB)] {
        let file = folder.path().join("table");
        File::create(&file).unwrap().set_len(len_bytes).unwrap();
        run(command("sgdisk")
            .args(["-n", "3:1M:+2M", "-n", "7:4M:0", "-t", "7:8304"])
            .arg(&file));
        guids.push(guid_of(&file));
        let (from, to) = (files::open(&file).0, files::open_to_write(old));
        for range in [0..34 * 512, len_bytes - 33 * 512..len_bytes] {
            files::copy(&from, range.clone(), &to, start + range.start);
        }
    }
    guids
}

/// What a sparse copy of an image leaves out.
fn left_out(image: &Path, table: &disk::Disk, root: u32) -> Vec<Range<u64>> {
    let range = table.byte_range(root);
    let folder = scratch();
    let part = folder.path().join("part");
    super::judge::extract(image, table, root, &part);
    let mut left = if files::read(&part, 0x438, 2) == b"\x53\xef" {
        free_in_ext4(&part, range.start)
    } else {
        // The header, its zeros as well, and the keyslots are data of the file.
        holes(
            image,
            range.start + super::container::HEADER_BYTES..range.end,
        )
    };
    // Behind the table's other copy.
    let file = files::open(image).0;
    let header = files::read(image, table.sector_bytes, 512);
    let alternate = u64::from_le_bytes(header[32..40].try_into().unwrap());
    let end = (alternate + 1) * table.sector_bytes;
    let disk_bytes = file.metadata().unwrap().len();
    if end < disk_bytes {
        left.push(end..disk_bytes);
    }
    left
}

/// Holes of the file in a range, which is an encrypted container's.
fn holes(image: &Path, range: Range<u64>) -> Vec<Range<u64>> {
    let file = files::open(image).0;
    let mut at = range.start;
    let mut holes = Vec::new();
    for data in files::data_ranges(&file, range.clone()) {
        holes.push(at..data.start);
        at = data.end;
    }
    holes.push(at..range.end);
    holes.retain(|hole| hole.start < hole.end);
    holes
}

/// Blocks that the filesystem in `part` calls free, and what lies behind its end, as ranges of the disk.
fn free_in_ext4(part: &Path, start: u64) -> Vec<Range<u64>> {
    let told = run(command("dumpe2fs").arg(part));
    let field = |name: &str| -> u64 {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    let (block_bytes, blocks) = (field("Block size:"), field("Block count:"));
    // A group's line is indented: `  Free blocks: 12-40, 42`.
    let lists = told
        .lines()
        .filter_map(|line| line.strip_prefix("  Free blocks: "));
    let mut left: Vec<_> = lists
        .flat_map(|list| list.split(", "))
        .filter(|list| !list.is_empty())
        .map(|list| {
            let (first, last) = list.split_once('-').unwrap_or((list, list));
            let block = |number: &str| number.parse::<u64>().unwrap() * block_bytes + start;
            block(first)..block(last) + block_bytes
        })
        .collect();
    left.push(start + blocks * block_bytes..start + files::open(part).1);
    left.retain(|hole| hole.start < hole.end);
    left
}
