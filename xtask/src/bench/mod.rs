//! `cargo xtask bench`: the figures of docs/performance.md, measured again.
//!
//! The rivals run on the same data, in the same run, in turns, each ending in a flush; medians are compared.
//! The image that is encrypted is fully used: its root filesystem holds random bytes and hardly a free block.

mod boot;
mod guests;
mod kernel_image;
mod qcow2;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::packages;
use crate::packages::Need;
use crate::process::{self, cargo, find};

/// What stands in front of and behind the root partition, in MiB.
const ROOT_START_MIB: u64 = 8;
const TAIL_MIB: u64 = 1;

/// Room that the reference needs behind the filesystem, in MiB; ours needs half.
const HEADER_MIB: u64 = 32;

#[derive(clap::Args)]
pub struct Arguments {
    /// Size of the root filesystem in MiB
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u64).range(64..))]
    size: u64,
    /// Rounds; the median of each rival's times counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Directory on the disk to be measured; default: cargo's
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Measure this part alone
    #[arg(long, value_enum)]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The cipher beside OpenSSL
    Cipher,
    /// `encrypt` beside cp and the reference's programs
    Encrypt,
    /// `encrypt` of an image that is mostly empty, beside qemu-img
    Qcow2,
    /// `predict` and `deploy` beside a SHA-256 pass
    Boot,
    /// `provision` for one guest, two and four
    Guests,
}

/// Measures the cipher beside OpenSSL, `encrypt` beside `cp` and the reference's programs, and beside `qemu-img`, `provision` for several
/// guests,
/// then `predict` and `deploy` beside programs that only read the boot files.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::install(packages::of(&[Need::Build, Need::Test, Need::Bench]))?;
    let is_wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    process::run(&mut process::release_build())?;
    if is_wanted(Part::Cipher) {
        process::run(&mut cargo(&[
            "bench",
            "--locked",
            "--package",
            "eci-luks2",
            "--bench",
            "xts",
        ]))?;
    }
    let program = crate::target_folder()?.join("release/encrypt-cloud-image");
    let disk = match &arguments.dir {
        Some(folder) => folder.clone(),
        None => crate::target_folder()?,
    };
    let places = [("disk", disk.as_path()), ("memory", Path::new("/dev/shm"))];
    if is_wanted(Part::Encrypt) {
        println!("\n| where | rival | median, s | of cp's rate | encrypt is faster by |");
        println!("| --- | --- | ---: | ---: | ---: |");
        for (name, folder) in places {
            let measured = in_folder(folder, |folder| measure(folder, &program, arguments))?;
            print(name, &measured);
        }
    }
    if is_wanted(Part::Guests) {
        println!("\n| where | guests | median, s | of one guest's time | of as many runs |");
        println!("| --- | ---: | ---: | ---: | ---: |");
        for (name, folder) in places {
            in_folder(folder, |folder| {
                guests::run(name, folder, &program, arguments)
            })?;
        }
    }
    if is_wanted(Part::Qcow2) {
        println!("\n| where | program | median, s | of qemu-img's time | MiB on disk |");
        println!("| --- | --- | ---: | ---: | ---: |");
        for (name, folder) in places {
            in_folder(folder, |folder| {
                qcow2::run(name, folder, &program, arguments.size, arguments.rounds)
            })?;
        }
    }
    if is_wanted(Part::Boot) {
        for (name, folder) in places {
            println!("\n| where | rival | median, s | of sha256sum's time | of OpenSSL's time |");
            println!("| --- | --- | ---: | ---: | ---: |");
            in_folder(folder, |folder| {
                boot::run(name, folder, &program, arguments.rounds)
            })?;
        }
    }
    Ok(())
}

/// Works in a folder below this one, which is removed again.
fn in_folder<T>(folder: &Path, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = folder.join("encrypt-cloud-image-bench");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let done = work(&folder);
    fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    done
}

/// Times of one rival.
struct Rival {
    name: &'static str,
    times: Vec<Duration>,
}

impl Rival {
    fn median(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort();
        times[times.len() / 2].as_secs_f64()
    }
}

fn print(place: &str, rivals: &[Rival]) {
    let (ours, cp) = (rivals[0].median(), rivals[1].median());
    for rival in rivals {
        let time = rival.median();
        println!(
            "| {place} | {} | {time:.2} | {:.2} | {:.2} |",
            rival.name,
            cp / time,
            time / ours
        );
    }
}

fn measure(folder: &Path, program: &Path, arguments: &Arguments) -> Result<Vec<Rival>> {
    let image = folder.join("image.raw");
    let root = folder.join("root.ext4");
    build_image(folder, &image, &root, arguments.size)?;
    let key = folder.join("key");
    fs::write(&key, [0x42; 16])?;
    let output = folder.join("output");
    let mut rivals = ["encrypt", "cp", "reference's programs"].map(|name| Rival {
        name,
        times: Vec::new(),
    });
    let time = |commands: &mut [Command]| timed(&image, &output, commands);
    for _ in 0..=arguments.rounds {
        let mut encrypt = Command::new(program);
        encrypt
            .arg("encrypt")
            .args(["--profile", "ubuntu", "--overwrite", "--output"])
            .args([&output, &image]);
        rivals[0].times.push(time(&mut [encrypt])?);
        let mut copy = Command::new("cp");
        copy.arg("--sparse=never").args([&image, &output]);
        rivals[1].times.push(time(&mut [copy])?);
        rivals[2]
            .times
            .push(time(&mut reference(&root, &output, &key))?);
    }
    for rival in &mut rivals {
        // The first round warms the caches up.
        rival.times.remove(0);
    }
    Ok(rivals.into())
}

/// The reference's sequence by its own programs, as far as plain files go: it copies the image, shrinks the
/// filesystem to its minimum, encrypts it in place and adds the keyslot. What is left out is in its
/// favour: growing the filesystem again, which needs the device mapper, and all but the root partition.
fn reference(root: &Path, output: &Path, key: &Path) -> Vec<Command> {
    let tool = |name: &str| {
        let mut command = Command::new(find(name).unwrap_or_else(|| name.into()));
        command.env("LC_ALL", "C");
        command
    };
    let mut copy = tool("cp");
    copy.arg("--sparse=never").args([root, output]);
    let mut shrink = tool("resize2fs");
    shrink.args(["-f", "-M"]).arg(output);
    // resize2fs cuts a plain file to the filesystem's length; on the partition of a disk it does not.
    let mut length = tool("truncate");
    length.arg("--reference").args([root, output]);
    let mut encrypt = tool("cryptsetup");
    encrypt.args([
        "reencrypt",
        "--encrypt",
        "--disable-locks",
        "--batch-mode",
        "--type",
        "luks2",
    ]);
    encrypt.args(["--cipher", "aes-xts-plain64", "--key-size", "512"]);
    encrypt.args(["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]);
    encrypt.args([
        "--luks2-metadata-size",
        "512k",
        "--luks2-keyslots-size",
        "15360k",
    ]);
    encrypt
        .args(["--reduce-device-size", "32768k", "--key-file"])
        .args([key, output]);
    let mut label = tool("cryptsetup");
    label
        .args(["config", "--label", "cloudimg-rootfs-enc"])
        .arg(output);
    let mut keyslot = tool("cryptsetup");
    keyslot.args(["luksAddKey", "--batch-mode", "--pbkdf", "pbkdf2"]);
    keyslot.args([
        "--pbkdf-force-iterations",
        "1000",
        "--key-slot",
        "10",
        "--key-file",
    ]);
    keyslot.args([key, output, key]);
    vec![copy, shrink, length, encrypt, label, keyslot]
}

/// Runs the commands one after the other and flushes their output; only that is timed.
///
/// A virtual machine gives memory that was free for some seconds back to its host, and writing to it again
/// costs several times what writing to a file does. So that each rival finds the memory of its output
/// at hand, whoever ran before it, a copy of the image is written and removed first.
fn timed(image: &Path, output: &Path, commands: &mut [Command]) -> Result<Duration> {
    let _ = fs::remove_file(output);
    run_quietly(
        Command::new("cp")
            .arg("--sparse=never")
            .args([image, output]),
    )?;
    fs::remove_file(output)?;
    run_quietly(
        Command::new("sync")
            .arg("--file-system")
            .arg(output.parent().unwrap_or(output)),
    )?;
    let started = Instant::now();
    for command in commands {
        run_quietly(command)?;
    }
    File::open(output)?.sync_all()?;
    Ok(started.elapsed())
}

fn run_quietly(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// Builds a disk image whose root filesystem is full of random bytes, and beside it the root partition as a
/// file of its own, which is what the reference's programs can work on without root.
fn build_image(folder: &Path, image: &Path, root: &Path, size_mib: u64) -> Result<()> {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("etc/systemd/system"))?;
    fs::create_dir_all(tree.join("etc/cloud/cloud.cfg.d"))?;
    // Inode tables, journal and the like take some of it.
    let payload_mib = size_mib - size_mib / 32 - 40;
    run_quietly(
        Command::new("head")
            .arg("--bytes")
            .arg(format!("{payload_mib}M"))
            .arg("/dev/urandom")
            .stdout(File::create(tree.join("payload"))?),
    )?;
    let partition_mib = size_mib + HEADER_MIB;
    File::create(root)?.set_len(partition_mib << 20)?;
    let mut make = Command::new(find("mke2fs").context("there is no mke2fs")?);
    make.args([
        "-q",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-m",
        "0",
        "-L",
        "cloudimg-rootfs",
        "-d",
    ]);
    make.arg(&tree)
        .arg(root)
        .arg((size_mib << 20 >> 12).to_string());
    run_quietly(&mut make)?;
    fs::remove_dir_all(&tree)?;

    let disk_mib = ROOT_START_MIB + partition_mib + TAIL_MIB;
    File::create(image)?.set_len(disk_mib << 20)?;
    let mut table = Command::new(find("sgdisk").context("there is no sgdisk")?);
    table.args(["--new=15:1M:+6M", "--typecode=15:EF00"]);
    table.arg(format!("--new=1:{ROOT_START_MIB}M:+{partition_mib}M"));
    run_quietly(table.arg("--typecode=1:8300").arg(image))?;
    let mut copy = Command::new("dd");
    copy.args(["bs=1M", "conv=notrunc", "status=none"])
        .arg(format!("seek={ROOT_START_MIB}"));
    let input = format!("if={}", root.display());
    run_quietly(copy.arg(input).arg(format!("of={}", image.display())))
}
