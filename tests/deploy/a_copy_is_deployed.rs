//! `--output`: a copy is deployed, the encrypted image stays.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::encrypted::{Encrypted, FLAGS, ROOT, find_key, ready};
use crate::support::trace::Trace;
use crate::support::workshop::{refused, state, stderr};
use crate::support::{disk, exits, files, programs};

fn flags() -> Vec<&'static str> {
    [&FLAGS[..], &["-o", "copy.img"]].concat()
}

#[test]
fn the_copy_is_what_an_image_deployed_in_place_is() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let before = state(&encrypted.image);
    let source = fs::read(&encrypted.image).unwrap();
    exits(encrypted.deploy(&flags()).arg("disk.img"), 0);
    assert_eq!(state(&encrypted.image), before);
    let copy = encrypted.workshop.path("copy.img");
    assert_eq!(find_key(&copy, &encrypted.clear_key), None);
    let metadata = fs::metadata(&copy).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o600);
    let blocks = fs::metadata(&encrypted.image).unwrap().blocks();
    assert!(
        metadata.blocks() <= blocks + 8192,
        "{} and {blocks}",
        metadata.blocks()
    );
    // Outside of the ESP, the header and a new keyslot every byte is the source's.
    let bytes = fs::read(&copy).unwrap();
    assert_eq!(bytes.len(), source.len());
    let table = disk::read(&copy);
    let (esp, root) = (
        table.byte_range(crate::encrypted::ESP),
        table.byte_range(ROOT),
    );
    let index = |at: u64| usize::try_from(at).unwrap();
    for range in [
        0..index(esp.start),
        index(esp.end)..index(root.start),
        index(root.start + (1 << 20))..bytes.len(),
    ] {
        assert!(bytes[range.clone()] == source[range]);
    }
}

#[test]
fn the_copy_has_never_held_the_clear_key() {
    if !ready() || !programs(&["strace"]) {
        return;
    }
    let encrypted = Encrypted::new();
    let options = [
        "-s",
        "2000000",
        "-e",
        "trace=write,pwrite64,copy_file_range",
    ];
    let arguments = [&["deploy"], &flags()[..], &["disk.img"]].concat();
    let program = encrypted.workshop.program();
    let (trace, output) = Trace::of(&encrypted.workshop, &options, &program, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        trace.wrote("cloudimg-rootfs-enc"),
        "the header is in the trace"
    );
    assert!(!trace.wrote("ubuntu_fde_cloudimg_key"));
    // The kernel copied, and left the old header out.
    let root = encrypted.table().byte_range(ROOT);
    let header = root.start..root.start + (1 << 20);
    let copies = trace.calls().filter(|call| call.name == "copy_file_range");
    let mut by_kernel = 0;
    for call in copies {
        let numbers: Vec<u64> = call
            .arguments
            .split(['[', ']'])
            .filter_map(|number| number.parse().ok())
            .collect();
        let len: u64 = call.result.parse().unwrap_or(0);
        // strace shows the offset before the call.
        let start = numbers[0];
        assert!(
            start + len <= header.start || start >= header.end,
            "{call:?}"
        );
        by_kernel += len;
    }
    assert!(by_kernel > 1 << 20, "{by_kernel} bytes by the kernel");
}

#[test]
fn outputs_are_refused_as_those_of_encrypt_are() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    encrypted.workshop.write("copy.img", b"precious");
    assert_eq!(
        refused(encrypted.deploy(&flags()).arg("disk.img")),
        "error: copy.img: the output exists already\nhint: --overwrite replaces it\n"
    );
    for stream in [&["-o", "-", "disk.img"][..], &["-"]] {
        let output = exits(&mut encrypted.deploy(&[&FLAGS[..], stream].concat()), 2);
        assert!(stderr(&output).contains("images are files"));
    }
    // What cannot be written is known before the image is read or copied.
    for (option, message) in [
        ("--report", "error: --report: cannot write none/x\n"),
        (
            "--recovery-key-out",
            "error: --recovery-key-out: cannot write none/x\n",
        ),
    ] {
        let arguments = [&FLAGS[..], &["-o", "new.img", option, "none/x", "disk.img"]].concat();
        let talk = stderr(&exits(&mut encrypted.deploy(&arguments), 1));
        assert!(talk.contains(message), "{talk}");
        assert!(!talk.contains("ing the image"), "{talk}");
    }
    let mut onto_itself = flags();
    onto_itself.extend(["--overwrite", "-o", "disk.img"]);
    let message = refused(encrypted.deploy(&onto_itself).arg("disk.img"));
    assert!(message.starts_with("error: disk.img: "), "{message}");
    let overwrite = [&flags()[..], &["--overwrite"]].concat();
    exits(encrypted.deploy(&overwrite).arg("disk.img"), 0);
    assert_eq!(encrypted.workshop.names().len(), 4);
    assert!(files::open(&encrypted.workshop.path("copy.img")).1 > 1 << 20);
}

#[test]
fn a_fixed_vhd_stays_one() {
    if !ready() || !programs(&["qemu-img"]) {
        return;
    }
    let encrypted = Encrypted::new();
    let vhd = encrypted.workshop.path("disk.vhd");
    let mut convert = crate::support::command("qemu-img");
    convert.args([
        "convert",
        "-f",
        "raw",
        "-O",
        "vpc",
        "-o",
        "subformat=fixed,force_size",
    ]);
    exits(convert.arg(&encrypted.image).arg(&vhd), 0);
    crate::support::workshop::give_away(&vhd);
    let footer = |path| {
        let (_, len_bytes) = files::open(path);
        files::read(path, len_bytes - 512, 512)
    };
    let copy = encrypted.workshop.path("copy.vhd");
    let arguments = [&FLAGS[..], &["-o", "copy.vhd", "disk.vhd"]].concat();
    exits(&mut encrypted.deploy(&arguments), 0);
    assert!(footer(&copy) == footer(&vhd));
    assert_eq!(find_key(&copy, &encrypted.clear_key), None);
    exits(encrypted.deploy(&FLAGS).arg("disk.vhd"), 0);
    assert_eq!(find_key(&vhd, &encrypted.clear_key), None);
}
