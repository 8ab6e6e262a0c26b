//! One boot of a deployed guest: what is different from what it was deployed for, and how it has to end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::account::Account;
use super::machine::{Acceleration, Machine};
use super::sign::Sign;
use super::subject::{Subject, make_tpm};
use super::watch::{Answer, Outcome, watch};
use super::{growth, measured, sealed_again, stranger};
use crate::disk::Disk;
use crate::guest::{Kernel, Signer, secure_boot};
use crate::process;

/// A boot.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub change: Change,
    pub expected: Expected,
    /// Whether it is in the short run as well.
    pub is_short: bool,
}

/// The one thing that is different from what the guest was deployed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    /// The boot entry names this kernel image.
    BootEntry(&'static str),
    /// A kernel image of the same signer with other words on its command line.
    CommandLine,
    /// The firmware's switch, all keys in place.
    SecureBootOff,
    /// db has the certificate of another key in place of the one that signed.
    Certificate,
    /// A TPM of the same make with a storage root key of the same kind.
    Tpm,
    /// The image as `encrypt` made it.
    NotDeployed,
    /// A disk that has room behind the image.
    LargerDisk,
    /// The disk as a run left it, sealed again for another TPM.
    SealedAgain,
    /// A plain root of somebody else's beside the container.
    StrangeRoot,
}

/// How a boot has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The root is reached.
    Root,
    /// The root is reached once the recovery key is typed.
    RootByRecoveryKey,
    /// The strange root is reached, and gets the container's key or not, as the running guest would.
    StrangeRoot,
    /// The root is reached, before with the one TPM and after with the other, and this is seen with the one after.
    OtherTpm(Sign),
    /// The root is reached twice, and has grown.
    Growth,
    /// This is seen, and the root is not reached.
    Refusal(Sign),
}

/// What a machine is made of.
struct Setting {
    disk: PathBuf,
    variables: PathBuf,
    tpm: PathBuf,
}

impl Case {
    /// Boots, and checks how it ends. The console goes to the file `log`.
    pub fn run(&self, subject: &Subject, acceleration: Acceleration, log: &Path) -> Result<()> {
        let start = Instant::now();
        let told = match self.expected {
            Expected::Growth => growth::run(subject, acceleration, log),
            Expected::OtherTpm(sign) => sealed_again::run(subject, &sign, acceleration, log),
            _ => self.run_once(subject, acceleration, log),
        };
        // What the boot changed is of no use to the next one.
        let tpms = ["copy", "other"].map(|name| subject.tpms.join(name));
        for folder in [subject.folder.join("changed")].iter().chain(&tpms) {
            let _ = fs::remove_dir_all(folder);
        }
        let (told, seconds) = (told?, start.elapsed().as_secs_f64());
        println!("  ok  {} ({seconds:.0} s): {told}", self.name);
        Ok(())
    }

    fn run_once(
        &self,
        subject: &Subject,
        acceleration: Acceleration,
        log: &Path,
    ) -> Result<String> {
        let setting = self.change.apply(subject)?;
        let machine = Machine {
            acceleration,
            disk: &setting.disk,
            keeps_changes: false,
            variables: &setting.variables,
            tpm: &setting.tpm,
            told: None,
        };
        let answer = match self.expected {
            Expected::RootByRecoveryKey => Answer::Key(&subject.recovery_key),
            _ => Answer::Wrong,
        };
        let mut running = machine.start(&subject.folder.join("store.fd"))?;
        let outcome = watch(&mut running, &subject.nonce, answer, log)?;
        drop(running);
        self.judge(subject, outcome, log)
    }

    fn judge(&self, subject: &Subject, outcome: Outcome, log: &Path) -> Result<String> {
        match (self.expected, outcome) {
            (Expected::Root | Expected::RootByRecoveryKey, Outcome::Root(account)) => {
                account.check()?;
                if self.expected == Expected::Root {
                    let kernel = self.change.kernel(subject);
                    measured::check(subject, kernel, &account, &log.with_extension("log"))?;
                }
                Ok(format!("root on {}", account.fact("root")))
            }
            (Expected::StrangeRoot, Outcome::Root(account)) => {
                stranger::check_runs(&account)?;
                measured::check(
                    subject,
                    self.change.kernel(subject),
                    &account,
                    &log.with_extension("log"),
                )?;
                Ok(format!(
                    "strange root on {}, and the container's token: {}",
                    account.fact("root"),
                    account.fact("token-again")
                ))
            }
            (Expected::Refusal(expected), Outcome::Refused(refusal)) if refusal.is(&expected) => {
                Ok(expected.meaning.to_owned())
            }
            (Expected::Refusal(expected), outcome) => bail!(
                "expected the refusal \"{}\" with the reason \"{}\"; {}",
                expected.decisive,
                expected.reason,
                described(&outcome)
            ),
            (_, outcome) => bail!("the root is not reached; {}", described(&outcome)),
        }
    }
}

/// Boots a guest that has to reach its root, and waits until it has switched itself off.
pub fn boot_to_its_end(machine: &Machine, subject: &Subject, log: &Path) -> Result<Account> {
    const SWITCH_OFF: Duration = Duration::from_secs(900);
    let mut running = machine.start(&subject.folder.join("store.fd"))?;
    let outcome = watch(&mut running, &subject.nonce, Answer::Wrong, log)?;
    running.wait_for_end(SWITCH_OFF)?;
    match outcome {
        Outcome::Root(account) => Ok(account),
        outcome => bail!("the root is not reached; {}", described(&outcome)),
    }
}

/// What ended a boot, in words.
pub fn described(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Root(account) => format!("the root is reached: {}", account.fact("root")),
        Outcome::Refused(refusal) => format!("it ended with \"{}\"", refusal.decisive),
        Outcome::Unknown(reason) => reason.clone(),
    }
}

impl Change {
    /// The kernel image that is booted; none where it is not one of those that were deployed.
    fn kernel(self, subject: &Subject) -> Option<Kernel> {
        let mut kernels = subject.recipe.kernels.iter();
        match self {
            Self::CommandLine => None,
            Self::BootEntry(file) => kernels.find(|kernel| kernel.file == file).copied(),
            _ => kernels.next().copied(),
        }
    }

    fn apply(self, subject: &Subject) -> Result<Setting> {
        let changed = subject.folder.join("changed");
        fs::create_dir_all(&changed)?;
        // The state may have been changed by the boot before.
        let tpm = subject.tpms.join("copy");
        copy(&subject.tpm, &tpm)?;
        let mut setting = Setting {
            disk: subject.deployed.clone(),
            variables: subject.variables.clone(),
            tpm,
        };
        let store = changed.join("variables.fd");
        let guest = subject.guest;
        match self {
            Self::Nothing | Self::LargerDisk | Self::SealedAgain => {}
            Self::BootEntry(file) => {
                secure_boot::write_store(&guest.signer(), Some(file), &store)?;
                setting.variables = store;
            }
            Self::CommandLine => {
                let image = changed.join("grubx64.efi");
                let words = format!("{} changed", subject.recipe.kernels[0].words);
                guest.make_kernel_image(subject.recipe.reader, &words, &image)?;
                setting.disk = changed.join("disk.img");
                copy(&subject.deployed, &setting.disk)?;
                let name = format!("EFI/ubuntu/{}", subject.recipe.kernels[0].file);
                Disk::of(&setting.disk)?.copy_to_esp(&image, &name)?;
            }
            Self::SecureBootOff => {
                secure_boot::switch_off(&subject.variables, &store)?;
                setting.variables = store;
            }
            Self::Certificate => {
                let other = Signer::make(&changed.join("keys"))?;
                secure_boot::write_store(&other, subject.recipe.second_stage(), &store)?;
                setting.variables = store;
            }
            Self::Tpm => {
                fs::remove_dir_all(&setting.tpm)?;
                make_tpm(&setting.tpm, subject.srk, &changed.join("srk.pub"))?;
            }
            Self::NotDeployed => setting.disk.clone_from(&subject.encrypted),
            Self::StrangeRoot => {
                setting.disk = changed.join("disk.img");
                copy(&subject.deployed, &setting.disk)?;
                stranger::add_root(subject, &setting.disk)?;
            }
        }
        Ok(setting)
    }
}

/// Copies a file or a folder, holes as holes.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = process::program("cp");
    cp.args(["-rT", "--sparse=always", "--reflink=auto"]);
    process::quiet_output(cp.arg(from).arg(to))?;
    Ok(())
}
