//! What each fuzz target does with an input, shared with the test that replays inputs on stable Rust.
//!
//! Every function takes any bytes, returns true where the parser accepted them, and panics where a promise is broken.
//! An error is printed, since its words are made from hostile bytes too.

pub mod authenticated_variable;
pub mod azure;
pub mod ext4;
pub mod fat;
pub mod gpt;
pub mod luks2_header;
pub mod luks2_metadata;
pub mod probe;
pub mod qcow2;
pub mod signature_list;
mod sparse;
pub mod uefi_config;
pub mod variable_store;
pub mod vhd;

/// A fuzz target: any bytes, to whether they were accepted.
pub type Target = fn(&[u8]) -> bool;

/// All targets by name: that of their file, their seeds and what they found.
pub const TARGETS: [(&str, Target); 13] = [
    ("authenticated_variable", authenticated_variable::run),
    ("azure", azure::run),
    ("ext4", ext4::run),
    ("fat", fat::run),
    ("gpt", gpt::run),
    ("luks2_header", luks2_header::run),
    ("luks2_metadata", luks2_metadata::run),
    ("probe", probe::run),
    ("qcow2", qcow2::run),
    ("signature_list", signature_list::run),
    ("uefi_config", uefi_config::run),
    ("variable_store", variable_store::run),
    ("vhd", vhd::run),
];
