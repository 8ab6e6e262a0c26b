//! The Debian package: made by dpkg's own programs from a tree and a control file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::Parts;
use super::contents::{self, Places};
use super::crates;
use super::programs::PROGRAMS;
use super::release::{NAME, Release};
use super::tree::Tree;
use crate::process;

/// At most 80 characters, as lists of packages show it; the description of `Cargo.toml` is longer.
const SYNOPSIS: &str = "encrypt a cloud image's root disk and bind it to one guest's vTPM";

const DESCRIPTION: &str = "\
Turns a plain cloud image into one whose root partition is a LUKS2 container,
as an ordinary user: files in, files out, without mounts or device mapper.
An encrypted image carries its key in clear until it is deployed: the key is
then sealed to the TPM of one guest and to the state of its boot under Secure
Boot, which is predicted from the image's own boot files.
.
The programs are encrypt-cloud-image, create-uefi-config and
print-recovery-key.";

/// The library that reads and changes the image's filesystem, and the release from which on it knows what mke2fs
/// sets by default; `dpkg-shlibdeps` sees only from when its functions are.
const FILESYSTEM_LIBRARY: (&str, &str) = ("libext2fs2", "1.47");

/// Makes the package in `folder`; what goes into it lies below `work` afterwards.
pub(super) fn make(parts: &Parts, work: &Path, folder: &Path) -> Result<PathBuf> {
    let work = work.join("deb");
    // The folders that dpkg-shlibdeps knows: debian/PACKAGE is the root of the package.
    let tree = Tree::new(work.join("debian").join(NAME))?;
    let places = Places {
        zsh: "vendor-completions",
    };
    contents::lay_out(
        &tree,
        "usr/",
        &parts.programs.folder,
        parts.generated,
        &places,
    )?;
    documents(&tree, parts)?;

    let architecture = process::quiet_output(process::program("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    let control = Control {
        release: parts.release,
        architecture,
        depends: &dependencies(&work)?,
        installed_kib: installed_kib(&tree)?,
    };
    let digests = md5sums(&tree)?;
    tree.write(digests.as_bytes(), "DEBIAN/md5sums")?;
    tree.write(control.text().as_bytes(), "DEBIAN/control")?;

    let version = parts.release.debian_version();
    let package = folder.join(format!("{NAME}_{version}_{architecture}.deb"));
    let mut dpkg_deb = process::program("dpkg-deb");
    // Every dpkg reads xz; Ubuntu's makes zstd where it is not told.
    dpkg_deb.args(["--build", "--root-owner-group", "-Zxz"]);
    dpkg_deb.args([tree.top(), &package]);
    dpkg_deb.env("SOURCE_DATE_EPOCH", parts.release.epoch.to_string());
    process::run(&mut dpkg_deb)?;
    Ok(package)
}

fn documents(tree: &Tree, parts: &Parts) -> Result<()> {
    let project = crate::project_folder();
    let read =
        |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    contents::documents(tree, "usr/")?;
    let folder = contents::documents_folder("usr/");
    let changes = read(&project.join("CHANGELOG.md"))?;
    tree.compressed(&changes, &format!("{folder}/changelog"))?;
    let entry = changelog(parts.release)?;
    tree.compressed(entry.as_bytes(), &format!("{folder}/changelog.Debian"))?;
    let mit = String::from_utf8(read(&project.join("LICENSE-MIT"))?)?;
    let text = copyright(&parts.release.license, &mit);
    tree.write(text.as_bytes(), &format!("{folder}/copyright"))?;
    let third_party = parts.third_party.as_bytes();
    tree.compressed(third_party, &format!("{folder}/third-party-licenses.txt"))?;
    let page = read(&crates::standard_library()?)?;
    tree.compressed(&page, &format!("{folder}/{}", crates::STANDARD_LIBRARY))
}

/// The fields that dpkg and apt read.
struct Control<'a> {
    release: &'a Release,
    architecture: &'a str,
    depends: &'a str,
    installed_kib: u64,
}

impl Control<'_> {
    fn text(&self) -> String {
        let description = DESCRIPTION.replace('\n', "\n ");
        format!(
            "Package: {NAME}\nVersion: {}\nSection: admin\nPriority: optional\nArchitecture: {}\n\
             Maintainer: {}\nInstalled-Size: {}\nDepends: {}\nRecommends: e2fsprogs\n\
             Description: {SYNOPSIS}\n {description}\n",
            self.release.debian_version(),
            self.architecture,
            self.release.maintainer,
            self.installed_kib,
            self.depends,
        )
    }
}

/// The libraries that the programs load, as packages with the versions that they need.
fn dependencies(work: &Path) -> Result<String> {
    // What it reads beside the programs: which package this is about.
    let about = format!("Source: {NAME}\n\nPackage: {NAME}\nArchitecture: any\n");
    fs::write(work.join("debian/control"), about)?;
    let mut shlibdeps = process::program("dpkg-shlibdeps");
    shlibdeps.current_dir(work).arg("-O");
    shlibdeps.args(
        PROGRAMS
            .iter()
            .map(|name| format!("debian/{NAME}/usr/bin/{name}")),
    );
    let found = process::output(&mut shlibdeps)?;
    let found = found.trim().strip_prefix("shlibs:Depends=");
    with_known_filesystems(found.context("dpkg-shlibdeps says nothing")?)
}

/// Asks for a libext2fs that knows the filesystems of today.
fn with_known_filesystems(depends: &str) -> Result<String> {
    let (library, version) = FILESYSTEM_LIBRARY;
    let needed = depends.split(", ").map(|one| {
        // libext2fs2t64 where it was renamed
        let name = one.split(' ').next().unwrap_or_default();
        if name.starts_with(library) {
            format!("{name} (>= {version})")
        } else {
            one.to_owned()
        }
    });
    let needed: Vec<_> = needed.collect();
    let needed = needed.join(", ");
    ensure!(
        needed.contains(library),
        "the programs do not load {library}: {depends}"
    );
    Ok(needed)
}

/// The space that the files take when they are installed, as Debian counts it: each in whole KiB.
fn installed_kib(tree: &Tree) -> Result<u64> {
    let mut kib = 0;
    for file in files(tree)? {
        kib += fs::metadata(tree.top().join(file))?.len().div_ceil(1024);
    }
    Ok(kib)
}

/// The digests that `dpkg --verify` compares with.
fn md5sums(tree: &Tree) -> Result<String> {
    let mut md5sum = process::program("md5sum");
    process::quiet_output(md5sum.current_dir(tree.top()).args(files(tree)?))
}

/// All files, as paths within the tree, sorted.
fn files(tree: &Tree) -> Result<Vec<PathBuf>> {
    let mut find = process::program("find");
    find.args(["usr", "-type", "f"]).current_dir(tree.top());
    let found = process::quiet_output(&mut find)?;
    let mut files: Vec<_> = found.lines().map(PathBuf::from).collect();
    files.sort();
    Ok(files)
}

/// The entry that tells who packed what when.
fn changelog(release: &Release) -> Result<String> {
    let mut date = process::program("date");
    let since = format!("--date=@{}", release.epoch);
    let date = process::quiet_output(date.args(["--utc", "--rfc-email"]).arg(since))?;
    Ok(format!(
        "{NAME} ({}) unstable; urgency=medium\n\n  * Version {}, commit {}: see changelog.gz.\n\n -- {}  {}\n",
        release.debian_version(),
        release.version,
        release.commit,
        release.maintainer,
        date.trim()
    ))
}

/// Who may do what with the package, in the form that Debian's programs read.
fn copyright(license: &str, mit: &str) -> String {
    // `MIT`, the holder, and the conditions.
    let mut paragraphs = mit.trim().split("\n\n").skip(1);
    let holder = paragraphs.next().unwrap_or_default();
    let holder = holder.trim_start_matches("Copyright (c) ");
    let conditions: Vec<_> = paragraphs.map(|text| text.replace('\n', "\n ")).collect();
    let conditions = conditions.join("\n .\n ");
    let license = license.replace("MIT", "Expat").replace(" OR ", " or ");
    format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: {NAME}\n\
         Comment:\n \
         The programs hold crates (libraries of Rust) under licences of their own, whose\n \
         texts stand in third-party-licenses.txt.gz, and Rust's standard library, for\n \
         which {STANDARD_LIBRARY}.gz tells them. libext2fs (LGPL-2) and\n \
         libcom_err are linked dynamically and come from packages of their own.\n\n\
         Files: *\nCopyright: {holder}\nLicense: {license}\n\n\
         License: Expat\n {conditions}\n\n\
         License: Apache-2.0\n \
         On Debian systems, the text of the Apache License, version 2.0, is in the file\n \
         /usr/share/common-licenses/Apache-2.0.\n",
        STANDARD_LIBRARY = crates::STANDARD_LIBRARY,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        Release {
            version: "1.2.3".into(),
            license: "MIT OR Apache-2.0".into(),
            commit: "c0ffee".into(),
            epoch: 1_000_000_000,
            maintainer: "A. Packer <packer@example.org>".into(),
        }
    }

    #[test]
    fn dpkg_reads_the_control_file() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = Tree::new(scratch.path().join("tree")).unwrap();
        let control = Control {
            release: &release(),
            architecture: "amd64",
            depends: "libc6 (>= 2.36), libext2fs2 (>= 1.47)",
            installed_kib: 12,
        };
        tree.write(control.text().as_bytes(), "DEBIAN/control")
            .unwrap();
        tree.write(b"text", "usr/share/doc/text").unwrap();
        let package = scratch.path().join("one.deb");
        let mut build = process::program("dpkg-deb");
        process::quiet_output(build.arg("--build").args([tree.top(), &package])).unwrap();
        let field = |name: &str| {
            let mut dpkg_deb = process::program("dpkg-deb");
            process::quiet_output(dpkg_deb.arg("--field").arg(&package).arg(name)).unwrap()
        };
        assert_eq!(field("Package"), "encrypt-cloud-image\n");
        assert_eq!(field("Version"), "1.2.3-1\n");
        assert_eq!(field("Depends"), "libc6 (>= 2.36), libext2fs2 (>= 1.47)\n");
        let description = field("Description");
        assert!(PROGRAMS.iter().all(|name| description.contains(name)));
        assert!(SYNOPSIS.len() <= 80);
        assert!(DESCRIPTION.lines().all(|line| line.len() < 80));
    }

    #[test]
    fn a_library_that_knows_todays_filesystems_is_asked_for() {
        let of = |depends| with_known_filesystems(depends);
        let (old, new) = (
            "libc6 (>= 2.34), libext2fs2 (>= 1.44.0~rc1), libx",
            "libext2fs2t64",
        );
        assert_eq!(
            of(old).unwrap(),
            "libc6 (>= 2.34), libext2fs2 (>= 1.47), libx"
        );
        assert_eq!(of(new).unwrap(), "libext2fs2t64 (>= 1.47)");
        assert_eq!(
            of("libc6").unwrap_err().to_string(),
            "the programs do not load libext2fs2: libc6"
        );
    }

    #[test]
    fn the_changelog_has_the_commits_time() {
        assert_eq!(
            changelog(&release()).unwrap(),
            "encrypt-cloud-image (1.2.3-1) unstable; urgency=medium\n\n  \
             * Version 1.2.3, commit c0ffee: see changelog.gz.\n\n \
             -- A. Packer <packer@example.org>  Sun, 09 Sep 2001 01:46:40 +0000\n"
        );
    }

    #[test]
    fn the_copyright_file_has_the_conditions_of_ours() {
        let mit = fs::read_to_string(crate::project_folder().join("LICENSE-MIT")).unwrap();
        let text = copyright("MIT OR Apache-2.0", &mit);
        assert!(text.contains("\nLicense: Expat or Apache-2.0\n"), "{text}");
        assert!(
            text.contains("\nLicense: Expat\n Permission is hereby granted"),
            "{text}"
        );
        assert!(text.contains("\n .\n THE SOFTWARE IS PROVIDED"), "{text}");
        let unbroken = |line: &str| !line.is_empty() || !text.contains("\n\n\n");
        assert!(text.lines().all(unbroken), "{text}");
    }
}
