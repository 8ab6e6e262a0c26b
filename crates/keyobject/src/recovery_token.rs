//! The LUKS2 token that says of a keyslot that it takes the recovery key.
//!
//! Of type `ubuntu-fde-recovery`, with the name of the key in `ubuntu_fde_name`; it has no version and no
//! other member. Newer readers ask for a recovery key only where such a token names exactly one keyslot. No
//! two names in a container may be equal.

use serde_json::{Value, json};

use luks2::Token;

/// The token's type.
pub const RECOVERY_TOKEN_TYPE: &str = "ubuntu-fde-recovery";
/// The name that the first recovery key of a container has by convention.
pub const RECOVERY_KEY_NAME: &str = "default-recovery";
const NAME: &str = "ubuntu_fde_name";

/// The token's JSON for `keyslot`, with the conventional name.
pub fn recovery_token(keyslot: u32) -> String {
    json!({"type": RECOVERY_TOKEN_TYPE, "keyslots": [keyslot.to_string()], NAME: RECOVERY_KEY_NAME})
        .to_string()
}

/// A token that names a recovery keyslot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryToken {
    /// The keyslot; none where the token names none, or several.
    pub keyslot: Option<u32>,
    /// The name of the recovery key; none where the member is missing, empty or no text.
    pub name: Option<String>,
}

impl RecoveryToken {
    /// What `token` says; `None` where it is of another type.
    pub fn parse(token: &Token) -> Option<Self> {
        if token.kind != RECOVERY_TOKEN_TYPE {
            return None;
        }
        let json: Value = serde_json::from_str(&token.json).unwrap_or_default();
        let name = json.get(NAME).and_then(Value::as_str);
        Some(Self {
            keyslot: match token.keyslots[..] {
                [keyslot] => Some(keyslot),
                _ => None,
            },
            name: name.filter(|name| !name.is_empty()).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str, keyslots: &[u32]) -> Option<RecoveryToken> {
        RecoveryToken::parse(&Token {
            number: 0,
            kind: RECOVERY_TOKEN_TYPE.to_owned(),
            keyslots: keyslots.to_vec(),
            json: json.to_owned(),
        })
    }

    #[test]
    fn the_token_has_the_readers_members_and_no_others() {
        let json = recovery_token(1);
        assert_eq!(
            json,
            r#"{"type":"ubuntu-fde-recovery","keyslots":["1"],"ubuntu_fde_name":"default-recovery"}"#
        );
        let token = parse(&json, &[1]).unwrap();
        assert_eq!(token.keyslot, Some(1));
        assert_eq!(token.name.as_deref(), Some(RECOVERY_KEY_NAME));
    }

    #[test]
    fn a_token_without_one_keyslot_or_a_name_names_nothing() {
        let nameless = r#"{"ubuntu_fde_name":""}"#;
        assert_eq!(
            parse(nameless, &[]),
            Some(RecoveryToken {
                keyslot: None,
                name: None
            })
        );
        assert_eq!(parse("{}", &[1, 2]).unwrap().keyslot, None);
        let mut other = Token {
            number: 0,
            kind: "ubuntu-fde".to_owned(),
            keyslots: vec![1],
            json: "{}".to_owned(),
        };
        assert_eq!(RecoveryToken::parse(&other), None);
        other.kind = RECOVERY_TOKEN_TYPE.to_owned();
        assert!(RecoveryToken::parse(&other).is_some());
    }
}
