//! What a `deploy` will do, in lines: all of it for `--dry-run`, the choices before a run.

use std::fmt::Write as _;

use crate::encrypt::plan::{Line, aligned, format_name, label, size};
use crate::prediction::leads_to;
use operations::deploy::{
    DeployPlan, KeyObjectKind, KeyslotFacts, Parent, Purpose, RecoveryForm, SrkFacts,
};
use operations::{Partition, partition_types, predict};

/// What was chosen where there was a choice.
pub fn choices(plan: &DeployPlan) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "root: {}", partition(plan, plan.disk.root));
    if let Some(again) = &plan.again {
        let _ = writeln!(text, "unlocked: keyslot {}", again.unlocked);
    }
    text + &binding_choices(plan)
}

/// What was chosen about the guest.
pub fn binding_choices(plan: &DeployPlan) -> String {
    let mut text = String::new();
    if plan.srk.is_some() {
        let _ = writeln!(text, "sealed to: {}", policy(plan));
    }
    if let Some(parent) = plan.srk.as_ref().and_then(parent) {
        let _ = writeln!(text, "SRK: {parent}");
    }
    text
}

/// The whole plan.
pub fn table(plan: &DeployPlan) -> String {
    let mut lines = vec![
        ("source", plan.source.display().to_string()),
        (
            "output",
            format!(
                "{}, {}, {}",
                plan.output.display(),
                format_name(plan.format),
                size(plan.file_bytes)
            ),
        ),
        ("root", partition(plan, plan.disk.root)),
        ("ESP", partition(plan, plan.disk.esp)),
    ];
    if plan.completes {
        lines.push((
            "work",
            "completes a deploy that was interrupted; nothing is sealed".to_owned(),
        ));
    }
    if let Some(again) = &plan.again {
        let work = format!(
            "seals a deployed image again; keyslot {} opens it and stays",
            again.unlocked
        );
        lines.push(("work", work));
    }
    lines.extend(binding_facts(plan));
    lines.push((
        "LUKS2",
        format!(
            "{}, {}, header {}",
            plan.luks.uuid.escape_debug(),
            label(&plan.luks.label),
            plan.luks.sequence_id
        ),
    ));
    let mut text = aligned(&lines) + &keyslots(plan) + &branches(plan);
    let _ = writeln!(text, "\nchanges");
    text += &esp_files(plan);
    let _ = writeln!(text, "  LUKS2 header: {}", header(plan));
    let _ = writeln!(text, "  {} are written", size(plan.written_bytes));
    text
}

/// To whom the key is sealed, in what, and in which states.
pub fn binding_facts(plan: &DeployPlan) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(srk) = &plan.srk {
        lines.push(("key object", key_object(plan).to_owned()));
        lines.push(("SRK", format!("{}, AES-{}", srk.kind, srk.aes_bits)));
        lines.push(("SRK name", srk.name.clone()));
        lines.extend(parent(srk).map(|parent| ("SRK place", parent)));
        lines.push(("sealed to", policy(plan)));
    }
    lines
}

/// The keyslots, and who opens them.
pub fn keyslots(plan: &DeployPlan) -> String {
    let mut text = String::new();
    for keyslot in &plan.luks.keyslots {
        let name = format!("keyslot {}", keyslot.number);
        let _ = writeln!(text, "{name:<12}{}", purpose(keyslot, plan));
    }
    text
}

/// The states that the key is sealed to.
pub fn branches(plan: &DeployPlan) -> String {
    let mut text = String::new();
    let prediction = plan.prediction.as_ref();
    let branches = prediction.map(predict::distinct).unwrap_or_default();
    for (number, branch) in (1..).zip(&branches) {
        let _ = writeln!(text, "\nbranch {number}: {}", leads_to(branch));
        for (pcr, value) in &branch.branch.pcrs {
            let _ = writeln!(text, "  PCR {pcr:<2} {}", hex::encode(value));
        }
    }
    text
}

/// Files on the EFI system partition.
pub fn esp_files(plan: &DeployPlan) -> String {
    let mut text = String::new();
    for file in &plan.files {
        let what = match &file.content {
            Some((len_bytes, _)) => format!("{len_bytes} bytes"),
            None => "not there".to_owned(),
        };
        let _ = writeln!(text, "  ESP:{}: {what}", file.path);
    }
    text
}

fn header(plan: &DeployPlan) -> String {
    match plan.again.as_ref().map(|again| &again.replaced[..]) {
        None => "no clear key, in neither copy".to_owned(),
        Some([]) => "a new keyslot".to_owned(),
        Some(replaced) => {
            let numbers: Vec<_> = replaced.iter().map(ToString::to_string).collect();
            format!(
                "a new keyslot, for the key that was sealed before: keyslot {}",
                numbers.join(", ")
            )
        }
    }
}

fn policy(plan: &DeployPlan) -> String {
    let Some(prediction) = &plan.prediction else {
        return "the vTPM alone, in any state".to_owned();
    };
    let pcrs = &prediction.selection.pcrs;
    let pcrs: Vec<_> = pcrs.iter().map(ToString::to_string).collect();
    let branches = predict::distinct(prediction);
    let kernels = branches.iter().map(|branch| branch.kernels.join(" or "));
    let kernels = each_once(kernels).join("; or of ");
    let configurations = branches.iter().flat_map(|branch| &branch.configurations);
    let configurations = each_once(configurations.map(ToString::to_string));
    let under = if configurations.is_empty() {
        String::new()
    } else {
        format!(", under {}", configurations.join(" or "))
    };
    format!(
        "PCR {}, as they are after a boot of {kernels}{under}",
        pcrs.join(", ")
    )
}

fn each_once(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut found = Vec::new();
    for text in texts {
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

fn partition(plan: &DeployPlan, number: u32) -> String {
    let find = |partition: &&Partition| partition.number == number;
    let Some(partition) = plan.disk.partitions.iter().find(find) else {
        return format!("partition {number}");
    };
    let kind = partition_types::type_name(partition.type_guid).unwrap_or("unknown type");
    let bytes = partition.sectors() * plan.disk.sector_bytes;
    format!("partition {number} ({kind}, {})", size(bytes))
}

fn key_object(plan: &DeployPlan) -> &'static str {
    match plan.key_object {
        KeyObjectKind::Secboot => "secboot, a file on the EFI system partition",
        KeyObjectKind::SystemdTpm2 => "systemd-tpm2, tokens in the LUKS2 header",
    }
}

/// How systemd's reader gets at the SRK, and what the guest must have for it.
fn parent(srk: &SrkFacts) -> Option<String> {
    Some(match srk.parent? {
        Parent::Derived => {
            "derived by systemd's legacy template; nothing has to lie in the guest's TPM".to_owned()
        }
        Parent::Persistent { handle } => {
            format!("must lie at {handle:#010x} in the guest's TPM before the root is opened")
        }
    })
}

fn purpose(keyslot: &KeyslotFacts, plan: &DeployPlan) -> &'static str {
    match keyslot.purpose {
        Purpose::Unlock => "the key that is sealed to the vTPM",
        Purpose::Growpart => "the growpart key, removed by cloud-init at the first boot",
        Purpose::Recovery => match plan.recovery {
            Some(RecoveryForm::Digits) => "the recovery key, typed as its digits with the dashes",
            Some(RecoveryForm::Letters) => "the recovery key, in systemd's own form",
            _ => "the recovery key",
        },
        Purpose::Other => "not made by this program",
    }
}
