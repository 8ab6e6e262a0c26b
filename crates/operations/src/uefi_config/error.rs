//! Why there is no configuration, and the way out where there is one.

use std::io;
use std::path::{Path, PathBuf};

use super::{Defect, Lack};
use base::storage;
use firmware::config::Database;
use firmware::foreign::Format;
use firmware::variable_store::SecureBoot;
use firmware::{
    authenticated_variable, authority, azure, config, efivarfs, signature_list, variable_store,
};
use image::{OtherFormat, Qcow2Defect};

/// Why a UEFI configuration cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file has more than 4 MiB.
    #[error("{} has more than 4 MiB, and is not read", path.display())]
    FileTooLong {
        /// Which one.
        path: PathBuf,
    },
    /// A file where a directory is asked for.
    #[error("{} is no directory", path.display())]
    NoDirectory {
        /// Which one.
        path: PathBuf,
    },
    /// A description of another kind than the option takes.
    #[error("{} is {}, which {} does not take", path.display(), found.name(), wanted)]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: Format,
        /// The option.
        wanted: &'static str,
    },
    /// No file of a directory belongs to a database.
    #[error("{} holds no PK.esl, KEK-*.esl, db-*.esl or dbx-*.esl, nor certificates or .auth files of such names", path.display())]
    NothingTaken {
        /// The directory.
        path: PathBuf,
        /// It holds files whose names come near.
        near_misses: Vec<String>,
    },
    /// Four variables without a byte.
    #[error("{} gives an empty configuration: PK, KEK, db and dbx have no content", path.display())]
    Empty {
        /// Where it comes from.
        path: PathBuf,
    },
    /// Secure Boot is to be on, and there is no platform key.
    #[error("{}: {}, and without a platform key Secure Boot is off", path.display(), lack.what())]
    NoPlatformKey {
        /// Where it comes from.
        path: PathBuf,
        /// What is missing there.
        lack: Lack,
    },
    /// An entry that no firmware takes.
    #[error("{}{defect}", place(path, *database))]
    Entry {
        /// The file, or the directory where it is the files together.
        path: PathBuf,
        /// The variable in it, where the file does not tell.
        database: Option<Database>,
        /// What is wrong.
        defect: Defect,
    },
    /// A file of lists is none.
    #[error("{}: {problem}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: signature_list::Error,
    },
    /// A file of lists is a certificate.
    #[error("{} holds a certificate in PEM, and not a signature list", path.display())]
    PemInList {
        /// The file.
        path: PathBuf,
    },
    /// A variable's content is no sequence of lists.
    #[error("{}: {}: {problem}", path.display(), database.name())]
    Variable {
        /// Where it comes from.
        path: PathBuf,
        /// Which variable.
        database: Database,
        /// What is wrong with it.
        problem: signature_list::Error,
    },
    /// A variable's content is longer than any.
    #[error("{}: {} has {len_bytes} bytes, which is more than 1 MiB", path.display(), database.name())]
    VariableTooLong {
        /// Where it comes from.
        path: PathBuf,
        /// Which variable.
        database: Database,
        /// Length of its content.
        len_bytes: usize,
    },
    /// A file of certificates holds something else.
    #[error("{}: {problem}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: authority::NoCertificate,
    },
    /// A file of certificates has no byte.
    #[error("{} is empty: it holds no certificate", path.display())]
    EmptyCertificateFile {
        /// The file.
        path: PathBuf,
    },
    /// A file of certificates holds something else in PEM.
    #[error("{} holds PEM of the kind {label:?}, and no certificate", path.display())]
    OtherPem {
        /// The file.
        path: PathBuf,
        /// What it says that it holds.
        label: String,
    },
    /// The text between the lines of a PEM file is no base64.
    #[error("{} has a certificate in PEM whose text is no base64 or does not end", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
    },
    /// Nobody says who owns a certificate.
    #[error("{} holds the certificate {subject:?} and does not say who owns it", path.display())]
    NoOwner {
        /// The file.
        path: PathBuf,
        /// Whose certificate it is.
        subject: String,
    },
    /// A file `.auth` is none.
    #[error("{}: {problem}", path.display())]
    Update {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: authenticated_variable::Error,
    },
    /// The variable store cannot be read.
    #[error("{}: {problem}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: variable_store::Error,
    },
    /// The qcow2 image around the variable store cannot be read.
    #[error("{}: {problem}", path.display())]
    Qcow2 {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: image::Error,
    },
    /// The qcow2 image around the variable store is damaged behind its header.
    #[error("{}: the qcow2 image is damaged: {}", path.display(), whole(problem))]
    Qcow2Damaged {
        /// The file.
        path: PathBuf,
        /// The read that failed.
        problem: storage::Error,
    },
    /// The guest's Secure Boot is off.
    #[error("{}: {}", path.display(), off(*state))]
    SecureBootOff {
        /// Where it comes from.
        path: PathBuf,
        /// How it is off.
        state: SecureBoot,
    },
    /// A copy of efivarfs says that there is no PK, beside one.
    #[error(
        "{}: SetupMode is 1, as in a guest without a PK, and a PK lies beside it: the files are not of one moment", path.display()
    )]
    SetupMode {
        /// The directory.
        path: PathBuf,
    },
    /// A copy of efivarfs holds none of the four variables.
    #[error("{} holds none of the variables PK, KEK, db and dbx", path.display())]
    NoVariables {
        /// The directory.
        path: PathBuf,
    },
    /// A copy of efivarfs has two files for one variable.
    #[error("{} and {other} are two files for one variable", path.display())]
    TwoFiles {
        /// The first.
        path: PathBuf,
        /// Name of the second.
        other: String,
    },
    /// A file of efivarfs is too short.
    #[error("{}: {problem}", path.display())]
    Attributes {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: efivarfs::AttributesCut,
    },
    /// The description of a disk cannot be used.
    #[error("{}: {problem}", path.display())]
    Azure {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: azure::Error,
    },
    /// `uefi-config.json` cannot be used.
    #[error("{}: {problem}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: config::Error,
    },
    /// The directory for the databases is not there.
    #[error("cannot save the databases: {} is no directory", path.display())]
    NoSaveDirectory {
        /// Which one.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A failed read and what it found, in one line.
fn whole(problem: &storage::Error) -> String {
    match problem.io() {
        Some(found) => format!("{problem}: {found}"),
        None => problem.to_string(),
    }
}

/// What to do with a file of another format.
fn other_format(path: &Path, found: Format) -> String {
    let path = image::quoted(path);
    let in_guest = "run create-uefi-config --efivars in the guest, or in one of the same kind";
    let from_json = |json: &str| {
        format!("virt-fw-vars -i /usr/share/OVMF/OVMF_VARS_4M.fd --set-json {json} -o store.fd")
    };
    match found {
        Format::AwsUefiData => format!(
            "{in_guest}; or make a store of it that --ovmf-vars takes: virt-fw-vars -i {path} --output-json store.json \
             && {}",
            from_json("store.json")
        ),
        Format::AwsAnswer => {
            format!("{in_guest}; or take the data out of it: jq -r .UefiData {path} > uefi-data")
        }
        Format::JsonStore => format!(
            "{in_guest}; or make a store of it that --ovmf-vars takes: {}",
            from_json(&path)
        ),
        Format::VmwareNvram => in_guest.to_owned(),
        Format::Edk2Store | Format::Qcow2 => format!("give it as --ovmf-vars {path}"),
        Format::UefiConfig => format!("deploy and predict take it as --uefi-config {path}"),
        Format::Azure => format!("give it as --az-disk-profile {path}"),
    }
}

fn place(path: &Path, database: Option<Database>) -> String {
    let database = database.map_or_else(String::new, |database| format!("{}: ", database.name()));
    format!("{}: {database}", path.display())
}

fn off(state: SecureBoot) -> &'static str {
    match state {
        SecureBoot::SetupMode => "there is no PK, so Secure Boot is off in this guest",
        _ => "Secure Boot is switched off in this guest",
    }
}

impl Error {
    /// The way out, where there is one: lines to show below the message.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OtherFormat { path, found, .. } => Some(other_format(path, *found)),
            Self::NothingTaken { near_misses, .. } if !near_misses.is_empty() => {
                Some(format!("near misses: {}", near_misses.join(", ")))
            }
            Self::Entry { defect, .. } => defect.hint().map(str::to_owned),
            // The option that names backing files is for the disks of images.
            Self::Qcow2 {
                path,
                problem:
                    image::Error::Qcow2 {
                        defect: Qcow2Defect::BackingFile { .. },
                    },
            } => Some(OtherFormat::Qcow2.conversion(path)),
            Self::Qcow2 { path, problem } => problem.hint(path),
            _ => self.hint_in_words().map(str::to_owned),
        }
    }

    fn hint_in_words(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoDirectory { path } => {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("fd" | "qcow2") => "a variable store is given with --ovmf-vars",
                    Some("json") => "Azure's description of a disk is given with --az-disk-profile",
                    _ => "-i takes the directory that holds the files",
                }
            }
            Self::EmptyCertificateFile { .. } => {
                "the program that wrote it failed: write it again, or remove it"
            }
            Self::OtherPem { label, .. } if label.ends_with("PRIVATE KEY") => {
                "put the certificate of that key in its place, and keep the key elsewhere"
            }
            Self::OtherPem { .. } => {
                "openssl x509 -in CERTIFICATE -out FILE writes a certificate in PEM"
            }
            Self::Store {
                problem: variable_store::Error::NoVolume,
                ..
            } => {
                "give the guest's variables, such as OVMF_VARS_4M.ms.fd; OVMF_CODE*.fd is the firmware itself"
            }
            Self::NoPlatformKey { lack, .. } => lack.hint(),
            Self::PemInList { .. } => {
                "give the file the extension .pem, or convert it with cert-to-efi-sig-list"
            }
            Self::List { problem, .. } => match problem {
                signature_list::Error::AuthenticationHeader => "give the file the extension .auth",
                signature_list::Error::Attributes => {
                    "remove the first 4 bytes, or read the directory with --efivars"
                }
                _ => return None,
            },
            Self::NoOwner { .. } => {
                "PCR 7 measures the owner: name the file VARIABLE-GUID-NAME.pem, as virt-fw-vars does, \
                 or give --certificate-owner GUID (d281fad2-8d88-47a4-9792-5baa47bb1b89 on Google Compute Engine)"
            }
            Self::Store {
                problem: variable_store::Error::Blank,
                ..
            } => {
                "firmware writes the store at its first start; enroll keys, or take the store with keys \
                 that your distribution ships (OVMF_VARS_4M.ms.fd)"
            }
            Self::SetupMode { .. } => {
                "copy them again; --secure-boot off describes such a guest all the same"
            }
            Self::SecureBootOff { .. } => {
                "PCR 7 of such a guest protects little; --secure-boot off describes it all the same"
            }
            Self::Read { path, source }
                if source.kind() == io::ErrorKind::NotFound
                    && path.as_os_str() == efivarfs::MOUNT_POINT =>
            {
                "this machine was not started by UEFI, or efivarfs is not mounted"
            }
            Self::Azure {
                problem: azure::Error::Template(_),
                ..
            } => {
                "run create-uefi-config --efivars in a guest of the same template, or use a \
                 uefi-config.json that was saved from one"
            }
            _ => return None,
        })
    }
}
