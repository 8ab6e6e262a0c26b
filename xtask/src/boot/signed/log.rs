//! Event logs: the events of PCR 4 and 7 in one, and what it says of authorities.

use anyhow::{Context as _, Result, ensure};

use crate::process;
use crate::tpm::Extend;

const EV_EFI_VARIABLE_AUTHORITY: u32 = 0x8000_00e0;

/// An event of a log that has the SHA-256 bank alone.
pub struct Event {
    pub pcr: u32,
    pub kind: u32,
    pub digest: String,
    pub data: Vec<u8>,
}

impl Event {
    pub fn as_extend(&self) -> Extend {
        Extend {
            pcr: self.pcr.into(),
            digest: self.digest.clone(),
        }
    }

    /// The variable that an authority was found in, and its entry.
    pub fn authority(&self) -> Option<(String, &[u8])> {
        if self.kind != EV_EFI_VARIABLE_AUTHORITY {
            return None;
        }
        // UEFI_VARIABLE_DATA: GUID, lengths of name and data, name, data.
        let units = u64::from_le_bytes(self.data.get(16..24)?.try_into().ok()?);
        let units = usize::try_from(units).ok()?;
        let (name, entry) = self.data.get(32..)?.split_at_checked(2 * units)?;
        let name = name.iter().step_by(2).map(|byte| char::from(*byte));
        Some((name.collect(), entry))
    }
}

/// The events of PCR 4 and 7.
pub fn events(log: &[u8]) -> Result<Vec<Event>> {
    let mut rest = log;
    let mut take = |count: usize| -> Result<&[u8]> {
        let (taken, left) = rest.split_at_checked(count).context("the log is cut off")?;
        rest = left;
        Ok(taken)
    };
    let number = |bytes: &[u8]| Ok::<_, anyhow::Error>(u32::from_le_bytes(bytes.try_into()?));
    // The first event has the form of TPM 1.2.
    take(8 + 20)?;
    let length = number(take(4)?)?;
    take(usize::try_from(length)?)?;
    let mut all = Vec::new();
    while let Ok(pcr) = take(4) {
        let pcr = number(pcr)?;
        let kind = number(take(4)?)?;
        ensure!(
            take(6)? == [1, 0, 0, 0, 0x0b, 0],
            "the log has not the SHA-256 bank alone"
        );
        let digest = process::hex(take(32)?);
        let length = number(take(4)?)?;
        let data = take(usize::try_from(length)?)?.to_vec();
        if pcr == 4 || pcr == 7 {
            all.push(Event {
                pcr,
                kind,
                digest,
                data,
            });
        }
    }
    Ok(all)
}
