//! The guest's Secure Boot: a key that signs its kernel images, and a variable store whose db has the
//! certificate.
//!
//! The key is made on this machine, for these tests only, and stays below cargo's folder. The store is that of
//! Debian's firmware with the keys of Microsoft and Debian, which lets shim start.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{process, python};

/// This file, which is part of what a cached guest depends on.
pub const SOURCE: &str = include_str!("secure_boot.rs");

/// Debian's and Ubuntu's store with Secure Boot on.
pub const STORE: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";
/// Owner of the test's certificate in db. Any will do; it is measured into PCR 7.
const OWNER: &str = "b007ed00-0000-4000-8000-000000000001";
/// Where shim lies on the guest's disk.
const SHIM: &str = "\\EFI\\ubuntu\\shimx64.efi";
/// The vendor GUID of `Boot####` and `BootOrder`.
const GLOBAL_VARIABLE: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// A key and its self-signed certificate, as `db.key` and `db.crt` in a folder.
#[derive(Clone)]
pub struct Signer {
    folder: PathBuf,
}

impl Signer {
    /// Makes a new key in `folder`.
    pub fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let this = Self::at(folder);
        let mut openssl = process::program("openssl");
        openssl
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650",
            ])
            .args(["-subj", "/CN=Boot test (test only)"])
            .args(["-addext", "basicConstraints=critical,CA:TRUE", "-keyout"])
            .arg(this.key())
            .arg("-out")
            .arg(this.certificate());
        process::quiet_output(&mut openssl)?;
        Ok(this)
    }

    /// The key that lies in `folder`.
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn key(&self) -> PathBuf {
        self.folder.join("db.key")
    }

    /// The certificate, in PEM.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("db.crt")
    }

    /// Signs a PE program.
    pub fn sign(&self, program: &Path, signed: &Path) -> Result<()> {
        let mut sbsign = process::program("sbsign");
        sbsign.arg("--key").arg(self.key());
        sbsign.arg("--cert").arg(self.certificate());
        process::quiet_output(sbsign.arg("--output").arg(signed).arg(program))?;
        Ok(())
    }
}

/// Writes a variable store to `file`: the certificate of `signer` in db, and one boot entry that starts shim.
/// `second_stage` is the file beside shim that it loads, its own choice (`grubx64.efi`) where there is none.
pub fn write_store(signer: &Signer, second_stage: Option<&str>, file: &Path) -> Result<()> {
    let entries = file.with_extension("json");
    fs::write(&entries, boot_variables(second_stage))
        .with_context(|| format!("cannot write {}", entries.display()))?;
    let mut virt_fw_vars = python::virt_fw_vars()?;
    virt_fw_vars
        .args(["--input", STORE, "--add-db", OWNER])
        .arg(signer.certificate())
        .arg("--set-json")
        .arg(&entries)
        .arg("--output")
        .arg(file);
    process::quiet_output(&mut virt_fw_vars)?;
    fs::remove_file(&entries)?;
    Ok(())
}

/// Writes a copy of a variable store in which Secure Boot is switched off, with all keys in place.
pub fn switch_off(store: &Path, file: &Path) -> Result<()> {
    let mut virt_fw_vars = python::virt_fw_vars()?;
    virt_fw_vars.arg("--input").arg(store);
    virt_fw_vars.args(["--set-false", "SecureBootEnable", "--output"]);
    process::quiet_output(virt_fw_vars.arg(file))?;
    Ok(())
}

/// `Boot0000` and `BootOrder`, in the form that virt-fw-vars reads.
fn boot_variables(second_stage: Option<&str>) -> String {
    let attributes = 7; // non-volatile, for boot services and at run time
    let variable = |name: &str, data: &[u8]| {
        format!(
            "{{\"name\":\"{name}\",\"guid\":\"{GLOBAL_VARIABLE}\",\"attr\":{attributes},\"data\":\"{}\"}}",
            process::hex(data)
        )
    };
    format!(
        "{{\"version\":2,\"variables\":[{},{}]}}",
        variable("Boot0000", &load_option(SHIM, second_stage)),
        variable("BootOrder", &[0, 0])
    )
}

/// An `EFI_LOAD_OPTION` with a bare file path, for which firmware looks on every disk. shim takes the first word
/// of the optional data as the name of its second stage.
pub fn load_option(program: &str, second_stage: Option<&str>) -> Vec<u8> {
    const ACTIVE: u32 = 1;
    const MEDIA_FILE_PATH: [u8; 2] = [4, 4];
    const END_OF_PATH: [u8; 4] = [0x7f, 0xff, 4, 0];
    let path = utf16(program);
    let length = |bytes: usize| {
        u16::try_from(bytes)
            .expect("BUG: a short path")
            .to_le_bytes()
    };

    let mut device_path = MEDIA_FILE_PATH.to_vec();
    device_path.extend(length(4 + path.len()));
    device_path.extend(path);
    device_path.extend(END_OF_PATH);

    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend(length(device_path.len()));
    option.extend(utf16("ubuntu"));
    option.extend(device_path);
    option.extend(second_stage.map(utf16).unwrap_or_default());
    option
}

/// UTF-16LE with a zero at the end.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_entry_names_shim_and_what_shim_loads() {
        let plain = load_option(SHIM, None);
        let named = load_option(SHIM, Some("k"));
        assert_eq!(process::hex(&plain[..6]), "010000003800");
        assert_eq!(plain.len(), 6 + 14 + 0x38);
        assert_eq!(named, [plain, vec![b'k', 0, 0, 0]].concat());
    }
}
