//! `cargo xtask boot-test`: a guest boots the image that our programs encrypted and deployed, under Secure Boot, and
//! opens its root with the key that was sealed before it ever ran.
//!
//! The guest is built of Debian's packages ([`crate::guest`]). Firmware, TPM and machine are edk2, swtpm and QEMU
//! ([`machine`]). What counts is what the console says ([`watch`]): a unit in the real root, or the message of whoever
//! refuses. A boot that shows neither proves nothing, and fails. Each refusal stands beside a success that differs
//! from it in one thing ([`matrix`]).
//!
//! Everything runs as an ordinary user; where root starts it, as `nobody` ([`staging`]).

mod account;
mod case;
mod console;
mod growth;
mod machine;
mod matrix;
mod measured;
mod sealed_again;
mod sign;
mod staging;
mod stranger;
mod subject;
mod watch;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::guest::Guest;
use crate::{guest, packages, process};
pub use account::Account;
use console::Text;
use machine::{Acceleration, Machine};
use matrix::{GROUPS, Group};
use subject::Subject;

#[derive(clap::Args)]
pub struct Arguments {
    /// Boot everything; one success and one refusal for each kind of key object if left out
    #[arg(long)]
    all: bool,

    /// Boot what has this in its name, of everything
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// Say what would be booted
    #[arg(long)]
    list: bool,

    /// Everything is built and lies beside this program
    #[arg(long, hide = true)]
    prepared: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        list(arguments);
        return Ok(());
    }
    let target = crate::target_folder()?;
    let results = target.join("boot-test");
    if !arguments.prepared {
        prepare(&target.join("demo"))?;
    }
    if process::is_root()? {
        return staging::run_as_ordinary_user(&arguments.again(), &results);
    }
    let guest = Guest::prepare(&target.join("demo"))?;
    boot(arguments, &guest, &target, &results)
}

/// Builds what is booted, and what the tests need for it.
fn prepare(folder: &Path) -> Result<()> {
    let mut needed: Vec<_> = packages::BUILD.iter().chain(packages::BOOT).collect();
    needed.extend(guest::packages()?);
    packages::install(needed)?;
    process::run(&mut process::release_build())?;
    Guest::prepare(folder)?;
    Ok(())
}

impl Arguments {
    fn again(&self) -> Vec<String> {
        let mut words = vec!["--prepared".to_owned()];
        words.extend(self.all.then(|| "--all".to_owned()));
        words.extend(
            self.only
                .iter()
                .flat_map(|text| ["--only".to_owned(), text.clone()]),
        );
        words
    }

    /// The boots of a group that are wanted.
    fn wanted<'g>(&self, group: &'g Group) -> Vec<&'g case::Case> {
        let is_wanted = |case: &&case::Case| match &self.only {
            Some(text) => full_name(group, case).contains(text),
            None => self.all || case.is_short,
        };
        group.cases.iter().filter(is_wanted).collect()
    }
}

fn full_name(group: &Group, case: &case::Case) -> String {
    format!("{}: {}", group.name, case.name)
}

fn list(arguments: &Arguments) {
    for group in GROUPS {
        for case in arguments.wanted(group) {
            println!("{}", full_name(group, case));
        }
    }
}

/// The last lines of a console before its root had a word.
pub fn lines_before_root(log: &Path, nonce: &str) -> Vec<String> {
    const COUNT: usize = 12;
    let text = Text::of(log).lines_before(&account::beginning(nonce));
    text[text.len().saturating_sub(COUNT)..].to_vec()
}

/// Boots what is wanted, all of it, and fails at the end if anything failed.
fn boot(arguments: &Arguments, guest: &Guest, folder: &Path, results: &Path) -> Result<()> {
    let start = Instant::now();
    fs::create_dir_all(results).with_context(|| format!("cannot make {}", results.display()))?;
    let images = tempfile::Builder::new()
        .prefix("boot-test-images-")
        .tempdir_in(folder)?;
    // Sockets have short paths.
    let short = tempfile::Builder::new().prefix("eci-").tempdir()?;
    let acceleration = Acceleration::probe(short.path());
    println!("The guests run under {acceleration}.");
    println!("What they write to their consoles is kept in boot-test below cargo's folder.");

    let (mut passed, mut failed) = (0, Vec::new());
    for group in GROUPS {
        let cases = arguments.wanted(group);
        if cases.is_empty() {
            continue;
        }
        println!("\n{}:", group.name);
        let tpms = short.path().join(group.name);
        let folder = images.path().join(group.name);
        let subject = match Subject::make(guest, group, &folder, &tpms) {
            Ok(subject) => subject,
            Err(error) => {
                println!("  FAILED  no guest to boot: {error:#}");
                failed.extend(cases.iter().map(|case| full_name(group, case)));
                continue;
            }
        };
        for case in cases {
            let log = results
                .join(full_name(group, case).replace([':', ' ', ',', '\''], "-") + ".console");
            match case.run(&subject, acceleration, &log) {
                Ok(()) => passed += 1,
                Err(error) => {
                    println!("  FAILED  {}: {error:#}", case.name);
                    for line in lines_before_root(&log, &subject.nonce) {
                        println!("    {line}");
                    }
                    failed.push(full_name(group, case));
                }
            }
        }
        fs::remove_dir_all(&folder)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    if !failed.is_empty() {
        bail!(
            "{} of {} boots failed: {}",
            failed.len(),
            failed.len() + passed,
            failed.join("; ")
        );
    }
    println!("\nAll {passed} boots ended as they have to, in {seconds:.0} s.");
    Ok(())
}

/// Boots a guest that has to open its root, and returns what it tells. It gets copies of its disk's changes and of its
/// variables; `nonce` is what its root alone knows, and `folder` gets the console.
pub fn boot_to_root(
    disk: &Path,
    variables: &Path,
    tpm: &Path,
    nonce: &str,
    folder: &Path,
) -> Result<Account> {
    let machine = Machine {
        acceleration: Acceleration::probe(tpm),
        disk,
        keeps_changes: false,
        variables,
        tpm,
    };
    let mut running = machine.start(&folder.join("store.fd"))?;
    let outcome = watch::watch(
        &mut running,
        nonce,
        watch::Answer::Wrong,
        &folder.join("console"),
    )?;
    match outcome {
        watch::Outcome::Root(account) => account.check().map(|()| account),
        outcome => bail!("the root is not reached; {}", case::described(&outcome)),
    }
}
