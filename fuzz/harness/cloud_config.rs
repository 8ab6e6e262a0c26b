//! A file of an image's cloud-init: what is read of it, and in which order its name comes.

use operations::cloud_init::{Value, comes_before, read_yaml};

use super::shown;

pub fn run(input: &[u8]) -> bool {
    // Two names are in one order at most.
    let (one, other) = input.split_at(input.len() / 2);
    assert!(!(comes_before(one, other) && comes_before(other, one)));
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    match read_yaml(text) {
        Ok(read) => {
            assert!(matches!(read, Value::Map(_)));
            true
        }
        Err(problem) => {
            shown(&problem);
            false
        }
    }
}
