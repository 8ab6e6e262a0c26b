//! The use cases: what the programs do, on paths outermost and on storages below.
//!
//! This room carries what the others must agree on, decides where everything goes, and adds to their errors
//! the way out. The command line sees this room alone, so it hands over what a caller needs of the others.

mod backing;
mod bound;
mod content;
pub mod deploy;
pub mod device_guest;
mod encrypt;
mod error;
pub mod guests;
pub mod inspect;
mod key_file;
mod layout;
mod observer;
mod partitions;
pub mod predict;
pub mod recovery_key;
mod staged;
pub mod uefi_config;

pub use encrypt::{
    ChosenProfile, DatasourceNameError, Datasources, Edit, FreeSpace, Job, Plan, Profile,
    ProfileChoice, Ready, ReadyOnDevice,
};
pub use encrypt::{cloud_init, in_place};
pub use error::{About, Error, RootContent};
pub use layout::{Error as LayoutError, Layout, MakeRoom, Obstacle, Room, SectorSizeChoice};
pub use observer::{Observer, Phase, StopFlag};
pub use partitions::Named;
pub use staged::Staged;

pub use crate::gpt::{Partition, types as partition_types};
pub use crate::image::{
    DiskFormat, FileIdentity, Packing, PublishStep, SourceFormat, is_device, left_behind,
};
pub use crate::luks2::SectorSize;
pub use crate::secret::{Entropy, SystemEntropy};
