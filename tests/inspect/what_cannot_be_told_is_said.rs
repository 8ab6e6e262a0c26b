//! Tokens that ask for more than predicted PCRs: neither "unlocks" nor "does not".

use serde_json::{Value, json};

use crate::data;
use crate::encrypted::{Encrypted, FLAGS, ROOT, ready};
use crate::support::container::HEADER_BYTES;
use crate::support::workshop::stdout;
use crate::support::{command, exits, files, run};
use crate::systemd_guest::{KEY_OBJECT, two_kernels};
use crate::{inspect, judged, ways};

/// A token of systemd's own writer, sealed to PCR 7, for keyslot 1.
fn token(case: &str) -> Value {
    let case: Value = data::json(&format!("systemd-tokens/{case}.json"));
    case["token"].clone()
}

/// An image with these tokens in the place of its own.
fn with_tokens(tokens: &[Value]) -> Encrypted {
    let image = Encrypted::new();
    image.boots(&two_kernels()[..1]);
    let image = image.deployed(&[&KEY_OBJECT[..], &FLAGS].concat());
    let container = image.container();
    let on_header = |arguments: &[&str]| {
        let mut cryptsetup = command("cryptsetup");
        run(cryptsetup
            .arg("token")
            .args(arguments)
            .arg(&container.header));
    };
    on_header(&["remove", "--token-id", "0"]);
    for token in tokens {
        let file = image.workshop.write("token", token.to_string().as_bytes());
        on_header(&["import", "--json-file", &file.display().to_string()]);
    }
    let (from, to) = (
        files::open(&container.header).0,
        files::open_to_write(&image.image),
    );
    files::copy(
        &from,
        0..HEADER_BYTES,
        &to,
        image.table().byte_range(ROOT).start,
    );
    image
}

const NOW: [&str; 2] = ["--uefi-config", "uefi-config.json"];

/// The reason why it cannot be told, of the one way to boot.
#[track_caller]
fn why(image: &Encrypted) -> String {
    let ways = ways(&judged(image, &NOW));
    assert_eq!(ways.len(), 1);
    assert_eq!(ways[0]["unlocks"], Value::Null);
    assert_eq!(ways[0]["blamed_pcrs"], Value::Null);
    let reason = ways[0]["reason"].as_str().unwrap().to_owned();
    let output = inspect(image, &[&["--against"], &NOW[..]].concat())
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(
        text.ends_with(&format!(": cannot be told: {reason}\n")),
        "{text}"
    );
    reason
}

#[test]
fn of_tokens_that_ask_for_more() {
    if !ready() {
        return;
    }
    let plain = token("ecc-pcr7");
    let mut signed = plain.clone();
    signed["tpm2_pubkey_pcrs"] = json!([11]);
    signed["tpm2_pubkey"] = json!("AAAA");
    assert_eq!(
        why(&with_tokens(&[signed])),
        "token 0: the token has tpm2_pubkey, which this program does not know how to check"
    );
    let mut without_bank = plain.clone();
    without_bank
        .as_object_mut()
        .unwrap()
        .remove("tpm2-pcr-bank");
    assert_eq!(
        why(&with_tokens(&[without_bank])),
        "token 0: it names no bank, so its reader chooses one"
    );
    let mut other_pcrs = plain.clone();
    other_pcrs["tpm2-pcrs"] = json!([0, 2, 7]);
    assert_eq!(
        why(&with_tokens(&[other_pcrs])),
        "token 0: it asks for PCR 0, 2 as well, which this program does not predict"
    );
    assert_eq!(
        why(&with_tokens(&[plain, token("ecc-pcr7-sha384")])),
        "token 1: it is for another bank than those before it"
    );
}

/// A token of another bank, or with a PIN, is judged: here by values that no boot leads to.
#[test]
fn other_banks_and_pins_are_no_reason() {
    if !ready() {
        return;
    }
    for (case, bank) in [("ecc-pcr7-sha384", "sha384"), ("ecc-pin-pcr7", "sha256")] {
        let document = judged(&with_tokens(&[token(case)]), &NOW);
        assert_eq!(document["against"]["bank"], bank);
        let ways = ways(&document);
        assert_eq!(ways[0]["unlocks"], false);
        assert_eq!(ways[0]["blamed_pcrs"], json!([7]));
        assert_eq!(document["systemd_tokens"][0]["pin"], case == "ecc-pin-pcr7");
    }
}

/// Where one token opens, the others do not matter; without a PCR any state will do.
#[test]
fn one_that_opens_is_enough() {
    if !ready() {
        return;
    }
    let mut signed = token("ecc-pcr7");
    signed["tpm2_pubkey"] = json!("AAAA");
    let image = with_tokens(&[token("ecc-no-pcr"), signed]);
    let ways = ways(&judged(&image, &NOW));
    assert_eq!(
        (&ways[0]["unlocks"], &ways[0]["token"]),
        (&json!(true), &json!(0))
    );
    let output = exits(
        &mut inspect(&image, &[&["--against"], &NOW[..]].concat()),
        0,
    );
    assert!(stdout(&output).ends_with(": unlocks, by token 0\n"));
}
