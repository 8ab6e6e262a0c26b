//! The LUKS2 token that says of a container that its unlock key is being replaced.
//!
//! Of type `eci-reseal`, a type of this project's own that no reader asks for; it has no member but those that every
//! token has. It names the keyslots of which the sealed key on the EFI system partition opens one, nobody knows which:
//! the old keyslot, the new one, and those of earlier runs that were interrupted. It is there while both are.

use serde_json::json;

use luks2::Token;

/// The token's type.
pub const TOKEN_TYPE: &str = "eci-reseal";

/// The token's JSON.
pub fn token(keyslots: &[u32]) -> String {
    let keyslots: Vec<String> = keyslots.iter().map(u32::to_string).collect();
    json!({"type": TOKEN_TYPE, "keyslots": keyslots}).to_string()
}

/// The keyslots that such tokens name, each once; none where no replacement was begun.
pub fn keyslots(tokens: &[Token]) -> Vec<u32> {
    let tokens = tokens.iter().filter(|token| token.kind == TOKEN_TYPE);
    let mut keyslots: Vec<u32> = tokens.flat_map(|token| token.keyslots.clone()).collect();
    keyslots.sort_unstable();
    keyslots.dedup();
    keyslots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_names_its_keyslots_and_nothing_else() {
        assert_eq!(
            token(&[0, 2]),
            r#"{"type":"eci-reseal","keyslots":["0","2"]}"#
        );
    }
}
