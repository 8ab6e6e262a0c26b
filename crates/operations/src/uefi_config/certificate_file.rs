//! Certificates in files of their own, PEM or DER, as entries of a database.
//!
//! The owner, which PCR 7 measures and a certificate does not have, comes from the file's name
//! (`VARIABLE-GUID-NAME.pem`, as `virt-fw-vars --extract-certs` writes it), else from the caller, else it is
//! Microsoft's for a certificate that Microsoft publishes. That last one is a guess: Google's machines have
//! Microsoft's certificates under an owner of Google's.

use std::path::Path;

use base64::Engine as _;
use uuid::Uuid;

use super::{Error, Options};
use firmware::{SignatureList, authority, guid};

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// True where a file holds a certificate in PEM.
pub(super) fn is_pem(content: &[u8]) -> bool {
    content
        .windows(PEM_BEGIN.len())
        .any(|window| window == PEM_BEGIN.as_bytes())
}

/// What the first block of PEM in a file is called; `None` where there is none.
fn pem_label(content: &[u8]) -> Option<String> {
    const BEGIN: &str = "-----BEGIN ";
    let text = std::str::from_utf8(content).ok()?;
    let (_, behind) = text.split_once(BEGIN)?;
    let (label, _) = behind.split_once("-----")?;
    let is_label = label
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_uppercase() || byte.is_ascii_digit());
    (is_label && label.len() <= 40).then(|| label.to_owned())
}

/// One list for each certificate of a file, in their order. `after_variable` is the file's name without the
/// variable and the dash.
pub(super) fn lists(
    path: &Path,
    after_variable: &str,
    content: &[u8],
    options: &Options,
) -> Result<Vec<SignatureList>, Error> {
    if content.is_empty() {
        return Err(Error::EmptyCertificateFile {
            path: path.to_owned(),
        });
    }
    if let (false, Some(label)) = (is_pem(content), pem_label(content)) {
        return Err(Error::OtherPem {
            path: path.to_owned(),
            label,
        });
    }
    let certificates = if is_pem(content) {
        pem(content).ok_or_else(|| Error::Pem {
            path: path.to_owned(),
        })?
    } else {
        vec![content.to_vec()]
    };
    let mut lists = Vec::new();
    for certificate in certificates {
        let path = || path.to_owned();
        let described =
            authority::describe(&certificate).map_err(|problem| Error::Certificate {
                path: path(),
                problem,
            })?;
        let microsoft = authority::microsoft(&certificate).map(|_| guid::MICROSOFT);
        let owner = owner_in_name(after_variable)
            .or(options.certificate_owner)
            .or(microsoft);
        let subject = described.subject;
        let owner = owner.ok_or_else(|| Error::NoOwner {
            path: path(),
            subject,
        })?;
        let list = SignatureList::x509(owner, &certificate);
        lists.push(list.map_err(|problem| Error::List {
            path: path(),
            problem,
        })?);
    }
    Ok(lists)
}

/// The GUID at the start of a name, with a dash or a dot behind it.
pub(super) fn owner_in_name(after_variable: &str) -> Option<Uuid> {
    let (guid, rest) = after_variable.split_at_checked(36)?;
    Uuid::try_parse(guid)
        .ok()
        .filter(|_| rest.starts_with(['-', '.']))
}

/// The certificates of a PEM file; other blocks and text between them are passed over.
fn pem(content: &[u8]) -> Option<Vec<Vec<u8>>> {
    let text = std::str::from_utf8(content).ok()?;
    let blocks = text.split(PEM_BEGIN).skip(1);
    blocks
        .map(|block| {
            let (body, _) = block.split_once(PEM_END)?;
            let body: String = body.split_ascii_whitespace().collect();
            base64::engine::general_purpose::STANDARD.decode(body).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_stands_at_the_start_of_the_name() {
        let guid = guid::MICROSOFT;
        assert_eq!(owner_in_name(&format!("{guid}-Name.pem")), Some(guid));
        assert_eq!(owner_in_name(&format!("{guid}.pem")), Some(guid));
        for other in [
            format!("{guid}x.pem"),
            format!("x-{guid}.pem"),
            "1.pem".to_owned(),
        ] {
            assert_eq!(owner_in_name(&other), None, "{other}");
        }
    }

    #[test]
    fn blocks_of_pem_are_taken_in_order() {
        let text =
            format!("junk\n{PEM_BEGIN}\r\nAA\r\n==\r\n{PEM_END}\nmore\n{PEM_BEGIN}AQI=\n{PEM_END}");
        assert_eq!(pem(text.as_bytes()), Some(vec![vec![0], vec![1, 2]]));
        assert_eq!(pem(format!("{PEM_BEGIN}AA==").as_bytes()), None);
        assert_eq!(pem(format!("{PEM_BEGIN}A{PEM_END}").as_bytes()), None);
        assert!(!is_pem(b"-----BEGIN PRIVATE KEY-----"));
        let label = |text: &str| pem_label(text.as_bytes());
        assert_eq!(
            label("x\n-----BEGIN EC PRIVATE KEY-----\nAA"),
            Some("EC PRIVATE KEY".to_owned())
        );
        assert_eq!(label("-----BEGIN \u{1b}[2J-----"), None);
        assert_eq!(label("-----BEGIN X"), None);
    }
}
