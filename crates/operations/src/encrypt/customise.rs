//! What `encrypt` writes into the root filesystem, before it is encrypted.
//!
//! | path | when |
//! | --- | --- |
//! | `/etc/systemd/system/secureboot-db.service` → `/dev/null` | profile `ubuntu` |
//! | `/etc/cloud/cloud.cfg.d/99_datasources_override.cfg` | `--override-datasources` |
//! | `/etc/cloud/cloud.cfg.d/99_disable_growpart.cfg` | `--grow-root` |
//! | `/cc_growpart_keydata` | else, profile `ubuntu` |
//!
//! A file in `cloud.cfg.d` gets another name, `zz_…`, where one that sets the same would count more; what no name mends
//! is refused ([`cloud_init`]). An image without `/etc/cloud/cloud.cfg.d` has no cloud-init and gets none of the last three. Paths are
//! resolved inside of the image only; the last component is replaced, never followed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::profile::Profile;
use crate::common::cloud_init::{self, CloudInit, Undone};
use base::secret::SecretBytes;
use filesystem::ext4::{Filesystem, Kind};

const UNIT_FOLDER: &str = "/etc/systemd/system";
const MASKED_UNIT: &str = "/etc/systemd/system/secureboot-db.service";
const CLOUD_FOLDER: &str = "/etc/cloud";
const CLOUD_CONFIG_FOLDER: &str = "/etc/cloud/cloud.cfg.d";
const DATASOURCES: &str = "99_datasources_override.cfg";
const GROWPART_OFF: &str = "99_disable_growpart.cfg";
/// What the two files set.
const DATASOURCE_LIST: &str = "datasource_list";
const GROWPART: &str = "growpart";
const GROWPART_KEY: &str = "/cc_growpart_keydata";

const COMMENT: &str = "# written by encrypt-cloud-image\n";

/// The keyslot whose key lies in `/cc_growpart_keydata`; 1 to 9 stay for others.
pub const GROWPART_KEYSLOT: u32 = 10;

/// Programs that cloud-init needs to grow an encrypted root, each in either of its places.
const GROWPART_PROGRAMS: [(&str, [&str; 2]); 3] = [
    ("cryptsetup", ["/usr/sbin/cryptsetup", "/sbin/cryptsetup"]),
    ("dmsetup", ["/usr/sbin/dmsetup", "/sbin/dmsetup"]),
    ("growpart", ["/usr/bin/growpart", "/bin/growpart"]),
];

/// The datasources that cloud-init may use, as `--override-datasources` names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datasources(Vec<String>);

/// A name in a list of datasources that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no name of a datasource: letters, digits and _ make one, commas separate them"
)]
pub struct DatasourceNameError {
    name: String,
}

impl FromStr for Datasources {
    type Err = DatasourceNameError;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let names: Vec<_> = list.split(',').map(|name| name.trim().to_owned()).collect();
        let is_name = |name: &String| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        match names.iter().find(|name| !is_name(name)) {
            Some(name) => Err(DatasourceNameError { name: name.clone() }),
            None => Ok(Self(names)),
        }
    }
}

impl Datasources {
    /// One line in flow style: the shell script that runs before cloud-init reads no other form.
    fn config(&self) -> String {
        format!("{COMMENT}datasource_list: [ {} ]\n", self.0.join(", "))
    }
}

/// YAML 1.1 reads a bare `off` as the boolean false, which cloud-init deprecates.
fn growpart_off() -> String {
    format!("{COMMENT}growpart:\n    mode: \"off\"\n")
}

fn growpart_key(key: &SecretBytes) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(key.expose()));
    Zeroizing::new(format!(
        "{{\"key\":\"{}\",\"slot\":{GROWPART_KEYSLOT}}}",
        *encoded
    ))
}

/// One change of the root filesystem or of the EFI system partition, for the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Path of the file, with its partition's name where it is not the root.
    pub path: String,
    /// What it becomes.
    pub what: String,
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// Why the changes could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cloud-init to configure.
    #[error("no cloud-init")]
    NoCloudInit,
    /// A file of the image undoes what an option promises.
    #[error("{option}: {undone}")]
    Undone {
        /// The option.
        option: &'static str,
        /// The file, and what it does.
        undone: Undone,
    },
    /// The filesystem does not take an edit.
    #[error(transparent)]
    Filesystem(#[from] filesystem::Error),
}

/// What was done to the filesystem.
#[derive(Debug, Default)]
pub struct Customised {
    /// The changes, in order.
    pub edits: Vec<Edit>,
    /// True where the image holds the key of keyslot 10.
    pub has_growpart_key: bool,
    /// True where cloud-init will grow the partition, with that key or without.
    pub guest_regrows: bool,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// What shall be done to the filesystem.
pub struct Customisation<'a> {
    /// Whose habits the image has.
    pub profile: Profile,
    /// `--override-datasources`.
    pub datasources: Option<&'a Datasources>,
    /// `--grow-root`: growing in the guest is switched off.
    pub growpart_off: bool,
    /// The key of keyslot 10, for an image whose guest grows its partition.
    pub growpart_key: &'a SecretBytes,
}

impl Customisation<'_> {
    /// Makes the changes.
    pub fn apply(&self, filesystem: &Filesystem<'_>) -> Result<Customised, Error> {
        let mut done = Customised::default();
        if self.profile == Profile::Ubuntu {
            mask_secureboot_db(filesystem, &mut done)?;
        }
        if is_directory(filesystem, CLOUD_CONFIG_FOLDER)? {
            self.configure_cloud_init(filesystem, &mut done)?;
            return Ok(done);
        }
        filesystem.refuse_dangling(CLOUD_CONFIG_FOLDER)?;
        if self.datasources.is_some() {
            return Err(Error::NoCloudInit);
        }
        if self.profile == Profile::Ubuntu {
            done.warnings.push(format!(
                "the image has no {CLOUD_CONFIG_FOLDER}, hence no cloud-init: nothing will grow its root at the first boot"
            ));
        }
        Ok(done)
    }

    fn configure_cloud_init(
        &self,
        filesystem: &Filesystem<'_>,
        done: &mut Customised,
    ) -> Result<(), Error> {
        let config = self.with_what_is_replaced(CloudInit::read(filesystem, CLOUD_FOLDER)?);
        if let Some(datasources) = self.datasources {
            override_datasources(datasources, filesystem, &config, done)?;
        }
        if self.growpart_off {
            let setting = Setting {
                option: "--grow-root",
                key: GROWPART,
                text: growpart_off(),
                preferred_name: GROWPART_OFF,
                what: "cloud-init does not grow the root partition".to_owned(),
            };
            return setting.put(filesystem, &config, done);
        }
        let is_off = cloud_init::growing_is_off(filesystem, &config)?;
        done.guest_regrows = is_off.is_none();
        if let Some(reason) = is_off {
            done.warnings.push(format!(
                "the image's cloud-init does not grow the root at the first boot: {reason}; --grow-root grows the partition now"
            ));
        } else if self.profile == Profile::Generic {
            done.warnings.push(
                "cloud-init grows the partition at the first boot, but the root in it only at the next one, as it has no key: --grow-root grows the partition now"
                    .to_owned(),
            );
        }
        if self.profile == Profile::Ubuntu {
            self.leave_growpart_key(filesystem, done)?;
        }
        Ok(())
    }

    /// The configuration with the files that are going to be written, where these get their usual names: a file that one of
    /// them replaces undoes nothing of the other.
    fn with_what_is_replaced(&self, config: CloudInit) -> CloudInit {
        let datasources = self.datasources.map(Datasources::config);
        let datasources = datasources.map(|text| (DATASOURCES, DATASOURCE_LIST, text));
        let growpart = self
            .growpart_off
            .then(|| (GROWPART_OFF, GROWPART, growpart_off()));
        let ours: Vec<_> = datasources.into_iter().chain(growpart).collect();
        let changed = ours.iter().fold(config.clone(), |config, (name, _, text)| {
            config.with(name, text)
        });
        let counts = |(name, key, text): &(&str, &'static str, String)| {
            let found = changed.name_that_counts(name, key, text);
            found.is_ok_and(|found| found == *name)
        };
        if ours.iter().all(counts) {
            changed
        } else {
            config
        }
    }

    fn leave_growpart_key(
        &self,
        filesystem: &Filesystem<'_>,
        done: &mut Customised,
    ) -> Result<(), Error> {
        let key = growpart_key(self.growpart_key);
        filesystem.write_file(GROWPART_KEY, key.as_bytes(), 0o600)?;
        done.edits.push(Edit {
            path: GROWPART_KEY.to_owned(),
            what: format!(
                "key of keyslot {GROWPART_KEYSLOT}, with which cloud-init grows the root at the first boot"
            ),
        });
        done.has_growpart_key = true;
        for (program, places) in GROWPART_PROGRAMS {
            if !filesystem.exists(places[0])? && !filesystem.exists(places[1])? {
                done.warnings.push(format!(
                    "the image has no {program}: cloud-init cannot grow the encrypted root, and keyslot {GROWPART_KEYSLOT} stays"
                ));
            }
        }
        Ok(())
    }
}

fn override_datasources(
    datasources: &Datasources,
    filesystem: &Filesystem<'_>,
    config: &CloudInit,
    done: &mut Customised,
) -> Result<(), Error> {
    let option = "--override-datasources";
    let undone = |undone| Error::Undone { option, undone };
    let list = &datasources.0;
    cloud_init::check_datasource(filesystem, list)?.map_err(undone)?;
    if let Some(reason) = cloud_init::is_off(filesystem)? {
        done.warnings.push(format!("{option}: {reason}"));
    }
    let doubtful = cloud_init::doubtful_datasources(filesystem, list)?;
    let doubtful = doubtful.iter().map(|doubt| format!("{option}: {doubt}"));
    done.warnings.extend(doubtful);
    let setting = Setting {
        option,
        key: DATASOURCE_LIST,
        text: datasources.config(),
        preferred_name: DATASOURCES,
        what: format!("cloud-init uses {} only", list.join(", ")),
    };
    setting.put(filesystem, config, done)
}

/// A file of cloud-init's configuration.
struct Setting {
    /// The option that asks for it.
    option: &'static str,
    /// The key that it sets.
    key: &'static str,
    /// The file's content.
    text: String,
    /// The name that it gets where that counts.
    preferred_name: &'static str,
    /// What it does, for the plan.
    what: String,
}

impl Setting {
    /// Writes the file under a name by which it counts.
    fn put(
        mut self,
        filesystem: &Filesystem<'_>,
        config: &CloudInit,
        done: &mut Customised,
    ) -> Result<(), Error> {
        let option = self.option;
        let name = config.name_that_counts(self.preferred_name, self.key, &self.text);
        let name = name.map_err(|undone| Error::Undone { option, undone })?;
        let path = format!("{CLOUD_CONFIG_FOLDER}/{name}");
        filesystem.write_file(&path, self.text.as_bytes(), 0o644)?;
        if name != self.preferred_name {
            let more = "; a name behind the image's own files that may set it";
            self.what.push_str(more);
        }
        let what = self.what;
        done.edits.push(Edit { path, what });
        Ok(())
    }
}

/// Keeps Ubuntu's service from appending to the guest's dbx, which would change PCR 7.
fn mask_secureboot_db(filesystem: &Filesystem<'_>, done: &mut Customised) -> Result<(), Error> {
    let mut what = "linked to /dev/null, so that the guest does not change its own dbx".to_owned();
    if !filesystem.exists(UNIT_FOLDER)? {
        filesystem.create_dir_all(UNIT_FOLDER)?;
        done.edits.push(Edit {
            path: UNIT_FOLDER.to_owned(),
            what: "new directory".to_owned(),
        });
    }
    if let Some(found) = filesystem.symlink_metadata(MASKED_UNIT)? {
        if found.kind == Kind::Symlink && filesystem.read_link(MASKED_UNIT)? == b"/dev/null" {
            return Ok(());
        }
        what.push_str(", in place of what had that name");
    }
    filesystem.symlink(MASKED_UNIT, "/dev/null")?;
    done.edits.push(Edit {
        path: MASKED_UNIT.to_owned(),
        what,
    });
    Ok(())
}

fn is_directory(filesystem: &Filesystem<'_>, path: &str) -> filesystem::Result<bool> {
    Ok(filesystem
        .metadata(path)?
        .is_some_and(|found| found.kind == Kind::Directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasources_are_one_line_in_flow_style() {
        let list: Datasources = "NoCloud, ConfigDrive,None".parse().unwrap();
        assert_eq!(
            list.config(),
            "# written by encrypt-cloud-image\ndatasource_list: [ NoCloud, ConfigDrive, None ]\n"
        );
    }

    #[test]
    fn what_is_no_name_of_a_datasource_is_refused() {
        for (list, name) in [("", ""), ("NoCloud,", ""), ("a b", "a b"), ("x,y]", "y]")] {
            assert_eq!(
                list.parse::<Datasources>().unwrap_err().to_string(),
                format!(
                    "{name:?} is no name of a datasource: letters, digits and _ make one, commas separate them"
                )
            );
        }
    }

    #[test]
    fn the_growpart_key_file_has_64_bytes_and_no_newline() {
        let text = growpart_key(&SecretBytes::new((0..32).collect()));
        assert_eq!(
            &*text,
            "{\"key\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\",\"slot\":10}"
        );
        assert_eq!(text.len(), 64);
    }
}
