//! Random families of certificates: a path from a signer to a root in which most is as it should be, and beside it
//! twins, cross-signed and renewed certificates, circles and strangers.

use std::fs;
use std::path::{Path, PathBuf};

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;

use crate::certificates::{Scheme, Template, attribute, der, extension, name, string};

/// Numbers that are the same in every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            list.swap(index, self.below(index + 1));
        }
    }
}

/// The keys of all certificates: making them takes long.
pub struct Keys(Vec<PKey<Private>>);

impl Keys {
    pub fn new() -> Self {
        let rsa = |bits| PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        let curve = |nid| {
            let group = EcGroup::from_curve_name(nid).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        };
        let p256 = Nid::X9_62_PRIME256V1;
        Self(vec![
            rsa(2048),
            rsa(2048),
            curve(p256),
            curve(p256),
            curve(p256),
            curve(p256),
            curve(Nid::SECP384R1),
        ])
    }
}

impl Keys {
    /// Two of P-256, which sign quickly.
    pub fn two_of_a_curve(&self) -> [&PKey<Private>; 2] {
        [&self.0[2], &self.0[3]]
    }
}

/// A certificate, and what those below it may say of it.
#[derive(Clone)]
struct Made {
    der: Vec<u8>,
    subject: usize,
    issuer: usize,
    key: usize,
    key_id: Option<Vec<u8>>,
    serial: u8,
}

/// A signer, what came with its signature, and a database.
pub struct Scenario {
    pub signer: Vec<u8>,
    pub bag: Vec<Vec<u8>>,
    pub db: Vec<Vec<u8>>,
}

impl Scenario {
    /// Writes the certificates down, and says where: their keys are new in every run, so a seed alone brings none back.
    pub fn keep(&self, seed: u64) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chains/{seed}"));
        fs::create_dir_all(&folder).unwrap();
        let write = |name: String, der: &[u8]| fs::write(folder.join(name), der).unwrap();
        write("signer.der".to_owned(), &self.signer);
        for (kind, list) in [("bag", &self.bag), ("db", &self.db)] {
            for (place, der) in list.iter().enumerate() {
                write(format!("{kind}-{place}.der"), der);
            }
        }
        folder
    }
}

const ROOT: usize = 0;
const STRANGER: usize = 4;
const SIGNER: usize = 5;
/// Nobody: a name without attributes.
const EMPTY: usize = 6;

pub struct Generator<'a> {
    pub random: Random,
    pub keys: &'a Keys,
    /// How many of a hundred choices are not what they should be.
    pub faults: u64,
    serial: u8,
}

impl<'a> Generator<'a> {
    pub fn new(seed: u64, keys: &'a Keys) -> Self {
        let mut random = Random::new(seed);
        let faults = random.one_of(&[0, 1, 3, 6, 15]);
        Self {
            random,
            keys,
            faults,
            serial: 0,
        }
    }

    fn fault(&mut self) -> bool {
        self.random.percent(self.faults)
    }

    /// The name of a party in one of the many ways to write it.
    fn name(&mut self, party: usize) -> Vec<u8> {
        if party == EMPTY {
            return name(&[]);
        }
        let mut text = |text: &str| {
            let tag = self.random.one_of(&[
                string::UTF8,
                string::UTF8,
                string::PRINTABLE,
                string::PRINTABLE,
                string::T61,
                string::IA5,
                string::BMP,
                string::UNIVERSAL,
            ]);
            let text = match self.random.below(8) {
                0 => text.to_uppercase(),
                1 => text.to_lowercase(),
                2 => format!("  {}\t", text.replace(' ', " \n ")),
                _ => text.to_owned(),
            };
            (tag, text)
        };
        let (kind, organisation) = text("Example Works");
        let organisation = attribute(0x0a, kind, &organisation);
        let (kind, common) = text(&format!("test party {party}"));
        let common = attribute(0x03, kind, &common);
        // The second party has both in one relative name, whose order does not count.
        let mut both = [organisation, common];
        if party == 1 {
            if self.random.percent(50) {
                both.reverse();
            }
            return name(&[both.to_vec()]);
        }
        if self.fault() && self.random.percent(20) {
            both.reverse();
        }
        let [first, second] = both;
        name(&[vec![first], vec![second]])
    }

    fn extensions(&mut self, is_signer: bool, own: &Made, issuer: &Made) -> Vec<Vec<u8>> {
        let mut list = Vec::new();
        list.extend(self.basic(is_signer));
        list.extend(self.usages(is_signer));
        if let Some(id) = &own.key_id {
            let is_critical = self.fault() && self.random.percent(20);
            list.push(extension::subject_key_id(id, is_critical));
        }
        list.extend(self.authority(issuer));
        if self.fault() && self.random.percent(30) {
            list.push(self.strange());
        }
        if self.fault() && self.random.percent(15) && !list.is_empty() {
            let place = self.random.below(list.len());
            list.push(list[place].clone());
        }
        self.random.shuffle(&mut list);
        list
    }

    fn basic(&mut self, is_signer: bool) -> Option<Vec<u8>> {
        let is_critical = self.random.percent(70);
        if self.fault() {
            return match self.random.below(6) {
                0 => None,
                1 => Some(extension::basic(false, Some(0), is_critical)),
                2 => Some(extension::basic(true, Some(-1), is_critical)),
                3 => Some(extension::basic(is_signer, None, is_critical)),
                _ => Some(extension::basic(false, None, is_critical)),
            };
        }
        if is_signer {
            return self
                .random
                .percent(60)
                .then(|| extension::basic(false, None, is_critical));
        }
        let path_len = match self.random.below(8) {
            0 => Some(0),
            1 => Some(1),
            2 => Some(2),
            _ => None,
        };
        Some(extension::basic(true, path_len, is_critical))
    }

    fn usages(&mut self, is_signer: bool) -> Vec<Vec<u8>> {
        let is_critical = self.random.percent(50);
        let mut list = Vec::new();
        if self.fault() {
            let bits = self.random.one_of(&[0x80, 0, 0x02, 0x04]);
            list.push(extension::key_usage(bits, is_critical));
        } else if self.random.percent(40) {
            let bits = if is_signer { 0x80 } else { 0x86 };
            list.push(extension::key_usage(bits, is_critical));
        }
        if is_signer && self.random.percent(50) {
            list.push(extension::code_signing(is_critical));
        }
        if self.fault() {
            list.push(extension::netscape_type(
                self.random.one_of(&[0x04, 0x80, 0x01]),
            ));
        }
        list
    }

    fn authority(&mut self, issuer: &Made) -> Option<Vec<u8>> {
        let wrong_id = b"no such key".as_slice();
        let wrong_serial = [issuer.serial ^ 0x40];
        let right_serial = [issuer.serial];
        let right_name = self.name(issuer.issuer);
        let wrong_name = self.name(STRANGER);
        let key_id = issuer.key_id.as_deref();
        if self.fault() {
            let (key_id, name, serial) = match self.random.below(5) {
                0 => (Some(wrong_id), None, None),
                1 => (key_id, Some(&right_name), Some(&wrong_serial)),
                2 => (key_id, Some(&wrong_name), Some(&right_serial)),
                3 => (Some(wrong_id), Some(&right_name), Some(&right_serial)),
                _ => (None, None, Some(&wrong_serial)),
            };
            let name = name.map(Vec::as_slice);
            return Some(extension::authority_key_id(
                key_id,
                name,
                serial.map(<[u8; 1]>::as_slice),
            ));
        }
        match self.random.below(6) {
            0 | 1 => None,
            2 => Some(extension::authority_key_id(
                key_id,
                Some(&right_name),
                Some(&right_serial),
            )),
            3 => Some(extension::authority_key_id(
                None,
                Some(&right_name),
                Some(&right_serial),
            )),
            // An id where the issuer names none is not looked at.
            4 => Some(extension::authority_key_id(
                key_id.or(Some(wrong_id)),
                None,
                None,
            )),
            _ => Some(extension::authority_key_id(key_id, None, None)),
        }
    }

    /// An extension that libraries look at, or must not overlook.
    fn strange(&mut self) -> Vec<u8> {
        let is_critical = self.random.percent(70);
        match self.random.below(7) {
            0 => extension::any(b"\x2a\x03\x04", is_critical, &[5, 0]),
            1 => extension::proxy(),
            // Two that are cut short: basic constraints, and revocation lists.
            2 => extension::any(&[0x55, 0x1d, 0x13], is_critical, &[0x30, 3, 1]),
            3 => extension::any(&[0x55, 0x1d, 0x0e], is_critical, &[0x04, 3, 1]),
            4 => extension::any(&[0x55, 0x1d, 0x1f], is_critical, &der(0x30, &[])),
            5 => extension::any(
                b"\x2b\x06\x01\x05\x05\x07\x30\x01\x05",
                is_critical,
                &[5, 0],
            ),
            _ => extension::any(
                &[0x55, 0x1d, 0x11],
                is_critical,
                &der(0x30, &[&der(0x82, &[b"example"])]),
            ),
        }
    }

    fn scheme(&mut self) -> Scheme {
        match self.random.below(12) {
            0 => Scheme::Sha1,
            1 => Scheme::Sha384,
            2 => Scheme::Sha512,
            3 => Scheme::Pss(32),
            4 => Scheme::Pss(222),
            5 if self.fault() => Scheme::Md5,
            _ => Scheme::Sha256,
        }
    }

    /// A certificate of this party and key, by this issuer, or by itself where there is none.
    fn make(&mut self, subject: usize, key: usize, issuer: Option<&Made>) -> Made {
        self.serial = self.serial % 0x3f + 1;
        let mut own = Made {
            der: Vec::new(),
            subject,
            issuer: issuer.map_or(subject, |issuer| issuer.subject),
            key,
            key_id: match self.random.below(10) {
                0..=1 => None,
                2 if self.fault() => Some(b"another".to_vec()),
                _ => Some(vec![u8::try_from(key).unwrap(); 20]),
            },
            serial: self.serial,
        };
        let alone = own.clone();
        let issuer = issuer.unwrap_or(&alone);
        let is_version_1 = self.fault() && self.random.percent(40);
        let (not_before, not_after): (&[u8], &[u8]) = match self.random.below(6) {
            0 => (b"\x17\x0d010101000000Z", b"\x17\x0d020101000000Z"),
            1 => (b"\x18\x0f20800101000000Z", b"\x18\x0f20990101000000Z"),
            _ => (b"\x17\x0d200101000000Z", b"\x17\x0d490101000000Z"),
        };
        let template = Template {
            version: if is_version_1 { 0 } else { 2 },
            serial: own.serial,
            issuer: self.name(issuer.subject),
            subject: self.name(subject),
            not_before,
            not_after,
            key: &self.keys.0[key],
            extensions: if is_version_1 && self.random.percent(80) {
                Vec::new()
            } else {
                self.extensions(subject == SIGNER, &own, issuer)
            },
            scheme: self.scheme(),
            names_other_algorithm: self.fault() && self.random.percent(10),
        };
        let by = if self.fault() && self.random.percent(50) {
            self.random.below(self.keys.0.len())
        } else {
            issuer.key
        };
        if is_version_1 {
            own.key_id = None;
        }
        own.der = template.sign(&self.keys.0[by]);
        own
    }

    pub fn scenario(&mut self) -> Scenario {
        let count = self.keys.0.len();
        let mut all = Vec::new();
        // The path, from the root down.
        let depth = self.random.below(4);
        let root_key = self.random.below(count);
        let root = if self.fault() { EMPTY } else { ROOT };
        all.push(self.make(root, root_key, None));
        for party in 1..=depth {
            let key = self.random.below(count);
            let issuer = all[party - 1].clone();
            let made = self.make(party, key, Some(&issuer));
            all.push(made);
        }
        let path_len = all.len();
        for _ in 0..self.random.below(4) {
            let place = self.random.below(path_len);
            let made = self.relative(&all, place);
            all.push(made);
        }
        let signer_key = self.random.below(count);
        let issuer = if self.fault() {
            None // a signer that vouches for itself
        } else {
            Some(all[path_len - 1].clone())
        };
        let signer = self.make(SIGNER, signer_key, issuer.as_ref());
        if self.fault() {
            // A circle: the signer issued one of those above it.
            let place = self.random.below(path_len);
            let (party, key) = (all[place].subject, all[place].key);
            let made = self.make(party, key, Some(&signer));
            all.push(made);
        }
        self.pick(all, signer)
    }

    /// A certificate that can be taken for one of the path, at `place`.
    fn relative(&mut self, all: &[Made], place: usize) -> Made {
        let one = all[place].clone();
        let above = all[place.saturating_sub(1)].clone();
        let other_key = self.random.below(self.keys.0.len());
        match self.random.below(6) {
            // The same name, another key.
            0 => self.make(one.subject, other_key, None),
            1 => self.make(one.subject, other_key, Some(&above)),
            // The same name and key: renewed, self-signed, cross-signed.
            2 => self.make(one.subject, one.key, Some(&above)),
            3 => self.make(one.subject, one.key, None),
            4 => {
                let stranger = self.make(STRANGER, other_key, None);
                self.make(one.subject, one.key, Some(&stranger))
            }
            _ => self.make(STRANGER, other_key, None),
        }
    }

    fn pick(&mut self, all: Vec<Made>, signer: Made) -> Scenario {
        let mut bag: Vec<Vec<u8>> = Vec::new();
        let missing = self.random.one_of(&[0, 10, 40]);
        for one in &all {
            if !self.random.percent(missing) {
                bag.push(one.der.clone());
            }
        }
        if self.random.percent(95) {
            bag.insert(0, signer.der.clone());
        }
        if self.random.percent(50) {
            self.random.shuffle(&mut bag);
        }
        let mut db: Vec<Vec<u8>> = all.into_iter().map(|one| one.der).collect();
        if self.random.percent(40) {
            db.push(signer.der.clone());
        }
        self.random.shuffle(&mut db);
        db.truncate(4);
        Scenario {
            signer: signer.der,
            bag,
            db,
        }
    }
}
