//! Formats that hold a disk and are not read directly, and the command that makes a raw disk of each.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Result;
use base::storage::ReadAt;

/// A format of disk images or archives that must be converted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherFormat {
    /// QEMU copy-on-write; Ubuntu's `.img` cloud images are such.
    Qcow2,
    /// Hyper-V's later format.
    Vhdx,
    /// The format of `VMware`: a disk in one sparse file, or one file of it.
    Vmdk,
    /// The same: the text that names the files of a disk.
    VmdkDescriptor,
    /// The same, by old programs.
    VmdkCowd,
    /// A VHD with a block allocation table.
    DynamicVhd,
    /// A VHD that holds the difference to another one.
    DifferencingVhd,
    /// A VHD with the 511-byte footer of old Virtual PC.
    ShortFooterVhd,
    /// The format of `VirtualBox`.
    Vdi,
    /// QEMU enhanced disk.
    Qed,
    /// The format of Parallels.
    Parallels,
    /// A ZIP archive.
    Zip,
    /// A tar archive, an OVA among them.
    Tar,
    /// A 7-Zip archive.
    SevenZip,
    /// Compressed by gzip.
    Gzip,
    /// Compressed by xz.
    Xz,
    /// Compressed by zstd.
    Zstd,
    /// Compressed by bzip2.
    Bzip2,
    /// Compressed by lz4.
    Lz4,
}

/// What a file starts with, or has at an offset.
const MAGICS: [(u64, &[u8], OtherFormat); 19] = [
    (0, b"QFI\xfb", OtherFormat::Qcow2),
    (0, b"vhdxfile", OtherFormat::Vhdx),
    (0, b"KDMV", OtherFormat::Vmdk),
    (0, b"COWD", OtherFormat::VmdkCowd),
    (0, b"# Disk DescriptorFile", OtherFormat::VmdkDescriptor),
    (0, b"conectix", OtherFormat::DynamicVhd),
    (64, &[0x7f, 0x10, 0xda, 0xbe], OtherFormat::Vdi),
    (0, b"QED\0", OtherFormat::Qed),
    (0, b"WithoutFreeSpace", OtherFormat::Parallels),
    (0, b"WithouFreSpacExt", OtherFormat::Parallels),
    (0, b"PK\x03\x04", OtherFormat::Zip),
    (0, b"PK\x05\x06", OtherFormat::Zip), // without members
    (257, b"ustar", OtherFormat::Tar),
    (0, b"7z\xbc\xaf\x27\x1c", OtherFormat::SevenZip),
    (0, &[0x1f, 0x8b, 8], OtherFormat::Gzip),
    (0, b"\xfd7zXZ\0", OtherFormat::Xz),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], OtherFormat::Zstd),
    (0, b"BZh", OtherFormat::Bzip2),
    (0, &[0x04, 0x22, 0x4d, 0x18], OtherFormat::Lz4),
];

/// File systems and volumes that lie in a file without partitions.
const CONTENTS: [(u64, &[u8], &str); 6] = [
    (1080, &[0x53, 0xef], "an ext2, ext3 or ext4 file system"),
    (0, b"XFSB", "an XFS file system"),
    (65600, b"_BHRfS_M", "a btrfs file system"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0, b"hsqs", "a squashfs file system"),
    (32769, b"CD001", "an ISO 9660 file system"),
];

impl OtherFormat {
    /// The format that the beginning of a file shows.
    pub(super) fn of(file: &dyn ReadAt) -> Result<Option<Self>> {
        for (offset_bytes, magic, format) in MAGICS {
            if has(file, offset_bytes, magic)? {
                return Ok(Some(format));
            }
        }
        Ok(None)
    }

    /// True where the disk in such a file is read, be it after unpacking.
    pub fn is_read(self) -> bool {
        matches!(
            self,
            Self::Qcow2
                | Self::Vhdx
                | Self::Vmdk
                | Self::DynamicVhd
                | Self::Zip
                | Self::Gzip
                | Self::Xz
                | Self::Zstd
        )
    }

    /// The command that makes a raw disk, or a file that is read, of the file `source`, in a shell's spelling.
    pub fn conversion(self, source: &Path) -> String {
        let from = quoted(source);
        let convert = |format: &str| {
            let to = quoted(&with_suffix(source, "raw"));
            format!("qemu-img convert -f {format} -O raw {from} {to}")
        };
        let unpack = |program: &str, suffix: &str| {
            let is_named_so = source
                .extension()
                .is_some_and(|extension| extension == suffix);
            let to = if is_named_so {
                source.with_extension("")
            } else {
                with_suffix(source, "raw")
            };
            format!("{program} -dc {from} > {}", quoted(&to))
        };
        match self {
            Self::Qcow2 => convert("qcow2"),
            Self::Vhdx => convert("vhdx"),
            Self::Vmdk | Self::VmdkDescriptor | Self::VmdkCowd => convert("vmdk"),
            Self::DynamicVhd | Self::ShortFooterVhd => convert("vpc"),
            Self::Vdi => convert("vdi"),
            Self::Qed => convert("qed"),
            Self::Parallels => convert("parallels"),
            Self::DifferencingVhd => {
                let to = quoted(&with_suffix(source, "fixed.vhd"));
                format!("in Hyper-V: Convert-VHD -Path {from} -DestinationPath {to} -VHDType Fixed")
            }
            Self::Zip => format!("unzip {from}"),
            Self::Tar => format!("tar -xf {from}"),
            Self::SevenZip => format!("7z x {from}"),
            Self::Gzip => unpack("gzip", "gz"),
            Self::Xz => unpack("xz", "xz"),
            Self::Zstd => unpack("zstd", "zst"),
            Self::Bzip2 => unpack("bzip2", "bz2"),
            Self::Lz4 => unpack("lz4", "lz4"),
        }
    }
}

impl fmt::Display for OtherFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Qcow2 => "a qcow2 image",
            Self::Vhdx => "a VHDX image",
            Self::Vmdk => "a VMDK image",
            Self::VmdkDescriptor => {
                "the description of a VMDK image whose disk lies in other files"
            }
            Self::VmdkCowd => "an old VMDK image (COWD)",
            Self::DynamicVhd => "a dynamic VHD",
            Self::DifferencingVhd => "a differencing VHD",
            Self::ShortFooterVhd => "a VHD with a footer of 511 bytes (old Virtual PC)",
            Self::Vdi => "a VDI image",
            Self::Qed => "a QED image",
            Self::Parallels => "a Parallels image",
            Self::Zip => "a ZIP archive",
            Self::Tar => "a tar archive",
            Self::SevenZip => "a 7z archive",
            Self::Gzip => "compressed by gzip",
            Self::Xz => "compressed by xz",
            Self::Zstd => "compressed by zstd",
            Self::Bzip2 => "compressed by bzip2",
            Self::Lz4 => "compressed by lz4",
        })
    }
}

/// What a file holds that has no partition table and is no image of another format.
pub(super) fn bare_content(file: &dyn ReadAt) -> Result<Option<&'static str>> {
    for (offset_bytes, magic, content) in CONTENTS {
        if has(file, offset_bytes, magic)? {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

/// True where the file has these bytes at this offset.
pub(super) fn has(file: &dyn ReadAt, offset_bytes: u64, magic: &[u8]) -> Result<bool> {
    let end_bytes = offset_bytes.checked_add(magic.len() as u64); // usize is at most 64 bits wide
    if end_bytes.is_none_or(|end_bytes| end_bytes > file.len_bytes()) {
        return Ok(false);
    }
    Ok(file.read_vec(offset_bytes, magic.len())? == magic)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    name.into()
}

/// A path as an argument in a shell's command line.
pub fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = if text.starts_with('-') {
        format!("./{text}")
    } else {
        text.into_owned()
    };
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._+-,:@%=".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_for_a_shell() {
        assert_eq!(quoted(Path::new("/a/b-1.img")), "/a/b-1.img");
        assert_eq!(quoted(Path::new("it's $HOME")), r"'it'\''s $HOME'");
        assert_eq!(quoted(Path::new("-f")), "./-f");
        assert_eq!(quoted(Path::new("")), "''");
    }

    #[test]
    fn a_compressed_file_loses_its_own_suffix_and_no_other() {
        let xz = |name: &str| OtherFormat::Xz.conversion(Path::new(name));
        assert_eq!(xz("d/disk.vhd.xz"), "xz -dc d/disk.vhd.xz > d/disk.vhd");
        assert_eq!(xz("disk.img"), "xz -dc disk.img > disk.img.raw");
        assert_eq!(
            OtherFormat::Qcow2.conversion(Path::new("jammy.img")),
            "qemu-img convert -f qcow2 -O raw jammy.img jammy.img.raw"
        );
    }
}
