//! A recovery key in systemd's own form, and the LUKS2 token that says of a keyslot that it takes one.
//!
//! The key is 32 random bytes as 64 letters, one for each half byte, the higher half first: the letters `cbdefghijklnrtuv`
//! stand for 0 to 15, and lie at the same places on most keyboards. Eight groups of eight are joined by `-`. The text of 71
//! bytes is the keyslot's passphrase; systemd's prompt takes it with and without the dashes.

use serde_json::json;
use zeroize::Zeroizing;

use base::secret::{Entropy, EntropyError, SecretBytes};

/// The token's type.
pub const TOKEN_TYPE: &str = "systemd-recovery";

const KEY_BYTES: usize = 32;
/// Letters and dashes of a key.
const TEXT_BYTES: usize = 71;
const LETTERS: &[u8; 16] = b"cbdefghijklnrtuv";

/// Makes a new key: its text.
pub fn random(entropy: &mut dyn Entropy) -> Result<Zeroizing<String>, EntropyError> {
    Ok(text(&SecretBytes::random(entropy, KEY_BYTES)?))
}

fn text(key: &SecretBytes) -> Zeroizing<String> {
    // One buffer that never grows: nothing of it stays in memory.
    let mut text = Zeroizing::new(String::with_capacity(TEXT_BYTES));
    for (index, byte) in key.expose().iter().enumerate() {
        if index > 0 && index % 4 == 0 {
            text.push('-');
        }
        for half in [byte >> 4, byte & 15] {
            text.push(char::from(LETTERS[usize::from(half)]));
        }
    }
    text
}

/// The token's JSON for `keyslot`.
pub fn token(keyslot: u32) -> String {
    json!({"type": TOKEN_TYPE, "keyslots": [keyslot.to_string()]}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_systemds_form() {
        let key = SecretBytes::new((0..32).map(|number| number * 8 + 1).collect());
        let text = text(&key);
        assert_eq!(
            &*text,
            "cbckbbbk-dbdkebek-fbfkgbgk-hbhkibik-jbjkkbkk-lblknbnk-rbrktbtk-ubukvbvk"
        );
        assert_eq!(text.len(), TEXT_BYTES);
        assert_eq!(text.capacity(), TEXT_BYTES);
    }

    #[test]
    fn the_token_names_its_keyslot_and_nothing_else() {
        assert_eq!(token(2), r#"{"type":"systemd-recovery","keyslots":["2"]}"#);
    }
}
