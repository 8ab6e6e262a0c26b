//! The file of `provision --guests`: a guest a line, as JSON. Its form is docs/schemas/guests-1.json.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::files::Files;
use crate::message::Failure;
use operations::deploy::RecoverySource;
use operations::uefi_config::Source;

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
    /// What describes its firmware, each that it may have; empty where it is not said here.
    pub firmware: Vec<Source>,
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
    #[serde(default)]
    uefi_config: Paths,
    #[serde(default)]
    ovmf_vars: Paths,
    #[serde(default)]
    az_disk_profile: Paths,
    recovery_key_file: Option<PathBuf>,
    recovery_key_out: Option<PathBuf>,
    report: Option<PathBuf>,
}

/// A path, or a list of them; none where it is not given.
#[derive(Default)]
struct Paths(Vec<PathBuf>);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrSeveral)
    }
}

struct OneOrSeveral;

impl<'de> Visitor<'de> for OneOrSeveral {
    type Value = Paths;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path or a list of paths")
    }

    fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<Paths, E> {
        Ok(Paths(vec![path.into()]))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Paths, E> {
        Ok(Paths::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Paths, A::Error> {
        let mut paths = Vec::new();
        while let Some(path) = list.next_element()? {
            paths.push(path);
        }
        if paths.is_empty() {
            return Err(serde::de::Error::invalid_length(0, &self));
        }
        Ok(Paths(paths))
    }
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
        let sources = |paths: &Paths, kind: fn(PathBuf) -> Source| -> Vec<Source> {
            paths.0.iter().cloned().map(kind).collect()
        };
        let firmware = [
            sources(&self.uefi_config, Source::Json),
            sources(&self.ovmf_vars, Source::OvmfVars),
            sources(&self.az_disk_profile, Source::AzDiskProfile),
        ];
        let mut firmware = firmware.into_iter().filter(|kind| !kind.is_empty());
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
            firmware: firmware.next().unwrap_or_default(),
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
            ("recovery_key_file", self.recovery_key_file.as_ref()),
        ] {
            files.read(format!("{member} of line {line}").into(), path)?;
        }
        for (member, paths) in [
            ("uefi_config", &self.uefi_config),
            ("ovmf_vars", &self.ovmf_vars),
            ("az_disk_profile", &self.az_disk_profile),
        ] {
            for path in &paths.0 {
                files.read(format!("{member} of line {line}").into(), Some(path))?;
            }
        }
        Ok(())
    }
}
