//! What each release of shim does that a prediction depends on: the one place that knows its version numbers.
//!
//! [`RELEASES`] is the table; `docs/explanation.md` shows it to readers, and `tests/predict/shim_releases.rs`
//! holds both, and the programs that are at hand, together. A rule holds from its release on until another
//! row replaces it.
//!
//! Sources: boots of 15.4, 15.6, 15.7, 15.8 and 16.1 under OVMF 2022.11; for 15.2, 15.3, 15.5 and 16.0, shim's
//! source (`mok.c`, `sbat.c`, `verify.c`, BSD-2-Clause) and its pull requests 423, 455 and 519.

use firmware::shim::Version;

/// What shim sets where it has no section `.sbatlevel`, and where Secure Boot is off.
pub(super) const ORIGINAL_LEVEL: &str = "sbat,1,2021030218\n";

/// Where the SBAT level of a release comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LevelSource {
    /// It has none: neither measured nor asked for.
    Nowhere,
    /// [`ORIGINAL_LEVEL`], in its code.
    Code,
    /// Its section `.sbatlevel`.
    Section,
}

/// How the certificate that is built into shim is measured as an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VendorEvent {
    /// Named `Shim`, the certificate alone.
    Shim,
    /// Named `MokListRT`, behind shim's own GUID as its owner: shim finds it in its copy of the list first.
    MokListRt,
}

/// The files beside shim that it takes into account, by the beginnings of their names in lower case.
type Companions = &'static [&'static str];

/// One release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Release {
    /// Its version.
    pub version: Version,
    /// Its level: measured as `SbatLevel` into PCR 7, and what it loads needs a `.sbat`.
    pub level: LevelSource,
    /// With Secure Boot off it goes back to [`ORIGINAL_LEVEL`].
    pub resets_level: bool,
    /// An entry of a database is measured with its owner; without it otherwise.
    pub measures_owners: bool,
    /// How its own certificate is measured.
    pub vendor_event: VendorEvent,
    /// A guest without the variable `MokListTrusted` has it measured as 01 into PCR 7, behind the level.
    pub measures_mok_list_trusted: bool,
    /// Files beside it that it loads and measures under Secure Boot.
    pub companions: Companions,
    /// Files beside it that name another program than the built-in one, with or without Secure Boot.
    pub choosers: Companions,
}

/// Below this release nothing is predicted.
pub(super) const OLDEST: Release = Release {
    version: Version(15, 2),
    level: LevelSource::Nowhere,
    resets_level: false,
    measures_owners: false,
    vendor_event: VendorEvent::Shim,
    measures_mok_list_trusted: false,
    companions: &[],
    choosers: &[],
};
const V15_3: Release = Release {
    version: Version(15, 3),
    level: LevelSource::Code,
    measures_owners: true,
    ..OLDEST
};
const V15_4: Release = Release {
    version: Version(15, 4),
    ..V15_3
};
// MokListTrusted comes with 15.5, and is measured where somebody set it: a fresh guest has nothing of it.
const V15_5: Release = Release {
    version: Version(15, 5),
    ..V15_4
};
const V15_6: Release = Release {
    version: Version(15, 6),
    measures_mok_list_trusted: true,
    companions: &["shim_certificate"],
    ..V15_5
};
const V15_7: Release = Release {
    version: Version(15, 7),
    level: LevelSource::Section,
    vendor_event: VendorEvent::MokListRt,
    measures_mok_list_trusted: false,
    ..V15_6
};
const V15_8: Release = Release {
    version: Version(15, 8),
    resets_level: true,
    companions: &["shim_certificate", "revocations.efi"],
    ..V15_7
};
const V16_0: Release = Release {
    version: Version(16, 0),
    companions: &[
        "shim_certificate",
        "revocations.efi",
        "revocations_sbat.efi",
        "revocations_sku.efi",
    ],
    choosers: &["options.csv"],
    ..V15_8
};
const V16_1: Release = Release {
    version: Version(16, 1),
    ..V16_0
};

/// In the order of their versions.
pub(super) const RELEASES: [Release; 9] = [
    OLDEST, V15_3, V15_4, V15_5, V15_6, V15_7, V15_8, V16_0, V16_1,
];

impl Release {
    /// The newest release that is not newer than `version`; the oldest, where all are.
    pub fn of(version: Version) -> Self {
        let mut older = RELEASES.iter().rev();
        let found = older.find(|release| release.version <= version);
        found.copied().unwrap_or(OLDEST)
    }

    /// True where it refuses programs without a `.sbat`, or with one below its level.
    pub fn asks_for_sbat(self) -> bool {
        self.level != LevelSource::Nowhere
    }
}

/// The first of these names that begins as one of `companions`, in any case of letters.
pub(super) fn companion(names: &[String], companions: Companions) -> Option<&String> {
    names.iter().find(|name| {
        let name = name.to_ascii_lowercase();
        companions.iter().any(|begin| name.starts_with(begin))
    })
}
