//! The crates in the programs, and the licence texts that go with them.
//!
//! A crate brings its texts itself. One that brings none gets those that its licence expression names from this
//! project's own files, or packing fails: a package without a licence's text is not to be handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::release::NAME;
use crate::process;

/// The parts of `cargo metadata` that are looked at here.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
pub struct Package {
    id: String,
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    authors: Vec<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    /// None for what is linked; `build` and `dev` otherwise.
    kind: Option<String>,
}

impl Metadata {
    /// Of this checkout, for this kind of machine.
    pub fn of_checkout() -> Result<Self> {
        let platform = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        let mut cargo = process::cargo(&["metadata", "--locked", "--format-version=1"]);
        let json = process::quiet_output(cargo.arg("--filter-platform").arg(platform))?;
        serde_json::from_str(&json).context("cannot read what `cargo metadata` says")
    }

    /// A package of this workspace.
    pub fn package(&self, name: &str) -> Result<&Package> {
        let found = self.packages.iter().find(|package| package.name == name);
        found.with_context(|| format!("cargo knows no package {name}"))
    }

    /// The crates whose code is in the programs, by name: neither macros nor what builds or tests.
    fn linked(&self) -> Result<Vec<&Package>> {
        let packages: BTreeMap<_, _> = self.packages.iter().map(|one| (&one.id, one)).collect();
        let nodes: BTreeMap<_, _> = self
            .resolve
            .nodes
            .iter()
            .map(|one| (&one.id, one))
            .collect();
        let ours = &self.package(NAME)?.id;
        let mut seen = BTreeSet::from([ours]);
        let mut open = vec![ours];
        let mut linked = Vec::new();
        while let Some(id) = open.pop() {
            let node = nodes.get(id).context("a package without dependencies")?;
            for dependency in &node.deps {
                let package = packages.get(&dependency.pkg).context("no such package")?;
                let is_linked = dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
                if is_linked && !package.is_macro() && seen.insert(&dependency.pkg) {
                    linked.push(*package);
                    open.push(&dependency.pkg);
                }
            }
        }
        linked.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
        Ok(linked)
    }

    /// The table of the crates, and all their licence texts.
    pub fn third_party(&self) -> Result<String> {
        let linked = self.linked()?;
        let mut text = format!(
            "The programs of {NAME} hold the crates (libraries of Rust) below, under the licences that stand beside \
             them.\nTheir texts follow, each once. The standard library of Rust has a page of its own: \
             {STANDARD_LIBRARY}.\n\n"
        );
        let mut texts: Vec<(String, Vec<String>)> = Vec::new();
        for package in linked {
            let license = package.license.as_deref().unwrap_or("");
            let source = package.repository.as_deref().unwrap_or("crates.io");
            let title = format!("{} {}", package.name, package.version);
            let _ = writeln!(text, "{title:32} {license}\n{:32} {source}", "");
            for (origin, content) in package.license_texts()? {
                let title = format!("{title}: {origin}");
                match texts.iter_mut().find(|(known, _)| *known == content) {
                    Some((_, titles)) => titles.push(title),
                    None => texts.push((content, vec![title])),
                }
            }
        }
        for (content, titles) in texts {
            let line = "=".repeat(100);
            let _ = write!(
                text,
                "\n{line}\n{}\n{line}\n\n{content}\n",
                titles.join("\n")
            );
        }
        Ok(text)
    }
}

/// How the page with the licences of Rust's own library is called in a package.
pub const STANDARD_LIBRARY: &str = "rust-standard-library.html";

/// That page, as the compiler brings it.
pub fn standard_library() -> Result<PathBuf> {
    let mut rustc = process::program("rustc");
    let sysroot = process::quiet_output(rustc.args(["--print", "sysroot"]))?;
    let page = Path::new(sysroot.trim()).join("share/doc/rust/COPYRIGHT-library.html");
    if !page.is_file() {
        bail!(
            "{} is missing, which tells the licences of Rust's standard library: take a toolchain of rustup",
            page.display()
        );
    }
    Ok(page)
}

impl Package {
    fn is_macro(&self) -> bool {
        let is_macro = |target: &Target| target.kind.iter().any(|kind| kind == "proc-macro");
        self.targets.iter().any(is_macro)
    }

    /// Its licence texts, each with the name of its file.
    fn license_texts(&self) -> Result<Vec<(String, String)>> {
        let folder = self.manifest_path.parent().unwrap_or(Path::new("/"));
        let mut files = Vec::new();
        license_files(folder, &mut files)?;
        files.sort();
        let mut texts = Vec::new();
        for file in files {
            let bytes =
                fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            let name = file.strip_prefix(folder).unwrap_or(&file).display();
            texts.push((name.to_string(), text.trim().to_owned()));
        }
        if texts.is_empty() {
            texts.push(self.license_of_expression()?);
        }
        Ok(texts)
    }

    /// For a crate without a text: Apache-2.0, where it may be had under that, since that text names nobody; or MIT with
    /// the authors that the crate names.
    fn license_of_expression(&self) -> Result<(String, String)> {
        let project = crate::project_folder();
        let license = self.license.as_deref().unwrap_or("");
        let choices: Vec<_> = license.split(" OR ").map(str::trim).collect();
        if choices.contains(&"Apache-2.0") {
            let text = fs::read_to_string(project.join("LICENSE-APACHE"))?;
            return Ok(("Apache-2.0, without a file".into(), text.trim().to_owned()));
        }
        let authors = self.authors.join(", ");
        if choices.contains(&"MIT") && !authors.is_empty() {
            let text = fs::read_to_string(project.join("LICENSE-MIT"))?;
            let holder = format!("Copyright (c) {authors}");
            let lines = text.trim().lines().map(|line| {
                if line.starts_with("Copyright") {
                    &holder
                } else {
                    line
                }
            });
            let text: Vec<_> = lines.collect();
            return Ok(("MIT, without a file".into(), text.join("\n")));
        }
        bail!(
            "the crate {} {} brings no licence text, and `{license}` is none that is known here",
            self.name,
            self.version
        )
    }
}

/// Adds the files of `folder` and below it that tell a licence.
fn license_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_lowercase();
        if path.is_dir() {
            license_files(&path, files)?;
        } else if is_license(&name) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_license(name: &str) -> bool {
    let starts = [
        "licence",
        "license",
        "copying",
        "copyright",
        "notice",
        "unlicense",
    ];
    let (_, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    starts.iter().any(|start| name.starts_with(start))
        && !["rs", "c", "h", "py", "sh", "toml"].contains(&extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_in_the_programs_has_a_licence_text() {
        let metadata = Metadata::of_checkout().unwrap();
        let text = metadata.third_party().unwrap();
        let (table, texts) = text.split_once("=====").unwrap();
        for linked in ["aws-lc-sys", "clap_builder", "hadris-fat", "serde_core"] {
            assert!(table.contains(&format!("\n{linked} ")), "{linked}");
            assert!(texts.contains(&format!("\n{linked} ")), "{linked}");
        }
        for other in ["cc", "proptest", "serde_derive", "openssl", NAME] {
            assert!(!table.contains(&format!("\n{other} ")), "{other}");
        }
        // Code of others that a crate took in.
        assert!(texts.contains("aws-lc/third_party/fiat/LICENSE\n"));
        let home = env::var("HOME").unwrap();
        assert!(!text.contains(&home), "a path of this machine");
    }

    #[test]
    fn source_files_about_licences_are_no_licences() {
        assert!(is_license("license-mit") && is_license("copying.txt") && is_license("notice"));
        assert!(!is_license("license.rs") && !is_license("readme.md"));
    }

    #[test]
    fn a_crate_without_a_text_gets_that_of_its_expression() {
        let package = |license: &str, authors: &[&str]| Package {
            id: String::new(),
            name: "one".into(),
            version: "1.0.0".into(),
            license: Some(license.into()),
            authors: authors.iter().map(|&author| author.into()).collect(),
            repository: None,
            manifest_path: PathBuf::new(),
            targets: Vec::new(),
        };
        let text = |license, authors| package(license, authors).license_of_expression();
        assert!(
            text("MIT OR Apache-2.0", &[])
                .unwrap()
                .1
                .starts_with("Apache License")
        );
        let (_, mit) = text("MIT", &["A. Author"]).unwrap();
        assert!(mit.contains("\nCopyright (c) A. Author\n"), "{mit}");
        for (license, authors) in [("MIT", &[][..]), ("GPL-3.0", &["A. Author"])] {
            assert_eq!(
                text(license, authors).unwrap_err().to_string(),
                format!(
                    "the crate one 1.0.0 brings no licence text, and `{license}` is none that is known here"
                )
            );
        }
    }
}
