//! PCR 11: what systemd-stub measures of the unified kernel image that it belongs to, and the word that systemd extends
//! when the initrd begins.
//!
//! For each section that is there, in the order of [`SECTIONS`]: the digest of its name with a zero behind it, then that
//! of its content. A stub leaves out sections whose names it does not know. Then, by systemd-pcrphase in the initrd,
//! `enter-initrd`; later words belong to the running system, which so cannot unseal any more.
//!
//! An image with several profiles, or with a device tree that the stub chooses, is refused: which section counts is
//! decided while it boots.

use super::boot::BootFile;
use super::error::Problem;
use super::event::Event;
use firmware::{Hash, Kind};
use tpm::Bank;

/// The sections that are measured, in their order, with the first version of systemd-stub that knows them: 252, 254 and
/// 257 were looked at.
const SECTIONS: [(&str, u32); 13] = [
    (".linux", 252),
    (".osrel", 252),
    (".cmdline", 252),
    (".initrd", 252),
    (".ucode", 256),
    (".splash", 252),
    (".dtb", 252),
    (".uname", 253),
    (".sbat", 254),
    (".pcrpkey", 252),
    (".profile", 257),
    (".dtbauto", 257),
    (".hwids", 257),
];
/// Sections of which the stub chooses one while it boots.
const CHOSEN_BY_STUB: [&str; 2] = [".dtbauto", ".efifw"];
/// What ends what the stub has measured.
const PHASE: &str = "enter-initrd";

/// The events of a kernel image up to the time when the root is opened.
pub(super) fn events(file: &BootFile, bank: Bank, hash: Hash) -> Result<Vec<Event>, Problem> {
    let program = &file.program;
    if program.kind() != Kind::UnifiedKernel {
        return Err(Problem::NotUnified);
    }
    let version = file.stub_version().ok_or(Problem::UnknownStub)?;
    for name in CHOSEN_BY_STUB {
        if program.has_section(name) {
            return Err(Problem::SectionChosenAtBoot { section: name });
        }
    }
    let mut events = Vec::new();
    for (name, since) in SECTIONS {
        if version < since || !program.has_section(name) {
            continue;
        }
        if program.sections_named(name) > 1 {
            return Err(Problem::SectionChosenAtBoot { section: name });
        }
        let content = program.section_digest(name, hash);
        let content = content.ok_or(Problem::DigestMissing)?;
        events.extend(Event::section(bank, name, content, &file.name));
    }
    Ok(events)
}

/// The word that ends them.
pub(super) fn phase(bank: Bank) -> Event {
    Event::phase(bank, PHASE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firmware::MEASURED_SECTIONS;

    /// What is not read is not measured either.
    #[test]
    fn every_section_that_is_measured_is_read() {
        let names = SECTIONS.map(|(name, _)| name);
        assert!(names.iter().eq(&MEASURED_SECTIONS));
    }
}
