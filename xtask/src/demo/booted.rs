//! The last part: the guest boots the deployed image under Secure Boot, and opens its root by itself.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::deployed::Deployed;
use super::heading;
use crate::boot::{self, Account};
use crate::process;

/// A guest whose root was reached.
pub struct Booted {
    pub root: String,
    pub seconds: f64,
}

/// Facts of the guest's account, and what they are.
const TOLD: [(&str, &str); 7] = [
    ("root", "root"),
    ("filesystem", "filesystem"),
    ("mapping", "mapping, the key hidden"),
    ("secure-boot", "variable SecureBoot"),
    ("kernel", "kernel"),
    ("cmdline", "command line"),
    ("uptime", "seconds since its start"),
];

/// What firmware and shim extend. What the reader extends is in no firmware's log.
const LOGGED: [&str; 2] = [
    "--add-efi-boot-manager-profile",
    "--add-efi-secure-boot-profile",
];

/// Boots it, with its TPM and a copy of its firmware's variables. `nonce` is what its root alone knows.
pub fn boot(deployed: &Deployed, variables: &Path, nonce: &str, folder: &Path) -> Result<Booted> {
    heading("Boot the guest under Secure Boot, with its TPM");
    let folder = folder.join("boot");
    fs::create_dir_all(&folder)?;
    println!(
        "QEMU, edk2, swtpm; without KVM this takes some minutes. The console: {}",
        process::shown_path(&folder.join("console"))
    );
    let start = Instant::now();
    let account = boot::boot_to_root(&deployed.image, variables, &deployed.tpm, nonce, &folder)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("\nThe console's last lines before the root:");
    for line in boot::lines_before_root(&folder.join("console"), nonce) {
        println!("  {line}");
    }
    println!("\nA unit in the real root tells, {seconds:.0} s after the machine was switched on:");
    for (fact, name) in TOLD {
        println!("  {name:<24} {}", account.fact(fact));
    }
    compare(deployed, &account, variables, &folder)?;
    Ok(Booted {
        root: account.fact("root").to_owned(),
        seconds,
    })
}

/// What was predicted beside what the guest measured: the PCRs by their values, the log event by event.
fn compare(deployed: &Deployed, account: &Account, variables: &Path, folder: &Path) -> Result<()> {
    let branch = deployed.report.policy.branches.first();
    let branch = branch.context("nothing was predicted")?;
    println!("\nPCR  predicted before its first boot, and measured in it");
    for pcr in &deployed.report.policy.selection {
        let (name, measured) = (pcr.to_string(), account.pcr(&pcr.to_string()));
        let predicted = branch.pcrs.get(&name).map_or("", String::as_str);
        if *predicted == measured {
            println!("{pcr:>3}  {predicted}, the same");
            continue;
        }
        // Ubuntu's reader closes PCR 12 behind itself, so that the running system gets no key.
        ensure!(
            *pcr == 12,
            "PCR {pcr} was predicted to be {predicted}, and is {measured}"
        );
        println!("{pcr:>3}  {predicted}, closed by the reader once the root is open");
    }
    let log = folder.join("event.log");
    fs::write(&log, account.event_log()?)?;
    println!("\nThe guest's event log beside the prediction:");
    let mut predict = process::released("encrypt-cloud-image")?;
    predict.arg("predict").arg(&deployed.image);
    predict.arg("--ovmf-vars").arg(variables).args(LOGGED);
    let told = process::output(predict.arg("--explain").arg(&log))?;
    let events = told.lines().filter(|line| line.contains(" equal "));
    println!("{} events are equal, and none differs.", events.count());
    Ok(())
}
