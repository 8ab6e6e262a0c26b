//! Which distribution's habits an image has, and so what `encrypt` changes in it.
//!
//! `ubuntu` is what the reference does: the container gets the label by which Ubuntu's initramfs finds it, a service
//! that would change the guest's dbx is masked, and cloud-init gets a key with which it grows the root. `generic` leaves
//! all of that out: systemd's reader finds the root by its partition, and needs nothing in the filesystem.
//!
//! `auto` reads `/etc/os-release` (os-release(5)), or `/usr/lib/os-release`, within the image.

use std::fmt;

use crate::common::content::LABEL;
use filesystem::ext4::Filesystem;
use filesystem::{self, Error};

/// The places of os-release, in the order in which they count.
const PLACES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// Far more than any has.
const MAX_BYTES: u64 = 1 << 20;

/// What `--profile` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProfileChoice {
    /// What the image's os-release tells; `ubuntu` where there is none.
    #[default]
    Auto,
    /// Ubuntu's.
    Ubuntu,
    /// That of a guest whose initrd systemd runs.
    Generic,
}

/// A distribution's habits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Ubuntu's.
    Ubuntu,
    /// Those of others.
    Generic,
}

impl Profile {
    /// The container's label; empty for none.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ubuntu => LABEL,
            Self::Generic => "",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ubuntu => "ubuntu",
            Self::Generic => "generic",
        })
    }
}

/// A profile, and why it was taken where the image decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenProfile {
    /// The profile.
    pub profile: Profile,
    /// What the image says; `None` where the operator chose.
    pub because: Option<String>,
}

impl ProfileChoice {
    /// Decides, by the image's filesystem where that is asked.
    pub fn decide(self, filesystem: &Filesystem<'_>) -> filesystem::Result<ChosenProfile> {
        let told = |profile| ChosenProfile {
            profile,
            because: None,
        };
        match self {
            Self::Ubuntu => Ok(told(Profile::Ubuntu)),
            Self::Generic => Ok(told(Profile::Generic)),
            Self::Auto => of_image(filesystem),
        }
    }
}

fn of_image(filesystem: &Filesystem<'_>) -> filesystem::Result<ChosenProfile> {
    for place in PLACES {
        // A directory, a device or an endless file says no more than a missing one.
        let text = match filesystem.read_file(place, MAX_BYTES) {
            Ok(text) => text,
            Err(error @ Error::Storage(_)) => return Err(error),
            Err(_) => continue,
        };
        let text = String::from_utf8_lossy(&text);
        let id = value(&text, "ID").unwrap_or_default();
        let like = value(&text, "ID_LIKE").unwrap_or_default();
        let is_ubuntu = id == "ubuntu" || like.split_whitespace().any(|one| one == "ubuntu");
        let shown: String = id.chars().take(40).flat_map(char::escape_debug).collect();
        return Ok(ChosenProfile {
            profile: if is_ubuntu {
                Profile::Ubuntu
            } else {
                Profile::Generic
            },
            because: Some(format!("{place} says ID={shown}")),
        });
    }
    Ok(ChosenProfile {
        profile: Profile::Ubuntu,
        because: Some(format!("the image has no {}", PLACES[0])),
    })
}

/// The value of the last assignment to `name`, without quotes.
fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let lines = text.lines().map(str::trim);
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = values.next_back()?.trim();
    Some(value.trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_last_one_without_quotes() {
        let text = "NAME=\"Some Linux\"\nID=\"first\"\n ID='some'\r\n#ID=not\nVARIANT_ID=cloud\nID_LIKE=\"a b\"\n";
        assert_eq!(value(text, "ID"), Some("some"));
        assert_eq!(value(text, "ID_LIKE"), Some("a b"));
        assert_eq!(value(text, "VERSION_ID"), None);
        assert_eq!(value("ID=\nID_LIKE", "ID"), Some(""));
    }
}
