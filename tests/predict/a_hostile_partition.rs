//! What an EFI system partition may name without end is bounded, and what it is called cannot write to a terminal.

use std::cell::Cell;

use base::storage::{MemoryStorage, ReadAt};
use firmware::{Program, UefiConfig};
use measure::{Boot, BootFile, Chain, Error, Input, Profile, Reader, Rules, predict};
use operations::predict::{EspFiles, Name, PredictError, Wanted, on_esp};
use tpm::Bank;

use crate::data;

/// A partition whose `EFI/ubuntu` has these names: a shim, and the same kernel image under all others.
struct Esp {
    names: Vec<String>,
    opened: Cell<usize>,
}

impl Esp {
    fn new(names: Vec<String>) -> Self {
        let opened = Cell::new(0);
        Self { names, opened }
    }
}

impl EspFiles for Esp {
    fn list(&self, directory: &[String]) -> Result<Vec<Name>, PredictError> {
        let named = |name: &str, is_directory| Name {
            name: name.to_owned(),
            is_directory,
        };
        Ok(match directory.len() {
            0 => vec![named("EFI", true)],
            1 => vec![named("ubuntu", true)],
            _ => self.names.iter().map(|name| named(name, false)).collect(),
        })
    }

    fn open(&self, file: &[String]) -> Result<Box<dyn ReadAt>, PredictError> {
        assert!(self.names.contains(file.last().unwrap()));
        self.opened.set(self.opened.get() + 1);
        let is_shim = file.last().unwrap() == "shimx64.efi";
        let program = if is_shim { "shim-std" } else { "kernel-db-a" };
        let program = data::content(&format!("vectors/pe/{program}.efi"));
        Ok(Box::new(MemoryStorage::new(program)))
    }
}

#[test]
fn more_kernels_than_a_partition_can_hold_are_refused_before_one_is_read() {
    let names = |kernels: usize| -> Vec<String> {
        let kernels = (0..kernels).map(|number| format!("kernel.efi-{number}"));
        kernels.chain(["shimx64.efi".to_owned()]).collect()
    };
    let esp = Esp::new(names(100));
    assert_eq!(on_esp(&esp, Wanted::default()).unwrap().chains.len(), 100);
    assert_eq!(esp.opened.get(), 101);
    let esp = Esp::new(names(101));
    assert_eq!(
        on_esp(&esp, Wanted::default()).unwrap_err().to_string(),
        "there are 101 kernels in EFI/ubuntu; at most 100 are looked at"
    );
    assert_eq!(esp.opened.get(), 0);
}

#[test]
fn a_name_is_shown_without_its_control_characters() {
    let names = ["shimx64.efi", "kernel.efi-\x1b[2J\u{9b}"].map(str::to_owned);
    let boot = on_esp(&Esp::new(names.to_vec()), Wanted::default()).unwrap();
    let shown = "kernel.efi-\u{fffd}[2J\u{fffd}";
    assert_eq!(boot.files[1].name, shown);
    assert_eq!(boot.beside_shim[1], shown);
}

#[test]
fn more_branches_than_a_policy_can_have_are_refused() {
    let program = MemoryStorage::new(data::content("vectors/pe/kernel-db-a.efi"));
    let program = Program::read(&program, &[], false).unwrap();
    let name = "kernel.efi".to_owned();
    let boot = |chains: usize| Boot {
        files: vec![BootFile {
            folder: Vec::new(),
            name: name.clone(),
            program: program.clone(),
        }],
        chains: vec![Chain::new(0, []); chains],
        ..Boot::default()
    };
    let configuration = data::content("vectors/uefi/a-only.json");
    let rules = firmware::config::Rules::Ours;
    let configuration = UefiConfig::from_json(&configuration, rules).unwrap().config;
    let branches = |chains: usize| {
        let prediction = predict(&Input {
            configuration: &configuration,
            boot: &boot(chains),
            profile: Profile {
                boot_manager: true,
                ..Profile::default()
            },
            reader: Reader::default(),
            // Nobody verifies the one signature so many times.
            rules: Rules {
                verify_signatures: false,
                ..Rules::firmware()
            },
            bank: Bank::Sha256,
        });
        prediction.map(|prediction| prediction.branches.len())
    };
    assert_eq!(branches(4096).unwrap(), 4096);
    let refused = branches(4097).unwrap_err();
    assert!(matches!(refused, Error::TooManyBranches { max: 4096 }));
    assert_eq!(
        refused.to_string(),
        "there are more than 4096 ways in which these files may boot; a policy has at most 4096 branches"
    );
}
