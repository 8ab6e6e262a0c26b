//! Symbolic links of the image lead nowhere outside of it: they are resolved within it, and the last name is
//! replaced, never followed.

use std::path::Path;

use crate::conversion::{decrypted_tree, edit_root};
use crate::refusal::refuses;
use crate::support::exits;
use crate::support::ext4::Content;
use crate::support::image::{Shape, image};
use crate::support::judge;
use crate::support::workshop::{Workshop, refused};

/// A place of the host that the image's links name: a file and an empty folder.
struct Host(Workshop);

impl Host {
    fn new() -> Self {
        let workshop = Workshop::new();
        workshop.write("file", b"of the host");
        assert!(
            workshop
                .command("mkdir")
                .arg("folder")
                .status()
                .unwrap()
                .success()
        );
        Self(workshop)
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(std::fs::read(self.0.path("file")).unwrap(), b"of the host");
        assert_eq!(std::fs::read_dir(self.0.path("folder")).unwrap().count(), 0);
        assert_eq!(self.0.names(), ["file", "folder"]);
    }
}

/// The key's name leads to a file of the host, the folder of units to a folder of the host, and the folder of
/// cloud-init's configuration out of the image by `..`.
fn links(host: &Host) -> String {
    format!(
        "cd /\nsymlink cc_growpart_keydata {}\n\
         rm /etc/systemd/system/some.service\nrmdir /etc/systemd/system\n\
         cd /etc/systemd\nsymlink system {}\n\
         rm /etc/cloud/cloud.cfg.d/90_dpkg.cfg\nrmdir /etc/cloud/cloud.cfg.d\n\
         cd /etc/cloud\nsymlink cloud.cfg.d ../../../../../../../var/lib\n",
        host.0.path("file").display(),
        host.0.path("folder").display(),
    )
}

/// Commands that make a folder and those above it.
fn make_folders(folder: &Path) -> String {
    let mut above: Vec<_> = folder
        .ancestors()
        .filter(|folder| *folder != Path::new("/"))
        .collect();
    above.reverse();
    let mut script = String::from("cd /\n");
    for folder in above {
        script.push_str(&format!("mkdir {}\n", folder.display()));
    }
    script
}

#[test]
fn a_link_to_what_only_the_host_has_leads_nowhere() {
    if !crate::can_judge() {
        return;
    }
    let host = Host::new();
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    edit_root(&source, &links(&host));
    let message = refused(workshop.encrypt().args(["-o", "output.img", "source.img"]));
    assert_eq!(
        message,
        format!(
            "error: source.img: the root filesystem: /etc/systemd/system is a symbolic link to {}, which leads to nothing in the image\n",
            host.0.path("folder").display()
        )
    );
    host.is_untouched();
    assert_eq!(workshop.names(), ["source.img"]);
}

#[test]
fn a_link_to_what_the_image_has_is_followed_within_it() {
    if !crate::can_judge() {
        return;
    }
    let host = Host::new();
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    let folder = host.0.path("folder");
    edit_root(&source, &(links(&host) + &make_folders(&folder)));
    let mut encrypt = workshop.encrypt();
    encrypt.args([
        "--override-datasources",
        "NoCloud",
        "-o",
        "output.img",
        "source.img",
    ]);
    exits(&mut encrypt, 0);
    host.is_untouched();
    let tree = decrypted_tree(&workshop.path("output.img"));
    let masked = format!("{}/secureboot-db.service", folder.display());
    assert_eq!(
        tree.entries[&masked].content,
        Content::Link(b"/dev/null".to_vec())
    );
    let datasources = judge::small_file(&tree, "/var/lib/99_datasources_override.cfg");
    assert!(datasources.contains("[ NoCloud ]"));
    // The link is gone, a file has its name.
    judge::growpart_key(&tree);
}

#[test]
fn a_link_that_leads_to_nothing_is_named_with_its_target() {
    for (script, options, link, target) in [
        // The last folder, and one on the way to it.
        (
            "rm /etc/systemd/system/some.service\nrmdir /etc/systemd/system\n\
             cd /etc/systemd\nsymlink system ../units\n",
            &[][..],
            "/etc/systemd/system",
            "../units",
        ),
        (
            "rm /etc/systemd/system/some.service\nrmdir /etc/systemd/system\nrmdir /etc/systemd\n\
             cd /etc\nsymlink systemd /etc/systemd.other\n",
            &[],
            "/etc/systemd",
            "/etc/systemd.other",
        ),
        // Without cloud-init there is nothing to configure; this image seems to have one.
        (
            "rm /etc/cloud/cloud.cfg.d/90_dpkg.cfg\nrmdir /etc/cloud/cloud.cfg.d\n\
             cd /etc/cloud\nsymlink cloud.cfg.d /writable/cloud\n",
            &["--override-datasources", "NoCloud"],
            "/etc/cloud/cloud.cfg.d",
            "/writable/cloud",
        ),
    ] {
        if !crate::can_judge() {
            return;
        }
        for options in [options, &["--grow-root"]] {
            let message = format!(
                "error: source.img: the root filesystem: {link} is a symbolic link to {target}, which leads to nothing in the image\n"
            );
            refuses(options, |source| edit_root(source, script), &message);
        }
    }
}

#[test]
fn a_chain_of_links_ends_after_forty() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    edit_root(
        &source,
        "rm /etc/systemd/system/some.service\nrmdir /etc/systemd/system\n\
         cd /etc/systemd\nsymlink system /etc/systemd/system\n",
    );
    assert_eq!(
        refused(workshop.encrypt().args(["-o", "output.img", "source.img"])),
        "error: source.img: the root filesystem: /etc/systemd/system leads through more than 40 symbolic links\n"
    );
}
