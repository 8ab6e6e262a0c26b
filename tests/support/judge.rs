//! Judges a conversion: the output against the source, by programs and crates that the product does not use.
//!
//! Each function here names what it found wrong, or panics with what a program said. That they do find
//! what is wrong is itself tested (`tests/encrypt/judge.rs`).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::container::{Container, HEADER_BYTES};
use super::disk::{self, Disk};
use super::ext4::{self, Change, Content, Tree};
use super::files;
use super::image::{ESP, Image, ROOT};
use super::root::DELETED_MARKER;
use super::scratch;

/// The path of the growpart key in the root filesystem.
pub const GROWPART_KEY: &str = "/cc_growpart_keydata";
/// The file that switches growing in the guest off.
pub const GROWPART_OFF: &str = "/etc/cloud/cloud.cfg.d/99_disable_growpart.cfg";
/// The file that restricts cloud-init's datasources.
pub const DATASOURCES: &str = "/etc/cloud/cloud.cfg.d/99_datasources_override.cfg";
/// The unit that is masked.
pub const MASKED: &str = "/etc/systemd/system/secureboot-db.service";

/// What a conversion shall have led to.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one for each switch of the command line"
)]
pub struct Expected {
    /// Sector size of the container.
    pub luks_sector_bytes: u64,
    /// Length of the disk, without a VHD's footer.
    pub disk_bytes: u64,
    /// Last LBA of the root.
    pub root_last_lba: u64,
    /// The output is a VHD.
    pub vhd: bool,
    /// `--grow-root` was given.
    pub grow_root: bool,
    /// The image has cloud-init.
    pub cloud_init: bool,
    /// `--override-datasources`, as the configuration file lists them.
    pub datasources: Option<&'static str>,
    /// `--kernel-efi` was given: the ESP is not the source's.
    pub kernel_efi: bool,
    /// `--free-space skip` was given: what is not used is a hole, and nothing when it is decrypted.
    pub skips_free: bool,
    /// `resize2fs` shrank the filesystem to so many bytes.
    pub shrunk_bytes: Option<u64>,
}

/// Judges an output as a whole, and returns the decrypted container for more.
#[track_caller]
pub fn judge(source: &Image, output: &Path, expected: &Expected) -> Judged {
    judge_with(source, output, expected, Container::decrypt)
}

/// The same, with a decryption of the caller's choice.
#[track_caller]
pub fn judge_with(
    source: &Image,
    output: &Path,
    expected: &Expected,
    decrypt: fn(&Container, &Path),
) -> Judged {
    assert_eq!(disk::is_vhd(output), expected.vhd, "format of the output");
    let table = disk::read(output);
    let mut problems = table_problems(source, &table, expected);
    problems.extend(raw_problems(output, &table));
    problems.extend(other_bytes_problems(source, output, &table, expected));
    assert_eq!(problems, [""; 0]);
    let container = Container::open(output, &table, ROOT);
    assert_eq!(metadata_problems(&container, expected), [""; 0]);
    let folder = scratch();
    let plain = folder.path().join("plain");
    decrypt(&container, &plain);
    ext4::check(&plain);
    let tree = ext4::read(&plain);
    assert_eq!(
        filesystem_problems(source, &tree, &plain, expected),
        [""; 0]
    );
    assert_eq!(key_problems(&container, &tree, expected), [""; 0]);
    Judged {
        _folder: folder,
        table,
        container,
        plain,
        tree,
    }
}

/// An output that passed.
#[derive(Debug)]
pub struct Judged {
    _folder: tempfile::TempDir,
    /// Its partition table.
    pub table: Disk,
    /// Its container.
    pub container: Container,
    /// The decrypted segment.
    pub plain: PathBuf,
    /// The filesystem in it.
    pub tree: Tree,
}

/// The partition table: only the root's end and the disk's length may be others.
pub fn table_problems(source: &Image, table: &Disk, expected: &Expected) -> Vec<String> {
    let mut wanted = source.table.clone();
    wanted.len_bytes = expected.disk_bytes;
    let sectors = wanted.len_bytes / wanted.sector_bytes;
    wanted.last_usable_lba = source.geometry.last_usable_lba(sectors);
    wanted.partitions.get_mut(&ROOT).unwrap().last_lba = expected.root_last_lba;
    if *table == wanted {
        vec![]
    } else {
        vec![format!("table {table:?}, wanted {wanted:?}")]
    }
}

/// The raw view: what `sgdisk` or `fdisk`, and `fsck.vfat`, say.
pub fn raw_problems(output: &Path, table: &Disk) -> Vec<String> {
    let folder = scratch();
    let raw = folder.path().join("raw");
    files::copy_file(output, &raw);
    files::open_to_write(&raw).set_len(table.len_bytes).unwrap();
    let mut problems = vec![disk::problems(&raw, table.sector_bytes)];
    let esp = folder.path().join("esp");
    extract(output, table, ESP, &esp);
    if files::read(&esp, 510, 2) == [0x55, 0xaa] {
        let fsck = super::command("fsck.vfat")
            .arg("-n")
            .arg(&esp)
            .output()
            .unwrap();
        if fsck.status.code() != Some(0) {
            problems.push(format!(
                "fsck.vfat: {}",
                String::from_utf8_lossy(&fsck.stdout)
            ));
        }
    }
    problems.retain(|problem| !problem.is_empty());
    problems
}

/// Copies a partition into a file of its own.
pub fn extract(image: &Path, table: &Disk, partition: u32, to: &Path) {
    let range = table.byte_range(partition);
    let file = std::fs::File::create_new(to).unwrap();
    file.set_len(range.end - range.start).unwrap();
    files::copy(&files::open(image).0, range, &file, 0);
}

/// Everything outside of the root partition and the partition table is the source's.
pub fn other_bytes_problems(
    source: &Image,
    output: &Path,
    table: &Disk,
    expected: &Expected,
) -> Vec<String> {
    let (from, to) = (files::open(&source.raw).0, files::open(output).0);
    let sector = table.sector_bytes;
    let mut problems = Vec::new();
    let mut compare = |what: &str, range: std::ops::Range<u64>| {
        if let Some(at) = files::first_difference(&from, range.clone(), &to, range.start) {
            problems.push(format!("{what} differs from the source at {at}"));
        }
    };
    compare("boot code", 0..446);
    let entries_end = 2 * sector + 128 * 128;
    let mut at = entries_end;
    let root = source.table.byte_range(ROOT);
    let mut others: Vec<_> = table
        .partitions
        .keys()
        .filter(|number| **number != ROOT)
        .collect();
    others.sort_by_key(|number| table.partitions[number].first_lba);
    for number in others {
        let range = source.table.byte_range(*number);
        if range.start > root.start {
            compare("a partition behind the root", range);
            continue;
        }
        compare("what lies between the partitions", at..range.start);
        at = range.end;
        if *number == ESP && expected.kernel_efi {
            continue;
        }
        compare("a partition before the root", range);
    }
    compare("what lies before the root", at..root.start);
    // Behind the root there is nothing but the backup table and other partitions.
    let mut behind = table.byte_range(ROOT).end;
    let backup = (table.last_usable_lba + 1) * sector;
    let followers: Vec<_> = table
        .partitions
        .keys()
        .map(|number| table.byte_range(*number))
        .filter(|range| range.start >= behind)
        .collect();
    for range in followers {
        if let Some(at) = files::first_not_zero(&to, behind..range.start) {
            problems.push(format!("stale bytes behind the root at {at}"));
        }
        behind = range.end;
    }
    if let Some(at) = files::first_not_zero(&to, behind..backup) {
        problems.push(format!("stale bytes before the backup table at {at}"));
    }
    problems
}

/// Members of the JSON metadata against the specification's values; key material and salts by their length.
pub fn metadata_problems(container: &Container, expected: &Expected) -> Vec<String> {
    let mut problems = Vec::new();
    let mut found = container.metadata.clone();
    // What is random is taken out, after a look at its length.
    let mut bytes = |problems: &mut Vec<String>, pointer: &str, len: usize| {
        let Some(Value::String(text)) = found.pointer_mut(pointer).map(Value::take) else {
            problems.push(format!("{pointer} is missing"));
            return;
        };
        if STANDARD.decode(&text).map(|bytes| bytes.len()) != Ok(len) {
            problems.push(format!("{pointer} has not {len} bytes: {text}"));
        }
    };
    let keyslots: &[&str] = if has_growpart_key(expected) {
        &["0", "10"]
    } else {
        &["0"]
    };
    for keyslot in keyslots {
        bytes(&mut problems, &format!("/keyslots/{keyslot}/kdf/salt"), 32);
    }
    bytes(&mut problems, "/digests/0/salt", 32);
    bytes(&mut problems, "/digests/0/digest", 32);
    bytes(&mut problems, "/tokens/0/ubuntu_fde_cloudimg_key", 16);
    let keyslot = |offset: &str| {
        json!({
            "type": "luks2",
            "key_size": 64,
            "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
            "area": {"type": "raw", "offset": offset, "size": "258048", "encryption": "aes-xts-plain64", "key_size": 64},
            "kdf": {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": null},
        })
    };
    let mut wanted = json!({
        "keyslots": {"0": keyslot("1048576")},
        "tokens": {"0": {"type": "ubuntu-fde-cloudimg-key", "keyslots": ["0"], "ubuntu_fde_cloudimg_key": null}},
        "segments": {"0": {
            "type": "crypt", "offset": "16777216", "size": "dynamic", "iv_tweak": "0",
            "encryption": "aes-xts-plain64", "sector_size": expected.luks_sector_bytes,
        }},
        "digests": {"0": {
            "type": "pbkdf2", "keyslots": keyslots, "segments": ["0"], "hash": "sha256",
            "iterations": 1000, "salt": null, "digest": null,
        }},
        "config": {"json_size": "520192", "keyslots_size": "15728640"},
    });
    if has_growpart_key(expected) {
        wanted["keyslots"]["10"] = keyslot("1306624");
    }
    if found != wanted {
        problems.push(format!("metadata {found}, wanted {wanted}"));
    }
    problems
}

fn has_growpart_key(expected: &Expected) -> bool {
    expected.cloud_init && !expected.grow_root
}

/// The keys: the token's opens keyslot 0, the one in the image keyslot 10; no other opens anything.
pub fn key_problems(container: &Container, tree: &Tree, expected: &Expected) -> Vec<String> {
    let mut problems = Vec::new();
    let mut test = |keyslot: u32, key: &[u8], wanted: i32, what: &str| {
        let code = container.test_key(keyslot, key);
        if code != wanted {
            problems.push(format!(
                "{what} gives {code} at keyslot {keyslot}, not {wanted}"
            ));
        }
    };
    let unlock_key = container.unlock_key();
    let mut wrong = unlock_key.clone();
    wrong[15] ^= 1;
    test(0, &unlock_key, 0, "the unlock key");
    test(0, &wrong, 2, "a wrong key");
    test(
        0,
        &[unlock_key.as_slice(), b"\n"].concat(),
        2,
        "the unlock key with a newline",
    );
    if has_growpart_key(expected) {
        let growpart_key = growpart_key(tree);
        test(10, &growpart_key, 0, "the growpart key");
        test(10, &unlock_key, 2, "the unlock key");
        test(0, &growpart_key, 2, "the growpart key");
    }
    problems
}

/// The key in `/cc_growpart_keydata`.
pub fn growpart_key(tree: &Tree) -> Vec<u8> {
    let text = small_file(tree, GROWPART_KEY);
    let value: Value = serde_json::from_str(&text).unwrap();
    let key = value["key"].as_str().unwrap();
    assert_eq!(text, format!("{{\"key\":\"{key}\",\"slot\":10}}"));
    let key = STANDARD.decode(key).unwrap();
    assert_eq!(key.len(), 32);
    key
}

/// The text of a small file.
#[track_caller]
pub fn small_file(tree: &Tree, path: &str) -> String {
    match tree.entries.get(path).map(|entry| &entry.content) {
        Some(Content::File(_, bytes)) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{path}: {other:?}"),
    }
}

/// The decrypted filesystem: the source's tree but for the customisations, and zeros where nothing is.
pub fn filesystem_problems(
    source: &Image,
    tree: &Tree,
    plain: &Path,
    expected: &Expected,
) -> Vec<String> {
    let changes = changes(expected);
    let relocated = expected.shrunk_bytes.is_some();
    let mut problems = ext4::differences(source.tree(), tree, &changes, relocated);
    let filesystem_bytes = expected
        .shrunk_bytes
        .unwrap_or(source.geometry.filesystem_bytes());
    // A hole decrypts to noise, and holds nothing of anything.
    let unused = ext4::first_unused_not_zero(tree, plain, filesystem_bytes);
    if let Some(at) = unused.filter(|_| !expected.skips_free) {
        problems.push(format!("byte {at} of the segment is not used and not zero"));
    }
    if let Some(at) = files::find(plain, DELETED_MARKER.as_bytes()) {
        problems.push(format!("data of a deleted file at byte {at}"));
    }
    let mut content = |path: &str, wanted: &str| {
        let found = small_file(tree, path);
        if found != wanted {
            problems.push(format!("{path} holds {found:?}, not {wanted:?}"));
        }
    };
    if let Some(list) = expected.datasources {
        content(
            DATASOURCES,
            &format!("# written by encrypt-cloud-image\ndatasource_list: [ {list} ]\n"),
        );
    }
    if expected.grow_root && expected.cloud_init {
        content(
            GROWPART_OFF,
            "# written by encrypt-cloud-image\ngrowpart:\n    mode: \"off\"\n",
        );
    }
    problems
}

/// What the customisations change.
pub fn changes(expected: &Expected) -> Vec<(&'static str, Change)> {
    let mut changes = vec![
        ("/etc/systemd/system", Change::Touched),
        (MASKED, Change::Link("/dev/null")),
    ];
    if !expected.cloud_init {
        return changes;
    }
    if expected.grow_root {
        changes.push((GROWPART_OFF, Change::File(0o644)));
    } else {
        changes.extend([("/", Change::Touched), (GROWPART_KEY, Change::File(0o600))]);
    }
    if expected.datasources.is_some() {
        changes.push((DATASOURCES, Change::File(0o644)));
    }
    if expected.grow_root || expected.datasources.is_some() {
        changes.push(("/etc/cloud/cloud.cfg.d", Change::Touched));
    }
    changes
}

/// Length of the segment that a root partition of the output has.
pub fn segment_bytes(source: &Image, root_last_lba: u64) -> u64 {
    let geometry = source.geometry;
    (root_last_lba + 1 - geometry.root_first_lba) * geometry.sector_bytes - HEADER_BYTES
}
