//! What kind of program a boot file is, told by its sections and its first bytes.
//!
//! What is measured behind a program, and what of a boot its own digest covers, hangs on this alone, so it is asked in
//! one place. The first line that fits decides:
//!
//! | kind | known by |
//! | --- | --- |
//! | shim | a section `.vendor_cert` |
//! | unified kernel image | a section `.linux` (UAPI group, UKI specification) |
//! | GRUB | a section `mods`, or a component `grub` or `grub.…` in `.sbat` |
//! | systemd-boot | `LoaderInfo: systemd-boot` in `.sdmagic`, or a component `systemd-boot` in `.sbat` |
//! | kernel | the header of Linux's boot protocol: `HdrS` at 0x202 (x86), `ARM\x64` or `RSC\x05` at 0x38 (arm64, RISC-V), `zimg` at 4 (a packed kernel) |

use super::{Program, sbat};

/// The component of GRUB in `.sbat`; distributions add a dot and their name.
const GRUB: &str = "grub";
const SYSTEMD_BOOT: &str = "systemd-boot";

/// What kind of program a boot file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// shim, which loads a second program by its name.
    Shim,
    /// A kernel together with all that it boots, in one file that is signed and measured as a whole.
    UnifiedKernel,
    /// GRUB, which loads whatever its configuration says.
    Grub,
    /// systemd-boot, which loads a unified kernel image, or a kernel as a file says.
    SystemdBoot,
    /// A kernel with its own EFI stub: initrd and command line come from elsewhere.
    Kernel,
    /// None of these.
    Unknown,
}

impl Program {
    /// What kind of program it is.
    pub fn kind(&self) -> Kind {
        if self.has_section(".vendor_cert") {
            Kind::Shim
        } else if self.has_section(".linux") {
            Kind::UnifiedKernel
        } else if self.is_grub() {
            Kind::Grub
        } else if self.is_systemd_boot() {
            Kind::SystemdBoot
        } else if self.has_kernel_header() {
            Kind::Kernel
        } else {
            Kind::Unknown
        }
    }

    fn is_grub(&self) -> bool {
        self.has_section("mods")
            || self.has_component(|name| {
                let rest = name.strip_prefix(GRUB);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
    }

    fn is_systemd_boot(&self) -> bool {
        let magic = self.section(".sdmagic").unwrap_or_default();
        String::from_utf8_lossy(magic).contains("LoaderInfo: systemd-boot")
            || self.has_component(|name| name == SYSTEMD_BOOT)
    }

    /// A `.sbat` that cannot be read names nothing here; shim refuses such a program elsewhere.
    fn has_component(&self, is_it: impl Fn(&str) -> bool) -> bool {
        let section = self.section(".sbat").unwrap_or_default();
        let components = sbat::components(section).unwrap_or_default();
        components.iter().any(|component| is_it(&component.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hash;
    use crate::pe::Digests;
    use crate::program::begins_as_kernel;
    use base::storage::MemoryStorage;

    fn program(sections: &[(&str, &str)]) -> Program {
        let digests = Digests {
            hash: Hash::Sha256,
            measured: vec![0; 32],
            without_tail: vec![0; 32],
        };
        let sections = sections
            .iter()
            .map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec()));
        Program::new(vec![digests], Vec::new(), sections.collect()).unwrap()
    }

    const SBAT: &str = "sbat,1,SBAT Version,sbat,1,https://a.example\n";

    #[test]
    fn a_program_is_what_its_sections_say() {
        let with = |component: &str| format!("{SBAT}{component},3,A,b,1,https://c.example\n");
        let boot = "#### LoaderInfo: systemd-boot 257.13 ####\0";
        let stub = "#### LoaderInfo: systemd-stub 257.13 ####\0";
        for (sections, kind) in [
            (&[(".text", "")][..], Kind::Unknown),
            (
                &[(".vendor_cert", ""), (".sbat", &with("grub"))],
                Kind::Shim,
            ),
            (
                &[
                    (".linux", ""),
                    (".sdmagic", stub),
                    (".sbat", &with("systemd-stub")),
                ],
                Kind::UnifiedKernel,
            ),
            (&[(".text", ""), ("mods", "")], Kind::Grub),
            (&[(".sbat", &with("grub"))], Kind::Grub),
            (&[(".sbat", &with("grub.debian"))], Kind::Grub),
            (&[(".sbat", &with("grubby"))], Kind::Unknown),
            (&[(".sbat", "no fields\n")], Kind::Unknown),
            (&[(".sdmagic", boot)], Kind::SystemdBoot),
            (&[(".sbat", &with("systemd-boot"))], Kind::SystemdBoot),
            // A stub without a kernel in it is none of the programs that boot.
            (&[(".sdmagic", stub)], Kind::Unknown),
        ] {
            assert_eq!(program(sections).kind(), kind, "{sections:?}");
        }
    }

    #[test]
    fn a_kernel_is_told_by_its_header() {
        for (offset, mark) in [
            (0x202, b"HdrS"),
            (0x38, b"ARM\x64"),
            (0x38, b"RSC\x05"),
            (4, b"zimg"),
        ] {
            let mut file = vec![0; 0x206];
            assert!(!begins_as_kernel(&MemoryStorage::new(file.clone())));
            file[offset..offset + 4].copy_from_slice(mark);
            assert!(begins_as_kernel(&MemoryStorage::new(file.clone())));
            file.truncate(offset + 3);
            assert!(!begins_as_kernel(&MemoryStorage::new(file)));
        }
    }
}
