//! The judge of all other tests here accepts a good conversion and finds every planted defect.
//!
//! The conversion is made without the product: cryptsetup makes the container, debugfs the edits, and a
//! second AES-XTS the ciphertext.

use std::fs::File;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::can_judge;
use crate::support::container::{Container, HEADER_BYTES};
use crate::support::image::{BEHIND, ESP, Image, ROOT, Shape, image};
use crate::support::judge::{self, Expected};
use crate::support::root::debugfs;
use crate::support::{command, disk, exits, ext4, files, scratch};

const UNLOCK_KEY: &[u8; 16] = b"test only 000000";
const GROWPART_KEY: &[u8; 32] = b"test only 0000000000000000000000";

fn expected(source: &Image) -> Expected {
    let geometry = source.geometry;
    Expected {
        luks_sector_bytes: 512,
        disk_bytes: geometry.disk_sectors * geometry.sector_bytes,
        root_last_lba: geometry.root_last_lba,
        vhd: false,
        grow_root: false,
        cloud_init: true,
        datasources: None,
        kernel_efi: false,
        skips_free: false,
        shrunk_bytes: None,
    }
}

/// The edits that `encrypt` makes, by debugfs; `more` comes on top.
fn edited_root(source: &Image, root: &Path, more: &str) {
    source.extract_root(root);
    let folder = scratch();
    let key_file = folder.path().join("key");
    let content = format!(
        "{{\"key\":\"{}\",\"slot\":10}}",
        STANDARD.encode(GROWPART_KEY)
    );
    std::fs::write(&key_file, content).unwrap();
    let mut script = format!(
        "cd /etc/systemd/system\nsymlink secureboot-db.service /dev/null\ncd /\nwrite {} cc_growpart_keydata\n\
         set_inode_field /cc_growpart_keydata mode 0100600\n",
        key_file.display()
    );
    for path in [
        "/",
        "/etc/systemd/system",
        judge::MASKED,
        judge::GROWPART_KEY,
    ] {
        for time in ["ctime", "mtime", "atime", "crtime"] {
            let is_directory = !path.contains('.') && !path.contains('_');
            if !(is_directory && (time == "atime" || time == "crtime")) {
                script.push_str(&format!("set_inode_field {path} {time} 20231114221320\n"));
                script.push_str(&format!("set_inode_field {path} {time}_extra 0\n"));
            }
        }
    }
    debugfs(root, &(script + more));
}

/// Zeros all blocks that the filesystem does not use, and what lies behind it.
fn clear_unused(root: &Path, filesystem_bytes: u64) {
    let tree = ext4::read(root);
    let (file, len_bytes) = (files::open_to_write(root), files::open(root).1);
    let free = tree
        .free_blocks
        .iter()
        .map(|range| range.start * tree.block_bytes..range.end * tree.block_bytes);
    for range in free.chain(std::iter::once(filesystem_bytes..len_bytes)) {
        for data in files::data_ranges(&file, range) {
            files::write(
                root,
                data.start,
                &vec![0; usize::try_from(data.end - data.start).unwrap()],
            );
        }
    }
}

/// A whole conversion of an image that has room, by programs that are not ours.
fn convert(source: &Image, root: &Path, output: &Path) {
    let folder = scratch();
    let range = source.table.byte_range(ROOT);
    let container = folder.path().join("container");
    File::create_new(&container)
        .unwrap()
        .set_len(range.end - range.start)
        .unwrap();
    let key = |name: &str, key: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, key).unwrap();
        file
    };
    let unlock_key = key("unlock-key", UNLOCK_KEY);
    let kdf = [
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--hash",
        "sha256",
    ];
    let mut format = command("cryptsetup");
    format.args([
        "-q",
        "luksFormat",
        "--type",
        "luks2",
        "--cipher",
        "aes-xts-plain64",
        "--key-size",
        "512",
    ]);
    format.args(kdf).args([
        "--luks2-metadata-size",
        "512k",
        "--luks2-keyslots-size",
        "15360k",
    ]);
    format.args([
        "--sector-size",
        "512",
        "--label",
        "cloudimg-rootfs-enc",
        "--key-file",
    ]);
    exits(format.arg(&unlock_key).arg(&container), 0);
    let mut add = command("cryptsetup");
    add.args(["-q", "luksAddKey", "--key-slot", "10"])
        .args(kdf)
        .arg("--key-file")
        .arg(&unlock_key);
    exits(
        add.arg(&container).arg(key("growpart-key", GROWPART_KEY)),
        0,
    );
    let token = format!(
        r#"{{"type":"ubuntu-fde-cloudimg-key","keyslots":["0"],"ubuntu_fde_cloudimg_key":"{}"}}"#,
        STANDARD.encode(UNLOCK_KEY)
    );
    let mut import = command("cryptsetup");
    import
        .args(["token", "import", "--json-file"])
        .arg(key("token", token.as_bytes()));
    exits(import.arg(&container), 0);

    files::copy_file(&source.raw, output);
    let to = files::open_to_write(output);
    let header = files::read(&container, 0, usize::try_from(HEADER_BYTES).unwrap());
    files::write(output, range.start, &header);
    let segment = Container::open(output, &source.table, ROOT).segment();
    let len_bytes = range.end - range.start - HEADER_BYTES;
    segment.encrypt(
        &files::open(root).0,
        0..len_bytes,
        &to,
        range.start + HEADER_BYTES,
    );
}

struct Good {
    folder: tempfile::TempDir,
    source: &'static Image,
}

/// A good conversion, made once for both tests.
fn good(shape: Shape) -> Good {
    let source = image(shape);
    let folder = scratch();
    let root = folder.path().join("root");
    edited_root(source, &root, "");
    clear_unused(&root, source.geometry.filesystem_bytes());
    convert(source, &root, &folder.path().join("good"));
    Good { folder, source }
}

#[test]
fn the_judge_accepts_a_conversion_by_other_programs_and_finds_planted_defects() {
    if !can_judge() {
        return;
    }
    let Good { folder, source } = good(Shape::Roomy);
    let expected = expected(source);
    let (good, root) = (folder.path().join("good"), folder.path().join("root"));
    let judged = judge::judge(source, &good, &expected);
    let by_cryptsetup = folder.path().join("by-cryptsetup");
    judged.container.decrypt_by_cryptsetup(&by_cryptsetup);
    let (one, len_bytes) = files::open(&judged.plain);
    assert_eq!(
        files::first_difference(&one, 0..len_bytes, &files::open(&by_cryptsetup).0, 0),
        None
    );

    let filesystem = |what: &dyn Fn(&Path)| {
        let changed = folder.path().join("changed");
        let _ = std::fs::remove_file(&changed);
        files::copy_file(&root, &changed);
        what(&changed);
        judge::filesystem_problems(source, &ext4::read(&changed), &changed, &expected).join("\n")
    };
    assert_eq!(filesystem(&|_| ()), "");
    let edit = |script: &str| filesystem(&|root| drop(debugfs(root, script)));
    for (script, problem) in [
        (
            "set_inode_field /etc/shadow mode 0100644\n",
            "/etc/shadow changed: \"Type: regular    Mode:  0640",
        ),
        (
            "set_inode_field /var/lib/large uid 0\n",
            "/usr/share/large changed: \"User: 100000",
        ),
        (
            "set_inode_field /usr/bin/sudo mtime 20231114221320\n",
            "/usr/bin/sudo changed: \" mtime",
        ),
        (
            "set_inode_field /usr/share ctime 20231114221320\n",
            "/usr/share changed: \" ctime",
        ),
        (
            "ea_rm /etc/os-release user.origin\n",
            "/etc/os-release changed: \"Extended attributes:\"",
        ),
        (
            "ea_set /usr/bin/wall security.capability x\n",
            "/usr/bin/wall changed: \"  security.capability",
        ),
        (
            "unlink /usr/bin/sudoedit\nset_inode_field /usr/bin/sudo links_count 1\n",
            "/usr/bin/sudoedit is lost",
        ),
        ("ln /etc/shadow /etc/another\n", "/etc/another is new"),
        (
            "set_inode_field /dev/sda block[0] 0x900\n",
            "/dev/sda changed: \"Device major/minor",
        ),
        ("rm /bin\nsymlink /bin usr/sbin\n", "/bin has other content"),
        (
            "set_super_value volume_name another\n",
            "superblock changed: \"Filesystem volume name",
        ),
        (
            "rm /cc_growpart_keydata\n",
            "/cc_growpart_keydata was not made",
        ),
        (
            "set_inode_field /cc_growpart_keydata mode 0100644\n",
            "/cc_growpart_keydata is \"Type: regular    Mode:  0644",
        ),
        (
            "set_inode_field /cc_growpart_keydata uid 1\n",
            "/cc_growpart_keydata is not root's",
        ),
        (
            "set_inode_field /cc_growpart_keydata atime 20200101000000\n",
            "/cc_growpart_keydata has another time",
        ),
        (
            "cd /etc/systemd/system\nrm secureboot-db.service\nsymlink secureboot-db.service /dev/zero\n",
            "secureboot-db.service leads to",
        ),
    ] {
        let found = edit(script);
        assert!(found.contains(problem), "{script}: {found}");
    }
    let large = &judged.tree.entries["/var/lib/large"].places;
    let block: u64 = large[2]
        .split(':')
        .nth(1)
        .unwrap()
        .split('-')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let found = filesystem(&|root| files::flip(root, block * 4096 + 17));
    assert_eq!(
        found,
        "/usr/share/large has other content\n/var/lib/large has other content"
    );
    let free = judged.tree.free_blocks[1].start * 4096;
    let found = filesystem(&|root| files::flip(root, free + 4095));
    assert_eq!(
        found,
        format!(
            "byte {} of the segment is not used and not zero",
            free + 4095
        )
    );
    let end = source.geometry.filesystem_bytes();
    let found = filesystem(&|root| files::flip(root, end));
    assert_eq!(
        found,
        format!("byte {end} of the segment is not used and not zero")
    );

    // Damage to the ciphertext: one byte of a sector of a file's content.
    let damaged = folder.path().join("damaged");
    let damage = |at: u64| {
        let _ = std::fs::remove_file(&damaged);
        files::copy_file(&good, &damaged);
        files::flip(&damaged, at);
        damaged.as_path()
    };
    let range = source.table.byte_range(ROOT);
    let container = Container::open(
        damage(range.start + HEADER_BYTES + block * 4096),
        &source.table,
        ROOT,
    );
    let plain = folder.path().join("plain");
    container.decrypt(&plain);
    let found = judge::filesystem_problems(source, &ext4::read(&plain), &plain, &expected);
    assert_eq!(
        found,
        [
            "/usr/share/large has other content",
            "/var/lib/large has other content"
        ]
    );

    let other = |at: u64| {
        let output = damage(at);
        judge::other_bytes_problems(source, output, &source.table, &expected).join("\n")
    };
    assert_eq!(other(3), "boot code differs from the source at 3");
    let esp = source.table.byte_range(ESP).start;
    assert_eq!(
        other(esp + 5000),
        format!(
            "a partition before the root differs from the source at {}",
            esp + 5000
        )
    );
    assert_eq!(
        other(100 * 512),
        "what lies between the partitions differs from the source at 51200"
    );
    assert_eq!(
        other(range.start - 1),
        format!(
            "a partition before the root differs from the source at {}",
            range.start - 1
        )
    );

    let table = |what: &dyn Fn(&Path)| {
        let _ = std::fs::remove_file(&damaged);
        files::copy_file(&good, &damaged);
        what(&damaged);
        let table = disk::read(&damaged);
        (
            judge::table_problems(source, &table, &expected).len(),
            judge::raw_problems(&damaged, &table),
        )
    };
    assert_eq!(table(&|_| ()), (0, vec![]));
    // An attribute of the root, in both copies with their checksums.
    let (differs, _) = table(&|file| {
        exits(command("sgdisk").args(["-A", "1:set:60"]).arg(file), 0);
    });
    assert_eq!(differs, 1);
    let (_, problems) = table(&|file| files::flip(file, files::open(file).1 - 512 + 60));
    assert!(problems[0].contains("CRC"), "{problems:?}");
    let (_, problems) = table(&|file| files::flip(file, esp + 32 * 512 + 12));
    assert!(problems[0].starts_with("fsck.vfat: "), "{problems:?}");
}

#[test]
fn the_judge_finds_other_parameters_and_other_keys() {
    if !can_judge() {
        return;
    }
    let Good { folder, source } = good(Shape::Roomy);
    let good = folder.path().join("good");
    let wanted = expected(source);
    let container = Container::open(&good, &source.table, ROOT);
    assert_eq!(judge::metadata_problems(&container, &wanted), [""; 0]);
    let large = Expected {
        luks_sector_bytes: 4096,
        ..wanted.clone()
    };
    assert_eq!(judge::metadata_problems(&container, &large).len(), 1);
    let grown = Expected {
        grow_root: true,
        ..wanted.clone()
    };
    assert_eq!(judge::metadata_problems(&container, &grown).len(), 1);
    let plain = folder.path().join("plain");
    container.decrypt(&plain);
    let mut tree = ext4::read(&plain);
    assert_eq!(judge::key_problems(&container, &tree, &wanted), [""; 0]);
    let other = format!("{{\"key\":\"{}\",\"slot\":10}}", STANDARD.encode([7; 32]));
    tree.entries.get_mut(judge::GROWPART_KEY).unwrap().content =
        ext4::Content::File([0; 32], other.into_bytes());
    assert_eq!(
        judge::key_problems(&container, &tree, &wanted),
        ["the growpart key gives 2 at keyslot 10, not 0"]
    );
}

#[test]
fn a_disk_of_large_sectors_is_judged_by_fdisk() {
    if !can_judge() {
        return;
    }
    let source = image(Shape::LargeSectors);
    assert_eq!(source.table.sector_bytes, 4096);
    let folder = scratch();
    let damaged = folder.path().join("damaged");
    files::copy_file(&source.raw, &damaged);
    assert_eq!(disk::problems(&damaged, 4096), "");
    files::flip(&damaged, files::open(&damaged).1 - 4096 + 60);
    assert!(disk::problems(&damaged, 4096).contains("backup GPT table is corrupt"));
    assert!(
        image(Shape::Followed)
            .table
            .partitions
            .contains_key(&BEHIND)
    );
}
