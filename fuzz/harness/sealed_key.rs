//! A sealed-key file: its content comes back byte for byte, and each branch of a sound one opens it.

use keyobject::secboot::SealedKey;

use super::told;

pub fn run(input: &[u8]) -> bool {
    let sealed = match SealedKey::read(input) {
        Ok(sealed) => sealed,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    let body = sealed.to_body();
    let again = SealedKey::from_body(sealed.version, &body).unwrap();
    assert_eq!(again.trailing_bytes, 0);
    assert_eq!(again.to_body(), body);
    let mut stripped = sealed.clone();
    stripped.trailing_bytes = 0;
    assert_eq!(again, stripped);

    let sound = sealed.check();
    if let Err(error) = &sound {
        told(&error);
    }
    if let Err(error) = sealed.opens_with(&[7; 32]) {
        told(&error);
    }
    for leaf in sealed.tree.leaves() {
        match sealed.tree.path(leaf) {
            Ok(path) => assert!((1..=4).contains(&path.len())),
            Err(error) => assert!(sound.is_err(), "{error}"),
        }
    }
    true
}
