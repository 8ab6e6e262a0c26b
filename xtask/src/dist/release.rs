//! Which version is packed, from which commit, when and by whom.

use std::env;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::crates::Metadata;
use crate::process;

/// The package of cargo whose programs are packed, which gives the Debian package its name.
pub const NAME: &str = "encrypt-cloud-image";

/// What all packages of one run have in common.
#[derive(Debug)]
pub struct Release {
    /// As in `Cargo.toml`.
    pub version: String,
    /// The licence expression of `Cargo.toml`.
    pub license: String,
    /// The commit, with a `+` where the checkout has changes.
    pub commit: String,
    /// The time that every file gets, in seconds since 1970: `SOURCE_DATE_EPOCH`, or the commit's.
    pub epoch: u64,
    /// `Name <address>`: `DEBFULLNAME` and `DEBEMAIL`, as Debian's tools take them, or the commit's author.
    pub maintainer: String,
}

impl Release {
    /// What is checked out here.
    pub fn of_checkout(metadata: &Metadata) -> Result<Self> {
        let package = metadata.package(NAME)?;
        let changes = git(&["status", "--porcelain"])?;
        let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
        let epoch = match env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) => epoch,
            Err(_) => git(&["log", "-1", "--format=%ct"])?,
        };
        let maintainer = match (env::var("DEBFULLNAME"), env::var("DEBEMAIL")) {
            (Ok(name), Ok(address)) => format!("{name} <{address}>"),
            _ => git(&["log", "-1", "--format=%an <%ae>"])?,
        };
        Ok(Self {
            version: package.version.clone(),
            license: package
                .license
                .clone()
                .context("Cargo.toml has no license")?,
            commit: if changes.is_empty() {
                commit
            } else {
                commit + "+"
            },
            epoch: epoch
                .parse()
                .context("SOURCE_DATE_EPOCH is no number of seconds")?,
            maintainer,
        })
    }

    /// The Debian package's version: in cargo's `0.2.0-rc.1` stands for what comes before 0.2.0, there a `~` does.
    pub fn debian_version(&self) -> String {
        format!("{}-1", self.version.replace('-', "~"))
    }

    /// The name of the archive with static programs, and of the folder in it.
    pub fn archive_name(&self) -> String {
        format!("{NAME}-{}-{}-linux", self.version, env::consts::ARCH)
    }
}

fn git(arguments: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(crate::project_folder());
    let output = process::quiet_output(&mut git)
        .context("a package tells the commit that it was made from: it takes a checkout of git")?;
    Ok(output.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_sorts_a_candidate_before_its_release() {
        let release = |version: &str| Release {
            version: version.to_owned(),
            license: String::new(),
            commit: String::new(),
            epoch: 0,
            maintainer: String::new(),
        };
        assert_eq!(release("0.1.0").debian_version(), "0.1.0-1");
        assert_eq!(release("0.2.0-rc.1").debian_version(), "0.2.0~rc.1-1");
    }
}
