//! Public keys in the forms `pem` and `der` of `tpm2_readpublic`: a `SubjectPublicKeyInfo` (RFC 5280, section
//! 4.1.2.7), as DER or in a PEM block (RFC 7468) of type PUBLIC KEY.
//!
//! RSA keys of 2048 bits with the exponent 65537 and points on NIST P-256 are read. A file that is in
//! neither form is not an error here: it may be a public area.

use aws_lc_rs::rsa;
use base64::Engine as _;
use const_oid::db::{rfc5912, rfc5912::ID_EC_PUBLIC_KEY};
use der::Decode as _;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::Error;

/// A public key without anything that a TPM says of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// The exponent is 65537.
    Rsa { modulus: Vec<u8> },
    /// Coordinates of 32 bytes each.
    Ecc { x: Vec<u8>, y: Vec<u8> },
}

/// DER of any structure starts so; a public area starts with its type or, if that is 0x30.., is far shorter
/// than its length says.
const DER_SEQUENCE: u8 = 0x30;
const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

const fn unreadable(reason: &'static str) -> Error {
    Error::PublicKeyFile { reason }
}

/// The key in a file; `None` where the file is neither PEM nor DER.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<PublicKey>, Error> {
    if bytes.first() == Some(&DER_SEQUENCE) {
        return from_der(bytes).map(Some);
    }
    let text = std::str::from_utf8(bytes).ok();
    let block = text.and_then(|text| text.split_once(BEGIN));
    block.map_or(Ok(None), |(_, block)| from_der(&from_pem(block)?).map(Some))
}

/// The content of the first PEM block, of which `block` is what follows its `-----BEGIN `.
fn from_pem(block: &str) -> Result<Vec<u8>, Error> {
    let broken = unreadable("the PEM block is not whole");
    let (label, rest) = block.split_once(DASHES).ok_or(broken.clone())?;
    if label != "PUBLIC KEY" {
        let label = label.chars().take(40).flat_map(char::escape_debug);
        return Err(Error::PemLabel {
            label: label.collect(),
        });
    }
    let end = format!("-----END {label}-----");
    let (body, _) = rest.split_once(&end).ok_or(broken.clone())?;
    let body: String = body.split_ascii_whitespace().collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(body);
    decoded.map_err(|_| broken)
}

fn from_der(der: &[u8]) -> Result<PublicKey, Error> {
    let info = SubjectPublicKeyInfoRef::from_der(der);
    let info = info.map_err(|_| unreadable("it is no SubjectPublicKeyInfo in DER"))?;
    let algorithm = info.algorithm.oid;
    if algorithm == rfc5912::RSA_ENCRYPTION {
        return from_rsa(der);
    }
    let curve = info.algorithm.parameters;
    let curve = curve.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
    if algorithm != ID_EC_PUBLIC_KEY || curve != Some(rfc5912::SECP_256_R_1) {
        return Err(unreadable(
            "it must be an RSA key of 2048 bits or an ECC key on NIST P-256",
        ));
    }
    let point = info.subject_public_key.as_bytes();
    let numbers = point.and_then(|point| point.strip_prefix(&[4]));
    match numbers.and_then(|numbers| numbers.split_at_checked(32)) {
        Some((x, y)) if y.len() == 32 => Ok(PublicKey::Ecc {
            x: x.to_vec(),
            y: y.to_vec(),
        }),
        _ => Err(unreadable("its point is not in the uncompressed form")),
    }
}

fn from_rsa(der: &[u8]) -> Result<PublicKey, Error> {
    let key = rsa::PublicKey::from_der(der);
    let key = key.map_err(|_| unreadable("its RSA key is invalid"))?;
    if key.exponent().big_endian_without_leading_zero() != [1, 0, 1] {
        return Err(unreadable("its RSA exponent is not 65537"));
    }
    let modulus = key.modulus().big_endian_without_leading_zero().to_vec();
    Ok(PublicKey::Rsa { modulus })
}
