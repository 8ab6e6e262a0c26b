//! What is no image, or a damaged one, ends with a line that says so; what lies beside the header does not keep the rest
//! from being told.

use serde_json::Value;

use crate::encrypted::{Encrypted, FLAGS, ROOT, SEALED_KEY, TEMPLATE, ready};
use crate::support::files;
use crate::support::workshop::refused;
use crate::{inspect, told};

#[test]
fn files_that_are_no_images() {
    if !ready() {
        return;
    }
    let image = Encrypted::plain();
    for (content, message) in [
        (&b""[..], "error: disk.img: the file is empty\n"),
        (
            &[0; 4096],
            "error: disk.img: the file is not a disk image: no partition table and no known format in 4096 bytes\n",
        ),
        (
            &b"QFI\xfb\0\0\0\x03"[..],
            "error: disk.img: the qcow2 image cannot be read: its header at offset 0 reaches beyond the end: it was cut off\n",
        ),
    ] {
        std::fs::write(&image.image, content).unwrap();
        let said = refused(&mut inspect(&image, &[]));
        assert_eq!(said.lines().next(), message.lines().next());
    }
    std::fs::remove_file(&image.image).unwrap();
    let said = refused(&mut inspect(&image, &[]));
    assert!(said.starts_with("error: disk.img: "), "{said}");
}

/// Bytes flipped in what is read: an answer, or an error of one line and its hints; never anything else.
#[test]
fn any_byte_may_be_another() {
    if !ready() {
        return;
    }
    let tokens = [&FLAGS[..], &["--key-object", "systemd-tpm2"]].concat();
    for image in [
        Encrypted::new(),
        Encrypted::new().deployed(&FLAGS),
        Encrypted::new().deployed(&tokens),
    ] {
        let table = image.table();
        let root = table.byte_range(ROOT).start;
        let esp = table.byte_range(crate::encrypted::ESP).start;
        let places = [
            0..34 * 512,
            root..root + 4096,
            root + 4096..root + 9000,
            root + 524_288..root + 524_288 + 9000,
            esp..esp + 1024,
            esp + 32 * 512..esp + 36 * 512,
        ];
        let mut number: u64 = 1;
        for place in places {
            for _ in 0..6 {
                // Numbers that look random and are the same in every run.
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = place.start + (number >> 33) % (place.end - place.start);
                files::flip(&image.image, at);
                let output = inspect(&image, &["--json"]).output().unwrap();
                files::flip(&image.image, at);
                let said = crate::support::workshop::stderr(&output);
                match output.status.code() {
                    Some(0) => {
                        let text = crate::support::workshop::stdout(&output);
                        serde_json::from_str::<Value>(&text).unwrap();
                        assert_eq!(said, "", "{at:#x}");
                    }
                    Some(1) => {
                        let mut lines = said.lines();
                        assert!(
                            lines.next().unwrap().starts_with("error: disk.img: "),
                            "{said}"
                        );
                        let mut others = lines.filter(|line| !line.starts_with("hint: "));
                        assert_eq!(others.next(), None, "{at:#x}: {said}");
                    }
                    code => panic!("{at:#x}: {code:?}: {said}"),
                }
            }
        }
    }
}

#[test]
fn headers_that_are_damaged() {
    if !ready() {
        return;
    }
    let image = Encrypted::new();
    let start = image.table().byte_range(ROOT).start;
    for copy in [0, 1] {
        files::flip(&image.image, start + copy * 524_288 + 4200);
    }
    assert_eq!(
        refused(&mut inspect(&image, &[])),
        "error: disk.img: the LUKS2 container in partition 1: no usable LUKS2 header copy: the primary is invalid (the checksum of the header at offset 0x0 is wrong), and so is the secondary (the checksum of the header at offset 0x80000 is wrong)\n"
    );
}

#[test]
fn files_on_the_esp_that_are_damaged() {
    if !ready() {
        return;
    }
    let put = |image: &Encrypted, file: &str, content: &[u8]| {
        let own = image.workshop.write("put", content).display().to_string();
        image.change_esp("mcopy", &["-o", &own, &format!("::/{file}")]);
    };
    let warning = |image: &Encrypted| told(image, &[])["warnings"][0].as_str().unwrap().to_owned();

    let image = Encrypted::new().deployed(&FLAGS);
    let mut key = image.esp().files()[SEALED_KEY].clone();
    key[4] = 9;
    put(&image, SEALED_KEY, &key);
    let document = told(&image, &[]);
    assert_eq!(document["state"], "deployed");
    assert_eq!(document["sealed_key"]["version"], Value::Null);
    assert_eq!(
        document["sealed_key"]["problem"],
        "the sealed-key file has version 150994946; 1 and 2 are supported"
    );
    // One bit of the last stripe: the whole content is another.
    key[4] = 0;
    let last = key.len() - 1;
    key[last] ^= 1;
    put(&image, SEALED_KEY, &key);
    assert!(warning(&image).starts_with("device/fde/cloudimg-rootfs.sealed-key: "));
    put(&image, TEMPLATE, b"\0\x01\0");
    let document = told(&image, &[]);
    assert_ne!(document["srk_template"]["problem"], Value::Null);
    // None of it unlocks.
    let arguments = ["--against", "--uefi-config", "uefi-config.json"];
    let output = inspect(&image, &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = crate::support::workshop::stdout(&output);
    assert!(text.contains(": cannot be told: "), "{text}");
}

#[test]
fn a_volume_of_the_esp_that_is_damaged() {
    if !ready() {
        return;
    }
    let image = Encrypted::new().deployed(&FLAGS);
    let start = image.table().byte_range(crate::encrypted::ESP).start;
    files::write(&image.image, start, &[0; 512]);
    let document = told(&image, &[]);
    assert_eq!(document["state"], "other");
    let warning = document["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("the EFI system partition: "),
        "{warning}"
    );
}

#[test]
fn an_image_without_a_sealed_key_has_no_answer() {
    if !ready() {
        return;
    }
    let arguments = ["--against", "--uefi-config", "uefi-config.json"];
    assert_eq!(
        refused(&mut inspect(&Encrypted::new(), &arguments)),
        "error: disk.img: no sealed key is in the image, so there is nothing that a guest could unseal: it is not deployed yet, and opens by its clear key\n\
         hint: deploy binds it to a guest: encrypt-cloud-image deploy\n"
    );
    assert_eq!(
        refused(&mut inspect(&Encrypted::plain(), &arguments)),
        "error: disk.img: no sealed key is in the image, so there is nothing that a guest could unseal: it is not encrypted\n"
    );
    let image = Encrypted::new().deployed(&FLAGS);
    image.change_esp("mdel", &[&format!("::/{SEALED_KEY}")]);
    assert_eq!(
        refused(&mut inspect(&image, &arguments)),
        "error: disk.img: no sealed key is in the image, so there is nothing that a guest could unseal: its container was not made by this program, or the key is gone\n"
    );
}
