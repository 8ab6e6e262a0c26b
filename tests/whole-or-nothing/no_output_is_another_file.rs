//! No output is written over an input or another output, by whatever names the two are given.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::scratch;
use crate::support::workshop::stderr;

/// A command, with options of files. Each file is given by an argument with `{}` in its place.
struct Row {
    program: &'static str,
    arguments: &'static [&'static str],
    /// Outputs: what gives each, and the file below a directory that is written.
    outputs: &'static [(&'static str, &'static str)],
    /// Inputs in the same form: the file below a directory that is read.
    inputs: &'static [(&'static str, &'static str)],
}

const MAIN: &str = env!("CARGO_BIN_EXE_encrypt-cloud-image");
const CONFIG: &str = env!("CARGO_BIN_EXE_create-uefi-config");

const BOUND: &[(&str, &str)] = &[
    ("--srk-pub={}", ""),
    ("--srk-template-unique-data={}", ""),
    ("--recovery-key-file={}", ""),
    ("--uefi-config={}", ""),
    ("--ovmf-vars={}", ""),
    ("--az-disk-profile={}", ""),
    ("--efivars={}", "/db-d719b2cb-3d3a-4596-a3bc-dad00e67656f"),
];

fn rows() -> Vec<Row> {
    let written = &[
        ("--output={}", ""),
        ("--report={}", ""),
        ("--recovery-key-out={}", ""),
    ];
    vec![
        Row {
            program: MAIN,
            arguments: &["encrypt", "--overwrite", "{SOURCE}"],
            outputs: &[("--output={}", "")],
            inputs: &[("--kernel-efi={}", ""), ("--backing-file={}", "")],
        },
        Row {
            program: MAIN,
            arguments: &["deploy", "--add-efi-secure-boot-profile", "{SOURCE}"],
            outputs: &[("--report={}", ""), ("--recovery-key-out={}", "")],
            inputs: &[("--unlock-with={}", ""), ("{}", "")],
        },
        Row {
            program: MAIN,
            arguments: &[
                "deploy",
                "--overwrite",
                "--add-efi-secure-boot-profile",
                "{SOURCE}",
            ],
            outputs: written,
            inputs: BOUND,
        },
        Row {
            program: MAIN,
            arguments: &[
                "provision",
                "--overwrite",
                "--add-efi-secure-boot-profile",
                "{SOURCE}",
            ],
            outputs: written,
            inputs: &[
                ("--kernel-efi={}", ""),
                ("--backing-file={}", ""),
                ("{}", ""),
            ],
        },
        Row {
            program: MAIN,
            arguments: &[
                "provision",
                "--overwrite",
                "--add-efi-secure-boot-profile",
                "{SOURCE}",
            ],
            outputs: written,
            inputs: BOUND,
        },
        Row {
            program: MAIN,
            arguments: &["predict"],
            outputs: &[("--tcg-log={}", "")],
            inputs: &[
                ("{}", ""),
                ("--backing-file={}", ""),
                ("--esp={}", "/EFI/ubuntu/grubx64.efi"),
                ("--chain=shim.efi,{}", ""),
                ("--chain={},kernel.efi", ""),
                ("--explain={}", ""),
                ("--uefi-config={}", ""),
                ("--ovmf-vars={}", ""),
                ("--az-disk-profile={}", ""),
                ("--efivars={}", "/db-d719b2cb-3d3a-4596-a3bc-dad00e67656f"),
            ],
        },
        Row {
            program: CONFIG,
            arguments: &[],
            outputs: &[("--out={}", ""), ("--save-databases={}", "/db")],
            inputs: &[
                ("--in={}", "/PK.esl"),
                ("--in={}", "/db-1.pem"),
                ("--in={}", "/dbx-1.auth"),
                ("--ovmf-vars={}", ""),
                ("--az-disk-profile={}", ""),
                ("--efivars={}", "/KEK-8be4df61-93ca-11d2-aa0d-00e098032b8c"),
            ],
        },
    ]
}

/// How a second name comes to lead to a file.
const NAMES: [fn(&Path, &Path); 2] = [
    |file, name| fs::hard_link(file, name).unwrap(),
    |file, name| symlink(file, name).unwrap(),
];

/// An option, and the path of its file below what it is given.
type Place = (&'static str, &'static str);

/// A file that one option names, and a link to it that the other one does.
fn refused_under_second_names(
    row: &Row,
    (of, first): (&str, &Place),
    (to, second): (&str, &Place),
) {
    for second_name in NAMES {
        let folder = scratch();
        let file = folder.path().join(format!("{of}{}", first.1));
        place(&file);
        let name = folder.path().join(format!("{to}{}", second.1));
        fs::create_dir_all(name.parent().unwrap()).unwrap();
        second_name(&file, &name);
        let arguments = [given(second.0, to), given(first.0, of)];
        assert_refused(row, folder.path(), &arguments);
    }
}

#[test]
fn no_output_of_any_command_is_one_of_its_inputs() {
    for row in rows() {
        for output in row.outputs {
            for input in row.inputs {
                // The same path can be given only where neither is a directory's.
                if output.1.is_empty() {
                    let folder = scratch();
                    let file = format!("in{}", input.1);
                    place(&folder.path().join(&file));
                    let arguments = [given(output.0, &file), given(input.0, "in")];
                    assert_refused(&row, folder.path(), &arguments);
                }
                refused_under_second_names(&row, ("in", input), ("out", output));
            }
        }
    }
}

#[test]
fn no_two_outputs_of_any_command_are_one_file() {
    for row in rows() {
        for (at, first) in row.outputs.iter().enumerate() {
            for second in row.outputs.iter().skip(at + 1) {
                refused_under_second_names(&row, ("a", first), ("b", second));
            }
        }
    }
}

#[test]
fn what_is_no_input_beside_inputs_is_replaced() {
    let folder = scratch();
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::write(folder.path().join("in/config.json"), b"old").unwrap();
    let mut program = Command::new(CONFIG);
    let arguments = ["-i", "in", "-o", "in/config.json", "--secure-boot=off"];
    let output = program.args(arguments).current_dir(folder.path()).output();
    let said = stderr(&output.unwrap());
    assert!(!said.contains("name one file"), "{said}");
}

/// An argument with a file's name in it.
fn given(argument: &str, name: &str) -> String {
    argument.replace("{}", name)
}

fn place(file: &Path) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, format!("what is dear in {}", file.display())).unwrap();
}

/// Runs a command with two arguments, which it refuses before it does anything.
#[track_caller]
fn assert_refused(row: &Row, folder: &Path, arguments: &[String; 2]) {
    fs::write(folder.join("srk"), b"not read").unwrap();
    let before = contents(folder);
    let mut command = Command::new(row.program);
    let fixed = row
        .arguments
        .iter()
        .filter(|argument| **argument != "{SOURCE}");
    command.args(fixed).current_dir(folder).args(arguments);
    let named = |option: &str| arguments.iter().any(|argument| argument.contains(option));
    // What the parser wants besides.
    if row.arguments.contains(&"{SOURCE}") && arguments.iter().all(|given| given.starts_with("--"))
    {
        command.arg("source");
    }
    let wants = match row.arguments.first() {
        // In place, or onto another file.
        Some(&"deploy") if row.arguments.contains(&"--overwrite") => {
            &["--srk-pub", "--firmware", "--output"][..]
        }
        Some(&"deploy") => &["--srk-pub", "--firmware"],
        Some(&"provision") => &["--srk-pub", "--firmware", "--output"],
        Some(&"predict") => &["--chain", "--firmware"],
        None => &["--out"],
        _ => &[],
    };
    let is_boot_file = ["--esp", "--chain", "--backing-file"]
        .iter()
        .any(|option| named(option))
        || arguments.iter().any(|given| !given.starts_with("--"));
    let firmware = [
        "--uefi-config",
        "--ovmf-vars",
        "--az-disk-profile",
        "--efivars",
    ];
    for want in wants {
        let (is_given, filler) = match *want {
            "--firmware" => (
                firmware.iter().any(|option| named(option)),
                "--uefi-config=other",
            ),
            "--chain" => (is_boot_file, "--chain=other"),
            "--srk-pub" => (named(want), "--srk-pub=srk"),
            "--output" => (named(want), "--output=other.img"),
            _ => (named(want), "--out=other.json"),
        };
        if !is_given {
            command.arg(filler);
        }
    }
    if row.arguments.first() == Some(&"predict") && named("--backing-file") {
        command.arg("image");
    }
    if row.program == CONFIG
        && arguments
            .iter()
            .all(|given| given.starts_with("--out") || given.starts_with("--save"))
    {
        command.arg("--in=.");
    }
    let output: Output = command.output().unwrap();
    let said = stderr(&output);
    // The image layer has a message of its own for an output onto its source, and reads the source before.
    let is_onto_source = arguments[0].starts_with("--output") && !arguments[1].starts_with("--");
    let is_refused = match output.status.code() {
        Some(1) => said.contains(" name one file: ") || is_onto_source,
        Some(2) => said.contains("cannot be used with"), // the parser lets no run have both
        _ => false,
    };
    assert!(is_refused, "{command:?}: {said}");
    assert!(contents(folder) == before, "{command:?}");
}

/// What lies in a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}
