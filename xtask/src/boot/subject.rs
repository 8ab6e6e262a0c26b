//! What is booted: a guest's disk, encrypted and deployed by our programs, with its TPM and its firmware's variables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::matrix::{Group, Way};
use crate::disk::Disk;
use crate::guest::{Guest, NONCE, Recipe, random, secure_boot};
use crate::prediction::Report;
use crate::process;
use crate::tpm::{SRK_HANDLE, Tpm};

/// The storage root key of a TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Srk {
    /// As tpm2-tools call it.
    pub algorithm: &'static str,
    /// Whether it lies in the TPM before the guest runs, made with other attributes. If not, it is the key that
    /// `tpm2_createprimary` makes without options, and the guest has to make it again.
    pub persists: bool,
}

impl Srk {
    pub const RSA: Self = Self {
        algorithm: "rsa2048",
        persists: false,
    };
    pub const ECC: Self = Self {
        algorithm: "ecc",
        persists: false,
    };
    pub const ECC_THAT_PERSISTS: Self = Self {
        persists: true,
        ..Self::ECC
    };
}

/// A deployed guest that has not run yet.
pub struct Subject<'g> {
    pub guest: &'g Guest,
    pub recipe: Recipe,
    pub srk: Srk,
    /// The variables of its firmware.
    pub variables: PathBuf,
    /// What its disk alone knows.
    pub nonce: String,
    /// As `encrypt` left it; not there where `provision` made the guest's disk in one pass.
    pub encrypted: PathBuf,
    pub deployed: PathBuf,
    pub report: Report,
    /// The recovery key, as it is typed.
    pub recovery_key: String,
    /// What `deploy` gets beside the guest's files.
    deploy: &'static [&'static str],
    /// The state of its TPM, which is stopped.
    pub tpm: PathBuf,
    /// For more files of this subject.
    pub folder: PathBuf,
    /// For more TPMs, below a short path.
    pub tpms: PathBuf,
}

impl<'g> Subject<'g> {
    /// Makes the disk, encrypts it, makes a TPM, deploys a copy. Images are kept in `folder`, TPMs in `tpms`, whose path
    /// is short.
    pub fn make(guest: &'g Guest, group: &Group, folder: &Path, tpms: &Path) -> Result<Self> {
        for folder in [folder, tpms] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let file = |name: &str| folder.join(name);
        let (recipe, srk) = ((group.recipe)(), group.srk);
        let nonce = random::nonce()?;
        let variables = file("variables.fd");
        secure_boot::write_store(&guest.signer(), recipe.second_stage(), &variables)?;
        let mut clock = Clock::new();
        guest.make_disk(&recipe, &file("disk.img"))?;
        Disk::of(&file("disk.img"))?.write_to_root(NONCE, &nonce)?;
        clock.took("disk made");

        let tpm = tpms.join("tpm");
        make_tpm(&tpm, srk, &file("srk.pub"))?;
        let recovery_key = match group.way {
            Way::EncryptAndDeploy => {
                let mut encrypt = process::released("encrypt-cloud-image")?;
                encrypt.arg("encrypt").args(group.encrypt);
                encrypt.arg("-o").arg(file("encrypted.img"));
                process::quiet_output(encrypt.arg(file("disk.img")))?;
                clock.took("encrypted");
                let mut deploy = bind("deploy", group.deploy, &file("srk.pub"), &variables)?;
                make_deployed(&mut deploy, folder, &file("encrypted.img"))?
            }
            Way::Provision => {
                let mut provision = bind("provision", group.deploy, &file("srk.pub"), &variables)?;
                provision.args(group.encrypt);
                make_deployed(&mut provision, folder, &file("disk.img"))?
            }
        };
        fs::remove_file(file("disk.img"))?;
        clock.took("deployed");
        println!("  {}", clock.words.join(", "));
        Ok(Self {
            deploy: group.deploy,
            guest,
            recipe,
            srk,
            variables,
            nonce,
            encrypted: file("encrypted.img"),
            deployed: file("deployed.img"),
            report: Report::read(&file("report.json"))?,
            recovery_key: recovery_key.trim().to_owned(),
            tpm,
            folder: folder.to_owned(),
            tpms: tpms.to_owned(),
        })
    }

    /// The command that binds an image of this guest to another TPM.
    pub fn deploy(&self, srk_public: &Path) -> Result<Command> {
        bind("deploy", self.deploy, srk_public, &self.variables)
    }

    pub fn recovery_key_file(&self) -> PathBuf {
        self.folder.join(RECOVERY_KEY)
    }
}

/// The command `deploy`, or `provision`, for a guest with these options, this SRK and these variables.
fn bind(command: &str, options: &[&str], srk_public: &Path, variables: &Path) -> Result<Command> {
    let mut bind = process::released("encrypt-cloud-image")?;
    bind.arg(command).args(options);
    bind.arg("--srk-pub").arg(srk_public);
    bind.arg("--ovmf-vars").arg(variables);
    Ok(bind)
}

/// Makes the guest's disk of `source`, with its report and its recovery key, which is returned as it is typed.
fn make_deployed(bind: &mut Command, folder: &Path, source: &Path) -> Result<String> {
    bind.arg("--report").arg(folder.join("report.json"));
    bind.arg("--recovery-key-out")
        .arg(folder.join(RECOVERY_KEY));
    bind.arg("--print")
        .arg("-o")
        .arg(folder.join("deployed.img"));
    process::quiet_output(bind.arg(source))
}

/// The file of the recovery key.
const RECOVERY_KEY: &str = "recovery.key";

/// Those of the key that systemd-tpm2-setup makes.
const ATTRIBUTES: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";

/// Makes a TPM that has this storage root key, writes its public area to `public`, and stops it.
///
/// Only one bank of PCRs is on, which saves the firmware the digests of the others.
pub fn make_tpm(folder: &Path, srk: Srk, public: &Path) -> Result<()> {
    let tpm = Tpm::start(folder)?;
    let context = folder.join("srk.ctx");
    let mut create = tpm.tool("tpm2_createprimary");
    create.args(["-C", "o", "-G", srk.algorithm]);
    if srk.persists {
        // As systemd-tpm2-setup makes it: unlike the key without options it has no part in dictionary attacks.
        create.args(["-a", ATTRIBUTES]);
    }
    create.arg("-c").arg(&context);
    process::quiet_output(&mut create)?;
    let mut read = tpm.tool("tpm2_readpublic");
    process::quiet_output(read.arg("-c").arg(&context).arg("-o").arg(public))?;
    if srk.persists {
        let mut evict = tpm.tool("tpm2_evictcontrol");
        process::quiet_output(evict.arg("-c").arg(&context).arg(SRK_HANDLE))?;
    }
    tpm.flush_objects()?;
    let banks = "sha256:all+sha1:none+sha384:none+sha512:none";
    process::quiet_output(tpm.tool("tpm2_pcrallocate").arg(banks))?;
    fs::remove_file(&context)?;
    tpm.stop()
}

/// What the steps took.
struct Clock {
    last: Instant,
    words: Vec<String>,
}

impl Clock {
    fn new() -> Self {
        Self {
            last: Instant::now(),
            words: Vec::new(),
        }
    }

    fn took(&mut self, what: &str) {
        let seconds = self.last.elapsed().as_secs_f64();
        self.words.push(format!("{what} in {seconds:.0} s"));
        self.last = Instant::now();
    }
}
