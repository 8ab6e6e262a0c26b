//! Headers with one thing changed and a correct checksum: what we say, what cryptsetup says.
//!
//! Both are run on every variant. Where the two differ, we are the stricter; and a copy that we *skip* for
//! the other copy is one that cryptsetup skips, too (else we would read another state than everybody else).

use std::fs;

use base::storage::FileStorage;
use luks2::Error;
use serde_json::{Value, json};

use crate::containers::{base_text, copy, cryptsetup};
use crate::support::header_of;
use crate::support::{programs, scratch};

/// What the two readers do with a header whose copies are both like this.
#[derive(Clone, Copy)]
enum Verdict {
    /// Both take it.
    Taken,
    /// Both skip it; our reason.
    Skipped(&'static str),
    /// Both refuse it, we without a look at the other copy; our reason.
    Refused(&'static str),
    /// cryptsetup takes it, we refuse it on purpose; our reason.
    Stricter(&'static str),
}
use Verdict::{Refused, Skipped, Stricter, Taken};

fn judge(name: &str, header: &[u8], container_bytes: usize, verdict: Verdict) {
    let folder = scratch();
    let path = folder.path().join("container");
    fs::write(&path, &header[..header.len().min(container_bytes)]).unwrap();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let container = FileStorage::with_len(file, container_bytes as u64).unwrap();
    let (ours, reason) = match header_of(&container) {
        Ok(_) => ("taken", String::new()),
        Err(Error::NoValidCopy { primary, .. }) => ("skipped", primary.to_string()),
        Err(Error::Refused { source, .. }) => ("refused", source.to_string()),
        Err(error) => ("refused", error.to_string()),
    };
    let dump = cryptsetup(&["luksDump"], &path).output().unwrap();
    let taken = dump.status.success();
    let (expected, theirs, expected_reason) = match verdict {
        Taken => ("taken", true, ""),
        Skipped(reason) => ("skipped", false, reason),
        Refused(reason) => ("refused", false, reason),
        Stricter(reason) => ("refused", true, reason),
    };
    assert_eq!(
        (ours, reason.as_str(), taken),
        (expected, expected_reason, theirs),
        "{name}: (ours, why, taken by cryptsetup)"
    );
}

/// Both copies with this text.
fn judge_text(name: &str, text: &[u8], verdict: Verdict) {
    let header = [false, true].map(|second| copy(second, 512 << 10, text, &|_| {}));
    judge(name, &header.concat(), 16 << 20, verdict);
}

/// The base text with the value at `path` (names joined by `/`) set, or taken out.
fn changed(path: &str, value: Option<Value>) -> String {
    let mut text: Value = serde_json::from_str(&base_text()).unwrap();
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = if parent.is_empty() {
        String::new()
    } else {
        format!("/{parent}")
    };
    let parent = text.pointer_mut(&parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => {
            parent.insert(name.to_owned(), value);
        }
        None => {
            parent.shift_remove(name);
        }
    }
    text.to_string()
}

#[test]
#[rustfmt::skip] // a line a case
fn missing_members() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    for (path, verdict) in [
        ("keyslots", Skipped("keyslots is missing")),
        ("tokens", Skipped("tokens is missing")),
        ("segments", Skipped("segments is missing")),
        ("digests", Skipped("digests is missing")),
        ("config", Skipped("config is missing")),
        ("keyslots/10/type", Skipped("keyslots.10.type is missing")),
        ("keyslots/10/key_size", Skipped("keyslots.10.key_size is missing")),
        ("keyslots/10/af", Skipped("keyslots.10.af is missing")),
        ("keyslots/10/af/type", Skipped("keyslots.10.af.type is missing")),
        ("keyslots/10/af/stripes", Skipped("keyslots.10.af.stripes is missing")),
        ("keyslots/10/af/hash", Skipped("keyslots.10.af.hash is missing")),
        ("keyslots/10/area", Skipped("keyslots.10.area is missing")),
        ("keyslots/10/area/type", Skipped("keyslots.10.area.type is missing")),
        ("keyslots/10/area/offset", Skipped("keyslots.10.area.offset is missing")),
        ("keyslots/10/area/size", Skipped("keyslots.10.area.size is missing")),
        ("keyslots/10/area/encryption", Skipped("keyslots.10.area.encryption is missing")),
        ("keyslots/10/area/key_size", Skipped("keyslots.10.area.key_size is missing")),
        ("keyslots/10/kdf", Skipped("keyslots.10.kdf is missing")),
        ("keyslots/10/kdf/type", Skipped("keyslots.10.kdf.type is missing")),
        ("keyslots/10/kdf/hash", Skipped("keyslots.10.kdf.hash is missing")),
        ("keyslots/10/kdf/iterations", Skipped("keyslots.10.kdf.iterations is missing")),
        ("keyslots/10/kdf/salt", Skipped("keyslots.10.kdf.salt is missing")),
        ("tokens/0", Taken),
        ("tokens/0/type", Skipped("tokens.0.type is missing")),
        ("tokens/0/keyslots", Skipped("tokens.0.keyslots is missing")),
        ("tokens/0/ubuntu_fde_cloudimg_key", Taken),
        ("segments/0/type", Skipped("segments.0.type is missing")),
        ("segments/0/offset", Skipped("segments.0.offset is missing")),
        ("segments/0/size", Skipped("segments.0.size is missing")),
        ("segments/0/iv_tweak", Skipped("segments.0.iv_tweak is missing")),
        ("segments/0/encryption", Skipped("segments.0.encryption is missing")),
        ("segments/0/sector_size", Skipped("segments.0.sector_size is missing")),
        ("digests/0/type", Skipped("digests.0.type is missing")),
        ("digests/0/keyslots", Skipped("digests.0.keyslots is missing")),
        ("digests/0/segments", Skipped("digests.0.segments is missing")),
        // cryptsetup looks at these only when it checks a key.
        ("digests/0/hash", Stricter("digests.0.hash is missing")),
        ("digests/0/iterations", Stricter("digests.0.iterations is missing")),
        ("digests/0/salt", Stricter("digests.0.salt is missing")),
        ("digests/0/digest", Stricter("digests.0.digest is missing")),
        ("config/json_size", Skipped("config.json_size is missing")),
        ("config/keyslots_size", Skipped("config.keyslots_size is missing")),
    ] {
        judge_text(path, changed(path, None).as_bytes(), verdict);
    }
}

#[test]
#[rustfmt::skip] // a line a case
fn other_values() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let crypt = json!({"type": "crypt", "offset": "17825792", "size": "dynamic", "iv_tweak": "0",
        "encryption": "aes-xts-plain64", "sector_size": 512});
    let other = json!({"type": "foo", "key_size": 1,
        "area": {"type": "raw", "offset": "1564672", "size": "4096"}});
    let reencrypt = json!({"type": "reencrypt", "mode": "encrypt", "direction": "forward",
        "key_size": 1, "area": {"type": "none", "offset": "1564672", "size": "4096"}});
    let integrity = json!({"type": "hmac(sha256)", "journal_encryption": "none",
        "journal_integrity": "none"});
    let argon = json!({"type": "argon2id", "time": 4, "memory": 32, "cpus": 1, "salt": "AAAA"});
    for (path, value, verdict) in [
        ("keyslots", json!([]), Skipped("keyslots must be an object")),
        ("keyslots/1", other, Stricter("keyslots.1.type must be luks2 or reencrypt")),
        ("keyslots/1", reencrypt, Refused("an unfinished reencryption: finish it with cryptsetup before anything else changes this container")),
        ("keyslots/10/new", json!({"a": [1.10]}), Taken),
        ("keyslots/10/type", json!(1), Skipped("keyslots.10.type must be a string")),
        ("keyslots/10/key_size", json!("64"), Skipped("keyslots.10.key_size must be a number from 0 to 4294967295")),
        ("keyslots/10/key_size", json!(-1), Refused("keyslots.10.key_size must be a number from 0 to 4294967295")),
        ("keyslots/10/key_size", json!(65), Stricter("the area of keyslot 10 has 258048 bytes, its key material takes 260000")),
        ("keyslots/10/priority", json!(0), Taken),
        ("keyslots/10/priority", json!(2), Taken),
        ("keyslots/10/priority", json!(3), Stricter("keyslots.10.priority must be 0, 1 or 2")),
        ("keyslots/10/priority", json!("1"), Stricter("keyslots.10.priority must be 0, 1 or 2")),
        ("keyslots/10/af/type", json!("foo"), Skipped("keyslots.10.af.type must be luks1")),
        ("keyslots/10/af/stripes", json!(1), Stricter("keyslot 10 claims 1 anti-forensic stripes, LUKS2 uses 4000")),
        ("keyslots/10/af/stripes", json!(-1), Stricter("keyslots.10.af.stripes must be a number from 0 to 4294967295")),
        ("keyslots/10/af/stripes", json!("4000"), Skipped("keyslots.10.af.stripes must be a number from 0 to 4294967295")),
        ("keyslots/10/af/hash", json!(""), Skipped("keyslots.10.af.hash must be a string that is not empty")),
        ("keyslots/10/af/hash", json!("foo"), Taken),
        ("keyslots/10/area/type", json!("foo"), Skipped("keyslots.10.area.type must be raw")),
        ("keyslots/10/area/offset", json!(1_306_624), Skipped("keyslots.10.area.offset must be a string of decimal digits below 2^64")),
        ("keyslots/10/area/offset", json!("+1306624"), Skipped("keyslots.10.area.offset must be a string of decimal digits below 2^64")),
        ("keyslots/10/area/offset", json!(" 1306624"), Skipped("keyslots.10.area.offset must be a string of decimal digits below 2^64")),
        ("keyslots/10/area/offset", json!(""), Skipped("keyslots.10.area.offset must be a string of decimal digits below 2^64")),
        ("keyslots/10/area/offset", json!("01306624"), Taken),
        ("keyslots/10/area/offset", json!("1306625"), Stricter("the area of keyslot 10 begins at 0x13f001, which is no multiple of 4096")),
        ("keyslots/10/area/offset", json!("1302528"), Skipped("the areas of keyslots 0 and 10 overlap")),
        ("keyslots/10/area/offset", json!("1044480"), Skipped("keyslot 10 claims 258048 bytes at 0xff000, the keyslots area reaches from 0x100000 to 0x1000000")),
        ("keyslots/10/area/offset", json!("16519168"), Taken),
        ("keyslots/10/area/offset", json!("16523264"), Skipped("keyslot 10 claims 258048 bytes at 0xfc2000, the keyslots area reaches from 0x100000 to 0x1000000")),
        ("keyslots/10/area/offset", json!("18446744073709547520"), Skipped("keyslot 10 claims 258048 bytes at 0xfffffffffffff000, the keyslots area reaches from 0x100000 to 0x1000000")),
        ("keyslots/10/area/offset", json!("18446744073709551616"), Skipped("keyslots.10.area.offset must be a string of decimal digits below 2^64")),
        ("keyslots/10/area/size", json!("0"), Refused("the area of keyslot 10 has 0 bytes, its key material takes 256000")),
        ("keyslots/10/area/size", json!("4096"), Stricter("the area of keyslot 10 has 4096 bytes, its key material takes 256000")),
        ("keyslots/10/area/size", json!("256000"), Taken),
        ("keyslots/10/area/encryption", json!("foo"), Taken),
        ("keyslots/10/area/encryption", json!(""), Skipped("keyslots.10.area.encryption must be a string that is not empty")),
        ("keyslots/10/kdf/type", json!("foo"), Stricter("keyslots.10.kdf.type must be pbkdf2, argon2i or argon2id")),
        ("keyslots/10/kdf/type", json!("argon2id"), Skipped("keyslots.10.kdf.time is missing")),
        ("keyslots/10/kdf", argon, Taken),
        ("keyslots/10/kdf/hash", json!("foo"), Taken),
        ("keyslots/10/kdf/iterations", json!("1000"), Skipped("keyslots.10.kdf.iterations must be a number from 0 to 4294967295")),
        ("keyslots/10/kdf/iterations", json!(4_294_967_296_u64), Stricter("keyslots.10.kdf.iterations must be a number from 0 to 4294967295")),
        ("keyslots/10/kdf/salt", json!(""), Skipped("keyslots.10.kdf.salt must be a string that is not empty")),
        ("tokens/0/type", json!(1), Skipped("tokens.0.type must be a string")),
        ("tokens/0/type", json!(""), Skipped("tokens.0.type must be a string that is not empty")),
        ("tokens/0/keyslots", json!([]), Taken),
        ("tokens/0/keyslots", json!(["1"]), Skipped("tokens.0.keyslots names keyslot 1, which does not exist")),
        ("tokens/0/keyslots", json!([0]), Skipped("tokens.0.keyslots must be an array of strings")),
        ("tokens/0", json!([]), Skipped("tokens.0 must be an object")),
        ("tokens/x", json!({"type": "a", "keyslots": []}), Skipped("tokens.x must be named by a decimal number without leading zeros")),
        ("tokens/01", json!({"type": "a", "keyslots": []}), Stricter("tokens.01 must be named by a decimal number without leading zeros")),
        ("tokens/32", json!({"type": "a", "keyslots": []}), Taken),
        ("tokens/4294967296", json!({"type": "a", "keyslots": []}), Stricter("tokens.4294967296 must be named by a decimal number without leading zeros")),
        ("segments/0/type", json!("foo"), Stricter("segments.0.type must be crypt or linear")),
        ("segments/0/type", json!("linear"), Stricter("segments.0.type must be crypt")),
        ("segments/0/offset", json!("16777217"), Skipped("segments.0.offset must be a multiple of 512")),
        ("segments/0/offset", json!("16777728"), Taken),
        ("segments/0/offset", json!("16776704"), Skipped("segment 0 begins at 0xfffe00, within the header that ends at 0x1000000")),
        ("segments/0/offset", json!("0"), Stricter("segment 0 begins at 0x0, within the header that ends at 0x1000000")),
        ("segments/0/size", json!("1024"), Taken),
        ("segments/0/size", json!("9223372036854775808"), Taken),
        ("segments/0/size", json!("0"), Skipped("segments.0.size must be dynamic, or a multiple of the sector size above 0")),
        ("segments/0/size", json!("513"), Skipped("segments.0.size must be dynamic, or a multiple of the sector size above 0")),
        ("segments/0/size", json!(512), Skipped("segments.0.size must be a string")),
        ("segments/0/size", json!("foo"), Skipped("segments.0.size must be a string of decimal digits below 2^64")),
        ("segments/0/size", json!("18446744073709551104"), Stricter("segments.0.size must be small enough for an end below 2^64")),
        ("segments/0/iv_tweak", json!("8"), Taken),
        ("segments/0/iv_tweak", json!(0), Skipped("segments.0.iv_tweak must be a string of decimal digits below 2^64")),
        ("segments/0/encryption", json!("foo"), Taken),
        ("segments/0/encryption", json!(""), Skipped("segments.0.encryption must be a string that is not empty")),
        ("segments/0/sector_size", json!(4096), Taken),
        ("segments/0/sector_size", json!(1024), Taken),
        ("segments/0/sector_size", json!(8192), Stricter("segments.0.sector_size must be 512, 1024, 2048 or 4096")),
        ("segments/0/sector_size", json!(256), Skipped("segments.0.sector_size must be 512, 1024, 2048 or 4096")),
        ("segments/0/sector_size", json!("512"), Skipped("segments.0.sector_size must be a number from 0 to 4294967295")),
        ("segments/0/integrity", integrity, Taken),
        ("segments/0/integrity", json!(1), Skipped("segments.0.integrity must be an object")),
        ("segments/0/flags", json!([]), Taken),
        ("segments/0/flags", json!("x"), Skipped("segments.0.flags must be an array of strings")),
        ("segments/0/flags", json!(["x"]), Stricter("an unfinished reencryption: finish it with cryptsetup before anything else changes this container")),
        ("segments/1", crypt.clone(), Skipped("segment 1 belongs to 0 digests instead of one")),
        ("segments/2", crypt, Skipped("segment 2 belongs to 0 digests instead of one")),
        ("digests/0/type", json!("foo"), Stricter("digests.0.type must be pbkdf2")),
        ("digests/0/type", json!(1), Skipped("digests.0.type must be a string")),
        ("digests/0/keyslots", json!(["0"]), Skipped("keyslot 10 belongs to 0 digests instead of one")),
        ("digests/0/keyslots", json!(["0", "10", "10"]), Taken),
        ("digests/0/keyslots", json!(["0", "10", "11"]), Skipped("digests.0.keyslots names keyslot 11, which does not exist")),
        ("digests/0/segments", json!([]), Skipped("segment 0 belongs to 0 digests instead of one")),
        ("digests/0/segments", json!(["1"]), Skipped("digests.0.segments names segment 1, which does not exist")),
        ("digests/0/hash", json!("foo"), Stricter("digests.0.hash must be sha1, sha256, sha384 or sha512")),
        ("digests/0/iterations", json!(0), Stricter("digests.0.iterations must be 1 or more")),
        ("digests/0/iterations", json!(4_294_967_295_u32), Taken),
        ("digests/0/salt", json!("AAAA"), Stricter("digests.0.salt must be 32 bytes in base64")),
        ("digests/0/digest", json!("AAAA"), Stricter("digests.0.digest must be 16 to 64 bytes in base64")),
        ("config/new", json!(1), Taken),
        ("config/json_size", json!("520191"), Skipped("config.json_size must be the length of the JSON area")),
        ("config/json_size", json!(520_192), Skipped("config.json_size must be a string of decimal digits below 2^64")),
        ("config/json_size", json!("18446744073709551615"), Skipped("config.json_size must be the length of the JSON area")),
        ("config/keyslots_size", json!("15728639"), Skipped("config.keyslots_size must be a multiple of 4096")),
        ("config/keyslots_size", json!("15732736"), Skipped("segment 0 begins at 0x1000000, within the header that ends at 0x1001000")),
        ("config/keyslots_size", json!("516096"), Taken),
        ("config/keyslots_size", json!("134221824"), Refused("config.keyslots_size must be at most 128 MiB")),
        ("config/flags", json!(["x"]), Taken),
        ("config/flags", json!({}), Skipped("config.flags must be an array of strings")),
        ("config/requirements", json!({}), Taken),
        ("config/requirements", json!({"mandatory": ["x"]}), Taken),
        ("config/requirements", json!({"mandatory": "x"}), Skipped("config.requirements.mandatory must be an array of strings")),
        ("config/requirements", json!(["x"]), Skipped("config.requirements must be an object")),
        ("config/requirements", json!({"mandatory": ["online-reencrypt-v2"]}), Refused("an unfinished reencryption: finish it with cryptsetup before anything else changes this container")),
    ] {
        let name = format!("{path} = {value}");
        judge_text(&name, changed(path, Some(value)).as_bytes(), verdict);
    }
}

type Change = fn(&mut Value);

fn rename_keyslot(text: &mut Value, to: &str) {
    let keyslots = text["keyslots"].as_object_mut().unwrap();
    let keyslot = keyslots.shift_remove("10").unwrap();
    keyslots.insert(to.to_owned(), keyslot);
    text["digests"]["0"]["keyslots"] = json!(["0", to]);
}

fn add_tokens(text: &mut Value, count: usize) {
    for number in 1..count {
        text["tokens"][number.to_string()] = json!({"type": "x", "keyslots": []});
    }
}

fn second_segment(text: &mut Value, first_size: &str) {
    let mut second = text["segments"]["0"].clone();
    second["offset"] = json!("17825792");
    text["segments"]["0"]["size"] = json!(first_size);
    text["segments"]["1"] = second;
    text["digests"]["0"]["segments"] = json!(["0", "1"]);
}

#[test]
fn numbers_and_several_of_a_kind() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let cases: [(&str, Change, Verdict); 12] = [
        ("keyslot 31", |text| rename_keyslot(text, "31"), Taken),
        (
            "keyslot 32",
            |text| rename_keyslot(text, "32"),
            Stricter("keyslot 32: numbers end at 31"),
        ),
        (
            "keyslot 010",
            |text| rename_keyslot(text, "010"),
            Refused("keyslots.010 must be named by a decimal number without leading zeros"),
        ),
        ("32 tokens", |text| add_tokens(text, 32), Taken),
        (
            "33 tokens",
            |text| add_tokens(text, 33),
            Stricter("tokens has more than 32 members"),
        ),
        (
            "no segment",
            |text| {
                text["segments"] = json!({});
                text["digests"]["0"]["segments"] = json!([]);
            },
            Skipped("segment 0 is missing: segments are numbered from 0 without a gap"),
        ),
        (
            "segment 1 alone",
            |text| {
                let segment = text["segments"]["0"].clone();
                text["segments"] = json!({"1": segment});
                text["digests"]["0"]["segments"] = json!(["1"]);
            },
            Skipped("segment 0 is missing: segments are numbered from 0 without a gap"),
        ),
        (
            "two segments",
            |text| second_segment(text, "1048576"),
            Stricter("2 segments; this program takes containers with one"),
        ),
        (
            "two segments, the first dynamic",
            |text| second_segment(text, "dynamic"),
            Skipped("segment 0 is dynamic but not the last"),
        ),
        (
            "two digests of a keyslot",
            |text| text["digests"]["1"] = text["digests"]["0"].clone(),
            Skipped("keyslot 0 belongs to 2 digests instead of one"),
        ),
        (
            "two digests of a segment",
            |text| {
                let mut digest = text["digests"]["0"].clone();
                digest["keyslots"] = json!([]);
                text["digests"]["1"] = digest;
            },
            Stricter("segment 0 belongs to 2 digests instead of one"),
        ),
        (
            "4096-byte sectors and half of one",
            |text| {
                text["segments"]["0"]["sector_size"] = json!(4096);
                text["segments"]["0"]["size"] = json!("2048");
            },
            Skipped("segments.0.size must be dynamic, or a multiple of the sector size above 0"),
        ),
    ];
    for (name, change, verdict) in cases {
        let mut text: Value = serde_json::from_str(&base_text()).unwrap();
        change(&mut text);
        judge_text(name, text.to_string().as_bytes(), verdict);
    }
}

#[test]
#[rustfmt::skip] // a line a case
fn the_text_itself() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let text = base_text();
    let with = |end: &[u8]| [&text.as_bytes()[..text.len() - 1], end].concat();
    let nested = |levels: usize| {
        let inner = "{\"a\":".repeat(levels - 1);
        with(format!(",\"x\":{inner}1{}}}", "}".repeat(levels - 1)).as_bytes())
    };
    let too_deep = format!(
        "the metadata.x{}: nested deeper than 32 levels",
        ".a".repeat(31)
    );
    let too_deep: &'static str = too_deep.leak();
    let area_bytes = (512 << 10) - 4096;
    let filled = |len: usize| {
        let filling = "a".repeat(len - text.len() - 7);
        with(format!(",\"x\":\"{filling}\"}}").as_bytes())
    };
    let pretty: Value = serde_json::from_str(&text).unwrap();
    let pretty = serde_json::to_string_pretty(&pretty).unwrap();
    for (name, bytes, verdict) in [
        ("as it is", text.clone().into_bytes(), Taken),
        ("pretty-printed", pretty.into_bytes(), Taken),
        ("a newline behind", format!("{text}\n").into_bytes(), Taken),
        ("a space before", format!(" {text}").into_bytes(), Skipped("the JSON area does not begin with an opening brace")),
        ("nothing", vec![], Skipped("the JSON area does not begin with an opening brace")),
        ("an array", b"[]".to_vec(), Skipped("the JSON area does not begin with an opening brace")),
        ("an empty object", b"{}".to_vec(), Skipped("keyslots is missing")),
        ("a letter behind", format!("{text}x").into_bytes(), Refused("the metadata: not valid JSON (trailing characters at line 1 column 1151)")),
        ("a letter behind a NUL", format!("{text}\0\0x").into_bytes(), Skipped("the JSON area holds other bytes than NUL behind its text, at offset 1152 of the area")),
        ("a full area", filled(area_bytes), Skipped("the JSON text fills its area of 520192 bytes, no NUL ends it")),
        ("a full area but for a NUL", filled(area_bytes - 1), Taken),
        ("31 objects and a number", nested(31), Taken),
        ("32 objects and a number", nested(32), Refused(too_deep)),
        ("numbers as they are", with(b",\"x\":[1.10,1e3,-0,1e999]}"), Taken),
        ("a comment", with(b"/**/}"), Stricter("the metadata: not valid JSON (expected `,` or `}` at line 1 column 1150)")),
        ("a comma at the end", with(b",}"), Stricter("the metadata: not valid JSON (key must be a string at line 1 column 1151)")),
        ("single quotes", with(b",'x':1}"), Stricter("the metadata: not valid JSON (key must be a string at line 1 column 1151)")),
        ("NaN", with(b",\"x\":NaN}"), Stricter("the metadata: not valid JSON (expected value at line 1 column 1155)")),
        ("a control character", with(b",\"x\":\"\x01\"}"), Stricter("the metadata: not valid JSON (control character (\\u0000-\\u001F) found while parsing a string at line 1 column 1155)")),
        ("a byte that is no UTF-8", with(b",\"x\":\"\xff\"}"), Stricter("the JSON text is not UTF-8 at offset 1155 of its area")),
        ("a member twice", with(b",\"x\":1,\"x\":1}"), Stricter("the metadata: two members named x")),
        ("a second tokens", with(b",\"tokens\":{}}"), Stricter("the metadata: two members named tokens")),
        ("a NUL in a name", with(b",\"tokens\\u0000\":{}}"), Stricter("the metadata.tokens\\0: a string with a NUL character")),
        ("a NUL in a value", with(b",\"x\":\"\\u0000\"}"), Stricter("the metadata.x: a string with a NUL character")),
        ("half a surrogate pair", with(b",\"x\":\"\\ud800\"}"), Stricter("the metadata.x: not valid JSON (unexpected end of hex escape at line 1 column 8)")),
    ] {
        judge_text(name, &bytes, verdict);
    }
}

type Edit = fn(&mut [u8]);

#[test]
fn the_binary_header() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let cases: [(&str, Edit, Verdict); 13] = [
        ("sequence id 0", |header| header[16..24].fill(0), Taken),
        (
            "highest sequence id",
            |header| header[16..24].fill(0xff),
            Taken,
        ),
        (
            "SHA-512",
            |header| header[72..78].copy_from_slice(b"sha512"),
            Taken,
        ),
        (
            "a label without NUL",
            |header| header[24..72].fill(b'x'),
            Taken,
        ),
        ("no label", |header| header[24..72].fill(0), Taken),
        ("no UUID", |header| header[168..208].fill(0), Taken),
        (
            "a UUID that is none",
            |header| header[168..208].fill(b'x'),
            Taken,
        ),
        ("padding", |header| header[264..448].fill(0xff), Taken),
        ("more padding", |header| header[512..4096].fill(0xff), Taken),
        (
            "version 3",
            |header| header[7] = 3,
            Refused("no magic number of a primary header at offset 0x0"),
        ),
        (
            "version 1",
            |header| header[7] = 1,
            Refused("no magic number of a primary header at offset 0x0"),
        ),
        (
            "another offset",
            |header| header[262] = 2,
            Skipped("the header at offset 0x0 says that it lies at 0x200"),
        ),
        (
            "an unknown checksum",
            |header| header[72..78].copy_from_slice(b"sha25x"),
            Refused("the header at offset 0x0 names an unknown checksum algorithm"),
        ),
    ];
    let text = base_text();
    for (name, edit, verdict) in cases {
        let header = [false, true].map(|second| copy(second, 512 << 10, text.as_bytes(), &edit));
        judge(name, &header.concat(), 16 << 20, verdict);
    }
}

#[test]
fn sizes() {
    if !programs(&["cryptsetup"]) {
        return;
    }
    // Every size that LUKS2 has, and some that it has not.
    let wrong = |size: usize| -> &'static str {
        format!("the header at offset 0x0 claims a size of {size} bytes; sizes are 16 KiB times a power of two, up to 4 MiB").leak()
    };
    for size in [
        8192,
        12288,
        16384,
        20480,
        32768,
        65536,
        131_072,
        1 << 20,
        4 << 20,
        8 << 20,
    ] {
        let mut text: Value = serde_json::from_str(&base_text()).unwrap();
        for (slot, index) in [("0", 0), ("10", 1)] {
            let offset = 2 * size + index * 258_048;
            text["keyslots"][slot]["area"]["offset"] = json!(offset.to_string());
        }
        text["segments"]["0"]["offset"] = json!((24 << 20).to_string());
        text["config"]["json_size"] = json!((size - 4096).to_string());
        text["config"]["keyslots_size"] = json!((2 * 258_048).to_string());
        let text = text.to_string();
        let header = [false, true].map(|second| copy(second, size, text.as_bytes(), &|_| {}));
        let power = size.is_power_of_two() && (16 << 10..=4 << 20).contains(&size);
        let verdict = if power { Taken } else { Skipped(wrong(size)) };
        judge(
            &format!("{size} bytes"),
            &header.concat(),
            24 << 20,
            verdict,
        );
    }
    let text = base_text();
    let header = [false, true].map(|second| copy(second, 512 << 10, text.as_bytes(), &|_| {}));
    let short = Refused(
        "the LUKS2 header and its keyslots take 16777216 bytes, the container has 16776704",
    );
    judge("exactly the header", &header.concat(), 16 << 20, Taken);
    judge("one sector less", &header.concat(), (16 << 20) - 512, short);
}
