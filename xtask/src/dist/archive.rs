//! The archive of static programs, and the digests of what is handed out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Parts;
use super::contents::{self, Places};
use super::crates;
use super::libraries;
use super::tree::Tree;
use crate::process;

/// Makes the archive in `folder`. It holds one folder, in that `bin` and `share`: what `/usr/local` has.
pub(super) fn make(parts: &Parts, work: &Path, folder: &Path) -> Result<PathBuf> {
    let name = parts.release.archive_name();
    let work = work.join("archive");
    let tree = Tree::new(work.join(&name))?;
    let places = Places {
        zsh: "site-functions",
    };
    contents::lay_out(&tree, "", &parts.programs.folder, parts.generated, &places)?;
    contents::documents(&tree, "")?;
    let project = crate::project_folder();
    let documents = contents::documents_folder("");
    for file in ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        tree.copy(&project.join(file), &format!("{documents}/{file}"))?;
    }
    let third_party = format!("{documents}/third-party-licenses.txt");
    tree.write(parts.third_party.as_bytes(), &third_party)?;
    let page = crates::standard_library()?;
    tree.copy(&page, &format!("{documents}/{}", crates::STANDARD_LIBRARY))?;
    libraries::write_notice(&tree, "", parts.release, &parts.programs.linker_inputs)?;

    let archive = folder.join(format!("{name}.tar.gz"));
    pack(&work, &name, parts.release.epoch, &archive)?;
    Ok(archive)
}

/// Packs the folder `name` of `within` so that the same files give the same bytes.
fn pack(within: &Path, name: &str, epoch: u64, archive: &Path) -> Result<()> {
    let mut tar = process::program("tar");
    tar.args(["--create", "--format=ustar", "--sort=name"]);
    tar.args(["--owner=root:0", "--group=root:0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{epoch}"));
    tar.arg("--use-compress-program=gzip -9 --no-name");
    tar.arg("--directory")
        .arg(within)
        .arg("--file")
        .arg(archive)
        .arg(name);
    process::run(&mut tar)
}

/// Writes `SHA256SUMS` beside the files, and returns what it says.
pub fn write_digests(folder: &Path, files: &[PathBuf]) -> Result<String> {
    let mut sha256sum = process::program("sha256sum");
    sha256sum.current_dir(folder);
    sha256sum.args(files.iter().filter_map(|file| file.file_name()));
    let digests = process::quiet_output(&mut sha256sum)?;
    let file = folder.join("SHA256SUMS");
    fs::write(&file, &digests).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_same_files_give_the_same_archive() {
        let scratch = tempfile::tempdir().unwrap();
        let packed = |first: &str, second: &str, archive: &str, age: u64| {
            let tree = Tree::new(scratch.path().join("one")).unwrap();
            for name in [first, second] {
                tree.write(name.as_bytes(), &format!("share/{name}"))
                    .unwrap();
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(age);
                let file = fs::File::options()
                    .write(true)
                    .open(tree.top().join("share").join(name));
                file.unwrap().set_modified(time).unwrap();
            }
            let archive = scratch.path().join(archive);
            pack(scratch.path(), "one", 1_000_000_000, &archive).unwrap();
            fs::read(archive).unwrap()
        };
        assert_eq!(
            packed("a", "b", "1.tar.gz", 1),
            packed("b", "a", "2.tar.gz", 2)
        );
    }
}
