//! What an image is, and whether a guest would open it, as JSON for programs: `inspect --json`.
//!
//! The document's form is docs/schemas/inspect-1.json; members are only ever added to it. Nothing in it is secret.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::json;
use crate::status::Status;
use operations::deploy::{SEALED_KEY, SRK_TEMPLATE};
use operations::inspect::{
    Answer, ContainerFacts, CopyFacts, CopyState, Inspection, KeyObjectKind, KeyslotRole, Mismatch,
    Opener, Outcome, Question, RecoveryKind, State, TokenRole, Tpm2Facts, Way,
};
use operations::predict::BootFiles;
use operations::{SourceFormat, partition_types};

/// The document, with a line end behind it.
pub fn json(image: &Inspection, judged: Option<(&Question, &Answer)>) -> String {
    let mut warnings = image.warnings.clone();
    warnings.extend(
        judged
            .iter()
            .flat_map(|(_, answer)| answer.warnings.iter().cloned()),
    );
    let container = image.container.as_ref();
    let document = json!({
        "version": 1,
        "exit_status": exit_status(judged.map(|(_, answer)| answer)).number(),
        "tool": {"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")},
        "image": {
            "path": image.source.display().to_string(),
            "format": image.format.to_string(),
            "size_bytes": image.file_bytes,
            "backing_files": backing_files(image),
        },
        "state": state(image.state),
        "key_object": image.key_object().map(|kind| match kind {
            KeyObjectKind::Secboot => "secboot",
            KeyObjectKind::SystemdTpm2 => "systemd-tpm2",
        }),
        "clear_key": container.is_some_and(|container| {
            container.copies.iter().any(|copy| copy.holds_clear_key)
        }),
        "disk": disk(image),
        "luks2": container.map(luks2),
        "sealed_key": sealed_key(image),
        "srk_template": srk_template(image),
        "systemd_tokens": tokens(container),
        "recovery_keys": recovery_keys(container),
        "against": judged.map(|(question, answer)| against(question, answer)),
        "warnings": warnings,
    });
    json::text(&document)
}

/// How the program ends that printed the document.
fn exit_status(judged: Option<&Answer>) -> Status {
    if judged.is_some_and(|answer| !answer.unlocks()) {
        Status::No
    } else {
        Status::Done
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Plain => "plain",
        State::Encrypted => "encrypted",
        State::Interrupted(_) => "interrupted",
        State::Deployed(_) => "deployed",
        State::Other => "other",
    }
}

fn backing_files(image: &Inspection) -> Vec<Value> {
    let files = image.backing_files.iter();
    let file = |(path, format): &(PathBuf, SourceFormat)| json!({"path": path.display().to_string(), "format": format.to_string()});
    files.map(file).collect()
}

fn disk(image: &Inspection) -> Value {
    let partitions = image.partitions.iter().map(|(partition, content)| {
        json!({
            "number": partition.number,
            "type_guid": partition.type_guid.to_string(),
            "type": partition_types::type_name(partition.type_guid),
            "unique_guid": partition.unique_guid.to_string(),
            "name": partition.name,
            "first_lba": partition.first_lba,
            "last_lba": partition.last_lba,
            "content": content.to_string(),
        })
    });
    json!({
        "guid": image.disk_guid.to_string(),
        "sector_bytes": image.sector_bytes,
        "sectors": image.sectors,
        "root_partition": image.container.as_ref().map(|container| container.partition),
        "esp_partition": image.esp.as_ref().map(|esp| esp.number),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

fn luks2(container: &ContainerFacts) -> Value {
    let luks = &container.luks;
    let keyslots = container.keyslots.iter().map(|keyslot| {
        json!({
            "number": keyslot.number,
            "role": match keyslot.role {
                KeyslotRole::ClearKey => "clear-key",
                KeyslotRole::Sealed => "sealed",
                KeyslotRole::Growpart => "growpart",
                KeyslotRole::Recovery => "recovery",
                KeyslotRole::Unknown => "unknown",
            },
            "kdf": keyslot.kdf,
        })
    });
    let tokens = container.tokens.iter().map(|token| {
        json!({
            "number": token.number,
            "type": token.kind,
            "role": match token.role {
                TokenRole::ClearKey => "clear-key",
                TokenRole::Sealed => "sealed",
                TokenRole::Recovery => "recovery",
                TokenRole::Unknown => "unknown",
            },
            "keyslots": token.keyslots,
        })
    });
    json!({
        "partition": container.partition,
        "uuid": luks.uuid,
        "label": luks.label,
        "sequence_id": luks.sequence_id,
        "header_sha256": luks.header_sha256,
        "cipher": luks.cipher,
        "sector_bytes": luks.sector_bytes,
        "segment_offset_bytes": luks.segment_offset_bytes,
        "header_copies": container.copies.iter().map(header_copy).collect::<Vec<_>>(),
        "keyslots": keyslots.collect::<Vec<_>>(),
        "tokens": tokens.collect::<Vec<_>>(),
    })
}

fn header_copy(copy: &CopyFacts) -> Value {
    let (state, sequence_id) = match copy.state {
        CopyState::Valid { sequence_id } => ("valid", Some(sequence_id)),
        CopyState::Damaged => ("damaged", None),
        CopyState::Unsupported => ("unsupported", None),
    };
    json!({
        "position": copy.position.to_string(),
        "counts": copy.counts,
        "state": state,
        "sequence_id": sequence_id,
        "holds_clear_key": copy.holds_clear_key,
    })
}

fn sealed_key(image: &Inspection) -> Option<Value> {
    let facts = image.key_files.sealed_key.as_ref()?;
    let key = facts.content.as_ref().ok();
    Some(json!({
        "path": SEALED_KEY,
        "size_bytes": facts.len_bytes,
        "sha256": facts.sha256,
        "version": key.map(|key| key.version),
        "bank": key.map(|key| key.selection.bank.to_string()),
        "selection": key.map(|key| &key.selection.pcrs),
        "branches": key.map(|key| key.tree.leaves().count()),
        "srk": facts.parent().map(|kind| kind.to_string()),
        "problem": facts.content.as_ref().err().or(facts.flaw.as_ref()),
    }))
}

fn srk_template(image: &Inspection) -> Option<Value> {
    let facts = image.key_files.template.as_ref()?;
    let template = facts.content.as_ref().ok();
    Some(json!({
        "path": SRK_TEMPLATE,
        "size_bytes": facts.len_bytes,
        "sha256": facts.sha256,
        "kind": template.map(|template| template.kind.to_string()),
        "aes_bits": template.and_then(|template| template.aes_bits),
        "attributes": template.map(|template| format!("{:#010x}", template.attributes)),
        "unique_data": template.map(|template| template.has_unique_data),
        "problem": facts.content.as_ref().err(),
    }))
}

fn tokens(container: Option<&ContainerFacts>) -> Vec<Value> {
    let tokens = container.iter().flat_map(|container| &container.tpm2);
    tokens.map(token).collect()
}

fn token(facts: &Tpm2Facts) -> Value {
    let token = facts.token.as_ref().ok();
    let srk = token.and_then(|token| token.srk.as_ref());
    json!({
        "number": facts.number,
        "keyslot": token.map(|token| token.keyslot),
        "bank": token.and_then(|token| token.bank).map(|bank| bank.to_string()),
        "selection": token.map(|token| &token.pcrs),
        "pin": token.map(|token| token.with_pin),
        "policy": token.map(|token| hex::encode(token.policy)),
        "srk": token.map(|token| json!({
            "mode": if srk.is_some() { "persistent" } else { "derived" },
            "handle": srk.map(|srk| format!("{:#010x}", srk.handle)),
            "name": srk.map(|srk| srk.public.name().to_string()),
            "kind": token.primary.map(|kind| kind.to_string()),
        })),
        "problem": facts.token.as_ref().err(),
    })
}

fn recovery_keys(container: Option<&ContainerFacts>) -> Vec<Value> {
    let keys = container.iter().flat_map(|container| &container.recovery);
    keys.map(|key| {
        json!({
            "keyslot": key.keyslot,
            "prompt": match key.kind {
                RecoveryKind::Ubuntu => "ubuntu",
                RecoveryKind::Systemd => "systemd",
            },
            "name": key.name,
        })
    })
    .collect()
}

fn against(question: &Question, answer: &Answer) -> Value {
    let configurations = question.firmware.iter();
    let configurations: Vec<_> = configurations
        .map(|source| source.path().display().to_string())
        .collect();
    json!({
        "firmware": configurations.join(", "),
        "configurations": configurations,
        "boot_files": match &question.boot_files {
            Some(BootFiles::Directory(path)) => path.display().to_string(),
            Some(BootFiles::Chains(_)) => "chain".to_owned(),
            None | Some(BootFiles::Image { .. }) => "image".to_owned(),
        },
        "bank": answer.bank.to_string(),
        "selection": answer.pcrs,
        "unlocks": answer.unlocks(),
        "ways": answer.ways.iter().map(way).collect::<Vec<_>>(),
    })
}

fn way(way: &Way) -> Value {
    let pcrs = way.values.iter();
    let pcrs: Map<String, Value> = pcrs
        .map(|(pcr, value)| (pcr.to_string(), hex::encode(value).into()))
        .collect();
    let mut document = json!({
        "configuration": way.configuration,
        "kernels": way.kernels,
        "os_separator": way.has_separator,
        "pcrs": pcrs,
        "unlocks": null,
        "branch": null,
        "token": null,
        "blamed_pcrs": null,
        "would_unlock_as_in": null,
        "reason": null,
    });
    let mut set = |name: &str, value: Value| document[name] = value;
    match &way.outcome {
        Outcome::Unlocks(opener) => {
            set("unlocks", true.into());
            match opener {
                Opener::Branch { number, .. } => set("branch", (*number).into()),
                Opener::Token { number, .. } => set("token", (*number).into()),
                Opener::AnyState => {}
            }
        }
        Outcome::StaysLocked(blame) => {
            set("unlocks", false.into());
            match blame {
                Mismatch::Pcrs { pcrs, like } => {
                    set("blamed_pcrs", pcrs.iter().copied().collect());
                    set("would_unlock_as_in", like.clone().into());
                    set("reason", "other values of PCRs".into());
                }
                Mismatch::Untold { .. } => set(
                    "reason",
                    "other values of PCRs; one hash covers all, so which cannot be told".into(),
                ),
            }
        }
        Outcome::NeverReached { why } => {
            set("unlocks", false.into());
            set(
                "reason",
                format!("sealed to less than is measured: {why}").into(),
            );
        }
        Outcome::DoesNotStart { why } => {
            set("unlocks", false.into());
            set("reason", format!("does not start: {why}").into());
        }
        Outcome::Unknown { why } => set("reason", why.clone().into()),
    }
    document
}
