//! Tokens: objects that say how a keyslot's key is found (LUKS2 On-Disk Format, section 3.5).
//!
//! A [`Token`] is its text and the few members that every token has. [`ClearKeyToken`] is the one that this
//! room understands: the key of keyslot 0, lying open in the header of an image that is encrypted but
//! not deployed yet.
//!
//! Its type is `ubuntu-fde-cloudimg-key`; readers find it by that type, never by its number. cryptsetup
//! prints the type and does nothing with it. Removing the token, from both header copies, is what makes the
//! image confidential.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Error;
use super::json::Object;
use super::refusal::Refusal;
use base::secret::SecretBytes;

/// Tokens are numbered from 0 to 31 in what this program writes.
pub(crate) const LAST_NUMBER: u32 = 31;

/// A token. Its text can hold a key, so it has no `Debug`.
#[derive(Clone)]
pub struct Token {
    /// Its number, the name of its member.
    pub number: u32,
    /// Its type.
    pub kind: String,
    /// The keyslots that it belongs to.
    pub keyslots: Vec<u32>,
    /// Its text as it stands in the metadata.
    pub json: String,
}

impl Token {
    pub(crate) fn parse(
        number: u32,
        json: &str,
        object: &Object,
        keyslots: &[u32],
    ) -> Result<Self, Refusal> {
        Ok(Self {
            number,
            kind: object.name("type")?,
            keyslots: object.references("keyslots", "keyslot", keyslots)?,
            json: json.to_owned(),
        })
    }
}

/// The unlock key of an image that is not deployed, as a LUKS2 token.
#[derive(Clone)]
pub struct ClearKeyToken {
    /// The keyslots that the key opens: `[0]` in everything that this program writes.
    pub keyslots: Vec<u32>,
    /// The key: the bytes of the passphrase themselves.
    pub key: SecretBytes,
}

impl ClearKeyToken {
    /// The token's type.
    pub const TYPE: &'static str = "ubuntu-fde-cloudimg-key";
    const KEY: &'static str = "ubuntu_fde_cloudimg_key";

    /// The token's JSON: members `keyslots`, `type`, `ubuntu_fde_cloudimg_key` in that order, the key in
    /// base64 with padding.
    pub fn to_json(&self) -> String {
        let keyslots: Vec<String> = self.keyslots.iter().map(u32::to_string).collect();
        let key = STANDARD.encode(self.key.expose());
        json!({"keyslots": keyslots, "type": Self::TYPE, Self::KEY: key}).to_string()
    }

    /// The clear key in `token`; `None` where the token is of another type.
    ///
    /// Fails with [`Error::Missing`] or [`Error::Value`] where it has the type but no key in base64.
    pub fn parse(token: &Token) -> Result<Option<Self>, Error> {
        if token.kind != Self::TYPE {
            return Ok(None);
        }
        let object = Object::outermost(&token.json)?;
        let path = || format!("tokens.{}.{}", token.number, Self::KEY);
        if object.text(Self::KEY).is_none() {
            return Err(Error::Missing { path: path() });
        }
        let text = object.string(Self::KEY).ok();
        let key = text.and_then(|text| STANDARD.decode(text).ok());
        let key = key.ok_or_else(|| Error::Value {
            path: path(),
            expected: "base64 text",
        })?;
        Ok(Some(Self {
            keyslots: token.keyslots.clone(),
            key: SecretBytes::new(key),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(json: &str) -> Token {
        Token {
            number: 3,
            kind: ClearKeyToken::TYPE.to_owned(),
            keyslots: vec![0],
            json: json.to_owned(),
        }
    }

    #[test]
    fn the_token_has_the_text_of_the_specification_and_is_read_again() {
        let key = SecretBytes::new((0x10..0x20).collect());
        let json = ClearKeyToken {
            keyslots: vec![0],
            key: key.clone(),
        }
        .to_json();
        assert_eq!(
            json,
            r#"{"keyslots":["0"],"type":"ubuntu-fde-cloudimg-key","ubuntu_fde_cloudimg_key":"EBESExQVFhcYGRobHB0eHw=="}"#
        );
        let read = ClearKeyToken::parse(&token(&json)).unwrap().unwrap();
        assert!(read.key == key && read.keyslots == [0]);
    }

    #[test]
    fn a_token_without_a_key_is_an_error_not_an_absence() {
        let message = |json| {
            ClearKeyToken::parse(&token(json))
                .err()
                .unwrap()
                .to_string()
        };
        assert_eq!(message("{}"), "tokens.3.ubuntu_fde_cloudimg_key is missing");
        for json in [
            r#"{"ubuntu_fde_cloudimg_key":"EBES "}"#,
            r#"{"ubuntu_fde_cloudimg_key":1}"#,
        ] {
            assert_eq!(
                message(json),
                "tokens.3.ubuntu_fde_cloudimg_key must be base64 text"
            );
        }
        let mut other = token("{}");
        other.kind = "other".to_owned();
        assert!(ClearKeyToken::parse(&other).unwrap().is_none());
    }
}
