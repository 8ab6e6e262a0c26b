//! What a guest measured beside what was predicted before it ever ran: values of PCRs, and its log event by event.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::account::Account;
use super::subject::Subject;
use crate::guest::Kernel;
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
    let branches = &subject.report.policy.branches;
    let sealed = PROFILES
        .iter()
        .filter(|(pcr, _)| branches.iter().any(|branch| branch.pcrs.contains_key(*pcr)));
    let sealed: Vec<_> = sealed.collect();
    let is_of_kernel = |branch: &&Branch| {
        kernel.is_none_or(|kernel| {
            branch
                .kernels
                .iter()
                .any(|name| name.ends_with(kernel.file))
        })
    };
    let branch = branches.iter().find(is_of_kernel);
    let branch = branch.context("no branch was predicted for the kernel that was booted")?;
    for (pcr, _) in &sealed {
        let predicted = branch.pcrs.get(*pcr).map_or("", String::as_str);
        let measured = account.pcr(pcr);
        ensure!(
            predicted == measured,
            "PCR {pcr} was predicted to be {predicted}, and is {measured}"
        );
    }
    if let Some(kernel) = kernel {
        let words = account.fact("cmdline");
        ensure!(words.ends_with(kernel.words), "the command line is {words}");
    }
    let mut predict = super::product("encrypt-cloud-image")?;
    predict.arg("predict").arg(&subject.encrypted);
    predict.arg("--ovmf-vars").arg(&subject.variables);
    predict.args(sealed.iter().map(|(_, profile)| profile));
    process::quiet_output(predict.arg("--explain").arg(log))
        .context("the guest's event log is not what was predicted")?;
    Ok(())
}
