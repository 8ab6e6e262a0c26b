//! How a plain image becomes an encrypted one.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{BackingOption, Partitions};
use operations::encrypt::Datasources;

/// What is made of a plain image, and how.
#[derive(Debug, Args)]
pub struct ConversionOptions {
    /// Replace the output file if there is one
    ///
    /// The old file stays as it is until the new one is complete. A symbolic link stays, and the file that
    /// it leads to is replaced. What stands on a block device is lost with the first write.
    #[arg(long, help_heading = "Output")]
    pub overwrite: bool,

    /// Format of the output; default: by its extension, else that of the source
    ///
    /// Where the source's is only read: raw, and a fixed VHD for a dynamic one. The extensions .img and .raw stand for
    /// raw, .vhd for vhd. The disk in a VHD becomes a multiple of 1 MiB.
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    pub output_format: Option<Format>,

    /// Show what would be done, and write nothing
    ///
    /// The source is read and checked as in a real run; a packed one is unpacked into a file that
    /// vanishes. Too little room for the output is a warning.
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,

    #[command(flatten)]
    pub guest: Guest,

    #[command(flatten)]
    pub layout: LayoutOptions,

    #[command(flatten)]
    pub partitions: Partitions,

    #[command(flatten)]
    pub backing: BackingOption,

    /// Threads that read, encrypt and write; default: one for each processor
    ///
    /// The output does not depend on their number, but for its random keys.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Advanced")]
    pub threads: Option<u16>,

    /// What becomes of blocks that the filesystem does not use
    ///
    /// `encrypt` writes them as encrypted zeros, so that nobody can tell used blocks from free ones. `skip` leaves
    /// them holes: the output takes the room of what is used, and whoever has it sees which blocks those are, hence
    /// how full the filesystem is and which image it may be, and by two states of it, what changed.
    #[arg(
        long,
        value_name = "WAY",
        default_value = "encrypt",
        help_heading = "Advanced"
    )]
    pub free_space: FreeSpace,
}

impl ConversionOptions {
    /// The same as a job; no output replaces the source.
    pub fn job(&self, source: &Path, output: Option<&Path>) -> operations::encrypt::Job {
        operations::encrypt::Job {
            source: source.to_owned(),
            backing_files: self.backing.backing_file.clone(),
            output: output.map(Path::to_owned),
            overwrite: self.overwrite,
            output_format: self.output_format.map(Into::into),
            choices: operations::encrypt::Choices {
                profile: self.guest.profile.into(),
                datasources: self.guest.override_datasources.clone(),
                grow_root: self.guest.grow_root,
                make_room: self.layout.make_room.into(),
                sector_size: self.layout.sector_size.into(),
                partitions: self.partitions.named(),
                free_space: self.free_space.into(),
            },
            kernel_efi: self.guest.kernel_efi.clone(),
            threads: self.threads.map(Into::into),
        }
    }
}

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
    /// FILE is what shim loads, usually a unified kernel image. It is checked to be a PE file that fits, for the processor of
    /// the image's EFI/ubuntu/shimx64.efi; without that shim nothing would start it, so it is refused.
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

impl From<Profile> for operations::encrypt::ProfileChoice {
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

impl From<Format> for operations::DiskFormat {
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

impl From<MakeRoom> for operations::MakeRoom {
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

impl From<SectorSize> for operations::SectorSizeChoice {
    fn from(sector_size: SectorSize) -> Self {
        match sector_size {
            SectorSize::Auto => Self::Auto,
            SectorSize::Bytes512 => Self::Fixed(operations::SectorSize::S512),
            SectorSize::Bytes4096 => Self::Fixed(operations::SectorSize::S4096),
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

impl From<FreeSpace> for operations::encrypt::FreeSpace {
    fn from(free_space: FreeSpace) -> Self {
        match free_space {
            FreeSpace::Encrypt => Self::Encrypt,
            FreeSpace::Skip => Self::Skip,
        }
    }
}
