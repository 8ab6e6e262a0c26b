//! The program around the library: built by Go, run with a TPM.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::tpm::Tpm;

/// The program `interop/secboot`.
pub struct Reader {
    program: PathBuf,
    version: String,
}

/// What the library gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsealed {
    /// The disk key, in hexadecimal.
    pub disk_key: String,
    /// What authorises new policies, in hexadecimal.
    pub policy_key: String,
}

impl Reader {
    /// Builds it. The first time its modules are downloaded, some 55 MB.
    pub fn build(folder: &Path) -> Result<Self> {
        const MODULE: &str = "github.com/snapcore/secboot";
        let program = folder.join("secboot");
        let go = |arguments: &[&str]| {
            let mut go = process::program("go");
            go.current_dir(crate::project_folder().join("interop/secboot"))
                // No other program is needed, and no other version of Go is fetched.
                .env("CGO_ENABLED", "0")
                .env("GOTOOLCHAIN", "local")
                .args(arguments);
            go
        };
        let mut build = go(&[
            "build",
            "-trimpath",
            "-mod=readonly",
            "-buildvcs=false",
            "-o",
        ]);
        process::run(build.arg(&program).arg("."))?;
        let version =
            process::quiet_output(&mut go(&["list", "-m", "-f", "{{.Version}}", MODULE]))?;
        Ok(Self {
            program,
            version: version.trim().to_owned(),
        })
    }

    /// The library's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Unseals a file; what the library says where it refuses to.
    pub fn unseal(&self, tpm: &Tpm, file: &Path) -> Result<std::result::Result<Unsealed, String>> {
        let mut unseal = self.command("unseal");
        let output = unseal.arg(tpm.socket()).arg(file).output();
        let output = output.with_context(|| format!("cannot start {}", self.program.display()))?;
        let talk = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.status.code() {
            Some(0) => {}
            Some(1) => return Ok(Err(talk)),
            _ => bail!("`{}`: {talk}", process::shown(&unseal)),
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines().map(str::to_owned);
        let (Some(disk_key), Some(policy_key)) = (lines.next(), lines.next()) else {
            bail!("the library gave {text:?}");
        };
        Ok(Ok(Unsealed {
            disk_key,
            policy_key,
        }))
    }

    /// Makes the SRK from a template, as the initramfs does; its name in hexadecimal.
    pub fn provision(&self, tpm: &Tpm, template: &Path) -> Result<String> {
        let mut provision = self.command("provision");
        let name = process::quiet_output(provision.arg(tpm.socket()).arg(template))?;
        Ok(name.trim().to_owned())
    }

    /// Exchanges the policy of a file, as nullboot does.
    pub fn rewrite(
        &self,
        tpm: &Tpm,
        file: &Path,
        policy_key: &str,
        branches: &[String],
    ) -> Result<()> {
        let mut rewrite = self.command("rewrite");
        rewrite.arg(tpm.socket()).arg(file).arg(policy_key);
        process::quiet_output(rewrite.args(branches))?;
        Ok(())
    }

    /// The names of the recovery keys of a container, from a copy of its header that may be changed.
    pub fn recovery_names(&self, header: &Path) -> Result<Vec<String>> {
        let names = process::quiet_output(self.command("recovery-names").arg(header))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(name);
        command
    }
}
