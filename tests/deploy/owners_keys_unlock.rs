//! What `--unlock-with` takes: the keys that an owner has, in the keyslots that cryptsetup makes for them.

use serde_json::json;

use crate::encrypted::{Encrypted, FLAGS, WITHOUT_PCRS, ready};
use crate::resealed::{RECOVERY_KEY, again, deployed, opened_by, sealed_again};
use crate::support::container::Container;
use crate::support::workshop::{refused, stderr};
use crate::support::{command, exits, files};

/// An image that is deployed after cryptsetup gave it a keyslot of these options, number 2.
fn with_passphrase(passphrase: &[u8], options: &[&str]) -> Encrypted {
    let encrypted = Encrypted::new();
    encrypted.workshop.write("passphrase", passphrase);
    encrypted.workshop.write("recovery.key", &RECOVERY_KEY);
    let container = encrypted.container();
    let key = encrypted.workshop.write("key", &encrypted.clear_key);
    let mut add = command("cryptsetup");
    add.args(["-q", "luksAddKey", "--key-slot", "2"])
        .args(options);
    add.arg("--key-file").arg(key).arg(&container.header);
    exits(add.arg(encrypted.workshop.path("passphrase")), 0);
    encrypted.put_back(&container);
    encrypted.deployed(&WITHOUT_PCRS)
}

fn unlock_with(deployed: &Encrypted, file: &str) -> std::process::Command {
    let mut deploy = deployed.deploy(&["--unlock-with", file]);
    deploy.args(WITHOUT_PCRS).arg("disk.img");
    deploy
}

#[test]
fn keyslots_of_every_derivation_that_cryptsetup_has() {
    if !ready() {
        return;
    }
    let few = ["--pbkdf-memory", "65536", "--pbkdf-force-iterations", "4"];
    let argon2id = [&["--pbkdf", "argon2id", "--pbkdf-parallel", "4"], &few[..]].concat();
    let argon2i = [&["--pbkdf", "argon2i", "--pbkdf-parallel", "1"], &few[..]].concat();
    let pbkdf2 = [
        "--pbkdf",
        "pbkdf2",
        "--hash",
        "sha512",
        "--pbkdf-force-iterations",
        "2000",
    ];
    for options in [&argon2id[..], &argon2i, &pbkdf2] {
        let deployed = with_passphrase(b"a passphrase of the owner's", options);
        let before = deployed.container();
        exits(&mut unlock_with(&deployed, "passphrase"), 0);
        let after = deployed.container();
        assert_eq!(
            before.metadata["keyslots"]["2"],
            after.metadata["keyslots"]["2"]
        );
        assert_eq!(opened_by(&after, b"a passphrase of the owner's"), [2]);
        assert_eq!(opened_by(&after, &deployed.clear_key), [0; 0]);
    }
}

/// What cryptsetup asks for by itself: 1 GiB of memory, or what half of this machine has.
#[test]
fn a_keyslot_of_cryptsetups_defaults() {
    if !ready() || std::env::var_os("ECI_TEST_ALL").is_none() {
        return;
    }
    let deployed = with_passphrase(b"defaults", &[]);
    let kdf = &deployed.container().metadata["keyslots"]["2"]["kdf"];
    assert_eq!(kdf["type"], "argon2id");
    exits(&mut unlock_with(&deployed, "passphrase"), 0);
}

/// The memory that a keyslot asks for is what the header says, and whoever made the image can write anything there.
#[test]
fn a_keyslot_that_asks_for_too_much_memory_is_refused_before_it_is_allocated() {
    if !ready() {
        return;
    }
    let options = [
        "--pbkdf",
        "argon2id",
        "--pbkdf-memory",
        "64",
        "--pbkdf-parallel",
        "1",
        "--pbkdf-force-iterations",
        "4",
    ];
    let deployed = with_passphrase(b"hostile", &options);
    let container = deployed.container();
    for (memory, time) in [(4_194_305_u32, 4_u32), (64, 4_294_967_295), (4_194_304, 65)] {
        let mut metadata = container.metadata.clone();
        metadata["keyslots"]["2"]["kdf"]["memory"] = json!(memory);
        metadata["keyslots"]["2"]["kdf"]["time"] = json!(time);
        write_header(&deployed, &container, &metadata.to_string());
        let before = files::digest(&deployed.image);
        assert_eq!(
            refused(&mut unlock_with(&deployed, "passphrase")),
            format!(
                "error: disk.img: the LUKS2 container in partition 1: keyslot 2 asks for {memory} KiB of memory, in {time} passes; this program takes 4 GiB, and 256 GiB in all passes, at most\n"
            )
        );
        assert_eq!(files::digest(&deployed.image), before);
    }
}

/// Writes metadata into both copies, with checksums that are right.
fn write_header(deployed: &Encrypted, container: &Container, text: &str) {
    use sha2::{Digest as _, Sha256};
    let mut head = files::read(&container.header, 0, 1 << 20);
    for copy in head.chunks_mut(524_288) {
        copy[4096..].fill(0);
        copy[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
        copy[448..512].fill(0);
        let checksum: [u8; 32] = Sha256::digest(&copy[..]).into();
        copy[448..480].copy_from_slice(&checksum);
    }
    let start = deployed.table().byte_range(crate::encrypted::ROOT).start;
    files::write(&deployed.image, start, &head);
}

/// The file of `--recovery-key-out` is taken as it is, whatever the kind of key object; so are the digits.
#[test]
fn recovery_keys_in_every_form_that_this_program_writes() {
    if !ready() {
        return;
    }
    let digits = "12592-13106-13620-14134-14648-25185-25699-26213";
    for kind in ["secboot", "systemd-tpm2"] {
        let flags = [&WITHOUT_PCRS[..], &["--key-object", kind]].concat();
        let encrypted = Encrypted::new();
        let deployed =
            encrypted.deployed(&[&flags[..], &["--recovery-key-out", "new.key"]].concat());
        let mut deploy = deployed.deploy(&["--unlock-with", "new.key"]);
        exits(deploy.args(&flags).arg("disk.img"), 0);

        let deployed = self::deployed(&flags);
        sealed_again(&deployed, &flags);
        deployed
            .workshop
            .write("digits", format!("{digits}\n").as_bytes());
        let mut deploy = deployed.deploy(&["--unlock-with", "digits"]);
        exits(deploy.args(&flags).arg("disk.img"), 0);
    }
}

#[test]
fn files_that_open_nothing_are_refused_and_say_why() {
    if !ready() {
        return;
    }
    let deployed = deployed(&FLAGS);
    let before = files::digest(&deployed.image);
    let refuse = |name: &str, content: Option<&[u8]>| {
        content.map(|content| deployed.workshop.write(name, content));
        refused(&mut unlock_with(&deployed, name))
    };
    assert_eq!(
        refuse("wrong", Some(b"wrong")),
        "error: --unlock-with: the key in wrong opens no keyslot of the LUKS2 container in partition 1\n"
    );
    assert_eq!(
        refuse("line", Some(b"0123456789abcdef\n")),
        "error: --unlock-with: the key in line opens no keyslot of the LUKS2 container in partition 1; it ends in a newline, which is a part of it\n\
         hint: take the newline off: head -c -1 line | encrypt-cloud-image deploy --unlock-with /dev/stdin ...\n"
    );
    assert_eq!(
        refuse("empty", Some(b"")),
        "error: --unlock-with: empty is empty\n"
    );
    assert_eq!(
        refuse("long", Some(&vec![7; (8 << 20) + 1])),
        "error: --unlock-with: long has more than 8 MiB, and is no key\n"
    );
    assert_eq!(
        refuse("none", None),
        "error: --unlock-with: cannot read none\n  because: No such file or directory (os error 2)\n"
    );
    assert_eq!(files::digest(&deployed.image), before);
    // As the hint says.
    let mut deploy = again(&deployed, &FLAGS);
    assert!(stderr(&exits(&mut deploy, 0)).contains("sealed again"));
}
