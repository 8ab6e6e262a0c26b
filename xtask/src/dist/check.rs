//! The packages in clean Debian roots: installed as the manual says, tried by an ordinary user, removed again.
//!
//! | root | what is in it | what is tried |
//! | --- | --- | --- |
//! | of a user | mmdebstrap's `minbase`, man, three shells | the Debian package and, after its removal, the archive below `/usr/local` |
//! | bare | mmdebstrap's `essential`: no libext2fs, no apt | dpkg refuses the package; the archive works below `~/.local` |
//!
//! What is checked stands in `check.sh`, which runs in the root. It also encrypts an image there; here, outside,
//! cryptsetup opens what came out.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Made, contents, heading, tree};
use crate::disk::Disk;
use crate::guest::namespace::Namespace;
use crate::{debian, process};

/// A release of Debian, and the version of its C library.
struct Suite {
    name: &'static str,
    libc: (u32, u32),
}

const SUITES: &[Suite] = &[
    Suite {
        name: "bookworm",
        libc: (2, 36),
    },
    Suite {
        name: "trixie",
        libc: (2, 41),
    },
];

/// A kind of root: how `check.sh` calls it, and what mmdebstrap makes it of.
struct Root {
    name: &'static str,
    variant: &'static str,
    packages: &'static [&'static str],
}

const USERS: Root = Root {
    name: "user",
    variant: "minbase",
    // The libraries too: within the root there is no network, from which apt takes them on a user's machine.
    packages: &[
        "bash-completion",
        "fish",
        "libcom-err2",
        "libext2fs2",
        "man-db",
        "zsh",
    ],
};

const BARE: Root = Root {
    name: "bare",
    variant: "essential",
    packages: &[],
};

/// Reads the LUKS2 header in `$1`: the key that its token holds opens its first keyslot.
const OPENS: &str = "\
set -eu
PATH=$PATH:/usr/sbin:/sbin
cryptsetup --disable-locks token export --token-id=0 \"$1\" | grep -o '\"[^\"]*\"' | tail -n 1 | tr -d '\"' |
    base64 --decode | cryptsetup --disable-locks open --test-passphrase --key-slot=0 --key-file=- \"$1\"";

/// Checks the packages, and encrypts `image` with them.
pub(super) fn run(made: &Made, image: &Path, work: &Path) -> Result<()> {
    heading("lintian");
    let mut lintian = process::program("lintian");
    lintian.args(["--fail-on", "error,warning"]);
    // It takes a first version for an upload to Debian, which closes the wish for the package.
    lintian.args(["--suppress-tags", "initial-upload-closes-no-bugs"]);
    process::run(lintian.arg(&made.deb))?;

    let needed = needed_libc(&made.deb)?;
    let is_new_enough = |suite: &&Suite| suite.libc >= needed;
    ensure!(
        SUITES.iter().any(|suite| is_new_enough(&suite)),
        "the package needs the C library {needed:?} of this machine, which is newer than that of every release it is \
         tried on: build it on an older one"
    );
    let checks = Checks {
        made,
        image,
        work,
        namespace: Namespace::find()?,
    };
    for suite in SUITES {
        if is_new_enough(&suite) {
            checks.run(suite, &USERS)?;
        } else {
            println!(
                "\nThis machine's package needs a newer system than Debian {}.",
                suite.name
            );
        }
        checks.run(suite, &BARE)?;
    }
    Ok(())
}

struct Checks<'a> {
    made: &'a Made,
    image: &'a Path,
    work: &'a Path,
    namespace: Namespace,
}

impl Checks<'_> {
    /// One root, from its archive to nothing.
    fn run(&self, suite: &Suite, root: &Root) -> Result<()> {
        heading(&format!("Debian {}, root `{}`", suite.name, root.name));
        let archive = self.root(suite, root)?;
        let folder = self.work.join("check");
        self.remove(&folder)?;
        let out = folder.join("out");
        fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        let tree = folder.join("tree");
        fs::create_dir(&tree)?;
        self.unpack(&archive, &tree)?;
        self.check(root, &tree, &self.readable_image(&folder)?, &out)?;
        let encrypted = out.join("encrypted.img");
        ensure!(encrypted.is_file(), "{} is missing", encrypted.display());
        let header = folder.join("header.luks");
        Disk::of(&encrypted)?.copy_container_header(&header)?;
        process::quiet_output(Command::new("sh").args(["-c", OPENS, "sh"]).arg(&header))
            .context("cryptsetup does not open what was encrypted in the root")?;
        println!("  cryptsetup, outside, opens the encrypted image with the key of its token");
        self.remove(&folder)
    }

    fn unpack(&self, archive: &Path, tree: &Path) -> Result<()> {
        let mut tar = self.namespace.command();
        tar.args(["tar", "--extract", "--numeric-owner", "--same-owner"]);
        // A user namespace may not make devices.
        tar.args(["--preserve-permissions", "--exclude=./dev/*"]);
        tar.arg("--directory").arg(tree).arg("--file").arg(archive);
        process::quiet_output(&mut tar)?;
        Ok(())
    }

    /// The image, or where others may not read it a copy: in the root another user does.
    fn readable_image(&self, folder: &Path) -> Result<PathBuf> {
        let found = fs::metadata(self.image)
            .with_context(|| format!("cannot open {}", self.image.display()))?;
        if found.permissions().mode() & 0o004 != 0 {
            return Ok(self.image.to_owned());
        }
        let copy = folder.join("disk.img");
        let mut cp = process::program("cp");
        cp.args(["--sparse=always", "--reflink=auto"])
            .arg(self.image);
        process::quiet_output(cp.arg(&copy))?;
        tree::set_mode(&copy, 0o644)?;
        Ok(copy)
    }

    fn check(&self, root: &Root, tree: &Path, image: &Path, out: &Path) -> Result<()> {
        let scripts = crate::project_folder().join("xtask/src/dist");
        let name = |file: &Path| file.file_name().unwrap_or_default().to_owned();
        // Mounts in a namespace of their own: they are gone with the script, whatever happens.
        let mut enter = process::program("unshare");
        enter.arg("--mount").arg("sh").arg(scripts.join("enter.sh"));
        enter.args([tree, &scripts.join("check.sh"), &self.made.folder]);
        enter.args([image, out]);
        enter.arg(root.name).arg(&self.made.release.version);
        enter.args([name(&self.made.deb), name(&self.made.archive)]);
        enter.args(contents::pages(&crate::project_folder())?);
        self.namespace.run(&enter)
    }

    /// The archive of a root, made by mmdebstrap unless it is there from an earlier run.
    fn root(&self, suite: &Suite, root: &Root) -> Result<PathBuf> {
        let folder = self.work.join("roots");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let archive = folder.join(format!("{}-{}.tar", suite.name, root.name));
        let made_of = archive.with_extension("txt");
        let recipe = format!("{} {}", root.variant, root.packages.join(","));
        if archive.exists() && fs::read_to_string(&made_of).is_ok_and(|known| known == recipe) {
            return Ok(archive);
        }
        let variant = format!("--variant={}", root.variant);
        let how = [self.namespace.mmdebstrap_mode(), &variant];
        debian::archive_of(suite.name, &how, root.packages, &archive)?;
        fs::write(&made_of, recipe)?;
        Ok(archive)
    }

    /// Removes what belongs to users of the namespace.
    fn remove(&self, folder: &Path) -> Result<()> {
        process::quiet_output(self.namespace.command().args(["rm", "-rf"]).arg(folder))?;
        Ok(())
    }
}

/// The C library that the package asks for.
fn needed_libc(deb: &Path) -> Result<(u32, u32)> {
    let mut dpkg_deb = process::program("dpkg-deb");
    let depends = process::quiet_output(dpkg_deb.arg("--field").arg(deb).arg("Depends"))?;
    match libc_in(&depends) {
        Some(version) => Ok(version),
        None => bail!("the package does not tell the C library that it needs: {depends}"),
    }
}

fn libc_in(depends: &str) -> Option<(u32, u32)> {
    let (_, version) = depends.split_once("libc6 (>= ")?;
    let (version, _) = version.split_once(')')?;
    let (major, minor) = version.split_once('.')?;
    let digits = minor.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_that_is_needed_is_read() {
        assert_eq!(libc_in("libc6 (>= 2.36), libx"), Some((2, 36)));
        assert_eq!(libc_in("libx, libc6 (>= 2.38-1~)"), Some((2, 38)));
        assert_eq!(libc_in("libx (>= 1.47), libc6"), None);
    }
}
