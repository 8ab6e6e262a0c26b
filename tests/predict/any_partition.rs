//! What boots from an EFI system partition that is not Ubuntu's is found as firmware and the loaders find it, whatever lies there.
//! (The boots of real programs are in `what_real_boots_measured`.)

use std::collections::BTreeMap;

use base::storage::{MemoryStorage, ReadAt};
use measure::Boot;
use operations::predict::{EspFiles, Name, PredictError, Wanted, discover};
use proptest::prelude::*;

use crate::data;
use crate::support::boot_programs::{grub, kernel, systemd_boot, unified, unknown};

/// A partition with these files.
#[derive(Debug, Default)]
struct Esp(BTreeMap<String, Vec<u8>>);

impl Esp {
    fn with(mut self, path: &str, content: &[u8]) -> Self {
        self.0.insert(path.to_owned(), content.to_vec());
        self
    }
}

impl EspFiles for Esp {
    fn list(&self, directory: &[String]) -> Result<Vec<Name>, PredictError> {
        let folder: String = directory.iter().flat_map(|name| [name, "/"]).collect();
        let below = self.0.keys().filter_map(|path| path.strip_prefix(&folder));
        let mut names: Vec<Name> = below
            .map(|rest| {
                let (name, behind) = rest.split_once('/').unwrap_or((rest, ""));
                Name {
                    name: name.to_owned(),
                    is_directory: !behind.is_empty(),
                }
            })
            .collect();
        names.dedup();
        Ok(names)
    }

    fn open(&self, file: &[String]) -> Result<Box<dyn ReadAt>, PredictError> {
        Ok(Box::new(MemoryStorage::new(
            self.0[&file.join("/")].clone(),
        )))
    }
}

fn shim() -> Vec<u8> {
    data::content("vectors/pe/shim-std.efi")
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The ways that are found, each as the paths of its programs, with what the last one is handed.
fn ways(esp: &Esp) -> Vec<String> {
    let boot = discover(esp, Wanted::default()).unwrap();
    shown(&boot)
}

fn shown(boot: &Boot) -> Vec<String> {
    let path = |place: usize| {
        let file = &boot.files[place];
        format!("{}/{}", file.folder.join("/"), file.name)
    };
    let way = |chain: &measure::Chain| {
        let programs: Vec<_> = chain.programs().map(path).collect();
        let options = chain.options().map(|options| format!(" ({options})"));
        programs.join(" > ") + &options.unwrap_or_default()
    };
    boot.chains.iter().map(way).collect()
}

#[test]
fn one_program_ends_the_way_unless_it_starts_others() {
    for program in [
        unified("257.13"),
        grub(),
        kernel(),
        unknown(),
        systemd_boot(),
    ] {
        let esp = Esp::default().with("EFI/BOOT/BOOTX64.EFI", &program);
        assert_eq!(ways(&esp), ["EFI/BOOT/BOOTX64.EFI"]);
    }
    let esp = Esp::default()
        .with("efi/Boot/bootaa64.efi", &unified("257.13"))
        .with("efi/Boot/bootx64.efi", &unified("257.13"));
    assert_eq!(
        ways(&esp),
        ["efi/Boot/bootx64.efi", "efi/Boot/bootaa64.efi"]
    );
    let error = discover(
        &Esp::default().with("EFI/fedora/shimx64.efi", &shim()),
        Wanted::default(),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "nothing boots from the EFI system partition: there is no EFI/ubuntu/shimx64.efi, no EFI/BOOT/BOOTX64.EFI and no EFI/BOOT/BOOTAA64.EFI"
    );
}

#[test]
fn shim_starts_the_name_that_is_built_into_it() {
    let both = |shim: &[u8]| {
        Esp::default()
            .with("EFI/BOOT/BOOTX64.EFI", shim)
            .with("EFI/BOOT/grubx64.efi", &grub())
            .with("EFI/BOOT/grub.efi", &systemd_boot())
            .with("EFI/Linux/a.efi", &unified("257.13"))
    };
    assert_eq!(
        ways(&both(&shim())),
        ["EFI/BOOT/BOOTX64.EFI > EFI/BOOT/grubx64.efi"]
    );
    // As SUSE builds it.
    let suses = [shim(), utf16("\\mmx64.efi\0\\\\grub.efi\0")].concat();
    assert_eq!(
        ways(&both(&suses)),
        ["EFI/BOOT/BOOTX64.EFI > EFI/BOOT/grub.efi > EFI/Linux/a.efi"]
    );
}

#[test]
fn fallback_makes_an_entry_of_each_line() {
    let line =
        "shimx64.efi,red,\\EFI\\Linux\\b.efi ,UKI bootentry\nshimx64.efi,grub,,\nnone.efi,x,,\n";
    let esp = Esp::default()
        .with("EFI/BOOT/BOOTX64.EFI", &shim())
        .with("EFI/BOOT/fbx64.efi", &unknown())
        .with("EFI/BOOT/grubx64.efi", &unified("257.13"))
        .with("EFI/red/BOOTX64.CSV", &utf16(line))
        .with("EFI/red/shimx64.efi", &shim())
        .with("EFI/red/grubx64.efi", &grub())
        .with("EFI/Linux/b.efi", &unified("257.13"));
    assert_eq!(
        ways(&esp),
        [
            "EFI/red/shimx64.efi > EFI/Linux/b.efi",
            "EFI/red/shimx64.efi > EFI/red/grubx64.efi"
        ]
    );
    // Without fallback nobody reads the file, and what the load options name is not there.
    let mut without = esp;
    without.0.remove("EFI/BOOT/fbx64.efi");
    assert_eq!(
        ways(&without),
        ["EFI/BOOT/BOOTX64.EFI > EFI/BOOT/grubx64.efi"]
    );
}

#[test]
fn systemd_boot_shows_images_and_entries() {
    let esp = Esp::default()
        .with("EFI/BOOT/BOOTX64.EFI", &systemd_boot())
        .with("EFI/Linux/two.efi", &unified("257.13"))
        .with("EFI/Linux/one.EFI", &unified("255.4"))
        .with("EFI/Linux/not-shown.efi", &kernel())
        .with("EFI/Linux/readme.txt", b"x")
        .with("k/linux", &kernel())
        .with(
            "loader/entries/a.conf",
            b"title a\nlinux /k/linux\ninitrd /k/i\noptions quiet\n",
        )
        .with(
            "loader/entries/arm.conf",
            b"linux /k/linux\narchitecture aa64\n",
        )
        .with("loader/entries/gone.conf", b"linux /k/gone\n")
        .with("loader/entries/title.conf", b"title only\n");
    assert_eq!(
        ways(&esp),
        [
            "EFI/BOOT/BOOTX64.EFI > EFI/Linux/one.EFI",
            "EFI/BOOT/BOOTX64.EFI > EFI/Linux/two.efi",
            "EFI/BOOT/BOOTX64.EFI > k/linux (initrd=\\k\\i quiet)"
        ]
    );
}

#[test]
fn more_ways_than_a_guest_has_are_refused() {
    let image = unified("257.13");
    let many = |count: usize| {
        let esp = Esp::default().with("EFI/BOOT/BOOTX64.EFI", &systemd_boot());
        (0..count).fold(esp, |esp, number| {
            esp.with(&format!("EFI/Linux/{number:04}.efi"), &image)
        })
    };
    assert_eq!(ways(&many(100)).len(), 100);
    for count in [101, 1001] {
        assert_eq!(
            discover(&many(count), Wanted::default())
                .unwrap_err()
                .to_string(),
            "there are more than 100 ways to boot from the EFI system partition"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A shim that starts a shim that starts the first one, entries that name directories, programs that are none.
    #[test]
    fn no_partition_leads_astray(
        places in prop::collection::vec((0_usize..14, 0_usize..9), 1..12),
        csv in "(shimx64.efi|grubx64.efi|\\PC{0,6}),(a|\\PC{0,3}),(\\\\EFI\\\\(red|Linux|BOOT)\\\\(a.efi|shimx64.efi)|\\PC{0,9}) ?,x\n",
        entry in "(linux|efi|uki|options|initrd|architecture) (/k/linux|/EFI/BOOT/BOOTX64.EFI|/|\\PC{0,9})\n{0,2}",
    ) {
        const PATHS: [&str; 14] = [
            "EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/BOOTAA64.EFI", "EFI/BOOT/grubx64.efi", "EFI/BOOT/fbx64.efi",
            "EFI/red/BOOTX64.CSV", "EFI/red/shimx64.efi", "EFI/red/grubx64.efi", "EFI/Linux/a.efi", "EFI/Linux/b.efi",
            "k/linux", "loader/entries/a.conf", "loader/entries/b.conf", "EFI/BOOT", "EFI/Linux",
        ];
        let contents = [
            shim(), grub(), systemd_boot(), unified("257.13"), kernel(), unknown(), utf16(&csv), entry.into_bytes(), Vec::new(),
        ];
        let mut esp = Esp::default();
        for (path, content) in places {
            // A name is a file or a directory.
            let path = PATHS[path];
            let clashes = |other: &String| other.starts_with(&format!("{path}/")) || path.starts_with(&format!("{other}/"));
            if !esp.0.keys().any(clashes) {
                esp = esp.with(path, &contents[content]);
            }
        }
        match discover(&esp, Wanted::default()) {
            Ok(boot) => {
                prop_assert!(!boot.chains.is_empty());
                for chain in &boot.chains {
                    prop_assert!(chain.programs().count() <= 7, "{:?}", shown(&boot));
                }
                for file in &boot.files {
                    let path = format!("{}/{}", file.folder.join("/"), file.name);
                    prop_assert!(esp.0.contains_key(path.trim_start_matches('/')), "{path}");
                }
            }
            Err(error) => prop_assert!(!error.to_string().contains(char::is_control), "{error}"),
        }
    }
}
