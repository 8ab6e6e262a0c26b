//! What a boot file is: a shim, or something that ends the chain.
//!
//! The rules are tried in order, and the first that fits decides. Two tables: one *in the namespace* of
//! Microsoft's UEFI certificate authorities (known by subject and key identifier alone, whether they are
//! in db or not) and of what a shim of that namespace trusts; another elsewhere. Only a shim changes what is
//! measured; for anything else the rules must merely not fail.

use super::error::Problem;
use super::release::{LevelSource, OLDEST, ORIGINAL_LEVEL, Release};
use super::rules::Rules;
use firmware::shim::{Authorised, Levels, Vendor, Version};
use firmware::signature_list::{SignatureList, X509};
use firmware::{Certificate, Program, Signature, sbat};

/// Subjects (DER) and key identifiers of the authorities whose programs are in the namespace: Microsoft's UEFI
/// CAs of 2011 and of 2023.
pub(super) const KNOWN_AUTHORITIES: [(&[u8], &[u8]); 2] = [
    (
        b"\x30\x81\x81\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02US\
          \x31\x13\x30\x11\x06\x03\x55\x04\x08\x13\x0aWashington\
          \x31\x10\x30\x0e\x06\x03\x55\x04\x07\x13\x07Redmond\
          \x31\x1e\x30\x1c\x06\x03\x55\x04\x0a\x13\x15Microsoft Corporation\
          \x31\x2b\x30\x29\x06\x03\x55\x04\x03\x13\x22Microsoft Corporation UEFI CA 2011",
        b"\x13\xad\xbf\x43\x09\xbd\x82\x70\x9c\x8c\xd5\x4f\x31\x6e\xd5\x22\x98\x8a\x1b\xd4",
    ),
    (
        b"\x30\x4e\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02US\
          \x31\x1e\x30\x1c\x06\x03\x55\x04\x0a\x13\x15Microsoft Corporation\
          \x31\x1f\x30\x1d\x06\x03\x55\x04\x03\x13\x16Microsoft UEFI CA 2023",
        b"\x81\xaa\x6b\x32\x44\xc9\x35\xbc\xe0\xd6\x62\x8a\xf3\x98\x27\x42\x1e\x32\x49\x7d",
    ),
];

/// Shims of version 15 that behave as 15.2, by their digests.
const LATE_15: [[u8; 32]; 2] = [
    *b"\x2e\xa4\xcb\x6a\x1f\x1e\xb1\xd3\xdc\xe8\x2d\x54\xfd\xe2\x6e\xd2\x43\xba\x3e\x18\xde\x7c\x6d\x21\x19\x02\xa5\x94\xfe\x56\x78\x8f",
    *b"\xe0\x60\xda\x09\x56\x1a\xe0\x0d\xcf\xb1\x76\x9d\x6e\x8e\x84\x68\x68\xa1\xe9\x9a\x54\xb1\x4a\xa5\xd0\x68\x9f\x28\x40\xce\xc6\xdf",
];

/// A shim, as far as it decides what is measured.
#[derive(Debug, Clone)]
pub(super) struct Shim {
    pub version: Version,
    pub vendor: Vendor,
    /// The level it sets: `None` where its release has none, empty where it is not known to have one.
    pub level: Option<String>,
    /// The reference takes the level for empty.
    pub level_is_built_in: bool,
}

impl Shim {
    /// What its release measures.
    pub fn release(&self) -> Release {
        Release::of(self.version)
    }
}

/// The certificates that a shim of the namespace adds to it.
pub(super) type Namespace = Vec<Certificate>;

/// What `program` is: a shim, or `None` for anything else. A shim of the namespace adds what it trusts to
/// `namespace`.
pub(super) fn identify(
    program: &Program,
    rules: Rules,
    namespace: &mut Namespace,
) -> Result<Option<Shim>, Problem> {
    let is_inside = program
        .signatures
        .iter()
        .any(|signature| is_inside(signature, namespace));
    if is_inside {
        if let Some(shim) = inside(program, rules)? {
            namespace.extend(vendor_certificates(&shim.vendor)?);
            return Ok(Some(shim));
        }
        if rule_7_to_9(program)? {
            return Ok(None);
        }
    }
    if program.section(".vendor_cert").is_some() {
        let version = version(program)?;
        if version < OLDEST.version {
            return Err(Problem::ShimTooOld(version));
        }
        return shim(program, version, false, rules).map(Some);
    }
    grub_prefix(program)?;
    Ok(None)
}

fn is_inside(signature: &Signature, namespace: &Namespace) -> bool {
    KNOWN_AUTHORITIES
        .iter()
        .any(|(subject, key)| signature.bag().leads_to_known(subject, key))
        || namespace
            .iter()
            .any(|anchor| signature.bag().leads_by_reference(anchor))
}

/// Rules 1 to 6 of the namespace.
fn inside(program: &Program, rules: Rules) -> Result<Option<Shim>, Problem> {
    let names_shim = components(program)?
        .iter()
        .any(|component| component == "shim");
    if names_shim {
        if program.section(".sbatlevel").is_some() {
            return shim(program, version(program)?, true, rules).map(Some);
        }
        let version = version(program)?;
        if version <= Version(15, 6) {
            return shim(program, version, true, rules).map(Some);
        }
    }
    if program.section(".vendor_cert").is_none() {
        return Ok(None);
    }
    let mut version = version(program)?;
    if version == Version(15, 0) && LATE_15.contains(program.image_digest()) {
        version = OLDEST.version;
    }
    if version < OLDEST.version {
        return Err(Problem::ShimTooOld(version));
    }
    shim(program, version, true, rules).map(Some)
}

/// True where one of the rules for GRUB and Ubuntu Core kernels fits; they say no more than that the
/// table ends here.
fn rule_7_to_9(program: &Program) -> Result<bool, Problem> {
    let components = components(program)?;
    let names = |prefix: &str| components.iter().any(|component| component == prefix);
    let has_modules = grub_prefix(program)?;
    Ok(names("grub.ubuntu") || names("grub") || has_modules || names("systemd.ubuntu"))
}

/// Names of the components in `.sbat`, none where there is no such section.
fn components(program: &Program) -> Result<Vec<String>, Problem> {
    let section = program.section(".sbat").unwrap_or_default();
    let components = sbat::components(section).map_err(Problem::Sbat)?;
    Ok(components
        .into_iter()
        .map(|component| component.name)
        .collect())
}

/// True where the program has GRUB modules, which must then be readable.
fn grub_prefix(program: &Program) -> Result<bool, Problem> {
    match program.grub_prefix() {
        None => Ok(false),
        Some(Ok(_)) => Ok(true),
        Some(Err(problem)) => Err(Problem::GrubModules(problem.to_owned())),
    }
}

fn version(program: &Program) -> Result<Version, Problem> {
    let section = program
        .section(".data.ident")
        .ok_or(Problem::ShimWithoutIdent)?;
    Version::parse(section).map_err(Problem::ShimVersion)
}

fn shim(
    program: &Program,
    version: Version,
    is_known: bool,
    rules: Rules,
) -> Result<Shim, Problem> {
    let section = program.section(".vendor_cert").ok_or(Problem::NoVendor)?;
    let vendor = Vendor::parse(section, rules.follow_reference).map_err(Problem::Vendor)?;
    let (level, level_is_built_in) = level(program, version, is_known, rules)?;
    Ok(Shim {
        version,
        vendor,
        level,
        level_is_built_in,
    })
}

/// The level that a shim sets, and whether the reference takes it for empty.
fn level(
    program: &Program,
    version: Version,
    is_known: bool,
    rules: Rules,
) -> Result<(Option<String>, bool), Problem> {
    let source = Release::of(version).level;
    if source == LevelSource::Nowhere {
        return Ok((None, false));
    }
    if let Some(section) = program.section(".sbatlevel") {
        let levels = Levels::parse(section).map_err(Problem::Level)?;
        // No shim of 15.3 to 15.5 with this section was ever built; the reference says "latest".
        let level = if version < Version(15, 6) {
            levels.latest
        } else {
            levels.previous
        };
        return Ok((Some(level), false));
    }
    let is_built_in = source == LevelSource::Code;
    let level = if is_built_in && (is_known || !rules.follow_reference) {
        ORIGINAL_LEVEL
    } else {
        ""
    };
    Ok((Some(level.to_owned()), is_built_in && !is_known))
}

/// The certificates that a shim trusts: each list's first entry, as shim itself looks at no other.
fn vendor_certificates(vendor: &Vendor) -> Result<Vec<Certificate>, Problem> {
    match &vendor.authorised {
        Authorised::Nothing => Ok(Vec::new()),
        Authorised::Certificate(certificate) => Ok(vec![certificate.as_ref().clone()]),
        Authorised::Lists(lists) => first_entries(lists)
            .map(|data| Certificate::parse(data).map_err(Problem::Vendor))
            .collect(),
    }
}

/// The data of the first entry of each list of certificates.
fn first_entries(lists: &[SignatureList]) -> impl Iterator<Item = &[u8]> {
    let certificates = lists.iter().filter(|list| list.kind == X509);
    certificates.filter_map(|list| Some(list.entries.first()?.data.as_slice()))
}
