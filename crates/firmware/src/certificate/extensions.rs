//! The extensions of a certificate that decide whether it may stand in a chain.
//!
//! RFC 5280 section 4.2. One that is cut short, that stands there twice, or whose number is odd is not an error of the
//! certificate: libraries take such a certificate and treat it in their own ways, so it is a fact like any other. One that is
//! built oddly in another way (a string of several pieces, a tag that nobody expects) may be read or not: that is an error, since
//! nobody can tell here.

use super::name::{CanonicalName, Name, is_byte_string};
use crate::Result;
use crate::der::{Reader, Value, is_oid, is_shortest, tag};

/// Object identifiers, as the content octets of their DER.
mod oid {
    pub const SUBJECT_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x0e";
    pub const KEY_USAGE: &[u8] = b"\x55\x1d\x0f";
    pub const SUBJECT_ALTERNATIVE_NAME: &[u8] = b"\x55\x1d\x11";
    pub const BASIC_CONSTRAINTS: &[u8] = b"\x55\x1d\x13";
    pub const NAME_CONSTRAINTS: &[u8] = b"\x55\x1d\x1e";
    pub const CRL_DISTRIBUTION_POINTS: &[u8] = b"\x55\x1d\x1f";
    pub const POLICIES: &[u8] = b"\x55\x1d\x20";
    pub const POLICY_MAPPINGS: &[u8] = b"\x55\x1d\x21";
    pub const AUTHORITY_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x23";
    pub const POLICY_CONSTRAINTS: &[u8] = b"\x55\x1d\x24";
    pub const EXTENDED_KEY_USAGE: &[u8] = b"\x55\x1d\x25";
    pub const INHIBIT_ANY_POLICY: &[u8] = b"\x55\x1d\x36";
    pub const PROXY: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x01\x0e";
    pub const OCSP_NO_CHECK: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x30\x01\x05";
    pub const NETSCAPE_TYPE: &[u8] = b"\x60\x86\x48\x01\x86\xf8\x42\x01\x01";
    /// 1.3.6.1.4.1.2312.16.1.2: signs kernel modules, nothing that boots.
    pub const MODULE_SIGNING: &[u8] = b"\x2b\x06\x01\x04\x01\x92\x08\x10\x01\x02";
}

/// The tags of general names (RFC 5280, section 4.2.1.6).
mod general_name {
    pub const OTHER: u8 = 0xa0;
    pub const MAIL: u8 = 0x81;
    pub const DNS: u8 = 0x82;
    pub const X400: u8 = 0xa3;
    pub const DIRECTORY: u8 = 0xa4;
    pub const URI: u8 = 0x86;
    pub const IP_ADDRESS: u8 = 0x87;
    pub const REGISTERED_ID: u8 = 0x88;
}

/// Extensions that may be critical: each library knows what they ask for.
const KNOWN: [&[u8]; 11] = [
    oid::NETSCAPE_TYPE,
    oid::KEY_USAGE,
    oid::SUBJECT_ALTERNATIVE_NAME,
    oid::BASIC_CONSTRAINTS,
    oid::POLICIES,
    oid::EXTENDED_KEY_USAGE,
    oid::POLICY_CONSTRAINTS,
    oid::PROXY,
    oid::NAME_CONSTRAINTS,
    oid::POLICY_MAPPINGS,
    oid::INHIBIT_ANY_POLICY,
];
/// Those that firmware's knows and shim's, which is older, does not.
const KNOWN_LATER: [&[u8]; 2] = [oid::CRL_DISTRIBUTION_POINTS, oid::OCSP_NO_CHECK];
/// The bit keyCertSign in the first octet of a key usage.
const KEY_CERT_SIGN: u8 = 0x04;
/// The bits of a Netscape certificate type that make a CA of it.
const NETSCAPE_CA: u8 = 0x07;

/// An extension that is there and cannot be read, or that has the value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found<T> {
    Absent,
    Malformed,
    Is(T),
}

impl<T> Found<T> {
    fn value(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Malformed => None,
        }
    }

    fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed)
    }
}

/// Whether a certificate is one of a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BasicConstraints {
    pub is_ca: bool,
    /// How many CAs may stand below it; none where there is no limit.
    pub path_len: Option<u64>,
    /// It is negative, or not in its shortest form.
    has_odd_path_len: bool,
}

/// Which key signed the certificate, as far as its maker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorityKeyId {
    pub key_id: Option<Vec<u8>>,
    /// The issuer of the authority's certificate: the first directory name.
    pub issuer: Option<CanonicalName>,
    /// The serial number of the authority's certificate.
    pub serial: Option<Vec<u8>>,
    /// That is not in its shortest form.
    has_odd_serial: bool,
}

/// The extensions of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extensions {
    basic: Found<BasicConstraints>,
    key_usage: Found<(u8, u8)>,
    netscape_type: Found<u8>,
    subject_key_id: Found<Vec<u8>>,
    authority_key_id: Found<AuthorityKeyId>,
    extended_key_usage: Found<bool>,
    proxy: Found<()>,
    name_constraints: Found<()>,
    alternative_name: Found<()>,
    crl_distribution_points: Found<()>,
    has_unknown_critical: bool,
    has_later_critical: bool,
}

type List<'a> = [(&'a [u8], bool, Value<'a>)];

impl Extensions {
    /// Reads the list of extensions, `None` where a certificate has none. Fails only where the list is none.
    pub fn read(list: Option<Value<'_>>) -> Result<Self> {
        let list = match list {
            Some(list) => entries(list)?,
            None => Vec::new(),
        };
        let critical = list.iter().filter(|(_, is_critical, _)| *is_critical);
        let unknown = critical
            .map(|(name, ..)| *name)
            .filter(|name| !KNOWN.contains(name));
        let (later, unknown): (Vec<_>, Vec<_>) =
            unknown.partition(|name| KNOWN_LATER.contains(name));
        Ok(Self {
            basic: find(&list, oid::BASIC_CONSTRAINTS, basic_constraints)?,
            key_usage: find(&list, oid::KEY_USAGE, bits)?,
            netscape_type: find(&list, oid::NETSCAPE_TYPE, |reader| Ok(bits(reader)?.0))?,
            subject_key_id: find(&list, oid::SUBJECT_KEY_IDENTIFIER, |reader| {
                let id = reader.value(tag::OCTET_STRING, "a subject key identifier")?;
                Ok(id.content.to_vec())
            })?,
            authority_key_id: find(&list, oid::AUTHORITY_KEY_IDENTIFIER, authority_key_id)?,
            extended_key_usage: find(&list, oid::EXTENDED_KEY_USAGE, signs_modules)?,
            proxy: find(&list, oid::PROXY, any_sequence)?,
            name_constraints: find(&list, oid::NAME_CONSTRAINTS, any_sequence)?,
            alternative_name: find(&list, oid::SUBJECT_ALTERNATIVE_NAME, |reader| {
                general_names(reader.sequence("an alternative name")?).map(|_| ())
            })?,
            crl_distribution_points: find(
                &list,
                oid::CRL_DISTRIBUTION_POINTS,
                distribution_points,
            )?,
            has_unknown_critical: !unknown.is_empty(),
            has_later_critical: !later.is_empty(),
        })
    }

    pub fn basic(&self) -> Option<BasicConstraints> {
        self.basic.value().copied()
    }

    /// False where a key usage is there and does not include signing certificates.
    pub fn may_sign_certificates(&self) -> bool {
        self.key_usage
            .value()
            .is_none_or(|(first, _)| first & KEY_CERT_SIGN != 0)
    }

    pub fn has_key_usage(&self) -> bool {
        self.key_usage.value().is_some()
    }

    pub fn is_netscape_ca(&self) -> bool {
        self.netscape_type
            .value()
            .is_some_and(|bits| bits & NETSCAPE_CA != 0)
    }

    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.subject_key_id.value().map(Vec::as_slice)
    }

    pub fn authority_key_id(&self) -> Option<&AuthorityKeyId> {
        self.authority_key_id.value()
    }

    pub fn signs_modules(&self) -> bool {
        self.extended_key_usage.value() == Some(&true)
    }

    pub fn is_proxy(&self) -> bool {
        self.proxy.value().is_some()
    }

    pub fn constrains_names(&self) -> bool {
        self.name_constraints.value().is_some()
    }

    /// True where a critical extension asks for something that neither library knows.
    pub fn has_unknown_critical(&self) -> bool {
        self.has_unknown_critical
    }

    /// True where one asks for something that shim's library, which is older, does not know.
    pub fn has_later_critical(&self) -> bool {
        self.has_later_critical
    }

    /// What cannot be read, or has a value that it must not have.
    pub fn malformed(&self) -> Option<&'static str> {
        let has_bad_path_len = self.basic().is_some_and(|basic| basic.has_odd_path_len);
        let has_odd_serial = self.authority_key_id().is_some_and(|id| id.has_odd_serial);
        let has_empty_usage = self.key_usage.value() == Some(&(0, 0));
        let is_strange_proxy = self.is_proxy()
            && (self.basic().is_some_and(|basic| basic.is_ca)
                || self.alternative_name != Found::Absent);
        let parts = [
            (
                self.basic.is_malformed() || has_bad_path_len,
                "basic constraints",
            ),
            (
                self.key_usage.is_malformed() || has_empty_usage,
                "key usage",
            ),
            (
                self.netscape_type.is_malformed(),
                "Netscape certificate type",
            ),
            (self.subject_key_id.is_malformed(), "subject key identifier"),
            (
                self.authority_key_id.is_malformed() || has_odd_serial,
                "authority key identifier",
            ),
            (self.extended_key_usage.is_malformed(), "extended key usage"),
            (
                self.proxy.is_malformed() || is_strange_proxy,
                "proxy information",
            ),
            (self.name_constraints.is_malformed(), "name constraints"),
            (self.alternative_name.is_malformed(), "alternative name"),
            (
                self.crl_distribution_points.is_malformed(),
                "CRL distribution points",
            ),
        ];
        let mut bad = parts.into_iter().filter(|(is_bad, _)| *is_bad);
        bad.next().map(|(_, what)| what)
    }
}

/// Name, criticality and value of each extension.
fn entries(list: Value<'_>) -> Result<Vec<(&[u8], bool, Value<'_>)>> {
    let mut outside = list.reader();
    let mut list = outside.sequence("a list of extensions")?;
    outside.end("a list of extensions")?;
    let mut found = Vec::new();
    while !list.is_empty() {
        let mut extension = list.sequence("an extension")?;
        let name = extension.oid("an extension's object identifier")?;
        let critical = extension.optional(tag::BOOLEAN, "an extension's criticality")?;
        let is_critical = critical
            .map(|value| boolean(value, &extension))
            .transpose()?;
        let value = extension.value(tag::OCTET_STRING, "an extension's value")?;
        extension.end("an extension")?;
        found.push((name, is_critical.unwrap_or(false), value));
    }
    Ok(found)
}

fn boolean(value: Value<'_>, place: &Reader<'_>) -> Result<bool> {
    match value.content {
        [byte] => Ok(*byte != 0),
        _ => Err(place.error("a boolean")),
    }
}

/// The one extension of this name. What stands behind its value is not looked at. One that is cut short cannot be read by any
/// library; one that is built oddly may be, so that it is an error.
fn find<'a, T>(
    list: &List<'a>,
    name: &[u8],
    read: impl Fn(&mut Reader<'a>) -> Result<T>,
) -> Result<Found<T>> {
    let mut values = list.iter().filter(|(own, ..)| *own == name);
    Ok(match (values.next(), values.next()) {
        (None, _) => Found::Absent,
        (Some((.., value)), None) if value.reader().any("an extension's value").is_err() => {
            Found::Malformed
        }
        (Some((.., value)), None) => Found::Is(read(&mut value.reader())?),
        (Some(_), Some(_)) => Found::Malformed,
    })
}

fn basic_constraints(reader: &mut Reader<'_>) -> Result<BasicConstraints> {
    let what = "basic constraints";
    let mut parts = reader.sequence(what)?;
    let is_ca = parts.optional(tag::BOOLEAN, what)?;
    let is_ca = is_ca.map(|value| boolean(value, &parts)).transpose()?;
    let number = parts.optional(tag::INTEGER, what)?;
    parts.end(what)?;
    let (path_len, is_negative) = match number.map(|number| number.content) {
        None => (None, false),
        Some([]) => return Err(parts.error(what)),
        // 1.0.2 counts it as 0, later ones take the certificate for malformed.
        Some([first, ..]) if *first >= 0x80 => (Some(0), true),
        // Beyond 63 bits the library has no limit.
        Some(bytes) => {
            let fits = bytes.len() <= 8;
            let value = bytes
                .iter()
                .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
            (fits.then_some(value), false)
        }
    };
    Ok(BasicConstraints {
        is_ca: is_ca.unwrap_or(false),
        path_len,
        has_odd_path_len: is_negative || number.is_some_and(|number| !is_shortest(number.content)),
    })
}

/// The first two octets of a BIT STRING, unused bits cleared.
fn bits(reader: &mut Reader<'_>) -> Result<(u8, u8)> {
    let value = reader.value(tag::BIT_STRING, "a set of bits")?;
    let (unused, octets) = match value.content.split_first() {
        Some((unused @ 0..=7, octets)) => (*unused, octets),
        _ => return Err(reader.error("a set of bits")),
    };
    let octet = |at: usize| {
        let is_last = at.saturating_add(1) == octets.len();
        let kept = if is_last { 0xff << unused } else { 0xff };
        octets.get(at).copied().unwrap_or_default() & kept
    };
    Ok((octet(0), octet(1)))
}

fn authority_key_id(reader: &mut Reader<'_>) -> Result<AuthorityKeyId> {
    let what = "an authority key identifier";
    let mut parts = reader.sequence(what)?;
    let key_id = parts.optional(tag::CONTEXT_0_PRIMITIVE, what)?;
    let issuer = match parts.optional(tag::CONTEXT_1, what)? {
        // Marked as of one piece: the library does not look at that mark of a list.
        None => parts.optional(tag::CONTEXT_1_PRIMITIVE, what)?,
        issuer => issuer,
    };
    let serial = parts.optional(tag::CONTEXT_2_PRIMITIVE, what)?;
    parts.end(what)?;
    let issuer = issuer
        .map(|names| general_names(names.reader()))
        .transpose()?;
    Ok(AuthorityKeyId {
        key_id: key_id.map(|id| id.content.to_vec()),
        issuer: issuer.flatten(),
        serial: serial.map(|number| number.content.to_vec()),
        has_odd_serial: serial.is_some_and(|number| !is_shortest(number.content)),
    })
}

/// Reads a sequence of general names; the first directory name.
fn general_names(mut names: Reader<'_>) -> Result<Option<CanonicalName>> {
    let mut directory_name = None;
    while !names.is_empty() {
        let malformed = names.error("a general name");
        let name = names.any("a general name")?;
        match name.tag {
            general_name::DIRECTORY => {
                let canonical = Name::new(name.content).canonical()?;
                directory_name.get_or_insert(canonical);
            }
            general_name::OTHER => other_name(name.reader())?,
            general_name::REGISTERED_ID if is_oid(name.content) => {}
            general_name::MAIL
            | general_name::DNS
            | general_name::X400
            | general_name::URI
            | general_name::IP_ADDRESS => {} // strings of any bytes
            // Among them the name of an EDI party, in which the libraries of firmware and shim take other strings.
            _ => return Err(malformed),
        }
    }
    Ok(directory_name)
}

/// Reads a type and its value.
fn other_name(mut parts: Reader<'_>) -> Result<()> {
    let what = "another kind of name";
    parts.oid(what)?;
    let value = parts.explicit(tag::CONTEXT_0, what)?;
    parts.end(what)?;
    // Of other types the library checks the content.
    if is_byte_string(value.tag) {
        Ok(())
    } else {
        Err(parts.error(what))
    }
}

/// Reads a list of places where revocation lists are (RFC 5280, section 4.2.1.13).
fn distribution_points(reader: &mut Reader<'_>) -> Result<()> {
    let what = "a distribution point";
    let mut points = reader.sequence(what)?;
    while !points.is_empty() {
        let mut point = points.sequence(what)?;
        if point.begins_with(tag::CONTEXT_0) {
            let name = point.explicit(tag::CONTEXT_0, what)?;
            if name.tag != tag::CONTEXT_0 {
                return Err(point.error(what)); // relative to the issuer's name, which nobody writes
            }
            general_names(name.reader())?;
        }
        if let Some(reasons) = point.optional(tag::CONTEXT_1_PRIMITIVE, what)?
            && !matches!(reasons.content, [0..=7, ..])
        {
            return Err(point.error(what));
        }
        if let Some(issuer) = point.optional(tag::CONTEXT_2, what)? {
            general_names(issuer.reader())?;
        }
        point.end(what)?;
    }
    Ok(())
}

fn signs_modules(reader: &mut Reader<'_>) -> Result<bool> {
    let mut usages = reader.sequence("extended key usages")?;
    let mut found = false;
    while !usages.is_empty() {
        found |= usages.oid("a key usage")? == oid::MODULE_SIGNING;
    }
    Ok(found)
}

fn any_sequence(reader: &mut Reader<'_>) -> Result<()> {
    reader.sequence("an extension's value").map(|_| ())
}
