//! `encrypt --free-space skip` of a qcow2 image that is mostly empty, beside `qemu-img convert` of it to raw.
//!
//! Both read the image and write what it holds as a sparse file, flushed at the end; only one of them encrypts.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{ROOT_START_MIB, Rival, TAIL_MIB, run_quietly};
use crate::process::find;

/// Length of the disk in MiB.
const DISK_MIB: u64 = 30 << 10;

/// Builds the image, measures both in turns and prints the lines of a table.
pub fn run(place: &str, folder: &Path, program: &Path, used_mib: u64, rounds: u64) -> Result<()> {
    let image = folder.join("image.qcow2");
    build_image(folder, &image, used_mib)?;
    let output = folder.join("output");
    let mut rivals = ["qemu-img convert", "encrypt --free-space skip"].map(|name| Rival {
        name,
        times: Vec::new(),
    });
    let mut taken_mib = [0, 0];
    for _ in 0..=rounds {
        let mut convert = Command::new(find("qemu-img").context("there is no qemu-img")?);
        convert.args(["convert", "-f", "qcow2", "-O", "raw"]);
        convert.args([&image, &output]);
        let mut encrypt = Command::new(program);
        encrypt.args(["encrypt", "--profile", "ubuntu", "--free-space", "skip"]);
        encrypt.arg("--output").args([&output, &image]);
        for (number, command) in [convert, encrypt].iter_mut().enumerate() {
            rivals[number].times.push(timed(command, &output)?);
            taken_mib[number] = output.metadata()?.blocks() >> 11;
            fs::remove_file(&output)?;
        }
    }
    for rival in &mut rivals {
        // The first round warms the caches up.
        rival.times.remove(0);
    }
    let convert = rivals[0].median();
    for (rival, taken_mib) in rivals.iter().zip(taken_mib) {
        let time = rival.median();
        println!(
            "| {place} | {} | {time:.2} | {:.2} | {taken_mib} |",
            rival.name,
            time / convert
        );
    }
    Ok(())
}

fn timed(command: &mut Command, output: &Path) -> Result<Duration> {
    let started = Instant::now();
    run_quietly(command)?;
    File::open(output)?.sync_all()?;
    Ok(started.elapsed())
}

/// A disk whose root filesystem holds so many MiB of random bytes, as qcow2.
fn build_image(folder: &Path, image: &Path, used_mib: u64) -> Result<()> {
    let (tree, raw) = (folder.join("tree"), folder.join("image.raw"));
    fs::create_dir_all(tree.join("etc/systemd/system"))?;
    fs::create_dir_all(tree.join("etc/cloud/cloud.cfg.d"))?;
    let mut payload = Command::new("head");
    payload.arg("--bytes").arg(format!("{used_mib}M"));
    payload.arg("/dev/urandom");
    run_quietly(payload.stdout(File::create(tree.join("payload"))?))?;
    fs::create_dir(tree.join("etc"))?; // a root has at least this
    File::create(&raw)?.set_len(DISK_MIB << 20)?;
    let root_mib = DISK_MIB - ROOT_START_MIB - TAIL_MIB;
    let mut make = Command::new(find("mke2fs").context("there is no mke2fs")?);
    make.args(["-q", "-t", "ext4", "-b", "4096", "-L", "cloudimg-rootfs"]);
    make.arg("-E")
        .arg(format!("offset={}", ROOT_START_MIB << 20));
    make.arg("-d").args([&tree, &raw]);
    run_quietly(make.arg((root_mib << 20 >> 12).to_string()))?;
    fs::remove_dir_all(&tree)?;
    let mut table = Command::new(find("sgdisk").context("there is no sgdisk")?);
    table.args(["--new=15:1M:+6M", "--typecode=15:EF00"]);
    table.arg(format!("--new=1:{ROOT_START_MIB}M:+{root_mib}M"));
    run_quietly(table.arg("--typecode=1:8300").arg(&raw))?;
    let mut convert = Command::new(find("qemu-img").context("there is no qemu-img")?);
    convert.args(["convert", "-f", "raw", "-O", "qcow2"]);
    run_quietly(convert.args([&raw, image]))?;
    Ok(fs::remove_file(raw)?)
}
