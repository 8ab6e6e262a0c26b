//! A token of a LUKS2 header: its JSON, or one of the TPM structures in it, as the first byte says.
//!
//! | first byte modulo 3 | the rest |
//! | --- | --- |
//! | 0 | the token's JSON |
//! | 1 | the blob of a token that is sound otherwise |
//! | 2 | the persistent SRK of such a token |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyobject::systemd_tpm2::{TOKEN_TYPE, Tpm2Token};
use keyobject::{RECOVERY_TOKEN_TYPE, RecoveryToken};
use luks2::Token;
use tpm::{Cursor, Public};

use super::told;

/// The blob of a token by systemd-cryptenroll.
const BLOB: &[u8] = include_bytes!("../bases/systemd-blob");

pub fn run(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else {
        return false;
    };
    match kind % 3 {
        0 => std::str::from_utf8(bytes).is_ok_and(|json| parsed(json).is_some()),
        1 => {
            let Some(policy) = policy(bytes) else {
                return parsed(&json(bytes, &[0; 32], None)).is_some();
            };
            let Some(token) = parsed(&json(bytes, &policy, None)) else {
                return false;
            };
            let mut parts = Vec::new();
            for part in [
                &token.object.private,
                &token.object.public.to_bytes(),
                &token.object.seed,
            ] {
                parts.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                parts.extend(part);
            }
            assert!(bytes.starts_with(&parts));
            true
        }
        _ => {
            let token = parsed(&json(BLOB, &policy(BLOB).unwrap(), Some(bytes)));
            let Some(srk) = token.map(|token| token.srk.unwrap()) else {
                return false;
            };
            assert!(bytes.starts_with(&srk.handle.to_be_bytes()));
            let area = srk.public.to_sized_bytes();
            assert!(bytes.windows(area.len()).any(|window| window == area));
            true
        }
    }
}

/// The policy of the object in a blob.
fn policy(blob: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(blob);
    cursor.sized("private").ok()?;
    let public = Public::read(&mut Cursor::new(cursor.sized("public").ok()?)).ok()?;
    Some(public.auth_policy)
}

fn json(blob: &[u8], policy: &[u8], srk: Option<&[u8]>) -> String {
    let policy: String = policy
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat();
    let srk = srk.map(|srk| format!(",\"tpm2_srk\":\"{}\"", STANDARD.encode(srk)));
    format!(
        "{{\"tpm2-blob\":\"{}\",\"tpm2-pcrs\":[7],\"tpm2-policy-hash\":\"{policy}\"{}}}",
        STANDARD.encode(blob),
        srk.unwrap_or_default()
    )
}

fn parsed(json: &str) -> Option<Tpm2Token> {
    let mut token = Token {
        number: 0,
        kind: TOKEN_TYPE.to_owned(),
        keyslots: vec![1],
        json: json.to_owned(),
    };
    let parsed = match Tpm2Token::parse(&token) {
        Ok(parsed) => {
            let parsed = parsed.unwrap();
            assert_eq!(parsed.keyslot, 1);
            assert_eq!(parsed.object.public.auth_policy, parsed.policy);
            assert!(parsed.pcrs.iter().all(|pcr| *pcr < 24));
            Some(parsed)
        }
        Err(error) => {
            told(&error);
            None
        }
    };
    RECOVERY_TOKEN_TYPE.clone_into(&mut token.kind);
    assert_eq!(RecoveryToken::parse(&token).unwrap().keyslot, Some(1));
    parsed
}
