//! What a prediction is made from.

use super::boot::Boot;
use super::reader::Reader;
use super::rules::{Profile, Rules};
use firmware::config::UefiConfig;
use tpm::Bank;

/// What a prediction is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The guest's variables.
    pub configuration: &'a UefiConfig,
    /// What it boots.
    pub boot: &'a Boot,
    /// The PCRs that are asked for.
    pub profile: Profile,
    /// Who asks for the key in the end.
    pub reader: Reader,
    /// Whose rules count.
    pub rules: Rules,
    /// The bank.
    pub bank: Bank,
}
