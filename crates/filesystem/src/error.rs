//! What can go wrong with a filesystem in an image.

use base::storage;

/// A filesystem that is not what it should be, must not be edited, or has no room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing below the filesystem failed.
    #[error("the filesystem's storage failed")]
    Storage(#[from] storage::Error),

    // What the superblock says, before libext2fs sees it.
    /// Offset 0x438 does not hold 0xEF53.
    #[error(
        "no ext2, ext3 or ext4 filesystem: offset 0x438 holds {found:#06x}, not the magic number 0xef53"
    )]
    NotExt {
        /// The two bytes there, little-endian.
        found: u16,
    },
    /// A partition too short for a superblock.
    #[error("a partition of {partition_bytes} bytes is too short for an ext4 superblock")]
    TooShort {
        /// The partition's length.
        partition_bytes: u64,
    },
    /// The superblock has a checksum (`metadata_csum`) and does not match it.
    #[error("the ext4 superblock's checksum is {stored:#010x}, its bytes give {computed:#010x}")]
    SuperblockChecksum {
        /// The CRC-32C at offset 0x3FC of the superblock.
        stored: u32,
        /// The CRC-32C of the bytes before it.
        computed: u32,
    },
    /// A field of the superblock that no filesystem can have so.
    #[error(
        "the ext4 superblock's {field} (offset {offset_bytes:#x}) is {value}, allowed is {allowed}"
    )]
    SuperblockField {
        /// What the field says.
        field: &'static str,
        /// Offset in the superblock.
        offset_bytes: u64,
        /// What it holds.
        value: u64,
        /// What it may hold.
        allowed: &'static str,
    },
    /// The filesystem ends behind its partition.
    #[error(
        "the ext4 filesystem has {filesystem_bytes} bytes and is larger than its partition of {partition_bytes} bytes"
    )]
    LargerThanPartition {
        /// Length that the superblock claims.
        filesystem_bytes: u64,
        /// Length of the partition.
        partition_bytes: u64,
    },
    /// Feature bits that the linked libext2fs does not know.
    #[error(
        "the ext4 filesystem has {word} features {bits:#x} that the libext2fs of this program does not know (it was made by a newer mke2fs, or is damaged)"
    )]
    UnknownFeatures {
        /// The feature word: `incompat` or `ro_compat`.
        word: &'static str,
        /// The bits of it that are not known.
        bits: u32,
    },

    // States in which an edit would do damage.
    /// The journal holds changes that the next mount would replay over an edit.
    #[error(
        "the ext4 journal needs recovery: the filesystem was not unmounted, and its journal would be replayed over every change"
    )]
    JournalNeedsRecovery,
    /// The bit for a clean unmount is not set.
    #[error("the ext4 filesystem was not unmounted cleanly (state {state:#x})")]
    NotClean {
        /// The superblock's state word.
        state: u16,
    },
    /// The kernel or e2fsck noted errors.
    #[error("the ext4 filesystem has errors (state {state:#x}, {count} counted)")]
    ErrorsRecorded {
        /// The superblock's state word.
        state: u16,
        /// How many errors the kernel counted.
        count: u32,
    },
    /// Files that were deleted while open are not freed yet.
    #[error("the ext4 filesystem has orphaned files to free, the first is inode {first_inode}")]
    Orphans {
        /// The head of the list.
        first_inode: u32,
    },
    /// The orphan file is in use.
    #[error("the ext4 filesystem has orphaned files to free, noted in its orphan file")]
    OrphanFileInUse,
    /// Quota accounting would become wrong.
    #[error(
        "the ext4 filesystem keeps quotas, which an edit would make wrong (tune2fs -O ^quota takes them away)"
    )]
    Quota,
    /// Somebody may have the filesystem mounted elsewhere.
    #[error(
        "the ext4 filesystem has multi-mount protection (tune2fs -O ^mmp takes it away while nobody uses it)"
    )]
    MultiMountProtection,
    /// The journal lies on another device.
    #[error(
        "the ext4 filesystem's journal lies on another device ({device:#x}), where it cannot be checked"
    )]
    ExternalJournal {
        /// The device number in the superblock.
        device: u32,
    },
    /// The partition holds a journal, not a filesystem.
    #[error("the partition holds an external journal of an ext4 filesystem, not a filesystem")]
    JournalDevice,
    /// The filesystem says of itself that it must not be changed.
    #[error(
        "the ext4 filesystem must not be changed: its ro_compat features {bits:#x} say read-only or shared blocks"
    )]
    ReadOnlyFilesystem {
        /// Which of the bits 0x1000 (readonly) and 0x4000 (`shared_blocks`).
        bits: u32,
    },

    // Paths.
    /// Nothing has that name.
    #[error("{path} is not there")]
    NotFound {
        /// The path in the image.
        path: String,
    },
    /// A path, or a part of one that must be a directory, is something else.
    #[error("{path} is not a directory")]
    NotADirectory {
        /// The path in the image.
        path: String,
    },
    /// A directory has the name of the file to be written.
    #[error("{path} is a directory")]
    IsADirectory {
        /// The path in the image.
        path: String,
    },
    /// Something has the name of the directory to be made.
    #[error("{path} is there already")]
    AlreadyExists {
        /// The path in the image.
        path: String,
    },
    /// A symbolic link stands where a directory is needed, and leads to nothing.
    #[error("{path} is a symbolic link to {target}, which leads to nothing in the image")]
    DanglingLink {
        /// The link's path in the image.
        path: String,
        /// What the link says, escaped.
        target: String,
    },
    /// A file to be read is not a regular one.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// The path in the image.
        path: String,
    },
    /// A file to be read as a link is none.
    #[error("{path} is not a symbolic link")]
    NotALink {
        /// The path in the image.
        path: String,
    },
    /// More than 40 links on the way.
    #[error("{path} leads through more than 40 symbolic links")]
    TooManyLinks {
        /// The path in the image.
        path: String,
    },
    /// A name that no file can have.
    #[error(
        "{path} cannot name a file: a name is 1 to 255 bytes without NUL, and neither . nor .."
    )]
    InvalidName {
        /// The path in the image.
        path: String,
    },
    /// A link's target that ext4 cannot keep.
    #[error(
        "a symbolic link's target is 1 to 1023 bytes without NUL, {path} would get {len_bytes}"
    )]
    InvalidTarget {
        /// The link.
        path: String,
        /// Length of the target.
        len_bytes: usize,
    },
    /// A file is longer than the caller wants to read.
    #[error("{path} has {size_bytes} bytes, more than the {limit_bytes} that are read of it")]
    FileTooLarge {
        /// The path in the image.
        path: String,
        /// The file's size.
        size_bytes: u64,
        /// The caller's limit.
        limit_bytes: u64,
    },
    /// The directory compares names without case, by rules that only the kernel has.
    #[error("the directory {path} ignores case (casefold), no file can be put there from outside")]
    Casefolded {
        /// The directory.
        path: String,
    },
    /// The file or directory is encrypted by the filesystem (fscrypt).
    #[error("{path} is encrypted by the filesystem and cannot be used without its key")]
    Encrypted {
        /// The file or directory.
        path: String,
    },
    /// The directory can take no further directory.
    #[error("the directory {path} has {links} links and takes no further directory")]
    TooManyDirectories {
        /// The directory.
        path: String,
        /// Its count of links.
        links: u32,
    },

    // What the library says.
    /// No free block.
    #[error(
        "no room in the ext4 filesystem for {path}: {needed_bytes} bytes are needed, {free_bytes} are free"
    )]
    NoSpace {
        /// What was to be written.
        path: String,
        /// What its data take, in whole blocks.
        needed_bytes: u64,
        /// What the superblock counts as free.
        free_bytes: u64,
    },
    /// No free inode.
    #[error("no free inode in the ext4 filesystem for {path}")]
    NoInodes {
        /// What was to be written.
        path: String,
    },
    /// libext2fs refused or found damage.
    #[error("the ext4 filesystem cannot be used: {message} ({doing})")]
    Library {
        /// What was being done.
        doing: String,
        /// The library's text.
        message: String,
    },
    /// One operation read more than any sound structure needs.
    #[error("the ext4 filesystem is damaged: {doing} read more than {limit_bytes} bytes")]
    Endless {
        /// What was being done.
        doing: String,
        /// The bound.
        limit_bytes: u64,
    },
    // FAT.
    /// The boot sector does not end with 0xAA55.
    #[error("no FAT filesystem: the boot sector ends with {found:#06x}, not with 0xaa55")]
    NotFat {
        /// The two bytes at offset 0x1FE, little-endian.
        found: u16,
    },
    /// A field of the boot sector that no FAT filesystem can have so.
    #[error(
        "the FAT boot sector's {field} (offset {offset_bytes:#x}) is {value}, allowed is {allowed}"
    )]
    FatField {
        /// What the field says.
        field: &'static str,
        /// Offset in the boot sector.
        offset_bytes: u64,
        /// What it holds.
        value: u64,
        /// What it may hold.
        allowed: &'static str,
    },
    /// The filesystem ends behind its partition.
    #[error(
        "the FAT filesystem has {filesystem_bytes} bytes and is larger than its partition of {partition_bytes} bytes"
    )]
    FatLargerThanPartition {
        /// Length that the boot sector claims.
        filesystem_bytes: u64,
        /// Length of the partition.
        partition_bytes: u64,
    },
    /// A chain of clusters that does not end as one should.
    #[error(
        "the FAT filesystem is damaged: the chain that begins with cluster {first} leads in a circle or out of the filesystem"
    )]
    FatChain {
        /// Its first cluster.
        first: u64,
    },
    /// A directory that is full, and cannot be made longer so that a crash does no harm.
    #[error(
        "the directory whose last cluster is {cluster} is full, and the FAT filesystem cannot make it longer in one write"
    )]
    FatLink {
        /// Its last cluster.
        cluster: u64,
    },
    /// Too few free clusters.
    #[error(
        "no room in the FAT filesystem for {path}: {needed_bytes} bytes are needed, {free_bytes} are free for it"
    )]
    FatNoSpace {
        /// The path in the image.
        path: String,
        /// What its data take, in whole clusters.
        needed_bytes: u64,
        /// What is free, in whole clusters.
        free_bytes: u64,
    },
    /// The FAT library refused or found damage.
    #[error("the FAT filesystem cannot be used: {message} ({doing})")]
    Fat {
        /// What was being done.
        doing: String,
        /// The library's text.
        message: String,
    },

    /// An edit failed before, so what the storage holds is half of it.
    #[error("an edit of the filesystem failed before, its storage must be thrown away")]
    Abandoned,
}

impl Error {
    /// True for states that `e2fsck -fp` on a copy of the partition mends without a question (exit code 0 or 1); the
    /// caller knows the commands.
    pub fn is_mendable_by_e2fsck(&self) -> bool {
        matches!(
            self,
            Self::JournalNeedsRecovery
                | Self::NotClean { .. }
                | Self::ErrorsRecorded { .. }
                | Self::Orphans { .. }
                | Self::OrphanFileInUse
        )
    }

    /// True for damage of an ext4 filesystem: `e2fsck -fp` gives up on it (exit code 4 or 8), `e2fsck -fy` on a copy
    /// may repair it.
    pub fn is_ext4_damage(&self) -> bool {
        matches!(
            self,
            Self::SuperblockChecksum { .. }
                | Self::SuperblockField { .. }
                | Self::Library { .. }
                | Self::Endless { .. }
        )
    }
}
