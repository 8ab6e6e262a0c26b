//! `cargo xtask boot-test`: a guest boots the image that our programs encrypted and deployed, under Secure Boot, and
//! opens its root with the key that was sealed before it ever ran.
//!
//! The guest is built of Debian's packages ([`crate::guest`]). Firmware, TPM and machine are edk2, swtpm and QEMU
//! ([`machine`]). What counts is what the console says ([`watch`]): a unit in the real root, or the message of whoever
//! refuses. A boot that shows neither proves nothing, and fails. Each refusal stands beside a success that differs
//! from it in one thing ([`matrix`]).
//!
//! Beside guests, programs are booted that are signed in every way that matters, to see which certificate firmware and
//! shim measure for each ([`signed`]).
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
mod signed;
mod staging;
mod stranger;
mod subject;
mod watch;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::guest::Guest;
use crate::packages::Need;
use crate::{guest, packages, process, python};
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
        prepare(arguments, &target.join("demo"))?;
    }
    if process::is_root()? {
        let guest = arguments.wants_guests().then(|| target.join("demo"));
        return staging::run_as_ordinary_user(&arguments.again(), guest.as_deref(), &results);
    }
    fs::create_dir_all(&results).with_context(|| format!("cannot make {}", results.display()))?;
    boot(arguments, &target, &results)
}

/// Builds what is booted, and what the tests need for it.
fn prepare(arguments: &Arguments, folder: &Path) -> Result<()> {
    let mut needed: Vec<_> = packages::of(&[Need::Build, Need::Boot]).collect();
    if arguments.wants_guests() {
        needed.extend(guest::packages()?);
    }
    packages::install(needed)?;
    python::install_virt_fw_vars()?;
    process::run(&mut process::release_build())?;
    if arguments.wants_guests() {
        Guest::prepare(folder)?;
    }
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

    fn wants(&self, name: &str, is_short: bool) -> bool {
        match &self.only {
            Some(text) => name.contains(text),
            None => self.all || is_short,
        }
    }

    /// The boots of a group that are wanted.
    fn wanted<'g>(&self, group: &'g Group) -> Vec<&'g case::Case> {
        let cases = group.cases.iter();
        let is_wanted = |case: &&case::Case| self.wants(&full_name(group, case), case.is_short);
        cases.filter(is_wanted).collect()
    }

    fn wants_guests(&self) -> bool {
        GROUPS.iter().any(|group| !self.wanted(group).is_empty())
    }

    /// The boots of signed programs that are wanted.
    fn trials(&self) -> Vec<signed::Trial> {
        let mut all = signed::Trial::all();
        all.retain(|trial| self.wants(&trial.name, trial.is_short()));
        all
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
    for trial in arguments.trials() {
        println!("{}", trial.name);
    }
}

/// The last lines of a console before its root had a word.
pub fn lines_before_root(log: &Path, nonce: &str) -> Vec<String> {
    const COUNT: usize = 12;
    let text = Text::of(log).lines_before(&account::beginning(nonce));
    text[text.len().saturating_sub(COUNT)..].to_vec()
}

/// Boots what is wanted, all of it, and fails at the end if anything failed.
fn boot(arguments: &Arguments, folder: &Path, results: &Path) -> Result<()> {
    let start = Instant::now();
    // Sockets have short paths.
    let short = tempfile::Builder::new().prefix("eci-").tempdir()?;
    let acceleration = Acceleration::probe(short.path());
    println!("The machines run under {acceleration}.");
    println!("What they write to their consoles is kept in boot-test below cargo's folder.");

    let mut outcome = Outcome::default();
    if arguments.wants_guests() {
        let guest = Guest::prepare(&folder.join("demo"))?;
        let rooms = Rooms {
            folder,
            short: short.path(),
            results,
        };
        boot_guests(arguments, &guest, acceleration, &rooms, &mut outcome)?;
    }
    let trials = arguments.trials();
    if !trials.is_empty() {
        let rig = signed::Rig::new(acceleration, short.path(), results)?;
        signed::run(&rig, &trials, &mut outcome);
    }
    let seconds = start.elapsed().as_secs_f64();
    let Outcome { passed, failed } = outcome;
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

/// How many boots passed, and the names of those that failed.
#[derive(Default)]
struct Outcome {
    passed: usize,
    failed: Vec<String>,
}

/// Where a run has its files.
struct Rooms<'a> {
    folder: &'a Path,
    /// With a short path.
    short: &'a Path,
    results: &'a Path,
}

fn boot_guests(
    arguments: &Arguments,
    guest: &Guest,
    acceleration: Acceleration,
    rooms: &Rooms,
    outcome: &mut Outcome,
) -> Result<()> {
    let images = tempfile::Builder::new()
        .prefix("boot-test-images-")
        .tempdir_in(rooms.folder)?;
    for group in GROUPS {
        let cases = arguments.wanted(group);
        if cases.is_empty() {
            continue;
        }
        println!("\n{}:", group.name);
        let tpms = rooms.short.join(group.name);
        let folder = images.path().join(group.name);
        let subject = match Subject::make(guest, group, &folder, &tpms) {
            Ok(subject) => subject,
            Err(error) => {
                println!("  FAILED  no guest to boot: {error:#}");
                let names = cases.iter().map(|case| full_name(group, case));
                outcome.failed.extend(names);
                continue;
            }
        };
        for case in cases {
            let name = full_name(group, case).replace([':', ' ', ',', '\''], "-");
            let log = rooms.results.join(name + ".console");
            match case.run(&subject, acceleration, &log) {
                Ok(()) => outcome.passed += 1,
                Err(error) => {
                    println!("  FAILED  {}: {error:#}", case.name);
                    for line in lines_before_root(&log, &subject.nonce) {
                        println!("    {line}");
                    }
                    outcome.failed.push(full_name(group, case));
                }
            }
        }
        fs::remove_dir_all(&folder)?;
    }
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
        told: None,
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
