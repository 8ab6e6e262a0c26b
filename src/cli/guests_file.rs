//! The file of `provision --guests`: a guest a line, as JSON. Its form is docs/schemas/guests-1.json.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::deploy_files::Files;
use super::message::Failure;
use crate::provision::deploy::RecoverySource;
use crate::provision::uefi_config::Source;

/// The longest file that is read: some hundred thousand guests.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A guest.
pub struct Guest {
    /// Its line, from 1.
    pub line: usize,
    /// Where its image goes.
    pub output: PathBuf,
    /// Public area of its SRK.
    pub srk_pub: PathBuf,
    /// Unique data of that.
    pub unique_data: Option<PathBuf>,
    /// What describes its firmware, where it is said here.
    pub firmware: Option<Source>,
    /// Its recovery key.
    pub recovery: Option<RecoverySource>,
    /// Where its report goes.
    pub report: Option<PathBuf>,
}

/// A line as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    output: PathBuf,
    srk_pub: PathBuf,
    srk_template_unique_data: Option<PathBuf>,
    uefi_config: Option<PathBuf>,
    ovmf_vars: Option<PathBuf>,
    az_disk_profile: Option<PathBuf>,
    recovery_key_file: Option<PathBuf>,
    recovery_key_out: Option<PathBuf>,
    report: Option<PathBuf>,
}

/// Reads the guests, and refuses a file in which two of them would write one file, or one what another reads. `files` are
/// those of the command line, to which those of the guests are added.
pub fn read(path: &Path, files: &mut Files) -> Result<Vec<Guest>, Failure> {
    let failed = |error: anyhow::Error| Failure::new(error, None).about(Some(path));
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    read.map_err(|error| failed(anyhow::Error::new(error).context("cannot read the guests")))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        let what = anyhow::anyhow!("the file is longer than {MAX_FILE_BYTES} bytes");
        let hint = "split it; each run reads the source again".to_owned();
        return Err(Failure::new(what, Some(hint)).about(Some(path)));
    }
    let mut guests = Vec::new();
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() {
            continue;
        }
        let in_line = |what: String| failed(anyhow::anyhow!("line {number}: {what}"));
        let line: Line = serde_json::from_str(text).map_err(|error| in_line(told(&error)))?;
        line.write(number, files)?;
        guests.push(line.guest(number).map_err(in_line)?);
        lines.push((number, line));
    }
    for (number, line) in &lines {
        line.read(*number, files)?;
    }
    if guests.is_empty() {
        return Err(failed(anyhow::anyhow!("the file names no guest")));
    }
    Ok(guests)
}

/// What is wrong with a line, and at which column; every line is the first to the parser.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what} (column {})", error.column()),
        None => text,
    }
}

impl Line {
    fn guest(&self, line: usize) -> Result<Guest, String> {
        let firmware = [
            self.uefi_config.clone().map(Source::Json),
            self.ovmf_vars.clone().map(Source::OvmfVars),
            self.az_disk_profile.clone().map(Source::AzDiskProfile),
        ];
        let mut firmware = firmware.into_iter().flatten();
        let recovery = [
            self.recovery_key_file.clone().map(RecoverySource::File),
            self.recovery_key_out.clone().map(RecoverySource::New),
        ];
        let mut recovery = recovery.into_iter().flatten();
        let guest = Guest {
            line,
            output: self.output.clone(),
            srk_pub: self.srk_pub.clone(),
            unique_data: self.srk_template_unique_data.clone(),
            firmware: firmware.next(),
            recovery: recovery.next(),
            report: self.report.clone(),
        };
        if firmware.next().is_some() {
            return Err(
                "one of uefi_config, ovmf_vars and az_disk_profile describes a guest".into(),
            );
        }
        if recovery.next().is_some() {
            return Err("one of recovery_key_file and recovery_key_out goes with a guest".into());
        }
        for (member, path) in [
            ("output", Some(&guest.output)),
            ("report", guest.report.as_ref()),
        ] {
            if path.is_some_and(|path| path == Path::new("-")) {
                return Err(format!("{member} is a file; ./- is one of that name"));
            }
        }
        Ok(guest)
    }

    fn write(&self, line: usize, files: &mut Files) -> Result<(), Failure> {
        for (member, path) in [
            ("output", Some(&self.output)),
            ("recovery_key_out", self.recovery_key_out.as_ref()),
            ("report", self.report.as_ref()),
        ] {
            files.write(format!("{member} of line {line}").into(), path)?;
        }
        Ok(())
    }

    fn read(&self, line: usize, files: &mut Files) -> Result<(), Failure> {
        for (member, path) in [
            ("srk_pub", Some(&self.srk_pub)),
            (
                "srk_template_unique_data",
                self.srk_template_unique_data.as_ref(),
            ),
            ("uefi_config", self.uefi_config.as_ref()),
            ("ovmf_vars", self.ovmf_vars.as_ref()),
            ("az_disk_profile", self.az_disk_profile.as_ref()),
            ("recovery_key_file", self.recovery_key_file.as_ref()),
        ] {
            files.read(format!("{member} of line {line}").into(), path)?;
        }
        Ok(())
    }
}
