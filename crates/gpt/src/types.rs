//! Partition types: the GUIDs that cloud images use, and their names.
//!
//! The EFI system partition's type is in UEFI 2.10, table 5.7; root, usr and the others are in the Discoverable
//! Partitions Specification of the UAPI group.

use uuid::{Uuid, uuid};

/// EFI system partition.
pub const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// BIOS boot partition, where GRUB keeps its core image.
pub const BIOS_BOOT: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");
/// Linux filesystem data: Ubuntu's root has this type.
pub const LINUX_FILESYSTEM: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
/// Linux root for x86-64.
pub const LINUX_ROOT_X86_64: Uuid = uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
/// Linux root for 64-bit Arm.
pub const LINUX_ROOT_ARM64: Uuid = uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae");
/// Extended boot loader partition, `/boot`.
pub const EXTENDED_BOOT: Uuid = uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172");
/// A physical volume of LVM.
pub const LVM: Uuid = uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928");
/// A LUKS volume. An encrypted root keeps its own type and does not get this one.
pub const LUKS: Uuid = uuid!("ca7d7ccb-63ed-4c53-861c-1742536059cc");

const NAMES: [(Uuid, &str); 20] = [
    (EFI_SYSTEM, "EFI system"),
    (BIOS_BOOT, "BIOS boot"),
    (LINUX_FILESYSTEM, "Linux filesystem"),
    (LINUX_ROOT_X86_64, "Linux root (x86-64)"),
    (LINUX_ROOT_ARM64, "Linux root (ARM64)"),
    (
        uuid!("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"),
        "Linux root verity (x86-64)",
    ),
    (
        uuid!("df3300ce-d69f-4c92-978c-9bfb0f38d820"),
        "Linux root verity (ARM64)",
    ),
    (
        uuid!("41092b05-9fc8-4523-994f-2def0408b176"),
        "Linux root verity signature (x86-64)",
    ),
    (
        uuid!("8484680c-9521-48c6-9c11-b0720656f69e"),
        "Linux /usr (x86-64)",
    ),
    (
        uuid!("77ff5f63-e7b6-4633-acf4-1565b864c0e6"),
        "Linux /usr verity (x86-64)",
    ),
    (EXTENDED_BOOT, "Linux extended boot"),
    (LUKS, "LUKS"),
    (uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"), "Linux swap"),
    (uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915"), "Linux /home"),
    (uuid!("3b8f8425-20e0-4f3b-907f-1a25a76f98e8"), "Linux /srv"),
    (uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d"), "Linux /var"),
    (LVM, "Linux LVM"),
    (uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e"), "Linux RAID"),
    (
        uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"),
        "Microsoft basic data",
    ),
    (
        uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae"),
        "Microsoft reserved",
    ),
];

/// The name of a partition type, for people; `None` for a type that is not in our list.
pub fn type_name(type_guid: Uuid) -> Option<&'static str> {
    NAMES
        .iter()
        .find(|(guid, _)| *guid == type_guid)
        .map(|(_, name)| *name)
}
