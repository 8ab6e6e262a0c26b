//! The container's parameters as cryptsetup shows them, and what must be random in every container.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::container::Container;
use crate::support::image::{ROOT, Shape, image};
use crate::support::workshop::{Workshop, stderr};
use crate::support::{command, disk, exits, files, programs, run};

struct Encrypted {
    workshop: Workshop,
    file: PathBuf,
    container: Container,
    root_bytes: u64,
}

fn encrypted(options: &[&str]) -> (Encrypted, String) {
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    let mut encrypt = workshop.encrypt();
    let output = exits(
        encrypt
            .args(options)
            .args(["-o", "output.img", "source.img"]),
        0,
    );
    let file = workshop.path("output.img");
    let table = disk::read(&file);
    let container = Container::open(&file, &table, ROOT);
    let root_bytes = table.byte_range(ROOT).start;
    (
        Encrypted {
            workshop,
            file,
            container,
            root_bytes,
        },
        stderr(&output),
    )
}

#[test]
fn luks_dump_shows_what_the_guest_and_the_reference_expect() {
    if !crate::can_judge() || !programs(&["blkid"]) {
        return;
    }
    let (encrypted, _) = encrypted(&[]);
    let dump = encrypted.container.dump();
    let words: Vec<_> = dump
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        "Version: 2",
        "Epoch: 1",
        "Metadata area: 524288 [bytes]",
        "Keyslots area: 15728640 [bytes]",
        "Label: cloudimg-rootfs-enc",
        "Subsystem: (no subsystem)",
        "Flags: (no flags)",
        "0: crypt",
        "offset: 16777216 [bytes]",
        "length: (whole device)",
        "cipher: aes-xts-plain64",
        "sector: 512 [bytes]",
        "0: luks2",
        "10: luks2",
        "Key: 512 bits",
        "Priority: normal",
        "PBKDF: pbkdf2",
        "Hash: sha256",
        "Iterations: 1000",
        "AF stripes: 4000",
        "AF hash: sha256",
        "Area offset:1048576 [bytes]",
        "Area offset:1306624 [bytes]",
        "Area length:258048 [bytes]",
        "0: ubuntu-fde-cloudimg-key",
        "Keyslot: 0",
        "0: pbkdf2",
    ] {
        assert!(words.iter().any(|found| found == line), "{line}: {dump}");
    }
    // The initramfs finds the volume by what this shows.
    let probe = run(command("blkid")
        .args(["-p", "-o", "export"])
        .arg(&encrypted.container.header));
    for line in ["TYPE=crypto_LUKS", "LABEL=cloudimg-rootfs-enc", "VERSION=2"] {
        assert!(probe.lines().any(|found| found == line), "{probe}");
    }
}

#[test]
fn both_header_copies_are_whole_and_the_keyslots_area_is_random() {
    if !crate::can_judge() {
        return;
    }
    let (encrypted, _) = encrypted(&[]);
    let read =
        |offset: u64, len: usize| files::read(&encrypted.file, encrypted.root_bytes + offset, len);
    let (primary, secondary) = (read(0, 4096), read(524_288, 4096));
    assert_eq!(&primary[..6], b"LUKS\xba\xbe");
    assert_eq!(&secondary[..6], b"SKUL\xba\xbe");
    assert_eq!(primary[16..24], 1_u64.to_be_bytes(), "sequence id");
    assert_eq!(secondary[16..24], 1_u64.to_be_bytes(), "sequence id");
    assert_ne!(primary[104..168], secondary[104..168], "salts");
    assert_eq!(read(4096, 520_192), read(528_384, 520_192), "JSON");
    for (copy, offset) in [(&primary, 0), (&secondary, 524_288)] {
        use sha2::Digest as _;
        let mut bytes = [copy.as_slice(), &read(offset + 4096, 520_192)].concat();
        bytes[448..512].fill(0);
        assert_eq!(copy[448..480], sha2::Sha256::digest(&bytes)[..]);
        assert!(files::is_zero(&copy[480..]));
    }
    // Filled before the material was placed: also behind it, and in the areas that no keyslot has.
    for offset in (1_048_576..16_777_216).step_by(4096) {
        let distinct: BTreeSet<u8> = read(offset, 4096).into_iter().collect();
        assert!(
            distinct.len() > 200,
            "4096 bytes at {offset} hold {} values",
            distinct.len()
        );
    }
}

#[test]
fn every_container_has_keys_salts_and_an_identifier_of_its_own() {
    if !crate::can_judge() {
        return;
    }
    let (one, _) = encrypted(&[]);
    let (other, _) = encrypted(&[]);
    let facts = |encrypted: &Encrypted| {
        let metadata = &encrypted.container.metadata;
        let uuid = run(command("cryptsetup")
            .arg("luksUUID")
            .arg(&encrypted.container.header));
        let uuid = uuid::Uuid::parse_str(uuid.trim()).unwrap();
        assert_eq!(uuid.get_version_num(), 4);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        vec![
            uuid.to_string(),
            hex::encode(encrypted.container.unlock_key()),
            hex::encode(encrypted.container.volume_key()),
            metadata["keyslots"]["0"]["kdf"]["salt"].to_string(),
            metadata["keyslots"]["10"]["kdf"]["salt"].to_string(),
            metadata["digests"]["0"]["salt"].to_string(),
            hex::encode(files::read(&encrypted.file, encrypted.root_bytes + 104, 64)),
            hex::encode(files::read(
                &encrypted.file,
                encrypted.root_bytes + 16_000_000,
                64,
            )),
        ]
    };
    let facts: BTreeSet<_> = facts(&one).into_iter().chain(facts(&other)).collect();
    assert_eq!(facts.len(), 16);
}

#[test]
fn no_key_is_told_and_none_lies_in_the_output_but_the_token() {
    use base64::Engine as _;
    if !crate::can_judge() {
        return;
    }
    let (encrypted, talk) = encrypted(&["-v"]);
    // What is searched below has what each crate tells.
    for told in [" threads encrypt", "confined"] {
        assert!(talk.contains(told), "{told}: {talk}");
    }
    let plain = encrypted.workshop.path("plain");
    encrypted.container.decrypt(&plain);
    let tree = crate::support::ext4::read(&plain);
    let unlock_key = encrypted.container.unlock_key();
    let growpart_key = crate::support::judge::growpart_key(&tree);
    let forms = |key: &[u8]| {
        let base64 = base64::engine::general_purpose::STANDARD.encode(key);
        [
            key.to_vec(),
            hex::encode(key).into_bytes(),
            hex::encode_upper(key).into_bytes(),
            base64.into_bytes(),
        ]
    };
    let holds = |file: &Path, needle: &[u8]| files::find(file, needle).is_some();
    for key in [
        &unlock_key,
        &growpart_key,
        &encrypted.container.volume_key(),
    ] {
        for form in forms(key) {
            assert_eq!(
                files::find_in(talk.as_bytes(), &form),
                None,
                "in what was told"
            );
            let is_token = key == &unlock_key && form.len() == 24;
            assert_eq!(holds(&encrypted.file, &form), is_token);
        }
    }
    // The search finds what is there.
    assert!(holds(&plain, &forms(&growpart_key)[3]));
}
