//! How a plain image becomes an encrypted one.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::provision::{self, Datasources};

#[derive(Debug, Args)]
#[command(next_help_heading = "Changes inside of the image")]
pub struct Guest {
    /// Whose habits the image has
    ///
    /// `ubuntu` labels the container for Ubuntu's initramfs, masks a service that would change the guest's dbx, and
    /// gives cloud-init a key to grow the root with. `generic` does none of that: for guests whose initrd systemd runs,
    /// which `deploy --key-object systemd-tpm2` binds. `auto` goes by /etc/os-release in the image.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub profile: Profile,

    /// Replace EFI/ubuntu/grubx64.efi on the EFI system partition
    ///
    /// FILE is what shim loads, usually a unified kernel image. It is checked to be a PE file that fits.
    #[arg(long, value_name = "FILE")]
    pub kernel_efi: Option<PathBuf>,

    /// Restrict cloud-init to these datasources, separated by commas
    ///
    /// A guest believes what its datasource says, users and keys included. An image without cloud-init is
    /// refused.
    #[arg(long, value_name = "LIST")]
    pub override_datasources: Option<Datasources>,

    /// Grow the root partition now, and switch growing off in the guest
    ///
    /// The partition then reaches to the end of the disk, or to the next partition. Without this option
    /// cloud-init grows it at the first boot: under the profile `ubuntu` with a key of its own in keyslot 10
    /// that it removes afterwards.
    #[arg(long)]
    pub grow_root: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Layout")]
pub struct LayoutOptions {
    /// Where the 16 MiB for the LUKS2 header come from
    ///
    /// `auto` takes what the partition has, else free space behind it, else makes the disk larger.
    /// `shrink` needs the program resize2fs, and writes the plain filesystem into an unnamed temporary.
    #[arg(long, value_name = "WAY", default_value = "auto")]
    pub make_room: MakeRoom,

    /// Sector size of the LUKS2 container in bytes
    ///
    /// `auto` is that of the disk. 4096 on a disk of 512-byte sectors needs --grow-root: a guest that
    /// grows its partition by itself could not open it any more.
    #[arg(long, value_name = "BYTES", default_value = "auto")]
    pub sector_size: SectorSize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Profile {
    /// What /etc/os-release in the image tells
    Auto,
    /// Ubuntu's, and that of an image without os-release
    Ubuntu,
    /// Those of others
    Generic,
}

impl From<Profile> for provision::ProfileChoice {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Auto => Self::Auto,
            Profile::Ubuntu => Self::Ubuntu,
            Profile::Generic => Self::Generic,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// The disk's bytes and nothing else
    Raw,
    /// Fixed VHD, as Azure takes it
    Vhd,
}

impl From<Format> for provision::DiskFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Raw => Self::Raw,
            Format::Vhd => Self::FixedVhd,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum MakeRoom {
    /// As it is, else grow, else extend
    Auto,
    /// Make the disk 16 MiB larger
    Extend,
    /// Take free space behind the partition
    Grow,
    /// Shrink the filesystem with resize2fs
    Shrink,
}

impl From<MakeRoom> for provision::MakeRoom {
    fn from(make_room: MakeRoom) -> Self {
        match make_room {
            MakeRoom::Auto => Self::Auto,
            MakeRoom::Extend => Self::Extend,
            MakeRoom::Grow => Self::Grow,
            MakeRoom::Shrink => Self::Shrink,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SectorSize {
    /// That of the disk
    Auto,
    /// Always possible
    #[value(name = "512")]
    Bytes512,
    /// For whole 4 KiB blocks
    #[value(name = "4096")]
    Bytes4096,
}

impl From<SectorSize> for provision::SectorSizeChoice {
    fn from(sector_size: SectorSize) -> Self {
        match sector_size {
            SectorSize::Auto => Self::Auto,
            SectorSize::Bytes512 => Self::Fixed(provision::SectorSize::S512),
            SectorSize::Bytes4096 => Self::Fixed(provision::SectorSize::S4096),
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum FreeSpace {
    /// Write them as encrypted zeros
    Encrypt,
    /// Leave them holes
    Skip,
}

impl From<FreeSpace> for provision::FreeSpace {
    fn from(free_space: FreeSpace) -> Self {
        match free_space {
            FreeSpace::Encrypt => Self::Encrypt,
            FreeSpace::Skip => Self::Skip,
        }
    }
}
