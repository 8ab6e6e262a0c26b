//! A disk on a device is read like one in a file.

use std::os::unix::fs::OpenOptionsExt as _;

use crate::data;
use crate::encrypted::{self, Encrypted, FLAGS};
use crate::loops::{Loop, can_loop};
use crate::plain::Plain;
use crate::ready;
use crate::support::image::{Shape, image};
use crate::support::judge::{Expected, judge};
use crate::support::workshop::{Workshop, refused, state, stdout};
use crate::support::{command, exits, programs};

const H: u64 = 16 << 20;

/// What `encrypt -o` makes of an image whose root is the last partition and has no room.
pub fn extended(shape: Shape) -> Expected {
    let geometry = image(shape).geometry;
    Expected {
        luks_sector_bytes: if geometry.sector_bytes == 4096 {
            4096
        } else {
            512
        },
        disk_bytes: geometry.disk_sectors * geometry.sector_bytes + H,
        root_last_lba: geometry.root_last_lba + H / geometry.sector_bytes,
        vhd: false,
        grow_root: false,
        cloud_init: true,
        datasources: None,
        kernel_efi: false,
        shrunk_bytes: None,
        skips_free: false,
    }
}

#[test]
fn for_encrypt_into_a_file() {
    if !ready() || !can_loop() {
        return;
    }
    for shape in [Shape::Tiny, Shape::LargeSectors] {
        let workshop = Workshop::new();
        let source = workshop.source(image(shape));
        let Some(disk) = Loop::of(&source, image(shape).geometry.sector_bytes) else {
            return;
        };
        let before = state(&source);
        let mut encrypt = workshop.encrypt();
        exits(encrypt.args(["-o", "output.img", disk.name()]), 0);
        assert_eq!(state(&source), before);
        judge(image(shape), &workshop.path("output.img"), &extended(shape));
    }
}

#[test]
fn for_predict_and_inspect() {
    if !encrypted::ready() || !can_loop() {
        return;
    }
    let image = Encrypted::new().deployed(&FLAGS);
    let before = state(&image.image);
    let Some(disk) = Loop::of(&image.image, 512) else {
        return;
    };
    let answer = |arguments: &[&str], name: &str| {
        let mut command = image.workshop.command(image.workshop.program());
        stdout(&exits(command.args(arguments).arg(name), 0))
    };
    let of_both = |arguments: &[&str]| {
        let of_file = answer(arguments, "disk.img");
        let of_device = answer(arguments, disk.name());
        // No more than the name tells them apart.
        assert_eq!(of_device.replace(disk.name(), "disk.img"), of_file);
        of_device
    };
    let predicted = of_both(&[&["predict", "--json"], &FLAGS[2..]].concat());
    assert!(predicted.contains("\"composite\""), "{predicted}");
    of_both(&["inspect"]);
    let against = ["inspect", "--json", "--against", FLAGS[2], FLAGS[3]];
    let told = of_both(&against);
    assert!(told.contains("\"unlocks\": true"), "{told}");
    assert_eq!(state(&image.image), before);
}

#[test]
fn for_provision() {
    if !encrypted::ready() || !can_loop() {
        return;
    }
    let plain = Plain::new();
    let source = plain.path("plain.img");
    let before = state(&source);
    let Some(disk) = Loop::of(&source, 512) else {
        return;
    };
    let report = ["--report", "report.json", "-o", "guest.img", disk.name()];
    exits(&mut plain.provision(&[&FLAGS[..], &report].concat()), 0);
    assert_eq!(state(&source), before);
    let made = crate::plain::Made::of(plain.path("guest.img"));
    let key = made.unsealed(&plain.composites("guest.img", &FLAGS[2..]));
    assert_eq!(made.container.test_key(0, &key), 0);
    made.esp.assert_clean();
    let report = std::fs::read_to_string(plain.path("report.json")).unwrap();
    let digest = crate::support::run(command("sha256sum").arg(&source));
    assert!(report.contains(&digest[..64]), "{report}");
}

#[test]
fn for_deploy() {
    if !ready() || !can_loop() || !programs(&["mcopy"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Stock));
    exits(workshop.encrypt().args(["-o", "disk.img", "source.img"]), 0);
    let Some(disk) = Loop::of(&workshop.path("disk.img"), 512) else {
        return;
    };
    let srk = workshop.put(&crate::support::data("sealed/soft-rsa.pub"), "srk.pub");
    let deploy = |options: &[&str]| {
        let mut deploy = workshop.command(workshop.program());
        deploy
            .args(["deploy", "--no-pcr-policy", "--srk-pub"])
            .arg(&srk);
        deploy.args(options).arg(disk.name());
        deploy
    };
    exits(&mut deploy(&["--dry-run"]), 0);
    // A copy in a file, then the device itself.
    exits(&mut deploy(&["-o", "deployed.img"]), 0);
    exits(&mut deploy(&[]), 0);
    disk.settle();
    for file in ["deployed.img", "disk.img"] {
        let table = crate::support::disk::read(&workshop.path(file));
        let root = crate::support::image::ROOT;
        let container =
            crate::support::container::Container::open(&workshop.path(file), &table, root);
        assert!(
            !container.dump().contains("ubuntu-fde-cloudimg-key"),
            "{file}"
        );
        let esp = table.byte_range(crate::support::image::ESP).start;
        let mut mdir = command("mdir");
        mdir.arg("-i")
            .arg(format!("{}@@{esp}", workshop.path(file).display()));
        let listing = stdout(&exits(mdir.arg("::device/fde"), 0));
        assert!(listing.contains("sealed-key"), "{file}: {listing}");
    }
    let again =
        "error: the image is deployed already: partition 1 holds no clear key, in no header copy\n";
    assert!(
        refused(&mut deploy(&[])).contains(&again[7..]),
        "the second run sees the first"
    );
}

#[test]
fn that_is_in_use_is_refused() {
    if !ready() || !can_loop() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    let Some(disk) = Loop::of(&source, 512) else {
        return;
    };
    // What mounting does to a device.
    let flags = rustix::fs::OFlags::EXCL.bits().cast_signed();
    let claimed = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(&disk.device)
        .unwrap();
    let message = format!(
        "error: {0}: the device is in use: it, or a partition of it, is mounted or part of another volume\n\
         hint: unmount it first, and close what else uses it\n",
        disk.name()
    );
    for arguments in [
        &["-o", "output.img"][..],
        &[],
        &["--in-place"],
        &["--resume"],
    ] {
        let mut encrypt = workshop.encrypt();
        assert_eq!(refused(encrypt.args(arguments).arg(disk.name())), message);
    }
    let srk = crate::support::data("sealed/soft-rsa.pub");
    workshop.put(&srk, "srk.pub");
    let configuration = encrypted::case().uefi_config.unwrap();
    let configuration = data::content(&format!("vectors/{configuration}"));
    workshop.write("uefi-config.json", &configuration);
    let bound = ["--no-pcr-policy", "--srk-pub", "srk.pub"];
    for arguments in [
        &["inspect"][..],
        &[&["deploy"], &bound[..]].concat(),
        &[&["provision", "-o", "output.img"], &bound[..]].concat(),
    ] {
        let mut program = workshop.command(workshop.program());
        assert_eq!(refused(program.args(arguments).arg(disk.name())), message);
    }
    let mut predict = workshop.command(workshop.program());
    predict.args(["predict", "--uefi-config", "uefi-config.json", disk.name()]);
    let (error, _) = message.split_once('\n').unwrap();
    assert_eq!(
        refused(&mut predict),
        format!(
            "{error}\nhint: name the directory where its EFI system partition is mounted: --esp DIR\n"
        )
    );
    drop(claimed);
    exits(
        workshop.encrypt().args(["-o", "output.img", disk.name()]),
        0,
    );
}
