//! The prediction: what a guest of this configuration measures when it boots these files.
//!
//! A pure function, [`predict`], from a UEFI configuration, the *boot chains* (which program loads which)
//! and [`Rules`] to *branches*: each branch is one way in which the guest may boot, as a list of events,
//! and the PCR values that they lead to. TCG PC Client Platform Firmware Profile 1.05 says what firmware
//! measures; shim and systemd's stub have their own rules.
//!
//! PCR 7, in order: `SecureBoot`, `PK`, `KEK`, `db`, `dbx`, a separator; the authority for shim; shim's
//! `SbatLevel`, and what else its release measures (`release.rs`); the authorities for the kernel. PCR 4: an action, a separator, shim's digest, the
//! kernel's digest. PCR 11: the sections of a unified kernel image, then `enter-initrd`, where that is asked for.
//! PCR 12: the epoch of snap-bootstrap, where that is the [`Reader`] of the key. PCR 15: nothing before a volume is
//! opened.
//!
//! [`explain`] holds a prediction against the event log of a guest that has booted.
//!
//! By default the answer is the one that real firmware and shim give; [`Rules::reference`] gives that of
//! canonical/encrypt-cloud-image.
//!
//! ```
//! use base::storage::MemoryStorage;
//! use firmware::{Program, UefiConfig, config};
//! use measure::{Boot, BootFile, Chain, Input, Profile, Reader, Rules, predict};
//! use tpm::Bank;
//!
//! # let vector = |name: &str| std::fs::read(format!("../../tests/data/vectors/{name}"));
//! let program = |name: &str| -> Result<_, Box<dyn std::error::Error>> {
//!     let program = Program::read(&MemoryStorage::new(vector(name)?), &[], false)?;
//!     Ok(BootFile { folder: Vec::new(), name: name.to_owned(), program })
//! };
//! let firmware = UefiConfig::from_json(&vector("uefi/std.json")?, config::Rules::Reference)?;
//! let boot = Boot {
//!     files: vec![program("pe/shim-std.efi")?, program("pe/kernel-vendor-1.efi")?],
//!     chains: vec![Chain::new(0, [1])],
//!     ..Boot::default()
//! };
//!
//! // What is in PCR 4 of a guest that boots these two?
//! let prediction = predict(&Input {
//!     configuration: &firmware.config,
//!     boot: &boot,
//!     profile: Profile { boot_manager: true, ..Profile::default() },
//!     reader: Reader::SnapBootstrap,
//!     rules: Rules::reference(),
//!     bank: Bank::Sha256,
//! })?;
//! assert_eq!(
//!     hex::encode(&prediction.branches[0].pcrs[&4]),
//!     "406c45b84a987e96764f1347d7d4a4d11bd2fcde5313ea56ed94eb1f1a72f9c6",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod authority;
mod boot;
mod branch;
mod database;
mod error;
mod event;
mod explain;
mod gap;
mod identity;
mod input;
mod judge;
mod reader;
mod release;
mod rollover;
mod rules;
mod sealable;
mod sections;
mod walk;

pub use boot::{Boot, BootFile, Chain};
pub use branch::{Branch, Prediction, predict};
pub use error::{Error, Problem, Warning};
pub use event::{Event, EventKind, Source, parse_variable_data};
pub use explain::{Cause, Comparison, Explanation, Measured, Other, Row, Verdict, explain};
pub use gap::Gap;
pub use input::Input;
pub use reader::{Reader, Separator};
pub use rules::{Profile, Rules};
pub use sealable::{NotSealable, Sealable};
