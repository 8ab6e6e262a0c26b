//! One change to a good file: what the library's reader says on a TPM, ours says without one, as far as
//! that can be told.

use keyobject::secboot::{Error, SealedKey};

use crate::{branches, file, json};

/// A change of what was read.
type Change = fn(&mut SealedKey);

/// What ours says to a changed content.
type Answer = Result<(), Error>;

fn answer(read: &SealedKey, composite: &[u8]) -> Answer {
    read.opens_with(composite)
}

/// The content of the case with ten branches, changed, and read again.
fn changed(change: impl FnOnce(&mut SealedKey)) -> Result<SealedKey, Error> {
    let mut read = SealedKey::from_body(2, &file("ecc-10.body")).unwrap();
    change(&mut read);
    SealedKey::from_body(2, &read.to_body())
}

fn present() -> Vec<u8> {
    branches(&json("ecc-10")).1[0].clone()
}

#[test]
fn what_readers_pass_over_opens() {
    let composite = present();
    let changes: [(&str, Change); 3] = [
        ("unused byte", |read| read.hint = 1),
        ("unused reference", |read| read.reference = vec![1, 2, 3]),
        ("policy sequence", |read| read.sequence = 5),
    ];
    for (name, change) in changes {
        let read = changed(change).unwrap();
        assert_eq!(answer(&read, &composite), Ok(()), "{name}");
    }
    let whole = file("ecc-10.sealed-key");
    let longer = [whole.as_slice(), &[0; 7]].concat();
    let read = SealedKey::read(&longer).unwrap();
    assert_eq!(
        (answer(&read, &composite), read.trailing_bytes),
        (Ok(()), 7)
    );
    let body = [file("ecc-10.body").as_slice(), &[0; 3]].concat();
    let read = SealedKey::from_body(2, &body).unwrap();
    assert_eq!(
        (answer(&read, &composite), read.trailing_bytes),
        (Ok(()), 3)
    );
}

/// The content with one bit changed at the first place where `field` stands.
fn flipped(field: &[u8], bit_of: usize) -> Result<SealedKey, Error> {
    let mut body = file("ecc-10.body");
    let at = body
        .windows(field.len())
        .position(|window| window == field)
        .unwrap();
    body[at + bit_of] ^= 1;
    SealedKey::from_body(2, &body)
}

#[test]
fn what_the_tpm_would_refuse_is_refused() {
    let composite = present();
    let good = SealedKey::from_body(2, &file("ecc-10.body")).unwrap();
    let nodes = good.tree.nodes();
    let leaf = good.leaf(&composite);

    let approved = changed(|read| read.approved_policy[0] ^= 1).unwrap();
    assert_eq!(answer(&approved, &composite), Err(Error::Signature));
    let signature = changed(|read| *read.signature.s.last_mut().unwrap() ^= 1).unwrap();
    assert_eq!(answer(&signature, &composite), Err(Error::Signature));
    let own_leaf = flipped(&leaf, 0).unwrap();
    let leaves = Error::NotABranch { leaves: 10 };
    assert_eq!(answer(&own_leaf, &composite), Err(leaves.clone()));
    let selection = changed(|read| {
        read.selection.pcrs.remove(&4);
    })
    .unwrap();
    assert_eq!(answer(&selection, &composite), Err(leaves));
    let sibling = flipped(&nodes[0].digests[1], 0).unwrap();
    assert_eq!(
        answer(&sibling, &composite),
        Err(Error::BrokenNode { node: 0 })
    );
    let sibling_in_root = flipped(&nodes[2].digests[1], 0).unwrap();
    assert_eq!(
        answer(&sibling_in_root, &composite),
        Err(Error::NotApproved)
    );
    // Off the path of this branch a reader does not look; the whole check does.
    let other_group = flipped(&nodes[1].digests[0], 0).unwrap();
    assert_eq!(answer(&other_group, &composite), Ok(()));
    assert_eq!(other_group.check(), Err(Error::BrokenNode { node: 1 }));

    let counter = changed(|read| read.counter = 0x0180_0001).unwrap();
    assert_eq!(
        answer(&counter, &composite),
        Err(Error::Counter {
            counter: 0x0180_0001
        })
    );
    let attributes = changed(|read| read.object.attributes = 1).unwrap();
    assert_eq!(
        answer(&attributes, &composite),
        Err(Error::ObjectAttributes { attributes: 1 })
    );
    let key_attributes = changed(|read| read.policy_key.attributes |= 1).unwrap();
    assert_eq!(
        answer(&key_attributes, &composite).unwrap_err().to_string(),
        "the policy key has other attributes than 0x00040060"
    );
    let other = SealedKey::from_body(2, &file("ecc-9.body")).unwrap();
    let other_key = changed(|read| read.policy_key = other.policy_key.clone()).unwrap();
    assert_eq!(answer(&other_key, &composite), Err(Error::Signature));
}

#[test]
fn a_tree_of_another_shape_is_refused_when_read() {
    let count = [0, 0, 0, 3];
    let next = |value: u8| {
        let mut body = file("ecc-10.body");
        let start = [count.as_slice(), &[0, 0, 0, 2], &[0, 0, 0, 8]].concat();
        let at = body
            .windows(start.len())
            .position(|window| window == start)
            .unwrap();
        body[at + 7] = value;
        SealedKey::from_body(2, &body).unwrap_err().to_string()
    };
    assert_eq!(
        next(3),
        "node 0 of the policy tree names node 3 as its parent; there are 3"
    );
    assert_eq!(next(0), "no branch leads to node 1 of the policy tree");
}

#[test]
fn what_cannot_be_decoded_is_refused_when_read() {
    let whole = file("ecc-10.sealed-key");
    let with = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        SealedKey::read(&file)
    };
    assert_eq!(with(0, b"u"), Err(Error::Magic));
    assert_eq!(with(4, &[0, 0, 0, 4]), Err(Error::Version { version: 4 }));
    assert_eq!(with(4, &[0, 0, 0, 3]), Err(Error::Version { version: 3 }));
    assert!(matches!(with(4, &[0, 0, 0, 1]), Err(Error::Body(_))));
    for algorithm in [0x0004, 0x0010] {
        assert_eq!(
            with(12, &u16::to_be_bytes(algorithm)),
            Err(Error::SplitHash { algorithm })
        );
    }
    let cut = SealedKey::read(&whole[..whole.len() - 1]);
    assert!(matches!(cut, Err(Error::Cut(tpm::Error::Short { .. }))));
    assert_eq!(
        with(8, &[0; 4]).unwrap_err().to_string(),
        format!(
            "the sealed-key file has {} bytes in 0 stripes, which cannot be",
            whole.len() - 18
        )
    );
    // One bit of the stripes spreads over the whole content: nothing in it fits any more.
    let mut striped = whole.clone();
    striped[18] ^= 1;
    let read = SealedKey::read(&striped);
    assert!(read.is_err() || read.unwrap().check().is_err());
}
