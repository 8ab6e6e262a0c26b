//! The demo's guest: a small but real cloud image, made of Debian packages without root.
//!
//! Debian 13, because its systemd 257 and its dracut initrd can open a root volume by a TPM. The disk is
//! laid out as Ubuntu's cloud images are ([`disk`]), the root filesystem comes out of [`ROOT_SCRIPT`].
//! Both the packages and the finished guest are kept below `target/demo`, under a name that is a digest
//! of all that went into them; what another version of this program left there is removed.
//!
//! Runs as an ordinary user within a user namespace, or as root without one.

mod disk;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{packages, process, sources};

const SUITE: &str = "trixie";

/// What the guest is made of. `systemd-cryptsetup` is a package of its own in Debian 13: without it the
/// initrd has nothing that opens a LUKS volume.
const PACKAGES: &[&str] = &[
    // The system
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "netbase",
    "iproute2",
    "keyutils",
    // The disk, encrypted or not, with the key in a TPM or not
    "systemd-cryptsetup",
    "cryptsetup-bin",
    "dmsetup",
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "tpm2-tools",
    "libtss2-esys-3.0.2-0t64",
    "libtss2-rc0t64",
    "libtss2-tcti-device0t64",
    // The cloud
    "cloud-init",
    "cloud-guest-utils",
    // The boot: dracut makes an initrd that fits any machine while the kernel is installed
    "dracut",
    "linux-image-cloud-amd64",
    "shim-signed",
    "systemd-boot-efi",
    "systemd-ukify",
];

const ROOT_SCRIPT: &str = include_str!("root.sh");

/// The Debian packages that this machine needs to build the guest.
pub fn packages() -> Result<Vec<&'static packages::Package>> {
    let mut needed: Vec<_> = packages::GUEST.iter().collect();
    if sources::for_suite(Path::new("/"), SUITE)?.is_none() {
        needed.push(&packages::DEBIAN_KEYS);
    }
    Ok(needed)
}

/// The guest's disk image, built below `folder` unless it is there already.
pub fn image(folder: &Path) -> Result<PathBuf> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the guest is built on x86-64 machines only; name an image: cargo xtask demo IMAGE");
    }
    let packages_key = digest(&[SUITE, &PACKAGES.join(",")])?;
    let guest_key = digest(&[&packages_key, ROOT_SCRIPT, disk::SOURCE])?;
    let archive = folder.join(format!("packages-{packages_key}.tar"));
    let guest = folder.join(format!("guest-{guest_key}"));
    let image = guest.join("disk.img");
    if image.exists() {
        println!("The guest of an earlier run is still good.");
        return Ok(image);
    }

    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let start = Instant::now();
    let namespace = Namespace::find()?;
    // What a run that was killed left belongs to users of the namespace.
    process::quiet_output(
        namespace
            .command()
            .arg("rm")
            .arg("-rf")
            .arg(folder.join("work")),
    )?;
    remove_all_but(folder, &archive)?;
    if !archive.exists() {
        install_packages(&namespace, &archive)?;
    }
    build(&namespace, &archive, &folder.join("work"))?;
    fs::rename(folder.join("work"), &guest)
        .with_context(|| format!("cannot make {}", guest.display()))?;
    println!(
        "The guest is built, in {:.0} s.",
        start.elapsed().as_secs_f64()
    );
    Ok(image)
}

/// Debian's packages, installed, as a tar file.
fn install_packages(namespace: &Namespace, archive: &Path) -> Result<()> {
    println!(
        "Installing {} packages of Debian {SUITE} and what they depend on:",
        PACKAGES.len()
    );
    let unfinished = archive.with_extension("part");
    let mut mmdebstrap = process::program("mmdebstrap");
    mmdebstrap.args([
        namespace.mmdebstrap_mode(),
        "--variant=minbase",
        "--format=tar",
    ]);
    mmdebstrap.args(["--architectures=amd64", "--quiet"]);
    mmdebstrap
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(SUITE)
        .arg(&unfinished);
    // Without a sources file mmdebstrap takes the mirror that it knows for the suite.
    if let Some(text) = sources::for_suite(Path::new("/"), SUITE)? {
        let file = archive.with_extension("sources");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        mmdebstrap.arg(file);
    }
    // It works in a directory of its own that other users of the namespace have to reach.
    mmdebstrap.env_remove("TMPDIR");
    process::run(&mut mmdebstrap)?;
    fs::rename(&unfinished, archive).with_context(|| format!("cannot make {}", archive.display()))
}

/// Root filesystem, boot files and disk image, in `folder`.
fn build(namespace: &Namespace, archive: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut root = process::program("sh");
    root.arg(crate::project_folder().join("xtask/src/guest/root.sh"));
    root.args([archive, folder])
        .arg(disk::root_blocks().to_string());
    namespace.run(&root)?;
    disk::assemble(folder)
}

/// Removes what earlier versions left in `folder`, but for `kept`.
fn remove_all_but(folder: &Path, kept: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let is_ours =
            name.is_some_and(|name| name.starts_with("guest-") || name.starts_with("packages-"));
        if !is_ours || path == kept {
            continue;
        }
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// How files of other owners are made: as root, or as the root of a user namespace.
enum Namespace {
    /// Root needs none; a container's root often could not make one.
    Root,
    User,
}

impl Namespace {
    fn find() -> Result<Self> {
        if process::is_root()? {
            return Ok(Self::Root);
        }
        // Where namespaces are forbidden, util-linux 2.38 leaves a helper behind that waits for ever.
        let mapped = process::attempt(Self::User.command().arg("true"), Duration::from_secs(60));
        mapped.context(
            "this user cannot make a user namespace, in which the guest's files get their owners.\n\
             Mend what applies, or run as root, or name an image (cargo xtask demo IMAGE):\n\
             - no ranges in /etc/subuid and /etc/subgid:\n  \
               sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \"$USER\"\n\
             - forbidden by AppArmor (Ubuntu 24.04 and newer):\n  \
               sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0\n\
             - forbidden by the kernel's settings:\n  \
               sudo sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000\n\
             - forbidden within a chroot: leave it",
        )?;
        Ok(Self::User)
    }

    fn mmdebstrap_mode(&self) -> &'static str {
        match self {
            Self::Root => "--mode=root",
            Self::User => "--mode=unshare",
        }
    }

    /// What stands before a command that runs in the namespace.
    fn command(&self) -> Command {
        match self {
            Self::Root => Command::new("env"),
            Self::User => {
                let mut command = process::program("unshare");
                command.args(["--map-root-user", "--map-auto"]);
                command
            }
        }
    }

    fn run(&self, inner: &Command) -> Result<()> {
        let mut command = self.command();
        command
            .arg(inner.get_program())
            .args(inner.get_args())
            .env("LC_ALL", "C");
        process::run(&mut command)
    }
}

/// SHA-256 over `parts`, by coreutils: 16 hex digits, enough to tell caches apart.
fn digest(parts: &[&str]) -> Result<String> {
    use std::io::Write as _;

    let mut program = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start `sha256sum`")?;
    if let Some(mut input) = program.stdin.take() {
        for part in parts {
            writeln!(input, "{} {part}", part.len())?;
        }
    }
    let output = program.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .get(..16)
        .context("`sha256sum` gave no digest")?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_where_one_part_ends() {
        assert_eq!(digest(&["ab", "c"]).unwrap(), digest(&["ab", "c"]).unwrap());
        assert_ne!(digest(&["ab", "c"]).unwrap(), digest(&["a", "bc"]).unwrap());
        assert_eq!(digest(&[]).unwrap(), "e3b0c44298fc1c14"); // SHA-256 of nothing
    }
}
