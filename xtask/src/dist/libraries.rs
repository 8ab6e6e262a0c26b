//! The C libraries in the static programs: where they come from, and what their licences ask of whoever hands out the
//! programs.
//!
//! Which they are is not assumed but read from the linker's own list, and `dpkg` tells the packages and versions. A
//! library that this page does not know ends the run: somebody has to read its licence first.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::contents;
use super::release::{NAME, Release};
use super::tree::Tree;
use crate::process;

/// The libraries of one Debian source package.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    source: String,
    version: String,
    /// The package that has the archives, for its copyright file.
    package: String,
    archives: Vec<String>,
}

/// What is known of a source package.
struct Terms {
    /// How its name begins.
    source: &'static str,
    /// For the notice.
    summary: &'static str,
    /// The texts below /usr/share/common-licenses that its copyright file refers to.
    texts: &'static [&'static str],
}

const TERMS: &[Terms] = &[
    Terms {
        source: "e2fsprogs",
        summary: "\
libext2fs: GNU Library General Public License, version 2. That is what its authors say of the library as a whole; the
headers of its files crc16.c and crc32c.c name the GNU General Public License, version 2, and Debian's copyright file
follows them. libcom_err: the notice at the end of this page.",
        texts: &["GPL-2", "LGPL-2"],
    },
    Terms {
        source: "glibc",
        summary: "\
GNU Lesser General Public License, version 2.1 or later; the copyright file tells the licences of single files.",
        texts: &["GPL-2", "LGPL-2.1"],
    },
    Terms {
        source: "gcc-",
        summary: "\
GNU General Public License, version 3, with the GCC Runtime Library Exception, which lets programs that GCC compiled
hold these libraries under any licence.",
        texts: &["GPL-3"],
    },
];

/// The notice in the sources of `libcom_err`, which Debian's copyright file leaves out.
const COM_ERR: &str = "\
Copyright 1987, 1988 by MIT Student Information Processing Board.
Copyright 1987 by the Student Information Processing Board of the Massachusetts Institute of Technology.

Permission to use, copy, modify, and distribute this software and its documentation for any purpose is hereby granted,
provided that the names of M.I.T. and the M.I.T. S.I.P.B. not be used in advertising or publicity pertaining to
distribution of the software without specific, written prior permission. M.I.T. and the M.I.T. S.I.P.B. make no
representations about the suitability of this software for any purpose. It is provided \"as is\" without express or
implied warranty.";

/// Puts the notice into the tree's folder of documents, and the licences into `licenses` there.
pub fn write_notice(
    tree: &Tree,
    prefix: &str,
    release: &Release,
    linker_inputs: &Path,
) -> Result<()> {
    let origins = origins(linker_inputs)?;
    let folder = contents::documents_folder(prefix);
    let text = notice(release, &system()?, &origins)?;
    tree.write(text.as_bytes(), &format!("{folder}/NOTICE"))?;
    for origin in &origins {
        let copyright = format!("/usr/share/doc/{}/copyright", origin.package);
        let to = format!("{folder}/licenses/{}-copyright", origin.source);
        tree.copy(Path::new(&copyright), &to)?;
        for text in terms(&origin.source)?.texts {
            let from = Path::new("/usr/share/common-licenses").join(text);
            tree.copy(&from, &format!("{folder}/licenses/{text}"))?;
        }
    }
    Ok(())
}

/// The distribution that is installed here, by the name that it gives itself.
fn system() -> Result<String> {
    let file = Path::new("/etc/os-release");
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut lines = text.lines();
    let name = lines.find_map(|line| line.strip_prefix("PRETTY_NAME="));
    Ok(name
        .context("/etc/os-release has no PRETTY_NAME")?
        .trim_matches('"')
        .to_owned())
}

fn terms(source: &str) -> Result<&'static Terms> {
    let found = TERMS.iter().find(|terms| source.starts_with(terms.source));
    found.with_context(|| {
        format!(
            "the static programs hold a library of {source}: read its licence, then add it to the table in {}",
            file!()
        )
    })
}

/// The source packages of the archives that the linker read, but for what cargo built and the compiler brought.
fn origins(linker_inputs: &Path) -> Result<Vec<Origin>> {
    let text = fs::read_to_string(linker_inputs)
        .with_context(|| format!("cannot read {}", linker_inputs.display()))?;
    let mut origins: BTreeMap<String, Origin> = BTreeMap::new();
    for archive in archives(&text) {
        let archive = fs::canonicalize(&archive)
            .with_context(|| format!("the linker read {}, which is gone", archive.display()))?;
        let mut dpkg = process::program("dpkg-query");
        let owner = process::quiet_output(dpkg.arg("--search").arg(&archive))
            .context("a library in the static programs belongs to no Debian package")?;
        let package = owner.split(':').next().unwrap_or_default().to_owned();
        let mut dpkg = process::program("dpkg-query");
        let format = "--showformat=${source:Package} ${source:Version}\\n";
        let shown = process::quiet_output(dpkg.args(["--show", format, &package]))?;
        let line = shown.lines().next().unwrap_or_default();
        let (source, version) = line.split_once(' ').context("dpkg-query says nothing")?;
        let name = archive
            .file_name()
            .unwrap_or_default()
            .display()
            .to_string();
        let origin = origins.entry(source.to_owned()).or_insert_with(|| Origin {
            source: source.to_owned(),
            version: version.to_owned(),
            package,
            archives: Vec::new(),
        });
        if !origin.archives.contains(&name) {
            origin.archives.push(name);
        }
    }
    for needed in ["e2fsprogs", "glibc"] {
        ensure!(
            origins.contains_key(needed),
            "the static programs hold no library of Debian's source package {needed}: {origins:?}"
        );
    }
    Ok(origins.into_values().collect())
}

/// The libraries of the system in a rule for make, as the linker writes it: `program: \` and a file a line.
fn archives(rule: &str) -> Vec<PathBuf> {
    let words = rule
        .split(['\n', ' ', '\\'])
        .filter(|word| !word.is_empty());
    words
        .filter(|word| word.starts_with("/usr/lib/"))
        .map(PathBuf::from)
        .filter(|path| path.extension().is_some_and(|extension| extension == "a"))
        .collect()
}

fn notice(release: &Release, system: &str, origins: &[Origin]) -> Result<String> {
    let Release {
        version, license, ..
    } = release;
    let mut libraries = String::new();
    let mut sources = Vec::new();
    for Origin {
        source,
        version,
        archives,
        ..
    } in origins
    {
        let terms = terms(source)?;
        let archives = archives.join(", ");
        let summary = terms.summary.replace('\n', "\n  ");
        let _ = write!(
            libraries,
            "\n* {source} {version}: {archives}\n  {summary}\n"
        );
        if terms.texts.iter().any(|text| text.starts_with("LGPL")) {
            sources.push(format!("{source}={version}"));
        }
    }
    let sources = sources.join(" ");
    let commit = release.commit.trim_end_matches('+');
    let standard_library = super::crates::STANDARD_LIBRARY;
    Ok(format!(
        "\
{NAME} {version}, commit {}

The programs in this package are under the licence {license}: see LICENSE-MIT and LICENSE-APACHE.
The crates in them are under the licences in third-party-licenses.txt and {standard_library}.

THESE PROGRAMS HOLD STATICALLY LINKED LIBRARIES. The libraries, and their use, are covered by the licences below, whose
texts lie in the folder licenses. They come unchanged from these source packages of {system}:
{libraries}

To link the programs with another libext2fs

You may change these libraries and link the programs with them again, and you may take the programs apart to find
faults in what you changed. On a Debian or Ubuntu machine with Rust, in a checkout of the sources of
{NAME} at commit {commit}:

    RUSTFLAGS='-C target-feature=+crt-static' \\
        cargo build --release --locked --bins --target {}-unknown-linux-gnu

links what `pkg-config --static --libs ext2fs com_err` names, from the package libext2fs-dev, or from a build of your
own whose lib/pkgconfig stands in PKG_CONFIG_PATH. The C library is the one that `cc` links.


To hand out the programs

The licences of libext2fs and of the C library (section 6 of either) want that whoever gives away these programs also
gives, or offers at the same place, the sources of both libraries and those of this project, with which the programs can
be linked again. Where apt has deb-src lines,

    apt-get source --download-only {sources}

fetches the sources of the libraries; `git archive {commit}` and `cargo vendor` collect those of the programs. This page
and the folder licenses stay with the programs. A package whose programs are linked dynamically, as the .deb, needs none
of this.


The notice of libcom_err

{COM_ERR}
",
        release.commit,
        std::env::consts::ARCH,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_the_system_are_read_from_the_linkers_list() {
        let rule = "/t/release/deps/program: \\\n  /usr/lib/x/rcrt1.o \\\n  /t/deps/libone.rlib \\\n  \
                    /t/build/libaws.a \\\n  /usr/lib/gcc/x/12/../../../x/libext2fs.a \\\n  /usr/lib/x/libc.a\n\n\
                    /usr/lib/x/libc.a:\n";
        assert_eq!(
            archives(rule),
            [
                "/usr/lib/gcc/x/12/../../../x/libext2fs.a",
                "/usr/lib/x/libc.a"
            ]
            .map(PathBuf::from)
        );
    }

    fn origin(source: &str, version: &str, archive: &str) -> Origin {
        Origin {
            source: source.to_owned(),
            version: version.to_owned(),
            package: String::new(),
            archives: vec![archive.to_owned()],
        }
    }

    #[test]
    fn the_notice_names_the_libraries_and_their_sources() {
        let release = Release {
            version: "1.2.3".into(),
            license: "MIT OR Apache-2.0".into(),
            commit: "c0ffee+".into(),
            epoch: 0,
            maintainer: String::new(),
        };
        let origins = [
            origin("e2fsprogs", "1.47.0-2", "libext2fs.a"),
            origin("gcc-12", "12.2", "libgcc_eh.a"),
            origin("glibc", "2.36-9", "libc.a"),
        ];
        let text = notice(&release, "Debian 12", &origins).unwrap();
        for part in [
            "of Debian 12:\n\n* e2fsprogs 1.47.0-2: libext2fs.a\n  libext2fs: GNU Library General Public",
            "--download-only e2fsprogs=1.47.0-2 glibc=2.36-9\n",
            "at commit c0ffee:",
            "M.I.T. S.I.P.B.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let error = notice(&release, "", &[origin("zlib", "1", "libz.a")]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the static programs hold a library of zlib: read its licence"),
            "{error}"
        );
    }
}
