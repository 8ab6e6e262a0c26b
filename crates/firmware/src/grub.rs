//! The modules built into a GRUB, in its section `mods`: where it looks for its files.
//!
//! GRUB's `include/grub/kernel.h`: a header of magic 0x676d696d, in 64-bit programs padding, then the
//! offset of the first module and the end of all; then modules, each a type and a size that counts these
//! 8 bytes. Type 3 is the prefix, a text. Numbers are little-endian.

use super::sbat::text_of;
use super::{Error, Result};

const MAGIC: u32 = 0x676d_696d;
const PREFIX: u32 = 3;
const MODULE_HEADER_BYTES: usize = 8;

/// The prefix among the modules, `None` where there is none. `is_64_bit` tells the header's form.
pub fn prefix(section: &[u8], is_64_bit: bool) -> Result<Option<String>> {
    let bad = |problem: &'static str| Error::GrubModules { problem };
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = section.get(at..)?.get(..len)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| (value << 8) | u64::from(*byte)),
        )
    };
    let cut = || bad("the section ends within a header");
    if number(0, 4).ok_or_else(cut)? != u64::from(MAGIC) {
        return Err(bad("the section does not start with their magic"));
    }
    let (start, end) = if is_64_bit {
        (number(8, 8), number(16, 8))
    } else {
        (number(4, 4), number(8, 4))
    };
    let outside = || bad("the modules reach beyond the section");
    let mut at = usize::try_from(start.ok_or_else(cut)?).map_err(|_| outside())?;
    let end = usize::try_from(end.ok_or_else(cut)?).map_err(|_| outside())?;
    let modules = section.get(..end).ok_or_else(outside)?;
    let mut prefix = None;
    while at < end {
        let kind = number(at, 4).ok_or_else(cut)?;
        let size = number(at.saturating_add(4), 4).ok_or_else(cut)?;
        let size = usize::try_from(size).map_err(|_| outside())?;
        if size < MODULE_HEADER_BYTES {
            return Err(bad("a module is shorter than its header"));
        }
        let behind = at.checked_add(size).ok_or_else(outside)?;
        let module = modules.get(at..behind).ok_or_else(outside)?;
        if kind == u64::from(PREFIX) && prefix.is_none() {
            prefix = module.get(MODULE_HEADER_BYTES..).map(text_of);
        }
        at = behind;
    }
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modules behind the header of a 64-bit program, and where they end.
    fn section(modules: &[u8], end: usize) -> Vec<u8> {
        let end = u64::try_from(end).unwrap();
        [
            &MAGIC.to_le_bytes()[..],
            &[0; 4],
            &24_u64.to_le_bytes(),
            &end.to_le_bytes(),
            modules,
        ]
        .concat()
    }

    fn module(kind: u32, size: u32, data: &[u8]) -> Vec<u8> {
        [&kind.to_le_bytes(), &size.to_le_bytes()[..], data].concat()
    }

    #[test]
    fn the_first_prefix_is_the_one_that_counts() {
        let modules = [
            module(0, 12, b"ELF\0"),
            module(3, 13, b"/EFI\0"),
            module(3, 9, b"/"),
        ]
        .concat();
        let all = section(&modules, 24 + modules.len());
        assert_eq!(prefix(&all, true).unwrap().as_deref(), Some("/EFI"));
        assert_eq!(prefix(&section(&[], 24), true).unwrap(), None);
        // 32-bit programs have no padding, and offsets of 4 bytes.
        let small = [
            &MAGIC.to_le_bytes()[..],
            &12_u32.to_le_bytes(),
            &22_u32.to_le_bytes(),
            &module(3, 10, b"/\0"),
        ]
        .concat();
        assert_eq!(prefix(&small, false).unwrap().as_deref(), Some("/"));
    }

    #[test]
    fn modules_that_cannot_be_followed_are_refused() {
        for (section, problem) in [
            (Vec::new(), "the section ends within a header"),
            (
                MAGIC.to_le_bytes().to_vec(),
                "the section ends within a header",
            ),
            (vec![0; 40], "the section does not start with their magic"),
            (
                section(&module(3, 8, b""), 33),
                "the modules reach beyond the section",
            ),
            (
                section(&[], usize::MAX),
                "the modules reach beyond the section",
            ),
            (
                section(&module(3, 9, b""), 32),
                "the modules reach beyond the section",
            ),
            (
                section(&module(3, u32::MAX, b""), 32),
                "the modules reach beyond the section",
            ),
            (
                section(&module(3, 7, b""), 32),
                "a module is shorter than its header",
            ),
            (
                section(&module(3, 0, b""), 32),
                "a module is shorter than its header",
            ),
            (section(&[3, 0], 26), "the section ends within a header"),
        ] {
            assert_eq!(
                prefix(&section, true).unwrap_err().to_string(),
                format!("the GRUB modules: {problem}"),
                "{section:x?}"
            );
        }
    }
}
