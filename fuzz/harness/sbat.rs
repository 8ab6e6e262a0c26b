//! The sections that identify a shim and its generations: the same bytes are each of them.

use firmware::shim::{Authorised, Levels, Vendor, Version};
use firmware::{self, sbat};

use super::signature_list::written;
use super::told;

pub fn run(input: &[u8]) -> bool {
    let components = accepted(sbat::components(input)).unwrap_or_default();
    let version = accepted(Version::parse(input));
    if let Some(version) = version {
        let text = format!("UEFI SHIM\n$Version: {version} $\n");
        assert_eq!(Version::parse(text.as_bytes()).unwrap(), version);
    }
    let vendor = vendor(input);
    let levels = accepted(Levels::parse(input));
    if let Some(levels) = &levels {
        for (own, other) in [
            (&levels.previous, &levels.latest),
            (&levels.latest, &levels.previous),
        ] {
            assert!(!own.contains('\0'));
            match (sbat::is_newer(own, other), sbat::is_newer(other, own)) {
                (Ok(newer), Ok(older)) => assert!(!(newer && older)),
                (Err(error), _) | (_, Err(error)) => told(&error),
            }
            let _ = sbat::forbidden(&components, own);
        }
    }
    // A level that asks for what a program has forbids nothing of it; of two lines the first counts.
    let mut lines: Vec<_> = components
        .iter()
        .filter(|one| !one.name.contains([',', '\n', '\r']))
        .collect();
    lines.sort_by_key(|one| one.generation);
    let lines: Vec<_> = lines
        .iter()
        .map(|one| format!("{},{}", one.name, one.generation))
        .collect();
    let level = lines.join("\n");
    assert_eq!(sbat::forbidden(&components, &level), None);
    !components.is_empty() || version.is_some() || vendor || levels.is_some()
}

/// What is taken strictly is taken leniently, and means the same; lists come back byte for byte.
fn vendor(section: &[u8]) -> bool {
    let lenient = accepted(Vendor::parse(section, true));
    let Some(strict) = accepted(Vendor::parse(section, false)) else {
        return lenient.is_some();
    };
    assert_eq!(lenient.unwrap().authorised, strict.authorised);
    let contains = |part: &[u8]| section.windows(part.len().max(1)).any(|one| one == part);
    match &strict.authorised {
        Authorised::Nothing => {}
        Authorised::Certificate(certificate) => assert!(contains(certificate.as_der())),
        Authorised::Lists(lists) => assert!(lists.is_empty() || contains(&written(lists))),
    }
    assert!(strict.forbidden.is_empty() || contains(&written(&strict.forbidden)));
    true
}

fn accepted<T>(read: firmware::Result<T>) -> Option<T> {
    read.map_err(|error| told(&error)).ok()
}
