//! The configuration of an image's cloud-init: what it will make of it, and under which name a file of ours counts.
//!
//! cloud-init (seen in 22.4.2) merges the regular files of `/etc/cloud/cloud.cfg.d` whose names end in `.cfg`, links
//! followed, and `/etc/cloud/cloud.cfg` below them. Names are sorted by their code points, later ones count more. For
//! a key that two files have, the later one's value stays, unless the earlier one's is a mapping: it is merged into a
//! mapping, and *takes the place* of a text or a list. `merge_how` in a file changes these rules for it.
//!
//! Its shell script `ds-identify` runs before it, reads the same folder by a glob, takes the last line that looks like
//! `datasource_list: ...`, indented or not, and writes what it chose to `/run`, above all files. A shell may sort by
//! the locale: a name of ours is one that comes last in either order.
//!
//! What cannot be known from an image: `/run`, the kernel's command line, the data that a datasource gives.

mod order;
mod shell;
mod switches;
mod value;

use std::collections::BTreeMap;
use std::rc::Rc;

use filesystem::ext4::{Filesystem, Kind};
use filesystem::{self, Error};

pub use order::comes_before;
pub use switches::{Doubtful, check_datasource, doubtful_datasources, growing_is_off, is_off};
pub use value::{Value, read as read_yaml};

const CONFIG: &str = "cloud.cfg";
const CONFIG_FOLDER: &str = "cloud.cfg.d";
const CONFIG_LIMIT_BYTES: u64 = 1 << 18;

/// Why a file's values cannot be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// The loader takes nothing of it.
    #[error("it cannot be read as YAML ({0})")]
    Unreadable(String),
    /// It is a link to another filesystem, or to nothing.
    #[error("it is a link to what the image does not hold")]
    Dangling,
    /// It is too long to be looked at.
    #[error("it is longer than {CONFIG_LIMIT_BYTES} bytes")]
    TooLong,
    /// It is a template, which instance data fill.
    #[error("it is a Jinja template")]
    Template,
}

/// A file of the configuration.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Its path.
    pub path: String,
    name: Vec<u8>,
    text: Vec<u8>,
    content: Result<Value, Unclear>,
}

impl ConfigFile {
    fn new(folder: &str, name: &[u8], read: Result<Vec<u8>, Unclear>) -> Self {
        let (text, content) = match read {
            Ok(text) => {
                let content = content(&text);
                (text, content)
            }
            Err(unclear) => (Vec::new(), Err(unclear)),
        };
        Self {
            path: format!("{folder}/{}", name.escape_ascii()),
            name: name.to_vec(),
            text,
            content,
        }
    }

    /// True where it may say something about `key`, to cloud-init or to ds-identify.
    fn may_set(&self, key: &str) -> bool {
        let names = |text: &[u8]| {
            text.windows(key.len())
                .any(|window| window == key.as_bytes())
        };
        let mentions = names(&self.text) || names(&shell::read(&self.text));
        match &self.content {
            Ok(value) => value.get(key).is_some() || mentions,
            Err(Unclear::Unreadable(_) | Unclear::Template) => mentions,
            Err(Unclear::Dangling | Unclear::TooLong) => true,
        }
    }
}

fn content(text: &[u8]) -> Result<Value, Unclear> {
    let text =
        std::str::from_utf8(text).map_err(|_| Unclear::Unreadable("not UTF-8".to_owned()))?;
    let first = text.lines().next().unwrap_or_default();
    let template = first.strip_prefix("##").map(str::trim_start);
    if template.is_some_and(|line| line.to_ascii_lowercase().starts_with("template:")) {
        return Err(Unclear::Template);
    }
    value::read(text).map_err(Unclear::Unreadable)
}

/// A file that decides about a key, and why it is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct Undone {
    /// The file.
    pub path: String,
    /// Why.
    pub why: Why,
}

/// Why a file of ours would not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Its name comes later.
    #[error(
        "it sets {key}, and cloud-init takes it after every name of ours: give it a name that begins with a digit"
    )]
    ComesLast {
        /// The key.
        key: &'static str,
    },
    /// A mapping takes the place of a list or a text.
    #[error(
        "its {key} is a mapping, which cloud-init puts in the place of what is set to override it: take it out"
    )]
    Mapping {
        /// The key.
        key: &'static str,
    },
    /// It says itself how it is merged.
    #[error(
        "it sets {key}, and merge_how in it changes how cloud-init merges that: take {key} or merge_how out"
    )]
    MergeHow {
        /// The key.
        key: &'static str,
    },
    /// It is no file that can be judged, and names the key.
    #[error("it may set {key}, and {unclear}: mend or remove it")]
    Unclear {
        /// The key.
        key: &'static str,
        /// What keeps it from being judged.
        unclear: Unclear,
    },
    /// The folder is not read.
    #[error("conf_d in it leads cloud-init away from {CONFIG_FOLDER}: take conf_d out")]
    OtherFolder,
    /// ds-identify is told which datasource there is.
    #[error("it sets the datasource {name:?}, above every list: take the line out")]
    Datasource {
        /// The datasource.
        name: String,
    },
    /// The image has been booted, and cloud-init remembers where.
    #[error(
        "cloud-init keeps the datasource of an earlier boot there, and asks no list where it finds that again: run cloud-init clean in the image"
    )]
    BootedBefore,
}

/// What stands in `/etc/cloud`.
#[derive(Debug, Clone)]
pub struct CloudInit {
    folder: String,
    main: Option<ConfigFile>,
    /// Later ones count more.
    files: Vec<ConfigFile>,
}

impl CloudInit {
    /// Reads what stands in `folder`, which is `/etc/cloud` in a guest.
    pub fn read(filesystem: &Filesystem<'_>, folder: &str) -> filesystem::Result<Self> {
        let main = config_file(filesystem, folder, CONFIG.as_bytes())?;
        let parts = format!("{folder}/{CONFIG_FOLDER}");
        let mut files = Vec::new();
        for entry in filesystem.list_dir(&parts)? {
            if entry.name.ends_with(b".cfg") {
                files.extend(config_file(filesystem, &parts, &entry.name)?);
            }
        }
        files.sort_by(|one, other| {
            order::code_points(&one.name).cmp(order::code_points(&other.name))
        });
        Ok(Self {
            folder: folder.to_owned(),
            main,
            files,
        })
    }

    /// The same with another file, in the place of one of that name.
    #[must_use]
    pub fn with(&self, name: &str, text: &str) -> Self {
        let mut changed = self.clone();
        changed.files.retain(|file| file.name != name.as_bytes());
        let folder = format!("{}/{CONFIG_FOLDER}", self.folder);
        let file = ConfigFile::new(&folder, name.as_bytes(), Ok(text.as_bytes().to_vec()));
        let place = changed.files.partition_point(|other| {
            order::code_points(&other.name).lt(order::code_points(name.as_bytes()))
        });
        changed.files.insert(place, file);
        changed
    }

    /// What cloud-init takes for a key; `None` where no file has it.
    pub fn value(&self, key: &'static str) -> Result<Option<Rc<Value>>, Undone> {
        self.merge(key, |_| true)
    }

    /// Merges the values of a key from the file that counts most down, as long as `holds` of what they come to.
    fn merge(
        &self,
        key: &'static str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Option<Rc<Value>>, Undone> {
        if let Some(undone) = self.other_folder() {
            return Err(undone);
        }
        let mut taken: Option<Rc<Value>> = None;
        for file in self.files.iter().rev().chain(&self.main) {
            let undone = |why| {
                let path = file.path.clone();
                Err(Undone { path, why })
            };
            let content = match &file.content {
                Ok(content) => content,
                // cloud-init passes over what it cannot read.
                Err(_) if !file.may_set(key) => continue,
                Err(unclear) => {
                    let unclear = unclear.clone();
                    return undone(Why::Unclear { key, unclear });
                }
            };
            let Some(value) = content.get(key) else {
                continue;
            };
            let now = match &taken {
                None => Rc::clone(value),
                Some(_) if says_how(content) => return undone(Why::MergeHow { key }),
                Some(above) => merged(above, value),
            };
            if !holds(&now) {
                return undone(Why::Mapping { key });
            }
            taken = Some(now);
        }
        Ok(taken)
    }

    /// The name under which a file counts that holds `text` and sets `key`: `preferred` where that comes last, else one
    /// behind those that may set the key as well. What cloud-init then takes for the key is what `text` says of it.
    pub fn name_that_counts(
        &self,
        preferred: &str,
        key: &'static str,
        text: &str,
    ) -> Result<String, Undone> {
        let rivals = || {
            let others = self.files.iter();
            others.filter(|file| file.name != preferred.as_bytes() && file.may_set(key))
        };
        let is_last =
            |name: &str| rivals().find(|rival| !comes_before(&rival.name, name.as_bytes()));
        let mut name = preferred.to_owned();
        if is_last(&name).is_some() {
            let z = |file: &ConfigFile| order::leading_z(&file.name);
            let most = rivals().map(z).max().unwrap_or_default();
            let z = "z".repeat(most.saturating_add(1).max(2));
            let rest = preferred.trim_start_matches(|letter: char| letter.is_ascii_digit());
            name = format!("{z}{rest}");
        }
        if let Some(rival) = is_last(&name) {
            return Err(Undone {
                path: rival.path.clone(),
                why: Why::ComesLast { key },
            });
        }
        self.check(key, &name, text)?;
        Ok(name)
    }

    /// Merges with the new file: nothing below it may change what it says.
    fn check(&self, key: &'static str, name: &str, text: &str) -> Result<(), Undone> {
        let ours = content(text.as_bytes()).ok();
        let ours = ours.as_ref().and_then(|ours| ours.get(key));
        let holds = |taken: &Value| ours.is_some_and(|ours| holds(taken, ours));
        self.with(name, text).merge(key, holds).map(|_| ())
    }

    fn other_folder(&self) -> Option<Undone> {
        let main = self.main.as_ref()?;
        let named = main.content.as_ref().ok()?.get("conf_d")?;
        let own = format!("{}/{CONFIG_FOLDER}", self.folder);
        let is_own = named.words().is_some_and(|words| words.trim() == own);
        (!is_own).then(|| Undone {
            path: main.path.clone(),
            why: Why::OtherFolder,
        })
    }
}

/// True where a file says how it is to be merged.
fn says_how(content: &Value) -> bool {
    let how = content
        .get("merge_how")
        .or_else(|| content.get("merge_type"));
    how.is_some_and(|how| !how.is_null())
}

/// True where `taken` says what `wanted` says; a mapping may say more.
fn holds(taken: &Value, wanted: &Value) -> bool {
    match (taken, wanted) {
        (Value::Map(taken), Value::Map(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| taken.get(key).is_some_and(|taken| holds(taken, wanted))),
        _ => taken == wanted,
    }
}

/// A value with what a file that counts less has for the same key.
fn merged(above: &Rc<Value>, below: &Rc<Value>) -> Rc<Value> {
    match (&**above, &**below) {
        (Value::Map(mine), Value::Map(more)) => {
            let mut members: BTreeMap<_, _> = mine.clone();
            for (key, value) in more {
                let value = match mine.get(key) {
                    Some(above) => merged(above, value),
                    None => Rc::clone(value),
                };
                members.insert(key.clone(), value);
            }
            Rc::new(Value::Map(members))
        }
        (Value::Text(_) | Value::List(_), Value::Map(_)) => Rc::clone(below),
        _ => Rc::clone(above),
    }
}

/// Reads one file; `None` where cloud-init does not take it for one.
fn config_file(
    filesystem: &Filesystem<'_>,
    folder: &str,
    name: &[u8],
) -> filesystem::Result<Option<ConfigFile>> {
    let path = [folder.as_bytes(), b"/", name].concat();
    let Some(entry) = filesystem.symlink_metadata(&path)? else {
        return Ok(None);
    };
    let read = match filesystem.metadata(&path) {
        Ok(Some(found)) if found.kind != Kind::File => return Ok(None),
        Ok(Some(found)) if found.size_bytes > CONFIG_LIMIT_BYTES => Err(Unclear::TooLong),
        Ok(Some(_)) => Ok(filesystem.read_file(&path, CONFIG_LIMIT_BYTES)?),
        Ok(None) if entry.kind == Kind::Symlink => Err(Unclear::Dangling),
        // Python's `isfile` says no as well.
        Ok(None) | Err(Error::TooManyLinks { .. } | Error::NotADirectory { .. }) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    Ok(Some(ConfigFile::new(folder, name, read)))
}
