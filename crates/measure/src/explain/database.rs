//! What a guest has in a database, beside what its configuration says.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::logged::owner_in_words;
use firmware::signature_list::{self, SignatureList, X509};
use firmware::{Hash, authority};

/// Entries that are named one by one; what is more is counted.
const MAX_NAMED: usize = 4;
/// Bytes of a certificate's SHA-256 digest that are shown: names alone do not tell certificates apart.
const SHOWN_DIGEST_BYTES: usize = 8;

/// An entry with its type: what two databases have in common or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Item {
    kind: Uuid,
    owner: Uuid,
    data: Vec<u8>,
}

/// What differs between the content that is configured and the guest's, in words; never empty.
pub(super) fn changes(configured: &[u8], guests: &[u8]) -> Vec<String> {
    if configured.is_empty() || guests.is_empty() {
        return vec![match (configured.len(), guests.len()) {
            (0, 0) => "both are empty".to_owned(),
            (0, len) => format!("it has {len} bytes, the configuration none"),
            (len, _) => format!("it is empty, the configuration has {len} bytes"),
        }];
    }
    let Ok(ours) = signature_list::parse(configured) else {
        return vec!["the configuration's content is no sequence of signature lists".to_owned()];
    };
    let theirs = match signature_list::parse(guests) {
        Ok(lists) => lists,
        Err(problem) => return vec![format!("the guest's content: {problem}")],
    };
    of_entries(&items(&ours), &items(&theirs))
}

fn of_entries(ours: &[Item], theirs: &[Item]) -> Vec<String> {
    let (mut added, mut removed) = (without(theirs, ours), without(ours, theirs));
    let common_ours = without(ours, &removed);
    let common_theirs = without(theirs, &added);
    let mut changes = Vec::new();
    let moved = other_owner(&mut added, &mut removed);
    if let Some((item, owner)) = moved.first() {
        let more = match moved.len() {
            1 => String::new(),
            count => format!(" (and {} more entries)", count.saturating_sub(1)),
        };
        changes.push(format!(
            "{} stands there under the owner {}, not {}{more}",
            in_words(item),
            owner_in_words(*owner),
            owner_in_words(item.owner)
        ));
    }
    if !added.is_empty() {
        changes.push(format!("it has in addition {}", listed(&added)));
    }
    if !removed.is_empty() {
        changes.push(format!("it lacks {}", listed(&removed)));
    }
    if common_ours != common_theirs {
        changes.push(format!(
            "its order is {}; the configuration's is {}",
            listed(&common_theirs),
            listed(&common_ours)
        ));
    }
    if changes.is_empty() {
        changes
            .push("the entries and their order are equal, and cut into lists otherwise".to_owned());
    }
    changes
}

/// Takes out what is on both sides but for its owner: the item as it was, and the other owner.
fn other_owner(added: &mut Vec<Item>, removed: &mut Vec<Item>) -> Vec<(Item, Uuid)> {
    let mut places: HashMap<(Uuid, Vec<u8>), Vec<usize>> = HashMap::new();
    for (at, item) in added.iter().enumerate().rev() {
        let place = places.entry((item.kind, item.data.clone()));
        place.or_default().push(at);
    }
    let mut moved = Vec::new();
    let mut taken = HashSet::new();
    removed.retain(|item| {
        let places = places.get_mut(&(item.kind, item.data.clone()));
        let Some(at) = places.and_then(Vec::pop) else {
            return true;
        };
        taken.insert(at);
        moved.extend(added.get(at).map(|after| (item.clone(), after.owner)));
        false
    });
    let mut at = 0_usize;
    added.retain(|_| {
        let stays = !taken.contains(&at);
        at = at.saturating_add(1);
        stays
    });
    moved
}

fn items(lists: &[SignatureList]) -> Vec<Item> {
    let entries = lists.iter().flat_map(|list| {
        list.entries.iter().map(|entry| Item {
            kind: list.kind,
            owner: entry.owner,
            data: entry.data.clone(),
        })
    });
    entries.collect()
}

/// The items of `all` that are not in `others`, each as often as it is missing there, in their order.
fn without(all: &[Item], others: &[Item]) -> Vec<Item> {
    let mut left: HashMap<&Item, usize> = HashMap::new();
    for item in others {
        let count = left.entry(item).or_default();
        *count = count.saturating_add(1);
    }
    let is_missing = |item: &&Item| match left.get_mut(*item) {
        Some(count) if *count > 0 => {
            *count = count.saturating_sub(1);
            false
        }
        _ => true,
    };
    all.iter().filter(is_missing).cloned().collect()
}

fn listed(items: &[Item]) -> String {
    let mut named: Vec<_> = items.iter().take(MAX_NAMED).map(in_words).collect();
    let more = items.len().saturating_sub(MAX_NAMED);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    named.join(", ")
}

fn in_words(item: &Item) -> String {
    if item.kind == X509 {
        return match authority::describe(&item.data) {
            Ok(certificate) => {
                let digest = Hash::Sha256.digest(&item.data);
                let start = digest.as_ref().get(..SHOWN_DIGEST_BYTES);
                let start = hex::encode(start.unwrap_or_default());
                format!("{} (certificate {start}…)", certificate.subject)
            }
            Err(_) => format!("{} bytes that are no certificate", item.data.len()),
        };
    }
    let kind = signature_list::type_name(item.kind);
    let kind = kind.map_or_else(|| item.kind.to_string(), str::to_owned);
    let shown = item.data.get(..32).unwrap_or(&item.data);
    format!("{kind} {}", hex::encode(shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firmware::guid;

    /// Lists of one digest each: a letter is the digest's bytes; upper case is Microsoft's.
    fn content(letters: &str) -> Vec<u8> {
        let list = |letter: char| {
            let owner = if letter.is_uppercase() {
                guid::MICROSOFT
            } else {
                Uuid::nil()
            };
            let digest = [letter.to_ascii_lowercase() as u8; 32];
            SignatureList::new(signature_list::SHA256, owner, [&digest[..]]).unwrap()
        };
        letters
            .chars()
            .flat_map(|letter| list(letter).to_bytes())
            .collect()
    }

    fn digest(letter: char) -> String {
        format!("SHA-256 {}", hex::encode([letter as u8; 32]))
    }

    #[test]
    fn what_is_added_removed_moved_or_given_another_owner_is_said() {
        let (a, b, c) = (digest('a'), digest('b'), digest('c'));
        let microsoft = "77fa9abd-0359-4d32-bd60-28f4e78f784b (Microsoft)";
        let nobody = Uuid::nil();
        for (configured, guests, expected) in [
            ("a", "ab", vec![format!("it has in addition {b}")]),
            ("ab", "b", vec![format!("it lacks {a}")]),
            (
                "ab",
                "bc",
                vec![format!("it has in addition {c}"), format!("it lacks {a}")],
            ),
            (
                "ab",
                "ba",
                vec![format!(
                    "its order is {b}, {a}; the configuration's is {a}, {b}"
                )],
            ),
            (
                "ab",
                "Ab",
                vec![format!(
                    "{a} stands there under the owner {microsoft}, not {nobody}"
                )],
            ),
            (
                "abc",
                "bacA",
                vec![
                    format!("it has in addition {a}"),
                    format!("its order is {b}, {a}, {c}; the configuration's is {a}, {b}, {c}"),
                ],
            ),
            ("a", "aa", vec![format!("it has in addition {a}")]),
        ] {
            assert_eq!(
                changes(&content(configured), &content(guests)),
                expected,
                "{configured} {guests}"
            );
        }
    }

    #[test]
    fn many_entries_are_counted() {
        let said = changes(&content("a"), &content("abcdefghijk"));
        assert!(said[0].ends_with(", 6 more"), "{said:?}");
    }

    #[test]
    fn contents_that_are_no_lists_or_empty_are_told_apart() {
        let one = content("a");
        let said = |configured: &[u8], guests: &[u8]| changes(configured, guests).join("; ");
        assert_eq!(
            said(&one, &[]),
            "it is empty, the configuration has 76 bytes"
        );
        assert_eq!(said(&[], &one), "it has 76 bytes, the configuration none");
        assert_eq!(
            said(&one, &one[..75]),
            "the guest's content: the signature list at offset 0 claims 76 bytes, but only 75 are left"
        );
        assert_eq!(
            said(&[1], &one),
            "the configuration's content is no sequence of signature lists"
        );
        let (a, b) = (&[b'a'; 32][..], &[b'b'; 32][..]);
        let both = SignatureList::new(signature_list::SHA256, Uuid::nil(), [a, b]).unwrap();
        assert_eq!(
            said(&content("ab"), &both.to_bytes()),
            "the entries and their order are equal, and cut into lists otherwise"
        );
    }
}
