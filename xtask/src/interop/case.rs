//! One deployed image, and what the library makes of it in the states of its TPM.
//!
//! Every state is one of a fresh copy of the TPM, so that nothing of an earlier attempt counts.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::image;
use super::reader::{Reader, Unsealed};
use crate::disk::Disk;
use crate::prediction::{Branch, Report};
use crate::process;
use crate::tpm::{Extend, Tpm};

/// What the library says when the PCRs have values that no branch has.
const WRONG_STATE: &str = "session digest not found in policy data";

/// What it says of a file that belongs to another SRK: an ECC key finds the blob's integrity broken, an RSA key of this
/// TPM cannot decrypt the seed.
const WRONG_PARENT: [&str; 2] = ["TPM_RC_INTEGRITY", "TPM_RC_FAILURE"];

/// How the guest's SRK is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Srk {
    /// By `tpm2_createprimary` without options but the algorithm.
    Plain(Algorithm),
    /// With unique data, in the form that `tpm2_createprimary` takes.
    WithUniqueData(Algorithm),
    /// By the standard template, which every reader knows.
    Standard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rsa,
    Ecc,
}

/// A deployed image and its TPM.
pub struct Case<'r> {
    folder: PathBuf,
    reader: &'r Reader,
    report: Report,
    sealed: PathBuf,
    /// From what the SRK is made; none where that is the standard template.
    template: Option<PathBuf>,
    header: PathBuf,
    /// How many copies of a TPM there are.
    copies: Cell<u32>,
}

impl<'r> Case<'r> {
    /// Deploys a copy of an encrypted image to a new TPM, in `folder`.
    pub fn deploy(folder: &Path, encrypted: &Path, srk: Srk, reader: &'r Reader) -> Result<Self> {
        let file = |name: &str| folder.join(name);
        let tpm = Tpm::start(&file("tpm"))?;
        let unique_data = file("unique-data");
        fs::write(&unique_data, srk.unique_data())?;
        make_srk(&tpm, srk, &unique_data, &file("srk.pub"))?;
        tpm.stop()?;
        let mut deploy = process::built("encrypt-cloud-image")?;
        deploy.arg("deploy").arg("--srk-pub").arg(file("srk.pub"));
        deploy.arg("--uefi-config").arg(image::configuration());
        deploy.args([
            "--add-efi-boot-manager-profile",
            "--add-efi-secure-boot-profile",
            "--add-ubuntu-kernel-profile",
            "--ignore-sbat", // these kernels have none
        ]);
        match srk {
            Srk::Plain(_) => {}
            Srk::WithUniqueData(_) => {
                deploy.arg("--srk-template-unique-data").arg(&unique_data);
            }
            Srk::Standard => {
                deploy.arg("--standard-srk-template");
            }
        }
        deploy.arg("--recovery-key-out").arg(file("recovery.key"));
        deploy.arg("--report").arg(file("report.json"));
        deploy.arg("-o").arg(file("deployed.img")).arg(encrypted);
        process::quiet_output(&mut deploy)?;

        let disk = Disk::of(&file("deployed.img"))?;
        let sealed = "device/fde/cloudimg-rootfs.sealed-key";
        disk.copy_from_esp(sealed, &file("sealed-key"))?;
        let template = (srk != Srk::Standard).then(|| file("tpm2-srk.tmpl"));
        if let Some(template) = &template {
            disk.copy_from_esp("tpm2-srk.tmpl", template)?;
        }
        disk.copy_container_header(&file("header"))?;
        Ok(Self {
            folder: folder.to_owned(),
            reader,
            report: Report::read(&file("report.json"))?,
            sealed: file("sealed-key"),
            template,
            header: file("header"),
            copies: Cell::new(0),
        })
    }

    /// Lets the library do everything that a guest lets it do.
    pub fn check(&self) -> Result<()> {
        self.srk_is_made_again()?;
        let unsealed = self.predicted_states_open()?;
        self.other_states_are_refused()?;
        self.another_tpm_is_refused()?;
        self.recovery_key_has_its_name()?;
        // nullboot looks for a persistent SRK.
        if self.template.is_some() {
            self.policy_is_rewritten(&unsealed)?;
        }
        Ok(())
    }

    /// The template makes the very SRK in a TPM that has lost it. From then on it is there. One that the standard template
    /// makes is never there: the reader makes it while it unseals.
    fn srk_is_made_again(&self) -> Result<()> {
        let Some(template) = &self.template else {
            return Ok(());
        };
        let tpm = Tpm::start(&self.folder.join("tpm"))?;
        let name = self.reader.provision(&tpm, template)?;
        ensure!(
            name == self.report.srk.name,
            "the template makes an SRK of name {name}, the key is sealed to {}",
            self.report.srk.name
        );
        tpm.stop()?;
        passed("tpm2-srk.tmpl makes the SRK again");
        Ok(())
    }

    fn predicted_states_open(&self) -> Result<Unsealed> {
        let branches = &self.report.policy.branches;
        let (Some(first), Some(last)) = (branches.first(), branches.last()) else {
            bail!("nothing was predicted");
        };
        let unsealed = self.opens(&self.sealed, &self.booted(first)?)?;
        passed(&format!(
            "opens after a boot of {}",
            first.kernels.join(", ")
        ));
        if branches.len() > 1 {
            let again = self.opens(&self.sealed, &self.booted(last)?)?;
            ensure!(again == unsealed, "another key after another boot");
            passed(&format!(
                "opens after a boot of {}",
                last.kernels.join(", ")
            ));
        }
        let mut cryptsetup = process::program("cryptsetup");
        cryptsetup.args(["--disable-locks", "open", "--test-passphrase"]);
        cryptsetup
            .args(["--key-slot=0", "--key-file=-"])
            .arg(&self.header);
        process::fed(&mut cryptsetup, &process::bytes(&unsealed.disk_key)?)?;
        passed("the key opens keyslot 0");
        Ok(unsealed)
    }

    fn other_states_are_refused(&self) -> Result<()> {
        self.is_refused(&self.sealed, &self.fresh()?, &[WRONG_STATE])?;
        passed("refused with PCRs at reset");
        let first = &self.report.policy.branches[0];
        for pcr in &self.report.policy.selection {
            let tpm = self.booted(first)?;
            tpm.extend(&[one_more(*pcr)])?;
            self.is_refused(&self.sealed, &tpm, &[WRONG_STATE])?;
            passed(&format!("refused after one more event in PCR {pcr}"));
        }
        Ok(())
    }

    /// An SRK of the same kind, in the very state that opens.
    fn another_tpm_is_refused(&self) -> Result<()> {
        let tpm = Tpm::start(&self.folder.join("another"))?;
        if let Some(template) = &self.template {
            self.reader.provision(&tpm, template)?;
        }
        tpm.extend(&self.report.policy.branches[0].events)?;
        self.is_refused(&self.sealed, &tpm, &WRONG_PARENT)?;
        passed("refused by another TPM");
        Ok(())
    }

    fn recovery_key_has_its_name(&self) -> Result<()> {
        let names = self.reader.recovery_names(&self.header)?;
        ensure!(names == ["default-recovery"], "recovery keys: {names:?}");
        passed("the recovery key is listed as default-recovery");
        Ok(())
    }

    /// An update in the guest, when the key cannot be unsealed any more: the policy changes to what the new boot file and
    /// the one of now will measure.
    fn policy_is_rewritten(&self, unsealed: &Unsealed) -> Result<()> {
        let branches = &self.report.policy.branches;
        let first = &branches[0];
        let mut updated = first.events.clone();
        updated.push(one_more(4));
        let file = self.folder.join("rewritten");
        fs::copy(&self.sealed, &file)?;

        let tpm = self.booted(first)?;
        tpm.extend(&[one_more(12)])?; // as the initramfs ends
        self.is_refused(&file, &tpm, &[WRONG_STATE])?;
        let states = [self.values_after(&updated)?, values(first)];
        self.reader
            .rewrite(&tpm, &file, &unsealed.policy_key, &states)?;
        drop(tpm);
        // Version 1 has no seed: it is bound to this TPM without an import.
        ensure!(
            fs::read(&file)?.get(4..8) == Some(&[0, 0, 0, 1]),
            "it is not rewritten"
        );

        let tpm = self.fresh()?;
        tpm.extend(&updated)?;
        ensure!(
            self.opens(&file, &tpm)? == *unsealed,
            "another key after the update"
        );
        drop(tpm);
        ensure!(self.opens(&file, &self.booted(first)?)? == *unsealed);
        passed("opens after nullboot's rewriting with the new boot file and with the old one");
        if let Some(last) = branches.get(1..).and_then(<[Branch]>::last) {
            self.is_refused(&file, &self.booted(last)?, &[WRONG_STATE])?;
            passed("refused then with a boot file that is no longer in the policy");
        }
        Ok(())
    }

    fn opens(&self, file: &Path, tpm: &Tpm) -> Result<Unsealed> {
        let opened = self.reader.unseal(tpm, file)?;
        opened.map_err(|talk| anyhow::anyhow!("the library does not unseal the key: {talk}"))
    }

    /// The library must refuse, for one of these reasons.
    fn is_refused(&self, file: &Path, tpm: &Tpm, reasons: &[&str]) -> Result<()> {
        match self.reader.unseal(tpm, file)? {
            Ok(_) => bail!("the library unseals the key where it should not"),
            Err(talk) if reasons.iter().any(|reason| talk.contains(reason)) => Ok(()),
            Err(talk) => bail!("the library refuses, but not for {reasons:?}: {talk}"),
        }
    }

    /// The TPM once more, with its PCRs at reset.
    fn fresh(&self) -> Result<Tpm> {
        self.copies.set(self.copies.get() + 1);
        let copy = self.folder.join(format!("copy{}", self.copies.get()));
        Tpm::start_copy(&self.folder.join("tpm"), &copy)
    }

    /// The same after a boot.
    fn booted(&self, branch: &Branch) -> Result<Tpm> {
        let tpm = self.fresh()?;
        tpm.extend(&branch.events)?;
        Ok(tpm)
    }

    /// The values that events lead to, by a TPM.
    fn values_after(&self, events: &[Extend]) -> Result<String> {
        let tpm = self.fresh()?;
        tpm.extend(events)?;
        let mut values = Vec::new();
        for pcr in &self.report.policy.selection {
            let mut read = tpm.tool("tpm2_pcrread");
            let text = process::quiet_output(read.arg(format!("sha256:{pcr}")))?;
            let value = text
                .split("0x")
                .nth(1)
                .context("tpm2_pcrread gave no value")?;
            values.push(format!("{pcr}={}", value.trim().to_lowercase()));
        }
        Ok(values.join(","))
    }
}

fn passed(what: &str) {
    println!("  {what}");
}

/// An event that nobody predicts.
fn one_more(pcr: u64) -> Extend {
    Extend {
        pcr,
        digest: "5a".repeat(32),
    }
}

/// A branch as the program takes it.
fn values(branch: &Branch) -> String {
    let values = branch.pcrs.iter();
    let values: Vec<_> = values
        .map(|(pcr, value)| format!("{pcr}={value}"))
        .collect();
    values.join(",")
}

impl Srk {
    fn unique_data(self) -> Vec<u8> {
        match self {
            Self::Plain(_) => Vec::new(),
            // The length, little-endian, and the bytes.
            Self::WithUniqueData(Algorithm::Rsa) => [&[0, 1][..], &[0x5a; 256]].concat(),
            // The same for both coordinates, each with room for 128 bytes.
            Self::WithUniqueData(Algorithm::Ecc) => {
                let coordinate = |byte: u8| [&[32, 0][..], &[byte; 32], &[0; 96]].concat();
                [coordinate(0x5b), coordinate(0x5c)].concat()
            }
            Self::Standard => [&[0, 1][..], &[0; 256]].concat(),
        }
    }
}

/// Makes the SRK and writes its public area. It does not stay in the TPM.
fn make_srk(tpm: &Tpm, srk: Srk, unique_data: &Path, public: &Path) -> Result<()> {
    let context = public.with_extension("ctx");
    let mut create = tpm.tool("tpm2_createprimary");
    let algorithm = match srk {
        Srk::Plain(Algorithm::Ecc) | Srk::WithUniqueData(Algorithm::Ecc) => "ecc",
        _ => "rsa2048",
    };
    create.args(["-G", algorithm]);
    if !matches!(srk, Srk::Plain(_)) {
        create.arg("-u").arg(unique_data);
    }
    if srk == Srk::Standard {
        create.args([
            "-a",
            "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda",
        ]);
    }
    process::quiet_output(create.arg("-c").arg(&context))?;
    let mut read = tpm.tool("tpm2_readpublic");
    process::quiet_output(read.arg("-c").arg(&context).arg("-o").arg(public))?;
    tpm.flush_objects()
}
