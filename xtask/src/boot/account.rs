//! What the guest tells of itself once its root is reached: the lines of `guest/proof/boot-proof`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// A guest's account of itself.
#[derive(Debug)]
pub struct Account {
    facts: BTreeMap<String, String>,
    /// Files by their names, in base64.
    files: BTreeMap<String, String>,
}

/// The line that begins an account.
pub fn beginning(nonce: &str) -> String {
    format!("@@boot-proof {nonce} begin")
}

/// The line that ends it.
pub fn end(nonce: &str) -> String {
    format!("@@boot-proof {nonce} end")
}

impl Account {
    /// Reads the lines between the first and the last.
    pub fn read(lines: &str) -> Self {
        let mut facts = BTreeMap::new();
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for line in lines.lines() {
            let Some(end) = line.find(['=', '<']) else {
                continue;
            };
            let (name, rest) = (line[..end].to_owned(), line[end + 1..].trim());
            if line[end..].starts_with('<') {
                *files.entry(name).or_default() += rest;
            } else {
                facts.insert(name, rest.to_owned());
            }
        }
        Self { facts, files }
    }

    /// A fact by its name; empty where the guest has nothing to tell.
    pub fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    /// The value of a PCR in lower-case hexadecimal.
    pub fn pcr(&self, number: &str) -> String {
        self.fact(&format!("pcr{number}")).to_lowercase()
    }

    /// The firmware's event log.
    pub fn event_log(&self) -> Result<Vec<u8>> {
        let text = self
            .files
            .get("log")
            .context("the guest shows no event log")?;
        BASE64_STANDARD
            .decode(text)
            .context("the event log came with wrong bytes")
    }

    /// Checks that the root is what it should be: an encrypted volume, booted under Secure Boot, without a unit that
    /// failed.
    pub fn check(&self) -> Result<()> {
        let root = self.fact("root");
        ensure!(root.starts_with("/dev/mapper/"), "the root is {root}");
        let filesystem = self.fact("filesystem");
        ensure!(
            filesystem == "ext4   cloudimg-rootfs" || filesystem == "ext4 cloudimg-rootfs",
            "the root's filesystem is {filesystem}"
        );
        let mapping = self.fact("mapping");
        ensure!(
            mapping.contains(" crypt aes-xts-plain64 "),
            "the root's mapping is {mapping}"
        );
        let uuid = self.fact("uuid");
        ensure!(
            uuid.starts_with("CRYPT-LUKS2-"),
            "the root's mapping is called {uuid}"
        );
        let secure_boot = self.fact("secure-boot");
        ensure!(
            secure_boot == "1",
            "the variable SecureBoot is {secure_boot}"
        );
        let failed = self.fact("failed");
        ensure!(failed.is_empty(), "units failed: {failed}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "root=/dev/mapper/root\nfilesystem=ext4 cloudimg-rootfs\n\
                        mapping=0 8 crypt aes-xts-plain64 :64:logon:k 0 253:1 32768\nuuid=CRYPT-LUKS2-0-root\n\
                        secure-boot=1\ncmdline=a=b c<d\nfailed=\npcr4=AB\nlog<AAEC\nlog<Aw==\n";

    #[test]
    fn facts_and_files_are_told_apart() {
        let account = Account::read(TEXT);
        assert_eq!(account.fact("cmdline"), "a=b c<d");
        assert_eq!(account.fact("nothing"), "");
        assert_eq!(account.pcr("4"), "ab");
        assert_eq!(account.event_log().unwrap(), [0, 1, 2, 3]);
        account.check().unwrap();
    }

    #[test]
    fn a_root_that_is_not_encrypted_is_no_proof() {
        for (from, to, expected) in [
            ("/dev/mapper/root", "/dev/vda1", "the root is /dev/vda1"),
            ("=1", "=0", "the variable SecureBoot is 0"),
            ("failed=", "failed=a.service", "units failed: a.service"),
            (
                "crypt ",
                "linear ",
                "the root's mapping is 0 8 linear aes-xts-plain64 :64:logon:k 0 253:1 32768",
            ),
        ] {
            let account = Account::read(&TEXT.replace(from, to));
            assert_eq!(account.check().unwrap_err().to_string(), expected);
        }
    }
}
