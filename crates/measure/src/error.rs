//! Why a boot cannot be predicted, and what is worth saying where it can.

use uuid::Uuid;

use super::gap::Gap;
use firmware::chain::Refusal;
use firmware::shim::Version;
use firmware::{self, Machine, signature_list};

/// Why a prediction fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No PCR was asked for.
    #[error("no PCR is asked for: choose PCR 4, PCR 7 or both")]
    NoProfile,
    /// The four variables are empty.
    #[error(
        "the UEFI configuration is empty: PK, KEK, db and dbx have no content, so Secure Boot cannot be on"
    )]
    EmptyConfiguration,
    /// A variable is no sequence of signature lists.
    #[error("the variable {variable} {problem}")]
    Database {
        /// Which one.
        variable: &'static str,
        /// What is wrong with it.
        problem: signature_list::Error,
    },
    /// There is no kernel to boot.
    #[error("there is no kernel beside shim: EFI/ubuntu has neither kernel.efi-* nor grubx64.efi")]
    NoKernel,
    /// There is nothing to boot at all.
    #[error("there is no boot chain to predict")]
    NoChain,
    /// More ways to boot than a policy can hold.
    #[error(
        "there are more than {max} ways in which these files may boot; a policy has at most {max} branches"
    )]
    TooManyBranches {
        /// The limit.
        max: usize,
    },
    /// A boot file cannot boot, or nobody could say what it measures.
    #[error("{file}: {problem}")]
    Program {
        /// Its name.
        file: String,
        /// Why.
        problem: Problem,
    },
}

/// What is wrong with a boot file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// No signature, and no digest in db.
    #[error(
        "has no signature and its digest is not in {checked}: it cannot boot under Secure Boot"
    )]
    Unsigned {
        /// The databases that were asked.
        checked: &'static str,
    },
    /// No signature is anchored.
    #[error(
        "is signed by {signers}, and nothing in {checked} leads there: it cannot boot under Secure Boot"
    )]
    Untrusted {
        /// Who signed.
        signers: String,
        /// The databases that were asked.
        checked: &'static str,
    },
    /// Signed under one of Microsoft's UEFI CAs, where the guest knows the other.
    #[error(
        "is signed under Microsoft's UEFI CA of {signed}, and db holds the one of {held} alone: it cannot boot under Secure Boot before the guest's db gets the other"
    )]
    Rollover {
        /// Year of the CA that it is signed under.
        signed: u16,
        /// Year of the CA in db.
        held: u16,
    },
    /// The digest inside of a signature is another one.
    #[error(
        "its content is not what {signers} signed (the digest differs): it cannot boot under Secure Boot"
    )]
    DigestMismatch {
        /// Who signed.
        signers: String,
    },
    /// Bytes follow the certificate table.
    #[error("{count} bytes follow its certificate table: shim refuses such a file")]
    BytesBehindTable {
        /// How many.
        count: u64,
    },
    /// A signature, or one in its chain, does not verify.
    #[error(
        "the signature of {signers}, or one in the chain of its certificates, does not verify: it cannot boot under Secure Boot"
    )]
    SignatureInvalid {
        /// Who signed.
        signers: String,
    },
    /// A chain leads to an entry, and a rule for chains refuses it.
    #[error(
        "is signed by {signers}, and the chain to {anchor} does not hold: {refusal}: it cannot boot under Secure Boot"
    )]
    ChainRefused {
        /// Who signed.
        signers: String,
        /// The entry that it leads to.
        anchor: String,
        /// Which certificate breaks which rule.
        refusal: Box<Refusal>,
    },
    /// A chain leads to an entry, and nobody here can say whether it holds.
    #[error(
        "is signed by {signer}, and whether the chain to {anchor} holds cannot be said: {refusal}"
    )]
    ChainUnknown {
        /// Who signed.
        signer: String,
        /// The entry that it leads to.
        anchor: String,
        /// What cannot be judged.
        refusal: Box<Refusal>,
    },
    /// dbx forbids it.
    #[error("is forbidden by {list}: {entry}")]
    Forbidden {
        /// `dbx`, or the list of a shim.
        list: &'static str,
        /// What forbids it.
        entry: String,
    },
    /// Its signature is of a form that it must not have here.
    #[error("its signature {problem}")]
    SignatureForm {
        /// What the form is.
        problem: &'static str,
    },
    /// An entry of its certificate table cannot be read, and decides.
    #[error(
        "has a signature that firmware or shim refuses, or that cannot be judged here: {reason}"
    )]
    SignatureUnread {
        /// Why it cannot be read.
        reason: String,
    },
    /// No entry of its certificate table can be read.
    #[error("has no signature that firmware or shim can read: {reason}")]
    NoSignatureRead {
        /// Why the first one cannot.
        reason: String,
    },
    /// shim needs a `.sbat`.
    #[error("has no section .sbat: shim {shim} refuses it")]
    NoSbat {
        /// The version of the shim that would load it.
        shim: Version,
    },
    /// Its `.sbat` cannot be read.
    #[error(transparent)]
    Sbat(firmware::Error),
    /// shim's level forbids it.
    #[error(
        "its component {} has the generation {generation}, and shim's SBAT level asks for {needed}: shim refuses it",
        component.escape_debug()
    )]
    SbatTooOld {
        /// The component.
        component: String,
        /// What the program has.
        generation: u64,
        /// What it needs.
        needed: u64,
    },
    /// The shim's version cannot be read.
    #[error(transparent)]
    ShimVersion(firmware::Error),
    /// `.data.ident` is missing.
    #[error("is a shim without the section .data.ident, so its version is unknown")]
    ShimWithoutIdent,
    /// The shim is too old.
    #[error("is shim {0}; what a shim below 15.2 measures is not known")]
    ShimTooOld(Version),
    /// What is built into the shim cannot be read.
    #[error(transparent)]
    Vendor(firmware::Error),
    /// The shim has no `.vendor_cert`.
    #[error("is a shim without the section .vendor_cert")]
    NoVendor,
    /// Its SBAT levels cannot be read, or not be compared.
    #[error(transparent)]
    Level(firmware::Error),
    /// A GRUB's modules cannot be read.
    #[error("{0}")]
    GrubModules(String),
    /// It is loaded by something that is no shim.
    #[error(
        "would be loaded by {loader}, which is not a shim that is known: what it measures cannot be said"
    )]
    UnknownLoader {
        /// The program before it.
        loader: String,
    },
    /// A file lies beside shim that shim would load.
    #[error(
        "lies beside shim {shim}, which loads and measures it before the kernel: that is not predicted"
    )]
    LoadedByShim {
        /// The version of the shim.
        shim: Version,
    },
    /// A file lies beside shim that says what shim starts.
    #[error(
        "lies beside shim {shim}, which starts what this file names in place of the kernel: that is not predicted"
    )]
    ChoosesForShim {
        /// The version of the shim.
        shim: Version,
    },
    /// The stub's version is not known.
    #[error(
        "holds a kernel, but its .sdmagic names no version of systemd-stub: what that measures of it is not known"
    )]
    UnknownStub,
    /// PCR 11 is asked for, and nothing would be in it.
    #[error("is no unified kernel image: nothing is measured into PCR 11 when it boots")]
    NotUnified,
    /// What is measured into PCR 11 is decided at boot.
    #[error(
        "has a section {section} of which the stub chooses one while it boots, so PCR 11 cannot be predicted"
    )]
    SectionChosenAtBoot {
        /// The section.
        section: &'static str,
    },
    /// An entry of a database may be the certificate that lets it boot, or forbids it.
    #[error(
        "the entry of {owner} at byte {offset_bytes} of db, dbx or a list of shim's is built as a certificate and cannot be read here ({reason}): whether it leads to the program cannot be said"
    )]
    EntryUnread {
        /// The entry's owner.
        owner: Uuid,
        /// Where it lies in its variable.
        offset_bytes: usize,
        /// What cannot be read.
        reason: String,
    },
    /// It is for another processor than the program that loads it.
    #[error("is a program for {machine}, and {loader} one for {of_loader}: it cannot boot")]
    OtherMachine {
        /// What it is for.
        machine: Machine,
        /// What would load it.
        loader: String,
        /// What that is for.
        of_loader: Machine,
    },
    /// The program was read without the digest that is needed.
    #[error("was read without the digest that this prediction needs")]
    DigestMissing,
}

impl Problem {
    /// True where firmware or shim does not start the program; else it may start, and what it measures is not known.
    pub fn keeps_from_booting(&self) -> bool {
        match self {
            Self::Unsigned { .. }
            | Self::Untrusted { .. }
            | Self::Rollover { .. }
            | Self::DigestMismatch { .. }
            | Self::BytesBehindTable { .. }
            | Self::SignatureInvalid { .. }
            | Self::ChainRefused { .. }
            | Self::Forbidden { .. }
            | Self::SignatureForm { .. }
            | Self::NoSignatureRead { .. }
            | Self::NoSbat { .. }
            | Self::Sbat(_)
            | Self::SbatTooOld { .. }
            | Self::OtherMachine { .. } => true,
            Self::ChainUnknown { .. }
            | Self::EntryUnread { .. }
            | Self::SignatureUnread { .. }
            | Self::ChoosesForShim { .. }
            | Self::ShimVersion(_)
            | Self::ShimWithoutIdent
            | Self::ShimTooOld(_)
            | Self::Vendor(_)
            | Self::NoVendor
            | Self::Level(_)
            | Self::GrubModules(_)
            | Self::UnknownLoader { .. }
            | Self::LoadedByShim { .. }
            | Self::UnknownStub
            | Self::NotUnified
            | Self::SectionChosenAtBoot { .. }
            | Self::DigestMissing => false,
        }
    }

    /// What gives a guest a program that starts, for who seals to it.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unsigned { .. } | Self::Untrusted { .. } => {
                "sign it with a key that the guest's db leads to, or describe a guest that trusts the one who signed it"
            }
            Self::DigestMismatch { .. }
            | Self::BytesBehindTable { .. }
            | Self::SignatureInvalid { .. }
            | Self::ChainRefused { .. } => {
                "put the file there as it was published, or sign it anew"
            }
            Self::Forbidden { .. } => "put a newer release there, which is not forbidden",
            Self::NoSbat { .. } | Self::Sbat(_) | Self::SbatTooOld { .. } => {
                "put a release there whose section .sbat shim takes"
            }
            _ => return None,
        })
    }
}

/// What is worth saying of a prediction that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// An entry of db is passed over.
    #[error("{database}: entry {entry} is no certificate and is passed over")]
    NotACertificate {
        /// The database.
        database: &'static str,
        /// Counted from 1 over all lists.
        entry: usize,
    },
    /// An entry has bytes behind its certificate.
    #[error(
        "{database}: entry {entry} has bytes behind its certificate: firmware takes it, shim and the reference pass over it"
    )]
    BytesBehindCertificate {
        /// The database.
        database: &'static str,
        /// Counted from 1 over all lists.
        entry: usize,
    },
    /// A list is of a type that nobody looks at.
    #[error(
        "{database}: the list at offset {offset_bytes} is of the type {kind}; edk2's firmware and shim pass over it, and so does this prediction"
    )]
    ListPassedOver {
        /// The database.
        database: &'static str,
        /// Where the list begins.
        offset_bytes: usize,
        /// Its name, or its GUID.
        kind: String,
    },
    /// An entry's certificate has a number that is not in its shortest form.
    #[error(
        "{database}: entry {entry} has a version or serial number that is not in its shortest form: shim takes its certificate, firmware passes over it"
    )]
    ForShimAlone {
        /// The database.
        database: &'static str,
        /// Counted from 1 over all lists.
        entry: usize,
    },
    /// An entry is built as a certificate and cannot be read.
    #[error(
        "{database}: entry {entry} is built as a certificate and cannot be read here ({reason}): firmware or shim may take it"
    )]
    EntryUnread {
        /// The database.
        database: &'static str,
        /// Counted from 1 over all lists.
        entry: usize,
        /// What cannot be read.
        reason: String,
    },
    /// A signature announces its content in another way.
    #[error(
        "{file}: its signature announces its content as 1.3.6.1.4.1.311.2.1.21; firmware and shim take it, the reference refuses it"
    )]
    IndirectDataOid {
        /// The boot file.
        file: String,
    },
    /// The reference has another value for this one.
    #[error("{file}: firmware and shim measure {ours} for it, the reference predicts {reference}")]
    ReferenceDiffers {
        /// The boot file.
        file: String,
        /// Names of the databases here.
        ours: String,
        /// Names of the databases there.
        reference: String,
    },
    /// Only PCR 12 is asked for.
    #[error(
        "PCR 12 alone says nothing about what was booted: any program can extend it in the same way"
    )]
    OnlyKernelProfile,
    /// The initrd's systemd is likely to be too old for a token that is sealed without the TPM.
    #[error(
        "{file}: its systemd-stub is {version}; systemd opens these tokens from 255 on, and RHEL's from 9.4 on (252-27.el9)"
    )]
    OldSystemd {
        /// The boot file.
        file: String,
        /// The version that its stub tells.
        version: String,
    },
    /// The command line comes from outside, and no PCR that is asked for takes it in.
    #[error(
        "{file}: it has no command line of its own, and PCR 12 is not asked for, which takes in the one that is handed to it: whoever can write the disk chooses it"
    )]
    OpenCommandLine {
        /// The boot file.
        file: String,
    },
    /// The stub takes a command line from outside where Secure Boot is off, and no PCR that is asked for tells.
    #[error(
        "{file}: with Secure Boot off it takes a command line from outside, which whoever can write the disk chooses; of the PCRs that tell, 7 and 12, none is asked for"
    )]
    CommandLineWithoutSecureBoot {
        /// The boot file.
        file: String,
    },
    /// The command line comes from somewhere else.
    #[error(
        "{file}: it has no command line of its own: one that is handed to it goes into PCR 12, which is then not zero"
    )]
    NoCommandLine {
        /// The boot file.
        file: String,
    },
    /// PCR 15 is asked for, and nothing is ever measured there.
    #[error(
        "{file}: is no unified kernel image: its boots measure no volume key, so PCR 15 stays zero"
    )]
    NoVolumeKey {
        /// The boot file.
        file: String,
    },
    /// Not all of a boot is predicted.
    #[error("{0}")]
    Gap(Gap),
    /// A shim has an SBAT level that the reference does not know.
    #[error("{file}: shim {shim} has its SBAT level built in; the reference predicts an empty one")]
    BuiltInLevel {
        /// The boot file.
        file: String,
        /// Its version.
        shim: Version,
    },
    /// A shim measures a variable that the reference does not know of.
    #[error("{file}: shim {shim} measures MokListTrusted into PCR 7; the reference leaves it out")]
    MokListTrusted {
        /// The boot file.
        file: String,
        /// Its version.
        shim: Version,
    },
}
