//! `cargo xtask demo`: the main job once, on a real image, with the programs as a user runs them.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::{guest, packages, process};

#[derive(clap::Args)]
pub struct Arguments {
    /// The cloud image to encrypt; a guest built from Debian's packages if left out
    ///
    /// The image itself is not changed. The guest is built by the first run, in some minutes, and
    /// kept for the next one.
    image: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    packages::install(packages::BUILD.iter().chain(guest::packages()?))?;

    heading("Build the programs");
    process::run(&mut process::cargo(&[
        "build",
        "--release",
        "--locked",
        "--bins",
    ]))?;
    let target = crate::target_folder()?;
    let folder = target.join("demo");

    heading("The image");
    let image = match &arguments.image {
        Some(image) => image.clone(),
        None => guest::image(&folder)?,
    };
    print!(
        "{}",
        process::output(process::program("sgdisk").arg("--print").arg(&image))?
    );

    let program = target.join("release/encrypt-cloud-image");
    heading("What encrypt is going to do");
    process::run(
        Command::new(&program)
            .args(["encrypt", "--dry-run"])
            .arg(&image),
    )?;

    heading("Encrypt");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let extension = image.extension().unwrap_or("img".as_ref());
    let encrypted = folder.join("encrypted").with_extension(extension);
    let start = Instant::now();
    let mut encrypt = Command::new(&program);
    encrypt
        .args(["encrypt", "--overwrite", "-o"])
        .arg(&encrypted)
        .arg(&image);
    process::run(&mut encrypt)?;
    let seconds = start.elapsed().as_secs_f64();

    heading("The result, as sgdisk and cryptsetup see it");
    let table = process::output(process::program("sgdisk").arg("--print").arg(&encrypted))?;
    print!("{table}");
    show_container(&encrypted, &table, &folder)?;

    println!("\nEncrypted in {seconds:.1} s:");
    for file in [&image, &encrypted] {
        println!("  {}", described(file)?);
    }
    Ok(())
}

fn heading(text: &str) {
    println!("\n==> {text}");
}

/// Shows the LUKS2 container of `disk`, whose partition table `sgdisk` printed as `table`, and that its
/// clear key opens it: what makes this image one of a pool, not yet bound to a guest.
fn show_container(disk: &Path, table: &str, folder: &Path) -> Result<()> {
    const HEADER_MIB: u64 = 16;

    let offset_bytes = container_offset_bytes(disk, table)?;
    let header = folder.join("header.luks");
    let mut dd = process::program("dd");
    dd.arg(format!("if={}", disk.display()))
        .arg(format!("of={}", header.display()));
    dd.args(["bs=1M", "iflag=skip_bytes", "status=none"]);
    dd.arg(format!("skip={offset_bytes}"))
        .arg(format!("count={HEADER_MIB}"));
    process::run(&mut dd)?;
    let cryptsetup = |arguments: &[&str]| {
        let mut command = process::program("cryptsetup");
        // The directory of its locks belongs to root, and nobody else opens this copy.
        command.arg("--disable-locks").args(arguments).arg(&header);
        command
    };
    process::run(&mut cryptsetup(&["luksDump"]))
}

/// Where the partition that starts with a LUKS header starts.
fn container_offset_bytes(disk: &Path, table: &str) -> Result<u64> {
    let mut file = File::open(disk).with_context(|| format!("cannot open {}", disk.display()))?;
    for offset_bytes in partition_offsets_bytes(table) {
        let mut magic = [0; 6];
        file.seek(SeekFrom::Start(offset_bytes))?;
        if file.read_exact(&mut magic).is_ok() && magic == *b"LUKS\xba\xbe" {
            return Ok(offset_bytes);
        }
    }
    bail!(
        "no partition of {} starts with a LUKS header",
        disk.display()
    )
}

/// The offsets of the partitions in what `sgdisk --print` wrote.
fn partition_offsets_bytes(table: &str) -> Vec<u64> {
    let sector_bytes = table
        .lines()
        .find_map(|line| line.strip_prefix("Sector size (logical): "))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(512);
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            words.next()?.parse::<u32>().ok()?; // the partition's number
            Some(words.next()?.parse::<u64>().ok()? * sector_bytes)
        })
        .collect()
}

fn described(file: &Path) -> Result<String> {
    let found = fs::metadata(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Ok(format!(
        "{}: {} MiB, of which {} MiB take space",
        file.display(),
        mib(found.len()),
        mib(found.blocks() * 512)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read_from_what_sgdisk_prints() {
        let table = "Disk disk.img: 4194304 sectors, 2.0 GiB\nSector size (logical): 512 bytes\n\n\
                     Number  Start (sector)    End (sector)  Size       Code  Name\n   \
                     1          227328         4194270   1.9 GiB     8300  \n  \
                     14            2048           10239   4.0 MiB     EF02  \n";
        assert_eq!(partition_offsets_bytes(table), [227_328 * 512, 2048 * 512]);
    }
}
