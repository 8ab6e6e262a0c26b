//! A small encrypted image with boot files that a prediction can be made for, in the folder of an ordinary user.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use firmware::config::Rules;
use firmware::{Database, SignatureList, UefiConfig};
use uuid::Uuid;

use crate::data::{self, Case, Cases};
use crate::support::container::{Container, HEADER_BYTES};
use crate::support::disk::{self, Disk};
use crate::support::workshop::{Workshop, give_away, is_root};
use crate::support::{command, exits, files, programs, run, scratch};

/// Number of the root partition.
pub const ROOT: u32 = 1;
/// Number of the EFI system partition.
pub const ESP: u32 = 15;
/// The sealed key on the EFI system partition.
pub const SEALED_KEY: &str = "device/fde/cloudimg-rootfs.sealed-key";
/// The template on the EFI system partition.
pub const TEMPLATE: &str = "tpm2-srk.tmpl";

/// A complete command line, without the image.
pub const FLAGS: [&str; 7] = [
    "--srk-pub",
    "srk.pub",
    "--uefi-config",
    "uefi-config.json",
    "--add-efi-boot-manager-profile",
    "--add-efi-secure-boot-profile",
    "--add-ubuntu-kernel-profile",
];

/// One that needs no prediction.
pub const WITHOUT_PCRS: [&str; 3] = ["--srk-pub", "srk.pub", "--no-pcr-policy"];

pub fn ready() -> bool {
    programs(&[
        "mkfs.vfat",
        "fsck.vfat",
        "mcopy",
        "mmd",
        "mdel",
        "sgdisk",
        "mke2fs",
    ]) && programs(&["cryptsetup", "setpriv", "gzip", "python3"])
}

/// The files of the prediction's case.
pub fn case() -> Case {
    let cases: Cases = data::json("vectors/cases.json");
    let mut cases = cases.cases.into_iter();
    cases.find(|case| case.name == "flags-all").unwrap()
}

/// The public area of the software key as the standard template makes it: with `noda`.
pub fn standard_srk() -> Vec<u8> {
    let mut public = fs::read(soft_srk("soft-rsa")).unwrap();
    // size, type, nameAlg, then objectAttributes; noda is bit 10.
    assert_eq!(public[6..10], [0, 3, 0, 0x72]);
    public[8] |= 4;
    public
}

/// A folder with `disk.img`, which is encrypted, `srk.pub` and `uefi-config.json`.
pub struct Encrypted {
    pub workshop: Workshop,
    pub image: PathBuf,
    pub clear_key: Vec<u8>,
}

impl Encrypted {
    pub fn new() -> Self {
        let workshop = Workshop::new();
        let kept = kept();
        let image = workshop.put(&kept.image.path(), "disk.img");
        workshop.write("srk.pub", &fs::read(soft_srk("soft-rsa")).unwrap());
        workshop.write("uefi-config.json", &kept.configuration);
        Self {
            workshop,
            image,
            clear_key: kept.clear_key.clone(),
        }
    }

    /// The same before it is encrypted.
    pub fn plain() -> Self {
        let this = Self::new();
        fs::remove_file(&this.image).unwrap();
        this.workshop.put(&kept().plain.path(), "disk.img");
        this
    }

    /// The same image, encrypted with `--profile generic`.
    pub fn generic() -> Self {
        Self::encrypted_with(&["--profile", "generic"])
    }

    /// The same image with holes where its filesystem uses no blocks.
    pub fn with_holes() -> Self {
        Self::encrypted_with(&["--free-space", "skip"])
    }

    /// The same image, encrypted with these options.
    fn encrypted_with(options: &[&str]) -> Self {
        let mut this = Self::plain();
        let plain = this.workshop.path("plain.img");
        fs::rename(&this.image, &plain).unwrap();
        let mut encrypt = this.workshop.encrypt();
        encrypt.args(options).args(["-o", "disk.img"]);
        exits(encrypt.arg("plain.img"), 0);
        fs::remove_file(plain).unwrap();
        this.clear_key = this.container().unlock_key();
        this
    }

    /// A folder with the same files, but for the image, which is nowhere yet.
    pub fn beside(&self) -> Self {
        let workshop = Workshop::new();
        for name in self.workshop.names() {
            if self.workshop.path(&name) != self.image {
                workshop.put(&self.workshop.path(&name), &name);
            }
        }
        Self {
            image: workshop.path("disk.img"),
            clear_key: self.clear_key.clone(),
            workshop,
        }
    }

    /// A folder with the same files, and a copy of the image.
    pub fn copied(&self) -> Self {
        let copy = self.beside();
        copy.workshop.put(&self.image, "disk.img");
        copy
    }

    /// Puts a header of cryptsetup's own making into the place of the container's, with the same clear key: two copies
    /// of 16 KiB.
    pub fn with_header_of_cryptsetup(&self) {
        let folder = scratch();
        let (key, token) = (folder.path().join("key"), folder.path().join("token"));
        let container = folder.path().join("container");
        fs::write(&key, &self.clear_key).unwrap();
        let text = format!(
            r#"{{"type":"ubuntu-fde-cloudimg-key","keyslots":["0"],"ubuntu_fde_cloudimg_key":"{}"}}"#,
            STANDARD.encode(&self.clear_key)
        );
        fs::write(&token, text).unwrap();
        let range = self.table().byte_range(ROOT);
        let file = fs::File::create_new(&container).unwrap();
        file.set_len(range.end - range.start).unwrap();
        run(command("cryptsetup")
            .args([
                "-q",
                "luksFormat",
                "--type=luks2",
                "--label=cloudimg-rootfs-enc",
            ])
            .args(["--cipher=aes-xts-plain64", "--key-size=512", "--key-slot=0"])
            .args([
                "--pbkdf=pbkdf2",
                "--pbkdf-force-iterations=1000",
                "--key-file",
            ])
            .arg(&key)
            .arg(&container));
        run(command("cryptsetup")
            .args(["token", "import", "--json-file"])
            .arg(&token)
            .arg(&container));
        let (from, to) = (files::open(&container).0, files::open_to_write(&self.image));
        files::copy(&from, 0..HEADER_BYTES, &to, range.start);
    }

    /// `encrypt-cloud-image deploy` with these arguments, in the folder.
    pub fn deploy(&self, arguments: &[&str]) -> Command {
        let mut command = self.workshop.command(self.workshop.program());
        command.arg("deploy").args(arguments);
        command
    }

    /// Deploys `disk.img`.
    #[track_caller]
    pub fn deployed(self, arguments: &[&str]) -> Self {
        exits(self.deploy(arguments).arg("disk.img"), 0);
        self
    }

    pub fn table(&self) -> Disk {
        disk::read(&self.image)
    }

    /// The container, on a copy that cryptsetup may mend.
    #[track_caller]
    pub fn container(&self) -> Container {
        Container::open(&self.image, &self.table(), ROOT)
    }

    /// Puts the header and the keyslots of the container on disk that cryptsetup has changed.
    pub fn put_back(&self, container: &Container) {
        let start = self.table().byte_range(ROOT).start;
        let len = usize::try_from(crate::support::container::HEADER_BYTES).unwrap();
        let bytes = files::read(&container.header, 0, len);
        files::write(&self.image, start, &bytes);
    }

    /// The EFI system partition of `disk.img`.
    pub fn esp(&self) -> Esp {
        Esp::of(&self.image)
    }

    /// Puts other kernels beside a shim of the tests' keys, for which `uefi-config.json` then is.
    pub fn boots(&self, kernels: &[BootFile]) {
        let configuration = data::content("vectors/uefi/std.json");
        self.workshop.write("uefi-config.json", &configuration);
        self.boots_by(&data::content("vectors/pe/shim-std.efi"), kernels);
    }

    /// `uefi-config.json` with this certificate in db as well.
    pub fn trusts(&self, certificate: &[u8]) {
        self.lists(Database::Db, certificate);
    }

    /// The same for any database.
    pub fn lists(&self, database: Database, certificate: &[u8]) {
        let path = self.workshop.path("uefi-config.json");
        let text = fs::read(&path).unwrap();
        let mut configuration = UefiConfig::from_json(&text, Rules::Ours).unwrap().config;
        let list = SignatureList::x509(Uuid::from_u128(7), certificate).unwrap();
        let lists = [configuration.content(database), &list.to_bytes()].concat();
        configuration.set(database, Some(lists));
        fs::write(path, configuration.to_json()).unwrap();
    }

    /// Puts this shim and these kernels in the place of those that are there.
    pub fn boots_by(&self, shim: &[u8], kernels: &[BootFile]) {
        self.change_esp(
            "mdel",
            &["::/EFI/ubuntu/*.efi", "::/EFI/ubuntu/kernel.efi-*"],
        );
        let shim = ("shimx64.efi".to_owned(), shim.to_vec());
        let folder = self.workshop.path("boot");
        fs::create_dir(&folder).unwrap();
        let mut files = vec!["-o".to_owned()];
        for (name, bytes) in std::iter::once(&shim).chain(kernels) {
            fs::write(folder.join(name), bytes).unwrap();
            files.push(folder.join(name).display().to_string());
        }
        files.push("::/EFI/ubuntu".to_owned());
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        self.change_esp("mcopy", &files);
        fs::remove_dir_all(folder).unwrap();
    }

    /// Changes the EFI system partition by mtools.
    pub fn change_esp(&self, program: &str, arguments: &[&str]) {
        let esp = self.esp();
        run(esp.mtools(program).args(arguments));
        let (from, len_bytes) = files::open(&esp.path);
        let start = self.table().byte_range(ESP).start;
        let to = files::open_to_write(&self.image);
        files::copy(&from, 0..len_bytes, &to, start);
    }
}

/// A file for the directory of the shim: its name and its bytes.
pub type BootFile = (String, Vec<u8>);

/// An EFI system partition in a file of its own.
pub struct Esp {
    _folder: tempfile::TempDir,
    pub path: PathBuf,
}

impl Esp {
    pub fn of(image: &Path) -> Self {
        let folder = scratch();
        let path = folder.path().join("esp");
        crate::support::judge::extract(image, &disk::read(image), ESP, &path);
        Self {
            _folder: folder,
            path,
        }
    }

    pub fn mtools(&self, program: &str) -> Command {
        let mut mtools = command(program);
        mtools
            .env("MTOOLS_SKIP_CHECK", "1")
            .arg("-i")
            .arg(&self.path);
        mtools
    }

    /// The bytes of every file by its path.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let listing = run(self.mtools("mdir").args(["-/", "-b", "::"]));
        let paths = listing.lines().map(|path| path.trim_start_matches("::/"));
        paths
            .filter(|path| !path.ends_with('/') && !path.is_empty())
            .map(|path| {
                let mut copy = self.mtools("mcopy");
                let output = exits(copy.arg(format!("::/{path}")).arg("-"), 0);
                (path.to_owned(), output.stdout)
            })
            .collect()
    }

    #[track_caller]
    pub fn assert_clean(&self) {
        exits(command("fsck.vfat").arg("-n").arg(&self.path), 0);
    }

    /// `fsck.vfat -a` mends what there is to mend, and leaves nothing behind.
    #[track_caller]
    pub fn assert_mendable(&self) {
        let mut fsck = command("fsck.vfat");
        let mended = fsck.arg("-a").arg(&self.path).output().unwrap();
        assert!(matches!(mended.status.code(), Some(0 | 1)), "{mended:?}");
        self.assert_clean();
    }
}

/// A software storage parent whose private half is known.
pub fn soft_srk(name: &str) -> PathBuf {
    crate::support::data(&format!("sealed/{name}.pub"))
}

/// Opens a sealed key with the private half of a software parent, by a program that shares no code with ours.
pub fn open_offline(sealed: &[u8], parent: &str, composites: &[String]) -> Vec<u8> {
    let folder = scratch();
    let file = folder.path().join("sealed");
    fs::write(&file, sealed).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seal/open_offline.py");
    let mut python = command("python3");
    python
        .arg(script)
        .arg(&file)
        .arg(crate::support::data("sealed/parents-test-only.json"))
        .arg(parent)
        .args(composites);
    hex::decode(run(&mut python).trim()).unwrap()
}

/// An image that lasts as long as this process: its file has no name, so no other run can take it away or put another one
/// into its place, and nobody has to remove it.
struct KeptImage(fs::File);

impl KeptImage {
    /// Takes its name away.
    fn of(file: &Path) -> Self {
        let kept = files::open(file).0;
        fs::remove_file(file).unwrap();
        Self(kept)
    }

    /// Where this process finds it.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

struct Kept {
    plain: KeptImage,
    image: KeptImage,
    clear_key: Vec<u8>,
    configuration: Vec<u8>,
}

/// The encrypted image, made once a run.
fn kept() -> &'static Kept {
    static KEPT: OnceLock<Kept> = OnceLock::new();
    KEPT.get_or_init(|| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let case = case();
        let plain = folder.path().join("plain.img");
        build(folder.path(), &case, &plain);
        let image = folder.path().join("encrypted.img");
        let mut encrypt = Command::new(env!("CARGO_BIN_EXE_encrypt-cloud-image"));
        encrypt.env("SOURCE_DATE_EPOCH", "1700000000");
        exits(encrypt.arg("encrypt").arg("-o").arg(&image).arg(&plain), 0);
        let container = Container::open(&image, &disk::read(&image), ROOT);
        let key = container.unlock_key();
        let configuration = case.uefi_config.clone().unwrap();
        Kept {
            plain: KeptImage::of(&plain),
            image: KeptImage::of(&image),
            clear_key: key,
            configuration: data::content(&format!("vectors/{configuration}")),
        }
    })
}

fn build(folder: &Path, case: &Case, image: &Path) {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("etc/cloud/cloud.cfg.d")).unwrap();
    fs::create_dir_all(tree.join("etc/systemd/system")).unwrap();
    let root = folder.join("root");
    fs::File::create(&root).unwrap().set_len(8 << 20).unwrap();
    run(command("mke2fs")
        .args([
            "-q", "-t", "ext4", "-b", "1024", "-J", "size=1", "-N", "128", "-d",
        ])
        .arg(&tree)
        .arg(&root));
    let files_of_esp = folder.join("esp-files");
    case.lay_out(&files_of_esp);
    fs::write(
        files_of_esp.join("EFI/ubuntu/a longer name.cfg"),
        b"not ours",
    )
    .unwrap();
    let esp = folder.join("esp");
    fs::File::create(&esp).unwrap().set_len(34 << 20).unwrap();
    run(command("mkfs.vfat")
        .args(["-F", "32", "-s", "1", "-n", "UEFI"])
        .arg(&esp));
    run(command("mcopy")
        .args(["-s", "-i"])
        .arg(&esp)
        .arg(files_of_esp.join("EFI"))
        .arg("::"));
    fs::File::create(image).unwrap().set_len(45 << 20).unwrap();
    run(command("sgdisk")
        .args([
            "--new=15:1M:+34M",
            "--typecode=15:EF00",
            "--new=1:36M:+8M",
            "--typecode=1:8300",
        ])
        .arg(image));
    let to = files::open_to_write(image);
    for (part, start) in [(esp, 1 << 20), (root, 36 << 20)] {
        let (from, len_bytes) = files::open(&part);
        files::copy(&from, 0..len_bytes, &to, start);
    }
    if is_root() {
        give_away(image);
    }
}

/// Texts in which a key could hide: raw, in hexadecimal of both cases, in base64.
pub fn disguises(key: &[u8]) -> Vec<Vec<u8>> {
    let base64 = STANDARD.encode(key);
    vec![
        key.to_vec(),
        hex::encode(key).into_bytes(),
        hex::encode_upper(key).into_bytes(),
        base64.trim_end_matches('=').as_bytes().to_vec(),
    ]
}

/// The offset of the first place in a file where a key stands in one of its disguises.
pub fn find_key(file: &Path, key: &[u8]) -> Option<u64> {
    disguises(key)
        .iter()
        .find_map(|text| files::find(file, text))
}
