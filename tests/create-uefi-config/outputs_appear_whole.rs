//! How files are written, and the forms of the command line around them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::{digests, program, support, text};

fn folder() -> tempfile::TempDir {
    let scratch = support::scratch();
    fs::create_dir(scratch.path().join("in")).unwrap();
    fs::write(scratch.path().join("in/PK.esl"), digests(&[1])).unwrap();
    scratch
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_file_is_readable_and_an_old_one_keeps_its_mode_and_its_link() {
    let scratch = folder();
    let path = |name: &str| scratch.path().join(name);
    support::exits(
        program(scratch.path()).args(["-i", "in", "-o", "out.json"]),
        0,
    );
    assert_eq!(mode(&path("out.json")) & 0o600, 0o600);
    let expected = fs::read(path("out.json")).unwrap();

    fs::write(path("old"), "x".repeat(5000)).unwrap();
    fs::set_permissions(path("old"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("old", path("link")).unwrap();
    support::exits(program(scratch.path()).args(["-i", "in", "-o", "link"]), 0);
    assert_eq!(fs::read(path("old")).unwrap(), expected);
    assert_eq!(mode(&path("old")), 0o640);
    assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
    assert_eq!(names(scratch.path()), ["in", "link", "old", "out.json"]);
}

#[test]
fn a_pipe_gets_the_configuration_alone() {
    let scratch = folder();
    let output = support::exits(
        program(scratch.path()).args(["-i", "in", "-o", "/dev/stdout"]),
        0,
    );
    let json = text(output.stdout);
    assert!(
        json.starts_with("{\n  \"PK\": \"") && json.ends_with("false\n}\n"),
        "{json}"
    );
    assert!(text(output.stderr).contains("PK: 76 bytes\n"));
}

#[test]
fn databases_are_saved_or_nothing_is_written() {
    let scratch = folder();
    let arguments = ["-i", "in", "-o", "out.json", "--save-databases", "saved"];
    let output = support::exits(program(scratch.path()).args(arguments), 1);
    assert_eq!(
        text(output.stderr),
        "error: cannot save the databases: saved is no directory\n"
    );
    assert_eq!(names(scratch.path()), ["in"]);
    fs::create_dir(scratch.path().join("saved")).unwrap();
    support::exits(program(scratch.path()).args(arguments), 0);
    assert_eq!(
        names(&scratch.path().join("saved")),
        ["KEK", "PK", "db", "dbx"]
    );
    assert_eq!(
        fs::read(scratch.path().join("saved/PK")).unwrap(),
        digests(&[1])
    );
    assert!(
        fs::read(scratch.path().join("saved/db"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let scratch = folder();
    let output = support::exits(
        program(scratch.path()).args(["-i", "in", "-o", "no/out.json"]),
        1,
    );
    assert_eq!(
        text(output.stderr)
            .lines()
            .rev()
            .take(2)
            .collect::<Vec<_>>(),
        [
            "  because: No such file or directory (os error 2)",
            "error: cannot write no/out.json"
        ]
    );
}

#[test]
fn the_line_of_the_references_guide_works_with_a_hint() {
    for arguments in [
        ["-i", "uefi-config.json", "-i", "in"],
        ["-i", "in", "-i", "uefi-config.json"],
    ] {
        let scratch = folder();
        let output = support::exits(program(scratch.path()).args(arguments), 0);
        assert!(text(output.stderr).starts_with(
            "hint: -i uefi-config.json is understood as -o uefi-config.json; write -o for the output\n"
        ));
        assert_eq!(names(scratch.path()), ["in", "uefi-config.json"]);
    }
}

#[test]
fn wrong_usage_is_told_with_an_exit_code_of_its_own() {
    let scratch = folder();
    for (arguments, expected) in [
        (
            &["-i", "in"][..],
            "error: the argument '--out <FILE>' is missing\n",
        ),
        (
            &["-o", "o"],
            "error: give one source: --in DIR, --ovmf-vars FILE, --efivars [DIR] or --az-disk-profile FILE\n",
        ),
        (
            &["-o", "o", "-i", "in", "--efivars"],
            "error: give one source: ",
        ),
        (
            &["-i", "PK.esl", "-i", "in"],
            "warning: --in PK.esl is not read: of several the last one counts; put the files of all into one directory\n\
             error: the argument '--out <FILE>' is missing\n",
        ),
        (
            &["-i", "in", "-o", "o", "--save-databases", "-"],
            "error: invalid value '-' for '--save-databases <DIR>': this does not go to standard output; ./- is a file of that name\n",
        ),
        (
            &["-o", "o", "-i", "in", "more"],
            "error: unexpected argument 'more' found\n",
        ),
    ] {
        let output = support::exits(program(scratch.path()).args(arguments), 2);
        let said = text(output.stderr);
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(names(scratch.path()), ["in"]);
}

#[test]
fn of_several_directories_the_last_one_counts_and_the_others_are_named() {
    let scratch = folder();
    let arguments = ["-i", "no-such-one", "-o", "out.json", "--in=in"];
    let output = support::exits(program(scratch.path()).args(arguments), 0);
    let said = text(output.stderr);
    assert!(
        said.starts_with("warning: --in no-such-one is not read: of several the last one counts; "),
        "{said}"
    );
}

#[test]
fn a_dash_is_standard_output_and_nothing_else_goes_there() {
    let scratch = folder();
    let to_file = ["-i", "in", "-o", "out.json"];
    let report = text(support::exits(program(scratch.path()).args(to_file), 0).stdout);
    let expected = fs::read_to_string(scratch.path().join("out.json")).unwrap();
    fs::remove_file(scratch.path().join("out.json")).unwrap();
    for dash in [&["-o", "-"][..], &["--out=-"], &["-o-"]] {
        let arguments = [&["-i", "in"], dash].concat();
        let output = support::exits(program(scratch.path()).args(arguments), 0);
        assert_eq!(text(output.stdout), expected);
        assert!(text(output.stderr).ends_with(&report));
    }
    assert_eq!(names(scratch.path()), ["in"]);
    let output = program(scratch.path())
        .args(["-i", "in", "-o", "-"])
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(output.stderr);
    let full = "error: cannot write the answer\n  because: No space left on device (os error 28)\n";
    assert!(said.ends_with(full), "{said}");
    let file = support::exits(program(scratch.path()).args(["-i", "in", "-o", "./-"]), 0);
    assert_eq!(text(file.stdout), report);
    assert_eq!(names(scratch.path()), ["-", "in"]);
}

#[test]
fn the_flag_for_firmware_without_the_event_is_written_down() {
    let scratch = folder();
    let arguments = ["-i", "in", "-o", "out.json", "--omits-ready-to-boot-signal"];
    let output = support::exits(program(scratch.path()).args(arguments), 0);
    assert!(text(output.stdout).ends_with("omitsReadyToBootEvent: true\n"));
    let json = fs::read_to_string(scratch.path().join("out.json")).unwrap();
    assert!(json.ends_with("  \"omitsReadyToBootEvent\": true\n}\n"));
}
