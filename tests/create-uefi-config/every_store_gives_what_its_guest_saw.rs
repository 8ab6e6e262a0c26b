//! `--ovmf-vars`: what the store of a real guest holds is what that guest saw in efivarfs.

use std::fs;
use std::path::Path;

use firmware::{Database, UefiConfig, config::Rules};

use crate::{contents, created, gunzipped, refused, support};

const OFF: [&str; 2] = ["secure-boot-off-setup-mode", "secure-boot-off-user-mode"];

/// Debian's stores and the SHA-256 digests of PK, KEK, db, dbx in its `ms` ones.
const OVMF: &str = "/usr/share/OVMF";
const DIGESTS: [(Database, usize, &str); 4] = [
    (
        Database::Pk,
        1005,
        "fb514c4fa21477bbdb7979173141de6d852b0df3a260da6602873c1c7f9666ab",
    ),
    (
        Database::Kek,
        2565,
        "398f3cd481726ede65880109ad6d7443963c5f939c74e941973e39c5b4582095",
    ),
    (
        Database::Db,
        3143,
        "30a99e7b4cab47dd6117198711ec0aa42b413935b7fb891419dddb44139d49f1",
    ),
    (
        Database::Dbx,
        76,
        "6cc1e93b2b3f263e5442e1717348ab721230c33d9f69a7265e8480fd7f087ff9",
    ),
];

/// What a guest saw, by the name of its folder.
fn seen(folder: &Path) -> UefiConfig {
    let json = fs::read(folder.join("uefi-config.json")).unwrap();
    UefiConfig::from_json(&json, Rules::Ours).unwrap().config
}

#[test]
fn sixteen_stores_of_guests() {
    if !support::programs(&["gzip"]) {
        return;
    }
    let mut stores = 0;
    for entry in fs::read_dir(support::data("firmware")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        if !folder.join("vars-before.fd.gz").exists() {
            continue;
        }
        let scratch = support::scratch();
        fs::write(
            scratch.path().join("vars.fd"),
            gunzipped(&folder.join("vars-before.fd.gz")),
        )
        .unwrap();
        let mut arguments = vec!["--ovmf-vars", "vars.fd"];
        if OFF.contains(&name) {
            let message = refused(scratch.path(), &arguments);
            let expected = match name {
                "secure-boot-off-setup-mode" => {
                    "there is no PK, so Secure Boot is off in this guest"
                }
                _ => "Secure Boot is switched off in this guest",
            };
            assert!(
                message.starts_with(&format!("error: vars.fd: {expected}\n")),
                "{message}"
            );
            arguments.extend(["--secure-boot", "off"]);
        }
        let (config, _, _) = created(scratch.path(), &arguments);
        assert_eq!(contents(&config), contents(&seen(&folder)), "{name}");
        stores += 1;
    }
    assert_eq!(stores, 16);
}

#[test]
fn the_stores_that_debian_ships() {
    if !is_there() {
        return;
    }
    let scratch = support::scratch();
    for store in ["OVMF_VARS_4M.ms.fd", "OVMF_VARS.ms.fd"] {
        let (config, said, warned) =
            created(scratch.path(), &["--ovmf-vars", &format!("{OVMF}/{store}")]);
        for (database, len, digest) in DIGESTS {
            let content = config.content(database);
            assert_eq!(
                (content.len(), sha256(content)),
                (len, digest.to_owned()),
                "{store}"
            );
        }
        assert_eq!(
            said,
            "\
PK: 1005 bytes
  X.509    Debian UEFI Secure Boot (PK/KEK key), valid to 2029-07-05; owner 8be4df61-93ca-11d2-aa0d-00e098032b8c (EFI global variable)
KEK: 2565 bytes
  X.509    Debian UEFI Secure Boot (PK/KEK key), valid to 2029-07-05; owner a0baa8a3-041d-48a8-bc87-c36d121b5e3d (edk2 EnrollDefaultKeys)
  X.509    Microsoft Corporation KEK CA 2011, valid to 2026-06-24; owner 77fa9abd-0359-4d32-bd60-28f4e78f784b (Microsoft)
db: 3143 bytes
  X.509    Microsoft Windows Production PCA 2011, valid to 2026-10-19; owner 77fa9abd-0359-4d32-bd60-28f4e78f784b (Microsoft)
  X.509    Microsoft Corporation UEFI CA 2011, valid to 2026-06-27; owner 77fa9abd-0359-4d32-bd60-28f4e78f784b (Microsoft)
dbx: 76 bytes
  SHA-256  1 entry; owner a0baa8a3-041d-48a8-bc87-c36d121b5e3d (edk2 EnrollDefaultKeys)
omitsReadyToBootEvent: false
"
        );
        assert_eq!(
            warned,
            "warning: db holds Microsoft's UEFI CA of 2011 and not the one of 2023: a shim that is signed under the new one alone does not start\n"
        );
    }
    let (config, _, warned) = created(
        scratch.path(),
        &["--ovmf-vars", &format!("{OVMF}/OVMF_VARS_4M.snakeoil.fd")],
    );
    assert_eq!(
        Database::ALL.map(|database| config.content(database).len()),
        [935, 935, 935, 76]
    );
    assert_eq!(
        warned,
        "warning: db holds neither of Microsoft's UEFI CAs: a shim as distributions ship it does not start\n"
    );
}

#[test]
fn debians_empty_stores_are_refused() {
    if !is_there() {
        return;
    }
    for store in ["OVMF_VARS_4M.fd", "OVMF_VARS.fd"] {
        let store = format!("{OVMF}/{store}");
        let said = refused(support::scratch().path(), &["--ovmf-vars", &store]);
        let expected = format!(
            "error: {store}: an empty variable store: it holds no variables, hence no keys\n"
        );
        assert!(said.starts_with(&expected), "{said}");
    }
    let code = refused(
        support::scratch().path(),
        &["--ovmf-vars", &format!("{OVMF}/OVMF_CODE_4M.fd")],
    );
    assert!(
        code.contains("no variable store: no firmware volume has the GUID"),
        "{code}"
    );
}

#[test]
fn an_image_of_code_and_variables_is_read() {
    if !is_there() || !support::programs(&["gzip"]) {
        return;
    }
    let scratch = support::scratch();
    let store = fs::read(format!("{OVMF}/OVMF_VARS_4M.ms.fd")).unwrap();
    let code = fs::read(format!("{OVMF}/OVMF_CODE_4M.ms.fd")).unwrap();
    let expected = created(
        scratch.path(),
        &["--ovmf-vars", &format!("{OVMF}/OVMF_VARS_4M.ms.fd")],
    )
    .0;
    // Arm's file is 64 MiB long, with the volume at its start.
    let mut long = store.clone();
    long.resize(64 << 20, 0);
    for image in [
        [&store[..], &code].concat(),
        [&code[..], &store].concat(),
        long,
    ] {
        fs::write(scratch.path().join("image.fd"), image).unwrap();
        assert_eq!(
            created(scratch.path(), &["--ovmf-vars", "image.fd"]).0,
            expected
        );
    }
}

#[test]
fn a_store_in_a_qcow2_image_is_read() {
    if !is_there() || !support::programs(&["qemu-img"]) {
        return;
    }
    let scratch = support::scratch();
    let store = format!("{OVMF}/OVMF_VARS_4M.ms.fd");
    let expected = created(scratch.path(), &["--ovmf-vars", &store]).0;
    let convert = |options: &[&str]| {
        let mut command = support::command("qemu-img");
        command
            .current_dir(scratch.path())
            .args(["convert", "-O", "qcow2"])
            .args(options);
        support::run(command.args([&store, "store.qcow2"]));
    };
    for options in [
        &["-o", "cluster_size=64k"][..],
        &["-o", "cluster_size=4k"],
        &["-o", "cluster_size=512"],
        &["-o", "compat=0.10"],
        &["-c"],
        &["-c", "-o", "compression_type=zstd"],
    ] {
        convert(options);
        assert_eq!(
            created(scratch.path(), &["--ovmf-vars", "store.qcow2"]).0,
            expected,
            "{options:?}"
        );
    }
}

#[test]
fn a_qcow2_image_that_cannot_be_followed_is_refused_in_one_line() {
    if !is_there() || !support::programs(&["qemu-img"]) {
        return;
    }
    let scratch = support::scratch();
    let store = format!("{OVMF}/OVMF_VARS_4M.ms.fd");
    let qemu_img = |arguments: &[&str]| {
        let mut command = support::command("qemu-img");
        support::run(command.current_dir(scratch.path()).args(arguments));
    };
    let refused = || {
        let text = refused(scratch.path(), &["--ovmf-vars", "store.qcow2"]);
        let text = text.strip_prefix("error: store.qcow2: ").unwrap();
        text.to_owned()
    };
    let hint = "hint: qemu-img convert -f qcow2 -O raw store.qcow2 store.qcow2.raw\n";
    for (options, what) in [
        ("extended_l2=on", "extended L2 entries"),
        ("data_file=data", "a data file beside it"),
    ] {
        let convert = ["convert", "-O", "qcow2", "-o", options];
        qemu_img(&[&convert[..], &[&store, "store.qcow2"]].concat());
        assert_eq!(
            refused(),
            format!("the qcow2 image cannot be read: it has {what}, which is not read\n{hint}")
        );
    }
    let create = ["create", "-q", "-f", "qcow2"];
    let secret = ["--object", "secret,id=key,data=test-only"];
    // Not the format "luks": its key derivation is timed first, which fails where a processor is shared.
    let aes = "encrypt.format=aes,encrypt.key-secret=key";
    qemu_img(&[&create[..], &secret, &["-o", aes, "store.qcow2", "1M"]].concat());
    assert_eq!(
        refused(),
        format!("the qcow2 image cannot be read: it has encryption, which is not read\n{hint}")
    );
    qemu_img(&[&create[..], &["-b", &store, "-F", "raw", "store.qcow2"]].concat());
    assert_eq!(
        refused(),
        format!(
            "the qcow2 image cannot be read: it holds the changes to a backing file, \"{store}\"\n{hint}"
        )
    );
    qemu_img(&[&create[..], &["store.qcow2", "268435968"]].concat());
    assert_eq!(
        refused(),
        "no variable store: 268435968 bytes, where a store's file has 256 MiB at most\n"
    );
}

#[test]
fn a_qcow2_image_that_is_damaged_is_refused_in_one_line() {
    if !support::programs(&["qemu-img"]) {
        return;
    }
    let scratch = support::scratch();
    let [raw, image] = ["raw", "store.qcow2"].map(|name| scratch.path().join(name));
    fs::write(&raw, vec![7; 1 << 20]).unwrap();
    // Changes an image, given where its L1 and its L2 table lie. qemu-img puts the data behind them.
    let refused_with = |options: &[&str], change: &dyn Fn(&mut Vec<u8>, [usize; 2])| {
        let mut convert = support::command("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "qcow2"]);
        support::run(convert.args(options).args([&raw, &image]));
        let mut bytes = fs::read(&image).unwrap();
        let offset = |at: usize| {
            let entry = u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
            usize::try_from(entry & 0x00ff_ffff_ffff_fe00).unwrap()
        };
        let l1 = offset(40);
        let l2 = offset(l1);
        change(&mut bytes, [l1, l2]);
        fs::write(&image, bytes).unwrap();
        let text = refused(scratch.path(), &["--ovmf-vars", "store.qcow2"]);
        let text = text.strip_prefix("error: store.qcow2: the qcow2 image is damaged: ");
        (text.unwrap().to_owned(), l2)
    };
    let (text, l2) = refused_with(&[], &|bytes, [l1, _]| bytes[l1 + 6] |= 2);
    assert_eq!(
        text,
        format!(
            "cannot read at offset {}: the cluster at 0 of the disk is said to lie where none can begin\n",
            l2 | 512
        )
    );
    let (text, l2) = refused_with(&[], &|bytes, [_, l2]| bytes.truncate(l2 + 65536));
    let end = l2 + 65536;
    assert_eq!(
        text,
        format!("1048576 bytes at offset {end} reach beyond the end at {end}\n")
    );
    let (text, l2) = refused_with(&["-c"], &|bytes, [_, l2]| bytes[l2 + 65536..].fill(0xa5));
    assert_eq!(
        text,
        format!(
            "cannot read at offset {}: a compressed piece of the disk is damaged\n",
            l2 + 65536
        )
    );
}

pub fn is_there() -> bool {
    if Path::new(OVMF).join("OVMF_VARS_4M.ms.fd").exists() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "CI lacks the package ovmf"
    );
    eprintln!("SKIPPED: the package ovmf is not installed (cargo xtask test installs it)");
    false
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}
