//! Runs the program as an ordinary user and judges what comes out.

use std::path::PathBuf;
use std::process::Output;

use crate::oracle::{self, Choice};
use crate::support::container::Container;
use crate::support::exits;
use crate::support::image::{Image, Shape, image};
use crate::support::judge::{Expected, Judged, judge_with};
use crate::support::workshop::{Workshop, state};

/// A run of `encrypt`.
pub struct Conversion {
    source: &'static Image,
    choice: Choice,
    more: Vec<String>,
    expect: fn(&mut Expected),
    decrypt: fn(&Container, &std::path::Path),
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
        Self {
            source: image(shape),
            choice,
            more: Vec::new(),
            expect: |_| (),
            decrypt: Container::decrypt,
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
        let judged = judge_with(self.source, &image, &expected, self.decrypt);
        Converted {
            workshop: self.workshop,
            output,
            image,
            judged,
        }
    }
}
