//! What a package holds beside the programs: manual pages, completions, documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::programs::PROGRAMS;
use super::release::NAME;
use super::tree::Tree;
use crate::docs;

/// Manual pages and completions, as the parsers define them.
pub struct Generated {
    folder: PathBuf,
}

impl Generated {
    /// Writes them below `work`.
    pub fn write(work: &Path) -> Result<Self> {
        let folder = work.join("generated");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        docs::write(&work.join("reference"), &folder)?;
        let this = Self { folder };
        let written: BTreeSet<_> = names(&this.folder.join("man"))?.into_iter().collect();
        let expected: BTreeSet<_> = pages(&crate::project_folder())?.into_iter().collect();
        ensure!(
            written == expected,
            "manual pages: {written:?} were written, docs/reference tells of {expected:?}"
        );
        Ok(this)
    }
}

/// Where below its prefix a package puts what others look for there.
pub struct Places {
    /// zsh reads `vendor-completions` for what distributions pack, `site-functions` for the rest.
    pub zsh: &'static str,
}

/// Puts the programs, their manual pages and completions below `prefix`, a path within the tree.
pub fn lay_out(
    tree: &Tree,
    prefix: &str,
    programs: &Path,
    generated: &Generated,
    places: &Places,
) -> Result<()> {
    for name in PROGRAMS {
        tree.program(&programs.join(name), &format!("{prefix}bin/{name}"))?;
        for (from, to) in completions(name, places) {
            let from = generated.folder.join("completions").join(from);
            tree.copy(&from, &format!("{prefix}share/{to}"))?;
        }
    }
    let man = generated.folder.join("man");
    for page in names(&man)? {
        let text = fs::read(man.join(&page))?;
        tree.compressed(&text, &format!("{prefix}share/man/man1/{page}"))?;
    }
    Ok(())
}

/// Puts the pages for users into the package's folder of documents, with the links between them as they are here.
pub fn documents(tree: &Tree, prefix: &str) -> Result<()> {
    let project = crate::project_folder();
    let folder = documents_folder(prefix);
    tree.copy(&project.join("README.md"), &format!("{folder}/README.md"))?;
    tree.copy_all(&project.join("docs"), &format!("{folder}/docs"))
}

/// The package's folder of documents.
pub fn documents_folder(prefix: &str) -> String {
    format!("{prefix}share/doc/{NAME}")
}

/// The completions of a program: as they are generated, and where their shells look below `share`.
fn completions(name: &str, places: &Places) -> [(String, String); 3] {
    [
        (
            format!("{name}.bash"),
            format!("bash-completion/completions/{name}"),
        ),
        (format!("_{name}"), format!("zsh/{}/_{name}", places.zsh)),
        (
            format!("{name}.fish"),
            format!("fish/vendor_completions.d/{name}.fish"),
        ),
    ]
}

/// The manual pages that there should be: one for each command that a reference page tells of.
pub fn pages(project: &Path) -> Result<Vec<String>> {
    let mut pages = Vec::new();
    for name in PROGRAMS {
        let page = project.join(format!("docs/reference/{name}.md"));
        let text =
            fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
        let headings = text
            .lines()
            .filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'))
            .filter(|heading| heading.split(' ').next() == Some(name));
        pages.extend(headings.map(|heading| format!("{}.1", heading.replace(' ', "-"))));
    }
    Ok(pages)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_manual_page() {
        let pages = pages(&crate::project_folder()).unwrap();
        for page in [
            "create-uefi-config.1",
            "encrypt-cloud-image.1",
            "encrypt-cloud-image-deploy.1",
            "print-recovery-key.1",
        ] {
            assert!(pages.contains(&page.to_owned()), "{pages:?}");
        }
    }
}
