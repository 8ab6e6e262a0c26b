//! `BOOTX64.CSV` and its kin: the boot entries that shim's fallback program makes (rhboot/shim, `fallback.c`).
//!
//! A line an entry, in UTF-16LE, with or without a byte order mark: the program's name beside the file, the entry's label,
//! the entry's load options, a description that nobody reads. A shim that is started so takes the first word of the load
//! options for the program to start in place of its built-in one (`load-options.c`): from the top of the partition where it
//! begins with `\EFI\`, from shim's own directory otherwise.

use super::utf16;

/// A boot entry that will be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEntry {
    /// The program, a name in the directory of the file.
    pub program: String,
    /// The entry's name.
    pub label: String,
    /// What the program is handed.
    pub options: String,
}

/// The entries of a file, whatever is wrong with it: what fallback passes over is passed over.
pub fn boot_entries(file: &[u8]) -> Vec<BootEntry> {
    let text = utf16::until_nul(file);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text.split(['\r', '\n']).filter(|line| !line.is_empty());
    let entries = lines.filter_map(|line| {
        let mut fields = line.split(',');
        let mut next = || fields.next().map(str::to_owned);
        Some(BootEntry {
            program: next().filter(|name| !name.is_empty())?,
            label: next()?,
            options: next().unwrap_or_default(),
        })
    });
    entries.collect()
}

/// The program that a shim starts for these load options, as it is written there; `None` where it takes its built-in one.
pub fn second_program(options: &str) -> Option<&str> {
    options
        .split([' ', '\0'])
        .next()
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn entry(program: &str, label: &str, options: &str) -> BootEntry {
        BootEntry {
            program: program.into(),
            label: label.into(),
            options: options.into(),
        }
    }

    #[test]
    fn the_third_field_is_what_the_program_is_handed() {
        let line = r"shimx64.efi,redhat,\EFI\Linux\a-5.14.efi ,UKI bootentry";
        let wanted = [entry("shimx64.efi", "redhat", r"\EFI\Linux\a-5.14.efi ")];
        for text in [
            line,
            &format!("\u{feff}{line}\r\n"),
            &format!("\n\n{line}\n\0x"),
        ] {
            assert_eq!(boot_entries(&file(text)), wanted, "{text:?}");
        }
        assert_eq!(
            second_program(&wanted[0].options),
            Some(r"\EFI\Linux\a-5.14.efi")
        );
        assert_eq!(second_program(""), None);
        assert_eq!(second_program(" quiet"), None);
    }

    #[test]
    fn lines_without_a_program_or_a_label_are_passed_over() {
        let text = "a.efi,A\n,B,c\nonly\nb.efi,,x y,z,w\n";
        assert_eq!(
            boot_entries(&file(text)),
            [entry("a.efi", "A", ""), entry("b.efi", "", "x y")]
        );
        assert_eq!(boot_entries(&[]), []);
        assert_eq!(boot_entries(&[0xff; 7]), []);
    }
}
