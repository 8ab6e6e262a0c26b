//! systemd's own readers of its tokens, for the tests of `deploy --key-object systemd-tpm2`: out of Debian 13's packages,
//! since Debian 12's cannot open what is sealed without the TPM, and Ubuntu 24.04's lacks half of what is needed.
//!
//! The packages are extracted, not installed, by an ordinary user; `systemd-reader` below cargo's folder keeps the
//! libraries and three programs, which the tests run by the loader that lies there.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{debian, packages, process};

/// systemd and libcryptsetup load the libraries of tpm2-tss while they run, so no dependency names them.
const PACKAGES: [&str; 8] = [
    "systemd",
    "systemd-cryptsetup",
    "python3",
    "libtss2-esys-3.0.2-0t64",
    "libtss2-mu-4.0.1-0t64",
    "libtss2-rc0t64",
    "libtss2-tcti-device0t64",
    "libtss2-tcti-swtpm0t64",
];

/// What is kept of them.
const KEPT: [&str; 6] = [
    "./usr/lib64",
    "./usr/lib/x86_64-linux-gnu",
    "./usr/lib/python3*",
    "./usr/bin/python3*",
    "./usr/bin/systemd-cryptenroll",
    "./usr/lib/systemd/systemd-measure",
];

/// Puts the readers below cargo's folder unless they are there. On other machines than x86-64 the tests skip them.
pub fn install_readers() -> Result<()> {
    let folder = crate::target_folder()?.join("systemd-reader");
    let (root, stamp) = (folder.join("root"), folder.join("stamp"));
    let content = format!(
        "{}\n{}\n{}\n",
        debian::SUITE,
        PACKAGES.join(" "),
        KEPT.join(" ")
    );
    let is_there = fs::read_to_string(&stamp).is_ok_and(|found| found == content);
    if is_there || std::env::consts::ARCH != "x86_64" {
        return Ok(());
    }
    packages::install(debian::packages()?)?;
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let archive = folder.join("packages.tar");
    let how = ["--mode=chrootless", "--variant=extract"];
    debian::archive(&how, &PACKAGES, &archive)?;
    let mut tar = process::program("tar");
    tar.args(["--extract", "--no-same-owner", "--wildcards", "--directory"]);
    tar.arg(&root).arg("--file").arg(&archive).args(KEPT);
    process::run(&mut tar)?;
    fs::remove_file(&archive)?;
    fs::write(&stamp, content).with_context(|| format!("cannot write {}", stamp.display()))
}
