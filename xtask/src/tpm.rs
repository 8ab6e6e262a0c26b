//! A software TPM (swtpm) on a unix socket, and tpm2-tools that talk to it.
//!
//! Its PCRs are at reset after every start. What persists lies in a folder: copied, it is the same TPM once more.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process;

/// Where a guest keeps its SRK.
pub const SRK_HANDLE: &str = "0x81000001";

/// What persists in a TPM, in its folder.
const STATE: &str = "tpm2-00.permall";

/// A digest that a boot extends into a PCR of the SHA-256 bank, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Extend {
    pub pcr: u64,
    pub digest: String,
}

/// A running TPM, ended when it goes out of scope.
pub struct Tpm {
    folder: PathBuf,
    process: Child,
}

impl Tpm {
    /// Starts the TPM whose state lies in `folder`; a new one where there is none.
    ///
    /// A path of 108 bytes or more is too long for a socket: a folder below cargo's could be.
    pub fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let socket = folder.join("sock"); // and `sock.ctrl` beside it, where tpm2-tools look for it
        let _ = fs::remove_file(&socket); // of an earlier start
        let log = File::create(folder.join("log"))?;
        let mut swtpm = command(folder);
        let swtpm = swtpm.stdin(Stdio::null()).stdout(log.try_clone()?);
        let mut process = swtpm.stderr(log).spawn().context("cannot start `swtpm`")?;
        let start = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            if let Some(status) = process.try_wait()? {
                let talk = fs::read_to_string(folder.join("log")).unwrap_or_default();
                bail!("swtpm ended at once ({status}): {}", talk.trim());
            }
            ensure!(start.elapsed().as_secs() < 60, "swtpm does not listen");
            thread::sleep(Duration::from_millis(2));
        }
        Ok(Self {
            folder: folder.to_owned(),
            process,
        })
    }

    /// Starts a copy of the stopped TPM in `folder`.
    pub fn start_copy(folder: &Path, copy: &Path) -> Result<Self> {
        fs::create_dir_all(copy)?;
        fs::copy(folder.join(STATE), copy.join(STATE))
            .with_context(|| format!("no TPM has left its state in {}", folder.display()))?;
        Self::start(copy)
    }

    /// The line that starts it, as one would type it.
    pub fn shown(folder: &Path) -> String {
        format!("{} &", process::shown(&command(folder)))
    }

    /// What tpm2-tools have to be told.
    pub fn tcti(&self) -> String {
        format!("swtpm:path={}", self.socket().display())
    }

    /// The socket that takes bare TPM commands, of one client at a time.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// A program that talks to this TPM.
    pub fn tool(&self, name: &str) -> Command {
        let mut tool = process::program(name);
        tool.env(process::TCTI, self.tcti());
        tool
    }

    /// Removes the objects that commands left in its three slots.
    pub fn flush_objects(&self) -> Result<()> {
        process::quiet_output(self.tool("tpm2_flushcontext").arg("--transient-object"))?;
        Ok(())
    }

    /// Extends PCRs, in this order.
    pub fn extend<'e>(&self, events: impl IntoIterator<Item = &'e Extend>) -> Result<()> {
        let words = events
            .into_iter()
            .map(|event| format!("{}:sha256={}", event.pcr, event.digest));
        process::quiet_output(self.tool("tpm2_pcrextend").args(words))?;
        Ok(())
    }

    /// Ends it in order, so that the next start is not counted as an attack.
    pub fn stop(self) -> Result<()> {
        process::quiet_output(self.tool("tpm2_shutdown").arg("--clear"))?;
        Ok(())
    }
}

fn command(folder: &Path) -> Command {
    let mut swtpm = process::program("swtpm");
    let unixio = |name: &str| format!("type=unixio,path={},mode=0600", folder.join(name).display());
    swtpm
        .args(["socket", "--tpm2", "--server", &unixio("sock")])
        .args(["--ctrl", &unixio("sock.ctrl"), "--tpmstate"])
        .arg(format!("dir={}", folder.display()))
        .args(["--flags", "not-need-init,startup-clear"]);
    swtpm
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
