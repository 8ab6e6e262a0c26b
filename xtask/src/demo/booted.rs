//! The last part: the guest boots the deployed image under Secure Boot, and opens its root by itself.

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

/// Boots it, with its TPM and a copy of its firmware's variables. `nonce` is what its root alone knows.
pub fn boot(deployed: &Deployed, variables: &Path, nonce: &str, folder: &Path) -> Result<Booted> {
    heading("Boot the guest under Secure Boot, with its TPM");
    let folder = folder.join("boot");
    std::fs::create_dir_all(&folder)?;
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
    compare(deployed, &account)?;
    Ok(Booted {
        root: account.fact("root").to_owned(),
        seconds,
    })
}

/// What was predicted beside what the guest measured.
fn compare(deployed: &Deployed, account: &Account) -> Result<()> {
    let branch = deployed.report.policy.branches.first();
    let branch = branch.context("nothing was predicted")?;
    println!("\nPCR  predicted before its first boot, and measured in it");
    for (pcr, value) in &branch.pcrs {
        let measured = account.pcr(pcr);
        println!("{pcr:>3}  {value}\n     {measured}");
        // Ubuntu's reader closes PCR 12 behind itself, so that the running system gets no key.
        ensure!(
            *value == measured || pcr == "12",
            "the guest measured something else in PCR {pcr}"
        );
    }
    if branch.pcrs.contains_key("12") {
        println!("PCR 12 is one event further: the reader closes it once the root is open.");
    }
    Ok(())
}
