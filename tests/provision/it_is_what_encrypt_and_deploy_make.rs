//! A provisioned image is the one that `encrypt` and `deploy` make one after the other, but for its keys.

use serde_json::Value;

use crate::data;
use crate::encrypted::{ESP, Encrypted, FLAGS, ROOT, SEALED_KEY, ready};
use crate::plain::{Made, Plain};
use crate::support::container::Container;
use crate::support::workshop::{stderr, stdout};
use crate::support::{command, disk, exits, files, programs, run};

/// The decrypted filesystem of what `encrypt` makes with these flags.
fn encrypted(plain: &Plain, flags: &[&str]) -> Vec<u8> {
    let mut encrypt = plain.workshop().encrypt();
    encrypt.args(flags);
    exits(
        encrypt.args(["--overwrite", "-o", "encrypted.img", "plain.img"]),
        0,
    );
    let image = plain.path("encrypted.img");
    let key = Container::open(&image, &disk::read(&image), ROOT).unlock_key();
    Made::of(image).decrypted(&key)
}

/// The text of the growpart key's file in a filesystem, taken out of it.
fn without_growpart_key(mut filesystem: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    const START: &[u8] = b"{\"key\":\"";
    let at = files::find_in(&filesystem, START).unwrap();
    let key = filesystem[at..at + 64].to_vec();
    filesystem[at..at + 64].fill(0);
    (filesystem, key)
}

#[test]
fn the_filesystem_is_the_one_that_encrypt_writes() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let source = files::digest(&plain.path("plain.img"));
    // Without a growpart key nothing in the filesystem is random.
    let made = plain.provisioned(&[&FLAGS[..], &["--grow-root"]].concat());
    let composites = plain.composites("guest.img", &FLAGS[2..]);
    let key = made.unsealed(&composites);
    assert!(made.decrypted(&key) == encrypted(&plain, &["--grow-root"]));

    let made = plain.provisioned(&[&FLAGS[..], &["--overwrite"]].concat());
    let key = made.unsealed(&composites);
    let (filesystem, growpart) = without_growpart_key(made.decrypted(&key));
    let (expected, other) = without_growpart_key(encrypted(&plain, &[]));
    assert!(filesystem == expected);
    assert_ne!(growpart, other);
    assert_eq!(files::digest(&plain.path("plain.img")), source);
}

#[test]
fn everything_outside_of_the_root_is_alike() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let made = plain.provisioned(&FLAGS);
    let deployed = Encrypted::new().deployed(&FLAGS);
    let (one, other) = (files::open(&made.path).1, files::open(&deployed.image).1);
    assert_eq!(one, other);
    let table = deployed.table();
    let (root, esp) = (table.byte_range(ROOT), table.byte_range(ESP));
    for range in [0..esp.start, esp.end..root.start, root.end..one] {
        let len = usize::try_from(range.end - range.start).unwrap();
        let read = |path| files::read(path, range.start, len);
        assert!(read(&made.path) == read(&deployed.image), "{range:?}");
    }
    let mut files_of_esp = [made.esp.files(), deployed.esp().files()];
    let sealed = files_of_esp.each_mut().map(|files| {
        let sealed = files.remove(SEALED_KEY).unwrap();
        sealed.len()
    });
    assert_eq!(sealed[0], sealed[1]);
    assert!(files_of_esp[0] == files_of_esp[1]);
}

#[test]
fn the_header_has_the_same_form() {
    if !ready() {
        return;
    }
    let made = Plain::new().provisioned(&FLAGS);
    let deployed = Encrypted::new().deployed(&FLAGS).container();
    let form = |metadata: &Value| {
        let mut metadata = metadata.clone();
        // What is random in it.
        for keyslot in metadata["keyslots"].as_object_mut().unwrap().values_mut() {
            keyslot["kdf"]["salt"].take();
        }
        metadata["digests"]["0"]["salt"].take();
        metadata["digests"]["0"]["digest"].take();
        metadata
    };
    assert_eq!(form(&made.container.metadata), form(&deployed.metadata));
    assert_eq!(made.container.metadata["tokens"], serde_json::json!({}));
}

#[test]
fn the_policy_is_the_same() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let report = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(plain.path(name)).unwrap()).unwrap()
    };
    plain.provisioned(&[&FLAGS[..], &["--report", "one.json"]].concat());
    let deploy = [&FLAGS[..], &["--report", "two.json", "disk.img"]].concat();
    exits(&mut plain.encrypted.deploy(&deploy), 0);
    let (one, two) = (report("one.json"), report("two.json"));
    for member in ["policy", "srk", "key_object", "disk"] {
        assert_eq!(one[member], two[member], "{member}");
    }
}

/// The boot file that `--kernel-efi` brings is the one that the key is sealed to.
#[test]
fn a_new_kernel_is_what_the_key_is_sealed_to() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let before = plain.composites("plain.img", &FLAGS[2..]);
    let kernel = data::content("vectors/pe/kernel-db-a.efi");
    plain.workshop().write("kernel.efi", &kernel);
    let made = plain.provisioned(&[&FLAGS[..], &["--kernel-efi", "kernel.efi"]].concat());
    assert!(made.esp.files()["EFI/ubuntu/grubx64.efi"] == kernel);
    let after = plain.composites("guest.img", &FLAGS[2..]);
    assert_eq!((before.len(), after.len()), (2, 3));
    let key = made.unsealed(&after);
    assert_eq!(made.container.test_key(0, &key), 0);
}

#[test]
fn a_fixed_vhd_can_be_made() {
    if !ready() || !programs(&["qemu-img"]) {
        return;
    }
    let plain = Plain::new();
    let arguments = [&FLAGS[..], &["-o", "guest.vhd", "plain.img"]].concat();
    exits(&mut plain.provision(&arguments), 0);
    let vhd = plain.path("guest.vhd");
    let raw = plain.path("guest.img");
    let mut convert = command("qemu-img");
    convert.args(["convert", "-f", "vpc", "-O", "raw"]);
    run(convert.arg(&vhd).arg(&raw));
    let made = Made::of(raw);
    let key = made.unsealed(&plain.composites("guest.vhd", &FLAGS[2..]));
    assert_eq!(made.container.test_key(0, &key), 0);
}

/// Every source that `encrypt` takes; several guests read it through one reader.
#[test]
fn a_qcow2_can_be_the_source() {
    if !ready() || !programs(&["qemu-img"]) {
        return;
    }
    let plain = Plain::new();
    let mut convert = plain.workshop().command("qemu-img");
    convert.args(["convert", "-O", "qcow2", "-c", "plain.img", "plain.qcow2"]);
    run(&mut convert);
    let line = |name| format!("{{\"output\": \"{name}.img\", \"srk_pub\": \"srk.pub\"}}\n");
    let guests: String = ["one", "two"].into_iter().map(line).collect();
    plain.workshop().write("guests.jsonl", guests.as_bytes());
    let guests = [
        "--grow-root",
        "--output-format",
        "raw",
        "--guests",
        "guests.jsonl",
    ];
    let arguments = [&FLAGS[2..], &guests, &["plain.qcow2"]].concat();
    exits(&mut plain.provision(&arguments), 0);
    let expected = encrypted(&plain, &["--grow-root"]);
    for name in ["one.img", "two.img"] {
        let made = Made::of(plain.path(name));
        let key = made.unsealed(&plain.composites(name, &FLAGS[2..]));
        assert!(made.decrypted(&key) == expected, "{name}");
    }
}

/// Makes `plain.img` a packed file.
fn pack(plain: &Plain, program: &[&str], name: &str) {
    let mut pack = plain.workshop().command(program[0]);
    pack.args(&program[1..]).arg("plain.img");
    let packed = exits(&mut pack, 0).stdout;
    plain.workshop().write(name, &packed);
    std::fs::remove_file(plain.path("plain.img")).unwrap();
}

const NOTICE: &str = "its plain bytes pass through a file without a name in ";

#[test]
fn a_packed_image_can_be_the_source() {
    if !ready() || !programs(&["gzip"]) {
        return;
    }
    let plain = Plain::new();
    let expected = encrypted(&plain, &["--grow-root"]);
    pack(&plain, &["gzip", "-1c"], "plain.gz");
    let names = plain.workshop().names();
    let arguments = ["--grow-root", "--report", "report.json", "-o", "guest.img"];
    let arguments = [&FLAGS[..], &arguments, &["plain.gz"]].concat();
    let mut look = plain.provision(&arguments);
    let told = stdout(&exits(look.arg("--dry-run"), 0));
    let source = "source      plain.gz, raw packed (gzip), 45.0 MiB\n";
    assert!(told.starts_with(source), "{told}");
    assert_eq!(plain.workshop().names(), names);

    let told = stderr(&exits(&mut plain.provision(&arguments), 0));
    let notice = format!("notice: the source is packed (gzip): {NOTICE}.\n");
    assert!(told.starts_with(&notice), "{told}");
    let made = Made::of(plain.path("guest.img"));
    let key = made.unsealed(&plain.composites("guest.img", &FLAGS[2..]));
    assert!(made.decrypted(&key) == expected);
    let report: Value =
        serde_json::from_slice(&std::fs::read(plain.path("report.json")).unwrap()).unwrap();
    let digest = run(command("sha256sum").arg(plain.path("plain.gz")));
    assert_eq!(report["input"]["sha256"], digest[..64]);

    // What can be refused is, before anything is unpacked.
    let told = stderr(&exits(&mut plain.provision(&arguments), 1));
    assert!(!told.contains("notice: "), "{told}");
    assert!(told.contains("error: guest.img: the output exists already\n"));
}

/// The plain bytes lie beside the first output whose place does, and are unpacked once.
#[test]
fn a_packed_image_can_be_the_source_of_many() {
    if !ready() || !programs(&["xz"]) {
        return;
    }
    let plain = Plain::new();
    let expected = encrypted(&plain, &["--grow-root"]);
    pack(&plain, &["xz", "-0c"], "plain.xz");
    let folder = plain.workshop().write("made", b"");
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    crate::support::workshop::give_away(&folder);
    let guest = |output: &str| format!("{{\"output\": \"{output}\", \"srk_pub\": \"srk.pub\"}}\n");
    let bad = ["srk.pub/x.img", "none/y.img"];
    let good: Vec<_> = (0..17).map(|number| format!("made/{number}.img")).collect();
    let all = bad.into_iter().chain(good.iter().map(String::as_str));
    let guests: String = all.map(guest).collect();
    plain.workshop().write("guests.jsonl", guests.as_bytes());
    let arguments = ["--grow-root", "--guests", "guests.jsonl", "plain.xz"];
    let arguments = [&FLAGS[2..], &arguments].concat();
    let told = stderr(&exits(&mut plain.provision(&arguments), 4));
    assert_eq!(told.matches("notice: ").count(), 1, "{told}");
    assert!(told.starts_with(&format!(
        "notice: the source is packed (xz): {NOTICE}made\n"
    )));
    assert!(told.ends_with("error: guests.jsonl: 2 of 19 guests failed\n"));
    let mut made = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(made, 17);
    made -= 1;
    for name in [&good[0], &good[made]] {
        let made = Made::of(plain.path(name));
        let key = made.unsealed(&plain.composites(name, &FLAGS[2..]));
        assert!(made.decrypted(&key) == expected, "{name}");
    }

    // Where no place does, the first one is told.
    plain
        .workshop()
        .write("guests.jsonl", guest(bad[1]).as_bytes());
    let told = stderr(&exits(&mut plain.provision(&arguments), 1));
    assert_eq!(
        told,
        "error: none/y.img: the output's directory none does not exist\n"
    );
}

/// The changes lie in one file, the rest in another one that is named.
#[test]
fn an_image_above_another_one_can_be_the_source() {
    if !ready() || !programs(&["qemu-img"]) {
        return;
    }
    let plain = Plain::new();
    let expected = encrypted(&plain, &["--grow-root"]);
    std::fs::rename(plain.path("plain.img"), plain.path("base")).unwrap();
    let mut create = plain.workshop().command("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw"]);
    run(create.arg("top.qcow2"));
    let guests = "{\"output\": \"one.img\", \"srk_pub\": \"srk.pub\"}\n\
                  {\"output\": \"two.img\", \"srk_pub\": \"srk.pub\"}\n";
    plain.workshop().write("guests.jsonl", guests.as_bytes());
    let above = ["--grow-root", "--backing-file", "base", "top.qcow2"];
    let many = ["--guests", "guests.jsonl"];
    let guest = [&FLAGS[..], &["-o", "guest.img"], &above].concat();
    exits(&mut plain.provision(&guest), 0);
    let guests = [&FLAGS[2..], &many, &above].concat();
    exits(&mut plain.provision(&guests), 0);
    for name in ["guest.img", "one.img", "two.img"] {
        let made = Made::of(plain.path(name));
        let key = made.unsealed(&plain.composites(name, &FLAGS[2..]));
        assert!(made.decrypted(&key) == expected, "{name}");
    }
    let above = [&FLAGS[2..], &["--backing-file", "base"]].concat();
    assert_eq!(
        plain.composites("top.qcow2", &above),
        plain.composites("base", &FLAGS[2..])
    );

    let onto = ["--backing-file", "base", "-o", "base", "top.qcow2"];
    let onto = [&FLAGS[..], &onto].concat();
    let told = stderr(&exits(&mut plain.provision(&onto), 1));
    assert_eq!(
        told,
        "error: --output and --backing-file name one file: base\n"
    );
}

#[test]
fn the_plan_is_shown_and_nothing_written() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let names = plain.workshop().names();
    let arguments = [&FLAGS[..], &["--dry-run", "-o", "guest.img", "plain.img"]].concat();
    let output = exits(&mut plain.provision(&arguments), 0);
    let text = stdout(&output);
    for line in [
        "source      plain.img, raw, 45.0 MiB",
        "sealed to   PCR 4, 7, 12, as they are after a boot of ",
        "keyslot 0   the key that is sealed to the vTPM",
        "keyslot 10  the growpart key, removed by cloud-init at the first boot",
        "  ESP:device/fde/cloudimg-rootfs.sealed-key: ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("in clear"), "{text}");
    assert!(!stderr(&output).contains("a run is refused"));
    assert_eq!(plain.workshop().names(), names);
}
