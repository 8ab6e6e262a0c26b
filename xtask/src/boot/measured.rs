//! What a guest measured beside what was predicted before it ever ran: values of PCRs, and its log event by event. And
//! whether the running system gets the key once more.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::account::Account;
use super::subject::Subject;
use crate::guest::{Kernel, Reader};
use crate::prediction::Branch;
use crate::process;

/// The PCRs that firmware and shim extend, and what asks for them. What the initrd extends is in no firmware's log.
const PROFILES: [(&str, &str); 2] = [
    ("4", "--add-efi-boot-manager-profile"),
    ("7", "--add-efi-secure-boot-profile"),
];

/// Checks what a guest measured that booted `kernel`, one of those that it was deployed for, or another one. Its event
/// log is kept in the file `log`.
pub fn check(
    subject: &Subject,
    kernel: Option<Kernel>,
    account: &Account,
    log: &Path,
) -> Result<()> {
    fs::write(log, account.event_log()?)?;
    let branch = booted(&subject.report.policy.branches, kernel)?;
    for (pcr, predicted) in &branch.pcrs {
        let measured = account.pcr(pcr);
        if is_closed(subject, pcr) {
            ensure!(
                *predicted != measured,
                "PCR {pcr} is still what the key is sealed to"
            );
        } else {
            ensure!(
                *predicted == measured,
                "PCR {pcr} was predicted to be {predicted}, and is {measured}"
            );
        }
    }
    if let Some(kernel) = kernel {
        let words = account.fact("cmdline");
        ensure!(words.ends_with(kernel.words), "the command line is {words}");
    }
    let profiles = PROFILES.iter();
    let sealed = profiles.filter(|(pcr, _)| branch.pcrs.contains_key(*pcr));
    let mut predict = process::released("encrypt-cloud-image")?;
    predict.arg("predict").arg(&subject.deployed);
    predict.arg("--ovmf-vars").arg(&subject.variables);
    predict.args(sealed.map(|(_, profile)| profile));
    process::quiet_output(predict.arg("--explain").arg(log))
        .context("the guest's event log is not what was predicted")?;
    check_key(subject, account)
}

/// The branch of the kernel that was booted.
fn booted(branches: &[Branch], kernel: Option<Kernel>) -> Result<&Branch> {
    let is_of_kernel = |branch: &&Branch| {
        let Some(kernel) = kernel else { return true };
        let mut names = branch.kernels.iter();
        names.any(|name| name.ends_with(kernel.file))
    };
    let branch = branches.iter().find(is_of_kernel);
    branch.context("no branch was predicted for the kernel that was booted")
}

/// Whether a PCR was extended once more between the opening of the root and the account: by snap-bootstrap, which
/// closes PCR 12 behind itself; by `leave-initrd` and what follows it; by the volume key, and the machine's identity.
fn is_closed(subject: &Subject, pcr: &str) -> bool {
    matches!(
        (pcr, subject.recipe.reader),
        ("11" | "15", _) | ("12", Reader::SnapBootstrap)
    )
}

/// Checks that the running system gets the key of a token once more if none of the token's PCRs was closed, and else
/// not. Ubuntu's reader leaves no token.
fn check_key(subject: &Subject, account: &Account) -> Result<()> {
    if subject.recipe.reader == Reader::SnapBootstrap {
        return Ok(());
    }
    let told = account.fact("token-again");
    let selection = &subject.report.policy.selection;
    let closed = selection
        .iter()
        .any(|pcr| is_closed(subject, &pcr.to_string()));
    let expected = if closed { REFUSED } else { "opens" };
    ensure!(
        told == expected,
        "the running system tries the token again: \"{told}\"; expected \"{expected}\""
    );
    Ok(())
}

/// What systemd's plugin of cryptsetup says where the TPM refuses the key.
const REFUSED: &str = "Failed to unseal secret using TPM2: Operation not permitted";
