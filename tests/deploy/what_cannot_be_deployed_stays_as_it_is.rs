//! A deploy that fails leaves the image byte for byte as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::encrypted::{ESP, Encrypted, FLAGS, ROOT, WITHOUT_PCRS, ready};
use crate::support::workshop::{refused, state};
use crate::support::{command, exits, files, programs};

/// Runs a deploy that must be refused, and checks that nothing has changed.
#[track_caller]
fn assert_refused(encrypted: &Encrypted, flags: &[&str], message: &str) {
    let before = state(&encrypted.image);
    let names = encrypted.workshop.names();
    assert_eq!(refused(encrypted.deploy(flags).arg("disk.img")), message);
    assert_eq!(state(&encrypted.image), before);
    assert_eq!(encrypted.workshop.names(), names);
}

#[test]
fn a_bad_srk_file() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    fs::remove_file(encrypted.workshop.path("srk.pub")).unwrap();
    assert_refused(
        &encrypted,
        &FLAGS,
        "error: --srk-pub: cannot read srk.pub\n  because: No such file or directory (os error 2)\n",
    );
    let whole = fs::read(crate::encrypted::soft_srk("soft-rsa")).unwrap();
    encrypted.workshop.write("srk.pub", &whole[..100]);
    let before = state(&encrypted.image);
    let message = refused(encrypted.deploy(&FLAGS).arg("disk.img"));
    assert!(
        message.starts_with("error: --srk-pub: srk.pub: "),
        "{message}"
    );
    assert_eq!(state(&encrypted.image), before);
}

#[test]
fn a_full_esp() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let filler = encrypted.workshop.path("filler");
    fs::File::create(&filler)
        .unwrap()
        .set_len(34 << 20)
        .unwrap();
    // As large as fits, but for less than the sealed key takes.
    let listing = {
        let esp = encrypted.esp();
        crate::support::run(esp.mtools("mdir").arg("::"))
    };
    let free = listing
        .lines()
        .rev()
        .find(|line| line.contains("bytes free"));
    let digits: String = free.unwrap().chars().filter(char::is_ascii_digit).collect();
    let free: u64 = digits.parse().unwrap();
    fs::File::options()
        .write(true)
        .open(&filler)
        .unwrap()
        .set_len(free - 100_000)
        .unwrap();
    encrypted.change_esp("mcopy", &[filler.to_str().unwrap(), "::/filler"]);
    let before = state(&encrypted.image);
    let message = refused(encrypted.deploy(&WITHOUT_PCRS).arg("disk.img"));
    assert!(
        message.starts_with(
            "error: disk.img: the EFI system partition: no room in the FAT filesystem for /device/fde/cloudimg-rootfs.sealed-key: "
        ) && message.ends_with(
            "hint: remove files from the EFI system partition; fsck.vfat -a on it frees what interrupted runs left\n"
        ),
        "{message}"
    );
    assert_eq!(state(&encrypted.image), before);
}

#[test]
fn no_kernel() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    encrypted.change_esp("mdel", &["::/EFI/ubuntu/kernel.efi-*"]);
    assert_refused(
        &encrypted,
        &FLAGS,
        "error: disk.img: there is no kernel beside shim: EFI/ubuntu has neither kernel.efi-* nor grubx64.efi\n\
         hint: encrypt and provision put one there: --kernel-efi FILE\n",
    );
}

/// No boot entry comes with an image, so a guest starts nothing of another directory.
#[test]
fn no_shim() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    encrypted.change_esp("mmove", &["::/EFI/ubuntu", "::/EFI/fedora"]);
    assert_refused(
        &encrypted,
        &FLAGS,
        "error: disk.img: nothing boots from the EFI system partition: there is no EFI/ubuntu/shimx64.efi, no EFI/BOOT/BOOTX64.EFI and no EFI/BOOT/BOOTAA64.EFI\n\
         hint: a guest without boot entries starts a program in EFI/BOOT; --no-pcr-policy binds to the vTPM alone, whatever boots\n",
    );
}

#[test]
fn a_wrong_configuration() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    encrypted.workshop.write("uefi-config.json", b"{}");
    let before = state(&encrypted.image);
    let message = refused(encrypted.deploy(&FLAGS).arg("disk.img"));
    assert!(message.contains("uefi-config.json"), "{message}");
    encrypted.workshop.write("uefi-config.json", b"{");
    let message = refused(encrypted.deploy(&FLAGS).arg("disk.img"));
    assert!(message.contains("uefi-config.json"), "{message}");
    assert_eq!(state(&encrypted.image), before);
}

/// Changes the metadata by cryptsetup, on the partition's first bytes.
fn change_container(encrypted: &Encrypted, change: impl FnOnce(&Path)) {
    let container = encrypted.container();
    change(&container.header);
    let start = encrypted.table().byte_range(ROOT).start;
    let header = files::read(&container.header, 0, 16 << 20);
    files::write(&encrypted.image, start, &header);
}

fn cryptsetup(arguments: &[&str]) -> Command {
    let mut cryptsetup = command("cryptsetup");
    cryptsetup.args(arguments);
    cryptsetup
}

/// Puts another clear key into the token, without making it open anything.
fn exchange_token(encrypted: &Encrypted, key: &str) {
    let json = format!(
        r#"{{"keyslots":["0"],"type":"ubuntu-fde-cloudimg-key","ubuntu_fde_cloudimg_key":"{key}"}}"#
    );
    let token = encrypted.workshop.write("token.json", json.as_bytes());
    change_container(encrypted, |header| {
        exits(
            cryptsetup(&["token", "remove", "--token-id", "0"]).arg(header),
            0,
        );
        let mut import = cryptsetup(&["token", "import", "--json-file"]);
        exits(import.arg(token).arg(header), 0);
    });
}

#[test]
fn a_clear_key_that_is_too_large_or_opens_nothing() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    exchange_token(&encrypted, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_refused(
        &encrypted,
        &FLAGS,
        "error: disk.img: the clear key has 29 bytes; 1 to 28 can be sealed to a vTPM\n",
    );
    let encrypted = Encrypted::new();
    exchange_token(&encrypted, "AAAAAAAAAAAAAAAAAAAAAA==");
    let before = state(&encrypted.image);
    let message = refused(encrypted.deploy(&FLAGS).arg("disk.img"));
    assert!(
        message.starts_with("error: disk.img: the LUKS2 container in partition 1: "),
        "{message}"
    );
    assert_eq!(state(&encrypted.image), before);
}

#[test]
fn an_image_in_a_format_that_is_not_written() {
    if !ready() || !programs(&["qemu-img"]) {
        return;
    }
    let encrypted = Encrypted::new();
    let raw = encrypted.workshop.path("raw");
    fs::rename(&encrypted.image, &raw).unwrap();
    let mut convert = encrypted.workshop.command("qemu-img");
    convert.args([
        "convert", "-f", "raw", "-O", "qcow2", "-S", "0", "raw", "disk.img",
    ]);
    exits(&mut convert, 0);
    fs::remove_file(raw).unwrap();
    assert_refused(
        &encrypted,
        &FLAGS,
        "error: disk.img: the file is a qcow2 image; deploy changes an image where it lies, which it does in raw and fixed VHD files\n\
         hint: qemu-img convert -f qcow2 -O raw disk.img disk.img.raw\n",
    );
}

#[test]
fn an_image_without_a_container() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let start = encrypted.table().byte_range(ROOT).start;
    files::write(&encrypted.image, start, &vec![0; 1 << 20]);
    let before = state(&encrypted.image);
    let message = refused(encrypted.deploy(&FLAGS).arg("disk.img"));
    assert!(
        message.starts_with("error: disk.img: no partition holds a LUKS2 container: the table has 1 (Linux filesystem, ")
            && message.ends_with("hint: encrypt it first: encrypt-cloud-image encrypt\n"),
        "{message}"
    );
    assert_eq!(state(&encrypted.image), before);
}

#[test]
fn a_container_of_somebody_else() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    change_container(&encrypted, |header| {
        exits(
            cryptsetup(&["token", "remove", "--token-id", "0"]).arg(header),
            0,
        );
    });
    assert_refused(
        &encrypted,
        &FLAGS,
        "error: disk.img: partition 1 holds a LUKS2 container without a clear key; it has no token of type systemd-tpm2, and no sealed key lies on the EFI system partition: it was not made by encrypt\n",
    );
}

#[test]
fn two_containers_that_could_be_meant() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    // The ESP's copy in a further partition at the end would need room: the root's header goes to the ESP's end.
    let table = encrypted.table();
    let (root, esp) = (table.byte_range(ROOT), table.byte_range(ESP));
    exits(
        command("sgdisk")
            .args(["--delete=15", "--new=15:1M:+16M", "--typecode=15:EF00"])
            .args(["--new=2:18M:+17M", "--typecode=2:8300"])
            .arg(&encrypted.image),
        0,
    );
    let header = files::read(&encrypted.image, root.start, 16 << 20);
    files::write(&encrypted.image, 18 << 20, &header);
    assert!(esp.end >= 35 << 20);
    let before = state(&encrypted.image);
    let message = refused(encrypted.deploy(&WITHOUT_PCRS).arg("disk.img"));
    assert_eq!(
        message,
        "error: disk.img: several partitions hold a container to deploy: 1, 2\n\
         hint: name both partitions: --root-partition-uuid GUID --efi-partition-uuid GUID\n"
    );
    assert_eq!(state(&encrypted.image), before);
}

/// Who names another container does not lose the sealed key of the one that is deployed.
#[test]
fn a_container_beside_one_that_is_deployed() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let root = encrypted.table().byte_range(ROOT);
    let header = files::read(&encrypted.image, root.start, 17 << 20);
    let encrypted = encrypted.deployed(&WITHOUT_PCRS);
    let start = std::fs::metadata(&encrypted.image)
        .unwrap()
        .len()
        .next_multiple_of(1 << 20);
    files::open_to_write(&encrypted.image)
        .set_len(start + (20 << 20))
        .unwrap();
    exits(command("sgdisk").arg("-e").arg(&encrypted.image), 0);
    let new = format!("--new=2:{}:+17M", start / 512);
    exits(
        command("sgdisk")
            .args([&*new, "--typecode=2:8302"])
            .arg(&encrypted.image),
        0,
    );
    files::write(&encrypted.image, start, &header);
    let table = encrypted.table();
    let guid = |number| table.partitions[&number].unique_guid();
    let named = [
        format!("--root-partition-uuid={}", guid(2)),
        format!("--efi-partition-uuid={}", guid(ESP)),
    ];
    let flags = [&WITHOUT_PCRS[..], &[&named[0], &named[1]]].concat();
    assert_refused(
        &encrypted,
        &flags,
        "error: disk.img: partition 1 holds a container that is deployed: its sealed key on the EFI system partition would be replaced\n\
         hint: one EFI system partition carries the sealed key of one container; where nothing is in need of the other one, overwrite its first 16 MiB\n",
    );
    assert_refused(
        &encrypted,
        &WITHOUT_PCRS,
        "error: disk.img: several partitions hold a container to deploy: 1, 2\n\
         hint: name both partitions: --root-partition-uuid GUID --efi-partition-uuid GUID\n",
    );
    // As the hint says.
    files::write(&encrypted.image, root.start, &vec![0; 16 << 20]);
    encrypted.deployed(&flags);
}

#[test]
fn named_partitions_that_are_not_there() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let table = encrypted.table();
    let [root, esp] = [ROOT, ESP].map(|number| table.partitions[&number].unique_guid());
    let absent = "00000000-0000-4000-8000-000000000000";
    let flags = |root: &str, esp: &str| {
        let mut flags: Vec<_> = WITHOUT_PCRS.map(str::to_owned).into();
        flags.extend(
            ["--root-partition-uuid", root, "--efi-partition-uuid", esp].map(str::to_owned),
        );
        flags
    };
    for (root, esp) in [(absent, &*esp), (&*root, absent)] {
        let flags = flags(root, esp);
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let message = refused(encrypted.deploy(&flags).arg("disk.img"));
        assert!(
            message.starts_with(&format!(
                "error: disk.img: no partition has the unique GUID {absent}: the table has "
            )),
            "{message}"
        );
    }
    let flags = flags(&root, &esp);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    encrypted.deployed(&flags);
}

#[test]
fn an_image_that_somebody_else_works_on() {
    if !ready() || !programs(&["flock"]) {
        return;
    }
    let encrypted = Encrypted::new();
    let before = state(&encrypted.image);
    let mut flock = command("flock");
    flock.arg(&encrypted.image);
    let deploy = encrypted.deploy(&WITHOUT_PCRS);
    flock
        .arg(deploy.get_program())
        .args(deploy.get_args())
        .arg("disk.img");
    flock.current_dir(encrypted.workshop.folder());
    let message = refused(&mut flock);
    assert!(message.starts_with("error: disk.img: "), "{message}");
    assert_eq!(state(&encrypted.image), before);
}

#[test]
fn a_dry_run_writes_nothing_and_tells_everything() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let before = files::digest(&encrypted.image);
    // For reading it needs no more than that.
    fs::set_permissions(&encrypted.image, PermissionsExt::from_mode(0o400)).unwrap();
    let flags = [&FLAGS[..], &["--dry-run", "--recovery-key-out", "new.key"]].concat();
    let output = exits(encrypted.deploy(&flags).arg("disk.img"), 0);
    let text = crate::support::workshop::stdout(&output);
    for line in [
        "source      disk.img",
        "root        partition 1 (Linux filesystem, 24.0 MiB)",
        "SRK         RSA, AES-128",
        "keyslot 0   the key that is sealed to the vTPM",
        "keyslot 10  the growpart key, removed by cloud-init at the first boot",
        "keyslot 1   the recovery key",
        "branch 1: kernel.efi-6.8.0-1009-azure",
        "  LUKS2 header: no clear key, in neither copy",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line:?} in:\n{text}"
        );
    }
    assert!(text.contains("\n  ESP:tpm2-srk.tmpl: "), "{text}");
    assert!(!encrypted.workshop.path("new.key").exists());
    assert_eq!(files::digest(&encrypted.image), before);

    // A run tells the same with -v.
    fs::set_permissions(&encrypted.image, PermissionsExt::from_mode(0o600)).unwrap();
    let flags = [&FLAGS[..], &["-v", "--recovery-key-out", "new.key"]].concat();
    let output = exits(encrypted.deploy(&flags).arg("disk.img"), 0);
    let talk = crate::support::workshop::stderr(&output);
    for line in text.lines().filter(|line| !line.starts_with("LUKS2 ")) {
        assert!(talk.contains(line), "{line:?} in:\n{talk}");
    }
}

#[test]
fn one_file_for_two_purposes() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    encrypted.workshop.write("recovery.key", &[7; 16]);
    std::os::unix::fs::symlink("disk.img", encrypted.workshop.path("link")).unwrap();
    for (more, message) in [
        (
            &["--report", "disk.img"][..],
            "error: --report and SOURCE name one file: disk.img\n",
        ),
        (
            &["--report", "link"],
            "error: --report and SOURCE name one file: link\n",
        ),
        (
            &["-o", "new.img", "--report", "./new.img"],
            "error: --output and --report name one file: new.img\n",
        ),
        (
            &["-o", "new.img", "--recovery-key-out", "new.img"],
            "error: --output and --recovery-key-out name one file: new.img\n",
        ),
        (
            &["--report", "srk.pub"],
            "error: --report and --srk-pub name one file: srk.pub\n",
        ),
        (
            &[
                "--report",
                "recovery.key",
                "--recovery-key-file",
                "recovery.key",
            ],
            "error: --report and --recovery-key-file name one file: recovery.key\n",
        ),
    ] {
        assert_refused(&encrypted, &[&WITHOUT_PCRS[..], more].concat(), message);
    }
    assert_refused(
        &encrypted,
        &[&FLAGS[..], &["--report", "uefi-config.json"]].concat(),
        "error: --report and --uefi-config name one file: uefi-config.json\n",
    );
}
