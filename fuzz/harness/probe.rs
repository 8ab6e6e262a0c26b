//! What lies in a partition, by magic numbers: never an error on a storage that can be read.

use probe::{Content, probe};

use super::shown;
use super::sparse::Input;

pub fn run(input: &[u8]) -> bool {
    let Some(sparse) = Input::parse(input) else {
        return false;
    };
    let content = probe(&sparse.storage()).unwrap();
    shown(&content);
    content != Content::Unknown
}
