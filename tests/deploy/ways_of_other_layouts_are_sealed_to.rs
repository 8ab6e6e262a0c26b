//! Boot files as other vendors lay them out are found, and what is found is what is sealed to.

use std::fs;

use crate::data;
use crate::encrypted::{Encrypted, FLAGS, SEALED_KEY, open_offline, ready};
use crate::support::boot_programs::{Signer, grub, systemd_boot, unified, unknown};
use crate::support::programs;
use crate::support::workshop::refused;
use crate::the_policy_is_the_prediction::predicted;

/// An encrypted image with these boot files and no others; the certificate of `signer` is in db.
fn laid_out(signer: &Signer, layout: &[(&str, Vec<u8>)]) -> Encrypted {
    let encrypted = Encrypted::new();
    encrypted.boots(&[]);
    encrypted.trusts(&signer.certificate());
    encrypted.change_esp("mdeltree", &["::/EFI"]);
    let folder = encrypted.workshop.path("layout");
    for (path, content) in layout {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    let all: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    let mut copy = vec!["-s", "-o"];
    copy.extend(all.iter().map(String::as_str));
    copy.push("::/");
    encrypted.change_esp("mcopy", &copy);
    fs::remove_dir_all(folder).unwrap();
    encrypted
}

fn shim() -> Vec<u8> {
    data::content("vectors/pe/shim-std.efi")
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn the_key_opens_in_the_state_of_each_way() {
    if !ready() || !programs(&["sbsign", "openssl"]) {
        return;
    }
    let signer = Signer::new();
    let (one, two) = (
        signer.signed(&unified("257.13")),
        signer.signed(&unified("255.4")),
    );
    let line = "shimx64.efi,redhat,\\EFI\\Linux\\a-5.14.efi ,UKI bootentry\n";
    let red_hats = [
        ("EFI/BOOT/BOOTX64.EFI", shim()),
        ("EFI/BOOT/fbx64.efi", unknown()),
        ("EFI/redhat/shimx64.efi", shim()),
        ("EFI/redhat/BOOTX64.CSV", utf16(line)),
        ("EFI/Linux/a-5.14.efi", one.clone()),
    ];
    let azures = [
        ("EFI/BOOT/BOOTX64.EFI", shim()),
        ("EFI/BOOT/grubx64.efi", signer.signed(&systemd_boot())),
        ("EFI/Linux/vmlinuz-uki-1.efi", one.clone()),
        ("EFI/Linux/vmlinuz-uki-2.efi", two),
        ("loader/loader.conf", b"timeout 0\n".to_vec()),
    ];
    let owners = [("EFI/BOOT/BOOTX64.EFI", one)];
    for (layout, ways) in [(&red_hats[..], 1), (&azures, 2), (&owners, 1)] {
        let encrypted = laid_out(&signer, layout);
        let composites = predicted(&encrypted, &FLAGS[4..]);
        assert_eq!(composites.len(), ways, "{:?}", layout[0].0);
        let key = encrypted.clear_key.clone();
        let deployed = encrypted.deployed(&FLAGS);
        let files = deployed.esp().files();
        let opened = open_offline(&files[SEALED_KEY], "soft-rsa", &composites);
        assert_eq!(opened, key);
    }
}

/// One way to GRUB is enough: the guest may go it.
#[test]
fn a_way_that_is_not_predicted_whole_is_refused() {
    if !ready() || !programs(&["sbsign", "openssl"]) {
        return;
    }
    let signer = Signer::new();
    let grubs = [
        ("EFI/BOOT/BOOTX64.EFI", shim()),
        ("EFI/BOOT/grubx64.efi", signer.signed(&grub())),
        ("EFI/Linux/a.efi", signer.signed(&unified("257.13"))),
    ];
    let encrypted = laid_out(&signer, &grubs);
    let message = refused(encrypted.deploy(&FLAGS).arg("disk.img"));
    assert_eq!(
        message,
        "error: disk.img: grubx64.efi: is GRUB: the kernel that it loads is measured into PCR 4 as well, and into PCR 7 where another has signed it; no PCR that is predicted covers that kernel's initrd and command line; a key that is sealed to PCR 4 would stay locked\n\
         hint: put a unified kernel image in its place; or seal to PCR 7 without PCR 4, and give --allow-uncovered-initrd\n"
    );
}
