//! The mark: a token in the LUKS2 header that says how far a conversion is.
//!
//! The header copy that counts holds the boundary: in the filesystem's own offsets, everything from it on is converted,
//! everything below is plain. Programs that do not know the requirement beside it leave the container alone.
//!
//! Numbers are decimal digits in strings, as LUKS2 writes 64 bits; all have their full length, so that the text has the
//! same length at every boundary.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::{Facts, Sha256};
use base::number::fitting;
use luks2::{HEAD_BYTES, Metadata, SectorSize, Token};

/// The requirement of a half-converted container: cryptsetup shows the header and tries keys, and neither opens nor
/// changes it (2.6.1).
pub const REQUIREMENT: &str = "eci-in-place-v1";

/// The token's type.
pub const TOKEN_TYPE: &str = "eci-in-place";

/// How far a conversion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Which conversion.
    pub facts: Facts,
    /// Where the plain bytes end, in the filesystem's offsets.
    pub boundary_bytes: u64,
    /// SHA-256 of the chunk behind the boundary, which was converted last.
    pub last_sha256: Sha256,
}

#[derive(Serialize, Deserialize)]
struct Text {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    partition: String,
    partition_bytes: String,
    filesystem_bytes: String,
    header_bytes: String,
    chunk_bytes: String,
    sector_bytes: u32,
    tail_sha256: String,
    boundary_bytes: String,
    last_sha256: String,
}

impl Mark {
    /// The token's JSON.
    #[expect(
        clippy::expect_used,
        reason = "an error in the program: texts and one number are JSON"
    )]
    pub fn to_json(self) -> String {
        let facts = self.facts;
        let digits = |number: u64| format!("{number:020}");
        let text = Text {
            kind: TOKEN_TYPE.to_owned(),
            keyslots: Vec::new(),
            partition: facts.partition.to_string(),
            partition_bytes: digits(facts.partition_bytes),
            filesystem_bytes: digits(facts.filesystem_bytes),
            header_bytes: digits(HEAD_BYTES),
            chunk_bytes: digits(facts.chunk_bytes),
            sector_bytes: fitting(facts.sector_size.bytes()),
            tail_sha256: hex::encode(facts.tail_sha256),
            boundary_bytes: digits(self.boundary_bytes),
            last_sha256: hex::encode(self.last_sha256),
        };
        serde_json::to_string(&text).expect("BUG: a token that is no JSON")
    }

    /// The token's number and what it says; `None` where there is none that this program would have written.
    pub fn of(metadata: &Metadata) -> Option<(u32, Self)> {
        let token = metadata
            .tokens
            .iter()
            .find(|token| token.kind == TOKEN_TYPE)?;
        Some((token.number, Self::parse(token)?))
    }

    fn parse(token: &Token) -> Option<Self> {
        let text: Text = serde_json::from_str(&token.json).ok()?;
        let digest = |text: &str| {
            let mut digest = [0; 32];
            hex::decode_to_slice(text, &mut digest).ok()?;
            Some(digest)
        };
        let facts = Facts {
            partition: Uuid::parse_str(&text.partition).ok()?,
            partition_bytes: text.partition_bytes.parse().ok()?,
            filesystem_bytes: text.filesystem_bytes.parse().ok()?,
            chunk_bytes: text.chunk_bytes.parse().ok()?,
            sector_size: SectorSize::from_bytes(text.sector_bytes)?,
            tail_sha256: digest(&text.tail_sha256)?,
        };
        let boundary_bytes = text.boundary_bytes.parse().ok()?;
        let header_bytes: u64 = text.header_bytes.parse().ok()?;
        let is_ours = facts.are_sound()
            && header_bytes == HEAD_BYTES
            && facts.last_chunk_end_bytes(boundary_bytes).is_some();
        is_ours.then_some(Self {
            facts,
            boundary_bytes,
            last_sha256: digest(&text.last_sha256)?,
        })
    }
}

/// True for the header of a half-converted container.
pub fn is_half_converted(metadata: &Metadata) -> bool {
    metadata.requirements.iter().any(|name| name == REQUIREMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(boundary_bytes: u64) -> Mark {
        Mark {
            facts: Facts {
                partition: Uuid::from_u128(7),
                partition_bytes: 100 << 20,
                filesystem_bytes: 40 << 20,
                chunk_bytes: 16 << 20,
                sector_size: SectorSize::S4096,
                tail_sha256: [1; 32],
            },
            boundary_bytes,
            last_sha256: [2; 32],
        }
    }

    fn token(json: String) -> Token {
        Token {
            number: 1,
            kind: TOKEN_TYPE.to_owned(),
            keyslots: Vec::new(),
            json,
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written_and_has_one_length() {
        let texts = [40 << 20, 8 << 20, 0].map(|boundary| {
            let mark = mark(boundary);
            assert_eq!(Mark::parse(&token(mark.to_json())), Some(mark));
            mark.to_json()
        });
        assert!(texts.iter().all(|text| text.len() == texts[0].len()));
    }

    #[test]
    fn a_boundary_that_no_chunk_ends_at_is_none() {
        for boundary in [41 << 20, 20 << 20, 512] {
            assert_eq!(Mark::parse(&token(mark(boundary).to_json())), None);
        }
        for (from, to) in [
            ("\"sector_bytes\":4096", "\"sector_bytes\":1024"),
            (
                "\"header_bytes\":\"000000000000",
                "\"header_bytes\":\"000000000001",
            ),
            ("\"tail_sha256\":\"01", "\"tail_sha256\":\"0"),
            ("\"partition\":\"0", "\"partition\":\"x"),
        ] {
            let json = mark(0).to_json();
            assert!(json.contains(from), "{json}");
            assert_eq!(Mark::parse(&token(json.replace(from, to))), None);
        }
    }
}
