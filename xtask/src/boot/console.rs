//! What a guest writes to its serial console, kept on disk as it came and in memory without what draws.
//!
//! Firmware and shim clear the screen, move the cursor and draw boxes with bytes of an old code page: escape
//! sequences and carriage returns are left out, and everything else stays bytes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// A console's bytes so far, in a file, and its text.
pub struct Console {
    log: File,
    text: Text,
}

/// What stands on a console, without what draws.
pub struct Text {
    bytes: Vec<u8>,
    state: State,
}

/// Where in an escape sequence the last byte was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// After ESC.
    Escape,
    /// After `ESC [`: parameters, up to a letter.
    Control,
    /// After `ESC ]` and the like: a string, up to BEL or `ESC \`.
    String,
}

impl Console {
    /// A console that keeps all bytes in the file `log`.
    pub fn new(log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        Ok(Self {
            log,
            text: Text::new(),
        })
    }

    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let kept = self.log.write_all(bytes);
        kept.context("cannot keep the console's log")?;
        self.text.push(bytes);
        Ok(())
    }

    pub fn text(&self) -> &[u8] {
        &self.text.bytes
    }
}

impl Text {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            state: State::Text,
        }
    }

    /// The text of a console whose bytes are in the file `log`; empty where there is none.
    pub fn of(log: &Path) -> Self {
        let mut text = Self::new();
        text.push(&fs::read(log).unwrap_or_default());
        text
    }

    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Text | State::Escape | State::String, 0x1b) => State::Escape,
                (State::Escape, b'[') | (State::Control, 0x20..=0x3f) => State::Control,
                (State::Escape, b']' | b'P' | b'_' | b'^' | b'X') => State::String,
                (State::String, _) if byte != 0x07 => State::String,
                (State::Text, _) if byte != b'\r' => {
                    self.bytes.push(byte);
                    State::Text
                }
                _ => State::Text,
            };
        }
    }

    /// The lines that have something on them, up to the first place of `end`.
    pub fn lines_before(&self, end: &str) -> Vec<String> {
        let end = find(&self.bytes, end).unwrap_or(self.bytes.len());
        let text = String::from_utf8_lossy(&self.bytes[..end]);
        let lines = text.lines().map(str::trim_end);
        let some = lines.filter(|line| !line.is_empty());
        some.map(str::to_owned).collect()
    }
}

/// Where `text` stands in `bytes`.
pub fn find(bytes: &[u8], text: &str) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_draws_is_left_out_and_the_log_has_all_of_it() {
        let file = std::env::temp_dir().join(format!("xtask-console-{}", std::process::id()));
        let mut console = Console::new(&file).unwrap();
        let bytes =
            b"\x1b[2J\x1b[01;01HBds\x1b]104\x07Dxe\r\n\x1b[!p\x1bcVerif\x1b[0;31mied\xc4\n\n";
        let (first, second) = bytes.split_at(3); // in the middle of a sequence
        console.push(first).unwrap();
        console.push(second).unwrap();
        assert_eq!(console.text(), b"BdsDxe\nVerified\xc4\n\n");
        assert_eq!(Text::of(&file).lines_before("fied"), ["BdsDxe", "Veri"]);
        let whole = ["BdsDxe", "Verified\u{fffd}"];
        assert_eq!(Text::of(&file).lines_before("not there"), whole);
        assert_eq!(find(console.text(), "Verified"), Some(7));
        assert_eq!(find(console.text(), "verified"), None);
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
        std::fs::remove_file(file).unwrap();
    }
}
