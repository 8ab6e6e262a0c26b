//! `create-uefi-config`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use crate::args::{Compat, CreateUefiConfig, SecureBoot};
use crate::files::Files;
use crate::message::{Failure, answer, say, warn};
use crate::signals;
use operations::uefi_config::{
    self, Database, Found, FoundLists, Loaded, Options, Output, Rules, Source,
};

/// Writes a guest's configuration and prints what it holds.
pub fn run(arguments: &CreateUefiConfig) -> Result<(), Failure> {
    let (source, out) = source_and_output(arguments);
    let options = Options {
        rules: match arguments.compat {
            Some(Compat::Reference) => Rules::Reference,
            None => Rules::Ours,
        },
        secure_boot_is_off: arguments.secure_boot == SecureBoot::Off,
        certificate_owner: arguments.certificate_owner,
        omits_ready_to_boot_event: arguments.omits_ready_to_boot_signal,
    };
    let is_answer = out.as_os_str() == "-";
    let output = Output {
        json: (!is_answer).then_some(out),
        databases: arguments.save_databases.clone(),
    };
    check_files(&source, &output)?;
    let failure = |error: uefi_config::Error| {
        let hint = error.hint();
        Failure::new(error.into(), hint)
    };
    let loaded = uefi_config::load_for(&output, &source, &options).map_err(failure)?;
    let write = || output.write(&loaded.config, options.rules);
    signals::held_unless(output.waits(), write).map_err(failure)?;
    warn(&loaded.warnings);
    let report = report(&loaded);
    // A configuration that is written to a pipe or terminal is the answer by itself.
    let json = output.json.as_ref();
    if json.is_some_and(|json| json.metadata().is_ok_and(|file| file.is_file())) {
        return answer(&report);
    }
    say(&report);
    if is_answer {
        answer(&loaded.config.to_json())?;
    }
    Ok(())
}

/// Refuses outputs that would be written over the source, or over each other.
fn check_files(source: &Source, output: &Output) -> Result<(), Failure> {
    let option = match source {
        Source::Directory(_) => "--in",
        Source::OvmfVars(_) => "--ovmf-vars",
        Source::Efivars(_) => "--efivars",
        Source::AzDiskProfile(_) => "--az-disk-profile",
        Source::Json(_) => "--uefi-config",
    };
    let databases = output.database_files();
    let databases = databases
        .iter()
        .map(|path| ("--save-databases", Some(path)));
    let json = ("--out", output.json.as_ref());
    Files::written([json].into_iter().chain(databases))?
        .reading(source.files().iter().map(|path| (option, Some(path))))
        .map(|_| ())
}

/// The one source and the output, or the end of the program with what is wrong about them.
fn source_and_output(arguments: &CreateUefiConfig) -> (Source, PathBuf) {
    let follows_reference = arguments.compat == Some(Compat::Reference);
    if let (Some(surplus), false) = (arguments.surplus.first(), follows_reference) {
        let message = format!("unexpected argument '{}' found", surplus.display());
        wrong_usage(ErrorKind::UnknownArgument, &message);
    }
    let mut input = arguments.source.input.clone();
    let mut out = arguments.out.clone();
    if out.is_none()
        && let Some((file, folder)) = output_among_inputs(&input)
    {
        say(&format!(
            "hint: -i {0} is understood as -o {0}; write -o for the output\n",
            file.display()
        ));
        (out, input) = (Some(file), vec![folder]);
    }
    let last = input.pop();
    if !follows_reference {
        warn(&input.iter().map(not_read).collect::<Vec<_>>());
    }
    let other = &arguments.source;
    let sources: Vec<_> = [
        last.map(Source::Directory),
        other.ovmf_vars.clone().map(Source::OvmfVars),
        other.efivars.clone().map(Source::Efivars),
        other.az_disk_profile.clone().map(Source::AzDiskProfile),
    ]
    .into_iter()
    .flatten()
    .collect();
    let [source] = &sources[..] else {
        let message = "give one source: --in DIR, --ovmf-vars FILE, --efivars [DIR] or --az-disk-profile FILE";
        let kind = if sources.is_empty() {
            ErrorKind::MissingRequiredArgument
        } else {
            ErrorKind::ArgumentConflict
        };
        wrong_usage(kind, message);
    };
    let Some(out) = out else {
        wrong_usage(
            ErrorKind::MissingRequiredArgument,
            "the argument '--out <FILE>' is missing",
        );
    };
    (source.clone(), out)
}

/// As of any option that takes one value the last one counts; of directories one may think that all do.
fn not_read(folder: impl AsRef<Path>) -> String {
    let folder = folder.as_ref().display();
    format!(
        "--in {folder} is not read: of several the last one counts; put the files of all into one directory"
    )
}

/// `-i uefi-config.json -i certs`, as the reference's guide has it: the file that is meant as the output, and
/// the directory.
fn output_among_inputs(input: &[PathBuf]) -> Option<(PathBuf, PathBuf)> {
    let [first, second] = input else { return None };
    let is_file = |path: &Path| !path.is_dir() && path.extension().is_some_and(|end| end == "json");
    match (is_file(first), is_file(second)) {
        (true, false) if second.is_dir() => Some((first.clone(), second.clone())),
        (false, true) if first.is_dir() => Some((second.clone(), first.clone())),
        _ => None,
    }
}

fn wrong_usage(kind: ErrorKind, message: &str) -> ! {
    CreateUefiConfig::command().error(kind, message).exit()
}

fn report(loaded: &Loaded) -> String {
    let mut report = String::new();
    for found in &loaded.found {
        database(
            &mut report,
            found,
            loaded.config.get(found.database).is_some(),
        );
    }
    let omits = loaded.config.omits_ready_to_boot_event;
    let _ = writeln!(report, "omitsReadyToBootEvent: {omits}");
    for note in &loaded.notes {
        let _ = writeln!(report, "note: {note}");
    }
    report
}

fn database(report: &mut String, found: &Found, is_there: bool) {
    let name = Database::name(found.database);
    let _ = match (is_there, found.len_bytes) {
        (false, _) => writeln!(report, "{name}: absent"),
        (true, 0) => writeln!(report, "{name}: empty"),
        (true, len_bytes) => writeln!(report, "{name}: {len_bytes} bytes"),
    };
    let entries = match &found.lists {
        FoundLists::Lists(entries) => entries,
        FoundLists::Unreadable(problem) => {
            let _ = writeln!(report, "  no signature lists: {problem}");
            return;
        }
    };
    for entry in entries {
        let owner_name = entry.owner_name.map(|name| format!(" ({name})"));
        let what = match (&entry.certificate, entry.count) {
            (Some((subject, valid_to)), _) => format!("{subject}, valid to {valid_to}"),
            (None, 1) => "1 entry".to_owned(),
            (None, count) => format!("{count} entries"),
        };
        let _ = writeln!(
            report,
            "  {:<8} {what}; owner {}{}",
            entry.kind,
            entry.owner,
            owner_name.unwrap_or_default()
        );
    }
}
