//! Signature lists, as db and dbx hold them: UEFI 2.10 section 32.4.1.

use anyhow::{Result, bail};

use super::cases::Entry;
use super::pki::{Hash, Workshop};
use super::program;

/// Types of lists, as they lie in memory.
pub const X509: [u8; 16] = *b"\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72";
pub const SHA224: [u8; 16] = *b"\x33\x52\x6e\x0b\x5c\xa6\xc9\x44\x94\x07\xd9\xab\x83\xbf\xc8\xbd";
pub const RSA2048: [u8; 16] = *b"\xe8\x66\x57\x3c\x9c\x26\x34\x4e\xaa\x14\xed\x77\x6e\x85\xb3\xb6";
pub const EXTERNAL: [u8; 16] = *b"\xed\x8c\x2e\x45\xff\xdf\x8c\x4b\xae\x01\x51\x18\x86\x2e\x68\x2c";
const SHA1: [u8; 16] = *b"\x12\xa5\x6c\x82\x10\xcf\xc9\x4a\xb1\x87\xbe\x01\x49\x66\x31\xbd";
const SHA256: [u8; 16] = *b"\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28";
const SHA384: [u8; 16] = *b"\x07\x53\x3e\xff\xd0\x9f\xc9\x48\x85\xf1\x8a\xd5\x6c\x70\x1e\x01";
const SHA512: [u8; 16] = *b"\xae\x0f\x3e\x09\xc4\xa6\x50\x4f\x9f\x1b\xd4\x1e\x2b\x89\xc1\x9a";
const X509_SHA256: [u8; 16] = *b"\x92\xa4\xd2\x3b\xc0\x96\x79\x40\xb4\x20\xfc\xf9\x8e\xf1\x03\xed";
const X509_SHA384: [u8; 16] = *b"\x6e\x87\x76\x70\xc2\x80\xe6\x4e\xaa\xd2\x28\xb3\x49\xa6\x86\x5b";
const X509_SHA512: [u8; 16] = *b"\x63\xbf\x6d\x44\x02\x25\xda\x4c\xbc\xfa\x24\x65\xd2\xb0\xfe\x9d";

/// Owner of all entries.
const OWNER: [u8; 16] = *b"test only, eci-b";

/// The lists of entries, each in one of its own; `program` is that whose digest they may hold.
pub fn database(workshop: &Workshop, entries: &[Entry], program: &[u8]) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for entry in entries {
        let (kind, data) = match entry {
            Entry::Certificate(certificate) => (X509, certificate.der.clone()),
            Entry::Pair(one, other) => {
                all.extend(list_of(X509, &[&one.der, &other.der]));
                continue;
            }
            Entry::Revoked(hash, certificate, time) => {
                let kind = match hash {
                    Hash::Sha1 => bail!("BUG: no list has such digests by SHA-1"),
                    Hash::Sha256 => X509_SHA256,
                    Hash::Sha384 => X509_SHA384,
                    Hash::Sha512 => X509_SHA512,
                };
                let digest = workshop.digest(*hash, &certificate.tbs)?;
                (kind, [&digest[..], time].concat())
            }
            Entry::Program(hash) => {
                let kind = match hash {
                    Hash::Sha1 => SHA1,
                    Hash::Sha256 => SHA256,
                    Hash::Sha384 => SHA384,
                    Hash::Sha512 => SHA512,
                };
                (kind, program::digest(workshop, *hash, program)?)
            }
            Entry::Other(kind, data) => (*kind, data.clone()),
        };
        all.extend(list(kind, &data));
    }
    Ok(all)
}

/// A signature list of one entry.
pub fn list(kind: [u8; 16], data: &[u8]) -> Vec<u8> {
    list_of(kind, &[data])
}

/// A signature list of several entries, each with zeros behind it where another one is longer.
fn list_of(kind: [u8; 16], entries: &[&[u8]]) -> Vec<u8> {
    let data_bytes = entries.iter().map(|data| data.len()).max().unwrap_or(0);
    let entries = entries.iter().map(|data| {
        let padding = vec![0; data_bytes - data.len()];
        [&OWNER[..], data, &padding].concat()
    });
    let entries = entries.collect::<Vec<_>>().concat();
    let word = |number: usize| {
        u32::try_from(number)
            .expect("BUG: a small list")
            .to_le_bytes()
    };
    let sizes = [word(28 + entries.len()), word(0), word(16 + data_bytes)];
    [&kind[..], sizes.as_flattened(), &entries].concat()
}
