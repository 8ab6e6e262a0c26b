//! New containers: parameters, keys and data, judged by cryptsetup.

use std::fs;

use luks2::SectorSize;

use crate::containers::{
    LABEL, UUID, container, container_file, cryptsetup, file, growpart_key, stream, try_key,
    unlock_key,
};
use crate::support::{command, exits, programs, run, scratch};

const SIZES: [SectorSize; 2] = [SectorSize::S512, SectorSize::S4096];

#[test]
fn the_dump_shows_the_parameters() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    for size in SIZES {
        let folder = scratch();
        let path = file(folder.path(), "container", &container(size, &[0; 4096]).1);
        let dump = run(&mut cryptsetup(&["luksDump"], &path));
        let words: Vec<&str> = dump.split_whitespace().collect();
        let dump = words.join(" ");
        let sector = format!("sector: {} [bytes]", size.bytes());
        for expected in [
            "Version: 2",
            "Epoch: 1",
            "Metadata area: 524288 [bytes]",
            "Keyslots area: 15728640 [bytes]",
            &format!("UUID: {UUID}"),
            &format!("Label: {LABEL}"),
            "Flags: (no flags)",
            "0: crypt offset: 16777216 [bytes] length: (whole device) cipher: aes-xts-plain64",
            &sector,
            "0: luks2 Key: 512 bits Priority: normal Cipher: aes-xts-plain64 Cipher key: 512 bits \
             PBKDF: pbkdf2 Hash: sha256 Iterations: 1000",
            "AF stripes: 4000 AF hash: sha256 Area offset:1048576 [bytes] Area length:258048 [bytes]",
            "Area offset:1306624 [bytes] Area length:258048 [bytes]",
            "Tokens: 0: ubuntu-fde-cloudimg-key Keyslot: 0",
            "0: pbkdf2 Hash: sha256 Iterations: 1000",
        ] {
            assert!(dump.contains(expected), "{expected}\n{dump}");
        }
        let id = run(command("blkid").args(["-p", "-o", "export"]).arg(&path));
        for expected in [
            format!("UUID={UUID}"),
            format!("LABEL={LABEL}"),
            "TYPE=crypto_LUKS".to_owned(),
        ] {
            assert!(id.contains(&expected), "{id}");
        }
    }
}

#[test]
fn each_key_opens_its_keyslot_and_no_other() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let folder = scratch();
    let path = container_file(folder.path());
    let unlock = file(folder.path(), "unlock", unlock_key().expose());
    let growpart = file(folder.path(), "growpart", growpart_key().expose());
    let wrong = file(
        folder.path(),
        "wrong",
        &[unlock_key().expose(), b"\n"].concat(),
    );
    let tries = [
        (0, &unlock, 0),
        (0, &growpart, 2),
        (0, &wrong, 2),
        (10, &growpart, 0),
        (10, &unlock, 2),
    ];
    for (keyslot, key, code) in tries {
        assert_eq!(
            try_key(&path, keyslot, key),
            code,
            "keyslot {keyslot}, {key:?}"
        );
    }
    assert_ne!(try_key(&path, 1, &unlock), 0);
}

#[test]
fn the_dumped_volume_key_is_ours() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let folder = scratch();
    let (volume_key, bytes) = container(SectorSize::S4096, &[0; 4096]);
    let path = file(folder.path(), "container", &bytes);
    let key = file(folder.path(), "key", growpart_key().expose());
    let dumped = folder.path().join("volume-key");
    let words = ["luksDump", "--dump-volume-key", "--volume-key-file"];
    exits(
        cryptsetup(&words, &dumped)
            .arg("--key-file")
            .arg(key)
            .arg(path),
        0,
    );
    assert!(fs::read(dumped).unwrap() == volume_key.expose());
}

#[test]
fn the_data_decrypt_to_what_went_in() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    for size in SIZES {
        let folder = scratch();
        let plain = stream("data", 256 << 10);
        let path = file(folder.path(), "container", &container(size, &plain).1);
        let key = file(folder.path(), "key", unlock_key().expose());
        let mut decrypt = command("cryptsetup");
        decrypt
            .args(["-q", "--disable-locks", "reencrypt", "--decrypt"])
            .args(["--force-offline-reencrypt", "--header"])
            .arg(folder.path().join("exported-header"))
            .arg("--key-file")
            .args([&key, &path]);
        exits(&mut decrypt, 0);
        assert!(fs::read(&path).unwrap()[..plain.len()] == plain, "{size:?}");
    }
}
