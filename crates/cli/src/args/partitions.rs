//! Which partitions of an image are meant.

use clap::Args;
use uuid::Uuid;

use operations::Named;

#[derive(Debug, Args)]
#[command(next_help_heading = "Choice of partitions")]
pub struct Partitions {
    /// Unique GUID of the root partition, where it cannot be told by its type
    ///
    /// Both partitions are named, or none. `sgdisk -i NUMBER` shows a partition's unique GUID.
    #[arg(long, value_name = "GUID", requires = "efi_partition_uuid")]
    pub root_partition_uuid: Option<Uuid>,

    /// Unique GUID of the EFI system partition
    #[arg(
        long,
        value_name = "GUID",
        alias = "esp-partition-uuid",
        requires = "root_partition_uuid"
    )]
    pub efi_partition_uuid: Option<Uuid>,
}

impl Partitions {
    /// Both of them, where they are named.
    pub fn named(&self) -> Option<Named> {
        let (root, esp) = (self.root_partition_uuid?, self.efi_partition_uuid?);
        Some(Named { root, esp })
    }
}
