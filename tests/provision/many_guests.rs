//! `--guests`: each guest gets an image of its own from one read of the source, and one that fails harms no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::encrypted::{FLAGS, SEALED_KEY, WITHOUT_PCRS, open_offline, ready, soft_srk};
use crate::plain::{Made, Plain};
use crate::support::trace::Trace;
use crate::support::workshop::{is_root, state, stderr, stdout};
use crate::support::{command, exits, programs};

const PARENTS: [&str; 4] = ["soft-rsa", "soft-ecc", "soft-rsa-aes256", "soft-ecc-aes256"];

/// The digest over no value at all.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A folder with the public areas of all parents, named as they are.
fn plain() -> Plain {
    let plain = Plain::new();
    for name in PARENTS {
        let public = fs::read(soft_srk(name)).unwrap();
        plain.workshop().write(&format!("{name}.pub"), &public);
    }
    plain
}

fn write(plain: &Plain, guests: &[Value]) -> PathBuf {
    let lines: Vec<_> = guests.iter().map(Value::to_string).collect();
    plain
        .workshop()
        .write("guests.jsonl", lines.join("\n").as_bytes())
}

/// Runs with these guests; the flags are those of every guest.
#[track_caller]
fn run(plain: &Plain, guests: &[Value], flags: &[&str], code: i32) -> Output {
    write(plain, guests);
    let mut provision = plain.provision(flags);
    exits(
        provision.args(["--guests", "guests.jsonl", "plain.img"]),
        code,
    )
}

/// What is said, but for progress.
fn talk(output: &Output) -> Vec<String> {
    let kept = ["error: ", "hint: ", "warning: ", "  because: "];
    let text = stderr(output);
    let lines = text.lines();
    let is_kept = |line: &&str| {
        kept.iter().any(|start| line.starts_with(start)) || line.contains("provisioned")
    };
    lines
        .filter(is_kept)
        .filter(|line| !line.contains("cloud-init cannot grow"))
        .map(str::to_owned)
        .collect()
}

/// `a.img`, `b.img`, ...
fn output(index: usize) -> String {
    format!("{}.img", char::from(b'a' + u8::try_from(index).unwrap()))
}

fn four() -> Vec<Value> {
    let guest =
        |(index, parent)| json!({"output": output(index), "srk_pub": format!("{parent}.pub")});
    PARENTS.into_iter().enumerate().map(guest).collect()
}

#[test]
fn none_opens_the_image_of_another() {
    if !ready() {
        return;
    }
    let plain = plain();
    let mut guests = four();
    guests[1]["recovery_key_out"] = json!("b.key");
    guests[2]["recovery_key_file"] = json!("c.key");
    guests[3]["report"] = json!("d.json");
    guests[3]["uefi_config"] = json!("uefi-config.json");
    plain.workshop().write("c.key", b"0123456789abcdef");
    let source = state(&plain.path("plain.img"));
    // The options' configuration is for those that name none.
    run(&plain, &guests, &FLAGS[2..], 0);
    assert!(state(&plain.path("plain.img")) == source);
    let composites = plain.composites("a.img", &FLAGS[2..]);
    let made: Vec<_> = (0..4)
        .map(|index| Made::of(plain.path(&output(index))))
        .collect();
    let open =
        |made: &Made, parent| open_offline(&made.esp.files()[SEALED_KEY], parent, &composites);
    let keys: Vec<_> = made
        .iter()
        .zip(PARENTS)
        .map(|(made, parent)| open(made, parent))
        .collect();
    let mut volume_keys = BTreeSet::new();
    let mut growpart_keys = BTreeSet::new();
    for (index, made) in made.iter().enumerate() {
        for (other, key) in keys.iter().enumerate() {
            let expected = if index == other { 0 } else { 2 };
            assert_eq!(made.container.test_key(0, key), expected, "{index} {other}");
        }
        volume_keys.insert(made.container.volume_key_by(&keys[index]));
        let filesystem = made.decrypted(&keys[index]);
        let at = crate::support::files::find_in(&filesystem, b"{\"key\":\"").unwrap();
        growpart_keys.insert(filesystem[at..at + 64].to_vec());
    }
    assert_eq!((volume_keys.len(), growpart_keys.len()), (4, 4));
    // Each sealed key is for its own guest's TPM.
    let other = std::panic::catch_unwind(|| open(&made[0], "soft-rsa-aes256"));
    assert!(other.is_err());
    let recovery = fs::read(plain.path("b.key")).unwrap();
    assert_eq!(made[1].container.test_key(1, &recovery), 0);
    assert_eq!(made[2].container.test_key(1, b"0123456789abcdef"), 0);
    let report: Value = serde_json::from_slice(&fs::read(plain.path("d.json")).unwrap()).unwrap();
    assert_eq!(report["output"]["path"], "d.img");
    assert_eq!(report["srk"]["kind"], "ECC");
}

/// A list of configurations is a set of branches for each, as several options are.
#[test]
fn a_guest_may_have_several_configurations() {
    if !ready() {
        return;
    }
    let plain = plain();
    let more = crate::data::content("vectors/uefi/hash-and-cert.json");
    plain.workshop().write("more.json", &more);
    let mut guests = four();
    guests.truncate(2);
    guests[0]["uefi_config"] = json!(["uefi-config.json", "more.json"]);
    guests[1]["uefi_config"] = json!(["uefi-config.json"]);
    run(&plain, &guests, &FLAGS[4..], 0);
    let one = plain.composites("b.img", &FLAGS[2..]);
    let more = ["--uefi-config", "more.json"];
    let both = plain.composites("a.img", &[&FLAGS[2..4], &more, &FLAGS[4..]].concat());
    assert!(both.len() > one.len() && both.starts_with(&one));
    for (index, composites) in [(0, &both), (1, &one)] {
        let made = Made::of(plain.path(&output(index)));
        let sealed = &made.esp.files()[SEALED_KEY];
        let key = open_offline(sealed, PARENTS[index], composites);
        assert_eq!(made.container.test_key(0, &key), 0);
        let others = if index == 0 { &one } else { &both };
        let opens = || open_offline(sealed, PARENTS[index], others);
        assert!(std::panic::catch_unwind(opens).is_err());
    }
}

#[test]
fn one_that_fails_does_not_harm_the_others() {
    if !ready() {
        return;
    }
    let plain = plain();
    plain.workshop().write("bad.pub", b"no public area");
    plain.workshop().write("old.img", b"precious");
    plain.workshop().write("old.key", b"precious");
    let mut names = plain.workshop().names();
    let mut guests = four();
    let srk = "soft-rsa.pub";
    guests.extend([
        json!({"output": "e.img", "srk_pub": "bad.pub"}),
        json!({"output": "old.img", "srk_pub": srk}),
        json!({"output": "none/g.img", "srk_pub": srk}),
        json!({"output": "h.img", "srk_pub": srk, "recovery_key_out": "old.key"}),
        json!({"output": "i.img", "srk_pub": srk, "report": "none/report"}),
        json!({"output": "j.img", "srk_pub": "missing.pub"}),
        json!({"output": "plain.img/k.img", "srk_pub": srk}),
    ]);
    let output = run(&plain, &guests, &WITHOUT_PCRS[2..], 4);
    let said = talk(&output);
    let starts = [
        "warning: a.img: --no-pcr-policy: ",
        "error: line 5: --srk-pub: ",
        "error: line 6: old.img: the output exists already",
        "hint: --overwrite replaces it",
        "error: line 7: none/g.img: ",
        "error: line 8: --recovery-key-out: old.key exists already",
        "hint: --recovery-key-file takes",
        "error: line 9: --report: cannot write none/report",
        "  because: No such file or directory",
        "error: line 10: --srk-pub: cannot read missing.pub",
        "  because: No such file or directory",
        "error: line 11: plain.img/k.img: ",
        "a.img: provisioned",
        "b.img: provisioned",
        "c.img: provisioned",
        "d.img: provisioned",
        "error: guests.jsonl: 7 of 11 guests failed",
    ];
    let causes = |line: &&String| !line.starts_with("  because: ") || line.contains("No such file");
    let said: Vec<_> = said.iter().filter(causes).collect();
    assert_eq!(said.len(), starts.len(), "{said:#?}");
    for (line, start) in said.iter().zip(starts) {
        assert!(line.starts_with(start), "{line:?} {start:?}");
    }
    names.extend((0..4).map(self::output));
    names.push("guests.jsonl".to_owned());
    names.sort();
    assert_eq!(plain.workshop().names(), names);
    assert_eq!(fs::read(plain.path("old.img")).unwrap(), b"precious");
    for (index, parent) in PARENTS.into_iter().enumerate() {
        let made = Made::of(plain.path(&self::output(index)));
        let key = open_offline(&made.esp.files()[SEALED_KEY], parent, &[NOTHING.to_owned()]);
        assert_eq!(made.container.test_key(0, &key), 0);
    }
}

/// One output's disk is full before the run, another's while it writes.
#[test]
fn a_full_disk_is_that_of_its_guest_alone() {
    if !ready() || !programs(&["unshare"]) {
        return;
    }
    let plain = plain();
    let mut guests = four();
    guests[1]["output"] = json!("small/b.img");
    guests[2]["output"] = json!("smaller/c.img");
    guests[2]["recovery_key_out"] = json!("c.key");
    write(&plain, &guests);
    let namespace = if is_root() {
        &["-m"][..]
    } else {
        &["-r", "-m"]
    };
    let unshare = |script: &str| {
        let mut unshare = command("unshare");
        unshare.args(namespace).args(["sh", "-ec", script]);
        unshare
            .arg(plain.workshop().program())
            .args(WITHOUT_PCRS)
            .args(["--guests", "guests.jsonl", "plain.img"])
            .current_dir(plain.workshop().folder());
        unshare.output().unwrap()
    };
    if !unshare("mount -t tmpfs none /mnt").status.success() {
        eprintln!("SKIPPED: no mount namespace for a small filesystem");
        return;
    }
    // The root's segment has 8 MiB, and is all that is sure to be written.
    let output = unshare(
        "mkdir -p small smaller\n\
         mount -t tmpfs -o size=12m,mode=0777 none small\n\
         mount -t tmpfs -o size=4m,mode=0777 none smaller\n\
         shift 2; code=0; \"$0\" provision \"$@\" || code=$?\n\
         echo \"left: $(ls -A small smaller | tr '\\n' ' ')\"; exit $code",
    );
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert_eq!(stdout(&output), "left: small:  smaller: \n");
    let said = talk(&output);
    let has = |text: &str| said.iter().any(|line| line.contains(text));
    assert!(has("line 2: small/b.img: "), "{said:#?}");
    assert!(has("No space left on device (os error 28)"), "{said:#?}");
    assert!(has("line 3: the output takes "), "{said:#?}");
    assert!(
        has("error: guests.jsonl: 2 of 4 guests failed"),
        "{said:#?}"
    );
    assert!(!plain.path("c.key").exists());
    for index in [0, 3] {
        let made = Made::of(plain.path(&self::output(index)));
        let sealed = &made.esp.files()[SEALED_KEY];
        let key = open_offline(sealed, PARENTS[index], &[NOTHING.to_owned()]);
        assert_eq!(made.container.test_key(0, &key), 0);
    }
}

/// Bytes that a run reads of `plain.img`.
fn read_bytes(plain: &Plain, guests: &[Value]) -> u64 {
    write(plain, guests);
    let reads = [
        "-s",
        "0",
        "-e",
        "trace=read,readv,pread64,preadv,preadv2,mmap",
    ];
    let flags = ["--overwrite", "--guests", "guests.jsonl", "plain.img"];
    let arguments = [&["provision"], &FLAGS[2..], &flags].concat();
    let program = plain.workshop().program();
    let (trace, output) = Trace::of(plain.workshop(), &reads, &program, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let reads = trace.reads(&plain.path("plain.img"));
    reads.iter().map(|range| range.end - range.start).sum()
}

#[test]
fn four_guests_read_what_one_reads() {
    if !ready() || !programs(&["strace"]) {
        return;
    }
    let plain = plain();
    let guests = four();
    let one = read_bytes(&plain, &guests[..1]);
    let four = read_bytes(&plain, &guests);
    assert!(one > 1 << 20);
    assert!(four <= one, "{four} bytes for four guests, {one} for one");
}

/// Tells the peak memory of a program in KiB.
const PEAK: &str = "import resource, subprocess, sys\n\
                      code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n\
                      print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n\
                      sys.exit(code)\n";

/// More guests than are written at a time, in the memory of those.
#[test]
fn many_guests_take_the_memory_of_a_few() {
    if !ready() || !Path::new("/usr/bin/python3").exists() {
        return;
    }
    let plain = plain();
    let guest = |index| json!({"output": format!("{index}.img"), "srk_pub": "soft-ecc.pub"});
    let mut peaks = Vec::new();
    for count in [16, 24] {
        let guests: Vec<_> = (0..count).map(guest).collect();
        write(&plain, &guests);
        let mut python = plain.workshop().command("/usr/bin/python3");
        python
            .args(["-c", PEAK])
            .arg(plain.workshop().program())
            .arg("provision")
            .args(&WITHOUT_PCRS[2..])
            .args(["--overwrite", "--guests", "guests.jsonl", "plain.img"]);
        let peak: u64 = stdout(&exits(&mut python, 0)).trim().parse().unwrap();
        peaks.push(peak);
    }
    assert!(peaks[0] < 512 << 10, "{peaks:?} KiB");
    assert!(peaks[1] < peaks[0] + (64 << 10), "{peaks:?} KiB");
    for index in [0, 15, 16, 23] {
        let made = Made::of(plain.path(&format!("{index}.img")));
        let sealed = &made.esp.files()[SEALED_KEY];
        let key = open_offline(sealed, "soft-ecc", &[NOTHING.to_owned()]);
        assert_eq!(made.container.test_key(0, &key), 0);
    }
}

#[test]
fn a_file_of_guests_with_a_mistake_is_refused_before_anything_is_made() {
    if !ready() {
        return;
    }
    let plain = plain();
    let srk = "soft-rsa.pub";
    let first = json!({"output": "a.img", "srk_pub": srk});
    let second = |member: &str, value: &str| {
        let mut guest = json!({"output": "b.img", "srk_pub": srk});
        guest[member] = json!(value);
        guest.to_string()
    };
    let unknown = "unknown field `srk`, expected one of `output`, `srk_pub`, `srk_template_unique_data`, `uefi_config`, `ovmf_vars`, `az_disk_profile`, `recovery_key_file`, `recovery_key_out`, `report`";
    for (text, said) in [
        (second("srk", srk), format!("guests.jsonl: line 3: {unknown} (column ")),
        ("{}".to_owned(), "guests.jsonl: line 3: missing field `output` (column 2)".to_owned()),
        ("[1".to_owned(), "guests.jsonl: line 3: ".to_owned()),
        (second("output", "./a.img"), "output of line 1 and output of line 3 name one file: a.img".to_owned()),
        (second("report", "a.img"), "output of line 1 and report of line 3 name one file: a.img".to_owned()),
        (second("output", "plain.img"), "SOURCE and output of line 3 name one file: plain.img".to_owned()),
        (second("recovery_key_file", "a.img"), "output of line 1 and recovery_key_file of line 3 name one file: a.img".to_owned()),
        (
            json!({"output": "b.img", "srk_pub": srk, "uefi_config": []}).to_string(),
            "guests.jsonl: line 3: invalid length 0, expected a path or a list of paths (column ".to_owned(),
        ),
        (
            json!({"output": "b.img", "srk_pub": srk, "ovmf_vars": [1]}).to_string(),
            "guests.jsonl: line 3: invalid type: integer `1`, expected path string (column ".to_owned(),
        ),
        (
            json!({"output": "b.img", "srk_pub": srk, "ovmf_vars": "x", "uefi_config": ["y"]}).to_string(),
            "guests.jsonl: line 3: one of uefi_config, ovmf_vars and az_disk_profile describes a guest".to_owned(),
        ),
        (
            json!({"output": "b.img", "srk_pub": srk, "uefi_config": ["y", "a.img"]}).to_string(),
            "output of line 1 and uefi_config of line 3 name one file: a.img".to_owned(),
        ),
        (second("output", "-"), "guests.jsonl: line 3: output is a file; ./- is one of that name".to_owned()),
        (
            second("uefi_config", "uefi-config.json"),
            "guests.jsonl: line 3: --no-pcr-policy seals to no PCR, so nothing asks what the guest's firmware holds".to_owned(),
        ),
    ] {
        let lines = format!("{first}\n\n{text}\n");
        plain.workshop().write("guests.jsonl", lines.as_bytes());
        let names = plain.workshop().names();
        let mut provision = plain.provision(&WITHOUT_PCRS[2..]);
        let output = exits(provision.args(["--guests", "guests.jsonl", "plain.img"]), 1);
        let told = stderr(&output);
        assert!(told.starts_with(&format!("error: {said}")), "{told} {said}");
        assert_eq!(plain.workshop().names(), names);
    }
    let output = run(&plain, &[], &WITHOUT_PCRS[2..], 1);
    assert_eq!(
        stderr(&output),
        "error: guests.jsonl: the file names no guest\n"
    );
    let output = run(&plain, std::slice::from_ref(&first), &FLAGS[4..], 1);
    assert!(stderr(&output).contains("line 1: say what the guest's firmware holds"));
    // A source that does for nobody is said once.
    write(&plain, &four());
    let mut provision = plain.provision(&WITHOUT_PCRS[2..]);
    let output = exits(provision.args(["--guests", "guests.jsonl", "disk.img"]), 1);
    assert_eq!(stderr(&output).matches("already encrypted").count(), 1);
}

#[test]
fn options_of_one_guest_do_not_go_with_a_file_of_guests() {
    if !ready() {
        return;
    }
    let plain = plain();
    write(&plain, &four());
    for option in [
        ["-o", "x.img"],
        ["--srk-pub", "soft-rsa.pub"],
        ["--report", "x"],
        ["--recovery-key-out", "x"],
        ["--recovery-key-file", "x"],
        ["--srk-template-unique-data", "x"],
    ] {
        let arguments = [
            &WITHOUT_PCRS[2..],
            &option,
            &["--guests", "guests.jsonl", "plain.img"],
        ];
        let text = stderr(&exits(&mut plain.provision(&arguments.concat()), 2));
        assert!(text.contains("cannot be used with"), "{text}");
    }
}

#[test]
fn a_dry_run_tells_every_plan_and_writes_nothing() {
    if !ready() {
        return;
    }
    let plain = plain();
    write(&plain, &four());
    let names = plain.workshop().names();
    let arguments = [
        &WITHOUT_PCRS[2..],
        &["--dry-run", "--guests", "guests.jsonl", "plain.img"],
    ];
    let output = exits(&mut plain.provision(&arguments.concat()), 0);
    let text = stdout(&output);
    for index in 0..4 {
        let line = format!("output      {}, raw, ", self::output(index));
        assert!(text.contains(&line), "{text}");
    }
    assert_eq!(plain.workshop().names(), names);
}

#[test]
fn lines_follow_the_schema() {
    if !ready() || !programs(&["jsonschema"]) {
        return;
    }
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/guests-1.json");
    let folder = crate::support::scratch();
    let judge = |guest: &Value, code| {
        let file = folder.path().join("guest.json");
        fs::write(&file, guest.to_string()).unwrap();
        let mut validator = command("jsonschema");
        exits(validator.arg("--instance").arg(file).arg(&schema), code);
    };
    let guest = json!({"output": "a.img", "srk_pub": "a.pub", "report": "a.json"});
    judge(&guest, 0);
    for (member, value) in [("uefi_config", "x"), ("recovery_key_file", "x")] {
        let mut one = guest.clone();
        one[member] = json!(value);
        judge(&one, 0);
        one["ovmf_vars"] = json!("y");
        one["recovery_key_out"] = json!("y");
        judge(&one, 1);
    }
    for (paths, code) in [(json!(["x", "y"]), 0), (json!([]), 1), (json!([1]), 1)] {
        let mut several = guest.clone();
        several["uefi_config"] = paths;
        judge(&several, code);
    }
    judge(&json!({"output": "a.img"}), 1);
    judge(
        &json!({"output": "a.img", "srk_pub": "a.pub", "srk": "a"}),
        1,
    );
}
