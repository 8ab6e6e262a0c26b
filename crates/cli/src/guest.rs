//! What the options say of a guest: who reads its key, and what its firmware holds.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use crate::args::{self, EncryptCloudImage};
use crate::files::Named;
use operations::predict::Reader;
use operations::uefi_config::{self, Options};

/// Who reads the key in the guest, or the end of the program where options do not go together.
pub fn reader(given: &args::KeyObjectOptions, command: &str) -> Reader {
    if let Some(option) = given.out_of_place() {
        only_for_systemd(option, command);
    }
    given.reader()
}

/// Ends the program: an option that only systemd's reader has was given for another.
pub fn only_for_systemd(option: &str, command: &str) -> ! {
    let message = format!("{option} goes with --key-object systemd-tpm2 only");
    usage_error(ErrorKind::ArgumentConflict, &message, command)
}

/// Ends the program with a message of the parser.
pub fn usage_error(kind: ErrorKind, message: &str, command: &str) -> ! {
    let mut parser = EncryptCloudImage::command();
    parser.build(); // so that the usage begins with the program's name
    parser
        .find_subcommand_mut(command)
        .map_or_else(EncryptCloudImage::command, |command| command.clone())
        .error(kind, message)
        .exit()
}

/// What describes the guest's firmware, or the end of the program where nothing does.
pub fn firmware(given: &args::Firmware, command: &str) -> Vec<uefi_config::Source> {
    let sources = firmware_given(given);
    if sources.is_empty() {
        let message = "say what the guest's firmware holds: --uefi-config FILE, --ovmf-vars FILE, --az-disk-profile FILE or --efivars [DIR]";
        usage_error(ErrorKind::MissingRequiredArgument, message, command);
    }
    sources
}

/// What describes the guest's firmware: several of one kind, or none.
pub fn firmware_given(given: &args::Firmware) -> Vec<uefi_config::Source> {
    use uefi_config::Source;
    let of = |paths: &[PathBuf], source: fn(PathBuf) -> Source| -> Vec<Source> {
        paths.iter().cloned().map(source).collect()
    };
    [
        of(&given.uefi_config, Source::Json),
        of(&given.ovmf_vars, Source::OvmfVars),
        of(&given.az_disk_profile, Source::AzDiskProfile),
        of(&given.efivars, Source::Efivars),
    ]
    .concat()
}

/// How that is read.
pub fn options(firmware: &args::Firmware, rules: &args::Rules) -> Options {
    Options {
        rules: match rules.compat {
            Some(args::Compat::Reference) => uefi_config::Rules::Reference,
            None => uefi_config::Rules::Ours,
        },
        secure_boot_is_off: rules.secure_boot == args::SecureBoot::Off,
        certificate_owner: None,
        omits_ready_to_boot_event: firmware.omits_ready_to_boot_signal,
    }
}

/// The files that describe the guest's firmware, by their options.
pub fn files_of_firmware(firmware: &args::Firmware) -> impl Iterator<Item = Named<'_>> {
    let all = [
        ("--uefi-config", &firmware.uefi_config),
        ("--ovmf-vars", &firmware.ovmf_vars),
        ("--az-disk-profile", &firmware.az_disk_profile),
        ("--efivars", &firmware.efivars),
    ];
    all.into_iter()
        .flat_map(|(option, paths)| paths.iter().map(move |path| (option, Some(path))))
}
