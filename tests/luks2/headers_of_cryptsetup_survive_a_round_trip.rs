//! Headers that cryptsetup made: parsed, opened, and the same bytes again.

use std::fs;
use std::path::{Path, PathBuf};

use base::secret::SecretBytes;
use base::storage::{MemoryStorage, ReadAt};
use luks2::{Error, Header, Kdf, Metadata};

use crate::containers::{base_text, copy, cryptsetup, file, growpart_key, unlock_key};
use crate::support::header_of;
use crate::support::{programs, run, scratch, succeeds_fed};

const FAST: [&str; 2] = ["--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000"];

/// A new container of cryptsetup's own choice, opened by the unlock key.
fn formatted(folder: &Path, words: &[&str]) -> (PathBuf, PathBuf) {
    let key = file(folder, "key", unlock_key().expose());
    let path = file(folder, "container", &[]);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(20 << 20)
        .unwrap();
    let mut format = cryptsetup(&["luksFormat", "--type=luks2"], &path);
    run(format.args(FAST).args(words).arg("--key-file").arg(&key));
    (path, key)
}

/// Both copies of the header in `path`, which must be sound, and must come out as they went in.
fn round_trip(path: &Path) -> (Header, MemoryStorage) {
    let bytes = fs::read(path).unwrap();
    let storage = MemoryStorage::new(bytes);
    let header = header_of(&storage).ok().unwrap();
    assert_eq!(header.warnings(), []);
    let mut offset = 0;
    for copy in header.valid_copies() {
        let copy = copy.to_bytes().unwrap();
        assert!(storage.read_vec(offset, copy.len()).unwrap() == copy);
        offset += copy.len() as u64;
    }
    assert_eq!(offset, header.metadata().keyslots_start_bytes());
    (header, storage)
}

#[test]
fn from_format_to_the_last_change() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let folder = scratch();
    let (path, key) = formatted(folder.path(), &["--hash=sha512", "--sector-size=512"]);
    let (header, storage) = round_trip(&path);
    assert!(header.unlock(Some(0), &unlock_key(), &storage).is_ok());

    let new = file(folder.path(), "new", growpart_key().expose());
    let add = |words: &[&str]| {
        run(cryptsetup(&["luksAddKey", "--key-file"], &key)
            .args(words)
            .args([&path, &new]));
    };
    add(&FAST);
    round_trip(&path);
    add(&[
        "--pbkdf=argon2id",
        "--pbkdf-memory=32",
        "--pbkdf-parallel=1",
        "--pbkdf-force-iterations=4",
    ]);
    round_trip(&path);

    let mut import = cryptsetup(&["token", "import", "--token-id=3"], &path);
    let token = r#"{"type":"other","keyslots":["1"],"numbers":[1.10,1e3],"text":"é/\n"}"#;
    succeeds_fed(&mut import, token);
    run(&mut cryptsetup(
        &["config", "--label=a label", "--subsystem=a subsystem"],
        &path,
    ));
    run(&mut cryptsetup(
        &["config", "--key-slot=1", "--priority=prefer"],
        &path,
    ));
    let (header, storage) = round_trip(&path);
    assert_eq!(header.current().label(), "a label");
    let token = &header.metadata().tokens[0];
    assert_eq!(
        (token.number, token.kind.as_str(), token.keyslots.as_slice()),
        (3, "other", &[1][..])
    );
    assert!(token.json.contains("[1.10,1e3]"));
    assert_eq!(
        header
            .metadata()
            .keyslot(1)
            .unwrap()
            .luks2()
            .unwrap()
            .priority,
        2
    );

    // The preferred keyslot goes first, whatever its number.
    let (keyslot, _) = header.unlock(None, &growpart_key(), &storage).ok().unwrap();
    assert_eq!(keyslot, 1);
    let error = header
        .unlock(Some(1), &unlock_key(), &storage)
        .err()
        .unwrap();
    assert_eq!(error.to_string(), "the key does not open keyslot 1");
    let error = header
        .unlock(Some(7), &unlock_key(), &storage)
        .err()
        .unwrap();
    assert_eq!(error.to_string(), "there is no keyslot 7");
    // Argon2 as well.
    let argon = header.metadata().keyslot(2).unwrap().luks2().unwrap();
    assert!(matches!(
        &argon.kdf,
        Kdf::Argon2 {
            memory_kib: 32,
            time: 4,
            cpus: 1,
            ..
        }
    ));
    let (_, by_argon) = header
        .unlock(Some(2), &growpart_key(), &storage)
        .ok()
        .unwrap();
    let (_, by_pbkdf) = header
        .unlock(Some(0), &unlock_key(), &storage)
        .ok()
        .unwrap();
    assert!(by_argon == by_pbkdf);
    // Without PBKDF2's keyslots it is found by itself.
    let any = header.unlock_any(&[1], &growpart_key(), &storage);
    assert_eq!(any.ok().unwrap().0, 2);
    let wrong = SecretBytes::new(b"wrong".to_vec());
    for (keyslot, said) in [
        (Some(2), "the key does not open keyslot 2"),
        (None, "the key opens no keyslot"),
    ] {
        let error = header.unlock(keyslot, &wrong, &storage).err().unwrap();
        assert_eq!(error.to_string(), said);
    }

    run(cryptsetup(&["luksKillSlot", "--key-file"], &key)
        .arg(&path)
        .arg("1"));
    let (header, storage) = round_trip(&path);
    assert!(header.unlock(Some(0), &unlock_key(), &storage).is_ok());
    assert!(header.metadata().tokens[0].keyslots.is_empty());
    run(cryptsetup(&["luksKillSlot", "--key-file"], &key)
        .arg(&path)
        .arg("2"));
    let (header, storage) = round_trip(&path);
    let error = header
        .unlock(None, &growpart_key(), &storage)
        .err()
        .unwrap();
    assert_eq!(error.to_string(), "the key opens no keyslot");
}

#[test]
fn an_unfinished_reencryption_is_read_and_not_changed() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let folder = scratch();
    let key = file(folder.path(), "key", unlock_key().expose());
    let path = file(folder.path(), "container", &vec![7; 40 << 20]);
    let words = [
        "reencrypt",
        "--encrypt",
        "--type=luks2",
        "--init-only",
        "--disable-locks",
    ];
    let mut begin = cryptsetup(&words, &path);
    run(begin
        .args(FAST)
        .arg("--reduce-device-size=32m")
        .arg("--key-file")
        .arg(&key));
    let (header, storage) = round_trip(&path);
    assert!(header.metadata().is_in_reencryption() && header.metadata().segment().is_none());
    assert!(header.unlock(Some(0), &unlock_key(), &storage).is_ok());
    assert_eq!(
        header.update().err().unwrap().to_string(),
        "an unfinished reencryption: finish it with cryptsetup before anything else changes this container"
    );
    let error = header
        .unlock(Some(1), &unlock_key(), &storage)
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "keyslot 1 uses no volume key but a reencryption, which this program does not support yet"
    );
}

#[test]
fn what_this_program_does_not_know_is_read_and_not_changed() {
    let read = |text: &str| {
        let mut bytes = vec![0; 16 << 20];
        for (second, offset) in [(false, 0), (true, 512 << 10)] {
            bytes[offset..offset + (512 << 10)].copy_from_slice(&copy(
                second,
                512 << 10,
                text.as_bytes(),
                &|_| {},
            ));
        }
        header_of(&MemoryStorage::new(bytes)).ok().unwrap()
    };
    let text = base_text();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from));
        read(&text.replace(from, to))
            .update()
            .err()
            .unwrap()
            .to_string()
    };
    assert!(read(&text).update().is_ok());
    assert_eq!(
        changed(
            "\"config\":{",
            "\"config\":{\"requirements\":{\"mandatory\":[\"eci-in-place-v1\"]},"
        ),
        "the header demands eci-in-place-v1, which this program does not know, so it changes nothing"
    );
    assert_eq!(
        changed(
            "\"iv_tweak\":\"0\",\"encryption\":\"aes-xts-plain64\"",
            "\"iv_tweak\":\"0\",\"encryption\":\"serpent-xts-plain64\""
        ),
        "segments.0.encryption is serpent-xts-plain64; this program knows aes-xts-plain64 alone"
    );
    assert_eq!(
        changed(
            "\"iv_tweak\"",
            "\"integrity\":{\"type\":\"aead\"},\"iv_tweak\""
        ),
        "segment 0 has authenticated encryption, which this program does not know"
    );
}

#[test]
fn a_keyslot_that_cannot_be_tried_says_why() {
    let unlock = |from: &str, to: &str| {
        let text = base_text();
        assert!(text.contains(from));
        // Keyslot 10 alone: the last occurrence.
        let at = text.rfind(from).unwrap();
        let text = format!("{}{to}{}", &text[..at], &text[at + from.len()..]);
        let mut bytes = vec![0; 16 << 20];
        let copy = copy(false, 512 << 10, text.as_bytes(), &|_| {});
        bytes[..512 << 10].copy_from_slice(&copy);
        let storage = MemoryStorage::new(bytes);
        let header = header_of(&storage).ok().unwrap();
        let unlock: fn(&Metadata, &MemoryStorage) -> Result<_, Error> =
            |metadata, storage| metadata.unlock(Some(10), &unlock_key(), storage);
        unlock(header.metadata(), &storage)
            .err()
            .unwrap()
            .to_string()
    };
    let unsupported =
        |what: &str| format!("keyslot 10 uses {what}, which this program does not support yet");
    let from = "\"key_size\":64,\"af\":";
    assert_eq!(
        unlock(from, "\"key_size\":32,\"af\":"),
        unsupported("a volume key of 32 bytes")
    );
    let from = "aes-xts-plain64\",\"key_size\":64";
    assert_eq!(
        unlock(from, "aes-xts-plain64\",\"key_size\":32"),
        unsupported("an area key of 32 bytes")
    );
    assert_eq!(
        unlock(from, "aes-cbc-essiv\",\"key_size\":64"),
        unsupported("aes-cbc-essiv")
    );
    let from = "\"stripes\":4000,\"hash\":\"sha256\"";
    assert_eq!(
        unlock(from, "\"stripes\":4000,\"hash\":\"md5\""),
        unsupported("md5")
    );
    let from = "\"hash\":\"sha256\",\"iterations\":1000,\"salt\":\"gIG";
    let kdf = |hash: &str, iterations: &str, salt: &str| {
        unlock(
            from,
            &format!("\"hash\":\"{hash}\",\"iterations\":{iterations},\"salt\":\"{salt}"),
        )
    };
    assert_eq!(kdf("whirlpool", "1000", "gIG"), unsupported("whirlpool"));
    assert_eq!(kdf("sha256", "0", "gIG"), unsupported("0 iterations"));
    assert_eq!(
        kdf("sha256", "1000", "AAAAgIG"),
        unsupported("a salt that is not 32 bytes")
    );
    assert_eq!(
        kdf("sha256", "4294967295", "gIG"),
        "keyslots.10.kdf.iterations asks for 4294967295 iterations; this program computes 100000000 at most"
    );
    let from = "\"hash\":\"sha256\",\"iterations\":1000,\"salt\":\"wMHC";
    let to = "\"hash\":\"sha256\",\"iterations\":100000001,\"salt\":\"wMHC";
    assert_eq!(
        unlock(from, to),
        "digests.0.iterations asks for 100000001 iterations; this program computes 100000000 at most"
    );
}
