//! A guest that has run moves to another TPM: its disk, as it left it, is sealed again by its recovery key.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::case::{boot_to_its_end, copy, described};
use super::machine::{Acceleration, Machine};
use super::measured;
use super::sign::Sign;
use super::subject::{Subject, make_tpm};
use super::watch::{Answer, Outcome, watch};
use crate::process;

/// Boots with the first TPM, seals again, boots with the first, which has to be refused with `sign`, and with the other.
/// The consoles go to `log` and, with other endings, beside it.
pub fn run(
    subject: &Subject,
    sign: &Sign,
    acceleration: Acceleration,
    log: &Path,
) -> Result<String> {
    let changed = subject.folder.join("changed");
    fs::create_dir_all(&changed)?;
    let disk = changed.join("disk.img");
    copy(&subject.deployed, &disk)?;
    let first = subject.tpms.join("copy");
    copy(&subject.tpm, &first)?;
    let other = subject.tpms.join("other");
    let public = changed.join("srk.pub");
    make_tpm(&other, subject.srk, &public)?;
    let mut machine = Machine {
        acceleration,
        disk: &disk,
        keeps_changes: true,
        variables: &subject.variables,
        tpm: &first,
        told: None,
    };
    boot_to_its_end(&machine, subject, log).context("the boot before")?;

    let mut deploy = subject.deploy(&public)?;
    deploy.arg("--unlock-with").arg(subject.recovery_key_file());
    process::quiet_output(deploy.arg(&disk))?;

    let mut running = machine.start(&subject.folder.join("store.fd"))?;
    let refused = log.with_extension("refused");
    match watch(&mut running, &subject.nonce, Answer::Wrong, &refused)? {
        Outcome::Refused(refusal) if refusal.is(sign) => {}
        outcome => bail!("with the TPM before: {}", described(&outcome)),
    }
    drop(running);

    machine.tpm = &other;
    let after = log.with_extension("after");
    let account = boot_to_its_end(&machine, subject, &after).context("the other TPM")?;
    account.check()?;
    let kernel = subject.recipe.kernels.first().copied();
    measured::check(subject, kernel, &account, &log.with_extension("log"))?;
    Ok(format!(
        "root on {} with the other TPM alone",
        account.fact("root")
    ))
}
