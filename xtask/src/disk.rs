//! Where the parts of a disk image lie, as `sgdisk` sees it, and what is in them.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::process;

/// The length of the LUKS2 headers that `encrypt` makes.
const HEADER_MIB: u64 = 16;

/// `sgdisk`'s short code of an EFI system partition.
const ESP_CODE: &str = "EF00";

/// A disk image and its partitions.
pub struct Disk {
    file: PathBuf,
    partitions: Vec<Partition>,
}

#[derive(Debug, PartialEq, Eq)]
struct Partition {
    number: u32,
    offset_bytes: u64,
    code: String,
}

impl Disk {
    /// Reads the partition table of an image.
    pub fn of(file: &Path) -> Result<Self> {
        let table = process::quiet_output(process::program("sgdisk").arg("--print").arg(file))?;
        Ok(Self {
            file: file.to_owned(),
            partitions: partitions(&table),
        })
    }

    /// Copies a file of the EFI system partition.
    pub fn copy_from_esp(&self, path: &str, to: &Path) -> Result<()> {
        let mut mcopy = self.mtools("mcopy")?;
        mcopy.arg("-n").arg(format!("::/{path}")).arg(to);
        process::quiet_output(&mut mcopy)?;
        Ok(())
    }

    /// The command that lists a file or folder of the EFI system partition.
    pub fn list_esp(&self, path: &str) -> Result<Command> {
        let mut mdir = self.mtools("mdir")?;
        mdir.arg(format!("::/{path}"));
        Ok(mdir)
    }

    fn mtools(&self, name: &str) -> Result<Command> {
        let is_esp = |partition: &&Partition| partition.code == ESP_CODE;
        let esp = self.partitions.iter().find(is_esp);
        let esp =
            esp.with_context(|| format!("{} has no EFI system partition", self.file.display()))?;
        let mut mtools = process::program(name);
        mtools.env("MTOOLS_SKIP_CHECK", "1").arg("-i");
        mtools.arg(format!("{}@@{}", self.file.display(), esp.offset_bytes));
        Ok(mtools)
    }

    /// Copies a file to the EFI system partition, over the one that is there.
    pub fn copy_to_esp(&self, from: &Path, path: &str) -> Result<()> {
        let mut mcopy = self.mtools("mcopy")?;
        process::quiet_output(mcopy.arg("-o").arg(from).arg(format!("::/{path}")))?;
        Ok(())
    }

    /// Writes a small file of the plain root filesystem, in place of the one that is there.
    pub fn write_to_root(&self, path: &str, text: &str) -> Result<()> {
        self.write_to_filesystem(1, path, text)
    }

    /// Writes a small file of the filesystem in a partition, in place of the one that is there.
    pub fn write_to_filesystem(&self, number: u32, path: &str, text: &str) -> Result<()> {
        let is_wanted = |one: &&Partition| one.number == number;
        let root = self.partitions.iter().find(is_wanted);
        let root =
            root.with_context(|| format!("{} has no partition {number}", self.file.display()))?;
        let mut content = tempfile::NamedTempFile::new()?;
        writeln!(content, "{text}")?;
        let mut commands = tempfile::NamedTempFile::new()?;
        writeln!(
            commands,
            "rm {path}\nwrite {} {path}",
            content.path().display()
        )?;
        let filesystem = format!("{}?offset={}", self.file.display(), root.offset_bytes);
        let mut debugfs = process::program("debugfs");
        debugfs.arg("-w").arg("-f").arg(commands.path());
        process::quiet_output(debugfs.arg(&filesystem))?;
        // debugfs exits with 0 whatever happens.
        let mut debugfs = process::program("debugfs");
        debugfs.arg("-R").arg(format!("cat {path}"));
        let written = process::quiet_output(debugfs.arg(&filesystem))?;
        ensure!(written.trim() == text, "debugfs has not written {path}");
        Ok(())
    }

    /// Copies the header of the LUKS container: cryptsetup takes no offset, and mends what it reads.
    pub fn copy_container_header(&self, to: &Path) -> Result<()> {
        let mut dd = process::program("dd");
        dd.arg(format!("if={}", self.file.display()))
            .arg(format!("of={}", to.display()));
        dd.args(["bs=1M", "iflag=skip_bytes", "status=none"]);
        dd.arg(format!("skip={}", self.container_offset_bytes()?))
            .arg(format!("count={HEADER_MIB}"));
        process::quiet_output(&mut dd)?;
        Ok(())
    }

    /// Where the partition that starts with a LUKS header starts.
    fn container_offset_bytes(&self) -> Result<u64> {
        let name = self.file.display();
        let mut file = File::open(&self.file).with_context(|| format!("cannot open {name}"))?;
        for Partition { offset_bytes, .. } in &self.partitions {
            let mut magic = [0; 6];
            file.seek(SeekFrom::Start(*offset_bytes))?;
            if file.read_exact(&mut magic).is_ok() && magic == *b"LUKS\xba\xbe" {
                return Ok(*offset_bytes);
            }
        }
        bail!("no partition of {name} starts with a LUKS header")
    }
}

/// The partitions in what `sgdisk --print` wrote.
fn partitions(table: &str) -> Vec<Partition> {
    let sector_bytes = table
        .lines()
        .find_map(|line| line.strip_prefix("Sector size (logical): "))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(512);
    table
        .lines()
        .filter_map(|line| {
            // Number, first and last sector, size with its unit, code.
            let words: Vec<_> = line.split_whitespace().collect();
            Some(Partition {
                number: words.first()?.parse().ok()?,
                offset_bytes: words.get(1)?.parse::<u64>().ok()? * sector_bytes,
                code: (*words.get(5)?).to_owned(),
            })
        })
        .collect()
}

/// Makes a file of this length that is all hole.
pub fn make_sparse(file: &Path, len_bytes: u64) -> Result<()> {
    let made = File::create(file).and_then(|made| made.set_len(len_bytes));
    made.with_context(|| format!("cannot make {}", file.display()))
}

/// Removes a file that holds a key, or what tells of one.
pub fn remove(file: &Path) -> Result<()> {
    fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read_from_what_sgdisk_prints() {
        let table = "Disk disk.img: 4194304 sectors, 2.0 GiB\nSector size (logical): 512 bytes\n\n\
                     Number  Start (sector)    End (sector)  Size       Code  Name\n   \
                     1          227328         4194270   1.9 GiB     8300  \n  \
                     15           10240          227327   106.0 MiB   EF00  \n";
        let partition = |number: u32, sector: u64, code: &str| Partition {
            number,
            offset_bytes: sector * 512,
            code: code.to_owned(),
        };
        assert_eq!(
            partitions(table),
            [partition(1, 227_328, "8300"), partition(15, 10240, "EF00")]
        );
    }
}
