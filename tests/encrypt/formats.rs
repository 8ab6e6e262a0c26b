//! Images in formats that are read only: what comes out is that of the same image as raw.
//!
//! The judge is that of every other conversion: partition table, other partitions, `e2fsck -fn`, every file of the
//! decrypted root, free blocks and slack, against the raw image.

use std::fs;

use crate::can_judge;
use crate::conversion::Conversion;
use crate::oracle::Choice;
use crate::support::image::{Shape, image};
use crate::support::run;
use crate::support::workshop::{Workshop, refused, stderr};
use crate::support::{exits, files};

/// Makes the file `source` one of another format, by qemu-img.
fn convert(workshop: &Workshop, arguments: &[&str]) {
    fs::rename(workshop.path("source"), workshop.path("raw")).unwrap();
    let mut convert = workshop.command("qemu-img");
    convert.args(["convert", "-f", "raw"]).args(arguments);
    run(convert.args(["raw", "source"]));
    fs::remove_file(workshop.path("raw")).unwrap();
}

#[track_caller]
fn is_taken_like_raw(shape: Shape, choice: Choice, pack: fn(&Workshop)) {
    if can_judge() {
        Conversion::new(shape, choice).packed(pack).run();
    }
}

fn auto() -> Choice {
    Choice::default()
}

#[test]
fn a_qcow2_image() {
    is_taken_like_raw(Shape::Stock, auto(), |workshop| {
        convert(workshop, &["-O", "qcow2"]);
    });
}

#[test]
fn a_qcow2_image_of_version_2_with_small_clusters() {
    is_taken_like_raw(Shape::Tiny, auto(), |workshop| {
        let options = "compat=0.10,cluster_size=512";
        convert(workshop, &["-O", "qcow2", "-o", options]);
    });
}

#[test]
fn a_qcow2_image_compressed_by_deflate_as_cloud_images_are() {
    is_taken_like_raw(Shape::Stock, auto(), |workshop| {
        convert(workshop, &["-O", "qcow2", "-c"]);
    });
}

#[test]
fn a_qcow2_image_compressed_by_zstd_in_large_clusters() {
    is_taken_like_raw(Shape::Azure, auto(), |workshop| {
        let options = "compression_type=zstd,cluster_size=2M";
        convert(workshop, &["-O", "qcow2", "-c", "-o", options]);
    });
}

#[test]
fn a_qcow2_image_of_large_sectors_shrunk_on_the_way() {
    let shrink = Choice {
        make_room: "shrink",
        ..auto()
    };
    is_taken_like_raw(Shape::LargeSectors, shrink, |workshop| {
        convert(workshop, &["-O", "qcow2", "-o", "preallocation=metadata"]);
    });
}

#[test]
fn a_vmdk() {
    is_taken_like_raw(Shape::Demo, auto(), |workshop| {
        convert(workshop, &["-O", "vmdk"]);
    });
}

#[test]
fn a_compressed_vmdk_of_an_appliance() {
    is_taken_like_raw(Shape::Stock, auto(), |workshop| {
        convert(workshop, &["-O", "vmdk", "-o", "subformat=streamOptimized"]);
    });
}

#[test]
fn a_vhdx() {
    let to_vhd = Choice {
        to_vhd: true,
        ..auto()
    };
    is_taken_like_raw(Shape::Azure, to_vhd, |workshop| {
        convert(workshop, &["-O", "vhdx"]);
    });
    is_taken_like_raw(Shape::Tiny, auto(), |workshop| {
        let options = "subformat=fixed,block_size=1M";
        convert(workshop, &["-O", "vhdx", "-o", options]);
    });
}

#[test]
fn a_dynamic_vhd() {
    let to_vhd = Choice {
        to_vhd: true,
        ..auto()
    };
    is_taken_like_raw(Shape::Stock, to_vhd, |workshop| {
        let options = "subformat=dynamic,force_size";
        convert(workshop, &["-O", "vpc", "-o", options]);
    });
}

#[test]
fn the_plan_names_the_format_and_the_output_is_raw_or_what_its_name_says() {
    if !can_judge() {
        return;
    }
    let workshop = Workshop::new();
    for (format, options, name) in [
        ("qcow2", "compat=1.1", "qcow2"),
        ("vmdk", "subformat=streamOptimized", "VMDK"),
        ("vhdx", "subformat=dynamic", "VHDX"),
        ("vpc", "subformat=dynamic,force_size", "dynamic VHD"),
    ] {
        workshop.put(&image(Shape::Tiny).raw, "source");
        convert(&workshop, &["-O", format, "-o", options]);
        let plan = |output: &str| {
            let mut encrypt = workshop.encrypt();
            let arguments = ["--dry-run", "-o", output, "source"];
            let plan = exits(encrypt.args(arguments), 0);
            String::from_utf8(plan.stdout).unwrap()
        };
        let source = format!("source      source, {name}, 8.0 MiB\n");
        let raw_or_vhd = if format == "vpc" { "fixed VHD" } else { "raw" };
        let text = plan("output");
        assert!(text.starts_with(&source), "{text}");
        assert!(
            text.contains(&format!("output      output, {raw_or_vhd}, ")),
            "{text}"
        );
        assert!(plan("output.vhd").contains("output      output.vhd, fixed VHD, "));
        fs::remove_file(workshop.path("source")).unwrap();
    }
    assert_eq!(workshop.names(), [""; 0]);
}

#[test]
fn a_format_that_is_not_written_is_not_replaced() {
    if !can_judge() {
        return;
    }
    let workshop = Workshop::new();
    for (format, name) in [("qcow2", "qcow2"), ("vmdk", "VMDK"), ("vhdx", "VHDX")] {
        workshop.put(&image(Shape::Tiny).raw, "source");
        convert(&workshop, &["-O", format]);
        assert_eq!(
            refused(workshop.encrypt().arg("source")),
            format!(
                "error: source: the file is a {name} image, which is not written: its encrypted self cannot replace it\n\
                 hint: name the output: --output FILE\n"
            )
        );
        fs::remove_file(workshop.path("source")).unwrap();
    }
}

#[test]
fn an_image_that_is_damaged_within_leaves_nothing() {
    if !can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.put(&image(Shape::Tiny).raw, "source");
    convert(&workshop, &["-O", "qcow2", "-c"]);
    let end = files::open(&source).1;
    let noise: Vec<u8> = (0..end / 2)
        .flat_map(|at| ((at * at) >> 3).to_le_bytes()[..1].to_vec())
        .collect();
    files::write(&source, end / 2, &noise);
    let mut encrypt = workshop.encrypt();
    let output = exits(encrypt.args(["-o", "output", "source"]), 1);
    let text = stderr(&output);
    let error = text
        .lines()
        .filter(|line| line.starts_with("error: source: "));
    assert_eq!(error.count(), 1, "{text}");
    assert_eq!(workshop.names(), ["source"]);
}
