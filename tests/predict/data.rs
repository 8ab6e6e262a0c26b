//! The data of tests/data: cases, and the files that they name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A file or folder below tests/data.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

pub fn json<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&fs::read(path(name)).unwrap()).unwrap()
}

/// The content of a file; one whose name ends in `.gz` is unpacked.
pub fn content(name: &str) -> Vec<u8> {
    let path = path(name);
    if path.extension().is_some_and(|extension| extension == "gz") {
        let output = Command::new("gzip").arg("-dc").arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", path.display());
        output.stdout
    } else {
        fs::read(&path).unwrap()
    }
}

#[derive(Deserialize)]
pub struct Cases {
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    pub esp: BTreeMap<String, String>,
    pub uefi_config: Option<String>,
    pub az_disk_profile: Option<String>,
    pub flags: Flags,
    pub stricter: Option<Stricter>,
    pub differs: Option<String>,
    pub expected: Expected,
}

#[derive(Deserialize, Clone, Copy)]
pub struct Flags {
    pub boot_manager: bool,
    pub secure_boot: bool,
    pub kernel: bool,
}

#[derive(Deserialize)]
pub struct Stricter {
    pub class: String,
    pub required: bool,
}

#[derive(Deserialize)]
pub struct Expected {
    pub result: String,
    pub class: Option<String>,
    pub image: Option<String>,
    #[serde(default)]
    pub kernels: Vec<String>,
    #[serde(default)]
    pub branches: Vec<Branch>,
    #[serde(default)]
    pub selection: Vec<u8>,
    #[serde(default)]
    pub composites: Vec<String>,
}

#[derive(Deserialize)]
pub struct Branch {
    pub pcrs: BTreeMap<String, String>,
    pub composite: String,
}

#[derive(Deserialize)]
pub struct CaseEvents {
    pub branches: Vec<BranchEvents>,
}

#[derive(Deserialize)]
pub struct BranchEvents {
    pub branch: usize,
    pub events: Vec<Event>,
}

#[derive(Deserialize)]
pub struct Event {
    pub pcr: u8,
    #[serde(rename = "event_type")]
    pub kind: String,
    pub digest: String,
}

impl Case {
    /// Lays out the case's ESP in `folder`.
    pub fn lay_out(&self, folder: &Path) {
        fs::create_dir_all(folder.join("EFI/ubuntu")).unwrap();
        for (name, source) in &self.esp {
            let target = folder.join(name);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            if source == "<dir>" {
                fs::create_dir(&target).unwrap();
            } else {
                fs::write(&target, content(&format!("vectors/{source}"))).unwrap();
            }
        }
    }
}
