//! A guest on a disk larger than its image, booted twice: cloud-init grows the root at the first boot, and the key
//! that it needed for that is gone at the second.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::account::Account;
use super::case::{boot_to_its_end, copy};
use super::machine::{Acceleration, Machine};
use super::measured;
use super::subject::Subject;

/// How much longer the guest's disk is than the image.
const MORE_BYTES: u64 = 1 << 30;

/// Boots twice. The consoles go to `log` and, with another ending, beside it.
pub fn run(subject: &Subject, acceleration: Acceleration, log: &Path) -> Result<String> {
    let folder = subject.folder.join("changed");
    std::fs::create_dir_all(&folder)?;
    let disk = folder.join("larger.img");
    copy(&subject.deployed, &disk)?;
    let image_bytes = std::fs::metadata(&disk)?.len();
    File::options()
        .write(true)
        .open(&disk)?
        .set_len(image_bytes + MORE_BYTES)?;
    let tpm = subject.tpms.join("copy");
    copy(&subject.tpm, &tpm)?;
    let machine = Machine {
        acceleration,
        disk: &disk,
        keeps_changes: true,
        variables: &subject.variables,
        tpm: &tpm,
        told: None,
    };
    let first = boot_to_its_end(&machine, subject, log).context("the first boot")?;
    let second = boot_to_its_end(&machine, subject, &log.with_extension("second"))
        .context("the second boot")?;
    let kernel = subject.recipe.kernels.first().copied();
    for (account, which) in [(&first, "first"), (&second, "second")] {
        account.check()?;
        let measured = log.with_extension(format!("{which}.log"));
        check(account, image_bytes)
            .and_then(|()| measured::check(subject, kernel, account, &measured))
            .with_context(|| format!("after the {which} boot"))?;
    }
    Ok(format!(
        "root grown to {}, keyslot 10 and its key gone, opened again",
        second.fact("blocks")
    ))
}

/// The filesystem is longer than the image was, and nothing is left of the key that grew it.
fn check(account: &Account, image_bytes: u64) -> Result<()> {
    let blocks = account.fact("blocks"); // `478419 of 4096`
    let numbers = blocks
        .split_once(" of ")
        .context("the root tells no size")?;
    let bytes = numbers.0.parse::<u64>()? * numbers.1.parse::<u64>()?;
    ensure!(
        bytes > image_bytes,
        "the root has {blocks} bytes, it was not grown"
    );
    let key = account.fact("growpart-key");
    ensure!(key.is_empty(), "{key} is still there");
    let keyslots: Vec<_> = account.fact("keyslots").split_whitespace().collect();
    ensure!(!keyslots.is_empty(), "no keyslot is seen");
    ensure!(
        !keyslots.contains(&"10"),
        "keyslot 10 is still there: {keyslots:?}"
    );
    Ok(())
}
