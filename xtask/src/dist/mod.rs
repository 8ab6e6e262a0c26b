//! `cargo xtask dist`: packages for people, and the proof that they work on a system that has nothing of ours.
//!
//! | file below `target/dist` | what it is |
//! | --- | --- |
//! | `encrypt-cloud-image-VERSION-ARCH-linux.tar.gz` | static programs for any Linux of that machine, to be unpacked below `/usr/local` or `~/.local` |
//! | `encrypt-cloud-image_VERSION-1_ARCH.deb` | the programs for Debian and Ubuntu, linked dynamically |
//! | `SHA256SUMS` | their digests |
//!
//! The `.deb` is linked dynamically so that a fix of libext2fs, which reads hostile filesystems, reaches its users
//! with the updates of their distribution; and dynamic linking asks for no copy of a library's source beside it. The
//! price is a second build, and that it installs only where the C library is as new as the building machine's. The
//! static programs run everywhere.
//!
//! The same commit and the same tools give the same bytes, in whatever folder: times are the commit's, owners are
//! root, and no path of the building machine is in a program.

mod archive;
mod check;
mod contents;
mod crates;
mod deb;
mod libraries;
mod programs;
mod release;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};

use self::contents::Generated;
use self::crates::Metadata;
use self::programs::{Linking, Programs};
use self::release::Release;
use crate::guest::{self, Guest};
use crate::packages::Need;
use crate::{debian, packages, process};

#[derive(clap::Args)]
pub struct Arguments {
    /// The cloud image to encrypt in the checks; the demo's guest if left out
    ///
    /// The guest is built if `cargo xtask demo` has not done so yet.
    image: Option<PathBuf>,

    /// Make the packages and check nothing
    #[arg(long, conflicts_with = "image")]
    no_check: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let for_all = [Need::Build, Need::Docs, Need::Dist];
    let mut needed: Vec<_> = packages::of(&for_all).collect();
    if !arguments.no_check {
        needed.extend(packages::of(&[Need::DistCheck]));
        needed.extend(debian::packages()?);
        if arguments.image.is_none() {
            needed.extend(guest::packages()?);
        }
    }
    packages::install(needed)?;

    let target = crate::target_folder()?;
    let work = target.join("dist-work");
    let made = make(&work)?;
    if !arguments.no_check {
        let image = match &arguments.image {
            Some(image) => fs::canonicalize(image)
                .with_context(|| format!("cannot open {}", image.display()))?,
            None => Guest::prepare(&target.join("demo"))?.disk(),
        };
        check::run(&made, &image, &work)?;
    }
    // Only now: what lies in this folder is whole, and checked where that was wanted.
    let folder = target.join("dist");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::rename(&made.folder, &folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    tell(&made, &folder, arguments.no_check, start)
}

/// The packages of one run.
struct Made {
    release: Release,
    folder: PathBuf,
    deb: PathBuf,
    archive: PathBuf,
    digests: String,
}

fn make(work: &Path) -> Result<Made> {
    let metadata = Metadata::of_checkout()?;
    let release = Release::of_checkout(&metadata)?;
    let third_party = metadata.third_party()?;

    heading("Manual pages and completions");
    let generated = Generated::write(work)?;
    heading("The programs for the Debian package");
    let dynamic = programs::build(Linking::Dynamic, work)?;
    heading("The static programs");
    let statically = programs::build(Linking::Static, work)?;

    heading("The packages");
    let folder = work.join("packages");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let parts = |programs| Parts {
        release: &release,
        programs,
        generated: &generated,
        third_party: &third_party,
    };
    let deb = deb::make(&parts(&dynamic), work, &folder)?;
    let archive = archive::make(&parts(&statically), work, &folder)?;
    let digests = archive::write_digests(&folder, &[deb.clone(), archive.clone()])?;
    // For everybody, whatever the umask.
    tree::set_mode(&folder, 0o755)?;
    for file in [&deb, &archive, &folder.join("SHA256SUMS")] {
        tree::set_mode(file, 0o644)?;
    }
    Ok(Made {
        release,
        folder,
        deb,
        archive,
        digests,
    })
}

/// What goes into a package.
struct Parts<'a> {
    release: &'a Release,
    programs: &'a Programs,
    generated: &'a Generated,
    /// The licences of the crates.
    third_party: &'a str,
}

fn heading(text: &str) {
    println!("\n==> {text}");
}

/// The table of what was made.
fn tell(made: &Made, folder: &Path, unchecked: bool, start: Instant) -> Result<()> {
    heading("In short");
    let Release {
        version, commit, ..
    } = &made.release;
    println!("{} {version}, commit {commit}:", release::NAME);
    for line in made.digests.lines() {
        let (digest, name) = line.split_once("  ").context("sha256sum says nothing")?;
        let len = fs::metadata(folder.join(name))?.len();
        println!("  {name:<48} {:>6} KiB  {digest}", len.div_ceil(1024));
    }
    if commit.ends_with('+') {
        println!(
            "The checkout has changes that this commit does not have: this is nothing to hand out."
        );
    }
    let checked = if unchecked { "not checked" } else { "checked" };
    println!(
        "In {}, {checked}, in {:.0} s. Whoever hands out the archive reads its NOTICE first.",
        process::shown_path(folder),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
