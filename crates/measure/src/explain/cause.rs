//! Why a guest measured something else: the likely cause of a difference, in words.
//!
//! A cause is a guess from one event and what stands around it in the log; the events themselves are facts.
//! Programs are measured just behind what authorised them, so an authority event is read together with the
//! program that the log has next.

/// The likely cause of a difference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    // --- The firmware's state and variables ---
    /// Secure Boot is off, and was predicted as on.
    #[error("Secure Boot is off in this guest: nothing is verified and no authority measured")]
    SecureBootOff,
    /// Secure Boot is on, and was predicted as off.
    #[error("Secure Boot is on in this guest, and the prediction is for one in which it is off")]
    SecureBootOn,
    /// The variable has no data, as where it does not exist.
    #[error(
        "firmware measured the variable SecureBoot without a value: this guest does not have it, or not yet where it is measured; Secure Boot is not on, and no configuration can describe that"
    )]
    SecureBootAbsent,
    /// The variable has a value that nobody knows.
    #[error(
        "the variable SecureBoot has the value {value} in this guest, which is neither on nor off"
    )]
    SecureBootUnknown {
        /// The value, in hexadecimal digits.
        value: String,
    },
    /// The guest's database has another content.
    #[error("the guest's {database} is not that of the configuration: {}", .changes.join("; "))]
    Database {
        /// The variable's name.
        database: &'static str,
        /// What differs, in words.
        changes: Vec<String>,
    },
    /// The same data under another digest.
    #[error(
        "the log shows the predicted data under another digest: this firmware hashes something else, or the log was changed"
    )]
    DigestOfOtherData,
    /// The same events in another order.
    #[error("this firmware measures {what} at another place, which no configuration can describe")]
    Order {
        /// The event.
        what: String,
    },
    /// The firmware measures more before it boots.
    #[error(
        "this firmware measures {what} besides, before it boots; no configuration can describe that"
    )]
    MoreBeforeBoot {
        /// The event.
        what: String,
    },
    /// A driver was verified.
    #[error(
        "a driver was verified by {authority} before the boot: an option ROM of a device that the prediction does not know"
    )]
    OptionRom {
        /// By what.
        authority: String,
    },
    /// An event in another PCR.
    #[error(
        "this firmware measures it into PCR {pcr}, not into PCR {predicted}; no configuration can describe that ({what})"
    )]
    OtherPcr {
        /// The event.
        what: String,
        /// Where the log has it.
        pcr: u32,
        /// Where it was predicted.
        predicted: u8,
    },
    /// Programs in another PCR than 4.
    #[error(
        "this firmware measures the programs that it starts into PCR {pcr}, not into PCR 4; no configuration can describe that. In the place of {file} it has {program}{}",
        if *.is_same { ", the same program" } else { ", of other content" }
    )]
    ProgramsElsewhere {
        /// The predicted program.
        file: String,
        /// Where the log has programs.
        pcr: u32,
        /// What stands there in its place.
        program: String,
        /// Whether it has the predicted digest.
        is_same: bool,
    },
    /// A separator of ones.
    #[error(
        "this firmware ends the PCR with ffffffff, which the TCG allows as well as zeros; no configuration can describe that"
    )]
    OnesSeparator,
    /// A separator that nobody knows.
    #[error("firmware ended the PCR with a value that the TCG does not know")]
    UnknownSeparator,
    /// One more separator.
    #[error("firmware ends the PCR once more; no configuration can describe that")]
    SecondSeparator,
    /// A separator that says that something failed.
    #[error("firmware noted an error before it booted: the separator is 1")]
    ErrorSeparator,
    /// The log has no separator.
    #[error(
        "the log ends before firmware finished, or leaves events out: the separator is missing"
    )]
    NoSeparator,

    // --- What authorised a program ---
    /// Another entry authorised the program.
    #[error("{file} was started by {logged}, not by {predicted}: {reason}")]
    OtherAuthority {
        /// The predicted program.
        file: String,
        /// What the log has.
        logged: String,
        /// What was predicted.
        predicted: String,
        /// Why that may be.
        reason: &'static str,
    },
    /// One more signature of the program verifies.
    #[error(
        "{program} carries several signatures, and shim measures an authority for each that verifies"
    )]
    FurtherSignature {
        /// The program that follows in the log.
        program: String,
    },
    /// One signature less of the program verifies.
    #[error(
        "the log has fewer authorities for {file} than predicted: one of its signatures leads to nothing in this guest's db"
    )]
    FewerSignatures {
        /// The predicted program.
        file: String,
    },
    /// Nothing is measured as the authority.
    #[error("the log has no authority for {file}: it was not started, or nobody verified it")]
    NoAuthority {
        /// The predicted program.
        file: String,
    },
    /// An authority without a program behind it.
    #[error(
        "a program was verified by {authority} and not started: shim or firmware refused it afterwards"
    )]
    NotStartedAfterAuthority {
        /// By what.
        authority: String,
    },
    /// The guest's SBAT level is newer than shim's.
    #[error(
        "the guest's SbatLevel ({logged}) is newer than the one that this shim brings ({predicted}): a newer shim or an update of revocations has set it, and shim keeps a newer one"
    )]
    NewerLevel {
        /// First line of the guest's.
        logged: String,
        /// First line of the predicted one.
        predicted: String,
    },
    /// The guest's SBAT level is another one.
    #[error(
        "the guest's SbatLevel ({logged}) is not the one that this shim sets ({predicted}): another shim was started, or its SbatPolicy is not the default"
    )]
    OtherLevel {
        /// First line of the guest's.
        logged: String,
        /// First line of the predicted one.
        predicted: String,
    },
    /// No SBAT level.
    #[error("the log has no SbatLevel: {file} was not started as a shim of 15.3 or later")]
    NoLevel {
        /// The predicted shim.
        file: String,
    },
    /// shim's trust in the list of machine owner keys was taken away.
    #[error(
        "the log has no MokListTrusted: somebody took the trust away with mokutil, or {file} is not the shim of 15.6 that the prediction takes it for"
    )]
    NoMokListTrusted {
        /// The shim.
        file: String,
    },
    /// A shim that was not predicted.
    #[error("{program} is a shim that the prediction does not have: it measures its SbatLevel")]
    ExtraLevel {
        /// The program before it in the log.
        program: String,
    },
    /// shim's validation was touched.
    #[error(
        "the variable MokSBState exists in this guest: somebody changed shim's validation with mokutil; once it is deleted the event is gone"
    )]
    MokSbState,
    /// shim 15.6 measures one more variable of its own.
    #[error(
        "shim measured MokListTrusted into PCR 7: shim 15.6 does unless somebody took that trust away, shim 15.5 where the variable exists, and no other"
    )]
    MokListTrusted,
    /// shim or another loader ran once more.
    #[error("{what} is measured once more: a loader was started twice in this boot")]
    Again {
        /// The event.
        what: String,
    },

    // --- What was booted ---
    /// No action before the boot option.
    #[error("this firmware does not measure that it calls the boot option")]
    NoReadyToBoot,
    /// An action where none was predicted.
    #[error(
        "this firmware measures that it calls the boot option, and the configuration says that it does not"
    )]
    ReadyToBoot,
    /// The action stands in another PCR.
    #[error(
        "this firmware measures that it calls the boot option into PCR {pcr}, and not into PCR 4"
    )]
    ReadyToBootElsewhere {
        /// Where the log has it.
        pcr: u32,
    },
    /// A boot option failed before.
    #[error(
        "a boot option failed, and firmware went on to the next: give the boot disk the first place in the boot order"
    )]
    FailedBootOption,
    /// A shim of another content.
    #[error(
        "another first program than {file}: the guest's firmware started {program}, of other content; a shim that was updated on one side"
    )]
    OtherShim {
        /// The predicted program.
        file: String,
        /// The started one.
        program: String,
    },
    /// Something that is no shim in place of the first program.
    #[error(
        "firmware started {program} in place of {file}: another boot loader, or another boot option than the predicted one"
    )]
    OtherLoader {
        /// The predicted program.
        file: String,
        /// The started one.
        program: String,
    },
    /// A kernel of another content.
    #[error(
        "another kernel than {file}: the guest started {program}, of other content; an updated or rebuilt kernel, initial ramdisk or command line"
    )]
    OtherKernel {
        /// The predicted program.
        file: String,
        /// The started one.
        program: String,
    },
    /// shim's fallback ran.
    #[error(
        "{program} is shim's fallback loader: the boot had no entry yet and went through EFI/BOOT; the next boot goes without it"
    )]
    Fallback {
        /// The program.
        program: String,
    },
    /// The kernel inside of a unified kernel image.
    #[error(
        "the kernel inside of {file} is measured as well: systemd's stub hands it to firmware, which measures it while Secure Boot is off"
    )]
    InnerKernel {
        /// The predicted unified kernel image.
        file: String,
    },
    /// A program before the boot.
    #[error(
        "firmware started {program} before the boot: a program of the firmware's own, or a SysPrep entry"
    )]
    BeforeBoot {
        /// The program.
        program: String,
    },
    /// One more program, from a loader's memory.
    #[error(
        "a boot loader started a program from its memory, which has no path: the kernel, where the loader is GRUB; some measure it twice"
    )]
    FromMemory,
    /// One more program.
    #[error(
        "the guest started {program} besides: a boot menu or loader that the prediction does not have"
    )]
    FurtherProgram {
        /// The program.
        program: String,
    },
    /// A program is missing.
    #[error("the guest did not start {file}, or the log ends before")]
    NotStarted {
        /// The predicted program.
        file: String,
    },

    // --- What the kernel's stub measured ---
    /// A section of another content.
    #[error("the section {section} of the guest's kernel image is not that of {file}: {what}")]
    OtherSection {
        /// Name of the section.
        section: String,
        /// The predicted unified kernel image.
        file: String,
        /// What that means.
        what: &'static str,
    },
    /// A section more.
    #[error(
        "the guest's kernel image has the section {section}, and {file} has none that is measured"
    )]
    FurtherSection {
        /// Name of the section.
        section: String,
        /// The predicted unified kernel image.
        file: String,
    },
    /// A section less.
    #[error(
        "the guest measured no section {section}, which {file} has: its kernel image lacks it, or has an older stub"
    )]
    NoSection {
        /// Name of the section.
        section: String,
        /// The predicted unified kernel image.
        file: String,
    },
    /// No section at all.
    #[error(
        "the guest measured no section of a kernel image: it did not start {file} or another with systemd's stub, or the log ends before"
    )]
    NoSections {
        /// The predicted unified kernel image.
        file: String,
    },
    /// Something from outside that is not a text.
    #[error("{what}: it came from outside of the kernel image, and its stub measured it")]
    FromOutside {
        /// The event.
        what: String,
    },
    /// A command line, credential or addon from outside.
    #[error(
        "{text:?} came from outside of the kernel image, as load options, a credential or an addon, and its stub measured it"
    )]
    LoadOptions {
        /// The text in the log.
        text: String,
    },

    // --- Whatever else ---
    /// An event that nobody expects.
    #[error("the guest measured {what}, which is not part of any prediction")]
    Unexpected {
        /// The event.
        what: String,
    },
    /// An event that was predicted and is not there.
    #[error("the log lacks {what}")]
    Missing {
        /// The event.
        what: String,
    },
}

impl Cause {
    /// A short name that stays, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SecureBootOff => "secure-boot-off",
            Self::SecureBootOn => "secure-boot-on",
            Self::SecureBootAbsent => "secure-boot-absent",
            Self::SecureBootUnknown { .. } => "secure-boot-unknown",
            Self::Database { .. } => "other-database",
            Self::DigestOfOtherData => "digest-of-other-data",
            Self::Order { .. } => "other-order",
            Self::MoreBeforeBoot { .. } => "more-before-boot",
            Self::OptionRom { .. } => "option-rom",
            Self::OtherPcr { .. } => "other-pcr",
            Self::ProgramsElsewhere { .. } => "programs-elsewhere",
            Self::OnesSeparator => "ones-separator",
            Self::UnknownSeparator => "unknown-separator",
            Self::SecondSeparator => "second-separator",
            Self::ErrorSeparator => "error-separator",
            Self::NoSeparator => "no-separator",
            Self::OtherAuthority { .. } => "other-authority",
            Self::FurtherSignature { .. } => "further-signature",
            Self::FewerSignatures { .. } => "fewer-signatures",
            Self::NoAuthority { .. } => "no-authority",
            Self::NotStartedAfterAuthority { .. } => "refused-after-authority",
            Self::NewerLevel { .. } => "newer-sbat-level",
            Self::OtherLevel { .. } => "other-sbat-level",
            Self::NoLevel { .. } => "no-sbat-level",
            Self::NoMokListTrusted { .. } => "no-mok-list-trusted",
            Self::ExtraLevel { .. } => "extra-sbat-level",
            Self::MokSbState => "mok-sb-state",
            Self::MokListTrusted => "mok-list-trusted",
            Self::Again { .. } => "measured-again",
            Self::NoReadyToBoot => "no-ready-to-boot",
            Self::ReadyToBoot => "ready-to-boot",
            Self::ReadyToBootElsewhere { .. } => "ready-to-boot-elsewhere",
            Self::FailedBootOption => "failed-boot-option",
            Self::OtherShim { .. } => "other-shim",
            Self::OtherLoader { .. } => "other-loader",
            Self::OtherKernel { .. } => "other-kernel",
            Self::Fallback { .. } => "fallback",
            Self::InnerKernel { .. } => "inner-kernel",
            Self::BeforeBoot { .. } => "before-boot",
            Self::FromMemory => "from-memory",
            Self::FurtherProgram { .. } => "further-program",
            Self::NotStarted { .. } => "not-started",
            Self::OtherSection { .. } => "other-section",
            Self::FurtherSection { .. } => "further-section",
            Self::NoSection { .. } => "no-section",
            Self::NoSections { .. } => "no-sections",
            Self::FromOutside { .. } => "from-outside",
            Self::LoadOptions { .. } => "load-options",
            Self::Unexpected { .. } => "unexpected",
            Self::Missing { .. } => "missing",
        }
    }
}
