//! A small plain image with boot files that a prediction can be made for, and what becomes of it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::encrypted::{Encrypted, Esp, ROOT, SEALED_KEY, open_offline};
use crate::support::container::Container;
use crate::support::disk;
use crate::support::workshop::{Workshop, stdout};
use crate::support::{exits, files};

/// The parent whose private half is known.
pub const PARENT: &str = "soft-rsa";

/// A folder with `plain.img`, `disk.img` (the same encrypted), `srk.pub` and `uefi-config.json`.
pub struct Plain {
    pub encrypted: Encrypted,
}

impl Plain {
    pub fn new() -> Self {
        let encrypted = Encrypted::new();
        encrypted
            .workshop
            .put(&Encrypted::plain().image, "plain.img");
        Self { encrypted }
    }

    pub fn workshop(&self) -> &Workshop {
        &self.encrypted.workshop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.workshop().path(name)
    }

    /// `encrypt-cloud-image provision` with these arguments, in the folder.
    pub fn provision(&self, arguments: &[&str]) -> Command {
        let mut command = self.workshop().command(self.workshop().program());
        command.arg("provision").args(arguments);
        command
    }

    /// Provisions `plain.img` as `guest.img`.
    #[track_caller]
    pub fn provisioned(&self, arguments: &[&str]) -> Made {
        let mut provision = self.provision(arguments);
        exits(provision.args(["-o", "guest.img", "plain.img"]), 0);
        Made::of(self.path("guest.img"))
    }

    /// The composites that `predict` tells for an image.
    #[track_caller]
    pub fn composites(&self, image: &str, flags: &[&str]) -> Vec<String> {
        let branches = self.branches(image, flags);
        let composite = |branch: &Value| branch["composite"].as_str().unwrap().to_owned();
        branches.iter().map(composite).collect()
    }

    /// The events of the first branch: PCR and digest.
    #[track_caller]
    pub fn events(&self, image: &str, flags: &[&str]) -> Vec<(u32, String)> {
        let branches = self.branches(image, flags);
        let event = |event: &Value| {
            let pcr = u32::try_from(event["pcr"].as_u64().unwrap()).unwrap();
            (pcr, event["digest"].as_str().unwrap().to_owned())
        };
        let events = branches[0]["events"].as_array().unwrap();
        events.iter().map(event).collect()
    }

    #[track_caller]
    fn branches(&self, image: &str, flags: &[&str]) -> Vec<Value> {
        let mut predict = self.workshop().command(self.workshop().program());
        predict.args(["predict", "--json", image]).args(flags);
        let text = stdout(&exits(&mut predict, 0));
        let document: Value = serde_json::from_str(&text).unwrap();
        document["branches"].as_array().unwrap().clone()
    }
}

/// An image that a guest opens.
pub struct Made {
    pub path: PathBuf,
    pub container: Container,
    pub esp: Esp,
}

impl Made {
    #[track_caller]
    pub fn of(path: PathBuf) -> Self {
        let table = disk::read(&path);
        assert_eq!(disk::problems(&path, table.sector_bytes), "");
        Self {
            container: Container::open(&path, &table, ROOT),
            esp: Esp::of(&path),
            path,
        }
    }

    /// The unlock key, as another program opens the sealed key by the private half of its parent.
    pub fn unsealed(&self, composites: &[String]) -> Vec<u8> {
        open_offline(&self.esp.files()[SEALED_KEY], PARENT, composites)
    }

    /// The plain filesystem, by a key that opens a keyslot.
    #[track_caller]
    pub fn decrypted(&self, key: &[u8]) -> Vec<u8> {
        let folder = crate::support::scratch();
        let to = folder.path().join("plain");
        self.container.decrypt_by(key, &to);
        files::read(&to, 0, usize::try_from(files::open(&to).1).unwrap())
    }
}
