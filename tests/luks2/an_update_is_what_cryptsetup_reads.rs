//! Changes to a header: what cryptsetup sees afterwards, what stays, what a crash leaves.

use std::fs;
use std::path::Path;

use base::secret::{SecretBytes, SystemEntropy};
use base::storage::{FileStorage, MemoryStorage, ReadAt, WriteAt};
use luks2::{Area, Header, NewContainer, Position, SectorSize, Update, VolumeKey};
use serde_json::{Value, json};

use crate::containers::{
    UUID, container, container_file, cryptsetup, encrypt_like, file, growpart_key, try_key,
    unlock_key,
};
use crate::support::header_of;
use crate::support::{programs, run, scratch, succeeds_fed};

const COPY: u64 = 512 << 10;

fn read(container: &dyn ReadAt) -> Header {
    let header = header_of(container).ok().unwrap();
    assert_eq!(header.warnings(), []);
    header
}

/// Both copies in the order that the update names.
fn write(update: &Update, container: &dyn WriteAt) {
    let mut entropy = SystemEntropy::new();
    for position in update.order() {
        update
            .write_copy(position, container, &mut entropy)
            .unwrap();
        container.flush().unwrap();
    }
}

fn open(path: &Path) -> FileStorage {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    FileStorage::new(file).unwrap()
}

fn json_of(header: &Header) -> Value {
    serde_json::from_str(header.current().text()).unwrap()
}

/// What `deploy` does to a header: a recovery keyslot comes, the clear key goes.
#[test]
fn a_new_keyslot_opens_and_the_clear_key_is_gone() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let folder = scratch();
    let (volume_key, bytes) = container(SectorSize::S512, &[0; 4096]);
    let path = file(folder.path(), "container", &bytes);
    let storage = open(&path);
    let header = read(&storage);
    let (token, clear_key) = header.metadata().clear_key().ok().flatten().unwrap();
    assert!(clear_key.key == unlock_key() && clear_key.keyslots == [0] && token == 0);

    let mut update = header.update().ok().unwrap();
    let recovery = SecretBytes::new(b"recovery key, test only".to_vec());
    let mut entropy = SystemEntropy::new();
    let added = update.add_keyslot(None, &volume_key, &recovery, &mut entropy);
    let material = added.ok().unwrap();
    update.remove_token(token).unwrap();
    // The places that an ordinary user of cryptsetup would get.
    assert_eq!(
        (material.keyslot(), material.offset_bytes()),
        (1, 1_564_672)
    );
    material.write(&storage).unwrap();
    storage.flush().unwrap();
    write(&update, &storage);

    let header = read(&storage);
    assert_eq!(header.current().sequence_id(), 2);
    let text = header.current().text();
    assert!(text.contains(r#""tokens":{},"segments""#));
    assert!(text.contains(r#""keyslots":["0","10","1"]"#));
    let head = storage.read_vec(0, 16 << 20).unwrap();
    let trace = |needle: &[u8]| head.windows(needle.len()).any(|window| window == needle);
    assert!(!trace(b"ubuntu-fde") && !trace(b"EBESExQVFhcYGRobHB0eHw"));
    assert!(trace(b"\"tokens\":{}"));

    let keys = [
        (0, file(folder.path(), "0", unlock_key().expose())),
        (1, file(folder.path(), "1", recovery.expose())),
        (10, file(folder.path(), "10", growpart_key().expose())),
    ];
    for (keyslot, key) in &keys {
        for (other, _) in &keys {
            let code = if keyslot == other { 0 } else { 2 };
            assert_eq!(
                try_key(&path, *other, key),
                code,
                "key {keyslot} on {other}"
            );
        }
    }
    assert!(run(&mut cryptsetup(&["luksDump"], &path)).contains("Epoch:         \t2\n"));
}

#[test]
fn a_removed_keyslot_leaves_nothing() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let folder = scratch();
    let path = container_file(folder.path());
    let storage = open(&path);
    let before = storage.read_vec(0, 16 << 20).unwrap();
    let mut update = read(&storage).update().ok().unwrap();
    let area = update.remove_keyslot(0).unwrap();
    assert_eq!(
        area,
        Area {
            offset_bytes: 1 << 20,
            size_bytes: 258_048
        }
    );
    write(&update, &storage);
    area.overwrite(&storage, &mut SystemEntropy::new()).unwrap();

    let header = read(&storage);
    assert!(header.metadata().keyslot(0).is_none());
    assert!(header.metadata().tokens[0].keyslots.is_empty());
    assert_eq!(json_of(&header)["digests"]["0"]["keyslots"], json!(["10"]));
    let after = storage.read_vec(0, 16 << 20).unwrap();
    let (start, end) = (1 << 20, (1 << 20) + 258_048);
    for sector in (start..end).step_by(512) {
        assert!(before[sector..sector + 512] != after[sector..sector + 512]);
    }
    assert!(before[end..] == after[end..]);
    let unlock = file(folder.path(), "0", unlock_key().expose());
    let growpart = file(folder.path(), "10", growpart_key().expose());
    assert_ne!(try_key(&path, 0, &unlock), 0);
    assert_eq!(try_key(&path, 10, &growpart), 0);

    // The gap is taken again, by us and by cryptsetup.
    let mut update = header.update().ok().unwrap();
    let (_, key) = header
        .unlock(Some(10), &growpart_key(), &storage)
        .ok()
        .unwrap();
    let material = update
        .add_keyslot(Some(5), &key, &unlock_key(), &mut SystemEntropy::new())
        .ok()
        .unwrap();
    assert_eq!(material.offset_bytes(), 1 << 20);
    material.write(&storage).unwrap();
    write(&update, &storage);
    assert_eq!(try_key(&path, 5, &unlock), 0);
    let add = [
        "luksAddKey",
        "--pbkdf=pbkdf2",
        "--pbkdf-force-iterations=1000",
        "--key-file",
    ];
    run(cryptsetup(&add, &unlock).args([&path, &growpart]));
    assert_eq!(try_key(&path, 0, &growpart), 0);
    assert_eq!(
        read(&storage)
            .metadata()
            .keyslot(0)
            .unwrap()
            .area
            .offset_bytes,
        1_564_672
    );
}

#[test]
fn what_others_wrote_survives_our_update_and_ours_survives_theirs() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let folder = scratch();
    let path = container_file(folder.path());
    let mut import = cryptsetup(&["token", "import"], &path);
    let token = r#"{"type":"other","keyslots":["10"],"deep":{"numbers":[1.10,1e3]},"text":"é/"}"#;
    succeeds_fed(&mut import, token);
    run(&mut cryptsetup(&["config", "--label=theirs"], &path));

    let storage = open(&path);
    let header = read(&storage);
    let theirs = header.metadata().tokens[1].json.clone();
    let mut update = header.update().ok().unwrap();
    update.remove_token(0).unwrap();
    let ours = r#"{"type":"ours", "keyslots":[], "number":2.50}"#;
    assert_eq!(update.add_token(None, ours).unwrap(), 0);
    update.set_label("ours").unwrap();
    write(&update, &storage);
    let header = read(&storage);
    let [kept, new] = header.metadata().tokens.as_slice() else {
        panic!("two tokens")
    };
    assert_eq!((kept.number, kept.json.as_str()), (1, theirs.as_str()));
    assert!(theirs.contains(r#""deep":{"numbers":[1.10,1e3]}"#));
    assert_eq!(
        (new.number, new.json.as_str()),
        (0, r#"{"type":"ours","keyslots":[],"number":2.50}"#)
    );
    assert_eq!(header.current().label(), "ours");

    let dump = run(&mut cryptsetup(&["luksDump"], &path));
    assert!(
        dump.contains("Label:         \tours\n") && dump.contains("0: ours"),
        "{dump}"
    );
    run(&mut cryptsetup(&["config", "--label=again"], &path));
    let (before, after) = (json_of(&header), json_of(&read(&storage)));
    assert_eq!(before, after);
    assert!(read(&storage).current().text().contains("2.50"));
}

#[test]
fn the_copy_that_a_reader_would_not_take_is_written_first() {
    let (_, bytes) = container(SectorSize::S512, &[]);
    let order = |damaged: Option<usize>| {
        let mut bytes = bytes.clone();
        if let Some(offset) = damaged {
            bytes[offset] ^= 1;
        }
        let header = header_of(&MemoryStorage::new(bytes)).ok().unwrap();
        header.update().ok().unwrap().order()
    };
    let secondary_first = [Position::Secondary, Position::Primary];
    assert_eq!(order(None), secondary_first);
    assert_eq!(order(Some(5000 + (512 << 10))), secondary_first);
    assert_eq!(order(Some(5000)), [Position::Primary, Position::Secondary]);
}

/// Every torn state of the two writes, for a choice of tears, from a sound start and from a damaged one.
#[test]
fn a_torn_update_opens_in_the_old_state_or_in_the_new_one() {
    let (_, sound) = container(SectorSize::S512, &[]);
    for damage in [None, Some(4200), Some(4200 + (512 << 10))] {
        let mut start = sound.clone();
        if let Some(offset) = damage {
            start[offset] ^= 1;
        }
        let storage = MemoryStorage::new(start.clone());
        let mut update = header_of(&storage).ok().unwrap().update().ok().unwrap();
        update.remove_token(0).unwrap();
        let mut entropy = SystemEntropy::new();
        let copies = update.order().map(|position| {
            let offset = if position == Position::Primary {
                0
            } else {
                COPY
            };
            (offset, update.copy_bytes(position, &mut entropy).unwrap())
        });
        for done in 0..2 {
            // Which sectors of the write that was under way have reached the disk. Beyond the first dozen,
            // sectors hold the same zeros before and after.
            let tears: Vec<Box<dyn Fn(usize) -> bool>> = vec![
                Box::new(|_| false),
                Box::new(|_| true),
                Box::new(|sector| sector == 0),
                Box::new(|sector| sector != 0),
                Box::new(|sector| sector < 9),
                Box::new(|sector| sector >= 9),
                Box::new(|sector| sector % 2 == 0),
                Box::new(|sector| sector % 2 == 1),
            ];
            for (number, tear) in tears.iter().enumerate() {
                let torn = MemoryStorage::new(start.clone());
                for (index, (offset, bytes)) in copies.iter().enumerate().take(done + 1) {
                    for (sector, bytes) in bytes.chunks(512).enumerate() {
                        if index < done || tear(sector) {
                            torn.write_all_at(bytes, offset + sector as u64 * 512)
                                .unwrap();
                        }
                    }
                }
                let header = header_of(&torn).ok();
                let header = header.unwrap_or_else(|| panic!("{damage:?} {done} {number}: lost"));
                let is_new = header.metadata().tokens.is_empty();
                assert_eq!(is_new, header.current().sequence_id() == 2);
                assert!(is_new || done == 0, "{damage:?} {done} {number}: fell back");
                assert!(!is_new || done == 1 || number > 0);
                // Where the clear key is still to be found, reading both copies finds it.
                let text = b"ubuntu-fde-cloudimg-key";
                let bytes = torn.read_vec(0, 1 << 20).unwrap();
                let whole = header
                    .valid_copies()
                    .any(|copy| !copy.metadata().tokens.is_empty());
                assert!(!whole || bytes.windows(text.len()).any(|window| window == text));
            }
        }
        for (offset, bytes) in copies {
            storage.write_all_at(&bytes, offset).unwrap();
        }
        assert!(read(&storage).metadata().tokens.is_empty());
    }
}

#[test]
fn limits_are_named() {
    let mut entropy = SystemEntropy::new();
    let volume_key = VolumeKey::generate(&mut entropy).unwrap();
    let head = encrypt_like(SectorSize::S512)
        .head(&volume_key, &mut entropy)
        .unwrap();
    let header = header_of(&MemoryStorage::new(head)).ok().unwrap();
    let mut update = header.update().ok().unwrap();

    let other = VolumeKey::generate(&mut entropy).unwrap();
    let mut add = |update: &mut Update, number, key| {
        let added = update.add_keyslot(number, key, &unlock_key(), &mut entropy);
        added
            .map(|material| material.keyslot())
            .map_err(|error| error.to_string())
    };
    let error = |text: &str| Err(text.to_owned());
    assert_eq!(
        add(&mut update, None, &other),
        error("the volume key is not that of the container")
    );
    assert_eq!(
        add(&mut update, Some(10), &volume_key),
        error("keyslot 10 exists already")
    );
    assert_eq!(
        add(&mut update, Some(32), &volume_key),
        error("keyslot 32: numbers end at 31")
    );
    for number in (1..10).chain(11..32) {
        assert_eq!(add(&mut update, None, &volume_key), Ok(number));
    }
    assert_eq!(
        add(&mut update, None, &volume_key),
        error("all 32 keyslots are taken")
    );
    let areas = update
        .metadata()
        .keyslots
        .iter()
        .map(|keyslot| keyslot.area.offset_bytes);
    assert_eq!(areas.max(), Some((1 << 20) + 31 * 258_048));

    let token = |update: &mut Update, number, json: &str| {
        update
            .add_token(number, json)
            .map_err(|error| error.to_string())
    };
    let json = r#"{"type":"x","keyslots":[]}"#;
    for number in 1..32 {
        assert_eq!(token(&mut update, None, json), Ok(number));
    }
    assert_eq!(
        token(&mut update, None, json),
        error("all 32 tokens are taken")
    );
    assert_eq!(
        token(&mut update, Some(32), json),
        error("token 32: numbers end at 31")
    );
    update.remove_token(7).unwrap();
    assert_eq!(
        update.remove_token(7).unwrap_err().to_string(),
        "there is no token 7"
    );
    assert_eq!(
        update.remove_keyslot(32).unwrap_err().to_string(),
        "there is no keyslot 32"
    );
    let before = update.metadata().tokens.len();
    for (json, message) in [
        (r#"{"keyslots":[]}"#, "tokens.7.type is missing"),
        (r#"{"type":"x"}"#, "tokens.7.keyslots is missing"),
        (
            r#"{"type":"x","keyslots":["33"]}"#,
            "tokens.7.keyslots names keyslot 33, which does not exist",
        ),
        ("[]", "the metadata must be an object"),
        (
            "{",
            "the metadata: not valid JSON (EOF while parsing an object at line 1 column 1)",
        ),
    ] {
        assert_eq!(token(&mut update, None, json), error(message));
    }
    let large = format!(
        r#"{{"type":"x","keyslots":[],"x":"{}"}}"#,
        "x".repeat(520_000)
    );
    let message = token(&mut update, None, &large).unwrap_err();
    let len_bytes: usize = message.split(' ').nth(4).unwrap().parse().unwrap();
    assert!(len_bytes > 520_191 && len_bytes < 540_000);
    assert_eq!(
        message,
        format!("the new metadata have {len_bytes} bytes, the JSON area takes 520191")
    );
    assert_eq!(update.metadata().tokens.len(), before);

    for label in ["x".repeat(48), "a\0b".to_owned()] {
        assert_eq!(
            update.set_label(&label).unwrap_err().to_string(),
            "a label has at most 47 bytes and no NUL"
        );
        let new = NewContainer::new(&label, UUID.parse().unwrap(), SectorSize::S512);
        assert!(new.head(&volume_key, &mut SystemEntropy::new()).is_err());
    }
    update.set_label(&"x".repeat(47)).unwrap();
}

#[test]
fn the_last_sequence_id_and_a_full_keyslots_area_are_the_end() {
    let text = crate::containers::base_text();
    let bytes = |text: &str, id: u64| {
        let mut bytes = crate::containers::copy(false, 512 << 10, text.as_bytes(), &|header| {
            header[16..24].copy_from_slice(&id.to_be_bytes());
        });
        bytes.resize(17 << 20, 0);
        bytes
    };
    let header = header_of(&MemoryStorage::new(bytes(&text, u64::MAX)))
        .ok()
        .unwrap();
    assert_eq!(
        header.update().err().unwrap().to_string(),
        "the header's sequence id is the highest possible"
    );
    // Room for the two keyslots, and for half a further one.
    let small = text.replace("\"15728640\"", "\"647168\"");
    let header = header_of(&MemoryStorage::new(bytes(&small, 1)))
        .ok()
        .unwrap();
    let mut update = header.update().ok().unwrap();
    let key = SecretBytes::new(crate::containers::stream("slot-vk", 64));
    let key = VolumeKey::from_bytes(key).unwrap();
    let added = update.add_keyslot(None, &key, &unlock_key(), &mut SystemEntropy::new());
    assert_eq!(
        added.err().unwrap().to_string(),
        "no room for a further keyslot: no gap of 258048 bytes in the keyslots area"
    );
}
