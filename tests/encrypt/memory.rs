//! Peak memory stays under 256 MiB, however large the image is.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::image::{ROOT_GUID, TYPE_ESP, TYPE_LINUX};
use crate::support::workshop::{Workshop, give_away, stderr, stdout};
use crate::support::{command, disk, exits, files, find_program, programs, run};

const GIB: u64 = 1 << 30;
const LIMIT_KIB: u64 = 256 << 10;

/// The system's Python, which the ordinary user can start, too.
fn python() -> PathBuf {
    let of_the_system = PathBuf::from("/usr/bin/python3");
    if of_the_system.exists() {
        of_the_system
    } else {
        find_program("python3").unwrap()
    }
}

/// Peak memory of a run in KiB, by the kernel's own count, and how the run ended.
fn measured(workshop: &Workshop, program: &Path, arguments: &[&str]) -> (u64, Output) {
    const SCRIPT: &str = "import resource, subprocess, sys\n\
                          code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)\n\
                          print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n\
                          sys.exit(code)\n";
    let mut python = workshop.command(python());
    let output = python
        .args(["-c", SCRIPT])
        .arg(program)
        .args(arguments)
        .output()
        .unwrap();
    let peak = stdout(&output).trim().parse();
    (
        peak.unwrap_or_else(|_| panic!("{}", stderr(&output))),
        output,
    )
}

/// The same of a run that must succeed.
#[track_caller]
fn peak_kib(workshop: &Workshop, program: &Path, arguments: &[&str]) -> u64 {
    let (peak, output) = measured(workshop, program, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    peak
}

/// A disk of 30 GiB with a filesystem of so many bytes, sparse. `fragmented`: every second block is used.
fn large_image(workshop: &Workshop, filesystem_bytes: u64, fragmented: bool) {
    let file = workshop.path("source.img");
    let image = File::create_new(&file).unwrap();
    image.set_len(30 * GIB + (64 << 20)).unwrap();
    let size = filesystem_bytes / 512;
    let script = format!(
        "label: gpt\n\
         15 : start=2048, size=2048, type={TYPE_ESP}\n\
         1 : start=4096, size={size}, type={TYPE_LINUX}, uuid={ROOT_GUID}\n"
    );
    disk::write_table(&file, 512, &script);
    let root = workshop.path("root");
    let made = File::create_new(&root).unwrap();
    made.set_len(filesystem_bytes).unwrap();
    let tree = crate::support::scratch();
    std::fs::create_dir_all(tree.path().join("etc/cloud/cloud.cfg.d")).unwrap();
    std::fs::write(tree.path().join("large"), vec![7; 20 << 20]).unwrap();
    let mut mke2fs = command("mke2fs");
    mke2fs.args([
        "-q",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-O",
        "^metadata_csum,^uninit_bg",
    ]);
    run(mke2fs
        .args(["-E", "nodiscard,lazy_itable_init=1", "-d"])
        .arg(tree.path())
        .arg(&root));
    if fragmented {
        fragment(&root);
    }
    files::copy(&made, 0..filesystem_bytes, &image, 4096 * 512);
    std::fs::remove_file(&root).unwrap();
    give_away(&file);
}

/// Marks every second block of each group's bitmap as used, as nothing but the bitmap matters here.
fn fragment(root: &Path) {
    let made_bytes = root.metadata().unwrap().len();
    let dump = run(command("dumpe2fs").arg(root));
    let bitmaps = dump
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Block bitmap at "));
    let blocks: Vec<u64> = bitmaps
        .map(|rest| rest.split([' ', ',']).next().unwrap().parse().unwrap())
        .collect();
    let groups = made_bytes / (128 << 20);
    assert!(blocks.len() as u64 >= groups - 1, "{}", blocks.len());
    for block in &blocks[..blocks.len() - 1] {
        let mut bitmap = files::read(root, block * 4096, 4096);
        for byte in &mut bitmap {
            *byte |= 0x55;
        }
        files::write(root, block * 4096, &bitmap);
    }
}

#[test]
fn of_a_sparse_disk_of_thirty_gibibytes() {
    if !crate::can_judge() || !programs(&["python3"]) {
        return;
    }
    let workshop = Workshop::new();
    large_image(&workshop, 64 << 20, false);
    let arguments = ["encrypt", "-o", "output.img", "source.img"];
    let peak = peak_kib(&workshop, &workshop.program(), &arguments);
    assert!(peak < LIMIT_KIB, "{peak} KiB");
    assert!(
        std::os::unix::fs::MetadataExt::blocks(&workshop.path("output.img").metadata().unwrap())
            * 512
            < GIB,
        "holes stay holes"
    );
}

#[test]
fn of_planning_a_filesystem_of_thirty_gibibytes() {
    if !crate::can_judge() || !programs(&["python3"]) {
        return;
    }
    for fragmented in [false, true] {
        let workshop = Workshop::new();
        large_image(&workshop, 30 * GIB, fragmented);
        let arguments = ["encrypt", "--dry-run", "-o", "output.img", "source.img"];
        // Few machines have 30 GiB to spare; then the plan comes with a warning.
        let peak = peak_kib(&workshop, &workshop.program(), &arguments);
        assert!(peak < LIMIT_KIB, "{peak} KiB, fragmented: {fragmented}");
    }
}

/// The output of a filesystem that is written in full takes as much space as it has. Where 30 GiB do not fit, 17 GiB are
/// written in place of them, and the test says so.
#[test]
fn of_writing_a_large_filesystem_in_full_behind_the_environment_variable() {
    if !crate::all() || !crate::can_judge() || !programs(&["python3"]) {
        return;
    }
    for gibibytes in [30, 17] {
        let workshop = Workshop::new();
        large_image(&workshop, gibibytes * GIB, true);
        let arguments = ["encrypt", "-o", "output.img", "source.img"];
        let plan = exits(workshop.encrypt().arg("--dry-run").args(&arguments[1..]), 0);
        if let Some(reason) = stderr(&plan)
            .lines()
            .find(|line| line.starts_with("warning: the output takes "))
        {
            eprintln!("SKIPPED: {gibibytes} GiB written in full: {reason}");
            continue;
        }
        let peak = peak_kib(&workshop, &workshop.program(), &arguments);
        eprintln!("{gibibytes} GiB written in full: {peak} KiB at most");
        assert!(peak < LIMIT_KIB, "{peak} KiB");
        let output = workshop.path("output.img").metadata().unwrap();
        let taken_bytes = std::os::unix::fs::MetadataExt::blocks(&output) * 512;
        assert!(taken_bytes >= gibibytes * GIB, "{taken_bytes}");
        return;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "CI has no room for 17 GiB in full"
    );
}

#[test]
fn is_counted() {
    if !programs(&["python3"]) {
        return;
    }
    let workshop = Workshop::new();
    let peak = peak_kib(&workshop, &python(), &["-c", "x = b'x' * (300 << 20)"]);
    assert!(peak > LIMIT_KIB, "{peak} KiB");
}
