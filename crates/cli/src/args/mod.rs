//! The command lines, as data for the parser: a file a command, and one for each group of options that several have.
//!
//! Long options are spelled as in the reference; ours follow the same grammar. An option given twice:
//! the last one wins. An empty value (`--output=`) counts as not given.

mod backing;
mod binding;
mod conversion;
mod deploy;
mod encrypt;
mod inspect;
mod key_object;
mod partitions;
mod predict;
mod prediction;
mod provision;
mod recovery_key;
mod uefi_config;

use clap::builder::styling::Styles;
use clap::{Arg, Parser};

use super::status::TABLE as EXIT_STATUS;

pub use backing::BackingOption;
pub use binding::{BindingOptions, SrkMode};
pub use conversion::{ConversionOptions, MakeRoom};
pub use deploy::Deploy;
pub use encrypt::Encrypt;
pub use inspect::Inspect;
pub use key_object::{KeyObject, KeyObjectOptions};
pub use partitions::Partitions;
pub use predict::Predict;
pub use prediction::{Compat, Firmware, Profiles, Rules, SecureBoot};
pub use provision::Provision;
pub use recovery_key::{PrintRecoveryKey, RecoveryOptions};
pub use uefi_config::CreateUefiConfig;

const STYLES: Styles = Styles::styled();

/// Changes the option `id` of a group that commands share, for one of them. `Command::mut_arg` would put it behind all others.
fn only(id: &'static str, change: impl Fn(Arg) -> Arg) -> impl FnMut(Arg) -> Arg {
    move |option| {
        if option.get_id() == id {
            change(option)
        } else {
            option
        }
    }
}

/// Encrypt cloud images and bind them to one guest's vTPM
///
/// `encrypt` turns a plain image into one whose root partition is a LUKS2 container; its key lies in clear
/// in the container's header, so that encrypted images can be kept in a pool. `deploy` binds such an image
/// to one guest. `provision` does both in one pass. Everything happens in files, as an ordinary user.
#[derive(Debug, Parser)]
#[command(name = "encrypt-cloud-image", version, styles = STYLES, args_override_self = true)]
#[command(propagate_version = true, max_term_width = 100)]
pub struct EncryptCloudImage {
    /// Tell more about what is done
    ///
    /// The whole plan as `--dry-run` shows it, and what the steps took, on standard error.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Subcommand,
}

#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    Encrypt(Encrypt),
    Deploy(Box<Deploy>),
    Provision(Box<Provision>),
    Predict(Predict),
    Inspect(Box<Inspect>),
}
