//! Packages of Debian, other than this machine's, as a tar file: by mmdebstrap.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::packages::Need;
use crate::{packages, process, sources};

/// The release whose systemd can open what is sealed without its TPM.
pub const SUITE: &str = "trixie";

/// The Debian packages that this machine needs for it.
pub fn packages() -> Result<Vec<&'static packages::Package>> {
    let mut needed: Vec<_> = packages::of(&[Need::OtherRelease]).collect();
    if sources::for_suite(Path::new("/"), SUITE)?.is_none() {
        needed.extend(packages::of(&[Need::DebianKeys]));
    }
    Ok(needed)
}

/// Writes `packages` of [`SUITE`] and what they depend on into `archive`. `how` are options of mmdebstrap: its mode
/// and variant.
pub fn archive(how: &[&str], packages: &[&str], archive: &Path) -> Result<()> {
    archive_of(SUITE, how, packages, archive)
}

/// The same of another release.
pub fn archive_of(suite: &str, how: &[&str], packages: &[&str], archive: &Path) -> Result<()> {
    println!(
        "Fetching {} packages of Debian {suite} and what they depend on:",
        packages.len()
    );
    let unfinished = archive.with_extension("part");
    let mut mmdebstrap = process::program("mmdebstrap");
    mmdebstrap.args(how);
    mmdebstrap.args(["--format=tar", "--architectures=amd64", "--quiet"]);
    if !packages.is_empty() {
        mmdebstrap.arg(format!("--include={}", packages.join(",")));
    }
    mmdebstrap.arg(suite).arg(&unfinished);
    // Without a sources file mmdebstrap takes the mirror that it knows for the suite.
    if let Some(text) = sources::for_suite(Path::new("/"), suite)? {
        let file = archive.with_extension("sources");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        mmdebstrap.arg(file);
    }
    // It works in a directory of its own that other users of the namespace have to reach.
    mmdebstrap.env_remove("TMPDIR");
    process::run(&mut mmdebstrap)?;
    fs::rename(&unfinished, archive).with_context(|| format!("cannot make {}", archive.display()))
}
