//! Tokens of ours beside those of systemd-cryptenroll: the same members and types, parts of the same sizes, and every
//! field derived again by a program that is not ours.

use base::secret::{Entropy, EntropyError, SecretBytes, SystemEntropy};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyobject::systemd_tpm2::{self, Parent, Tpm2Token, UnlockSecret};
use luks2::Token;
use serde_json::{Value, json};
use tpm::{
    Bank, KeyKind, KeyPair, Marshal, SealTerms, Selection, SrkFile, StorageParent, composite,
    seal_for,
};

use crate::support::{command, data, programs, scratch, succeeds_fed};

/// Cases of systemd's own writer that a state of the sha256 bank alone decides.
const CASES: [&str; 7] = [
    "ecc-pcr7",
    "ecc-pcr7-by-262",
    "ecc-pcr4-7-12",
    "ecc-pcr4-7-12-15",
    "ecc-no-pcr",
    "rsa-pcr4-7-12",
    "rsa-legacy-transient-pcr4-7-12",
];
const ECC_LEGACY: &str = "ecc-legacy-transient-pcr7";

fn read(name: &str) -> Value {
    let path = data(&format!("systemd-tokens/{name}"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn case(name: &str) -> Value {
    read(&format!("{name}.json"))
}

fn srk(case: &Value) -> StorageParent {
    let key = read(case["srk"].as_str().unwrap());
    match SrkFile::read(&crate::bytes(&key["tpm2b_public_hex"])).unwrap() {
        SrkFile::PublicArea(parent) => parent,
        SrkFile::KeyAlone(_) => panic!("a public area"),
    }
}

/// The PCRs of a case and the digest over their values.
fn state(case: &Value) -> (Selection, Vec<u8>) {
    let values = case["pcr_values"].as_object().unwrap();
    let mut values: Vec<(u8, Vec<u8>)> = values
        .iter()
        .map(|(pcr, value)| (pcr.parse().unwrap(), crate::bytes(value)))
        .collect();
    values.sort();
    let selection = Selection {
        bank: Bank::Sha256,
        pcrs: values.iter().map(|(pcr, _)| *pcr).collect(),
    };
    let digest = composite(values.iter().map(|(_, value)| value.as_slice()));
    (selection, digest)
}

fn parent(token: &Value) -> Parent {
    match token.get("tpm2_srk") {
        Some(_) => Parent::Persistent {
            handle: 0x8100_0001,
        },
        None => Parent::Derived,
    }
}

/// A token of ours in the place of the case's.
fn ours(case: &Value, secret: &UnlockSecret, entropy: &mut dyn Entropy) -> Value {
    let (selection, composite) = state(case);
    let (srk, found) = (srk(case), parent(&case["token"]));
    let composites = [composite.as_slice()];
    let tokens =
        systemd_tpm2::seal(&srk, found, &selection, composites, secret, 1, entropy).unwrap();
    let [token] = tokens.as_slice() else {
        panic!("one token");
    };
    serde_json::from_str(token).unwrap()
}

/// What the judge finds in a token.
#[track_caller]
fn decoded(token: &Value, case: &Value) -> Value {
    let folder = scratch();
    let file = folder.path().join("token.json");
    std::fs::write(&file, token.to_string()).unwrap();
    let mut python = command("python3");
    python
        .arg(format!(
            "{}/tests/seal/decode_token.py",
            env!("CARGO_MANIFEST_DIR")
        ))
        .arg(&file)
        .arg(data(&format!(
            "systemd-tokens/{}",
            case["srk"].as_str().unwrap()
        )));
    let output = succeeds_fed(&mut python, case["pcr_values"].to_string());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The judge itself: it finds in each token of systemd what the data say, PIN, other bank and all.
#[test]
fn the_judge_derives_every_field_of_systemds_tokens() {
    if !programs(&["python3"]) {
        return;
    }
    for name in CASES
        .into_iter()
        .chain([ECC_LEGACY, "ecc-pin-pcr7", "ecc-pcr7-sha384"])
    {
        let case = case(name);
        let mut expected = case["decoded"].clone();
        expected["policy_digest"] = case["policy_digest"].clone();
        assert_eq!(decoded(&case["token"], &case), expected, "{name}");
    }
}

#[test]
fn our_tokens_have_the_members_types_and_sizes_of_systemds() {
    if !programs(&["python3"]) {
        return;
    }
    for name in CASES.into_iter().chain([ECC_LEGACY]) {
        let case = case(name);
        let mut entropy = SystemEntropy::new();
        let secret = SecretBytes::random(&mut entropy, 32).unwrap();
        let unlock = UnlockSecret::new(secret.clone());
        let token = ours(&case, &unlock, &mut entropy);
        let theirs = &case["token"];
        let members = |token: &Value| {
            token
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(members(&token), members(theirs), "{name}");
        for member in members(&token) {
            if member == "tpm2-blob" {
                let len = |token: &Value| token[&member].as_str().unwrap().len();
                assert_eq!(len(&token), len(theirs), "{name}");
            } else {
                // The key at the handle byte for byte.
                assert_eq!(token[&member], theirs[&member], "{name}: {member}");
            }
        }

        let (found, expected) = (decoded(&token, &case), &case["decoded"]);
        for member in [
            "private_len",
            "seed_len",
            "encrypted_sensitive_len",
            "auth_value",
        ] {
            assert_eq!(found[member], expected[member], "{name}: {member}");
        }
        assert_eq!(found["attributes"], "0x00000400"); // noDA, which systemd leaves out
        assert_eq!(expected["attributes"], "0x00000000");
        let same_but = |area: &Value| {
            let area = area.as_str().unwrap();
            // Type and name algorithm, length and policy, scheme and the length of unique.
            (area.len(), area[..8].to_owned(), area[16..88].to_owned())
        };
        assert_eq!(
            same_but(&found["public_hex"]),
            same_but(&expected["public_hex"])
        );
        assert_eq!(found.get("tpm2_srk"), expected.get("tpm2_srk"), "{name}");
        assert_eq!(found["test_only_secret"], hex::encode(secret.expose()));
        assert_eq!(
            found["test_only_passphrase"].as_str().unwrap().as_bytes(),
            unlock.passphrase().expose()
        );
    }
}

/// Hands out what it was given.
struct Given(Vec<Vec<u8>>);

impl Entropy for Given {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        let next = self.0.remove(0);
        buffer.copy_from_slice(&next);
        Ok(())
    }
}

/// An independent writer took the same random numbers. The padding of RSA's OAEP is AWS-LC's own, so of that blob the
/// seed is compared, which the judge decrypts, and everything that follows from it.
#[test]
fn the_same_random_numbers_give_the_same_bytes() {
    if !programs(&["python3"]) {
        return;
    }
    let cases = read("fixed-randomness.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let name = case["case"].as_str().unwrap();
        let numbers = case["injected_randomness"].as_object().unwrap();
        let drawn = numbers
            .get("ephemeral_scalar_hex")
            .or(numbers.get("seed_hex"));
        let drawn = crate::bytes(drawn.unwrap());
        let secret = SecretBytes::new(crate::bytes(&case["test_only_secret"]));
        let parent = srk(case);
        let terms = SealTerms {
            auth_policy: crate::bytes(&json!(case["token"]["tpm2-policy-hash"]))
                .try_into()
                .unwrap(),
            no_da: case["object_attributes"] == "0x00000400",
            auth_zeros: 0,
            shares_seed: true,
        };
        let object = seal_for(&parent, terms, &secret, &mut Given(vec![drawn.clone()])).unwrap();
        let mut blob = Vec::new();
        blob.put_sized(&object.private);
        blob.put(&object.public.to_sized_bytes());
        let expected = crate::bytes(&case["blob_hex"]);
        assert_eq!(blob, expected[..blob.len()], "{name}");
        blob.put_sized(&object.seed);
        if parent.kind() == KeyKind::Ecc {
            assert_eq!(blob, expected, "{name}");
            let secret = UnlockSecret::new(secret);
            if terms.no_da {
                let token = ours(case, &secret, &mut Given(vec![drawn]));
                assert_eq!(token, case["token"], "{name}");
            }
        } else {
            let mut token = case["token"].clone();
            token["tpm2-blob"] = STANDARD.encode(blob).into();
            assert_eq!(decoded(&token, case)["seed"], hex::encode(drawn), "{name}");
        }
    }
}

/// Every token of systemd is read by ours, and gives the same again; what asks for more than PCRs and a PIN is named.
#[test]
fn tokens_of_systemd_are_read() {
    let parse = |json: &Value| {
        Tpm2Token::parse(&Token {
            number: 0,
            kind: "systemd-tpm2".to_owned(),
            keyslots: vec![1],
            json: json.to_string(),
        })
    };
    for name in CASES
        .into_iter()
        .chain([ECC_LEGACY, "ecc-pcr7-sha384", "ecc-pin-pcr7"])
    {
        let case = case(name);
        let token = parse(&case["token"]).unwrap().unwrap();
        assert_eq!(token.keyslot, 1);
        assert_eq!(token.with_pin, name == "ecc-pin-pcr7");
        // The state that it was sealed for, and another.
        let selection = token.selection().unwrap();
        let (_, composite) = state(&case);
        assert!(token.opens_with(&selection, &composite), "{name}");
        let in_any = selection.pcrs.is_empty();
        assert_eq!(token.opens_with(&selection, &[9; 32]), in_any, "{name}");
        assert_eq!(
            hex::encode(token.policy),
            case["policy_digest"].as_str().unwrap()
        );
        assert_eq!(json!(token.pcrs), case["token"]["tpm2-pcrs"], "{name}");
        let public = hex::encode(token.object.public.to_bytes());
        assert_eq!(public, case["decoded"]["public_hex"].as_str().unwrap());
        let handle = token
            .srk
            .as_ref()
            .map(|srk| format!("{:#010x}", srk.handle));
        let expected = case["decoded"]["tpm2_srk"]["handle"].as_str();
        assert_eq!(handle.as_deref(), expected, "{name}");
        // 257 and later also write arrays, and a hash may be in upper case.
        let mut other = case["token"].clone();
        other["tpm2-blob"] = json!([case["token"]["tpm2-blob"]]);
        let hash = case["policy_digest"].as_str().unwrap().to_uppercase();
        other["tpm2-policy-hash"] = json!([hash]);
        other["eci_unknown"] = json!({"a": 1});
        assert_eq!(parse(&other).unwrap().unwrap(), token, "{name}");
    }
    let said = |change: &dyn Fn(&mut Value)| {
        let mut token = case("ecc-pcr4-7-12")["token"].clone();
        change(&mut token);
        parse(&token).unwrap_err().to_string()
    };
    let set =
        |member: &'static str, value: Value| move |token: &mut Value| token[member] = value.clone();
    for (change, message) in [
        (
            set("tpm2-blob", json!("A")),
            "the token's tpm2-blob must be base64 text",
        ),
        (
            set("tpm2-blob", json!("AAA=")),
            "the token's tpm2-blob: the structure ends at byte 2, within its public at byte 2",
        ),
        (
            set("tpm2-blob", json!(["AAA=", "AAA="])),
            "the token's tpm2-blob must be base64 text",
        ),
        (
            set("tpm2-policy-hash", json!("00")),
            "the token's tpm2-policy-hash must be 64 hexadecimal digits",
        ),
        (
            set("tpm2-policy-hash", json!("00".repeat(32))),
            "the policy of the sealed object is not the one in tpm2-policy-hash",
        ),
        (
            set("tpm2-pcrs", json!([24])),
            "the token's tpm2-pcrs must be an array of numbers from 0 to 23",
        ),
        (
            set("tpm2-pcr-bank", json!("md5")),
            "the token's tpm2-pcr-bank must be sha256 or sha384",
        ),
        (
            set("tpm2-primary-alg", json!(1)),
            "the token's tpm2-primary-alg must be rsa or ecc",
        ),
        (
            set("tpm2_srk", json!("AAAA")),
            "the token's tpm2_srk: the structure ends at byte 3, within its handle at byte 0",
        ),
        (
            set("tpm2_pcrlock", json!(true)),
            "the token has tpm2_pcrlock, which this program does not know how to check",
        ),
    ] {
        assert_eq!(said(&change), message);
    }
    assert_eq!(
        said(&|token| {
            let mut srk = STANDARD
                .decode(token["tpm2_srk"].as_str().unwrap())
                .unwrap();
            srk[10] ^= 1;
            token["tpm2_srk"] = json!(STANDARD.encode(srk));
        }),
        "the token's tpm2_srk must be a key with the name of its public area"
    );
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    let case = case("ecc-pcr7");
    let secret = UnlockSecret::random(&mut SystemEntropy::new()).unwrap();
    let (mut selection, composite) = state(&case);
    let srk = srk(&case);
    let seal = |srk: &StorageParent, selection: &Selection, composites: &[&[u8]]| {
        let composites = composites.iter().copied();
        let entropy = &mut SystemEntropy::new();
        systemd_tpm2::seal(
            srk,
            Parent::Derived,
            selection,
            composites,
            &secret,
            1,
            entropy,
        )
    };
    let message =
        |sealed: Result<Vec<String>, systemd_tpm2::Error>| sealed.unwrap_err().to_string();
    assert_eq!(
        message(seal(&srk, &selection, &[])),
        "no PCR values to seal to"
    );
    // Equal states are sealed once.
    let twice = seal(&srk, &selection, &[&composite, &composite]).unwrap();
    assert_eq!(twice.len(), 1);
    selection.bank = Bank::Sha384;
    assert_eq!(
        message(seal(&srk, &selection, &[&composite])),
        "the PCRs are of the sha384 bank; tokens are sealed to sha256 alone"
    );

    // TPMs write 32 bytes; a reader takes what the token says as the key to talk to.
    let pair = (1..).find_map(|number: u32| {
        let mut scalar = vec![0; 28];
        scalar.extend(number.to_be_bytes());
        KeyPair::from_scalar(SecretBytes::new(scalar)).filter(|pair| pair.point().x[0] == 0)
    });
    let point = *pair.unwrap().point();
    let area = |x: &[u8]| {
        let mut area = hex::decode("0023000b00030072000000060080004300100003").unwrap();
        area.extend([0, 0x10]);
        area.put_sized(x);
        area.put_sized(&point.y);
        StorageParent::read(&area).unwrap()
    };
    selection.bank = Bank::Sha256;
    seal(&area(&point.x), &selection, &[&composite]).unwrap();
    assert_eq!(
        message(seal(&area(&point.x[1..]), &selection, &[&composite])),
        "the public area of the SRK has a coordinate of less than 32 bytes; a TPM writes 32, zeros in front included"
    );
}
