//! What there is to say about a configuration that was read all the same.

use uuid::Uuid;

use firmware::config::Database;
use firmware::guid;

/// How a source was read, where that is not plain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// A certificate or update adds nothing to the lists beside it.
    #[error("{file} is left out: what it holds is in the .esl files of {} already", .database.name())]
    AlreadyInLists {
        /// Name of the file.
        file: String,
        /// The database that it belongs to.
        database: Database,
    },
    /// Some of the certificates of a file add nothing to the lists beside it.
    #[error("{count} of the certificates in {file} {} left out: the .esl files of {} hold {} already", if *.count == 1 { "is" } else { "are" }, .database.name(), if *.count == 1 { "it" } else { "them" })]
    SomeInLists {
        /// Name of the file.
        file: String,
        /// How many.
        count: usize,
        /// The database that it belongs to.
        database: Database,
    },
    /// A certificate is in two files.
    #[error("a certificate in {file} is left out: {first} has it, under the same owner")]
    Repeated {
        /// Name of the file.
        file: String,
        /// Name of the file that has it already, which may be the same.
        first: String,
    },
    /// A certificate's file tells another owner than the caller.
    #[error("the name of {file} tells the owner {owner}, which counts before --certificate-owner")]
    OwnerInName {
        /// Name of the file.
        file: String,
        /// The owner in its name.
        owner: Uuid,
    },
    /// A file of efivarfs lacks the attributes.
    #[error(
        "{0} is a bare signature list, without the 4 bytes of attributes of a file in efivarfs"
    )]
    BareList(String),
    /// Shim has variables of its own there.
    #[error("shim's variables {} are not part of the configuration; a machine owner key that verifies the kernel leads to another PCR 7", listed(.0))]
    ShimVariables(Vec<String>),
    /// Azure's description sets more variables.
    #[error("the description sets other variables, which PCR 4, 7 and 12 do not measure: {}", listed(.0))]
    OtherVariables(Vec<String>),
}

/// What will bite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A database without content.
    #[error("{} is empty{}", .0.name(), empty(*.0))]
    EmptyDatabase(Database),
    /// No Microsoft UEFI CA in db.
    #[error(
        "db holds neither of Microsoft's UEFI CAs: a shim as distributions ship it does not start"
    )]
    NoMicrosoftCa,
    /// The UEFI CA of 2011 alone.
    #[error(
        "db holds Microsoft's UEFI CA of 2011 and not the one of 2023: a shim that is signed under the new one alone does not start"
    )]
    Only2011,
    /// The UEFI CA of 2023 alone.
    #[error(
        "db holds Microsoft's UEFI CA of 2023 and not the one of 2011: a shim that is signed under the old one alone does not start"
    )]
    Only2023,
    /// A certificate of Microsoft's under another owner.
    #[error("{} holds Microsoft's certificate {subject:?} with the owner {owner}; guests have it with {}, those of Google Compute Engine with {}", .database.name(), guid::MICROSOFT, guid::GOOGLE)]
    MicrosoftOwner {
        /// Which database.
        database: Database,
        /// Whose certificate.
        subject: String,
        /// The owner that it has here.
        owner: Uuid,
    },
    /// A list of several certificates.
    #[error("{} has {count} certificates in one list: shim looks at the first one only", .database.name())]
    SeveralInOneList {
        /// Which database.
        database: Database,
        /// How many.
        count: usize,
    },
    /// An entry that should be a certificate.
    #[error("{} has an entry at offset {offset_bytes} that is no certificate: it is measured and nothing else", .database.name())]
    NoCertificate {
        /// Which database.
        database: Database,
        /// Where the entry begins.
        offset_bytes: usize,
    },
    /// An entry with something behind its certificate.
    #[error("{} has an entry at offset {offset_bytes} with bytes behind its certificate: firmware takes it, shim does not", .database.name())]
    BytesBehindCertificate {
        /// Which database.
        database: Database,
        /// Where the entry begins.
        offset_bytes: usize,
    },
    /// Entries of an unknown type.
    #[error("{} has a list of the unknown type {kind}: it is measured and nothing else", .database.name())]
    UnknownType {
        /// Which database.
        database: Database,
        /// The type.
        kind: Uuid,
    },
    /// Entries of a size that their type does not have.
    #[error("{} has a list of {kind} whose entries have {found} bytes of data, not {expected}", .database.name())]
    EntrySize {
        /// Which database.
        database: Database,
        /// The type's name.
        kind: &'static str,
        /// Bytes of data.
        found: usize,
        /// Bytes that the type has.
        expected: usize,
    },
    /// A digest of zeros.
    #[error("{} has a digest of zeros: a tool that could not read its file writes that", .database.name())]
    ZeroDigest {
        /// Which database.
        database: Database,
    },
    /// An owner of zeros.
    #[error("{} has an entry whose owner is all zeros: a tool that was told none writes that, and PCR 7 measures it", .database.name())]
    ZeroOwner {
        /// Which database.
        database: Database,
    },
    /// Not one PK.
    #[error("PK has {0} entries: firmware takes one")]
    SeveralPk(usize),
    /// More digests than Azure takes.
    #[error(
        "there are {count} SHA-256 digests: Azure refuses more than 256 in the UEFI settings of an image or disk"
    )]
    TooManyDigests {
        /// How many.
        count: usize,
    },
    /// Files are in the order of their bytes.
    #[error(
        "{first} comes before {second}: files are in the order of the bytes of their names, and PCR 7 depends on it; write numbers with leading zeros"
    )]
    NumberOrder {
        /// The higher number, which comes first.
        first: String,
        /// The lower number.
        second: String,
    },
    /// A file of signature lists has no byte, and others of its variable have some.
    #[error("{file} is empty, and adds nothing to {}", .database.name())]
    EmptyLists {
        /// Name of the file.
        file: String,
        /// The database that it belongs to.
        database: Database,
    },
    /// Files that look as if they should be read.
    #[error("not read: {}; names are PK.esl, KEK-*.esl, db-*.esl, dbx-*.esl", listed(.0))]
    NotTaken(Vec<String>),
    /// An update of dbx in place of dbx.
    #[error("dbx comes from signed updates alone ({}): firmware adds a published update to the dbx that it has, so a guest's dbx may hold more", listed(.0))]
    UpdatesAsDbx(Vec<String>),
    /// A signed update that deletes.
    #[error("{0} holds no new value: firmware deletes the variable on such an update")]
    Deletes(String),
    /// The store was saved while a variable changed.
    #[error("{} was about to be replaced when this store was saved: shut the guest down and read it again", .0.name())]
    InTransition(Database),
    /// Secure Boot is on against what was said.
    #[error("Secure Boot is on in this guest, though --secure-boot off was given")]
    SecureBootIsOn,
    /// A description sets machine owner keys.
    #[error("the description sets {}: shim trusts and refuses programs by them, which is not predicted; a kernel that a machine owner key alone verifies leads to another PCR 7", listed(.0))]
    ShimsLists(Vec<String>),
    /// Members of `uefi-config.json`, or of a description's signatures, that nothing reads.
    #[error("members that are not known are passed over: {}", listed(.0))]
    UnknownMembers(Vec<String>),
}

/// Names of files and members; they come from somebody else, and must not write to a terminal.
fn listed(names: &[String]) -> String {
    let names = names.iter().map(|name| name.escape_debug().to_string());
    names.collect::<Vec<_>>().join(", ")
}

fn empty(database: Database) -> &'static str {
    match database {
        Database::Pk => ": without a platform key Secure Boot is off",
        Database::Db => ": such a guest starts nothing under Secure Boot",
        Database::Kek | Database::Dbx => ": if the guest's is not, PCR 7 differs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_elsewhere_are_shown_without_control_characters() {
        let names = vec!["db".to_owned(), "\u{1b}[2J".to_owned()];
        assert_eq!(
            Warning::UnknownMembers(names.clone()).to_string(),
            "members that are not known are passed over: db, \\u{1b}[2J"
        );
        assert!(
            Note::OtherVariables(names)
                .to_string()
                .ends_with("db, \\u{1b}[2J")
        );
    }
}
