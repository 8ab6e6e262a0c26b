//! Both copies of a LUKS2 header as they lie on disk.
//!
//! Options: bits 0 and 1 mend the checksum of the primary and of the secondary, bit 2 makes the secondary a copy of the
//! primary first; bit 3 tries a passphrase, where that takes few iterations.

use base::secret::SecretBytes;
use base::storage::WriteAt;
use keyobject::{RecoveryToken, recovery_token};
use luks2::{Header, Position, Update};
use probe::OnlyLuks2;
use sha2::{Digest as _, Sha256, Sha512};

use super::sparse::{self, Input};
use super::{Counter, shown, told};

pub const BINARY_BYTES: usize = 4096;
const LARGEST_BYTES: u64 = 4 << 20;

pub fn run(input: &[u8]) -> bool {
    let Some(sparse) = Input::parse(input) else {
        return false;
    };
    let container = sparse.storage();
    if sparse.option(0) {
        seal(&container, 0);
    }
    let size_bytes = sparse::get(&container, 8, 8).map(|size| number(&size));
    if let Some(size_bytes) = size_bytes.filter(|size| *size <= LARGEST_BYTES) {
        if sparse.option(2) {
            mirror(&container, size_bytes);
        }
        if sparse.option(1) {
            seal(&container, size_bytes);
        }
    }
    exercise(&container, sparse.option(3))
}

/// Everything that is done with a header. What is written must read as what was meant.
pub fn exercise(container: &dyn WriteAt, unlock: bool) -> bool {
    let Some(only) = OnlyLuks2::check(&container).unwrap() else {
        return false;
    };
    let header = match Header::read(only) {
        Ok(header) => header,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    for warning in header.warnings() {
        shown(&warning);
    }
    for token in &header.metadata().tokens {
        let _ = RecoveryToken::parse(token);
    }
    for copy in header.valid_copies() {
        let bytes = copy.to_bytes().unwrap();
        let offset_bytes = match copy.position() {
            Position::Primary => 0,
            Position::Secondary => bytes.len() as u64,
        };
        assert_eq!(copy.metadata().header_size_bytes, bytes.len() as u64);
        assert!(bytes == sparse::get(container, offset_bytes, bytes.len()).unwrap());
        let _ = copy.metadata().clear_key();
        assert!(copy.metadata().header_end_bytes() <= 136 << 20);
    }
    // The least that a text says of iterations is looked at, so as not to wait for those of others.
    if unlock && !has_many_iterations(header.current().text()) {
        let passphrase = SecretBytes::new(b"test only".to_vec());
        if let Err(error) = header.unlock(None, &passphrase, &container) {
            told(&error);
        }
    }
    let mut update = match header.update() {
        Ok(update) => update,
        Err(error) => {
            told(&error);
            return true;
        }
    };
    written_and_read(&update, container);
    let keyslots: Vec<u32> = header
        .metadata()
        .keyslots
        .iter()
        .map(|one| one.number)
        .collect();
    let tokens: Vec<u32> = header
        .metadata()
        .tokens
        .iter()
        .map(|one| one.number)
        .collect();
    if update
        .add_token(None, r#"{"type":"test","keyslots":[],"x":"y"}"#)
        .is_ok()
    {
        written_and_read(&update, container);
    }
    if let Some(keyslot) = keyslots.first()
        && update.add_token(None, &recovery_token(*keyslot)).is_ok()
    {
        written_and_read(&update, container);
    }
    for number in tokens {
        if update.remove_token(number).is_ok() {
            assert!(
                update
                    .metadata()
                    .tokens
                    .iter()
                    .all(|one| one.number != number)
            );
        }
    }
    for number in keyslots {
        if update.remove_keyslot(number).is_ok() {
            assert!(update.metadata().keyslot(number).is_none());
        }
    }
    update.set_label("label").unwrap();
    written_and_read(&update, container);
    true
}

/// Both copies of an update, written in its order, are a header without warnings that says the same.
fn written_and_read(update: &Update, container: &dyn WriteAt) {
    let place = |position| match position {
        Position::Primary => 0,
        Position::Secondary => update.metadata().header_size_bytes,
    };
    for position in update.order() {
        let bytes = update.copy_bytes(position, &mut Counter(1)).unwrap();
        sparse::put(container, place(position), &bytes);
    }
    let again = Header::read_built(&container).unwrap();
    assert_eq!(again.warnings(), []);
    let said = |metadata: &luks2::Metadata| {
        (
            metadata.keyslots.clone(),
            metadata.digests.clone(),
            metadata.tokens.len(),
            metadata.segments.len(),
            metadata.keyslots_size_bytes,
        )
    };
    assert_eq!(said(again.metadata()), said(update.metadata()));
}

/// True where a text names more than 9999 iterations anywhere, whatever they are of.
fn has_many_iterations(text: &str) -> bool {
    text.split("iterations").skip(1).any(|rest| {
        let digits = rest.trim_start_matches(|byte: char| !byte.is_ascii_digit());
        let digits = digits.split(|byte: char| !byte.is_ascii_digit()).next();
        digits.is_some_and(|digits| digits.len() > 4)
    })
}

/// Makes the secondary the same as the primary.
fn mirror(container: &dyn WriteAt, size_bytes: u64) -> Option<()> {
    let mut copy = sparse::get(container, 0, usize::try_from(size_bytes).ok()?)?;
    copy.get_mut(..6)?.copy_from_slice(b"SKUL\xba\xbe");
    copy.get_mut(256..264)?
        .copy_from_slice(&size_bytes.to_be_bytes());
    sparse::get(container, size_bytes, copy.len())?;
    sparse::put(container, size_bytes, &copy);
    seal(container, size_bytes)
}

/// Sets the checksum of the copy there right, as its algorithm is.
fn seal(container: &dyn WriteAt, offset_bytes: u64) -> Option<()> {
    let claimed = number(&sparse::get(container, offset_bytes.checked_add(8)?, 8)?);
    if claimed > LARGEST_BYTES {
        return None;
    }
    let copy = sparse::get(container, offset_bytes, usize::try_from(claimed).ok()?)?;
    let checksum = checksum(copy)?;
    sparse::put(container, offset_bytes + 448, &checksum);
    Some(())
}

/// The checksum of a copy with its own set to zero.
pub fn checksum(mut copy: Vec<u8>) -> Option<[u8; 64]> {
    copy.get_mut(448..512)?.fill(0);
    let mut checksum = [0; 64];
    if copy.get(72..104)?.starts_with(b"sha512\0") {
        checksum.copy_from_slice(&Sha512::digest(&copy));
    } else {
        checksum[..32].copy_from_slice(&Sha256::digest(&copy));
    }
    Some(checksum)
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
