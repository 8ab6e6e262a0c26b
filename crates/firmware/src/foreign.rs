//! What a file is that was given as a description of a guest of another kind: known by a few bytes or names, so
//! that a message can call it by its name. Nothing is taken out of it here.
//!
//! | format | known by |
//! | --- | --- |
//! | AWS `uefi-data` (`get-instance-uefi-data`) | the magic number `AMZNUEFI`, in base64 or bare; or a member `UefiData` |
//! | variable store in JSON (virt-fw-vars, QEMU's device uefi-vars, python-uefivars) | a member `variables` |
//! | VMware's `.nvram` | `MRVN` at its start, or `VMWNVRAM` further on |
//! | edk2's variable store | the GUID of a firmware volume of variables, at offset 16 |
//! | qcow2 | `QFI\xfb` |
//! | `uefi-config.json` | a member PK, KEK, db, dbx |
//! | Azure's description | a member `properties` or `resources` |

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::config::{Database, Rules};
use super::json::Members;
use super::variable_store::NV_DATA;

/// How much of a file is looked at for the magic number of `VMware`.
const SEARCHED_BYTES: usize = 64 << 10;
/// `AMZNUEFI` in base64, as far as it does not hang on what follows.
const AWS_BASE64: &[u8] = b"QU1aTlVFRk";

/// A format that describes a guest's variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// AWS's `uefi-data`.
    AwsUefiData,
    /// What AWS's command line answers, with `uefi-data` inside.
    AwsAnswer,
    /// A variable store in JSON.
    JsonStore,
    /// `VMware`'s file `.nvram`.
    VmwareNvram,
    /// edk2's variable store in flash.
    Edk2Store,
    /// A qcow2 image, as which a store of edk2 may be kept.
    Qcow2,
    /// `uefi-config.json`.
    UefiConfig,
    /// Azure's description of a disk, an image version or a deployment.
    Azure,
}

impl Format {
    /// What to call it in a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::AwsUefiData => "AWS's uefi-data",
            Self::AwsAnswer => "an answer of AWS's command line, with uefi-data inside",
            Self::JsonStore => {
                "a variable store in JSON (of virt-fw-vars, QEMU's uefi-vars or python-uefivars)"
            }
            Self::VmwareNvram => "VMware's nvram",
            Self::Edk2Store => "a variable store of edk2",
            Self::Qcow2 => "a qcow2 image, as which a variable store of edk2 may be kept",
            Self::UefiConfig => "a configuration as create-uefi-config writes it",
            Self::Azure => "Azure's description of a disk or an image version",
        }
    }
}

/// The format of a file by its first bytes; JSON is known where it is whole.
pub fn recognise(bytes: &[u8]) -> Option<Format> {
    let start = bytes.get(..SEARCHED_BYTES).unwrap_or(bytes);
    let text = bytes.trim_ascii();
    if text.starts_with(AWS_BASE64) || bytes.starts_with(b"AMZNUEFI") {
        Some(Format::AwsUefiData)
    } else if bytes.starts_with(b"MRVN") || start.windows(8).any(|word| word == b"VMWNVRAM") {
        Some(Format::VmwareNvram)
    } else if bytes.get(16..32) == Some(&NV_DATA.to_bytes_le()) {
        Some(Format::Edk2Store)
    } else if bytes.starts_with(b"QFI\xfb") {
        Some(Format::Qcow2)
    } else if text.starts_with(b"{") {
        json(text)
    } else {
        None
    }
}

fn json(text: &[u8]) -> Option<Format> {
    let members = Members::document(text, Rules::Ours).ok()?;
    let has = |name: &str| !matches!(members.get(name, Rules::Ours), Ok(None));
    if has("UefiData") {
        Some(Format::AwsAnswer)
    } else if has("properties") || has("resources") {
        Some(Format::Azure) // a template may have variables of its own
    } else if has("variables") {
        Some(Format::JsonStore)
    } else if Database::ALL.map(Database::name).into_iter().any(has) {
        Some(Format::UefiConfig)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_known_by_its_mark() {
        let store = [&[0; 16][..], &NV_DATA.to_bytes_le()].concat();
        let code = [&[0; 40][..], b"_FVH"].concat();
        let nvram = [&[0xff; 8696][..], b"VMWNVRAM"].concat();
        for (bytes, format) in [
            (&b"QU1aTlVFRkkoyaVv\n"[..], Some(Format::AwsUefiData)),
            (b"AMZNUEFI\x28", Some(Format::AwsUefiData)),
            (
                b"{\"InstanceId\":\"i\",\"UefiData\":\"QU1a\"}",
                Some(Format::AwsAnswer),
            ),
            (
                b"\n{\"version\":2,\"variables\":[]}",
                Some(Format::JsonStore),
            ),
            (b"MRVN\x01\0\0\0", Some(Format::VmwareNvram)),
            (&nvram, Some(Format::VmwareNvram)),
            (&store, Some(Format::Edk2Store)),
            (&code, None),
            (b"QFI\xfb", Some(Format::Qcow2)),
            (b"{\"pk\":null,\"db\":\"\"}", Some(Format::UefiConfig)),
            (b"{\"db\":\"\",\"db\":\"\"}", Some(Format::UefiConfig)),
            (b"{\"type\":\"x\",\"properties\":{}}", Some(Format::Azure)),
            (b"{\"resources\":[]}", Some(Format::Azure)),
            (b"{\"variables\":{},\"resources\":[]}", Some(Format::Azure)),
            // Not whole, of no kind, or no more than similar.
            (b"{\"version\":2,\"variables\":[", None),
            (b"{}", None),
            (b"[]", None),
            (b"", None),
            (b"AMZNUEF", None),
            (b"QU1aTlVFR", None),
        ] {
            assert_eq!(
                recognise(bytes),
                format,
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
