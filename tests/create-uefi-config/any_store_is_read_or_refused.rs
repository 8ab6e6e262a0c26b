//! A real store in which bytes were changed, as a whole file: an answer or an error, never a panic; and the
//! states of a record, as the firmware honours them.

use base::storage::MemoryStorage;
use firmware::variable_store::{self, SecureBoot, VariableStore};
use firmware::{Database, guid};
use proptest::prelude::*;

use crate::{gunzipped, support};

fn store() -> Option<Vec<u8>> {
    support::programs(&["gzip"])
        .then(|| gunzipped(&support::data("firmware/shim-boot-entry/vars-before.fd.gz")))
}

fn read(bytes: Vec<u8>) -> Result<VariableStore, variable_store::Error> {
    VariableStore::read(&MemoryStorage::new(bytes))
}

/// Where the live record of a variable begins.
fn offset(bytes: &[u8], name: &str, vendor: uuid::Uuid) -> usize {
    let store = read(bytes.to_vec()).unwrap();
    usize::try_from(store.variable(name, vendor).unwrap().offset_bytes).unwrap()
}

#[test]
fn the_state_of_a_real_record_decides() {
    let Some(bytes) = store() else { return };
    let pk = offset(&bytes, "PK", guid::GLOBAL_VARIABLE);
    let with_state = |state: u8| {
        let mut bytes = bytes.clone();
        bytes[pk + 2] = state;
        read(bytes).unwrap()
    };
    for (state, expected) in [
        (0x3f, SecureBoot::On),
        (0x3e, SecureBoot::On),
        (0x3d, SecureBoot::SetupMode),
        (0x3c, SecureBoot::SetupMode),
        (0x7f, SecureBoot::SetupMode),
    ] {
        let store = with_state(state);
        assert_eq!(store.secure_boot(), expected, "{state:#x}");
        assert!(store.variable("db", Database::Db.vendor()).is_some());
    }
}

#[test]
fn the_switch_of_the_setup_menu_decides() {
    let Some(mut bytes) = store() else { return };
    let enable = offset(&bytes, "SecureBootEnable", guid::SECURE_BOOT_ENABLE);
    let data = enable + 60 + 2 * "SecureBootEnable".len() + 2;
    assert_eq!(bytes[data], 1);
    bytes[data] = 0;
    assert_eq!(
        read(bytes.clone()).unwrap().secure_boot(),
        SecureBoot::SwitchedOff
    );
    bytes[enable + 2] = 0x3d;
    assert_eq!(
        read(bytes).unwrap().secure_boot(),
        SecureBoot::On,
        "written anew at the next start"
    );
}

#[test]
fn any_change_gives_a_store_or_an_error() {
    let Some(bytes) = store() else { return };
    let used = read(bytes.clone())
        .unwrap()
        .records()
        .last()
        .unwrap()
        .offset_bytes;
    let used = usize::try_from(used).unwrap() + 100;
    let changes = prop::collection::vec((0..used, any::<u8>()), 1..20);
    proptest!(ProptestConfig::with_cases(64), |(changes in changes, len in 0..bytes.len())| {
        let mut store = bytes.clone();
        for (at, byte) in changes {
            store[at] = byte;
        }
        // The sum over the header stays right, so that the rest is looked at.
        store[..72].copy_from_slice(&bytes[..72]);
        let _ = read(store.clone());
        store.truncate(len);
        let _ = read(store);
    });
}
