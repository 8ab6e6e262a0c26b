//! `--kernel-efi` replaces one file on the EFI system partition, or is refused before anything is written.

use std::path::Path;

use crate::conversion::Conversion;
use crate::oracle::Choice;
use crate::support::image::{ESP, Shape, change_partition, image, pe};
use crate::support::judge::{self, Expected};
use crate::support::workshop::{Workshop, refused, stderr};
use crate::support::{command, disk, exits, files, run, scratch};

fn with_kernel(expected: &mut Expected) {
    expected.kernel_efi = true;
}

/// The files on an ESP with their contents, and its listing with sizes and short names.
fn esp_files(file: &Path) -> (Vec<Vec<u8>>, String) {
    let folder = scratch();
    let esp = folder.path().join("esp");
    judge::extract(file, &disk::read(file), ESP, &esp);
    exits(command("fsck.vfat").arg("-n").arg(&esp), 0);
    let mut contents = Vec::new();
    for name in [
        "EFI/BOOT/BOOTX64.EFI",
        "EFI/ubuntu/shimx64.efi",
        "EFI/ubuntu/grubx64.efi",
    ] {
        let to = folder.path().join("file");
        run(command("mcopy")
            .args(["-n", "-o", "-i"])
            .arg(&esp)
            .arg(format!("::{name}"))
            .arg(&to));
        contents.push(std::fs::read(&to).unwrap());
    }
    (
        contents,
        run(command("mdir").args(["-/", "-b", "-i"]).arg(&esp)),
    )
}

/// What an encryption with that boot file is refused for.
#[track_caller]
fn refusal(workshop: &Workshop, kernel: &str) -> String {
    let mut encrypt = workshop.encrypt();
    refused(encrypt.args(["--kernel-efi", kernel, "-o", "output.img", "source.img"]))
}

#[test]
fn the_boot_file_is_replaced_and_all_others_stay() {
    if !crate::can_judge() {
        return;
    }
    let (before, names) = esp_files(&image(Shape::Stock).raw);
    for (shape, len_bytes) in [
        (Shape::Stock, 5_000_000),
        (Shape::Demo, 1000),
        (Shape::LargeSectors, 3_000_001),
    ] {
        let kernel = pe("a unified kernel", len_bytes);
        let conversion = Conversion::new(shape, Choice::default())
            .with(&["--kernel-efi", "kernel.efi"], with_kernel);
        conversion.workshop.write("kernel.efi", &kernel);
        let converted = conversion.run();
        let (after, names_after) = esp_files(&converted.image);
        assert_eq!(names_after, names);
        assert_eq!(after[..2], before[..2]);
        assert!(after[2] == kernel, "{shape:?}");
    }
}

#[test]
fn a_file_that_is_no_pe_file_is_refused() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Demo));
    let short = |file_bytes| {
        format!("{file_bytes} bytes are too few for a PE program, whose headers take 96")
    };
    for (content, reason) in [
        (&b""[..], short(0)),
        (b"MZ", short(2)),
        (b"#!/bin/sh\n", short(10)),
        (&pe("x", 0x400)[2..], "not a PE program: the optional header at 0x14 starts with 0x0, which is neither PE32 (0x10b) nor PE32+ (0x20b)".to_owned()),
    ] {
        workshop.write("kernel.efi", content);
        assert_eq!(
            refusal(&workshop, "kernel.efi"),
            format!(
                "error: --kernel-efi: kernel.efi is no PE file, which firmware could load\n  because: {reason}\n"
            )
        );
    }
    assert_eq!(
        refusal(&workshop, "missing.efi"),
        "error: --kernel-efi: cannot read missing.efi\n  because: No such file or directory (os error 2)\n"
    );
    assert_eq!(workshop.names(), ["kernel.efi", "source.img"]);
}

#[test]
fn a_file_that_does_not_fit_is_refused_with_what_is_free() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Demo));
    let kernel = workshop.write("kernel.efi", &pe("x", 0x400));
    files::open_to_write(&kernel).set_len(120 << 20).unwrap();
    assert_eq!(
        refusal(&workshop, "kernel.efi"),
        "error: source.img: the EFI system partition: no room in the FAT filesystem for /EFI/ubuntu/grubx64.efi: 125829120 bytes are needed, 109114880 are free for it\n"
    );
    assert_eq!(workshop.names(), ["kernel.efi", "source.img"]);
}

#[test]
fn an_unsigned_file_is_taken_with_a_warning() {
    if !crate::can_judge() {
        return;
    }
    let mut unsigned = pe("unsigned", 5000);
    unsigned[0x98 + 144..0x98 + 152].fill(0);
    let conversion = Conversion::new(Shape::Roomy, Choice::default())
        .with(&["--kernel-efi", "kernel.efi"], with_kernel);
    conversion.workshop.write("kernel.efi", &unsigned);
    let converted = conversion.run();
    let talk = stderr(&converted.output);
    let warning =
        "warning: --kernel-efi: the file is not signed; under Secure Boot it is refused\n";
    assert!(talk.contains(warning), "{talk}");
    assert!(esp_files(&converted.image).0[2] == unsigned);
}

const ELSEWHERE: &str =
    "hint: leave --kernel-efi out, and put the file where the image's own boot files look for it\n";

/// What is said where the EFI system partition was changed by these commands of mtools.
fn refusal_after(kernel: &[u8], changes: &[&[&str]]) -> String {
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Demo));
    change_partition(&source, &image(Shape::Demo).table, ESP, |esp| {
        for change in changes {
            run(command(change[0]).arg("-i").arg(esp).args(&change[1..]));
        }
    });
    workshop.write("kernel.efi", kernel);
    let message = refusal(&workshop, "kernel.efi");
    assert_eq!(workshop.names(), ["kernel.efi", "source.img"]);
    message
}

/// On images of other distributions shim lies elsewhere, and looks elsewhere.
#[test]
fn a_place_where_nothing_starts_the_file_is_refused() {
    if !crate::can_judge() {
        return;
    }
    let kernel = pe("new", 70_000);
    let without_shim = "error: source.img: --kernel-efi: nothing would start EFI/ubuntu/grubx64.efi: the EFI system partition has no EFI/ubuntu/shimx64.efi, but ";
    assert_eq!(
        refusal_after(&kernel, &[&["mdeltree", "::EFI"]]),
        format!("{without_shim}no other program either\n{ELSEWHERE}")
    );
    let fedora = [
        &["mmd", "::EFI/fedora"][..],
        &[
            "mmove",
            "::EFI/ubuntu/shimx64.efi",
            "::EFI/fedora/shimx64.efi",
        ],
        &["mdeltree", "::EFI/ubuntu"],
    ];
    assert_eq!(
        refusal_after(&kernel, &fedora),
        format!("{without_shim}EFI/BOOT/BOOTX64.EFI, EFI/fedora/shimx64.efi\n{ELSEWHERE}")
    );
    // A unified kernel image, or anything else, under the name of shim starts nothing beside itself.
    let no_shim = [
        &["mdel", "::EFI/ubuntu/shimx64.efi"][..],
        &[
            "mmove",
            "::EFI/ubuntu/grubx64.efi",
            "::EFI/ubuntu/shimx64.efi",
        ],
    ];
    assert_eq!(
        refusal_after(&kernel, &no_shim),
        format!(
            "error: source.img: --kernel-efi: nothing would start EFI/ubuntu/grubx64.efi: EFI/ubuntu/shimx64.efi is no shim\n{ELSEWHERE}"
        )
    );
}

#[test]
fn a_program_for_another_processor_is_refused() {
    if !crate::can_judge() {
        return;
    }
    for (machine, name) in [
        ([0x64, 0xaa], "64-bit Arm"),
        ([0x4c, 0x01], "32-bit x86"),
        ([0x34, 0x12], "machine type 0x1234"),
    ] {
        let mut kernel = pe("foreign", 70_000);
        kernel[0x84..0x86].copy_from_slice(&machine);
        assert_eq!(
            refusal_after(&kernel, &[]),
            format!(
                "error: source.img: --kernel-efi: kernel.efi is a program for {name}, and EFI/ubuntu/shimx64.efi one for x86-64\n\
                 hint: give a kernel image for the processor of the image\n"
            )
        );
    }
}
