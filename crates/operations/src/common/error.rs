//! Why a use case fails, and the way out where there is one.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use uuid::Uuid;

use crate::common::cloud_init::Undone;
use crate::common::half_converted;
use crate::common::layout;
use base::secret::EntropyError;
use base::storage;
use firmware::Machine;
use image::{Packing, SourceFormat};
use probe::{Ambiguity, Content};

/// Why a use case fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stop flag was raised.
    #[error("interrupted; nothing was left behind")]
    Interrupted,
    /// The source could not be read.
    #[error(transparent)]
    Source(storage::Error),
    /// The output could not be written.
    #[error(transparent)]
    Output(storage::Error),
    /// The source could not be opened, or is no image that this program reads.
    #[error(transparent)]
    SourceFile(image::Error),
    /// The output could not be made or published.
    #[error(transparent)]
    OutputFile(image::Error),
    /// The output is a file below the source.
    #[error("the output is the backing file {} itself", path.display())]
    OutputIsBackingFile {
        /// The backing file.
        path: PathBuf,
    },
    /// A packed source, which its encrypted self cannot replace.
    #[error("the file is packed ({packing}): its encrypted self cannot replace it")]
    PackedInPlace {
        /// How it is packed.
        packing: Packing,
    },
    /// A packed source, and no directory for its plain bytes.
    #[error(
        "the file is packed ({packing}): its plain bytes pass through a file beside the output, and a device has none"
    )]
    PackedOntoDevice {
        /// How it is packed.
        packing: Packing,
    },
    /// The source's format is not written, so the output cannot take its place.
    #[error(
        "the file is a {format} image, which is not written: its encrypted self cannot replace it"
    )]
    NotInPlace {
        /// The format.
        format: SourceFormat,
    },
    /// The output would be longer than any file.
    #[error("the output would have {disk_bytes} bytes, which no file can")]
    TooLong {
        /// Length of its disk.
        disk_bytes: u64,
    },
    /// The partition table is none that this program works on.
    #[error(transparent)]
    Gpt(#[from] gpt::Error),
    /// There is no partition for a role.
    #[error("no {role} partition: the table has {found}")]
    NoPartition {
        /// What was looked for.
        role: &'static str,
        /// The partitions that there are.
        found: String,
    },
    /// There are several candidates for a role.
    #[error("several partitions could be the {role} partition: {found}")]
    SeveralPartitions {
        /// What was looked for.
        role: &'static str,
        /// The candidates.
        found: String,
    },
    /// No partition has a unique GUID that was named.
    #[error("no partition has the unique GUID {guid}: the table has {found}")]
    NamedPartitionMissing {
        /// What was named.
        guid: Uuid,
        /// The partitions that there are.
        found: String,
    },
    /// One partition was named twice.
    #[error(
        "--root-partition-uuid and --efi-partition-uuid both name {guid}: they are two partitions"
    )]
    SamePartitionNamed {
        /// What was named.
        guid: Uuid,
    },
    /// Several partitions have a unique GUID that was named.
    #[error(
        "the unique GUID {guid} is that of several partitions, and does not tell which is meant: {found}"
    )]
    SeveralPartitionsNamed {
        /// What was named.
        guid: Uuid,
        /// Those that have it.
        found: String,
    },
    /// The root partition holds something that cannot be encrypted.
    #[error("the root partition {0}")]
    NotPlainExt4(RootContent),
    /// The root filesystem is in a state in which it must not be edited, or is damaged.
    #[error("the root filesystem: {problem}")]
    RootFilesystem {
        /// What is wrong with it.
        #[source]
        problem: filesystem::Error,
        /// Where the root partition lies in the image, in bytes.
        partition: Range<u64>,
    },
    /// The EFI system partition cannot be read or changed.
    #[error("the EFI system partition: {0}")]
    Esp(#[source] filesystem::Error),
    /// `--override-datasources` on an image without cloud-init.
    #[error(
        "--override-datasources: the image has no /etc/cloud/cloud.cfg.d, hence no cloud-init to configure"
    )]
    NoCloudInit,
    /// A file of the image would undo what an option promises.
    #[error("{option}: {undone}")]
    Undone {
        /// The option.
        option: &'static str,
        /// The file, and what it does.
        undone: Undone,
    },
    /// The file for `--kernel-efi` cannot be read.
    #[error("--kernel-efi: cannot read {}", path.display())]
    BootFileUnreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file for `--kernel-efi` is none that firmware could load.
    #[error("--kernel-efi: {} is no PE file, which firmware could load", path.display())]
    BootFileNotPe {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: firmware::Error,
    },
    /// No shim lies where the file for `--kernel-efi` goes.
    #[error(
        "--kernel-efi: nothing would start EFI/ubuntu/grubx64.efi: the EFI system partition has no EFI/ubuntu/shimx64.efi, but {}",
        listed(programs)
    )]
    BootFileWithoutShim {
        /// Programs that lie elsewhere.
        programs: Vec<String>,
    },
    /// What lies there is something else.
    #[error(
        "--kernel-efi: nothing would start EFI/ubuntu/grubx64.efi: EFI/ubuntu/shimx64.efi is no shim"
    )]
    BootFileBehindNoShim,
    /// The file for `--kernel-efi` is for another processor than the image's shim.
    #[error("--kernel-efi: {} is a program for {machine}, and EFI/ubuntu/shimx64.efi one for {shim}", path.display())]
    BootFileMachine {
        /// The file.
        path: PathBuf,
        /// What it is for.
        machine: Machine,
        /// What the image's shim is for.
        shim: Machine,
    },
    /// The root partition holds a filesystem that nothing boots from.
    #[error(
        "partition {partition} is no root: its filesystem has neither /etc nor /usr, as a /boot has{}",
        beside_lvm(*lvm)
    )]
    NotARoot {
        /// Its number.
        partition: u32,
        /// Number of a partition with a volume of LVM.
        lvm: Option<u32>,
    },
    /// The file for `--kernel-efi` is longer than any kernel.
    #[error("--kernel-efi: {} is longer than {max_bytes} bytes", path.display())]
    BootFileTooLong {
        /// The file.
        path: PathBuf,
        /// How long it may be.
        max_bytes: u64,
    },
    /// The root partition is neither plain nor encrypted.
    #[error("partition {partition} is half converted: encrypt --in-place did not come to its end")]
    HalfConverted {
        /// Its number.
        partition: u32,
    },
    /// A partition that may be two things.
    #[error("partition {partition} holds {found}: one of the two is left over")]
    Ambiguous {
        /// Its number.
        partition: u32,
        /// What was found, and where.
        found: Ambiguity,
    },
    /// A device, or a conversion in place, and another format.
    #[error(
        "a device, and a file that is converted in place, keep their format: leave --output-format out"
    )]
    KeepsFormat,
    /// `--free-space skip` where old bytes would stand in place of holes.
    #[error(
        "--free-space skip leaves holes, and a device, or a file that is converted in place, would keep old bytes there"
    )]
    HasNoHoles,
    /// The first writes to a device, over its old partition table, failed.
    #[error("the device could not be cleared: it may hold what it held before, or a part of it")]
    NotBlanked(#[source] image::Error),
    /// A device was not written to its end.
    #[error(transparent)]
    PartOnDevice(Box<Error>),
    /// The partition table was not written to its end, and could not be taken away again.
    #[error("the device may have its partition table, or a part of it: its writes fail")]
    TableOnDevice(#[source] Box<Error>),
    /// The stop flag was raised while a device was written.
    #[error("interrupted; the device has no partition table, and a part of the image")]
    InterruptedOnDevice,
    /// A conversion in place cannot begin or go on.
    #[error(transparent)]
    InPlace(#[from] half_converted::Error),
    /// A conversion in place ended early.
    #[error(transparent)]
    Unfinished(Box<Error>),
    /// The container could not be built.
    #[error(transparent)]
    Luks2(#[from] luks2::Error),
    /// There is no room for the header, or the sector size does not go.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// There are no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The output's filesystem has too little room.
    #[error("the output takes {needed_bytes} bytes, {} has {free_bytes} free", folder.display())]
    NoSpace {
        /// What the output takes at most.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
        /// The output's directory.
        folder: PathBuf,
    },
    /// `--make-room shrink` without the program.
    #[error("--make-room shrink needs the program resize2fs, which is not installed")]
    NoResize2fs,
    /// `resize2fs` could not be started, or did not do what it was asked for.
    #[error("resize2fs {}: {output}", exit(*status))]
    Resize2fs {
        /// How it ended; `None` where it could not be started.
        status: Option<ExitStatus>,
        /// What it said.
        output: String,
    },
    /// The filesystem is too full to be shrunk as far as needed.
    #[error(
        "the filesystem cannot be shrunk to {wanted_blocks} blocks, resize2fs needs at least {minimum_blocks}"
    )]
    CannotShrink {
        /// What would make room for the header.
        wanted_blocks: u64,
        /// What the filesystem needs.
        minimum_blocks: u64,
    },
}

fn listed(programs: &[String]) -> String {
    if programs.is_empty() {
        "no other program either".to_owned()
    } else {
        programs.join(", ")
    }
}

fn beside_lvm(partition: Option<u32>) -> String {
    partition.map_or_else(String::new, |partition| {
        format!("; the root may be a volume of LVM in partition {partition}, which is not read")
    })
}

fn exit(status: Option<ExitStatus>) -> String {
    status.map_or_else(
        || "could not be started".to_owned(),
        |status| format!("failed ({status})"),
    )
}

/// What lies in a root partition that is no plain ext4 filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootContent {
    /// A LUKS2 container with the token of this program.
    NotDeployed,
    /// Any other container.
    Encrypted(Content),
    /// Another filesystem, or none that is known.
    Other(Content),
}

impl fmt::Display for RootContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDeployed => {
                write!(
                    f,
                    "is already encrypted by this program, and not deployed yet"
                )
            }
            Self::Encrypted(content) => write!(f, "is already encrypted: it holds {content}"),
            Self::Other(content) => {
                write!(
                    f,
                    "holds {content}; only ext4 (also ext3 and ext2) can be encrypted"
                )
            }
        }
    }
}

/// Which of the files that a user named an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The image that is read.
    Source,
    /// The image that is written.
    Output,
    /// None of the two, or the message names it.
    Neither,
}

impl Error {
    /// Which file the error is about.
    pub fn about(&self) -> About {
        match self {
            Self::Unfinished(problem) | Self::PartOnDevice(problem) => problem.about(),
            Self::Source(_)
            | Self::HalfConverted { .. }
            | Self::Ambiguous { .. }
            | Self::InPlace(_)
            | Self::SourceFile(_)
            | Self::NotInPlace { .. }
            | Self::PackedInPlace { .. }
            | Self::PackedOntoDevice { .. }
            | Self::Gpt(_)
            | Self::NoPartition { .. }
            | Self::SeveralPartitions { .. }
            | Self::NamedPartitionMissing { .. }
            | Self::SamePartitionNamed { .. }
            | Self::SeveralPartitionsNamed { .. }
            | Self::NotPlainExt4(_)
            | Self::NotARoot { .. }
            | Self::BootFileWithoutShim { .. }
            | Self::BootFileBehindNoShim
            | Self::BootFileMachine { .. }
            | Self::RootFilesystem { .. }
            | Self::Esp(_)
            | Self::NoCloudInit
            | Self::Undone { .. }
            | Self::Layout(_)
            | Self::CannotShrink { .. } => About::Source,
            Self::Output(_)
            | Self::OutputFile(_)
            | Self::OutputIsBackingFile { .. }
            | Self::InterruptedOnDevice
            | Self::NotBlanked(_)
            | Self::TableOnDevice(_)
            | Self::TooLong { .. } => About::Output,
            Self::Interrupted
            | Self::BootFileUnreadable { .. }
            | Self::BootFileNotPe { .. }
            | Self::BootFileTooLong { .. }
            | Self::KeepsFormat
            | Self::HasNoHoles
            | Self::Luks2(_)
            | Self::Entropy(_)
            | Self::NoSpace { .. }
            | Self::NoResize2fs
            | Self::Resize2fs { .. } => About::Neither,
        }
    }

    /// Puts an error of the root filesystem into the words of this crate; a read that failed below it is one
    /// of the source, with what the operating system said.
    pub(crate) fn in_root_filesystem(problem: filesystem::Error, partition: &Range<u64>) -> Self {
        match problem {
            filesystem::Error::Storage(error) if error.io().is_some() => Self::Source(error),
            problem => Self::RootFilesystem {
                problem,
                partition: partition.clone(),
            },
        }
    }

    /// The same for an error of the EFI system partition.
    pub(crate) fn in_esp(problem: filesystem::Error) -> Self {
        match problem {
            filesystem::Error::Storage(error) if error.io().is_some() => Self::Source(error),
            problem => Self::Esp(problem),
        }
    }

    /// The way out, where there is one: lines to show below the message. `source` is the image's name.
    pub fn hint(&self, source: &Path) -> Option<String> {
        let image = image::quoted(source);
        let in_words = self.hint_on_source().or_else(|| self.hint_on_output());
        if let Some(hint) = in_words {
            return Some(hint.to_owned());
        }
        match self {
            Self::RootFilesystem { problem, partition } if problem.is_mendable_by_e2fsck() => {
                let why = "mend a copy of the partition and put it back (e2fsck may exit with 0 or 1), or boot the image once and shut it down:";
                Some(mending(why, "-fp", partition, &image))
            }
            Self::RootFilesystem { problem, partition } if problem.is_ext4_damage() => {
                let why = "e2fsck may be able to repair a copy of the partition (exit 0 or 1); look at what it changes before you put it back:";
                Some(mending(why, "-fy", partition, &image))
            }
            Self::HalfConverted { .. } => Some(format!(
                "encrypt-cloud-image encrypt --in-place --resume {image}"
            )),
            Self::InPlace(problem) => Some(problem.hint().to_owned()),
            Self::Layout(layout::Error::NoRoomInPlace {
                fitting_bytes,
                missing_bytes,
                ..
            }) => room_in_place(*fitting_bytes, *missing_bytes, source, &image),
            Self::SourceFile(error) | Self::OutputFile(error) => error.hint(source),
            _ => None,
        }
    }

    /// The way out of what is wrong with the source, or with what was asked for.
    fn hint_on_source(&self) -> Option<&'static str> {
        Some(match self {
            Self::SeveralPartitions { .. } | Self::NoPartition { .. } => {
                "name both partitions: --root-partition-uuid GUID --efi-partition-uuid GUID"
            }
            Self::BootFileWithoutShim { .. } | Self::BootFileBehindNoShim => {
                "leave --kernel-efi out, and put the file where the image's own boot files look for it"
            }
            Self::BootFileMachine { .. } => "give a kernel image for the processor of the image",
            Self::NotARoot { lvm: None, .. } => {
                "name the root: --root-partition-uuid GUID --efi-partition-uuid GUID"
            }
            Self::NotARoot { lvm: Some(_), .. } => {
                "take an image whose root is a partition of its own, as those for confidential VMs are"
            }
            Self::NotPlainExt4(RootContent::NotDeployed) => {
                "an image is encrypted once; deploy binds it to a guest"
            }
            Self::NotPlainExt4(RootContent::Encrypted(Content::Luks2SecondaryOnly)) => LOST_PRIMARY,
            Self::Ambiguous { .. } => {
                "a sparse copy (dd conv=sparse, bmaptool) leaves in its holes what the disk held before: write the image again in full, or onto a device that was cleared (blkdiscard)"
            }
            Self::NoResize2fs => "install the package e2fsprogs",
            Self::Layout(layout::Error::RegrownUnaligned) => {
                "add --grow-root, which switches growing off in the guest, or use 512"
            }
            Self::Layout(layout::Error::NoRoom { obstacle, .. }) => match obstacle {
                layout::Obstacle::DeviceTooShort { .. } => "a longer device has room for it",
                layout::Obstacle::NothingLeft => "make the partition larger first",
                _ => "--make-room shrink makes the filesystem smaller, with resize2fs",
            },
            _ => return None,
        })
    }

    /// The way out of what is wrong with the output, or with what became of it.
    fn hint_on_output(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotInPlace { .. } | Self::PackedInPlace { .. } => {
                "name the output: --output FILE"
            }
            Self::PackedOntoDevice { .. } => "unpack it into a file first",
            Self::PartOnDevice(_) | Self::InterruptedOnDevice => {
                "nobody takes what is on the device for a disk; run again with --overwrite"
            }
            Self::NotBlanked(_) => {
                "its old partition table may be there, and lead to damaged data: use the device for nothing before it is written again with --overwrite"
            }
            Self::TableOnDevice(_) => {
                "do not use what is on the device; write it again with --overwrite, or another one"
            }
            Self::Unfinished(_) => half_converted::RESUME,
            Self::OutputFile(image::Error::SyncDirectory(_)) => {
                "its name may be lost if the machine fails now: find out what is wrong with the file system, then run sync"
            }
            Self::OutputFile(image::Error::Exists) => "--overwrite replaces it",
            Self::OutputFile(image::Error::OutputIsSource) => {
                "leave --output out to replace the source"
            }
            _ => return None,
        })
    }
}

/// How room is made for a conversion in place: only who runs it can.
fn room_in_place(
    fitting_bytes: Option<u64>,
    missing_bytes: Option<u64>,
    source: &Path,
    image: &str,
) -> Option<String> {
    use std::os::unix::fs::FileTypeExt;
    let is_device = source
        .metadata()
        .is_ok_and(|metadata| metadata.file_type().is_block_device());
    if is_device {
        let kib = fitting_bytes? / 1024;
        return Some(format!(
            "make the filesystem smaller, on its unmounted partition:\n\
             e2fsck -f PARTITION && resize2fs PARTITION {kib}K"
        ));
    }
    let mib = missing_bytes?.div_ceil(1 << 20);
    Some(format!(
        "make the disk longer first: truncate -s +{mib}M {image}"
    ))
}

/// What helps where a secondary LUKS2 header stands alone.
pub(crate) const LOST_PRIMARY: &str = "if it is the container that the partition shall hold, cryptsetup repair on the partition writes the primary copy again";

/// The commands that take a partition out of an image, mend it and put it back. `e2fsck` cannot replay a
/// journal at an offset within a file.
fn mending(why: &str, flags: &str, partition: &Range<u64>, image: &str) -> String {
    let start = partition.start / 512;
    let count = (partition.end - partition.start) / 512;
    format!(
        "{why}\n\
         dd if={image} of=root.ext4 bs=512 skip={start} count={count}\n\
         e2fsck {flags} root.ext4\n\
         dd if=root.ext4 of={image} bs=512 seek={start} conv=notrunc"
    )
}
