//! A signed update of a variable, as in a `.auth` file.

use firmware::{authenticated_variable, signature_list};

use super::told;

pub fn run(input: &[u8]) -> bool {
    match authenticated_variable::value(input) {
        Ok(value) => {
            assert!(authenticated_variable::is_header(input));
            assert!(input.ends_with(value));
            let _ = signature_list::parse(value);
            true
        }
        Err(error) => {
            told(&error);
            false
        }
    }
}
