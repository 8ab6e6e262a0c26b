//! A guest that boots a unified kernel image of 60 MB: predicting what it measures, and deploying its image of 30 GiB,
//! each beside a SHA-256 pass over the boot files.
//!
//! The programs are a test's shim and one made here, both signed by a key made here; the image is sparse, as its length
//! must not matter.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Rival;
use super::kernel_image::kernel_image;
use crate::disk::make_sparse;
use crate::guest::secure_boot::Signer;
use crate::process::{self, program, quiet_output};

const KERNEL_BYTES: usize = 60_000_000;
const MIB: u64 = 1 << 20;
const DISK_BYTES: u64 = 30 << 30;
const ESP_MIB: (u64, u64) = (1, 160);
const ROOT_MIB: (u64, u64) = (168, 96);
const FILESYSTEM_MIB: u64 = 64;
const SECTOR_BYTES: u64 = 512;
/// Owner of the certificates; any will do.
const OWNER: &str = "b007ed00-0000-4000-8000-000000000001";

/// The files of the comparison, all below one folder.
struct Files {
    folder: PathBuf,
    shim: PathBuf,
    kernel: PathBuf,
    configuration: PathBuf,
    encrypted: PathBuf,
}

/// Measures both and prints the table's lines.
pub fn run(place: &str, folder: &Path, encrypt_cloud_image: &Path, rounds: u64) -> Result<()> {
    let files = Files::make(folder, encrypt_cloud_image)?;
    let mut rivals = ["sha256sum", "openssl dgst", "predict", "deploy"].map(|name| Rival {
        name,
        times: Vec::new(),
    });
    for _ in 0..=rounds {
        for rival in &mut rivals {
            let time = match rival.name {
                "sha256sum" => timed(files.read_by(&mut program("sha256sum")))?,
                "openssl dgst" => {
                    timed(files.read_by(program("openssl").args(["dgst", "-sha256"])))?
                }
                "predict" => timed(&mut files.predict(encrypt_cloud_image))?,
                _ => {
                    files.copy()?;
                    timed(&mut files.deploy(Command::new(encrypt_cloud_image)))?
                }
            };
            rival.times.push(time);
        }
    }
    for rival in &mut rivals {
        // The first round warms the caches up.
        rival.times.remove(0);
    }
    let [sha256sum, openssl, ..] = &rivals;
    let passes = [sha256sum.median(), openssl.median()];
    for rival in &rivals {
        let time = rival.median();
        println!(
            "| {place} | {} | {time:.3} | {:.2} | {:.2} |",
            rival.name,
            time / passes[0],
            time / passes[1]
        );
    }
    let (read_bytes, written_bytes) = files.deploy_traced(encrypt_cloud_image)?;
    let boot_files_bytes = fs::metadata(&files.shim)?.len() + fs::metadata(&files.kernel)?.len();
    println!(
        "\n{place}: deploy reads {read_bytes} bytes of the image and writes {written_bytes}; the boot files have {boot_files_bytes}."
    );
    Ok(())
}

impl Files {
    fn make(folder: &Path, encrypt_cloud_image: &Path) -> Result<Self> {
        let files = Self {
            folder: folder.to_owned(),
            shim: folder.join("shimx64.efi"),
            kernel: folder.join("grubx64.efi"),
            configuration: folder.join("uefi-config.json"),
            encrypted: folder.join("encrypted.img"),
        };
        let signer = Signer::make(&folder.join("key"))?;
        let unsigned = folder.join("unsigned.efi");
        fs::write(&unsigned, kernel_image(KERNEL_BYTES))?;
        signer.sign(&unsigned, &files.kernel)?;
        let shim = "tests/data/vectors/pe/shim-unsigned.efi";
        signer.sign(&crate::project_folder().join(shim), &files.shim)?;

        let certificates = folder.join("certificates");
        fs::create_dir_all(&certificates)?;
        for variable in ["PK", "KEK", "db"] {
            let name = format!("{variable}-{OWNER}-test.pem");
            fs::copy(signer.certificate(), certificates.join(name))?;
        }
        let mut create = Command::new(encrypt_cloud_image.with_file_name("create-uefi-config"));
        create.arg("-i").arg(&certificates);
        quiet_output(create.arg("-o").arg(&files.configuration))?;

        let image = folder.join("plain.img");
        files.make_image(&image)?;
        let mut encrypt = Command::new(encrypt_cloud_image);
        encrypt.args(["encrypt", "--profile", "ubuntu", "-o"]);
        encrypt.arg(&files.encrypted);
        quiet_output(encrypt.arg(&image))?;
        fs::remove_file(&image)?;
        fs::remove_file(&unsigned)?;
        Ok(files)
    }

    fn make_image(&self, image: &Path) -> Result<()> {
        make_sparse(image, DISK_BYTES)?;
        let mut sgdisk = program("sgdisk");
        for (number, (start, len), code) in [(15, ESP_MIB, "ef00"), (1, ROOT_MIB, "8300")] {
            sgdisk.arg(format!("--new={number}:{start}M:+{len}M"));
            sgdisk.arg(format!("--typecode={number}:{code}"));
        }
        quiet_output(sgdisk.arg(image))?;
        // A root has at least this.
        let root = image.with_extension("root");
        fs::create_dir_all(root.join("etc"))?;
        let mut mke2fs = program("mke2fs");
        mke2fs.args(["-q", "-F", "-t", "ext4", "-d"]);
        mke2fs.arg(&root).arg("-E");
        mke2fs
            .arg(format!("offset={}", ROOT_MIB.0 * MIB))
            .arg(image);
        quiet_output(mke2fs.arg(format!("{FILESYSTEM_MIB}M")))?;

        let (start, len) = ESP_MIB;
        let mut mkfs = program("mkfs.vfat");
        mkfs.args(["-F", "32", "-s", "4", "-n", "UEFI"])
            .arg(format!("--offset={}", start * MIB / SECTOR_BYTES))
            .arg(image)
            .arg((len * 1024).to_string()); // in KiB
        quiet_output(&mut mkfs)?;
        let mtools = |name: &str| {
            let mut mtools = program(name);
            let place = format!("{}@@{}", image.display(), start * MIB);
            mtools.env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(place);
            mtools
        };
        quiet_output(mtools("mmd").args(["::/EFI", "::/EFI/ubuntu"]))?;
        let mut mcopy = mtools("mcopy");
        quiet_output(mcopy.args([&self.shim, &self.kernel]).arg("::/EFI/ubuntu"))?;
        Ok(())
    }

    fn image(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// A fresh image to deploy.
    fn copy(&self) -> Result<()> {
        let mut copy = program("cp");
        copy.arg("--sparse=always").arg(&self.encrypted);
        quiet_output(copy.arg(self.image()))?;
        File::open(self.image())?.sync_all()?;
        Ok(())
    }

    /// The command with both boot files behind it.
    fn read_by<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.args([&self.shim, &self.kernel])
    }

    fn predict(&self, encrypt_cloud_image: &Path) -> Command {
        let chain = format!("{},{}", self.shim.display(), self.kernel.display());
        let mut predict = Command::new(encrypt_cloud_image);
        predict.args(["predict", "--chain", &chain, "--uefi-config"]);
        predict.arg(&self.configuration);
        predict
    }

    /// `command` is the program, or what runs it.
    fn deploy(&self, mut command: Command) -> Command {
        command.args(["deploy", "--add-efi-boot-manager-profile"]);
        command.args(["--add-efi-secure-boot-profile", "--uefi-config"]);
        command.arg(&self.configuration).arg("--srk-pub");
        command.arg(crate::project_folder().join("tests/data/sealed/soft-ecc.pub"));
        command.arg(self.image());
        command
    }

    /// How many bytes of the image are read and written, by the system calls of a deploy.
    fn deploy_traced(&self, encrypt_cloud_image: &Path) -> Result<(u64, u64)> {
        self.copy()?;
        let log = self.folder.join("trace");
        let mut strace = program("strace");
        strace.args([
            "-f",
            "-y",
            "-s",
            "0",
            "-e",
            "trace=read,pread64,write,pwrite64",
            "-o",
        ]);
        strace.arg(&log).arg(encrypt_cloud_image);
        quiet_output(&mut self.deploy(strace))?;
        let trace = fs::read_to_string(&log).context("cannot read strace's log")?;
        let counted = ["read", "write"].map(|call| bytes_of(&trace, call, "/disk.img>"));
        if counted.contains(&0) {
            bail!("the trace of deploy has no access to the image");
        }
        Ok((counted[0], counted[1]))
    }
}

/// What all calls to `read` and `pread64` (or `write` and `pwrite64`) on a file returned together.
fn bytes_of(trace: &str, call: &str, file: &str) -> u64 {
    let calls = [format!("{call}("), format!("p{call}64(")];
    let lines = trace.lines().filter(|line| {
        let (_, behind_number) = line.split_once(' ').unwrap_or_default();
        let behind_number = behind_number.trim_start();
        calls.iter().any(|call| behind_number.starts_with(call)) && line.contains(file)
    });
    lines
        .filter_map(|line| line.rsplit_once(" = ")?.1.parse::<u64>().ok())
        .sum()
}

fn timed(command: &mut Command) -> Result<Duration> {
    let started = Instant::now();
    process::quiet_output(command)?;
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_file_are_summed_over_the_calls_that_name_it() {
        let trace = "7 pread64(3</w/disk.img>, \"\"..., 512, 0) = 512\n\
                     8  read(3</w/disk.img>, \"\"..., 100) = 40\n\
                     8  read(4</w/other>, \"\"..., 100) = 99\n\
                     8  pread64(3</w/disk.img>, \"\", 100) = -1 EIO\n\
                     7 pwrite64(3</w/disk.img>, \"\"..., 4096, 0) = 4096\n";
        assert_eq!(bytes_of(trace, "read", "/disk.img>"), 552);
        assert_eq!(bytes_of(trace, "write", "/disk.img>"), 4096);
    }
}
