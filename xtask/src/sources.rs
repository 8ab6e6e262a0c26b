//! Where Debian packages come from: the archive that this machine's apt uses already, with the name of
//! its suite replaced. So a mirror, a proxy's address or a key that the machine was given serves for the
//! guest too, and no host name stands in this repository.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// One entry of apt's sources, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    uris: String,
    suites: Vec<String>,
    components: Vec<String>,
    /// Path of a keyring, or keys in place; with the line breaks that the format wants.
    signed_by: Option<String>,
    trusted: bool,
}

/// The text of a sources file (deb822) for `suite` of Debian's archive below `root`, the machine's
/// root directory. `None` where the machine is no Debian or names no archive that can be recognised.
pub fn for_suite(root: &Path, suite: &str) -> Result<Option<String>> {
    let release = fs::read_to_string(root.join("etc/os-release")).unwrap_or_default();
    if value_of(&release, "ID") != Some("debian") {
        return Ok(None);
    }
    let codename = value_of(&release, "VERSION_CODENAME").unwrap_or("sid");
    let main = entries(&root.join("etc/apt"))?.into_iter().find(|entry| {
        let is_release = |suite: &String| {
            [codename, "stable", "testing", "unstable", "sid"].contains(&suite.as_str())
        };
        entry.suites.iter().any(is_release) && entry.components.iter().any(|one| one == "main")
    });
    Ok(main.map(|entry| entry.with_suite(suite)))
}

impl Entry {
    fn with_suite(&self, suite: &str) -> String {
        let mut text = format!("Types: deb\nURIs: {}\nSuites: {suite}\n", self.uris);
        text += "Components: main\n";
        if let Some(signed_by) = &self.signed_by {
            text += "Signed-By: ";
            text += signed_by;
            text += "\n";
        }
        if self.trusted {
            text += "Trusted: yes\n";
        }
        text
    }
}

/// The value of a line `NAME=value` of os-release.
fn value_of<'a>(release: &'a str, name: &str) -> Option<&'a str> {
    let value = release
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}

/// All binary entries that apt reads, in no order that matters.
fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let mut files = vec![folder.join("sources.list")];
    if let Ok(found) = fs::read_dir(folder.join("sources.list.d")) {
        files.extend(found.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    let mut entries = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let read =
            || fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => entries.extend(read()?.lines().filter_map(one_line)),
            Some("sources") => entries.extend(stanzas(&read()?).iter().filter_map(deb822)),
            _ => {} // apt reads no other name
        }
    }
    Ok(entries)
}

/// `deb [signed-by=KEYRING] URI SUITE COMPONENT...`
fn one_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let line = line
        .strip_prefix("deb")?
        .strip_prefix([' ', '\t'])?
        .trim_start();
    let (options, rest) = match line.strip_prefix('[') {
        Some(line) => line.split_once(']')?,
        None => ("", line),
    };
    let option = |name: &str| {
        options
            .split_whitespace()
            .find_map(|one| one.strip_prefix(name)?.strip_prefix('='))
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Entry {
        uris: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: option("signed-by").map(str::to_owned),
        trusted: option("trusted") == Some("yes"),
    })
}

type Stanza = Vec<(String, String)>;

/// The stanzas of a deb822 file: fields with lower-case names, continuation lines kept.
fn stanzas(text: &str) -> Vec<Stanza> {
    let mut found = vec![Stanza::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let stanza = found.last_mut();
        if line.trim().is_empty() {
            found.push(Stanza::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.and_then(|stanza| stanza.last_mut()) {
                value.push('\n');
                value.push_str(line);
            }
        } else if let (Some(stanza), Some((name, value))) = (stanza, line.split_once(':')) {
            stanza.push((name.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    found
}

fn deb822(stanza: &Stanza) -> Option<Entry> {
    let field = |name: &str| {
        stanza
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    let words = |name: &str| -> Vec<String> {
        field(name)
            .map_or("", String::as_str)
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    if field("enabled").is_some_and(|value| value == "no")
        || !words("types").contains(&"deb".into())
    {
        return None;
    }
    Some(Entry {
        uris: words("uris").join(" "),
        suites: words("suites"),
        components: words("components"),
        signed_by: field("signed-by").cloned(),
        trusted: field("trusted").is_some_and(|value| value == "yes"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_apt_are_read() {
        let line = "deb [arch=amd64 signed-by=/k.gpg]  http://mirror.test/debian bookworm main # x";
        let expected = Entry {
            uris: "http://mirror.test/debian".into(),
            suites: vec!["bookworm".into()],
            components: vec!["main".into()],
            signed_by: Some("/k.gpg".into()),
            trusted: false,
        };
        assert_eq!(one_line(line), Some(expected));
        for other in [
            "",
            "# deb http://mirror.test a main",
            "deb-src http://mirror.test a main",
        ] {
            assert_eq!(one_line(other), None);
        }

        let text = "Types: deb deb-src\n# a comment\nURIs: http://mirror.test/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\nSigned-By:\n -----BEGIN\n .\n\n\
                    Types: deb\nEnabled: no\nURIs: x\nSuites: y\n\nTypes: deb-src\nURIs: x\n";
        let found: Vec<_> = stanzas(text).iter().filter_map(deb822).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].with_suite("trixie"),
            "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n\
             Signed-By: \n -----BEGIN\n .\n"
        );
    }

    /// A machine's `etc` with this os-release and this apt list.
    fn machine(name: &str, release: &str, list: &str) -> std::path::PathBuf {
        let root = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("etc/apt/sources.list.d")).unwrap();
        fs::write(root.join("etc/os-release"), release).unwrap();
        fs::write(root.join("etc/apt/sources.list.d/machine.list"), list).unwrap();
        root
    }

    #[test]
    fn the_main_archive_is_told_from_the_others() {
        let root = machine(
            "debian",
            "NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n",
            "deb http://other.test stable-x main\n\
             deb http://mirror.test/debian-security bookworm-security main\n\
             deb [trusted=yes] http://mirror.test/debian bookworm main\n",
        );
        let text = for_suite(&root, "trixie").unwrap();
        fs::remove_dir_all(root).unwrap();
        assert_eq!(
            text.as_deref(),
            Some(
                "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n\
                 Trusted: yes\n"
            )
        );
    }

    #[test]
    fn a_machine_that_is_no_debian_has_no_archive_of_it() {
        let root = machine(
            "ubuntu",
            "ID=ubuntu\nID_LIKE=debian\n",
            "deb http://mirror.test noble main",
        );
        let text = for_suite(&root, "trixie").unwrap();
        fs::remove_dir_all(root).unwrap();
        assert_eq!(text, None);
    }
}
