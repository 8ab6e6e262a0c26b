//! A deploy that ended between the two header copies left the clear key in the losing one, where no dump shows it.

use crate::encrypted::{Encrypted, FLAGS, ROOT, find_key, ready};
use crate::support::workshop::stderr;
use crate::support::{exits, files};

const COPY_BYTES: usize = 524_288;

/// The image as a crash between the header copies leaves it: `old` says which copy is the old one still.
fn interrupted(old_copy: u64) -> Encrypted {
    let encrypted = Encrypted::new();
    let start = encrypted.table().byte_range(ROOT).start;
    let at = start + old_copy * COPY_BYTES as u64;
    let old = files::read(&encrypted.image, at, COPY_BYTES);
    let deployed = encrypted.deployed(&FLAGS);
    files::write(&deployed.image, at, &old);
    deployed
}

#[test]
fn the_losing_copy_is_written_again() {
    if !ready() {
        return;
    }
    for old_copy in [0, 1] {
        let image = interrupted(old_copy);
        assert!(find_key(&image.image, &image.clear_key).is_some());
        let before = image.esp().files();
        // Other options than those of the first run: they do not count.
        let flags = ["--srk-pub", "none", "--no-pcr-policy"];
        let output = exits(image.deploy(&flags).arg("disk.img"), 0);
        let text = stderr(&output);
        assert!(
            text.contains("disk.img: an interrupted deploy was completed; the image is bound as that run was told, not as this one, in "),
            "{text}"
        );
        assert!(
            text.contains(" LUKS2 header copy is older (sequence id 1) than the other (2)\n"),
            "{text}"
        );
        assert_eq!(find_key(&image.image, &image.clear_key), None);
        let container = image.container();
        assert_eq!(container.test_key(0, &image.clear_key), 0);
        let esp = image.esp();
        assert!(esp.files() == before);
        esp.assert_clean();
        let output = exits(image.deploy(&FLAGS).arg("disk.img"), 1);
        assert!(stderr(&output).contains("the image is deployed already"));
    }
}

#[test]
fn a_torn_losing_copy_is_written_again() {
    if !ready() {
        return;
    }
    let image = interrupted(0);
    let start = image.table().byte_range(ROOT).start;
    // The binary header is new, the text with the token is not: no reader takes the copy.
    files::flip(&image.image, start + 450);
    assert!(find_key(&image.image, &image.clear_key).is_some());
    exits(image.deploy(&FLAGS).arg("disk.img"), 0);
    assert_eq!(find_key(&image.image, &image.clear_key), None);
    assert_eq!(image.container().test_key(0, &image.clear_key), 0);
}

#[test]
fn an_image_with_a_damaged_copy_is_deployed() {
    if !ready() {
        return;
    }
    for damaged in [0, 1] {
        let encrypted = Encrypted::new();
        let start = encrypted.table().byte_range(ROOT).start;
        files::flip(&encrypted.image, start + damaged * COPY_BYTES as u64 + 4200);
        let key = encrypted.clear_key.clone();
        let deployed = encrypted.deployed(&FLAGS);
        assert_eq!(find_key(&deployed.image, &key), None);
        assert_eq!(deployed.container().test_key(0, &key), 0);
    }
}
