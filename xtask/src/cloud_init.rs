//! cloud-init as this machine's distribution ships it, for the tests of what `encrypt` tells it: unpacked, never
//! installed, since an installed one would run at this machine's next boot.
//!
//! `tests/support/cloud_init.rs` finds it in `cloud-init` below cargo's folder.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{packages, process};

const PACKAGE: &str = "cloud-init";

/// Unpacks it below cargo's folder unless it is there.
pub fn install() -> Result<()> {
    let folder = crate::target_folder()?.join(PACKAGE);
    if folder.exists() || process::find("apt-get").is_none() {
        return Ok(());
    }
    println!("Fetching {PACKAGE}, to be unpacked below cargo's folder:");
    let unfinished = folder.with_extension("part");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    fs::create_dir_all(&unfinished)
        .with_context(|| format!("cannot make {}", unfinished.display()))?;
    let fetch = || {
        let mut fetch = process::program("apt-get");
        process::run(
            fetch
                .args(["--quiet", "download", PACKAGE])
                .current_dir(&unfinished),
        )
    };
    // The lists of packages may be absent, or name a version that is not served any more.
    if fetch().is_err() {
        packages::update()?;
        fetch()?;
    }
    let packages = fs::read_dir(&unfinished)?.collect::<Result<Vec<_>, _>>()?;
    let [package] = &packages[..] else {
        bail!("apt-get download {PACKAGE} left {} files", packages.len());
    };
    let mut unpack = process::program("dpkg-deb");
    process::run(unpack.arg("--extract").arg(package.path()).arg(&unfinished))?;
    fs::remove_file(package.path())?;
    fs::rename(&unfinished, &folder).with_context(|| format!("cannot make {}", folder.display()))
}
