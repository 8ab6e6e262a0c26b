//! dbx may hold the digest of a certificate's signed part: firmware looks for it, shim does not.

use base::storage::MemoryStorage;
use firmware::config::{Database, Rules as Reading};
use firmware::signature_list::{SHA256, SignatureList, X509_SHA256};
use firmware::{Hash, Program, UefiConfig};
use measure::{Boot, BootFile, Chain, Input, Prediction, Profile, Reader, Rules, predict};
use tpm::Bank;
use uuid::Uuid;

use crate::data;

fn program(name: &str) -> BootFile {
    let file = MemoryStorage::new(data::content(&format!("vectors/pe/{name}.efi")));
    BootFile {
        folder: Vec::new(),
        name: name.to_owned(),
        program: Program::read(&file, &[], false).unwrap(),
    }
}

/// The list of one entry as a database.
fn list(kind: Uuid, entry: &[u8]) -> Vec<u8> {
    let list = SignatureList::new(kind, Uuid::from_u128(1), [entry]);
    list.unwrap().to_bytes()
}

fn predicted(dbx: Vec<u8>, chain: (usize, &[usize]), rules: Rules) -> Result<Prediction, String> {
    let configuration = data::content("vectors/uefi/std.json");
    let mut configuration = UefiConfig::from_json(&configuration, Reading::Ours)
        .unwrap()
        .config;
    configuration.set(Database::Dbx, Some(dbx));
    let boot = Boot {
        files: vec![program("shim-std"), program("kernel-db-a")],
        chains: vec![Chain::new(chain.0, chain.1)],
        ..Boot::default()
    };
    let prediction = predict(&Input {
        configuration: &configuration,
        boot: &boot,
        profile: Profile {
            boot_manager: true,
            secure_boot: true,
            kernel: false,
            ..Profile::default()
        },
        reader: Reader::default(),
        rules,
        bank: Bank::Sha256,
    });
    prediction.map_err(|error| error.to_string())
}

/// Digest of the signed part of the kernel's certificate, and a time behind it.
fn revoked(time: u8) -> (String, Vec<u8>) {
    let kernel = program("kernel-db-a");
    let digest = Hash::Sha256.digest(kernel.program.signatures[0].signer().tbs());
    let entry = [digest.as_ref(), &[time; 16]].concat();
    (hex::encode(digest.as_ref()), list(X509_SHA256, &entry))
}

/// What firmware loads, and what that loads.
const KERNEL: (usize, &[usize]) = (1, &[]);
const BY_SHIM: (usize, &[usize]) = (0, &[1]);

#[test]
fn firmware_refuses_it_whatever_the_time_beside_the_digest() {
    for time in [0, 7] {
        let (digest, dbx) = revoked(time);
        assert_eq!(
            predicted(dbx.clone(), KERNEL, Rules::firmware()).unwrap_err(),
            format!(
                "kernel-db-a: is forbidden by dbx: the certificate with the TBS digest {digest}"
            )
        );
        let lenient = Rules {
            obey_dbx: false,
            ..Rules::firmware()
        };
        assert!(predicted(dbx.clone(), KERNEL, lenient).is_ok());
        assert!(predicted(dbx, BY_SHIM, Rules::firmware()).is_ok());
    }
}

#[test]
fn the_digest_in_a_list_of_another_kind_forbids_nothing() {
    let (digest, _) = revoked(0);
    let dbx = list(SHA256, &hex::decode(digest).unwrap());
    assert!(predicted(dbx, KERNEL, Rules::firmware()).is_ok());
}
