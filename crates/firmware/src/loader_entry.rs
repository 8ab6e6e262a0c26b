//! Entries of systemd-boot in files: Type 1 of the UAPI group's Boot Loader Specification.
//!
//! A key and a value a line; `#` begins a comment. What is started, and what it is handed, follow from five keys: `linux`,
//! `efi` or `uki` name the program, each `initrd` and each `options` adds to the load options. systemd-boot measures these
//! into PCR 12.

/// What an entry starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoaderEntry {
    /// The program, from the top of the partition, with slashes.
    pub program: String,
    /// The processor that it is for, where the entry tells; systemd-boot shows no other.
    pub architecture: Option<String>,
    /// What the program is handed; `None` where nothing is.
    pub options: Option<String>,
}

impl LoaderEntry {
    /// Reads an entry; `None` where it starts nothing.
    pub fn parse(file: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(file);
        let (mut program, mut architecture) = (None, None);
        let (mut initrds, mut options) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let line = line.trim();
            let Some((key, value)) = line.split_once([' ', '\t']) else {
                continue;
            };
            let value = value.trim();
            match key {
                "linux" | "efi" | "uki" => program = Some(value.to_owned()),
                "architecture" => architecture = Some(value.to_owned()),
                "initrd" => initrds.push(format!("initrd={}", value.replace('/', "\\"))),
                "options" => options.push(value.to_owned()),
                _ => {}
            }
        }
        initrds.append(&mut options);
        Some(Self {
            program: program.filter(|program| !program.is_empty())?,
            architecture,
            options: (!initrds.is_empty()).then(|| initrds.join(" ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initrds_come_before_the_options() {
        let file = b"# a comment\ntitle t\noptions console=ttyS0  quiet\nlinux\t /k/linux\ninitrd /k/one\n\
            initrd /k/two\r\noptions root=x\narchitecture x64\n";
        assert_eq!(
            LoaderEntry::parse(file),
            Some(LoaderEntry {
                program: "/k/linux".into(),
                architecture: Some("x64".into()),
                options: Some(r"initrd=\k\one initrd=\k\two console=ttyS0  quiet root=x".into()),
            })
        );
    }

    #[test]
    fn what_names_no_program_starts_nothing() {
        for file in [
            &b""[..],
            b"title t\noptions a\n",
            b"linux\n",
            b"linux \n",
            b"#linux /a\n",
        ] {
            assert_eq!(LoaderEntry::parse(file), None);
        }
        let plain = LoaderEntry::parse(b"efi /EFI/a.efi").unwrap();
        assert_eq!(
            (plain.program.as_str(), plain.options),
            ("/EFI/a.efi", None)
        );
    }
}
