//! `--profile`: Ubuntu's habits for Ubuntu's images, none for others, and `auto` says what it chose.

use std::path::{Path, PathBuf};

use crate::conversion::{decrypted_tree, edit_root};
use crate::support::container::Container;
use crate::support::ext4::{self, Change, Tree};
use crate::support::image::{ROOT, Shape, image};
use crate::support::judge::{self, MASKED};
use crate::support::workshop::{Workshop, refused, stderr, stdout};
use crate::support::{command, disk, exits, run, scratch};

/// A Tiny image that was edited, and what `encrypt` made of it.
struct Encrypted {
    workshop: Workshop,
    talk: String,
    before: Tree,
}

impl Encrypted {
    #[track_caller]
    fn new(script: &str, options: &[&str]) -> Self {
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        edit_root(&source, script);
        let mut encrypt = workshop.encrypt();
        encrypt.args(options);
        let output = exits(encrypt.args(["-o", "output.img", "source.img"]), 0);
        let folder = scratch();
        let root = folder.path().join("root");
        judge::extract(&source, &image(Shape::Tiny).table, ROOT, &root);
        Self {
            talk: stderr(&output),
            before: ext4::read(&root),
            workshop,
        }
    }

    fn image(&self) -> PathBuf {
        self.workshop.path("output.img")
    }

    fn container(&self) -> Container {
        Container::open(&self.image(), &disk::read(&self.image()), ROOT)
    }

    /// What changed in the root filesystem besides `changes`.
    fn other_changes(&self, changes: &[(&'static str, Change)]) -> Vec<String> {
        ext4::differences(&self.before, &decrypted_tree(&self.image()), changes, false)
    }

    #[track_caller]
    fn assert_is_ubuntu(&self) {
        let container = self.container();
        assert!(
            container
                .dump()
                .contains("Label:         \tcloudimg-rootfs-enc\n")
        );
        assert!(container.metadata["keyslots"].get("10").is_some());
        let changes = [
            ("/", Change::Touched),
            (judge::GROWPART_KEY, Change::File(0o600)),
            ("/etc/systemd/system", Change::Touched),
            (MASKED, Change::Link("/dev/null")),
        ];
        assert_eq!(self.other_changes(&changes), [""; 0]);
    }

    #[track_caller]
    fn assert_is_generic(&self) {
        let container = self.container();
        let dump = container.dump();
        assert!(dump.contains("Label:         \t(no label)\n"), "{dump}");
        let keyslots = container.metadata["keyslots"].as_object().unwrap();
        assert_eq!(keyslots.keys().collect::<Vec<_>>(), ["0"]);
        assert_eq!(self.other_changes(&[]), [""; 0]);
        // The pool's key is there all the same: the image is not deployed.
        assert_eq!(container.test_key(0, &container.unlock_key()), 0);
    }
}

/// Another os-release in place of the one in `/etc`.
fn os_release(folder: &Path, content: &str) -> String {
    let file = folder.join("os-release");
    std::fs::write(&file, content).unwrap();
    format!(
        "rm /etc/os-release\nwrite {} /etc/os-release\n",
        file.display()
    )
}

#[test]
fn auto_goes_by_what_the_image_says_of_itself() {
    if !crate::can_judge() {
        return;
    }
    let folder = scratch();
    let folder = folder.path();
    let ubuntu = [
        ("", "ubuntu (/etc/os-release says ID=ubuntu)"),
        (
            &*os_release(folder, "NAME=x\nID=\"mint\"\nID_LIKE=\"ubuntu debian\"\n"),
            "ubuntu (/etc/os-release says ID=mint)",
        ),
        (
            "rm /etc/os-release\n",
            "ubuntu (the image has no /etc/os-release)",
        ),
        (
            "rm /etc/os-release\nsymlink /etc/os-release /nowhere\n",
            "ubuntu (the image has no /etc/os-release)",
        ),
        (
            "rm /etc/os-release\nmkdir /etc/os-release\n",
            "ubuntu (the image has no /etc/os-release)",
        ),
    ];
    for (script, chosen) in ubuntu {
        let encrypted = Encrypted::new(script, &[]);
        let line = format!("profile: {chosen}\n");
        assert!(encrypted.talk.contains(&line), "{}", encrypted.talk);
        encrypted.assert_is_ubuntu();
    }
    let file = folder.join("debian");
    std::fs::write(&file, "ID=debian\nVERSION_CODENAME=trixie\n").unwrap();
    let moved = format!(
        "rm /etc/os-release\nmkdir /usr/lib\nwrite {} /usr/lib/os-release\n",
        file.display()
    );
    let generic = [
        // As distributions have it: a link to where the package puts it.
        (
            format!("{moved}symlink /etc/os-release ../usr/lib/os-release\n"),
            "generic (/etc/os-release says ID=debian)",
        ),
        (moved, "generic (/usr/lib/os-release says ID=debian)"),
        (
            os_release(folder, "PRETTY_NAME=\"no ID\"\n"),
            "generic (/etc/os-release says ID=)",
        ),
    ];
    for (script, chosen) in &generic {
        let encrypted = Encrypted::new(script, &[]);
        let line = format!("profile: {chosen}\n");
        assert!(encrypted.talk.contains(&line), "{}", encrypted.talk);
        encrypted.assert_is_generic();
    }
}

#[test]
fn a_profile_that_is_named_needs_no_word_about_it() {
    if !crate::can_judge() {
        return;
    }
    let folder = scratch();
    let debian = os_release(folder.path(), "ID=debian\n");
    let encrypted = Encrypted::new(&debian, &["--profile", "ubuntu"]);
    assert!(!encrypted.talk.contains("profile"), "{}", encrypted.talk);
    encrypted.assert_is_ubuntu();
    let encrypted = Encrypted::new("", &["--profile", "generic"]);
    assert!(!encrypted.talk.contains("profile"), "{}", encrypted.talk);
    encrypted.assert_is_generic();
}

#[test]
fn a_generic_image_is_configured_where_that_is_asked() {
    if !crate::can_judge() {
        return;
    }
    let options = [
        "--profile",
        "generic",
        "--grow-root",
        "--override-datasources",
        "NoCloud",
    ];
    let encrypted = Encrypted::new("", &options);
    let changes = [
        ("/etc/cloud/cloud.cfg.d", Change::Touched),
        (judge::DATASOURCES, Change::File(0o644)),
        (judge::GROWPART_OFF, Change::File(0o644)),
    ];
    assert_eq!(encrypted.other_changes(&changes), [""; 0]);
    assert!(!encrypted.talk.contains("warning"), "{}", encrypted.talk);

    let encrypted = Encrypted::new("", &["--profile", "generic"]);
    assert!(
        encrypted.talk.contains(
            "warning: cloud-init grows the partition at the first boot, but the root in it only at the next one, as it has no key: --grow-root grows the partition now\n"
        ),
        "{}",
        encrypted.talk
    );
}

/// cloud-init grows the partition before it looks for its key: 4096-byte sectors would not open afterwards.
#[test]
fn sectors_of_4096_bytes_are_refused_where_cloud_init_regrows_a_generic_image() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Stock));
    let options = ["--profile", "generic", "--sector-size", "4096"];
    let mut encrypt = workshop.encrypt();
    let message = refused(
        encrypt
            .args(options)
            .args(["-o", "output.img", "source.img"]),
    );
    assert!(
        message.ends_with(
            "hint: add --grow-root, which switches growing off in the guest, or use 512\n"
        ),
        "{message}"
    );
    let mut encrypt = workshop.encrypt();
    encrypt.args(options).arg("--grow-root");
    exits(encrypt.args(["-o", "output.img", "source.img"]), 0);
}

/// The types of a root that systemd finds by itself.
#[test]
fn a_root_of_a_discoverable_type_is_found() {
    if !crate::can_judge() {
        return;
    }
    for kind in [
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
        "b921b045-1df0-41c3-af44-4c6f280d3fae",
    ] {
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        run(command("sgdisk")
            .arg(format!("--typecode={ROOT}:{kind}"))
            .arg(&source));
        let mut encrypt = workshop.encrypt();
        encrypt.args(["--profile", "generic"]);
        exits(encrypt.args(["-o", "output.img", "source.img"]), 0);
        let shown = run(command("sgdisk")
            .arg(format!("--info={ROOT}"))
            .arg(workshop.path("output.img")));
        assert!(shown.to_lowercase().contains(kind), "{shown}");
    }
}

#[test]
fn a_dry_run_tells_profile_and_label() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    let plan = |options: &[&str]| {
        let mut encrypt = workshop.encrypt();
        encrypt.arg("--dry-run").args(options);
        stdout(&exits(encrypt.args(["-o", "output.img", "source.img"]), 0))
    };
    let auto = plan(&[]);
    assert!(
        auto.contains("\nprofile     ubuntu (/etc/os-release says ID=ubuntu)\n"),
        "{auto}"
    );
    let generic = plan(&["--profile", "generic"]);
    assert!(generic.contains("\nprofile     generic\n"), "{generic}");
    assert!(generic.contains("\nLUKS2       no label, "), "{generic}");
    assert!(!generic.contains("keyslot 10"), "{generic}");
}
