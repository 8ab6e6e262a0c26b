//! What a `deploy` or a `provision` did, as JSON for programs: `--report`.
//!
//! The document's form is docs/schemas/deploy-report-1.json; members are only ever added to it. Nothing in it is secret.

use serde::Serialize;

use crate::encrypt::plan::format_name;
use crate::json;
use crate::prediction::{JsonBranch, json_branches};
use operations::deploy::{
    DeployPlan, Digests, KeyObjectKind, Parent, Purpose, RecoveryForm, SrkFacts,
};
use operations::predict::{self, Distinct};
use operations::{self, Room};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    tool: Tool,
    completed_interrupted_deploy: bool,
    sealed_again: Option<SealedAgain<'a>>,
    key_object: &'static str,
    input: Image,
    output: Image,
    disk: Disk<'a>,
    luks2: Luks2<'a>,
    srk: Option<Srk<'a>>,
    policy: Option<Policy<'a>>,
    recovery_key: Option<RecoveryKey>,
    esp_files: Vec<EspFile<'a>>,
    warnings: Vec<&'a str>,
    notes: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption: Option<Encryption<'a>>,
}

/// What a `provision` did besides.
#[derive(Serialize)]
struct Encryption<'a> {
    profile: String,
    profile_because: Option<&'a str>,
    room: &'static str,
    filesystem_bytes: u64,
    segment_bytes: u64,
    edits: Vec<String>,
}

#[derive(Serialize)]
struct SealedAgain<'a> {
    unlocked_keyslot: u32,
    replaced_keyslots: &'a [u32],
}

#[derive(Serialize)]
struct Tool {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Image {
    path: String,
    format: String,
    size_bytes: u64,
    sha256: String,
}

#[derive(Serialize)]
struct Disk<'a> {
    guid: String,
    sector_bytes: u64,
    sectors: u64,
    root_partition: u32,
    esp_partition: u32,
    partitions: Vec<Partition<'a>>,
}

#[derive(Serialize)]
struct Partition<'a> {
    number: u32,
    type_guid: String,
    unique_guid: String,
    name: &'a str,
    first_lba: u64,
    last_lba: u64,
}

#[derive(Serialize)]
struct Luks2<'a> {
    uuid: &'a str,
    label: &'a str,
    sequence_id: u64,
    header_sha256: &'a str,
    cipher: &'a str,
    sector_bytes: u32,
    segment_offset_bytes: u64,
    keyslots: Vec<Keyslot<'a>>,
    tokens: Vec<Token<'a>>,
}

#[derive(Serialize)]
struct Keyslot<'a> {
    number: u32,
    purpose: &'static str,
    kdf: &'a str,
    offset_bytes: u64,
}

#[derive(Serialize)]
struct Token<'a> {
    number: u32,
    #[serde(rename = "type")]
    kind: &'a str,
}

#[derive(Serialize)]
struct Srk<'a> {
    name: &'a str,
    kind: &'a str,
    aes_bits: u16,
    attributes: String,
    standard_template: bool,
    place: Option<Place>,
}

#[derive(Serialize)]
struct Place {
    mode: &'static str,
    handle: Option<String>,
}

#[derive(Serialize)]
struct RecoveryKey {
    form: &'static str,
}

#[derive(Serialize)]
struct Policy<'a> {
    bank: &'static str,
    selection: Vec<u8>,
    branches: Vec<JsonBranch<'a>>,
}

#[derive(Serialize)]
struct EspFile<'a> {
    path: &'a str,
    size_bytes: Option<usize>,
    sha256: Option<&'a str>,
}

/// What a `deploy` did, with a line end behind it.
pub fn json(plan: &DeployPlan, digests: &Digests) -> String {
    let input = Image {
        path: plan.source.display().to_string(),
        format: format_name(plan.format).to_owned(),
        size_bytes: plan.file_bytes,
        sha256: hex::encode(digests.input),
    };
    let branches = branches(plan);
    json::text(&report(plan, &branches, input, &digests.output))
}

/// What a `provision` did; the source has so many bytes.
pub fn of_provision(
    encrypted: &operations::encrypt::EncryptPlan,
    bound: &DeployPlan,
    source_bytes: u64,
    digests: &Digests,
) -> String {
    let input = Image {
        path: encrypted.route.source.display().to_string(),
        format: encrypted.route.source_format.to_string(),
        size_bytes: source_bytes,
        sha256: hex::encode(digests.input),
    };
    let warnings = encrypted.warnings.iter().chain(&bound.warnings);
    let branches = branches(bound);
    json::text(&Report {
        warnings: warnings.map(String::as_str).collect(),
        notes: Vec::new(),
        encryption: Some(Encryption {
            profile: encrypted.profile.profile.to_string(),
            profile_because: encrypted.profile.because.as_deref(),
            room: match encrypted.layout.room {
                Room::Fits => "fits",
                Room::Grown { .. } => "grown",
                Room::Extended { .. } => "extended",
                Room::Shrunk { .. } => "shrunk",
            },
            filesystem_bytes: encrypted.layout.filesystem_bytes,
            segment_bytes: encrypted.layout.segment_bytes,
            edits: encrypted.edits.iter().map(ToString::to_string).collect(),
        }),
        ..report(bound, &branches, input, &digests.output)
    })
}

fn branches(plan: &DeployPlan) -> Vec<Distinct<'_>> {
    let branches = plan.prediction.as_ref().map(predict::distinct);
    branches.unwrap_or_default()
}

fn report<'a>(
    plan: &'a DeployPlan,
    branches: &'a [Distinct<'a>],
    input: Image,
    output_sha256: &[u8],
) -> Report<'a> {
    let selection = plan
        .prediction
        .as_ref()
        .map(|prediction| &prediction.selection.pcrs);
    Report {
        version: 1,
        tool: Tool {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        },
        completed_interrupted_deploy: plan.completes,
        sealed_again: plan.again.as_ref().map(|again| SealedAgain {
            unlocked_keyslot: again.unlocked,
            replaced_keyslots: &again.replaced,
        }),
        key_object: plan.key_object.name(),
        input,
        output: Image {
            path: plan.output.display().to_string(),
            format: format_name(plan.format).to_owned(),
            size_bytes: plan.file_bytes,
            sha256: hex::encode(output_sha256),
        },
        disk: disk(plan),
        luks2: luks2(plan),
        srk: plan.srk.as_ref().map(|srk| Srk {
            name: &srk.name,
            kind: &srk.kind,
            aes_bits: srk.aes_bits,
            attributes: format!("{:#010x}", srk.attributes),
            standard_template: srk.standard_template,
            place: place(srk),
        }),
        policy: plan.srk.as_ref().map(|_| Policy {
            bank: "sha256",
            selection: selection.into_iter().flatten().copied().collect(),
            branches: json_branches(branches),
        }),
        recovery_key: plan.recovery.map(|form| RecoveryKey {
            form: match form {
                RecoveryForm::Bytes => "bytes",
                RecoveryForm::Digits => "digits",
                RecoveryForm::Letters => "letters",
            },
        }),
        esp_files: plan
            .files
            .iter()
            .map(|file| EspFile {
                path: file.path,
                size_bytes: file.content.as_ref().map(|(len_bytes, _)| *len_bytes),
                sha256: file.content.as_ref().map(|(_, sha256)| sha256.as_str()),
            })
            .collect(),
        warnings: plan.warnings.iter().map(String::as_str).collect(),
        notes: vec![match (plan.key_object, &plan.again) {
            (KeyObjectKind::Secboot, None) => {
                "images deployed from copies of one encrypted image share its volume key and the key of keyslot 0: whoever kept that image opens them all"
            }
            _ => {
                "images deployed from copies of one encrypted image share its volume key: whoever kept that image opens them all"
            }
        }],
        encryption: None,
    }
}

fn place(srk: &SrkFacts) -> Option<Place> {
    Some(match srk.parent? {
        Parent::Derived => Place {
            mode: "derived",
            handle: None,
        },
        Parent::Persistent { handle } => Place {
            mode: "persistent",
            handle: Some(format!("{handle:#010x}")),
        },
    })
}

fn disk(plan: &DeployPlan) -> Disk<'_> {
    let disk = &plan.disk;
    Disk {
        guid: disk.guid.to_string(),
        sector_bytes: disk.sector_bytes,
        sectors: disk.sectors,
        root_partition: disk.root,
        esp_partition: disk.esp,
        partitions: disk
            .partitions
            .iter()
            .map(|partition| Partition {
                number: partition.number,
                type_guid: partition.type_guid.to_string(),
                unique_guid: partition.unique_guid.to_string(),
                name: &partition.name,
                first_lba: partition.first_lba,
                last_lba: partition.last_lba,
            })
            .collect(),
    }
}

fn luks2(plan: &DeployPlan) -> Luks2<'_> {
    let luks = &plan.luks;
    Luks2 {
        uuid: &luks.uuid,
        label: &luks.label,
        sequence_id: luks.sequence_id,
        header_sha256: &luks.header_sha256,
        cipher: &luks.cipher,
        sector_bytes: luks.sector_bytes,
        segment_offset_bytes: luks.segment_offset_bytes,
        keyslots: luks
            .keyslots
            .iter()
            .map(|keyslot| Keyslot {
                number: keyslot.number,
                purpose: match keyslot.purpose {
                    Purpose::Unlock => "unlock",
                    Purpose::Growpart => "growpart",
                    Purpose::Recovery => "recovery",
                    Purpose::Other => "other",
                },
                kdf: &keyslot.kdf,
                offset_bytes: keyslot.offset_bytes,
            })
            .collect(),
        tokens: luks
            .tokens
            .iter()
            .map(|(number, kind)| Token {
                number: *number,
                kind,
            })
            .collect(),
    }
}
