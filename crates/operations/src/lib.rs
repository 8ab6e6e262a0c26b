//! The use cases: what the programs do, on paths outermost and on storages below.
//!
//! A module is a use case; `common` lies beneath them all. This crate carries what the others must agree on, decides where
//! everything goes, and adds to their errors the way out. The command line sees this crate alone, so it hands over what a
//! caller needs of the others.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::cast_possible_truncation,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]

mod common;
pub mod deploy;
pub mod encrypt;
pub mod in_place;
pub mod inspect;
pub mod predict;
pub mod provision;
pub mod uefi_config;

pub use common::cloud_init;
pub use common::error::{About, Error, RootContent};
pub use common::layout::{
    Error as LayoutError, Layout, MakeRoom, Obstacle, Room, SectorSizeChoice,
};
pub use common::observer::{Control, Observer, Phase, StopFlag};
pub use common::partitions::Named;
pub use common::recovery_key;
pub use common::staged::Staged;

pub use base::secret::{Entropy, SystemEntropy};
pub use gpt::{Partition, types as partition_types};
pub use image::{
    DiskFormat, FileIdentity, Packing, PublishStep, SourceFormat, is_device, left_behind,
};
pub use luks2::SectorSize;
