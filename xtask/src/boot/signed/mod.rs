//! Signed programs before firmware and shim: what is measured for each is what `predict` says, event by event.
//!
//! The programs are a few bytes of machine code ([`program`]); certificates ([`pki`]) and signatures ([`signature`]) are
//! made in every way that matters ([`cases`]). One boot shows a whole group: firmware starts one program after the
//! other, each of which returns, until the last one tells what the TPM saw ([`machine`]). Before shim the last program is
//! the second stage, and asks shim for all others. Alone, a case is a boot of its own, as a guest's is.
//!
//! What a boot was made of and what it showed is kept; `tests/data/signed` holds such boots.

mod cases;
mod compare;
mod der;
mod list;
mod log;
mod machine;
mod pki;
mod program;
mod record;
mod signature;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Outcome;
use super::machine::Acceleration;
use crate::process;
use cases::{ALONE, Case, Entry, GROUPS, Group, Parts};
use compare::{Boot, Compared};
use machine::Setting;
use pki::{Certificate, Hash, Spec, Workshop};
use program::Role;
use signature::{Pkcs7, Signature};

/// Who judges the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    Firmware,
    Shim,
}

impl Loader {
    const ALL: [Self; 2] = [Self::Firmware, Self::Shim];

    fn name(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Shim => "shim",
        }
    }
}

/// A boot of these programs.
pub struct Trial {
    pub name: String,
    loader: Loader,
    group: &'static Group,
    /// The one case that is booted; all of the group where there is none.
    alone: Option<&'static Case>,
}

impl Trial {
    /// Whether it is in the short run as well.
    pub fn is_short(&self) -> bool {
        self.alone.is_none() && self.group.is_short
    }

    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for loader in Loader::ALL {
            for group in GROUPS {
                let name = format!("signed: {}: {}", loader.name(), group.name);
                let alone = group.cases.iter();
                let alone = alone.filter(|case| {
                    ALONE.contains(&case.name) && !case.expected_of(loader).is_empty()
                });
                let alone = alone.map(|case| Self {
                    name: format!("{name}: {}", case.name),
                    loader,
                    group,
                    alone: Some(case),
                });
                let alone: Vec<_> = alone.collect();
                all.push(Self {
                    name,
                    loader,
                    group,
                    alone: None,
                });
                all.extend(alone);
            }
        }
        all
    }
}

/// A case made: what firmware or shim loads.
pub struct Signed {
    pub case: &'static Case,
    pub content: Vec<u8>,
    /// Its Authenticode digest, in hexadecimal.
    pub digest: String,
    /// The same by each hash function.
    digests: Vec<(Hash, Vec<u8>)>,
    /// The program without signatures.
    plain: Vec<u8>,
    pub parts: Parts,
}

/// What all boots share.
pub struct Rig<'a> {
    workshop: Workshop,
    /// The certificate of the program that tells.
    teller: Certificate,
    microsofts_db: Vec<u8>,
    shim: Vec<u8>,
    acceleration: Acceleration,
    folder: PathBuf,
    tpm: PathBuf,
    results: &'a Path,
}

/// Debian's.
const SHIM: &[u8] = include_bytes!("../../../../tests/data/vectors/pe/shim-debian-16.1.efi.gz");

/// What a disk of a boot holds, beside the databases.
#[derive(Default)]
struct Disk {
    files: Vec<(String, Vec<u8>)>,
    boot: Vec<(String, Option<String>)>,
}

impl<'a> Rig<'a> {
    /// `short` is a folder with a short path.
    pub fn new(acceleration: Acceleration, short: &Path, results: &'a Path) -> Result<Self> {
        let folder = short.join("signed");
        fs::create_dir_all(&folder)?;
        let workshop = Workshop::new(&folder);
        let teller = workshop.certificate(Spec::authority("teller".to_owned()), None)?;
        let packed = folder.join("shim.gz");
        fs::write(&packed, SHIM)?;
        process::quiet_output(process::program("gzip").arg("-d").arg(&packed))?;
        Ok(Self {
            teller,
            microsofts_db: machine::microsofts_db(&folder)?,
            shim: fs::read(folder.join("shim"))?,
            acceleration,
            tpm: short.join("tpm-signed"),
            folder,
            workshop,
            results,
        })
    }

    fn signed(&self, case: &'static Case, code: &[u8]) -> Result<Signed> {
        let parts = case.parts(&self.workshop)?;
        let plain = program::program(code, case.name);
        let digest = |hash| Ok((hash, program::digest(&self.workshop, hash, &plain)?));
        Ok(Signed {
            case,
            content: signature::signed(&self.workshop, &plain, &parts.signatures)?,
            digest: process::hex(&program::digest(&self.workshop, Hash::Sha256, &plain)?),
            digests: Hash::ALL.map(digest).into_iter().collect::<Result<_>>()?,
            plain,
            parts,
        })
    }

    /// The program that tells and nothing else.
    fn teller(&self, code: &[u8]) -> Result<Vec<u8>> {
        let plain = program::program(code, "teller");
        let signature = Signature::Pkcs7(Pkcs7::by(&[&self.teller]));
        signature::signed(&self.workshop, &plain, &[signature])
    }

    /// Boots, and says what came out for each case.
    fn run(&self, trial: &Trial) -> Result<(Vec<Compared>, f64)> {
        let tells = program::code(Role::Tells, &self.folder)?;
        let passes = program::code(Role::Passes, &self.folder)?;
        let (cases, code) = match trial.alone {
            Some(case) => (std::slice::from_ref(case), &tells),
            None => (trial.group.cases, &passes),
        };
        let cases = cases.iter().map(|case| self.signed(case, code));
        let cases: Vec<Signed> = cases.collect::<Result<_>>()?;
        let mut disk = match trial.alone {
            Some(_) => Disk::of_one(trial.loader, &cases[0].content),
            None => Disk::of_several(trial.loader, &cases, self.teller(&tells)?),
        };
        if trial.loader == Loader::Shim {
            disk.files
                .push(("shimx64.efi".to_owned(), self.shim.clone()));
        }
        let (db, dbx) = self.databases(trial.loader, &cases)?;
        let setting = Setting {
            files: disk.files,
            boot: disk.boot,
            db: &db,
            dbx: &dbx,
            owner_certificate: &self.teller.der,
        };
        let folder = self
            .results
            .join(trial.name.replace([':', ' ', ',', '/'], "-"));
        record::setting(&setting, &folder)?;
        let console = folder.join("console");
        let told = setting.boot(self.acceleration, &self.folder, &self.tpm, &console)?;
        record::log(&told, &folder)?;
        let boot = Boot {
            loader: trial.loader,
            cases: &cases,
            told: &told,
            folder: &folder,
        };
        let compared = match trial.alone {
            Some(_) => vec![boot.compare_one(&self.tpm)?],
            None => boot.compare(&self.tpm)?,
        };
        let found: Vec<_> = cases.iter().zip(&compared).collect();
        record::compared(trial.loader, &setting, &told, &found, &folder)?;
        Ok((compared, told.seconds))
    }

    fn databases(&self, loader: Loader, cases: &[Signed]) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut db = match loader {
            Loader::Firmware => Vec::new(),
            Loader::Shim => self.microsofts_db.clone(),
        };
        // An empty one would spare firmware the look at each signature.
        let stranger = Spec::authority("stranger to all".to_owned());
        let stranger = self.workshop.certificate(stranger, None)?;
        let first = [
            Entry::Certificate(stranger.clone()),
            Entry::Revoked(Hash::Sha256, stranger, [0; 16]),
        ];
        let mut dbx = list::database(&self.workshop, &first, &[])?;
        for case in cases {
            db.extend(list::database(&self.workshop, &case.parts.db, &case.plain)?);
            dbx.extend(list::database(
                &self.workshop,
                &case.parts.dbx,
                &case.plain,
            )?);
        }
        db.extend(list::list(list::X509, &self.teller.der));
        Ok((db, dbx))
    }
}

/// What starts the program of this name.
fn boot_option(loader: Loader, file: &str) -> (String, Option<String>) {
    match loader {
        Loader::Firmware => (format!("\\{file}"), None),
        Loader::Shim => ("\\shimx64.efi".to_owned(), Some(file.to_owned())),
    }
}

impl Disk {
    fn of_one(loader: Loader, program: &[u8]) -> Self {
        Self {
            files: vec![("program.efi".to_owned(), program.to_vec())],
            boot: vec![boot_option(loader, "program.efi")],
        }
    }

    fn of_several(loader: Loader, cases: &[Signed], teller: Vec<u8>) -> Self {
        let mut disk = Self::default();
        for (number, case) in cases.iter().enumerate() {
            let file = loader.file(number);
            if loader == Loader::Firmware {
                disk.boot.push(boot_option(loader, &file));
            }
            disk.files.push((file, case.content.clone()));
        }
        disk.files.push(("teller.efi".to_owned(), teller));
        disk.boot.push(boot_option(loader, "teller.efi"));
        disk
    }
}

impl Loader {
    /// Where a program lies that is one of several.
    fn file(self, number: usize) -> String {
        match self {
            Self::Firmware => format!("{number:02}.efi"),
            Self::Shim => format!("probe/{number:02}.efi"),
        }
    }
}

/// Boots, and prints what came out.
pub fn run(rig: &Rig, trials: &[Trial], outcome: &mut Outcome) {
    for trial in trials {
        println!("\n{}:", trial.name);
        match rig.run(trial) {
            Ok((compared, seconds)) => {
                println!("  booted in {seconds:.0} s");
                for one in &compared {
                    println!("  {one}");
                }
                if compared.iter().all(|one| one.fault.is_none()) {
                    outcome.passed += 1;
                    continue;
                }
            }
            Err(error) => println!("  FAILED  {error:#}"),
        }
        outcome.failed.push(trial.name.clone());
    }
}
