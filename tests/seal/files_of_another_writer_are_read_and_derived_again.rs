//! Files that snapcore/secboot sealed: every field is read, written back, and derived again from its input.

use keyobject::secboot::{Error, SealedKey};

use crate::{branches, bytes, cases, file, json};

#[test]
fn content_is_read_and_written_back_byte_for_byte() {
    let mut names = cases();
    names.push("rewritten-v1".to_owned());
    assert!(names.len() > 18, "{names:?}");
    for name in names {
        let case = json(&name);
        let version = u32::try_from(case["header"]["version"].as_u64().unwrap()).unwrap();
        let body = file(&format!("{name}.body"));
        let read = SealedKey::from_body(version, &body).unwrap();
        assert_eq!(read.to_body(), body, "{name}");
        assert_eq!(read.trailing_bytes, 0);
        let fields = &case["fields"];
        assert_eq!(read.private, bytes(&fields["private"]), "{name}");
        assert_eq!(read.object.to_bytes(), bytes(&fields["public"]), "{name}");
        if let Some(seed) = &read.import_seed {
            assert_eq!(*seed, bytes(&fields["import_sym_seed"]), "{name}");
        } else {
            assert_eq!(version, 1);
        }
        let derived = &case["derived"];
        assert_eq!(read.object.name().bytes(), bytes(&derived["name"]));
        assert_eq!(read.policy_key.name().bytes(), bytes(&derived["auth_name"]));
        assert_eq!(read.object.auth_policy, bytes(&derived["static_policy"]));
        assert_eq!(
            read.approved_policy.to_vec(),
            bytes(&derived["approved_policy"])
        );
        read.check().unwrap();
    }
}

#[test]
fn a_whole_file_merges_to_its_content() {
    let mut found = 0;
    for name in cases() {
        let path = format!("{name}.sealed-key");
        if !crate::support::data(&format!("sealed/{path}")).exists() {
            continue;
        }
        found += 1;
        let read = SealedKey::read(&file(&path)).unwrap();
        assert_eq!(read.to_body(), file(&format!("{name}.body")), "{name}");
    }
    assert_eq!(found, 4);
}

#[test]
fn the_leaves_follow_from_the_pcr_values_and_open_the_file() {
    for name in cases() {
        let case = json(&name);
        let read = SealedKey::from_body(2, &file(&format!("{name}.body"))).unwrap();
        let (pcrs, composites) = branches(&case);
        assert_eq!(
            read.selection.pcrs.iter().copied().collect::<Vec<_>>(),
            pcrs
        );
        let expected: Vec<Vec<u8>> = case["derived"]["policy_pcr_digests"]
            .as_array()
            .unwrap()
            .iter()
            .map(bytes)
            .collect();
        let leaves: Vec<Vec<u8>> = read.tree.leaves().map(|leaf| leaf.to_vec()).collect();
        assert_eq!(leaves, expected, "{name}");
        for composite in &composites {
            assert!(expected.contains(&read.leaf(composite).to_vec()), "{name}");
            read.opens_with(composite).unwrap();
        }
        let leaves = leaves.len();
        assert_eq!(read.opens_with(&[7; 32]), Err(Error::NotABranch { leaves }));
    }
}
