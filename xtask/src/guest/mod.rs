//! The demo's guest: a small but real cloud image, made of Debian packages without root.
//!
//! Debian 13, because its systemd 257 and its dracut initrd can open a root volume by a TPM. The disk is
//! laid out as Ubuntu's cloud images are ([`disk`]), the root filesystem comes out of `root.sh`, and a key of its own
//! signs the kernel image ([`kernel_image`], [`secure_boot`]).
//! Both the packages and the finished guest are kept below `target/demo`, under a name that is a digest
//! of all that went into them; what another version of this program left there is removed.
//!
//! Runs as an ordinary user within a user namespace, or as root without one.

mod disk;
mod initrd;
mod kernel_image;
pub mod namespace;
pub mod random;
mod reader;
mod recipe;
pub mod secure_boot;
mod snap_bootstrap;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

pub use self::disk::RootType;
pub use self::reader::Reader;
pub use self::recipe::{Kernel, Recipe};
pub use self::secure_boot::{STORE, Signer};

use self::kernel_image::KernelImage;
use self::namespace::Namespace;
use crate::debian::{self, SUITE};
use crate::disk::Disk;
use crate::packages::Need;
use crate::{packages, process, python};

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

/// The files beside this one that decide what a guest is.
const SOURCES: &[&str] = &[
    include_str!("mod.rs"),
    include_str!("root.sh"),
    include_str!("proof/boot-proof"),
    include_str!("proof/boot-proof.service"),
    include_str!("proof/boot-proof.target"),
    disk::SOURCE,
    initrd::SOURCE,
    kernel_image::SOURCE,
    reader::SOURCE,
    include_str!("recipe.rs"),
    snap_bootstrap::SOURCE,
    secure_boot::SOURCE,
];

/// The Debian packages that this machine needs to build the guest.
pub fn packages() -> Result<Vec<&'static packages::Package>> {
    let mut needed: Vec<_> = packages::of(&[Need::Guest, Need::Go]).collect();
    needed.extend(debian::packages()?);
    Ok(needed)
}

/// The file in the root whose content a boot test waits for.
pub const NONCE: &str = "/etc/boot-proof";

/// A built guest.
pub struct Guest {
    folder: PathBuf,
}

impl Guest {
    /// The guest below `folder`, built unless it is there already.
    pub fn prepare(folder: &Path) -> Result<Self> {
        if std::env::consts::ARCH != "x86_64" {
            bail!(
                "the guest is built on x86-64 machines only; name an image: cargo xtask demo IMAGE"
            );
        }
        let packages_key = digest(&[SUITE, &PACKAGES.join(",")])?;
        let guest_key = digest(&[&[packages_key.as_str()], SOURCES].concat())?;
        let archive = folder.join(format!("packages-{packages_key}.tar"));
        let this = Self {
            folder: folder.join(format!("guest-{guest_key}")),
        };
        if this.folder.exists() {
            println!("The guest of an earlier run is still good.");
            return Ok(this);
        }

        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        python::install_virt_fw_vars()?;
        let start = Instant::now();
        let namespace = Namespace::find()?;
        let work = folder.join("work");
        // What a run that was killed left belongs to users of the namespace.
        process::quiet_output(namespace.command().arg("rm").arg("-rf").arg(&work))?;
        remove_all_but(folder, &archive)?;
        if !archive.exists() {
            let how = [namespace.mmdebstrap_mode(), "--variant=minbase"];
            debian::archive(&how, PACKAGES, &archive)?;
        }
        Self { folder: work }.build(&namespace, &archive)?;
        fs::rename(folder.join("work"), &this.folder)
            .with_context(|| format!("cannot make {}", this.folder.display()))?;
        println!(
            "The guest is built, in {:.0} s.",
            start.elapsed().as_secs_f64()
        );
        Ok(this)
    }

    /// The files and folders of the guest below `folder` that disks are made of.
    pub fn parts(folder: &Path) -> Result<Vec<PathBuf>> {
        let guest = Self::prepare(folder)?.folder;
        let names = ["boot", "esp", "keys", "root.img", "variables.fd"];
        Ok(names.iter().map(|name| guest.join(name)).collect())
    }

    /// A cloud image that starts under Secure Boot, where firmware has [`Self::variables`]. Ubuntu's reader opens its
    /// root, once it is encrypted and deployed.
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// A variable store of edk2's firmware: Secure Boot on, the key of the guest's kernel images in db, and a boot
    /// entry. Firmware writes to it: give it a copy.
    pub fn variables(&self) -> PathBuf {
        self.folder.join("variables.fd")
    }

    /// The root filesystem that its disks are made with.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.img")
    }

    /// What signs the guest's kernel images.
    pub fn signer(&self) -> Signer {
        Signer::at(&self.folder.join("keys"))
    }

    /// Root filesystem, boot files and disk image.
    fn build(&self, namespace: &Namespace, archive: &Path) -> Result<()> {
        let folder = &self.folder;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut root = process::program("sh");
        root.arg(crate::project_folder().join("xtask/src/guest/root.sh"));
        root.args([archive, folder])
            .arg(disk::root_blocks().to_string());
        namespace.run(&root)?;

        let snap_bootstrap = snap_bootstrap::build(&crate::target_folder()?.join("interop"))?;
        let boot = folder.join("boot");
        for reader in Reader::ALL {
            let entries = reader.initrd(&boot, &snap_bootstrap)?;
            initrd::write(&entries, &boot, reader.name())?;
        }
        let signer = Signer::make(&folder.join("keys"))?;
        secure_boot::write_store(&signer, None, &self.variables())?;
        self.make_disk(&Recipe::new(Reader::SnapBootstrap), &self.disk())?;
        let nonce = random::nonce()?;
        fs::write(folder.join("nonce"), &nonce)?;
        Disk::of(&self.disk())?.write_to_root(NONCE, &nonce)
    }

    /// What the root of [`Self::disk`] alone knows: it prints it once it runs.
    pub fn nonce(&self) -> Result<String> {
        let file = self.folder.join("nonce");
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// Makes a disk of the guest's parts.
    pub fn make_disk(&self, recipe: &Recipe, disk: &Path) -> Result<()> {
        let esp = disk.with_extension("files");
        let mut copy = process::program("cp");
        process::quiet_output(copy.arg("-r").arg(self.folder.join("esp")).arg(&esp))?;
        for kernel in &recipe.kernels {
            let file = esp.join("EFI/ubuntu").join(kernel.file);
            self.make_kernel_image(recipe.reader, kernel.words, &file)?;
        }
        let parts = disk::Parts {
            root: &self.root(),
            root_type: recipe.reader.root_type(),
            esp: &esp,
        };
        disk::assemble(&parts, disk)?;
        fs::remove_dir_all(&esp)?;
        Ok(())
    }

    /// Makes a signed kernel image whose command line has these words beside those that `reader` needs.
    pub fn make_kernel_image(&self, reader: Reader, words: &str, file: &Path) -> Result<()> {
        let boot = self.folder.join("boot");
        let image = KernelImage {
            parts: &boot,
            archive: &boot.join(format!("{}.cpio.gz", reader.name())),
            command_line: &[reader.command_line(), kernel_image::COMMON, words].join(" "),
        };
        image.write(&self.signer(), file)
    }
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
