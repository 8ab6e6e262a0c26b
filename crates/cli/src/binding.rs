//! To whom an image is bound, from the options that `deploy` and `provision` have in common.

use std::path::PathBuf;

use clap::error::ErrorKind;

use crate::args::{self, BindingOptions};
use crate::files::Named;
use crate::guest;
use operations::deploy::{
    Binding, DEFAULT_SRK_HANDLE, KeyObject, RecoverySource, SrkOptions, TemplateChoice,
};
use operations::predict::{Bank, Guest};
use operations::uefi_config::Source;

/// What a guest has of its own.
pub struct OfGuest {
    pub srk_pub: PathBuf,
    pub unique_data: Option<PathBuf>,
    /// Each that it may have; `None` seals to no PCR.
    pub firmware: Option<Vec<Source>>,
    pub recovery: Option<RecoverySource>,
}

/// What was given to `command` as a value, or the end of the program where options do not go together.
pub fn binding(given: &BindingOptions, command: &str) -> Binding {
    let guest = OfGuest {
        srk_pub: given.srk_pub.clone().unwrap_or_default(), // the parser wants it
        unique_data: given.srk.srk_template_unique_data.clone(),
        firmware: (!given.no_pcr_policy).then(|| guest::firmware(&given.firmware, command)),
        recovery: recovery(&given.recovery),
    };
    binding_of(given, guest, command)
}

/// The same for a guest that is described elsewhere.
pub fn binding_of(given: &BindingOptions, of_guest: OfGuest, command: &str) -> Binding {
    Binding {
        key_object: key_object(given, command),
        srk: SrkOptions {
            public: of_guest.srk_pub,
            template: if given.srk.standard_srk_template {
                TemplateChoice::Standard
            } else {
                TemplateChoice::Written {
                    unique_data: of_guest.unique_data,
                }
            },
        },
        guest: of_guest
            .firmware
            .map(|firmware| guest_of(given, firmware, command)),
        allow_uncovered_initrd: given.allow_uncovered_initrd,
        recovery: of_guest.recovery,
    }
}

/// The files that are read, by their options.
pub fn files_read(given: &BindingOptions) -> Vec<Named<'_>> {
    let BindingOptions {
        srk,
        firmware,
        recovery,
        ..
    } = given;
    let mut files = vec![
        ("--srk-pub", given.srk_pub.as_ref()),
        (
            "--srk-template-unique-data",
            srk.srk_template_unique_data.as_ref(),
        ),
        ("--recovery-key-file", recovery.recovery_key_file.as_ref()),
    ];
    files.extend(guest::files_of_firmware(firmware));
    files
}

fn guest_of(given: &BindingOptions, firmware: Vec<Source>, command: &str) -> Guest {
    Guest {
        firmware,
        options: guest::options(&given.firmware, &given.rules),
        reader: guest::reader(&given.key_object, command),
        allow_extra_measurements: given.key_object.allow_extra_measurements,
        profile: given.profiles.profile(&given.key_object),
        rules: given.rules.rules(),
        bank: Bank::Sha256,
    }
}

/// What carries the key.
fn key_object(given: &BindingOptions, command: &str) -> KeyObject {
    let (srk, key_object) = (&given.srk, &given.key_object);
    let of_systemd = [
        (srk.srk_mode.is_some(), "--srk-mode"),
        (srk.srk_handle.is_some(), "--srk-handle"),
    ];
    let out_of_place = key_object.only_for_systemd(&of_systemd);
    if let Some(option) = out_of_place.or(key_object.out_of_place()) {
        guest::only_for_systemd(option, command);
    }
    if srk.srk_mode == Some(args::SrkMode::Derived) && srk.srk_handle.is_some() {
        let message =
            "--srk-handle does not go with --srk-mode derived: such a key lies at no handle";
        guest::usage_error(ErrorKind::ArgumentConflict, message, command);
    }
    match key_object.key_object {
        args::KeyObject::Secboot => KeyObject::Secboot,
        args::KeyObject::SystemdTpm2 => KeyObject::SystemdTpm2 {
            srk_mode: srk.srk_mode.map(Into::into).unwrap_or_default(),
            srk_handle: srk.srk_handle.unwrap_or(DEFAULT_SRK_HANDLE),
        },
    }
}

fn recovery(given: &args::RecoveryOptions) -> Option<RecoverySource> {
    let file = given.recovery_key_file.clone().map(RecoverySource::File);
    file.or_else(|| given.recovery_key_out.clone().map(RecoverySource::New))
        .or_else(|| {
            let text = given.recovery_key_text.clone();
            text.map(|text| RecoverySource::Text(text.0))
        })
}
