//! A full disk and a limit on the size of files: a message, no output, no temporary, an untouched source.

use std::process::Output;

use crate::support::image::{Shape, image};
use crate::support::workshop::{Workshop, is_root, state, stderr, stdout};
use crate::support::{command, programs};

#[test]
fn a_limit_on_the_size_of_files_is_an_error_not_a_signal() {
    if !crate::can_judge() || !programs(&["prlimit"]) {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Stock));
    let before = state(&source);
    for limit in [1_u64 << 20, 120 << 20, 140 << 20] {
        let mut command = workshop.command("prlimit");
        command
            .arg(format!("--fsize={limit}"))
            .arg(workshop.program());
        let output = command
            .args(["encrypt", "-o", "output.img", "source.img"])
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(1),
            "{:?} {}",
            output.status,
            stderr(&output)
        );
        let talk = stderr(&output);
        assert!(talk.contains("File too large (os error 27)"), "{talk}");
        assert_eq!(state(&source), before);
        assert_eq!(workshop.names(), ["source.img"]);
    }
}

/// Runs a script, whose `$0` is the program, where it can mount a small filesystem of its own: in a mount namespace
/// that vanishes with the process. `None` where this machine has none.
fn in_a_namespace(workshop: &Workshop, script: &str) -> Option<Output> {
    let unshare = |script: &str| {
        let mut unshare = command("unshare");
        unshare.args(if is_root() {
            &["-m"][..]
        } else {
            &["-r", "-m"]
        });
        unshare
            .args(["sh", "-ec", script])
            .arg(workshop.program())
            .current_dir(workshop.folder());
        unshare.output().unwrap()
    };
    if !unshare("mount -t tmpfs none /mnt").status.success() {
        eprintln!("SKIPPED: no mount namespace for a small filesystem");
        return None;
    }
    Some(unshare(script))
}

#[test]
fn a_full_disk_is_seen_and_leaves_nothing() {
    if !crate::can_judge() || !programs(&["unshare"]) {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Stock));
    let before = state(&source);
    let drop = if is_root() {
        "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all"
    } else {
        ""
    };
    // The second is large enough when the run begins: something else fills it.
    for (size, filler) in [
        ("20m", ""),
        ("70m", "head -c 40000000 /dev/zero > small/filler &"),
    ] {
        let script = format!(
            "mkdir -p small; mount -t tmpfs -o size={size},mode=0777 none small; {filler}\n\
             code=0; {drop} \"$0\" encrypt -o small/output.img source.img || code=$?\n\
             wait; echo \"left: $(ls -A small | grep -v filler)\"; exit $code"
        );
        let Some(output) = in_a_namespace(&workshop, &script) else {
            return;
        };
        let (talk, told) = (stderr(&output), stdout(&output));
        assert_eq!(output.status.code(), Some(1), "{talk}");
        assert_eq!(told, "left: \n", "{talk}");
        let is_named = talk.contains("No space left on device (os error 28)")
            || talk.contains("error: the output takes ");
        assert!(is_named, "{talk}");
        assert_eq!(state(&source), before);
    }
}

#[test]
fn a_plan_is_shown_with_a_warning() {
    if !crate::can_judge() || !programs(&["unshare"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Stock));
    let script = "mkdir -p small; mount -t tmpfs -o size=20m,mode=0777 none small\n\
                  \"$0\" encrypt --dry-run -o small/output.img source.img\n\
                  code=0; \"$0\" encrypt -o small/output.img source.img || code=$?\n\
                  echo \"left: $(ls -A small)\"; exit $code";
    let Some(output) = in_a_namespace(&workshop, script) else {
        return;
    };
    let (talk, told) = (stderr(&output), stdout(&output));
    assert_eq!(output.status.code(), Some(1), "{talk}");
    assert!(told.contains("LUKS2 header"), "{told}");
    assert!(told.ends_with("left: \n"), "{told}");
    let fact = "the output takes 41930240 bytes, small has 20971520 free";
    let said: Vec<_> = talk.lines().filter(|line| line.contains(fact)).collect();
    assert_eq!(
        said,
        [
            &format!("warning: {fact}: a run is refused"),
            &format!("error: {fact}")
        ]
    );
}
