//! The Debian packages that tests and demo need, and how the missing ones come onto the machine.
//!
//! A package counts as there when its programs and files are, however they came: on a system that is
//! not Debian's the user installs them, and is told which.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use self::Need::{
    Bench, Boot, Build, DebianKeys, Demo, Dist, DistCheck, Docs, Fuzz, Go, Guest, Interop,
    OtherRelease, Pip, Test,
};
use crate::process;

/// A Debian package and what shows that it is there: programs, or files by their absolute path.
pub struct Package {
    name: &'static str,
    signs: &'static [&'static str],
    needs: &'static [Need],
}

const fn package(
    name: &'static str,
    signs: &'static [&'static str],
    needs: &'static [Need],
) -> Package {
    Package { name, signs, needs }
}

/// What packages are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// What building the library takes: a C compiler and the headers of libext2fs.
    Build,
    /// What `docs` takes beside [`Need::Build`]: its program is an example, and those build with all that tests take.
    Docs,
    /// What makes packages, beside [`Need::Build`] and [`Need::Docs`].
    Dist,
    /// What checks packages.
    DistCheck,
    /// The programs that judge our output in tests, and those that make its input.
    Test,
    /// What installs programs from Python's index.
    Pip,
    /// What the demo takes beside [`Need::Build`] and its guest: a TPM, firmware's variables, and what shows the result.
    Demo,
    /// What the rivals of the bench are, beside [`Need::Test`].
    Bench,
    /// What boots a guest, beside [`Need::Build`] and [`Need::Guest`]: a machine, its firmware and its TPM.
    Boot,
    /// What building libFuzzer takes beside [`Need::Build`].
    Fuzz,
    /// What `interop` takes beside [`Need::Build`] and [`Need::Go`]: a TPM, and what makes an image to deploy.
    Interop,
    /// What builds the reader of `interop`.
    Go,
    /// What fetches packages of another release of Debian.
    OtherRelease,
    /// What builds the demo's guest.
    Guest,
    /// The keys of Debian's archive, which other distributions lack.
    DebianKeys,
}

/// Every package that xtask installs: its name, what shows that it is there, and what it is needed for.
const TABLE: &[Package] = &[
    package("attr", &["getfattr", "setfattr"], &[Test]),
    package("bash", &["bash"], &[Test]),
    package("binutils", &["readelf", "strip"], &[Dist]),
    package("bsdutils", &["script"], &[Test]),
    package("btrfs-progs", &["mkfs.btrfs"], &[Test]),
    package(
        "coreutils",
        &["cp", "install", "mkfifo", "sha256sum"],
        &[Test, Bench, Guest],
    ),
    package(
        "cryptsetup-bin",
        &["cryptsetup"],
        &[Test, Demo, Interop, DistCheck],
    ),
    package(
        "debian-archive-keyring",
        &["/usr/share/keyrings/debian-archive-keyring.gpg"],
        &[DebianKeys],
    ),
    package("diffutils", &["cmp"], &[Test]),
    package(
        "dosfstools",
        &["fsck.vfat", "mkfs.vfat"],
        &[Test, Guest, Boot, Interop],
    ),
    package("dpkg", &["dpkg-deb"], &[Test]),
    package("dpkg-dev", &["dpkg-shlibdeps"], &[Dist]),
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
        &[Test, Guest, Boot, Interop],
    ),
    package("efitools", &["cert-to-efi-sig-list"], &[Test]),
    package("fdisk", &["fdisk", "sfdisk"], &[Test]),
    package("g++", &["c++"], &[Fuzz]),
    package("gcc", &["cc"], &[Build]),
    package(
        "gdisk",
        &["sgdisk"],
        &[Test, Demo, Guest, Interop, DistCheck],
    ),
    package("golang-go", &["go"], &[Go]),
    package("gzip", &["gzip"], &[Test, Guest, Boot, Dist]),
    package("libc6-dev", &["/usr/include/stdlib.h"], &[Build]),
    package("libext2fs-dev", &["/usr/include/ext2fs/ext2fs.h"], &[Build]),
    package("libssl-dev", &["/usr/include/openssl/evp.h"], &[Docs, Test]),
    package("lintian", &["lintian"], &[DistCheck]),
    package("mmdebstrap", &["mmdebstrap"], &[OtherRelease]),
    package("mount", &["losetup", "mount", "umount"], &[Test]),
    package(
        "mtools",
        &[
            "mattrib", "mcopy", "mdel", "mdir", "minfo", "mmd", "mrd", "mren", "mshowfat", "mtype",
        ],
        &[Test, Demo, Guest, Boot, Interop],
    ),
    package("openssl", &["openssl"], &[Test, Guest, Boot]),
    package(
        "ovmf",
        &[
            "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
            "/usr/share/OVMF/OVMF_VARS_4M.fd",
            "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
        ],
        &[Test, Demo, Guest, Boot],
    ),
    package("pkg-config", &["pkg-config"], &[Build]),
    package("python3", &["python3"], &[Test, Demo, Guest, Boot]),
    package(
        "python3-cryptography",
        &["/usr/lib/python3/dist-packages/cryptography"],
        &[Test, Guest, Boot],
    ),
    package("python3-jsonschema", &["jsonschema"], &[Test]),
    package(
        "python3-pip",
        &["/usr/lib/python3/dist-packages/pip"],
        &[Pip],
    ),
    package(
        "python3-requests",
        &["/usr/lib/python3/dist-packages/requests"],
        &[Test],
    ),
    package(
        "python3-yaml",
        &["/usr/lib/python3/dist-packages/yaml"],
        &[Test],
    ),
    package("qemu-system-x86", &["qemu-system-x86_64"], &[Boot]),
    package("qemu-utils", &["qemu-img", "qemu-io"], &[Test]),
    package("sbsigntool", &["sbattach", "sbsign"], &[Test, Bench, Guest]),
    package("strace", &["strace"], &[Test]),
    package("swtpm", &["swtpm"], &[Test, Demo, Boot, Interop]),
    package("tar", &["tar"], &[Test, Dist]),
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
            "tpm2_pcrallocate",
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
        &[Test, Demo, Boot, Interop],
    ),
    package("uidmap", &["newgidmap", "newuidmap"], &[Guest, DistCheck]),
    package("unzip", &["unzip"], &[Test]),
    package(
        "util-linux",
        &["blkid", "flock", "mkswap", "prlimit", "setpriv", "unshare"],
        &[Test, Guest, Boot, DistCheck],
    ),
    package("xfsprogs", &["mkfs.xfs"], &[Test]),
    package("xz-utils", &["xz"], &[Test, Guest]),
    package("zstd", &["zstd"], &[Test]),
];

/// The packages for one of these needs.
pub fn of(needs: &[Need]) -> impl Iterator<Item = &'static Package> {
    let is_for = |package: &&Package| package.needs.iter().any(|need| needs.contains(need));
    TABLE.iter().filter(is_for)
}

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
        assert!(package("coreutils", &["cat", "/usr/bin/env"], &[]).is_there());
        let half = package(
            "coreutils",
            &["cat", "no-such-program", "/no/such/file"],
            &[],
        );
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
    fn a_package_stands_in_the_table_once_and_for_something() {
        let names: Vec<_> = TABLE.iter().map(|package| package.name).collect();
        assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
        assert!(TABLE.iter().all(|package| !package.needs.is_empty()));
    }

    #[test]
    fn every_program_that_a_test_asks_for_is_installed_by_xtask() {
        let mut names = Vec::new();
        programs_asked_for(&crate::project_folder().join("tests"), &mut names);
        let known: Vec<_> = of(&[Build, Test])
            .flat_map(|package| package.signs)
            .chain([&crate::python::PROGRAM, &crate::tools::PROGRAM])
            .collect();
        names.sort();
        names.dedup();
        names.retain(|name| !known.contains(&&name.as_str()));
        assert!(
            names.is_empty(),
            "{names:?}: add them to the table in xtask/src/packages.rs, for Test"
        );
    }
}
