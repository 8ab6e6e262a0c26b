//! What each fuzz target does with an input, shared with the test that replays inputs on stable Rust.
//!
//! Every function takes any bytes, returns true where the parser accepted them, and panics where a promise is broken.
//! An error is printed, since its words are made from hostile bytes too: they must not reach a terminal as they are.

pub mod authenticated_variable;
pub mod azure;
pub mod cloud_config;
pub mod event_log;
pub mod ext4;
pub mod fat;
pub mod gpt;
pub mod loader_files;
pub mod luks2_header;
pub mod luks2_metadata;
pub mod open_disk;
pub mod packed;
pub mod pe;
pub mod pkcs7;
pub mod prediction;
pub mod probe;
pub mod sbat;
pub mod sealed_key;
pub mod signature_list;
mod sparse;
pub mod systemd_token;
pub mod tpm_public;
pub mod uefi_config;
pub mod variable_store;
pub mod vhd;

use std::error::Error;
use std::fmt::Display;

use base::secret::{Entropy, EntropyError};

/// A fuzz target: any bytes, to whether they were accepted.
pub type Target = fn(&[u8]) -> bool;

/// All targets by name: that of their file, their seeds and what they found.
pub const TARGETS: [(&str, Target); 24] = [
    ("authenticated_variable", authenticated_variable::run),
    ("azure", azure::run),
    ("cloud_config", cloud_config::run),
    ("event_log", event_log::run),
    ("ext4", ext4::run),
    ("fat", fat::run),
    ("gpt", gpt::run),
    ("loader_files", loader_files::run),
    ("luks2_header", luks2_header::run),
    ("luks2_metadata", luks2_metadata::run),
    ("open_disk", open_disk::run),
    ("packed", packed::run),
    ("pe", pe::run),
    ("pkcs7", pkcs7::run),
    ("prediction", prediction::run),
    ("probe", probe::run),
    ("sbat", sbat::run),
    ("sealed_key", sealed_key::run),
    ("signature_list", signature_list::run),
    ("systemd_token", systemd_token::run),
    ("tpm_public", tpm_public::run),
    ("uefi_config", uefi_config::run),
    ("variable_store", variable_store::run),
    ("vhd", vhd::run),
];

/// An error is told with its causes, each on a line of its own, and cannot do anything else to a terminal.
fn told(error: &dyn Error) {
    shown(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        shown(error);
        cause = error.source();
    }
}

/// What is made from hostile bytes and printed has no control characters.
fn shown(text: &(impl Display + ?Sized)) {
    let text = text.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// Bytes that are the same in every run.
struct Counter(u8);

impl Entropy for Counter {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        for byte in buffer {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}
