//! A firmware's variable store in a file.
//!
//! Options: bit 0 mends the checksum of a volume's header at the start of the file.

use base::storage::{ReadAt, WriteAt};
use firmware::variable_store::VariableStore;
use firmware::{Database, signature_list};

use super::sparse::{self, Input};
use super::told;

pub fn run(input: &[u8]) -> bool {
    let Some(sparse) = Input::parse(input) else {
        return false;
    };
    let file = sparse.storage();
    if sparse.option(0) {
        seal(&file);
    }
    exercise(&file)
}

pub fn exercise(file: &dyn ReadAt) -> bool {
    let store = match VariableStore::read(file) {
        Ok(store) => store,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    assert!(store.offset_bytes() < file.len_bytes());
    for record in store.records() {
        let _ = record.display_name();
        assert!(record.offset_bytes < file.len_bytes());
    }
    for database in Database::ALL {
        if let Some(record) = store.variable(database.name(), database.vendor()) {
            let _ = signature_list::parse(&record.data);
        }
    }
    let _ = store.secure_boot();
    true
}

fn seal(file: &dyn WriteAt) -> Option<()> {
    let length = sparse::get(file, 48, 2)?;
    let mut header = sparse::get(
        file,
        0,
        usize::from(u16::from_le_bytes([length[0], length[1]])),
    )?;
    header.get_mut(50..52)?.fill(0);
    let sum = header.chunks_exact(2).fold(0_u16, |sum, word| {
        sum.wrapping_add(u16::from_le_bytes([word[0], word[1]]))
    });
    sparse::put(file, 50, &sum.wrapping_neg().to_le_bytes());
    Some(())
}
