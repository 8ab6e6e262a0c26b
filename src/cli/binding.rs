//! To whom an image is bound, from the options that `deploy` and `provision` have in common.

use std::path::PathBuf;

use clap::error::ErrorKind;

use super::args;
use super::predict;
use crate::provision::Named;
use crate::provision::deploy::{
    Binding, DEFAULT_SRK_HANDLE, KeyObject, RecoverySource, SrkOptions, TemplateChoice,
};
use crate::provision::predict::{Bank, Guest};
use crate::provision::uefi_config::Source;

/// What was given on a command line.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The command, for the parser's messages.
    pub command: &'static str,
    pub key_object: &'a args::KeyObjectOptions,
    pub srk_pub: Option<&'a PathBuf>,
    pub srk: &'a args::SrkOptions,
    pub firmware: &'a args::Firmware,
    pub profiles: &'a args::Profiles,
    pub no_pcr_policy: bool,
    pub rules: &'a args::Rules,
    pub recovery: &'a args::RecoveryOptions,
}

/// What a guest has of its own.
pub struct OfGuest {
    pub srk_pub: PathBuf,
    pub unique_data: Option<PathBuf>,
    /// Each that it may have; `None` seals to no PCR.
    pub firmware: Option<Vec<Source>>,
    pub recovery: Option<RecoverySource>,
}

impl<'a> Given<'a> {
    /// The same as a value, or the end of the program where options do not go together.
    pub fn binding(&self) -> Binding {
        let command = self.command;
        self.binding_of(OfGuest {
            srk_pub: self.srk_pub.cloned().unwrap_or_default(),
            unique_data: self.srk.srk_template_unique_data.clone(),
            firmware: (!self.no_pcr_policy).then(|| predict::firmware(self.firmware, command)),
            recovery: recovery(self.recovery),
        })
    }

    /// The same for a guest that is described elsewhere.
    pub fn binding_of(&self, guest: OfGuest) -> Binding {
        Binding {
            key_object: self.key_object(),
            srk: SrkOptions {
                public: guest.srk_pub,
                template: if self.srk.standard_srk_template {
                    TemplateChoice::Standard
                } else {
                    TemplateChoice::Written {
                        unique_data: guest.unique_data,
                    }
                },
            },
            guest: guest.firmware.map(|firmware| self.guest(firmware)),
            recovery: guest.recovery,
        }
    }

    /// The files that are read, by their options.
    pub fn files_read(self) -> Vec<(&'static str, Option<&'a PathBuf>)> {
        let Self {
            srk,
            firmware,
            recovery,
            ..
        } = self;
        let mut files = vec![
            ("--srk-pub", self.srk_pub),
            (
                "--srk-template-unique-data",
                srk.srk_template_unique_data.as_ref(),
            ),
            ("--recovery-key-file", recovery.recovery_key_file.as_ref()),
        ];
        for (option, paths) in [
            ("--uefi-config", &firmware.uefi_config),
            ("--ovmf-vars", &firmware.ovmf_vars),
            ("--az-disk-profile", &firmware.az_disk_profile),
            ("--efivars", &firmware.efivars),
        ] {
            files.extend(paths.iter().map(|path| (option, Some(path))));
        }
        files
    }

    fn guest(&self, firmware: Vec<Source>) -> Guest {
        Guest {
            firmware,
            options: predict::options(self.firmware, self.rules),
            reader: predict::reader(self.key_object, self.command),
            allow_extra_measurements: self.key_object.allow_extra_measurements,
            profile: self.profiles.profile(self.key_object),
            rules: self.rules.rules(),
            bank: Bank::Sha256,
        }
    }

    /// What carries the key.
    fn key_object(&self) -> KeyObject {
        let srk = self.srk;
        let given = [
            (srk.srk_mode.is_some(), "--srk-mode"),
            (srk.srk_handle.is_some(), "--srk-handle"),
        ];
        let out_of_place = self.key_object.only_for_systemd(&given);
        if let Some(option) = out_of_place.or(self.key_object.out_of_place()) {
            predict::only_for_systemd(option, self.command);
        }
        if srk.srk_mode == Some(args::SrkMode::Derived) && srk.srk_handle.is_some() {
            let message =
                "--srk-handle does not go with --srk-mode derived: such a key lies at no handle";
            predict::usage_error(ErrorKind::ArgumentConflict, message, self.command);
        }
        match self.key_object.key_object {
            args::KeyObject::Secboot => KeyObject::Secboot,
            args::KeyObject::SystemdTpm2 => KeyObject::SystemdTpm2 {
                srk_mode: srk.srk_mode.map(Into::into).unwrap_or_default(),
                srk_handle: srk.srk_handle.unwrap_or(DEFAULT_SRK_HANDLE),
            },
        }
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

/// The partitions that were named.
pub fn partitions(given: &args::Partitions) -> Option<Named> {
    let (root, esp) = (given.root_partition_uuid?, given.efi_partition_uuid?);
    Some(Named { root, esp })
}
