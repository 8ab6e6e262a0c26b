//! Signature lists, also with the attributes of efivarfs before them: what is accepted is written byte for byte.

use firmware::signature_list::{self, SignatureList};
use firmware::{authority, efivarfs};

use super::told;

pub fn run(input: &[u8]) -> bool {
    if let Err(error) = efivarfs::content(input) {
        told(&error);
    }
    let _ = std::str::from_utf8(input).map(efivarfs::split_file_name);
    let lists = match signature_list::parse(input) {
        Ok(lists) => lists,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    assert!(written(&lists) == input);
    for list in &lists {
        for entry in &list.entries {
            let _ = authority::microsoft(&entry.data);
            let _ = authority::describe(&entry.data);
        }
    }
    !lists.is_empty()
}

pub fn written(lists: &[SignatureList]) -> Vec<u8> {
    lists.iter().flat_map(SignatureList::to_bytes).collect()
}
