//! The configuration in a directory of files.
//!
//! | variable | signature lists | signed updates | certificates |
//! | --- | --- | --- | --- |
//! | PK | `PK.esl` | `PK.auth` | `PK.pem`, `PK-*.pem` |
//! | KEK, db, dbx | `db-*.esl` | `db-*.auth` | `db-*.pem` |
//!
//! `.crt`, `.cer` and `.der` are certificates as well; whether one is PEM or DER, its content tells. Names
//! count by letter case. The files of a variable are put together in the order of the bytes of their names.
//! The reference reads the signature lists alone: what other files repeat of them is left out, so that a
//! directory with `db-1.pem` and the `db-1.esl` that was made from it leads to what the reference reads. A certificate that
//! two files hold is taken once; what signature lists and updates repeat is theirs, byte for byte.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, hash_map};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use uuid::Uuid;

use super::{
    Error, Note, Options, Reading, Warning, certificate_file, defect, names_in, read_regular_file,
};
use firmware::config::{Database, MAX_VARIABLE_BYTES, Rules};
use firmware::{SignatureList, authenticated_variable, azure, signature_list};

const CERTIFICATES: [&str; 4] = ["pem", "crt", "cer", "der"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Lists,
    Update,
    Certificates,
}

/// What a file's name says.
struct FileName<'n> {
    /// The variable that it belongs to.
    database: Database,
    /// How it holds the variable's content.
    form: Form,
    /// The part of the name behind the variable's.
    behind: &'n [u8],
}

/// What the name of a file says, where that belongs to a variable.
fn classify(name: &[u8]) -> Option<FileName<'_>> {
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    let form = match std::str::from_utf8(name.get(dot + 1..)?).ok()? {
        "esl" => Form::Lists,
        "auth" => Form::Update,
        extension if CERTIFICATES.contains(&extension) => Form::Certificates,
        _ => return None,
    };
    Database::ALL.into_iter().find_map(|database| {
        let rest = name.strip_prefix(database.name().as_bytes())?;
        let behind = if rest.len() == name.len() - dot {
            // PK.esl; "db.esl" is nobody's, and neither is "PK-1.esl", as the reference has it.
            (database == Database::Pk).then_some(rest)
        } else {
            let is_plain = database != Database::Pk || form == Form::Certificates;
            rest.strip_prefix(b"-").filter(|_| is_plain)
        }?;
        Some(FileName {
            database,
            form,
            behind,
        })
    })
}

/// True for the name of a file that belongs to a variable.
pub(super) fn is_read(name: &OsStr) -> bool {
    classify(name.as_bytes()).is_some()
}

/// True where nothing reads a file and its name says that somebody may think so.
fn is_near_miss(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    match extension {
        "esl" | "auth" => true,
        _ => {
            CERTIFICATES.contains(&extension)
                && ["pk", "kek", "db"]
                    .iter()
                    .any(|start| stem.starts_with(start))
        }
    }
}

/// A file that belongs to a variable.
struct Taken {
    name: String,
    form: Form,
    content: Vec<u8>,
    /// What the content says; none under the reference's rules.
    lists: Vec<SignatureList>,
}

/// Reads the files of a directory.
pub(super) fn read(folder: &Path, options: &Options) -> Result<Reading, Error> {
    let names = names_in(folder, "--in")?;
    let mut read = Reading::default();
    let mut digests = 0;
    for database in Database::ALL {
        let files = files_of(database, folder, &names, options, &mut read)?;
        let lists = files.iter().flat_map(|file| &file.lists);
        let of_digests = lists.filter(|list| list.kind == signature_list::SHA256);
        digests += of_digests.map(|list| list.entries.len()).sum::<usize>();
        if !files.is_empty() {
            let contents = files.into_iter().flat_map(|file| file.content);
            let content: Vec<_> = contents.collect();
            let len_bytes = content.len();
            if len_bytes > MAX_VARIABLE_BYTES {
                return Err(Error::VariableTooLong {
                    path: folder.to_owned(),
                    database,
                    len_bytes,
                });
            }
            read.config.set(database, Some(content));
        }
    }
    let near_misses: Vec<_> = names
        .iter()
        .filter(|name| classify(name.as_bytes()).is_none())
        .map(|name| name.display().to_string())
        .filter(|name| is_near_miss(name))
        .collect();
    let nothing = Database::ALL
        .iter()
        .all(|database| read.config.get(*database).is_none());
    if nothing && options.rules == Rules::Ours {
        return Err(Error::NothingTaken {
            path: folder.to_owned(),
            near_misses,
        });
    }
    if !near_misses.is_empty() {
        read.warnings.push(Warning::NotTaken(near_misses));
    }
    if digests > azure::MAX_DIGESTS {
        read.warnings
            .push(Warning::TooManyDigests { count: digests });
    }
    Ok(read)
}

/// The files of one variable, in the order in which they make its content; what is worth saying of them goes to `read`.
fn files_of(
    database: Database,
    folder: &Path,
    names: &[OsString],
    options: &Options,
    read: &mut Reading,
) -> Result<Vec<Taken>, Error> {
    let mut files = Vec::new();
    for name in names {
        let Some(file_name) = classify(name.as_bytes()) else {
            continue;
        };
        let is_read = file_name.form == Form::Lists || options.rules == Rules::Ours;
        if file_name.database == database && is_read {
            read.notes.extend(other_owner(name, &file_name, options));
            files.push(take(folder, name, &file_name, options, &mut read.warnings)?);
        }
    }
    if options.rules == Rules::Ours {
        files = without_repetitions(files, database, &mut read.notes);
        files = with_each_certificate_once(files, &mut read.notes);
    }
    read.warnings.extend(number_order(&files));
    read.warnings.extend(empty_lists(&files, database));
    if database == Database::Dbx && files.iter().all(|file| file.form == Form::Update) {
        let updates: Vec<_> = files.iter().map(|file| file.name.clone()).collect();
        if !updates.is_empty() {
            read.warnings.push(Warning::UpdatesAsDbx(updates));
        }
    }
    Ok(files)
}

/// A certificate whose name tells another owner than the caller does for all that tell none.
fn other_owner(name: &OsString, file_name: &FileName<'_>, options: &Options) -> Option<Note> {
    let owner = certificate_file::owner_in_name(&String::from_utf8_lossy(file_name.behind))?;
    let is_other = options
        .certificate_owner
        .is_some_and(|given| given != owner);
    (file_name.form == Form::Certificates && is_other).then(|| Note::OwnerInName {
        file: name.display().to_string(),
        owner,
    })
}

fn take(
    folder: &Path,
    name: &OsString,
    file_name: &FileName<'_>,
    options: &Options,
    warnings: &mut Vec<Warning>,
) -> Result<Taken, Error> {
    let path = folder.join(name);
    let content = read_regular_file(&path)?;
    let name = name.display().to_string();
    let list = |problem| Error::List {
        path: path.clone(),
        problem,
    };
    let (content, lists) = match file_name.form {
        Form::Lists if options.rules == Rules::Reference => (content, Vec::new()),
        Form::Lists => match signature_list::parse(&content) {
            Ok(lists) => (content, lists),
            Err(_) if certificate_file::is_pem(&content) => return Err(Error::PemInList { path }),
            Err(problem) => return Err(list(problem)),
        },
        Form::Update => {
            let value =
                authenticated_variable::value(&content).map_err(|problem| Error::Update {
                    path: path.clone(),
                    problem,
                })?;
            if value.is_empty() {
                warnings.push(Warning::Deletes(name.clone()));
            }
            (value.to_vec(), signature_list::parse(value).map_err(list)?)
        }
        Form::Certificates => {
            let behind = String::from_utf8_lossy(file_name.behind);
            let lists = certificate_file::lists(&path, &behind, &content, options)?;
            (
                lists.iter().flat_map(SignatureList::to_bytes).collect(),
                lists,
            )
        }
    };
    if let Some(defect) = defect::first(file_name.database, &lists) {
        return Err(Error::Entry {
            path,
            database: None,
            defect,
        });
    }
    Ok(Taken {
        name,
        form: file_name.form,
        content,
        lists,
    })
}

/// The files without what only repeats the signature lists of the same variable: single certificates, and updates as a whole.
fn without_repetitions(files: Vec<Taken>, database: Database, notes: &mut Vec<Note>) -> Vec<Taken> {
    let entries = |list: &SignatureList| -> Vec<(Uuid, Vec<u8>)> {
        let entries = list.entries.iter();
        entries
            .map(|entry| (list.kind, entry.data.clone()))
            .collect()
    };
    let listed: HashSet<_> = files
        .iter()
        .filter(|file| file.form == Form::Lists)
        .flat_map(|file| file.lists.iter().flat_map(entries))
        .collect();
    let repeats = |list: &SignatureList| entries(list).iter().all(|entry| listed.contains(entry));
    let mut kept = Vec::new();
    for mut file in files {
        let count = file.lists.iter().filter(|list| repeats(list)).count();
        if file.form == Form::Lists || count == 0 {
            kept.push(file);
        } else if count == file.lists.len() {
            notes.push(Note::AlreadyInLists {
                file: file.name,
                database,
            });
        } else {
            if file.form == Form::Certificates {
                file.lists.retain(|list| !repeats(list));
                file.content = file
                    .lists
                    .iter()
                    .flat_map(SignatureList::to_bytes)
                    .collect();
                notes.push(Note::SomeInLists {
                    file: file.name.clone(),
                    count,
                    database,
                });
            }
            kept.push(file);
        }
    }
    kept
}

/// The files without certificates that an earlier one of them, or the same one, has under the same owner. Programs that put
/// certificates into a store, and firmware where it appends to a variable (UEFI 2.10, section 8.2.6), take an entry once.
fn with_each_certificate_once(mut files: Vec<Taken>, notes: &mut Vec<Note>) -> Vec<Taken> {
    let mut seen: HashMap<Vec<u8>, String> = HashMap::new();
    for file in files
        .iter_mut()
        .filter(|file| file.form == Form::Certificates)
    {
        let name = &file.name;
        file.lists.retain(|list| match seen.entry(list.to_bytes()) {
            hash_map::Entry::Vacant(new) => {
                new.insert(name.clone());
                true
            }
            hash_map::Entry::Occupied(first) => {
                notes.push(Note::Repeated {
                    file: name.clone(),
                    first: first.get().clone(),
                });
                false
            }
        });
        let lists = file.lists.iter();
        file.content = lists.flat_map(SignatureList::to_bytes).collect();
    }
    files.retain(|file| file.form != Form::Certificates || !file.lists.is_empty());
    files
}

/// Files of signature lists without a byte, where other files have some.
fn empty_lists(files: &[Taken], database: Database) -> Vec<Warning> {
    if files.iter().all(|file| file.content.is_empty()) {
        return Vec::new();
    }
    let empty = files
        .iter()
        .filter(|file| file.form == Form::Lists && file.content.is_empty());
    let warning = |file: &Taken| Warning::EmptyLists {
        file: file.name.clone(),
        database,
    };
    empty.map(warning).collect()
}

/// The first neighbours whose numbers say another order than their bytes.
fn number_order(files: &[Taken]) -> Option<Warning> {
    files.windows(2).find_map(|pair| {
        let [first, second] = pair else { return None };
        let is_against =
            by_numbers(first.name.as_bytes(), second.name.as_bytes()) == Ordering::Greater;
        is_against.then(|| Warning::NumberOrder {
            first: first.name.clone(),
            second: second.name.clone(),
        })
    })
}

/// Compares names as people do: runs of digits by their value.
fn by_numbers(mut left: &[u8], mut right: &[u8]) -> Ordering {
    loop {
        let digits = |name: &[u8]| name.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (in_left, in_right) = (digits(left), digits(right));
        if in_left > 0 && in_right > 0 {
            let ((left_number, left_rest), (right_number, right_rest)) =
                (left.split_at(in_left), right.split_at(in_right));
            let value = |number: &[u8]| {
                let zeros = number.iter().take_while(|byte| **byte == b'0').count();
                (number.len() - zeros, number[zeros..].to_vec())
            };
            match value(left_number).cmp(&value(right_number)) {
                Ordering::Equal => (left, right) = (left_rest, right_rest),
                other => return other,
            }
        } else {
            match (left.split_first(), right.split_first()) {
                (Some((a, left_rest)), Some((b, right_rest))) if a == b => {
                    (left, right) = (left_rest, right_rest);
                }
                _ => return left.cmp(right),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_the_reference_takes_them() {
        let taken = |name: &str| {
            classify(name.as_bytes()).map(|file_name| (file_name.database, file_name.form))
        };
        for (name, database) in [
            ("PK.esl", Database::Pk),
            ("KEK-1.esl", Database::Kek),
            ("db-.esl", Database::Db),
            ("db-é.x.esl", Database::Db),
            ("dbx-sha256.esl", Database::Dbx),
        ] {
            assert_eq!(taken(name), Some((database, Form::Lists)), "{name}");
        }
        for name in [
            "PK-1.esl",
            "pk.esl",
            "KEK.esl",
            "db.esl",
            "db_1.esl",
            ".db-1.esl",
            "xdb-1.esl",
            "DB-1.esl",
            "db-1.ESL",
            "db-1.esl.bak",
            "db-esl",
            "esl",
            "",
            "db-1",
            "PK-1.auth",
            "dbx.auth",
            "db.pem",
        ] {
            assert_eq!(taken(name), None, "{name}");
        }
        assert_eq!(taken("PK.auth"), Some((Database::Pk, Form::Update)));
        assert_eq!(taken("dbx-1.auth"), Some((Database::Dbx, Form::Update)));
        assert_eq!(
            taken("PK-guid-name.pem"),
            Some((Database::Pk, Form::Certificates))
        );
        assert_eq!(taken("PK.der"), Some((Database::Pk, Form::Certificates)));
        assert_eq!(taken("db-1.cer"), Some((Database::Db, Form::Certificates)));
    }

    #[test]
    fn near_misses_are_seen() {
        for name in [
            "db.esl", "DB-1.ESL", "x.auth", "db.pem", "PK_1.crt", "kek.der",
        ] {
            assert!(is_near_miss(name), "{name}");
        }
        for name in ["README.txt", "root.pem", "esl", "db-1.esl.bak"] {
            assert!(!is_near_miss(name), "{name}");
        }
    }

    #[test]
    fn numbers_are_compared_by_value() {
        assert_eq!(by_numbers(b"db-10.esl", b"db-2.esl"), Ordering::Greater);
        assert_eq!(by_numbers(b"db-02.esl", b"db-10.esl"), Ordering::Less);
        assert_eq!(by_numbers(b"db-1.esl", b"db-10.esl"), Ordering::Less);
        assert_eq!(by_numbers(b"db-1a9.esl", b"db-1a10.esl"), Ordering::Less);
        assert_eq!(by_numbers(b"db-a.esl", b"db-b.esl"), Ordering::Less);
        assert_eq!(by_numbers(b"db-1", b"db-1"), Ordering::Equal);
        let (long, longer) = (
            format!("db-{}", "9".repeat(40)),
            format!("db-1{}", "0".repeat(40)),
        );
        assert_eq!(
            by_numbers(long.as_bytes(), longer.as_bytes()),
            Ordering::Less
        );
    }
}
