//! A qcow2 image, and the variable store in it.

use encrypt_cloud_image::efi::qcow2::{Qcow2, is_qcow2};
use encrypt_cloud_image::storage::ReadAt;

use super::sparse::Input;
use super::told;
use super::variable_store;

pub fn run(input: &[u8]) -> bool {
    let Some(sparse) = Input::parse(input) else {
        return false;
    };
    let file = sparse.storage();
    if !is_qcow2(&file) {
        return false;
    }
    let disk = match Qcow2::open(&file) {
        Ok(disk) => disk,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    // Every byte of the disk reads, or says why not.
    let mut from_bytes = 0;
    let mut left = 1000;
    while let Some(data) = disk.next_data(from_bytes).unwrap() {
        assert!(from_bytes <= data.start && data.start < data.end && data.end <= disk.len_bytes());
        let piece = usize::try_from((data.end - data.start).min(4096)).unwrap();
        let _ = disk
            .read_vec(data.start, piece)
            .map_err(|error| told(&error));
        let _ = disk.read_vec(data.end - piece as u64, piece);
        from_bytes = data.end;
        left -= 1;
        if left == 0 {
            break;
        }
    }
    variable_store::exercise(&disk);
    true
}
