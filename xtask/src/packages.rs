//! The Debian packages that tests and demo need, and how the missing ones come onto the machine.
//!
//! A package counts as there when its programs and files are, however they came: on a system that is
//! not Debian's the user installs them, and is told which.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process;

/// A Debian package and what shows that it is there: programs, or files by their absolute path.
pub struct Package {
    name: &'static str,
    signs: &'static [&'static str],
}

const fn package(name: &'static str, signs: &'static [&'static str]) -> Package {
    Package { name, signs }
}

/// What building the library takes: a C compiler and the headers of libext2fs.
pub const BUILD: &[Package] = &[
    package("gcc", &["cc"]),
    package("libc6-dev", &["/usr/include/stdlib.h"]),
    package("pkg-config", &["pkg-config"]),
    package("libext2fs-dev", &["/usr/include/ext2fs/ext2fs.h"]),
];

/// What `docs` takes beside [`BUILD`]: its program is an example, and those build with all that tests take.
pub const DOCS: &[Package] = &[package("libssl-dev", &["/usr/include/openssl/evp.h"])];

/// What makes packages, beside [`BUILD`] and [`DOCS`].
pub const DIST: &[Package] = &[
    package("binutils", &["readelf", "strip"]),
    package("dpkg-dev", &["dpkg-shlibdeps"]),
    package("gzip", &["gzip"]),
    package("tar", &["tar"]),
];

/// What checks packages.
pub const DIST_CHECK: &[Package] = &[
    package("cryptsetup-bin", &["cryptsetup"]),
    package("gdisk", &["sgdisk"]),
    package("lintian", &["lintian"]),
    package("uidmap", &["newgidmap", "newuidmap"]),
    package("util-linux", &["setpriv", "unshare"]),
];

/// The programs that judge our output in tests, and those that make its input.
pub const TEST: &[Package] = &[
    package("attr", &["getfattr", "setfattr"]),
    package("bash", &["bash"]),
    package("bsdutils", &["script"]),
    package("btrfs-progs", &["mkfs.btrfs"]),
    package("coreutils", &["mkfifo"]),
    package("cryptsetup-bin", &["cryptsetup"]),
    package("diffutils", &["cmp"]),
    package("dosfstools", &["fsck.vfat", "mkfs.vfat"]),
    package("dpkg", &["dpkg-deb"]),
    package(
        "e2fsprogs",
        &[
            "chattr",
            "debugfs",
            "dumpe2fs",
            "e2fsck",
            "e2image",
            "mke2fs",
            "resize2fs",
            "tune2fs",
        ],
    ),
    package("efitools", &["cert-to-efi-sig-list"]),
    package("fdisk", &["fdisk", "sfdisk"]),
    package("gdisk", &["sgdisk"]),
    package("gzip", &["gzip"]),
    package("libssl-dev", &["/usr/include/openssl/evp.h"]),
    package("mount", &["losetup", "mount", "umount"]),
    package(
        "mtools",
        &[
            "mattrib", "mcopy", "mdel", "mdir", "minfo", "mmd", "mrd", "mren", "mshowfat", "mtype",
        ],
    ),
    package("openssl", &["openssl"]),
    package("ovmf", &["/usr/share/OVMF/OVMF_VARS_4M.ms.fd"]),
    package("python3", &["python3"]),
    package(
        "python3-cryptography",
        &["/usr/lib/python3/dist-packages/cryptography"],
    ),
    package("python3-jsonschema", &["jsonschema"]),
    package(
        "python3-requests",
        &["/usr/lib/python3/dist-packages/requests"],
    ),
    package("python3-yaml", &["/usr/lib/python3/dist-packages/yaml"]),
    package("qemu-utils", &["qemu-img", "qemu-io"]),
    package("sbsigntool", &["sbattach", "sbsign"]),
    package("strace", &["strace"]),
    package("swtpm", &["swtpm"]),
    package("tar", &["tar"]),
    package(
        "tpm2-tools",
        &[
            "tpm2_create",
            "tpm2_createek",
            "tpm2_createprimary",
            "tpm2_eventlog",
            "tpm2_evictcontrol",
            "tpm2_flushcontext",
            "tpm2_getrandom",
            "tpm2_import",
            "tpm2_load",
            "tpm2_loadexternal",
            "tpm2_pcrextend",
            "tpm2_pcrread",
            "tpm2_policyauthorize",
            "tpm2_policyauthvalue",
            "tpm2_policyor",
            "tpm2_policypcr",
            "tpm2_readpublic",
            "tpm2_shutdown",
            "tpm2_startauthsession",
            "tpm2_unseal",
            "tpm2_verifysignature",
        ],
    ),
    package("unzip", &["unzip"]),
    package(
        "util-linux",
        &["blkid", "flock", "mkswap", "prlimit", "setpriv", "unshare"],
    ),
    package("xfsprogs", &["mkfs.xfs"]),
    package("xz-utils", &["xz"]),
    package("zstd", &["zstd"]),
];

/// What installs programs from Python's index.
pub const PIP: &[Package] = &[package(
    "python3-pip",
    &["/usr/lib/python3/dist-packages/pip"],
)];

/// What the demo takes beside [`BUILD`] and its guest: a TPM, firmware's variables, and what shows the result.
pub const DEMO: &[Package] = &[
    package("cryptsetup-bin", &["cryptsetup"]),
    package("gdisk", &["sgdisk"]),
    package("mtools", &["mcopy", "mdir"]),
    package("ovmf", &["/usr/share/OVMF/OVMF_VARS_4M.ms.fd"]),
    package("python3", &["python3"]),
    package("swtpm", &["swtpm"]),
    package(
        "tpm2-tools",
        &[
            "tpm2_createprimary",
            "tpm2_pcrextend",
            "tpm2_pcrread",
            "tpm2_unseal",
        ],
    ),
];

/// What the rivals of the bench are, beside [`TEST`].
pub const BENCH: &[Package] = &[
    package("coreutils", &["cp", "sha256sum"]),
    package("sbsigntool", &["sbsign"]),
];

/// What boots a guest, beside [`BUILD`] and [`GUEST`]: a machine, its firmware and its TPM.
pub const BOOT: &[Package] = &[
    package("dosfstools", &["mkfs.vfat"]),
    package("e2fsprogs", &["debugfs"]),
    package("gzip", &["gzip"]),
    package("mtools", &["mcopy"]),
    package("openssl", &["openssl"]),
    package(
        "ovmf",
        &[
            "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
            "/usr/share/OVMF/OVMF_VARS_4M.fd",
            "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
        ],
    ),
    package("python3", &["python3"]),
    package(
        "python3-cryptography",
        &["/usr/lib/python3/dist-packages/cryptography"],
    ),
    package("qemu-system-x86", &["qemu-system-x86_64"]),
    package("swtpm", &["swtpm"]),
    package(
        "tpm2-tools",
        &[
            "tpm2_createprimary",
            "tpm2_evictcontrol",
            "tpm2_flushcontext",
            "tpm2_pcrallocate",
            "tpm2_pcrextend",
            "tpm2_pcrread",
            "tpm2_readpublic",
            "tpm2_shutdown",
        ],
    ),
    package("util-linux", &["setpriv"]),
];

/// What building libFuzzer takes beside [`BUILD`].
pub const FUZZ: &[Package] = &[package("g++", &["c++"])];

/// What `interop` takes beside [`BUILD`] and [`GO`]: a TPM, and what makes an image to deploy.
pub const INTEROP: &[Package] = &[
    package("cryptsetup-bin", &["cryptsetup"]),
    package("dosfstools", &["mkfs.vfat"]),
    package("e2fsprogs", &["mke2fs"]),
    package("gdisk", &["sgdisk"]),
    package("mtools", &["mcopy", "mmd"]),
    package("swtpm", &["swtpm"]),
    package(
        "tpm2-tools",
        &[
            "tpm2_createprimary",
            "tpm2_flushcontext",
            "tpm2_pcrextend",
            "tpm2_pcrread",
            "tpm2_readpublic",
            "tpm2_shutdown",
        ],
    ),
];

/// What builds the reader of `interop`.
pub const GO: Package = package("golang-go", &["go"]);

/// What fetches packages of another release of Debian.
pub const MMDEBSTRAP: Package = package("mmdebstrap", &["mmdebstrap"]);

/// What builds the demo's guest.
pub const GUEST: &[Package] = &[
    package("coreutils", &["install", "sha256sum"]),
    package("dosfstools", &["mkfs.vfat"]),
    package("e2fsprogs", &["mke2fs"]),
    package("gdisk", &["sgdisk"]),
    package("gzip", &["gzip"]),
    package("mtools", &["mcopy"]),
    package("openssl", &["openssl"]),
    package("ovmf", &["/usr/share/OVMF/OVMF_VARS_4M.ms.fd"]),
    package("python3", &["python3"]),
    package(
        "python3-cryptography",
        &["/usr/lib/python3/dist-packages/cryptography"],
    ),
    package("sbsigntool", &["sbsign"]),
    package("uidmap", &["newgidmap", "newuidmap"]),
    package("util-linux", &["unshare"]),
    package("xz-utils", &["xz"]),
];

/// The keys of Debian's archive, which other distributions lack.
pub const DEBIAN_KEYS: Package = package(
    "debian-archive-keyring",
    &["/usr/share/keyrings/debian-archive-keyring.gpg"],
);

impl Package {
    fn is_there(&self) -> bool {
        self.missing_signs().is_empty()
    }

    fn missing_signs(&self) -> Vec<&'static str> {
        let is_there = |sign: &&str| {
            if sign.starts_with('/') {
                Path::new(sign).exists()
            } else {
                process::find(sign).is_some()
            }
        };
        self.signs
            .iter()
            .copied()
            .filter(|sign| !is_there(sign))
            .collect()
    }
}

/// Installs those of `packages` that are not there, after saying which.
pub fn install<'a>(packages: impl IntoIterator<Item = &'a Package>) -> Result<()> {
    let mut missing: Vec<_> = packages.into_iter().filter(|one| !one.is_there()).collect();
    missing.sort_by_key(|one| one.name);
    missing.dedup_by_key(|one| one.name);
    if missing.is_empty() {
        return Ok(());
    }

    println!("This machine lacks:");
    for one in &missing {
        println!(
            "  {:<24} (package {})",
            one.missing_signs().join(", "),
            one.name
        );
    }
    let names: Vec<_> = missing.iter().map(|one| one.name).collect();
    if process::find("apt-get").is_none() {
        bail!(
            "only Debian and Ubuntu are supported here (there is no apt-get): install what \
             Debian's packages {} contain by hand, then start again",
            names.join(", ")
        );
    }

    println!("Installing {} with apt-get:", names.join(", "));
    let line = format!(
        "apt-get install --yes --no-install-recommends {}",
        names.join(" ")
    );
    let sudo = !process::is_root()?;
    if sudo && process::find("sudo").is_none() {
        bail!("there is no sudo: run `{line}` as root, then start again");
    }
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&names);
    for arguments in [&["update"][..], &install] {
        apt_get(sudo, arguments)
            .with_context(|| format!("cannot install: run `{line}` as root, then start again"))?;
    }

    for one in missing {
        if let [first, ..] = *one.missing_signs() {
            bail!(
                "the package {} is installed now, but `{first}` is still missing",
                one.name
            );
        }
    }
    Ok(())
}

/// Gets the lists of packages anew.
pub fn update() -> Result<()> {
    apt_get(!process::is_root()?, &["update"])
}

fn apt_get(sudo: bool, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(if sudo { "sudo" } else { "env" });
    if sudo {
        command.arg("env");
    }
    command.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-qq",
        "-o",
        "Dpkg::Use-Pty=0",
    ]);
    command.args(arguments);
    process::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_package_with_all_its_signs_is_there() {
        assert!(package("coreutils", &["cat", "/usr/bin/env"]).is_there());
        let half = package("coreutils", &["cat", "no-such-program", "/no/such/file"]);
        assert_eq!(half.missing_signs(), ["no-such-program", "/no/such/file"]);
    }

    /// The names in the calls `programs(&["a", "b"])` of the Rust files below `folder`.
    fn programs_asked_for(folder: &Path, names: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                programs_asked_for(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                for call in text.split("programs(&[").skip(1) {
                    let list = call.split(']').next().unwrap();
                    names.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
                }
            }
        }
    }

    #[test]
    fn every_program_that_a_test_asks_for_is_installed_by_xtask() {
        let mut names = Vec::new();
        programs_asked_for(&crate::project_folder().join("tests"), &mut names);
        let known: Vec<_> = BUILD
            .iter()
            .chain(TEST)
            .flat_map(|package| package.signs)
            .chain([&crate::python::PROGRAM, &crate::tools::PROGRAM])
            .collect();
        names.sort();
        names.dedup();
        names.retain(|name| !known.contains(&&name.as_str()));
        assert!(
            names.is_empty(),
            "{names:?}: add them to the table TEST in xtask/src/packages.rs"
        );
    }
}
