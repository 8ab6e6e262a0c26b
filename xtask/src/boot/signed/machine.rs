//! One boot of signed programs: its disk, its variables, and what its TPM saw.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::list::{X509, list};
use crate::boot::machine::{Acceleration, Heard, Machine};
use crate::guest::{STORE, secure_boot};
use crate::tpm::Tpm;
use crate::{process, python};

/// Debian's and Ubuntu's variable store without any keys.
const EMPTY_STORE: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const IMAGE_SECURITY: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
/// The same as it lies in memory.
const IMAGE_SECURITY_BYTES: &[u8] =
    b"\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f";
const SECURE_BOOT_ENABLE: &str = "f0a30bc7-af08-4556-99c4-001009c93a44";

/// The names of db and dbx, and others of their lengths: `virt-fw-vars` reads what bears these names, and takes no list of
/// several certificates. So it writes them under the others.
const STAND_INS: [(&str, &str); 2] = [("db", "d!"), ("dbx", "db!")];

/// Gives the one variable of this name in a store another name of the same length. Nothing in a store is a digest of it.
fn rename(store: &mut [u8], from: &str, to: &str) -> Result<()> {
    let in_store = |name: &str| -> Vec<u8> {
        let units = name.encode_utf16().chain([0]);
        units.flat_map(u16::to_le_bytes).collect()
    };
    // Behind the vendor's GUID.
    let behind_vendor = |name| [IMAGE_SECURITY_BYTES, in_store(name).as_slice()].concat();
    let (from, to) = (behind_vendor(from), behind_vendor(to));
    let places = store.windows(from.len()).enumerate();
    let places = places.filter(|(_, bytes)| *bytes == from);
    let places: Vec<usize> = places.map(|(place, _)| place).collect();
    if let [place] = places[..] {
        store[place..place + to.len()].copy_from_slice(&to);
    }
    ensure!(places.len() <= 1, "a variable is there several times");
    Ok(())
}

/// What a machine boots.
pub struct Setting<'a> {
    /// Files of its disk.
    pub files: Vec<(String, Vec<u8>)>,
    /// What firmware starts, one after the other, and the optional data of each.
    pub boot: Vec<(String, Option<String>)>,
    pub db: &'a [u8],
    pub dbx: &'a [u8],
    pub owner_certificate: &'a [u8],
}

/// What the last program told.
pub struct Told {
    pub log: Vec<u8>,
    /// PCR 4 and 7, in hexadecimal.
    pub pcrs: [String; 2],
    /// What shim answered for each file that it was asked for.
    pub answers: Vec<u64>,
    pub seconds: f64,
}

/// The db of Microsoft's certificates, which lets Debian's shim start.
pub fn microsofts_db(folder: &Path) -> Result<Vec<u8>> {
    let file = folder.join("microsoft.json");
    let mut read = python::virt_fw_vars()?;
    read.args(["--input", STORE, "--output-json"]);
    process::quiet_output(read.arg(&file))?;
    let all: serde_json::Value = serde_json::from_slice(&fs::read(&file)?)?;
    let variables = all["variables"].as_array().context("no variables")?;
    let db = variables.iter().find(|one| one["name"] == "db");
    let db = db.and_then(|db| db["data"].as_str()).context("no db")?;
    process::bytes(db)
}

impl Setting<'_> {
    /// Writes the variable store.
    pub fn write_store(&self, store: &Path) -> Result<()> {
        const TIME: &str = "e4070101000000000000000000000000";
        let owner = list(X509, self.owner_certificate);
        let variable = |name: &str, guid: &str, data: &[u8]| {
            let is_database = ["PK", "KEK", "db", "dbx"].contains(&name);
            let name = STAND_INS
                .iter()
                .find(|(real, _)| *real == name)
                .map_or(name, |(_, other)| other);
            let mut variable = serde_json::json!({
                "name": name, "guid": guid, "attr": 7, "data": process::hex(data),
            });
            if is_database {
                variable["attr"] = 0x27.into();
                variable["time"] = TIME.into();
            }
            if guid == SECURE_BOOT_ENABLE {
                variable["attr"] = 3.into();
            }
            variable
        };
        let mut all = vec![
            variable("PK", GLOBAL, &owner),
            variable("KEK", GLOBAL, &owner),
            variable("db", IMAGE_SECURITY, self.db),
            variable("SecureBootEnable", SECURE_BOOT_ENABLE, &[1]),
        ];
        if !self.dbx.is_empty() {
            all.push(variable("dbx", IMAGE_SECURITY, self.dbx));
        }
        let mut order = Vec::new();
        for (number, (file, data)) in (0_u16..).zip(&self.boot) {
            let option = secure_boot::load_option(file, data.as_deref());
            all.push(variable(&format!("Boot{number:04X}"), GLOBAL, &option));
            order.extend(number.to_le_bytes());
        }
        all.push(variable("BootOrder", GLOBAL, &order));
        let json = store.with_extension("json");
        let text = serde_json::json!({"version": 2, "variables": all});
        fs::write(&json, text.to_string())?;
        let mut virt_fw_vars = python::virt_fw_vars()?;
        virt_fw_vars.args(["--input", EMPTY_STORE, "--set-json"]);
        process::quiet_output(virt_fw_vars.arg(&json).arg("--output").arg(store))?;
        let mut content = fs::read(store)?;
        for (real, other) in STAND_INS {
            rename(&mut content, other, real)?;
        }
        fs::write(store, content)?;
        Ok(())
    }

    /// The databases in the form of `create-uefi-config`.
    pub fn configuration(&self) -> serde_json::Value {
        let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let owner = text(&list(X509, self.owner_certificate));
        serde_json::json!({
            "PK": owner, "KEK": owner, "db": text(self.db), "dbx": text(self.dbx),
            "omitsReadyToBootEvent": false,
        })
    }

    fn write_disk(&self, disk: &Path) -> Result<()> {
        let _ = fs::remove_file(disk);
        let mut make = process::program("mkfs.vfat");
        process::quiet_output(make.arg("-C").arg(disk).arg("8192"))?;
        let folder = disk.with_extension("files");
        let _ = fs::remove_dir_all(&folder);
        for (name, content) in &self.files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().context("BUG: no folder")?)?;
            fs::write(file, content)?;
        }
        let mut copy = process::program("mcopy");
        copy.env("MTOOLS_SKIP_CHECK", "1").arg("-s").arg("-i");
        copy.arg(disk);
        for entry in fs::read_dir(&folder)? {
            copy.arg(entry?.path());
        }
        process::quiet_output(copy.arg("::/"))?;
        Ok(())
    }

    /// Boots, until the last program has told all and switched the machine off. `tpm` is a folder with a short path.
    pub fn boot(
        &self,
        acceleration: Acceleration,
        folder: &Path,
        tpm: &Path,
        console: &Path,
    ) -> Result<Told> {
        /// What a boot of some seconds may take on a machine that has a lot to do.
        const LIMIT: Duration = Duration::from_secs(600);
        let (disk, store, told) = (
            folder.join("disk.img"),
            folder.join("vars.fd"),
            folder.join("told"),
        );
        self.write_disk(&disk)?;
        self.write_store(&store)?;
        let _ = fs::remove_file(&told);
        start_with_one_bank(tpm)?.stop()?;
        let start = Instant::now();
        let machine = Machine {
            acceleration,
            disk: &disk,
            keeps_changes: false,
            variables: &store,
            tpm,
            told: Some(&told),
        };
        let mut running = machine.start(&folder.join("running.fd"))?;
        let mut text = Vec::new();
        loop {
            match running.wait(LIMIT)? {
                Heard::Bytes(bytes) => {
                    text.extend(bytes);
                    fs::write(console, &text)?;
                    if start.elapsed() > LIMIT {
                        bail!("the machine does not switch itself off");
                    }
                }
                Heard::Silence => bail!("the machine does not switch itself off"),
                Heard::End => break,
            }
        }
        let told = fs::read(&told).context("the programs told nothing")?;
        Told::read(&told, start.elapsed().as_secs_f64())
    }
}

/// Starts a new TPM. Firmware has less to do, and its log is shorter, where one bank alone is on.
pub fn start_with_one_bank(folder: &Path) -> Result<Tpm> {
    let _ = fs::remove_dir_all(folder);
    let tpm = Tpm::start(folder)?;
    let banks = "sha256:all+sha1:none+sha384:none+sha512:none";
    process::quiet_output(tpm.tool("tpm2_pcrallocate").arg(banks))?;
    Ok(tpm)
}

impl Told {
    fn read(mut rest: &[u8], seconds: f64) -> Result<Self> {
        let mut take = |count: usize| -> Result<&[u8]> {
            let (taken, left) = rest.split_at_checked(count).context("cut off")?;
            rest = left;
            Ok(taken)
        };
        let mut answers = Vec::new();
        let log = loop {
            match take(3)? {
                b"pro" => {
                    take(2 + 4)?;
                    answers.push(u64::from_le_bytes(take(8)?.try_into()?));
                }
                b"log" => {
                    let length = u32::from_le_bytes(take(4)?.try_into()?);
                    break take(usize::try_from(length)?)?.to_vec();
                }
                other => bail!("the programs told {other:?}"),
            }
        };
        ensure!(take(4)? == b"pcrs", "the programs told no PCRs");
        take(4)?;
        // Tag, size, code, update counter, selection; the number of digests.
        ensure!(
            take(10 + 4 + 10 + 4)?.ends_with(&[2]),
            "the TPM gave no two PCRs"
        );
        let mut pcr = || -> Result<String> {
            take(2)?;
            Ok(process::hex(take(32)?))
        };
        Ok(Self {
            log,
            pcrs: [pcr()?, pcr()?],
            answers,
            seconds,
        })
    }
}
