//! Turns cloud images into encrypted ones, and binds them to one guest's vTPM: offline, as an ordinary
//! user, without mounts, device mapper or processes.
//!
//! The rooms, from the ground up; arrows point down only, and `tests/layers.rs` holds that:
//!
//! | room | concern |
//! | --- | --- |
//! | [`secret`] | key bytes and the source that random bytes come from |
//! | [`storage`] | bytes at offsets |
//! | [`image`] | a disk in a file: raw and fixed VHD, and how an output file appears whole or not at all |
//! | [`gpt`] | the partition table |
//! | [`filesystem`] | ext4 through libext2fs, FAT |
//! | [`efi`] | what firmware keeps and reads: Secure Boot's databases, and signed programs |
//! | [`luks2`] | the LUKS2 container |
//! | [`tpm`] | TPM 2.0 structures and event logs, computed without a device |
//! | [`measure`] | the prediction: what a guest measures when it boots |
//! | [`keyobject`] | what carries a key to its reader: the sealed-key file, the recovery key |
//! | [`provision`] | the use cases |
//! | [`cli`] | arguments, progress and messages |

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

pub mod cli;
pub mod efi;
pub mod filesystem;
pub mod gpt;
pub mod image;
pub mod keyobject;
pub mod luks2;
pub mod measure;
pub mod provision;
pub mod secret;
pub mod storage;
pub mod tpm;
