//! What an image is, and whether a guest would open it, in words.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::encrypt::plan::{label, size};
use operations::inspect::{
    Answer, ContainerFacts, CopyFacts, CopyState, Inspection, KeyObjectKind, KeyslotRole, Mismatch,
    Opener, Outcome, Question, RecoveryKind, State, TokenRole, Tpm2Token, Way,
};
use operations::predict::BootFiles;
use operations::{Partition, partition_types};

type Line = (String, String);

/// The whole answer.
pub fn table(image: &Inspection, judged: Option<(&Question, &Answer)>) -> String {
    let mut lines = of_disk(image);
    if let Some(container) = &image.container {
        lines.extend(of_container(container));
    }
    lines.extend(of_key_files(image));
    let mut text = String::new();
    for (name, what) in lines {
        let _ = writeln!(text, "{name:<14}{what}");
    }
    if let Some((question, answer)) = judged {
        text.push_str(&verdict(question, answer));
    }
    text
}

fn line(name: impl Into<String>, what: impl Into<String>) -> Line {
    (name.into(), what.into())
}

fn of_disk(image: &Inspection) -> Vec<Line> {
    let (format, bytes) = (image.format, size(image.file_bytes));
    let mut lines = vec![line(
        "image",
        format!("{}, {format}, {bytes}", image.source.display()),
    )];
    let below = image.backing_files.iter();
    lines.extend(
        below.map(|(path, format)| line("backing file", format!("{}, {format}", path.display()))),
    );
    lines.extend([
        line("state", state(image)),
        line(
            "disk",
            format!(
                "{}, {} sectors of {} bytes",
                image.disk_guid, image.sectors, image.sector_bytes
            ),
        ),
    ]);
    for (partition, content) in &image.partitions {
        let name = format!("partition {}", partition.number);
        let what = format!("{}, with {content}", kind(partition, image.sector_bytes));
        lines.push(line(name, what));
    }
    lines
}

fn kind(partition: &Partition, sector_bytes: u64) -> String {
    let guid = partition.type_guid;
    let kind = partition_types::type_name(guid).map_or_else(|| guid.to_string(), str::to_owned);
    format!("{kind}, {}", size(partition.sectors() * sector_bytes))
}

fn state(image: &Inspection) -> &'static str {
    match image.state {
        State::Plain => "plain: the root is not encrypted",
        State::Encrypted => "encrypted, not deployed: its key lies in the header, in clear",
        State::Interrupted(_) => "a deploy was interrupted; run it again before the image is used",
        State::Deployed(KeyObjectKind::Secboot) => {
            "deployed: bound to one guest's TPM by a sealed key on the EFI system partition"
        }
        State::Deployed(KeyObjectKind::SystemdTpm2) => {
            "deployed: bound to one guest's TPM by tokens in the LUKS2 header"
        }
        State::Other => "encrypted, with neither a clear key nor a sealed one that is known here",
    }
}

fn of_container(container: &ContainerFacts) -> Vec<Line> {
    let luks = &container.luks;
    let mut lines = vec![
        line(
            "LUKS2",
            format!(
                "partition {}, {}, {}",
                container.partition,
                luks.uuid.escape_debug(),
                label(&luks.label)
            ),
        ),
        line(
            "segment",
            format!(
                "{}, sectors of {} bytes, from byte {} on",
                luks.cipher.escape_debug(),
                luks.sector_bytes,
                luks.segment_offset_bytes
            ),
        ),
        line("header", format!("sha256 {}", luks.header_sha256)),
    ];
    let copies = container.copies.iter();
    lines.extend(copies.map(|copy| line(copy.position.to_string(), copy_in_words(copy))));
    for keyslot in &container.keyslots {
        let name = format!("keyslot {}", keyslot.number);
        let what = format!("{} ({})", role(keyslot.role), keyslot.kdf.escape_debug());
        lines.push(line(name, what));
    }
    for token in &container.tokens {
        let name = format!("token {}", token.number);
        let what = match token.role {
            TokenRole::ClearKey => "the clear key",
            TokenRole::Sealed => "a sealed key",
            TokenRole::Recovery => "a recovery key",
            TokenRole::Unknown => "not known",
        };
        let keyslots: Vec<_> = token.keyslots.iter().map(ToString::to_string).collect();
        let keyslots = match keyslots.as_slice() {
            [] => "no keyslot".to_owned(),
            keyslots => format!("keyslot {}", keyslots.join(", ")),
        };
        let mut what = format!("{}: {what} for {keyslots}", token.kind.escape_debug());
        let tpm2 = container
            .tpm2
            .iter()
            .find(|facts| facts.number == token.number);
        if let Some(Ok(tpm2)) = tpm2.map(|facts| &facts.token) {
            let _ = write!(what, ", {}", sealed_by(tpm2));
        }
        lines.push(line(name, what));
    }
    lines.extend(recovery(container));
    lines
}

fn copy_in_words(copy: &CopyFacts) -> String {
    let state = match copy.state {
        CopyState::Valid { sequence_id } => format!("sequence id {sequence_id}"),
        CopyState::Damaged => "damaged".to_owned(),
        CopyState::Unsupported => "not read by this program".to_owned(),
    };
    let counts = if copy.counts { ", counts" } else { "" };
    let key = if copy.holds_clear_key {
        "holds the clear key"
    } else {
        "no clear key"
    };
    format!("{state}{counts}, {key}")
}

fn role(role: KeyslotRole) -> &'static str {
    match role {
        KeyslotRole::ClearKey => "the clear key",
        KeyslotRole::Sealed => "the key that is sealed to the TPM",
        KeyslotRole::Growpart => "the growpart key, removed by cloud-init at the first boot",
        KeyslotRole::Recovery => "a recovery key",
        KeyslotRole::Unknown => "not known",
    }
}

fn recovery(container: &ContainerFacts) -> Vec<Line> {
    if container.recovery.is_empty() {
        return vec![line("recovery", "no token names a recovery key")];
    }
    let keys = container.recovery.iter().map(|key| {
        let prompt = match key.kind {
            RecoveryKind::Ubuntu => "Ubuntu's initramfs",
            RecoveryKind::Systemd => "systemd",
        };
        let keyslot = match key.keyslot {
            Some(number) => format!("keyslot {number}"),
            None => "no keyslot, or several".to_owned(),
        };
        let name = key.name.as_ref();
        let name = name.map(|name| format!(", named {}", name.escape_debug()));
        line(
            "recovery",
            format!(
                "{keyslot}, at the prompt of {prompt}{}",
                name.unwrap_or_default()
            ),
        )
    });
    keys.collect()
}

fn sealed_by(token: &Tpm2Token) -> String {
    let pcrs = pcrs_in_words(&token.pcrs);
    let bank = token
        .bank
        .map_or_else(String::new, |bank| format!(" ({bank})"));
    let pin = if token.with_pin { " and a PIN" } else { "" };
    let srk = match &token.srk {
        Some(srk) => format!("SRK at {:#010x}, name {}", srk.handle, srk.public.name()),
        None => "SRK derived by systemd's legacy template".to_owned(),
    };
    format!("sealed to {pcrs}{bank}{pin}, {srk}")
}

fn pcrs_in_words(pcrs: &BTreeSet<u8>) -> String {
    if pcrs.is_empty() {
        return "the TPM alone, in any state".to_owned();
    }
    let pcrs: Vec<_> = pcrs.iter().map(ToString::to_string).collect();
    format!("PCR {}", pcrs.join(", "))
}

fn of_key_files(image: &Inspection) -> Vec<Line> {
    let mut lines = Vec::new();
    let files = &image.key_files;
    if let Some(facts) = &files.sealed_key {
        let what = match &facts.content {
            Err(_) => format!("{} bytes, cannot be read", facts.len_bytes),
            Ok(key) => {
                let branches = key.tree.leaves().count();
                let parent = facts.parent().map_or_else(
                    || "imported by its guest".to_owned(),
                    |kind| format!("for an {kind} SRK"),
                );
                let pcrs = pcrs_in_words(&key.selection.pcrs);
                let way = if branches == 1 { "branch" } else { "branches" };
                format!(
                    "version {}, sealed to {pcrs}, {branches} {way}, {parent}",
                    key.version
                )
            }
        };
        lines.push(line("sealed key", what));
        let template = match files.template.as_ref().map(|template| &template.content) {
            None => "no template: the guest makes the standard one".to_owned(),
            Some(Err(_)) => "its template cannot be read".to_owned(),
            Some(Ok(template)) => {
                let unique = if template.has_unique_data {
                    "with"
                } else {
                    "no"
                };
                let aes = template
                    .aes_bits
                    .map_or_else(String::new, |bits| format!(", AES-{bits}"));
                format!(
                    "made from a template: {}{aes}, attributes {:#010x}, {unique} unique data",
                    template.kind, template.attributes
                )
            }
        };
        lines.push(line("SRK", template));
    }
    lines
}

fn verdict(question: &Question, answer: &Answer) -> String {
    let files = match &question.boot_files {
        None | Some(BootFiles::Image { .. }) => "the boot files in the image".to_owned(),
        Some(BootFiles::Directory(path)) => format!("the boot files of {}", path.display()),
        Some(BootFiles::Chains(_)) => "the boot files that were named".to_owned(),
    };
    let name = |way: &Way| {
        let mut name = way.kernels.join(", ");
        if way.has_separator {
            name.push_str(" with systemd-pcrosseparator");
        }
        name
    };
    let mut text = String::new();
    for configuration in &question.firmware {
        let configuration = configuration.path().display().to_string();
        let _ = writeln!(text, "\nagainst {configuration} and {files}");
        let ways = answer.ways.iter();
        for way in ways.filter(|way| way.configuration == configuration) {
            let _ = writeln!(text, "  {}: {}", name(way), outcome(way));
        }
    }
    text
}

fn outcome(way: &Way) -> String {
    match &way.outcome {
        Outcome::Unlocks(Opener::AnyState) => "unlocks, as in any state of its TPM".to_owned(),
        Outcome::Unlocks(Opener::Branch { number, of }) => {
            format!("unlocks, by branch {number} of {of}")
        }
        Outcome::Unlocks(Opener::Token { number, with_pin }) => {
            let pin = if *with_pin { " and its PIN" } else { "" };
            format!("unlocks, by token {number}{pin}")
        }
        Outcome::NeverReached { why } => {
            format!("does not unlock: it is sealed to less than is measured: {why}")
        }
        Outcome::DoesNotStart { why } => format!("does not start: {why}"),
        Outcome::Unknown { why } => format!("cannot be told: {why}"),
        Outcome::StaysLocked(Mismatch::Pcrs { pcrs, like }) => {
            let verb = if pcrs.len() == 1 { "is" } else { "are" };
            let like = match like.as_slice() {
                [] => String::new(),
                like => format!("; it would unlock as in {}", like.join(" and ")),
            };
            format!(
                "does not unlock: {} {verb} not what it was sealed to{like}",
                pcrs_in_words(pcrs)
            )
        }
        Outcome::StaysLocked(Mismatch::Untold { pcrs }) => format!(
            "does not unlock; which of {} is to blame cannot be told, since one hash covers all: try --report or --earlier-uefi-config",
            pcrs_in_words(pcrs)
        ),
    }
}
