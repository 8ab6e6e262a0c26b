//! A root of somebody else's, which a hostile host puts onto the guest's disk: plain, of the type by which systemd finds
//! the root, beside the container that was the root.
//!
//! Secure Boot, shim and the kernel image are the guest's own, so that PCR 4, 7 and 12 are as predicted. The strange
//! root's owner then asks the TPM for the key of the guest's container (`guest/proof/boot-proof`).

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Result, ensure};

use super::account::Account;
use super::subject::Subject;
use crate::disk::Disk;
use crate::guest::{NONCE, RootType};
use crate::process;

/// The partition of the strange root.
const NUMBER: u32 = 2;

const MIB: u64 = 1 << 20;

/// Adds the root to `disk`, a copy of the deployed one. It prints what the guest's own would print.
pub fn add_root(subject: &Subject, disk: &Path) -> Result<()> {
    let root = subject.guest.root();
    let end_mib = fs::metadata(disk)?.len().div_ceil(MIB);
    let root_mib = fs::metadata(&root)?.len().div_ceil(MIB);
    let longer = File::options().write(true).open(disk)?;
    longer.set_len((end_mib + root_mib + 1) * MIB)?;

    let mut sgdisk = process::program("sgdisk");
    sgdisk.arg("--move-second-header");
    sgdisk.arg(format!("--typecode=1:{}", RootType::LinuxData.guid()));
    // The backup of the table lies behind it, in the last mebibyte.
    sgdisk.arg(format!("--new={NUMBER}:{end_mib}M:+{root_mib}M"));
    sgdisk.arg(format!(
        "--typecode={NUMBER}:{}",
        RootType::SystemdRoot.guid()
    ));
    process::quiet_output(sgdisk.arg(disk))?;

    let mut dd = process::program("dd");
    dd.arg(format!("if={}", root.display()));
    dd.arg(format!("of={}", disk.display()));
    dd.args(["bs=1M", "conv=notrunc,sparse", "status=none"]);
    process::quiet_output(dd.arg(format!("seek={end_mib}")))?;
    Disk::of(disk)?.write_to_filesystem(NUMBER, NONCE, &subject.nonce)
}

/// Checks that it is this root that runs.
pub fn check_runs(account: &Account) -> Result<()> {
    let root = account.fact("root");
    ensure!(root.ends_with(&NUMBER.to_string()), "the root is {root}");
    let mapping = account.fact("mapping");
    ensure!(mapping.is_empty(), "the root's mapping is {mapping}");
    Ok(())
}
