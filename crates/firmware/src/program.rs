//! What is known of a boot file: all that a prediction asks for, and nothing of its bytes.
//!
//! [`Program::read`] takes it from a PE file in one pass; a test, or a machine that has no more of the
//! file than a record of it, fills in [`Program::new`] instead.

use super::authenticode::{self, Signatures, Skipped};
use super::pe::{Digests, Machine, Pe};
use super::pkcs7::Signature;
use super::{Error, Hash, Result, SHA256_BYTES, grub};
use base::storage::{ReadAt, Slice};

/// The longest of the small sections that are kept.
const MAX_SECTION_BYTES: u64 = 1 << 20;
/// The longest section of GRUB modules that is looked through.
const MAX_MODULES_BYTES: u64 = 32 << 20;
/// The sections of a unified kernel image whose content systemd's stub measures.
pub const MEASURED_SECTIONS: [&str; 13] = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat",
    ".pcrpkey", ".profile", ".dtbauto", ".hwids",
];
/// The sections whose content identifies a program.
const KEPT: [&str; 5] = [
    ".sbat",
    ".sbatlevel",
    ".vendor_cert",
    ".data.ident",
    ".sdmagic",
];

/// A boot file, as a prediction sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    digests: Vec<Digests>,
    image_digest: [u8; SHA256_BYTES],
    /// Those that can be read, in the order of the certificate table.
    pub signatures: Vec<Signature>,
    /// The other entries of that table.
    pub skipped: Vec<Skipped>,
    /// How many bytes follow the certificate table; 0 in a good file.
    pub bytes_behind_table: u64,
    machine: Option<Machine>,
    sections: Vec<(String, Vec<u8>)>,
    names: Vec<String>,
    grub_prefix: Option<std::result::Result<Option<String>, String>>,
    inner_kernel: Option<Vec<Digests>>,
    has_kernel_header: bool,
    section_digests: Vec<SectionDigest>,
}

/// The digest of a section's content, as it lies in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SectionDigest {
    name: &'static str,
    hash: Hash,
    digest: Vec<u8>,
}

impl Program {
    /// A program of which these facts are known. `digests` must hold a SHA-256 one.
    pub fn new(
        digests: Vec<Digests>,
        signatures: Vec<Signature>,
        sections: Vec<(String, Vec<u8>)>,
    ) -> Result<Self> {
        let sha256 = digests.iter().find(|digests| digests.hash == Hash::Sha256);
        let image_digest = sha256.and_then(|digests| digests.measured.as_slice().try_into().ok());
        Ok(Self {
            image_digest: image_digest.ok_or(Error::DigestMissing)?,
            digests,
            signatures,
            skipped: Vec::new(),
            bytes_behind_table: 0,
            machine: None,
            names: sections.iter().map(|(name, _)| name.clone()).collect(),
            sections,
            grub_prefix: None,
            inner_kernel: None,
            has_kernel_header: false,
            section_digests: Vec::new(),
        })
    }

    /// The same, with a kernel inside that has these digests.
    #[must_use]
    pub fn with_inner_kernel(mut self, digests: Vec<Digests>) -> Self {
        self.names.push(".linux".to_owned());
        self.inner_kernel = Some(digests);
        self
    }

    /// Reads a PE file. `hashes` are the hash functions besides SHA-256, SHA-1 (by which shim looks into db and dbx, too)
    /// and those of its signatures; `inner_kernel` asks for the digests of the kernel in the section `.linux`, too, where there is one.
    pub fn read(file: &dyn ReadAt, hashes: &[Hash], inner_kernel: bool) -> Result<Self> {
        let pe = Pe::read(file)?;
        let table = pe.certificate_table(file)?;
        let Signatures {
            read: signatures,
            skipped,
        } = authenticode::signatures(&table.unwrap_or_default())?;
        let of_signatures = signatures.iter().filter_map(Signature::firmware_hash);
        let mut all = vec![Hash::Sha256, Hash::Sha1];
        for hash in hashes.iter().copied().chain(of_signatures) {
            if !all.contains(&hash) {
                all.push(hash);
            }
        }
        let hashes = all;
        let digests = pe.digests(file, &hashes)?;
        let mut sections = Vec::new();
        for name in KEPT {
            if let Some(bytes) = pe.section_bytes(file, name, MAX_SECTION_BYTES)? {
                sections.push((name.to_owned(), bytes));
            }
        }
        let mut program = Self::new(digests, signatures, sections)?;
        program.skipped = skipped;
        program.bytes_behind_table = pe.bytes_behind_table();
        program.machine = Some(pe.machine());
        program.has_kernel_header = begins_as_kernel(file);
        program.names = pe
            .sections()
            .iter()
            .map(|section| section.name.clone())
            .collect();
        program.grub_prefix = pe
            .section_bytes(file, "mods", MAX_MODULES_BYTES)
            .map(|modules| modules.map(|modules| grub::prefix(&modules, pe.is_64_bit())))?
            .map(|prefix| prefix.map_err(|error| error.to_string()));
        if let (true, Some(linux)) = (inner_kernel, pe.section(".linux")) {
            let available = linux.raw.end.saturating_sub(linux.raw.start);
            let len_bytes = u64::from(linux.virtual_bytes).min(available);
            let kernel = Slice::new(file, linux.raw.start, len_bytes)?;
            let digests = Pe::read(&kernel).and_then(|pe| pe.digests(&kernel, &hashes));
            program.inner_kernel =
                Some(digests.map_err(|problem| Error::InnerKernel(Box::new(problem)))?);
        }
        Ok(program)
    }

    /// The processor that it is for; `None` where no file was read.
    pub fn machine(&self) -> Option<Machine> {
        self.machine
    }

    /// True where the program has a certificate table, whatever can be read of it.
    pub fn has_certificate_table(&self) -> bool {
        !(self.signatures.is_empty() && self.skipped.is_empty())
    }

    /// Reads the digests of what systemd's stub measures, by one hash function: the first section of each name.
    pub fn read_section_digests(&mut self, file: &dyn ReadAt, hash: Hash) -> Result<()> {
        let pe = Pe::read(file)?;
        for name in MEASURED_SECTIONS {
            if let Some(digest) = pe.section_digest(file, name, hash)? {
                self.section_digests
                    .push(SectionDigest { name, hash, digest });
            }
        }
        Ok(())
    }

    /// The digest of a section's content, where it was read.
    pub fn section_digest(&self, name: &str, hash: Hash) -> Option<&[u8]> {
        let mut digests = self.section_digests.iter();
        let found = digests.find(|digest| digest.name == name && digest.hash == hash)?;
        Some(&found.digest)
    }

    /// How many sections have this name.
    pub fn sections_named(&self, name: &str) -> usize {
        self.names.iter().filter(|own| *own == name).count()
    }

    /// The Authenticode digest that is measured, by one of the hash functions it was read with.
    pub fn digest(&self, hash: Hash) -> Option<&[u8]> {
        digest(&self.digests, hash)
    }

    /// The SHA-256 Authenticode digest: what signatures are over.
    pub fn image_digest(&self) -> &[u8; SHA256_BYTES] {
        &self.image_digest
    }

    /// What shim takes for the digest where the program has no signature.
    pub fn digest_without_tail(&self, hash: Hash) -> Option<&[u8]> {
        let found = self.digests.iter().find(|digests| digests.hash == hash)?;
        Some(&found.without_tail)
    }

    /// The Authenticode digest of the kernel in `.linux`, where it was asked for and there is one.
    pub fn inner_kernel_digest(&self, hash: Hash) -> Option<&[u8]> {
        digest(self.inner_kernel.as_ref()?, hash)
    }

    /// True where the program has a section of this name.
    pub fn has_section(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// True where the file begins as a Linux kernel that firmware can start.
    pub(super) fn has_kernel_header(&self) -> bool {
        self.has_kernel_header
    }

    /// The content of a section that identifies programs.
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        let found = self.sections.iter().find(|(own, _)| own == name)?;
        Some(&found.1)
    }

    /// The prefix of a GRUB's built-in modules: `None` where the program has none, an error's text
    /// where they cannot be read.
    pub fn grub_prefix(&self) -> Option<std::result::Result<Option<&str>, &str>> {
        let prefix = self.grub_prefix.as_ref()?;
        Some(
            prefix
                .as_ref()
                .map(Option::as_deref)
                .map_err(String::as_str),
        )
    }
}

fn digest(digests: &[Digests], hash: Hash) -> Option<&[u8]> {
    let found = digests.iter().find(|digests| digests.hash == hash)?;
    Some(&found.measured)
}

/// True where a file begins as a Linux kernel that firmware can start.
pub(super) fn begins_as_kernel(file: &dyn ReadAt) -> bool {
    let has = |offset_bytes: u64, mark: &[u8; 4]| {
        let mut bytes = [0; 4];
        let read = file.read_exact_at(&mut bytes, offset_bytes);
        read.is_ok() && bytes == *mark
    };
    has(0x202, b"HdrS") || has(0x38, b"ARM\x64") || has(0x38, b"RSC\x05") || has(4, b"zimg")
}
