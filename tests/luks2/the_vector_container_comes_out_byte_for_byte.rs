//! `tests/data/luks2/container.json`: a whole container that another program computed.

use base::secret::SecretBytes;
use base::storage::{MemoryStorage, ReadAt};
use luks2::{ClearKeyToken, NewContainer, Position, SectorSize, VolumeKey};
use serde_json::Value;

use crate::containers::{Draws, encrypted, sha256, stream};
use crate::support::data;
use crate::support::header_of;

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn creation_and_two_updates_give_every_byte() {
    let vector = std::fs::read(data("luks2/container.json")).unwrap();
    let vector: Value = serde_json::from_slice(&vector).unwrap();
    let key = |name: &str| SecretBytes::new(unhex(&vector[name]));
    let volume_key = SecretBytes::new(stream(vector["volume_key_label"].as_str().unwrap(), 64));
    let volume_key = VolumeKey::from_bytes(volume_key).unwrap();

    let mut new = NewContainer::new(
        vector["label"].as_str().unwrap(),
        vector["uuid"].as_str().unwrap().parse().unwrap(),
        SectorSize::S512,
    );
    let token = ClearKeyToken {
        keyslots: vec![0],
        key: key("unlock_key"),
    };
    new.add_keyslot(0, key("unlock_key"))
        .add_keyslot(10, key("growpart_key"))
        .add_token(token.to_json());
    // In the order that `NewContainer::head` documents.
    let mut draws = Draws([vec![0; 15360 << 10], unhex(&vector["digest"]["salt"])].into());
    for slot in ["slot0", "slot10"] {
        let stripes = stream(vector[slot]["af_random_label"].as_str().unwrap(), 3999 * 64);
        draws.0.extend([unhex(&vector[slot]["salt"]), stripes]);
    }
    let salts =
        ["salt1_label", "salt2_label"].map(|salt| stream(vector[salt].as_str().unwrap(), 64));
    draws.0.extend(salts.clone());
    let head = new.head(&volume_key, &mut draws).unwrap();
    assert!(draws.0.is_empty());

    // A new container has sequence id 1, the vector's has 3.
    let container = MemoryStorage::new(head);
    for sequence_id in [2, 3] {
        let update = header_of(&container).ok().unwrap().update().ok().unwrap();
        let mut draws = Draws(salts.clone().into());
        for position in [Position::Primary, Position::Secondary] {
            update.write_copy(position, &container, &mut draws).unwrap();
        }
        let header = header_of(&container).ok().unwrap();
        assert_eq!(header.current().sequence_id(), sequence_id);
        assert_eq!(header.warnings(), []);
    }

    let text = vector["json_text"].as_str().unwrap();
    assert_eq!(
        container.read_vec(4096, text.len()).unwrap(),
        text.as_bytes()
    );
    for (position, offset) in [("primary", 0), ("secondary", 512 << 10)] {
        let first = container.read_vec(offset, 512).unwrap();
        assert_eq!(vector[position]["checksum"], hex::encode(&first[448..480]));
        assert_eq!(
            vector[position]["first512_sha256"],
            hex::encode(sha256(&first))
        );
    }
    for slot in ["slot0", "slot10"] {
        let offset = vector[slot]["area_offset"].as_u64().unwrap();
        let material = container.read_vec(offset, 256_000).unwrap();
        assert_eq!(vector[slot]["area_first32"], hex::encode(&material[..32]));
        assert_eq!(vector[slot]["area_sha256"], hex::encode(sha256(&material)));
    }
    let mut file = container.into_bytes();
    assert_eq!(vector["header_16mib_sha256"], hex::encode(sha256(&file)));
    let plain = stream(vector["data"]["plain_label"].as_str().unwrap(), 65536);
    let cipher = encrypted(&volume_key, SectorSize::S512, &plain);
    assert_eq!(
        vector["data"]["cipher_sha256"],
        hex::encode(sha256(&cipher))
    );
    file.extend(cipher);
    assert_eq!(vector["file_sha256"], hex::encode(sha256(&file)));
}
