//! What describes a guest's SRK: its public area or key, in each form of a file, and its unique data.
//!
//! The same bytes are each of them. What is accepted as a storage parent can be sealed to.

use std::collections::BTreeSet;

use base::secret::SecretBytes;
use keyobject::secboot::{PcrProfile, SealedKey, seal};
use keyobject::systemd_tpm2::{self, Parent, UnlockSecret};
use tpm::{
    Bank, Cursor, KeyKind, Public, Selection, SrkFile, SrkTemplate, StorageParent, UniqueData,
};

use super::{Counter, shown, told};

pub fn run(input: &[u8]) -> bool {
    if let Err(error) = SrkTemplate::read(input) {
        told(&error);
    }
    let unique = [KeyKind::Rsa, KeyKind::Ecc].map(|kind| UniqueData::read(input, kind));
    for read in &unique {
        if let Err(error) = read {
            told(&error);
        }
    }
    let unique: Vec<UniqueData> = unique.into_iter().flatten().map(|(data, _)| data).collect();
    let area = area(input);
    match SrkFile::read(input) {
        Ok(SrkFile::PublicArea(parent)) => {
            let bytes = parent.to_bytes();
            assert!(bytes == input || bytes[2..] == *input);
            if let Err(error) = parent.check_is_srk() {
                told(&error);
            }
            used(&parent, &unique);
            true
        }
        Ok(SrkFile::KeyAlone(parent)) => {
            used(&parent, &unique);
            true
        }
        Err(error) => {
            told(&error);
            area || !unique.is_empty()
        }
    }
}

/// A public area comes back byte for byte.
fn area(input: &[u8]) -> bool {
    let mut cursor = Cursor::new(input);
    match Public::read(&mut cursor) {
        Ok(public) => {
            assert!(public.to_bytes() == input[..cursor.offset()]);
            shown(&public.name());
            true
        }
        Err(error) => {
            told(&error);
            false
        }
    }
}

fn used(parent: &StorageParent, unique: &[UniqueData]) {
    parent.differs_from_standard().iter().for_each(shown);
    let none = UniqueData::none(parent.kind());
    for unique in unique.iter().chain([&none]) {
        match parent.template(unique) {
            Ok(template) => {
                assert!(template.len() <= 28 + 32 + 256);
                let mut cursor = Cursor::new(&template);
                assert_eq!(
                    usize::from(cursor.word("size").unwrap()),
                    template.len() - 2
                );
                let public = Public::read(&mut cursor).unwrap();
                assert_eq!((public.attributes, cursor.left()), (parent.attributes(), 0));
                let read = SrkTemplate::read(&template).unwrap();
                assert_eq!(
                    (read.kind, read.attributes),
                    (parent.kind(), parent.attributes())
                );
            }
            Err(error) => told(&error),
        }
    }
    let key = SecretBytes::new(vec![7; 16]);
    let profile = PcrProfile::any_state().unwrap();
    match seal(parent, &profile, &key, &mut Counter(1)) {
        Ok(file) => SealedKey::read(&file).unwrap().check().unwrap(),
        Err(error) => told(&error),
    }
    let any_state = Selection {
        bank: Bank::Sha256,
        pcrs: BTreeSet::new(),
    };
    let secret = UnlockSecret::new(key);
    for found in [
        Parent::Derived,
        Parent::Persistent {
            handle: 0x8100_0001,
        },
    ] {
        // A token is read back before it is handed out.
        let mut entropy = Counter(1);
        let composite = [[7; 32].as_slice()];
        match systemd_tpm2::seal(
            parent,
            found,
            &any_state,
            composite,
            &secret,
            1,
            &mut entropy,
        ) {
            Ok(tokens) => assert_eq!(tokens.len(), 1),
            Err(error) => told(&error),
        }
    }
}
