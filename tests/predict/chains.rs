//! Which entry of db is measured for a program whose chain is not made as every tool makes it. A synthetic twin of
//! each fault that was found under OVMF: the whole PCR 7 is compared, made here from the events by hand.

use firmware::config::Rules as Reading;
use firmware::pe::Digests;
use firmware::signature_list::{SignatureList, X509, X509_SHA256, X509_SHA384, X509_SHA512};
use firmware::{Database, Hash, Program, Signature, UefiConfig};
use measure::{Boot, BootFile, Chain, Input, Prediction, Profile, Reader, Rules, predict};
use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameBuilder};
use tpm::Bank;
use uuid::Uuid;

use crate::data;

const OWNER: Uuid = Uuid::from_u128(0x1111_1111_2222_3333_4444_5555_5555_5555);
const DIGEST: [u8; 32] = [0x5a; 32];

/// Somebody with a key.
struct Party {
    name: X509Name,
    key: PKey<Private>,
}

impl Party {
    fn new(name: &str) -> Self {
        Self {
            name: named(name, Nid::COMMONNAME, None),
            key: PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
        }
    }
}

fn named(name: &str, kind: Nid, tag: Option<openssl::asn1::Asn1Type>) -> X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    match tag {
        Some(tag) => builder.append_entry_by_nid_with_type(kind, name, tag),
        None => builder.append_entry_by_nid(kind, name),
    }
    .unwrap();
    builder.build()
}

/// What a certificate says beside names and key.
#[derive(Clone, Copy, Default)]
struct Says {
    is_ca: Option<bool>,
    path_len: Option<u32>,
    authority_key_id: bool,
    lacks_cert_sign: bool,
    constrains_names: bool,
}

const CA: Says = Says {
    is_ca: Some(true),
    path_len: None,
    authority_key_id: false,
    lacks_cert_sign: false,
    constrains_names: false,
};

fn certificate(of: &Party, by: &Party, says: Says, issuer: Option<&X509>) -> X509 {
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    // Never 0, which the signature below would write without an octet.
    let serial = 1 + u32::from(of.key.public_key_to_der().unwrap()[60]);
    let serial = BigNum::from_u32(serial).unwrap();
    builder
        .set_serial_number(&Asn1Integer::from_bn(&serial).unwrap())
        .unwrap();
    builder.set_subject_name(&of.name).unwrap();
    builder.set_issuer_name(&by.name).unwrap();
    builder.set_pubkey(&of.key).unwrap();
    // Long over: nobody looks.
    let day = |unix| Asn1Time::from_unix(unix).unwrap();
    builder.set_not_before(&day(1_000_000_000)).unwrap();
    builder.set_not_after(&day(1_100_000_000)).unwrap();
    if let Some(is_ca) = says.is_ca {
        let mut basic = BasicConstraints::new();
        if is_ca {
            basic.ca();
        }
        if let Some(limit) = says.path_len {
            basic.pathlen(limit);
        }
        builder
            .append_extension(basic.critical().build().unwrap())
            .unwrap();
    }
    if says.lacks_cert_sign {
        let usage = KeyUsage::new().digital_signature().build().unwrap();
        builder.append_extension(usage).unwrap();
    }
    if says.constrains_names {
        // Permitted: names of the domain "a".
        let content = b"\x30\x07\xa0\x05\x30\x03\x82\x01a";
        let content = Asn1OctetString::new_from_bytes(content).unwrap();
        let oid = Asn1Object::from_str("2.5.29.30").unwrap();
        let constraints = X509Extension::new_from_der(&oid, true, &content).unwrap();
        builder.append_extension(constraints).unwrap();
    }
    let context = builder.x509v3_context(issuer.map(AsRef::as_ref), None);
    let own = SubjectKeyIdentifier::new().build(&context).unwrap();
    builder.append_extension(own).unwrap();
    if says.authority_key_id {
        let context = builder.x509v3_context(issuer.map(AsRef::as_ref), None);
        let id = AuthorityKeyIdentifier::new()
            .keyid(true)
            .build(&context)
            .unwrap();
        builder.append_extension(id).unwrap();
    }
    builder.sign(&by.key, MessageDigest::sha256()).unwrap();
    builder.build()
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let short = u8::try_from(content.len()).ok().filter(|len| *len < 0x80);
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    match short {
        Some(len) => [&[tag, len][..], &content].concat(),
        None => [&[tag, 0x82], &len[..], &content].concat(),
    }
}

/// A program with this signature: of the signer, with these certificates beside it.
fn signed(signer: &Party, certificates: &[&X509]) -> BootFile {
    let oid = |content: &[u8]| der(0x06, &[content]);
    let sha256_id = der(0x30, &[&oid(b"\x60\x86\x48\x01\x65\x03\x04\x02\x01")]);
    let inside = [
        der(0x30, &[&oid(b"\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x0f")]),
        der(0x30, &[&sha256_id, &der(0x04, &[&DIGEST])]),
    ]
    .concat();
    let content = [
        oid(b"\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x04"),
        der(0xa0, &[&der(0x30, &[&inside])]),
    ]
    .concat();
    let mut signing = openssl::sign::Signer::new(MessageDigest::sha256(), &signer.key).unwrap();
    let value = signing.sign_oneshot_to_vec(&inside).unwrap();
    let own = certificates[0];
    let serial = own.serial_number().to_bn().unwrap().to_vec();
    let serial = match serial.first() {
        Some(0x80..) => [&[0][..], &serial].concat(),
        _ => serial,
    };
    let who = [own.issuer_name().to_der().unwrap(), der(0x02, &[&serial])].concat();
    let rsa = der(0x30, &[&oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01")]);
    let info = der(
        0x30,
        &[
            &[2, 1, 1],
            &der(0x30, &[&who]),
            &sha256_id,
            &rsa,
            &der(0x04, &[&value]),
        ],
    );
    let bag: Vec<u8> = certificates
        .iter()
        .flat_map(|one| one.to_der().unwrap())
        .collect();
    let data = der(
        0x30,
        &[
            &[2, 1, 1],
            &der(0x31, &[&sha256_id]),
            &der(0x30, &[&content]),
            &der(0xa0, &[&bag]),
            &der(0x31, &[&info]),
        ],
    );
    let kind = oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02");
    let signature = der(0x30, &[&kind, &der(0xa0, &[&data])]);
    let digests = vec![Digests {
        hash: Hash::Sha256,
        measured: DIGEST.to_vec(),
        without_tail: DIGEST.to_vec(),
    }];
    let signature = Signature::parse(&signature).unwrap();
    BootFile {
        folder: Vec::new(),
        name: "signed.efi".to_owned(),
        program: Program::new(digests, vec![signature], Vec::new()).unwrap(),
    }
}

fn list(kind: Uuid, entries: &[Vec<u8>]) -> Vec<u8> {
    let lists = entries.iter().map(|entry| {
        let list = SignatureList::new(kind, OWNER, [entry.as_slice()]);
        list.unwrap().to_bytes()
    });
    lists.collect::<Vec<_>>().concat()
}

fn configuration(db: &[&X509], dbx: Vec<u8>) -> UefiConfig {
    let db: Vec<_> = db.iter().map(|one| one.to_der().unwrap()).collect();
    configuration_of_entries(&db, dbx)
}

fn configuration_of_entries(db: &[Vec<u8>], dbx: Vec<u8>) -> UefiConfig {
    let standard = data::content("vectors/uefi/std.json");
    let mut configuration = UefiConfig::from_json(&standard, Reading::Ours)
        .unwrap()
        .config;
    configuration.set(Database::Db, Some(list(X509, db)));
    configuration.set(Database::Dbx, Some(dbx));
    configuration
}

fn predicted(
    configuration: &UefiConfig,
    file: &BootFile,
    rules: Rules,
) -> Result<Prediction, String> {
    let boot = Boot {
        files: vec![file.clone()],
        chains: vec![Chain::new(0, [])],
        beside_shim: Vec::new(),
        addons: Vec::new(),
    };
    let prediction = predict(&Input {
        configuration,
        boot: &boot,
        profile: Profile {
            secure_boot: true,
            ..Profile::default()
        },
        reader: Reader::default(),
        rules,
        bank: Bank::Sha256,
    });
    prediction.map_err(|error| error.to_string())
}

/// PCR 7 of a guest that measures this certificate as the authority, by SHA-256 of OpenSSL.
fn pcr_7(configuration: &UefiConfig, authority: &X509) -> Vec<u8> {
    pcr_7_of_entry(configuration, &authority.to_der().unwrap())
}

fn pcr_7_of_entry(configuration: &UefiConfig, authority: &[u8]) -> Vec<u8> {
    let variable = |vendor: Uuid, name: &str, content: &[u8]| {
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let lens = [name.len(), content.len()].map(|len| u64::try_from(len).unwrap().to_le_bytes());
        let vendor = vendor.to_bytes_le();
        sha256(&[&vendor[..], lens.as_flattened(), &units, content].concat())
    };
    let mut digests = vec![variable(Database::Pk.vendor(), "SecureBoot", &[1])];
    for database in Database::ALL {
        let content = configuration.content(database);
        digests.push(variable(database.vendor(), database.name(), content));
    }
    digests.push(sha256(&[0; 4]));
    let entry = [&OWNER.to_bytes_le()[..], authority].concat();
    digests.push(variable(Database::Db.vendor(), "db", &entry));
    let extended = digests.iter().fold([0; 32], |pcr, digest| {
        sha256(&[pcr.as_slice(), digest].concat())
    });
    extended.to_vec()
}

#[track_caller]
fn measures(db: &[&X509], file: &BootFile, authority: &X509) {
    let configuration = configuration(db, Vec::new());
    let prediction = predicted(&configuration, file, Rules::firmware()).unwrap();
    assert_eq!(
        prediction.branches[0].pcrs[&7],
        pcr_7(&configuration, authority)
    );
}

#[track_caller]
fn refused(db: &[&X509], dbx: Vec<u8>, file: &BootFile, told: &str) {
    let configuration = configuration(db, dbx);
    let message = predicted(&configuration, file, Rules::firmware()).unwrap_err();
    assert_eq!(message, format!("signed.efi: {told}"));
}

/// A CA, and a signer below it that says nothing of the CA's key.
fn family() -> [(Party, X509); 2] {
    let ca = Party::new("ca");
    let root = certificate(&ca, &ca, CA, None);
    let signer = Party::new("signer");
    let own = certificate(&signer, &ca, Says::default(), None);
    [(ca, root), (signer, own)]
}

#[test]
fn a_ca_before_its_signer_is_measured_though_the_signer_names_no_key() {
    let [(_, root), (signer, own)] = family();
    let file = signed(&signer, &[&own]);
    measures(&[&root, &own], &file, &root);
    measures(&[&own, &root], &file, &own);
    measures(&[&root], &file, &root);
    measures(&[&own], &file, &own);
    // The reference wants the key's name on both sides, and so passes over the CA.
    let configuration = configuration(&[&root, &own], Vec::new());
    let reference = predicted(&configuration, &file, Rules::reference()).unwrap();
    assert_eq!(reference.branches[0].pcrs[&7], pcr_7(&configuration, &own));
}

/// Several certificates in one list are padded to one size. `d2i_X509` of firmware's library reads what an entry begins
/// with, and the whole entry is measured.
#[test]
fn an_entry_with_bytes_behind_its_certificate_is_measured_whole() {
    let [(_, root), (signer, own)] = family();
    let file = signed(&signer, &[&own]);
    let exact = root.to_der().unwrap();
    let padded = [&exact[..], &[0; 3]].concat();
    for db in [&[padded.clone(), exact][..], std::slice::from_ref(&padded)] {
        let configuration = configuration_of_entries(db, Vec::new());
        let prediction = predicted(&configuration, &file, Rules::firmware()).unwrap();
        assert_eq!(
            prediction.branches[0].pcrs[&7],
            pcr_7_of_entry(&configuration, &padded)
        );
        let warnings: Vec<_> = prediction
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(
            warnings.contains(&"db: entry 1 has bytes behind its certificate: firmware takes it, shim and the reference pass over it".to_owned()),
            "{warnings:?}"
        );
    }
    let configuration = configuration_of_entries(&[own.to_der().unwrap()], list(X509, &[padded]));
    let told = predicted(&configuration, &file, Rules::firmware()).unwrap_err();
    assert_eq!(
        told,
        "signed.efi: is forbidden by dbx: the certificate CN=ca"
    );
}

#[test]
fn a_ca_whose_tools_write_names_otherwise_is_found() {
    use openssl::asn1::Asn1Type;
    let mut ca = Party::new("ca");
    let written = [
        ("Test CA", Asn1Type::PRINTABLESTRING),
        (" TEST  ca", Asn1Type::UTF8STRING),
        ("test ca ", Asn1Type::T61STRING),
        ("\0T\0e\0s\0t\0 \0C\0A", Asn1Type::BMPSTRING),
    ];
    let names = written.map(|(name, tag)| named(name, Nid::COMMONNAME, Some(tag)));
    let signer = Party::new("signer");
    for one in &names {
        for other in &names {
            ca.name = one.as_ref().to_owned().unwrap();
            let root = certificate(&ca, &ca, CA, None);
            ca.name = other.as_ref().to_owned().unwrap();
            let own = certificate(&signer, &ca, Says::default(), None);
            measures(&[&root], &signed(&signer, &[&own]), &root);
        }
    }
}

#[test]
fn an_issuer_that_is_no_ca_is_passed_over_and_alone_refused_with_the_reason() {
    let signer = Party::new("signer");
    let issuer = Party::new("issuer");
    for (says, told) in [
        (
            Says {
                is_ca: Some(false),
                ..CA
            },
            "is no CA (CA:FALSE), and stands as the issuer of another",
        ),
        (
            Says { is_ca: None, ..CA },
            "does not say that it is a CA, and stands as the issuer of another",
        ),
        (
            Says {
                lacks_cert_sign: true,
                ..CA
            },
            "must not sign certificates (its key usage lacks keyCertSign)",
        ),
    ] {
        let above = certificate(&issuer, &issuer, says, None);
        let own = certificate(&signer, &issuer, Says::default(), None);
        let file = signed(&signer, &[&own]);
        measures(&[&above, &own], &file, &own);
        let told = format!(
            "is signed by CN=signer, and the chain to CN=issuer does not hold: CN=issuer {told}: it cannot boot under Secure Boot"
        );
        refused(&[&above], Vec::new(), &file, &told);
    }
}

#[test]
fn more_cas_than_the_root_allows_are_refused() {
    let [root, middle, low, signer] = ["root", "middle", "low", "signer"].map(Party::new);
    let path_len = Some(0);
    let anchor = certificate(&root, &root, Says { path_len, ..CA }, None);
    let second = certificate(&middle, &root, CA, None);
    let third = certificate(&low, &middle, CA, None);
    let own = certificate(&signer, &low, Says::default(), None);
    let file = signed(&signer, &[&own, &second, &third]);
    refused(
        &[&anchor],
        Vec::new(),
        &file,
        "is signed by CN=signer, and the chain to CN=root does not hold: CN=root allows fewer CAs below it (pathlen) than there are: it cannot boot under Secure Boot",
    );
    measures(&[&anchor, &second], &file, &second);
}

#[test]
fn a_ca_in_dbx_forbids_what_it_issued() {
    let [(_, root), (signer, own)] = family();
    let dbx = list(X509, &[root.to_der().unwrap()]);
    let file = signed(&signer, &[&own]);
    refused(
        &[&own],
        dbx,
        &file,
        "is forbidden by dbx: the certificate CN=ca",
    );
}

/// A list with the digest of the certificate's signed part, and a time behind it.
fn revoked(certificate: &X509, hash: Hash, time: u8) -> (String, Vec<u8>) {
    let parsed = firmware::Certificate::parse(&certificate.to_der().unwrap());
    let digest = hash.digest(parsed.unwrap().tbs());
    let kind = match hash {
        Hash::Sha384 => X509_SHA384,
        Hash::Sha512 => X509_SHA512,
        _ => X509_SHA256,
    };
    let entry = [digest.as_ref(), &[time; 16]].concat();
    (hex::encode(digest.as_ref()), list(kind, &[entry]))
}

#[test]
fn digests_in_dbx_count_for_the_signer_and_the_entry_of_db_and_for_nobody_between() {
    let [root, middle, signer] = ["root", "middle", "signer"].map(Party::new);
    let anchor = certificate(&root, &root, CA, None);
    let between = certificate(&middle, &root, CA, None);
    let own = certificate(&signer, &middle, Says::default(), None);
    let file = signed(&signer, &[&own, &between]);
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        for time in [0, 1] {
            for forbidden in [&own, &anchor] {
                let (digest, dbx) = revoked(forbidden, hash, time);
                let told =
                    format!("is forbidden by dbx: the certificate with the TBS digest {digest}");
                refused(&[&anchor], dbx, &file, &told);
            }
            let (_, dbx) = revoked(&between, hash, time);
            let configuration = configuration(&[&anchor], dbx);
            let prediction = predicted(&configuration, &file, Rules::firmware()).unwrap();
            assert_eq!(
                prediction.branches[0].pcrs[&7],
                pcr_7(&configuration, &anchor)
            );
        }
    }
}

#[test]
fn what_cannot_be_judged_is_an_error_and_no_guess() {
    let ca = Party::new("ca");
    let root = certificate(&ca, &ca, CA, None);
    // 512 bits: OpenSSL takes such a key at firmware's level of security, AWS-LC does not.
    let weak = Party {
        name: named("weak", Nid::COMMONNAME, None),
        key: PKey::from_rsa(Rsa::generate(512).unwrap()).unwrap(),
    };
    let middle = certificate(&weak, &ca, CA, None);
    let signer = Party::new("signer");
    let own = certificate(&signer, &weak, Says::default(), None);
    let told = "is signed by an algorithm or a key that cannot be verified here";
    refused(
        &[&root],
        Vec::new(),
        &signed(&signer, &[&own, &middle]),
        &format!(
            "is signed by CN=signer, and whether the chain to CN=ca holds cannot be said: CN=signer {told}"
        ),
    );
    let told = "signed the program by an algorithm or a key that cannot be verified here";
    refused(
        &[&root],
        Vec::new(),
        &signed(&weak, &[&middle]),
        &format!(
            "is signed by CN=weak, and whether the chain to CN=ca holds cannot be said: CN=weak {told}"
        ),
    );
    let constraining = Says {
        constrains_names: true,
        ..CA
    };
    let root = certificate(&ca, &ca, constraining, None);
    let own = certificate(&signer, &ca, Says::default(), None);
    refused(
        &[&root],
        Vec::new(),
        &signed(&signer, &[&own]),
        "is signed by CN=signer, and whether the chain to CN=ca holds cannot be said: CN=ca constrains the names of those below it, which is not judged here",
    );
}

#[test]
fn the_measured_program_of_the_fault_is_predicted_as_firmware_measured_it() {
    let Some(folder) = crate::support::shared("faults/certificate-chains/wrong-pcr7") else {
        return;
    };
    let measured = std::fs::read_to_string(folder.join("firmware-measured.txt")).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_encrypt-cloud-image"))
        .current_dir(&folder)
        .args("predict --allow-no-kernel --add-efi-secure-boot-profile --json".split(' '))
        .args("--uefi-config uefi.json --chain signed.efi".split(' '))
        .output()
        .unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = document.to_string();
    let pcr = measured
        .lines()
        .find_map(|line| line.strip_prefix("PCR 7 "))
        .unwrap();
    assert!(text.contains(pcr), "{text}");
}
