//! The use case `encrypt`, on storages: a plain disk in, a disk with an encrypted root out.
//!
//! [`EncryptedDisk::new`] does all that can fail for reasons that lie in the source: it reads the partition
//! table, checks the filesystem, makes the changes in an overlay, decides the layout and builds the
//! container. Nothing is written before it has succeeded. [`EncryptedDisk::parts`] is then what the output is made of, with
//! [`EncryptedDisk::write_tables`] behind it.

use std::ops::Range;

use tracing::debug;
use uuid::Builder;

use super::boot_file::BootFile;
use super::customise::{self, Customisation, Customised, Datasources, Edit, GROWPART_KEYSLOT};
use super::profile::{self, ProfileChoice};
use super::shrink::Shrunk;
use crate::common::content::{self, PartitionContent};
use crate::common::data_pass::{self, Encryption, FreeSpace, Part, Pass};
use crate::common::error::Error;
use crate::common::layout::{self, Layout, MakeRoom, SectorSizeChoice};
use crate::common::observer::{Control, Observer, Phase, StopFlag};
use crate::common::partitions::{self, Named, RootAndEsp, byte_range, window};
use crate::in_place::{NewTable, Start};
use base::number::to_usize;
use base::secret::{Entropy, SecretBytes};
use base::storage::{self, MemoryStorage, Overlay, ReadAt, Slice, WriteAt};
use filesystem::ext4::{BlockBitmap, Filesystem, Superblock};
use filesystem::fat::Fat;
use gpt::{self, CopyName, Partition, Table};
use luks2::{ClearKeyToken, NewContainer, SectorSize, VolumeKey};

/// Length of the unlock key: what a vTPM can be asked to import, together with the policy key.
const UNLOCK_KEY_BYTES: usize = 16;

const GROWPART_KEY_BYTES: usize = 32;

/// How much of the head is written at a time.
const HEAD_PIECE_BYTES: usize = 1 << 20;

/// What an operator chooses for any disk.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// Whose habits the image has.
    pub profile: ProfileChoice,
    /// The datasources that cloud-init may use.
    pub datasources: Option<Datasources>,
    /// The partition is grown now, not at the first boot.
    pub grow_root: bool,
    /// Where the room for the header comes from.
    pub make_room: MakeRoom,
    /// Sector size of the container.
    pub sector_size: SectorSizeChoice,
    /// The partitions, where they are not found by their types.
    pub partitions: Option<Named>,
    /// What becomes of blocks that the root filesystem does not use.
    pub free_space: FreeSpace,
}

/// What `encrypt` shall do with a disk.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What was chosen.
    pub choices: Choices,
    /// The content of `EFI/ubuntu/grubx64.efi`, a PE file.
    pub boot_file: Option<BootFile>,
    /// The output's size is a multiple of 1 MiB, as a VHD's must be.
    pub whole_mebibytes: bool,
    /// The disk is converted in place, in chunks of so many bytes.
    pub in_place: Option<u64>,
    /// The disk is written to a device of so many bytes.
    pub device_bytes: Option<u64>,
    /// What becomes of the unlock key.
    pub unlock_key: UnlockKey,
}

/// What becomes of the key of keyslot 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnlockKey {
    /// It lies in clear in a token, for a deploy to come.
    #[default]
    InToken,
    /// It stays in memory, to be sealed before the image is written.
    InMemory,
}

impl Options {
    fn layout_request(&self, guest_regrows: bool) -> layout::Request {
        layout::Request {
            make_room: self.choices.make_room,
            sector_size: self.choices.sector_size,
            grow_root: self.choices.grow_root,
            guest_regrows,
            whole_mebibytes: self.whole_mebibytes,
            in_place: self.in_place.is_some(),
            on_device: self.device_bytes.is_some(),
        }
    }
}

/// What the container of a new image is made of.
struct Container {
    label: &'static str,
    sector_size: SectorSize,
    /// What opens the keyslot of cloud-init, where there is one.
    growpart_key: Option<SecretBytes>,
    unlock_key: UnlockKey,
}

impl Container {
    /// Draws the keys, and builds all that lies before the segment. A conversion in place leaves its mark in it.
    fn build(
        self,
        start: Option<&Start>,
        entropy: &mut dyn Entropy,
    ) -> Result<(VolumeKey, ClearKeyToken, MemoryStorage), Error> {
        let volume_key = VolumeKey::generate(entropy)?;
        let clear_key = ClearKeyToken {
            keyslots: vec![0],
            key: SecretBytes::random(entropy, UNLOCK_KEY_BYTES)?,
        };
        let mut uuid = [0; 16];
        entropy.fill(&mut uuid)?;
        let uuid = Builder::from_random_bytes(uuid).into_uuid();
        let mut container = NewContainer::new(self.label, uuid, self.sector_size);
        container.add_keyslot(0, clear_key.key.clone());
        if let Some(key) = self.growpart_key {
            container.add_keyslot(GROWPART_KEYSLOT, key);
        }
        if self.unlock_key == UnlockKey::InToken {
            container.add_token(clear_key.to_json());
        }
        if let Some(start) = start {
            start.mark(&mut container);
        }
        let head = MemoryStorage::new(container.head(&volume_key, entropy)?);
        Ok((volume_key, clear_key, head))
    }
}

/// What to say of a boot file that Secure Boot refuses.
fn of_unsigned(file: &BootFile) -> Option<String> {
    let unsigned = "--kernel-efi: the file is not signed; under Secure Boot it is refused";
    (!file.is_signed).then(|| unsigned.to_owned())
}

/// Everything about an `encrypt` that has to be decided before the first byte is written.
pub struct EncryptedDisk<S> {
    /// The source with the changes on top.
    edited: Overlay<S>,
    used: BlockBitmap,
    volume_key: VolumeKey,
    /// The partition table of the output.
    pub table: Table,
    /// What lies before the segment.
    pub head: MemoryStorage,
    /// What opens keyslot 0.
    pub clear_key: ClearKeyToken,
    free_space: FreeSpace,
    in_place: Option<(Start, NewTable)>,
    /// Where the source's partitions may lie, in bytes: behind it there is nothing but a partition table.
    usable_bytes: Range<u64>,
    /// The root and the EFI system partition, as they are in the source.
    pub chosen: RootAndEsp,
    /// Sector size of the disk in bytes.
    pub sector_bytes: u64,
    /// The root filesystem, as it is in the source.
    pub filesystem: Superblock,
    /// Where everything goes.
    pub layout: Layout,
    /// Whose habits the image has.
    pub profile: profile::ChosenProfile,
    /// What is written into the filesystems.
    pub edits: Vec<Edit>,
    /// True where the container has a keyslot for cloud-init.
    pub has_growpart_key: bool,
    /// What the operator should know before relying on the result.
    pub warnings: Vec<String>,
}

impl<S: ReadAt> EncryptedDisk<S> {
    /// Decides and builds everything for a disk, in memory.
    ///
    /// `now` is the time of all changes, in seconds since 1970.
    pub fn new(
        disk: S,
        options: &Options,
        now: i64,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, Error> {
        let (mut table, found) = Table::read(&disk)?;
        let found_table = table.clone();
        let mut warnings: Vec<_> = found.iter().map(ToString::to_string).collect();
        let chosen = partitions::choose(&table, options.choices.partitions)?;
        let sector_bytes = table.sector_bytes();
        let root = byte_range(&chosen.root, sector_bytes);
        let (filesystem, old_copies) =
            check_root(&window(&disk, &root)?, &root, chosen.root.number)?;

        let growpart_key = SecretBytes::random(entropy, GROWPART_KEY_BYTES)?;
        let edited = Overlay::new(disk);
        let (profile, customised, used) =
            customise(&edited, &table, &chosen.root, options, &growpart_key, now)?;
        let disk_bytes = options.device_bytes.unwrap_or(edited.len_bytes());
        let layout = layout::layout(
            &geometry(&table, &chosen.root, &filesystem, disk_bytes)?,
            options.layout_request(customised.guest_regrows),
        )?;
        let mut edits = customised.edits;
        warnings.extend(customised.warnings);
        warnings.extend(of_old_copies(&old_copies, &used));
        warnings.extend(content::other_containers(&edited, &table, &chosen.root)?);
        edits.extend(put_boot_file(
            &edited,
            &chosen.esp,
            sector_bytes,
            options,
            now,
        )?);
        warnings.extend(options.boot_file.as_ref().and_then(of_unsigned));
        table.resize_disk(layout.disk_sectors)?;
        table.set_last_lba(chosen.root.number, layout.root_last_lba)?;

        let start = options.in_place.map(|chunk_bytes| {
            let esp = byte_range(&chosen.esp, sector_bytes);
            let esp = options.boot_file.as_ref().map(|_| &esp);
            Start::new(&edited, &chosen.root, esp, &layout, chunk_bytes)
        });
        let start = start.transpose()?;
        let container = Container {
            label: profile.profile.label(),
            sector_size: layout.sector_size,
            growpart_key: customised.has_growpart_key.then_some(growpart_key),
            unlock_key: options.unlock_key,
        };
        let (volume_key, clear_key, head) = container.build(start.as_ref(), entropy)?;
        let usable_bytes = found_table.first_usable_lba() * sector_bytes
            ..(found_table.last_usable_lba() + 1) * sector_bytes;
        let new_table = || NewTable::new(&found_table, &found, table.clone(), root.end);
        Ok(Self {
            in_place: start.map(|start| (start, new_table())),
            usable_bytes,
            edited,
            sector_bytes,
            table,
            used,
            volume_key,
            head,
            clear_key,
            free_space: options.choices.free_space,
            chosen,
            filesystem,
            layout,
            profile,
            edits,
            has_growpart_key: customised.has_growpart_key,
            warnings,
        })
    }

    /// The source with the changes on top, for more of them.
    pub fn edited(&self) -> &Overlay<S> {
        &self.edited
    }

    /// The edited root partition of the source.
    pub fn root(&self) -> Result<Slice<&Overlay<S>>, Error> {
        window(
            &self.edited,
            &byte_range(&self.chosen.root, self.sector_bytes),
        )
    }

    /// Which bytes of the edited root filesystem are in use.
    pub fn used(&self) -> &BlockBitmap {
        &self.used
    }

    /// Writes the container's head.
    fn write_head(&self, output: &dyn WriteAt) -> Result<(), Error> {
        let mut piece = vec![0; HEAD_PIECE_BYTES];
        let mut at = 0;
        while at < self.head.len_bytes() {
            let left_bytes = to_usize(self.head.len_bytes() - at);
            let piece = &mut piece[..left_bytes.min(HEAD_PIECE_BYTES)];
            self.head.read_exact_at(piece, at).map_err(Error::Source)?;
            let written = output.write_all_at(piece, self.layout.root_bytes + at);
            written.map_err(Error::Output)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Writes what comes last: the container's head and the partition table.
    pub fn write_tables(&self, output: &dyn WriteAt) -> Result<(), Error> {
        self.write_head(output)?;
        self.table.write(output).map_err(|error| match error {
            gpt::Error::Storage(error) => Error::Output(error),
            error => Error::Gpt(error),
        })
    }

    /// What the output is made of: what stands before the root, its encrypted segment, and what stands behind it.
    /// `shrunk` stands in for the root filesystem where it had to be shrunk.
    pub fn parts<'a>(&'a self, shrunk: Option<&'a Shrunk>) -> Result<[Part<'a>; 3], Error> {
        let layout = &self.layout;
        let (filesystem, used): (Box<dyn ReadAt + 'a>, _) = match shrunk {
            Some(shrunk) => (Box::new(&shrunk.filesystem), &shrunk.used),
            None => (Box::new(self.root()?), &self.used),
        };
        let encryption = Encryption {
            volume_key: &self.volume_key,
            sector_size: layout.sector_size,
            first_unit: 0,
        };
        // Where the partition became shorter, what it held behind the filesystem is not copied: it would
        // be the one plain piece of the old root.
        let old_end = byte_range(&self.chosen.root, self.sector_bytes).end;
        let behind = old_end.max(layout.segment_start_bytes() + layout.segment_bytes);
        let end = self.edited.len_bytes().min(layout.disk_bytes);
        let copied = |range: Range<u64>| Part {
            source: Box::new(&self.edited),
            used: None,
            output_bytes: range.start,
            range,
            encryption: None,
            free_space: FreeSpace::Encrypt,
        };
        Ok([
            copied(0..layout.root_bytes),
            Part {
                source: filesystem,
                used: Some(used),
                range: 0..layout.segment_bytes,
                output_bytes: layout.segment_start_bytes(),
                encryption: Some(encryption),
                free_space: self.free_space,
            },
            copied(behind.min(end)..end),
        ])
    }
}

impl<S: ReadAt> EncryptedDisk<S> {
    /// Writes the whole disk to a device, which is as long as the layout says and holds whatever it holds.
    ///
    /// Both its ends are overwritten first and the partition table comes last: until then the device has none.
    pub fn write_to_device(
        &self,
        device: &dyn WriteAt,
        threads: usize,
        observer: &dyn Observer,
        stop: &StopFlag,
    ) -> Result<(), Error> {
        self.write_data_to_device(device, threads, observer, stop)?;
        self.write_table_to_device(device)
    }

    /// The same up to the partition table: everything else, made durable.
    pub(crate) fn write_data_to_device(
        &self,
        device: &dyn WriteAt,
        threads: usize,
        observer: &dyn Observer,
        stop: &StopFlag,
    ) -> Result<(), Error> {
        image::blank(device).map_err(Error::NotBlanked)?;
        let mut parts = self.parts(None)?;
        for part in parts.iter_mut().filter(|part| part.encryption.is_none()) {
            part.source = Box::new(WithoutHoles(&self.edited));
            // The source's table, in both copies, is left out.
            let usable = &self.usable_bytes;
            let start = part.range.start.max(usable.start.min(part.range.end));
            part.output_bytes += start - part.range.start;
            part.range = start..part.range.end.min(usable.end).max(start);
        }
        let pass = Pass::new(&parts, device);
        observer.begin(Phase::Encrypt, pass.total_bytes());
        data_pass::run_one(pass, threads, observer, stop)?;
        self.write_head(device)?;
        observer.begin(Phase::Flush, 0);
        device.flush().map_err(Error::Output)
    }

    /// Writes the partition table, which comes last. Where that fails it is taken away again; where that fails, too, the
    /// error is [`Error::TableOnDevice`].
    pub(crate) fn write_table_to_device(&self, device: &dyn WriteAt) -> Result<(), Error> {
        let written = self.table.write_in_place(device, CopyName::Backup);
        written.map_err(|error| {
            let error = match error {
                gpt::Error::Storage(error) => Error::Output(error),
                error => Error::Gpt(error),
            };
            match image::blank(device) {
                Ok(()) => error,
                Err(_) => Error::TableOnDevice(Box::new(error)),
            }
        })
    }
}

/// A storage whose holes are read like data: on a device, zeros have to be written.
struct WithoutHoles<'a, S>(&'a S);

impl<S: ReadAt> ReadAt for WithoutHoles<'_, S> {
    fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> storage::Result<()> {
        self.0.read_exact_at(buffer, offset_bytes)
    }
}

impl<S: WriteAt> EncryptedDisk<S> {
    /// Converts the disk itself. Fails before anything is written where that was not [asked for](Options::in_place).
    pub fn convert(
        &self,
        threads: usize,
        control: Control<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Error> {
        let (start, table) = self.in_place.as_ref().ok_or(layout::Error::NotInPlace)?;
        let disk = self.edited.base();
        start
            .write(disk, table, &self.head)?
            .run(disk, threads, control, entropy)
    }
}

/// What every root has one of: `/usr` alone where a system makes its `/etc` as it boots, `/etc` where `/usr` is a partition
/// of its own, and in a root of ostree, whose deployments have both, `/ostree`.
const OF_A_ROOT: [&str; 3] = ["/etc", "/usr", "/ostree"];

/// False for a filesystem that nothing boots from: a `/boot` of type Linux data is the only candidate where the root is a
/// volume of LVM.
fn is_root(filesystem: &Filesystem<'_>) -> filesystem::Result<bool> {
    for path in OF_A_ROOT {
        if filesystem.symlink_metadata(path)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the changes in the root filesystem, and learns what it uses afterwards.
fn customise<S: ReadAt>(
    edited: &Overlay<S>,
    table: &Table,
    root: &Partition,
    options: &Options,
    growpart_key: &SecretBytes,
    now: i64,
) -> Result<(profile::ChosenProfile, Customised, BlockBitmap), Error> {
    let range = byte_range(root, table.sector_bytes());
    let problem = |problem| Error::in_root_filesystem(problem, &range);
    let window = window(edited, &range)?;
    let filesystem = Filesystem::open(&window, now).map_err(problem)?;
    if !is_root(&filesystem).map_err(problem)? {
        let mut partitions = table.partitions();
        let lvm = partitions.find(|partition| partition.type_guid == gpt::types::LVM);
        return Err(Error::NotARoot {
            partition: root.number,
            lvm: lvm.map(|partition| partition.number),
        });
    }
    let profile = options
        .choices
        .profile
        .decide(&filesystem)
        .map_err(problem)?;
    let customisation = Customisation {
        profile: profile.profile,
        datasources: options.choices.datasources.as_ref(),
        growpart_off: options.choices.grow_root,
        growpart_key,
    };
    let mut customised = customisation
        .apply(&filesystem)
        .map_err(|error| match error {
            customise::Error::NoCloudInit => Error::NoCloudInit,
            customise::Error::Undone { option, undone } => Error::Undone { option, undone },
            customise::Error::Filesystem(error) => problem(error),
        })?;
    customised
        .warnings
        .extend(filesystem.warnings().iter().map(ToString::to_string));
    let used = filesystem.used_blocks().map_err(problem)?;
    debug!(
        "the root filesystem uses {} of {} bytes",
        used.used_bytes(),
        used.len_bytes()
    );
    filesystem.close().map_err(problem)?;
    Ok((profile, customised, used))
}

/// Puts the boot file on the EFI system partition, where there is one to put.
fn put_boot_file<S: ReadAt>(
    edited: &Overlay<S>,
    esp: &Partition,
    sector_bytes: u64,
    options: &Options,
    now: i64,
) -> Result<Option<Edit>, Error> {
    let Some(file) = &options.boot_file else {
        return Ok(None);
    };
    let window = window(edited, &byte_range(esp, sector_bytes))?;
    let esp = Fat::open(&window, now).map_err(Error::in_esp)?;
    let edit = if options.in_place.is_some() {
        file.switch(&esp)
    } else {
        file.replace(&esp)
    };
    edit.map(Some)
}

/// Checks that the root partition holds a filesystem that may be edited. With it comes where old header copies lie.
fn check_root(
    root: &dyn ReadAt,
    partition: &Range<u64>,
    number: u32,
) -> Result<(Superblock, Vec<u64>), Error> {
    let problem = |problem| Error::in_root_filesystem(problem, partition);
    let plain = PartitionContent::of(root)?.plain_ext4(number)?;
    let superblock = Superblock::read(root).map_err(problem)?;
    superblock.check_editable().map_err(problem)?;
    Ok((superblock, plain.old_copies))
}

/// What is said of copies of an earlier container's header.
fn of_old_copies(old_copies: &[u64], used: &BlockBitmap) -> Option<String> {
    let (in_files, free): (Vec<u64>, Vec<u64>) =
        old_copies.iter().partition(|at| used.is_used(**at));
    let fate = match (in_files.is_empty(), free.is_empty()) {
        (_, true) => "the filesystem uses these blocks, and they are encrypted with it",
        (true, _) => "the filesystem does not use these blocks, and nothing of them stays",
        _ => {
            "those in blocks that the filesystem uses are encrypted with it, and nothing of the others stays"
        }
    };
    let places = content::places(old_copies)?;
    Some(format!(
        "the root partition holds a filesystem and, of an earlier container, {places}: {fate}"
    ))
}

/// Checks that all partitions fit into a disk of another length than the table's.
fn check_fits(table: &Table, sectors: u64, disk_bytes: u64) -> Result<(), Error> {
    let end_lba = table.partitions().map(|partition| partition.last_lba).max();
    let end_lba = end_lba.unwrap_or_default();
    let backup_sectors =
        table.disk_sectors() - 1 - table.last_usable_lba_for(table.disk_sectors())?;
    let needed_sectors = end_lba + 1 + backup_sectors;
    if sectors < needed_sectors {
        return Err(Error::OutputFile(image::Error::DeviceTooShort {
            device_bytes: disk_bytes,
            needed_bytes: needed_sectors * table.sector_bytes(),
        }));
    }
    Ok(())
}

/// What the layout is decided by.
fn geometry(
    table: &Table,
    root: &Partition,
    filesystem: &Superblock,
    disk_bytes: u64,
) -> Result<layout::Source, Error> {
    let sectors = disk_bytes / table.sector_bytes();
    check_fits(table, sectors, disk_bytes)?;
    let next = table
        .partitions()
        .map(|other| other.first_lba)
        .filter(|lba| *lba > root.last_lba);
    Ok(layout::Source {
        disk_bytes,
        sector_bytes: table.sector_bytes(),
        backup_sectors: sectors - 1 - table.last_usable_lba_for(sectors)?,
        root_first_lba: root.first_lba,
        root_last_lba: root.last_lba,
        next_first_lba: next.min(),
        block_bytes: filesystem.block_bytes().into(),
        filesystem_bytes: filesystem.len_bytes(),
    })
}
