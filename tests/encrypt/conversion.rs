//! Runs the program as an ordinary user and judges what comes out.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::oracle::{self, Choice};
use crate::support::container::Container;
use crate::support::ext4::{self, Tree};
use crate::support::image::{Image, ROOT, Shape, change_partition, image};
use crate::support::judge::{self, Expected, Judged, judge_with};
use crate::support::root::debugfs;
use crate::support::workshop::{Workshop, state, stderr};
use crate::support::{command, disk, exits, scratch};

/// A run of `encrypt`.
pub struct Conversion {
    source: &'static Image,
    choice: Choice,
    more: Vec<String>,
    expect: fn(&mut Expected),
    decrypt: fn(&Container, &Path),
    pack: fn(&Workshop),
    /// Where it happens.
    pub workshop: Workshop,
}

/// What it led to.
pub struct Converted {
    /// Where it happened.
    pub workshop: Workshop,
    /// What it printed.
    pub output: Output,
    /// The image.
    pub image: PathBuf,
    /// What the judge found.
    pub judged: Judged,
}

impl Conversion {
    /// Of an image with such options for the layout.
    pub fn new(shape: Shape, choice: Choice) -> Self {
        Self::of(image(shape), choice)
    }

    /// Of any image.
    pub fn of(source: &'static Image, choice: Choice) -> Self {
        Self {
            source,
            choice,
            more: Vec::new(),
            expect: |_| (),
            decrypt: Container::decrypt,
            pack: |_| (),
            workshop: Workshop::new(),
        }
    }

    /// With further arguments, and what they change.
    pub fn with(mut self, more: &[&str], expect: fn(&mut Expected)) -> Self {
        self.more
            .extend(more.iter().map(|&argument| argument.to_owned()));
        self.expect = expect;
        self
    }

    /// Decrypted by `cryptsetup reencrypt --decrypt`, not by a second AES-XTS.
    pub fn decrypted_by_cryptsetup(mut self) -> Self {
        self.decrypt = Container::decrypt_by_cryptsetup;
        self
    }

    /// Of the same image in another format: `pack` makes it of the file `source`, in place.
    pub fn packed(mut self, pack: fn(&Workshop)) -> Self {
        self.pack = pack;
        self
    }

    /// Runs it. The source must stay as it was, and nothing but the output must come.
    #[track_caller]
    pub fn run(self) -> Converted {
        let mut expected = oracle::expect(self.source, self.choice).unwrap();
        (self.expect)(&mut expected);
        let file = if self.choice.from_vhd {
            self.source.vhd()
        } else {
            &self.source.raw
        };
        let source = self.workshop.put(file, "source");
        (self.pack)(&self.workshop);
        let before = (state(&source), self.workshop.names());
        let mut command = self.workshop.encrypt();
        command
            .args(self.choice.options())
            .args(&self.more)
            .args(["-o", "output", "source"]);
        let output = exits(&mut command, 0);
        let image = self.workshop.path("output");
        let mut names = self.workshop.names();
        names.retain(|name| name != "output");
        assert_eq!((state(&source), names), before, "source and folder");
        std::fs::remove_file(source).unwrap();
        if expected.vhd {
            crate::vhd::is_accepted_by_qemu(&image);
        }
        let judged = judge_with(self.source, &image, &expected, self.decrypt);
        Converted {
            workshop: self.workshop,
            output,
            image,
            judged,
        }
    }
}

/// What became of an image whose root was edited before.
pub struct Edited {
    /// The tree that was edited.
    pub before: Tree,
    /// The tree in the output.
    pub after: Tree,
    /// What the run told.
    pub talk: String,
}

/// Changes the root filesystem of a Tiny image, by commands of debugfs.
pub fn edit_root(file: &Path, script: &str) {
    change_partition(file, &image(Shape::Tiny).table, ROOT, |root| {
        debugfs(root, script);
        exits(command("e2fsck").arg("-fn").arg(root), 0);
    });
}

/// Encrypts a Tiny image whose root is edited before.
#[track_caller]
pub fn encrypt_edited(script: &str, options: &[&str]) -> Edited {
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    edit_root(&source, script);
    let mut encrypt = workshop.encrypt();
    let output = exits(
        encrypt
            .args(options)
            .args(["-o", "output.img", "source.img"]),
        0,
    );
    let folder = scratch();
    let root = folder.path().join("root");
    judge::extract(&source, &image(Shape::Tiny).table, ROOT, &root);
    Edited {
        before: ext4::read(&root),
        after: decrypted_tree(&workshop.path("output.img")),
        talk: stderr(&output),
    }
}

/// The tree of an output's root, which must have no error.
#[track_caller]
pub fn decrypted_tree(file: &Path) -> Tree {
    let folder = scratch();
    let plain = folder.path().join("plain");
    Container::open(file, &disk::read(file), ROOT).decrypt(&plain);
    ext4::check(&plain);
    ext4::read(&plain)
}
