//! What beside the configuration decides whether cloud-init runs, which datasource it takes, and whether it grows
//! the root.

use filesystem::ext4::{Filesystem, Kind};
use filesystem::{self, Error};

use super::{CloudInit, Undone, Value, Why, shell};

const DISABLED: &str = "/etc/cloud/cloud-init.disabled";
const ENABLED: &str = "/etc/cloud/cloud-init.enabled";
const DS_IDENTIFY: &str = "/etc/cloud/ds-identify.cfg";
const REMEMBERED: &str = "/var/lib/cloud/instance/obj.pkl";
const GROWROOT_DISABLED: &str = "/etc/growroot-disabled";
const LIMIT_BYTES: u64 = 1 << 16;

/// Where distributions have the package's modules, links followed.
const PACKAGE_PARENTS: [&str; 2] = ["/usr/lib", "/usr/local/lib"];
const PACKAGE_FOLDERS: [&str; 2] = ["dist-packages", "site-packages"];
const MODULES: &str = "cloudinit/sources";

/// Says which file keeps cloud-init from running at all.
pub fn is_off(filesystem: &Filesystem<'_>) -> filesystem::Result<Option<String>> {
    if is_file(filesystem, DISABLED)? && !is_file(filesystem, ENABLED)? {
        return Ok(Some(format!("{DISABLED} switches cloud-init off")));
    }
    let policy = ds_identify(filesystem, "policy")?;
    let policy = policy.unwrap_or_default();
    let is_off = policy.split(',').any(|word| word == "disabled");
    Ok(is_off.then(|| format!("the policy in {DS_IDENTIFY} switches cloud-init off")))
}

/// Refuses what gives cloud-init another datasource than those of `datasource_list`.
pub fn check_datasource(
    filesystem: &Filesystem<'_>,
    list: &[String],
) -> filesystem::Result<Result<(), Undone>> {
    let undone = |path: &str, why| {
        let path = path.to_owned();
        Ok(Err(Undone { path, why }))
    };
    if let Some(name) = ds_identify(filesystem, "datasource")? {
        let is_allowed = |one: &str| list.iter().any(|allowed| allowed == one);
        if !name.split_ascii_whitespace().all(is_allowed) {
            return undone(DS_IDENTIFY, Why::Datasource { name });
        }
    }
    if is_file(filesystem, REMEMBERED)? {
        return undone(REMEMBERED, Why::BootedBefore);
    }
    Ok(Ok(()))
}

/// The datasources of cloud-init 22.4.2 (Debian 12), and those that later releases brought (Akamai, `CloudCIX`, WSL).
const KNOWN: [&str; 31] = [
    "Akamai",
    "AliYun",
    "AltCloud",
    "Azure",
    "Bigstep",
    "CloudCIX",
    "CloudSigma",
    "CloudStack",
    "ConfigDrive",
    "DigitalOcean",
    "Ec2",
    "Exoscale",
    "GCE",
    "Hetzner",
    "IBMCloud",
    "LXD",
    "MAAS",
    "NWCS",
    "NoCloud",
    "None",
    "OVF",
    "OpenNebula",
    "OpenStack",
    "Oracle",
    "RbxCloud",
    "Scaleway",
    "SmartOS",
    "UpCloud",
    "VMware",
    "Vultr",
    "WSL",
];

/// A name of a datasource that cloud-init passes over, or may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubtful {
    /// No module has that name.
    #[error("{whose} has no datasource {name}, and passes over it")]
    Unknown {
        /// Whose modules were looked at.
        whose: &'static str,
        /// The name.
        name: String,
    },
    /// A module has it in other letter case. cloud-init 22.4.2 looks for a file of that very name; so do the functions of
    /// ds-identify, in later releases as well.
    #[error("{whose} calls the datasource {known}, and passes over {name}: write it so")]
    LetterCase {
        /// Whose modules were looked at.
        whose: &'static str,
        /// The name.
        name: String,
        /// The module's.
        known: String,
    },
}

/// Those of `list` that the image's cloud-init has no module for; where its modules are not found, that no release has.
pub fn doubtful_datasources(
    filesystem: &Filesystem<'_>,
    list: &[String],
) -> filesystem::Result<Vec<Doubtful>> {
    let found = datasources(filesystem)?;
    let (whose, known) = if found.is_empty() {
        ("cloud-init", KNOWN.map(str::to_owned).to_vec())
    } else {
        ("the image's cloud-init", found)
    };
    let doubt = |name: &String| {
        let name = name.clone();
        if known.contains(&name) {
            return None;
        }
        let mut others = known.iter();
        Some(
            match others.find(|other| other.eq_ignore_ascii_case(&name)) {
                Some(known) => Doubtful::LetterCase {
                    whose,
                    name,
                    known: known.clone(),
                },
                None => Doubtful::Unknown { whose, name },
            },
        )
    };
    Ok(list.iter().filter_map(doubt).collect())
}

/// The datasources that there are modules for.
fn datasources(filesystem: &Filesystem<'_>) -> filesystem::Result<Vec<String>> {
    let mut names = Vec::new();
    for parent in PACKAGE_PARENTS {
        for python in names_in(filesystem, parent)? {
            if !python.starts_with("python3") {
                continue;
            }
            for packages in PACKAGE_FOLDERS {
                let folder = format!("{parent}/{python}/{packages}/{MODULES}");
                let found = names_in(filesystem, &folder)?;
                let found = found.iter().filter_map(|name| {
                    let name = name.strip_prefix("DataSource")?;
                    name.strip_suffix(".py").map(str::to_owned)
                });
                names.extend(found);
            }
        }
    }
    Ok(names)
}

/// Says what keeps cloud-init from growing the root; `None` where it grows it.
pub fn growing_is_off(
    filesystem: &Filesystem<'_>,
    config: &CloudInit,
) -> filesystem::Result<Option<String>> {
    const FALSE: [&str; 4] = ["off", "0", "no", "false"];
    if let Some(reason) = is_off(filesystem)? {
        return Ok(Some(reason));
    }
    let growpart = match config.value("growpart") {
        Ok(growpart) => growpart,
        Err(undone) => return Ok(Some(undone.to_string())),
    };
    let member = |name: &str| {
        let member = growpart.as_deref().and_then(|growpart| growpart.get(name));
        member
            .and_then(|value| value.words())
            .map(|words| words.trim().to_ascii_lowercase())
    };
    let is_false = |words: &str| FALSE.contains(&words);
    if growpart
        .as_deref()
        .is_some_and(|value| !matches!(value, Value::Map(_)))
    {
        return Ok(Some("its growpart is no mapping".to_owned()));
    }
    match member("mode") {
        Some(mode) if !matches!(&*mode, "auto" | "growpart" | "gpart") => {
            return Ok(Some(format!("its growpart has the mode {mode:?}")));
        }
        _ => {}
    }
    let is_ignored = member("ignore_growroot_disabled").is_some_and(|words| !is_false(&words));
    if !is_ignored && is_file(filesystem, GROWROOT_DISABLED)? {
        return Ok(Some(format!("{GROWROOT_DISABLED} is there")));
    }
    Ok(None)
}

/// A value of ds-identify's own configuration: the last line that has the key.
fn ds_identify(filesystem: &Filesystem<'_>, key: &str) -> filesystem::Result<Option<String>> {
    if !is_file(filesystem, DS_IDENTIFY)? {
        return Ok(None);
    }
    let text = shell::read(&filesystem.read_file(DS_IDENTIFY, LIMIT_BYTES)?);
    let text = String::from_utf8_lossy(&text);
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let mut values =
        lines.filter_map(|line| line.split_once(':').filter(|(name, _)| name.trim() == key));
    let value = values
        .next_back()
        .map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned());
    Ok(value.filter(|value| !value.is_empty()))
}

fn is_file(filesystem: &Filesystem<'_>, path: &str) -> filesystem::Result<bool> {
    match filesystem.metadata(path) {
        Ok(found) => Ok(found.is_some_and(|found| found.kind == Kind::File)),
        Err(Error::TooManyLinks { .. } | Error::NotADirectory { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The names in a directory, those that are UTF-8; none where there is no directory.
fn names_in(filesystem: &Filesystem<'_>, folder: &str) -> filesystem::Result<Vec<String>> {
    match filesystem.list_dir(folder) {
        Ok(entries) => {
            let names = entries
                .into_iter()
                .map(|entry| String::from_utf8(entry.name));
            Ok(names.filter_map(Result::ok).collect())
        }
        Err(Error::NotFound { .. } | Error::NotADirectory { .. } | Error::TooManyLinks { .. }) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}
