//! The use case behind `predict`: from the files that an operator has to a prediction.

mod boot_files;
mod error;

pub use boot_files::{EspDirectory, EspFiles, Name, Wanted, of_chains, on_esp};
pub use error::PredictError;
