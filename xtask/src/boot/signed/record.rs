//! What is kept of a boot: its programs and databases, and what it showed. `record.json` has all of it but the log, in the
//! form of `tests/data/signed`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::compare::Compared;
use super::log;
use super::machine::{Setting, Told};
use super::{Loader, Signed};

/// Keeps what a boot is made of.
pub fn setting(setting: &Setting, folder: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(folder);
    for (name, content) in &setting.files {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().context("BUG: no folder")?)?;
        fs::write(file, content)?;
    }
    let configuration = setting.configuration().to_string();
    fs::write(folder.join("uefi-config.json"), configuration)?;
    Ok(())
}

/// Keeps what the TPM saw.
pub fn log(told: &Told, folder: &Path) -> Result<()> {
    fs::write(folder.join("eventlog.bin"), &told.log)?;
    Ok(())
}

/// Keeps what was found out for each case: the digests of the authorities that were measured, and their roles.
pub fn compared(
    loader: Loader,
    setting: &Setting,
    told: &Told,
    found: &[(&Signed, &Compared)],
    folder: &Path,
) -> Result<()> {
    let cases = found.iter().map(|(case, one)| {
        serde_json::json!({
            "name": one.name,
            "program": BASE64_STANDARD.encode(&case.content),
            "accepted": one.is_accepted,
            "measured": one.measured,
            "digests": one.digests,
        })
    });
    let cases: Vec<_> = cases.collect();
    let events = log::events(&told.log)?;
    let events = events.iter().map(|event| (event.pcr, &event.digest));
    let events: Vec<_> = events.collect();
    let all = serde_json::json!({
        "loader": loader.name(),
        "configuration": setting.configuration(),
        "cases": cases,
        "events": events,
        "pcrs": {"4": told.pcrs[0], "7": told.pcrs[1]},
    });
    fs::write(folder.join("record.json"), format!("{all:#}\n"))?;
    Ok(())
}
