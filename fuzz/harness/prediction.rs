//! A whole prediction from hostile programs and databases.
//!
//! | size | field |
//! | --- | --- |
//! | 1 | options |
//! | 4 + n, three times | db, dbx, the first program; each behind its length, little-endian |
//! | | the second program, until the end |
//!
//! Options: bit 0 the reference's rules, bit 1 Secure Boot off, bit 2 signatures are not verified, bit 3 dbx and SBAT do
//! not count, bit 4 the second program alone, bit 5 SHA-384; bits 6 and 7 leave out PCR 4 and PCR 7.

use base::storage::MemoryStorage;
use firmware::{Database, Hash, Program, UefiConfig};
use measure::{
    Boot, BootFile, Chain, Input, Prediction, Profile, Reader, Rules, Sealable, Warning, predict,
};
use tpm::Bank;
use tpm::event_log::replay;

use super::{shown, told};

pub fn run(input: &[u8]) -> bool {
    let Some((options, mut rest)) = input.split_first() else {
        return false;
    };
    let bit = |number: u8| options >> number & 1 == 1;
    let mut next = || {
        let (length, behind) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (part, behind) = behind.split_at_checked(length)?;
        rest = behind;
        Some(part)
    };
    let (Some(db), Some(dbx), Some(first)) = (next(), next(), next()) else {
        return false;
    };
    let Some(boot) = boot(first, rest, bit(4), bit(1)) else {
        return false;
    };
    let mut configuration = UefiConfig::default();
    for database in [Database::Pk, Database::Kek, Database::Db] {
        configuration.set(database, Some(db.to_vec()));
    }
    configuration.set(Database::Dbx, Some(dbx.to_vec()));
    let rules = if bit(0) {
        Rules::reference()
    } else {
        Rules {
            secure_boot: !bit(1),
            verify_signatures: !bit(2),
            obey_dbx: !bit(3),
            obey_sbat: !bit(3),
            ..Rules::firmware()
        }
    };
    let input = Input {
        configuration: &configuration,
        boot: &boot,
        profile: Profile {
            boot_manager: !bit(6),
            secure_boot: !bit(7),
            kernel: true,
            ..Profile::default()
        },
        reader: Reader::SnapBootstrap,
        rules,
        bank: if bit(5) { Bank::Sha384 } else { Bank::Sha256 },
    };
    let Some(prediction) = predicted(&input) else {
        return false;
    };
    sealed(&prediction);
    if rules == Rules::firmware() {
        like_the_reference(&input, &prediction);
    }
    true
}

/// The two programs, or the second alone; `None` where one of them cannot be read.
fn boot(first: &[u8], second: &[u8], alone: bool, inner_kernel: bool) -> Option<Boot> {
    let read = |name: &str, bytes: &[u8]| {
        let file = MemoryStorage::new(bytes.to_vec());
        match Program::read(&file, &[Hash::Sha384], inner_kernel) {
            Ok(program) => Some(BootFile {
                folder: Vec::new(),
                name: name.to_owned(),
                program,
            }),
            Err(error) => {
                told(&error);
                None
            }
        }
    };
    let kernel = read("grubx64.efi", second)?;
    Some(if alone {
        Boot {
            files: vec![kernel],
            chains: vec![Chain::new(0, [])],
            ..Boot::default()
        }
    } else {
        Boot {
            files: vec![read("shimx64.efi", first)?, kernel],
            chains: vec![Chain::new(0, [1])],
            ..Boot::default()
        }
    })
}

/// The events of each branch lead to its values.
fn predicted(input: &Input<'_>) -> Option<Prediction> {
    let prediction = match predict(input) {
        Ok(prediction) => prediction,
        Err(error) => {
            told(&error);
            return None;
        }
    };
    for warning in &prediction.warnings {
        shown(&warning);
    }
    assert!((1..=3).contains(&prediction.branches.len()));
    for branch in &prediction.branches {
        for event in &branch.events {
            shown(&event.description);
        }
        let digests = branch
            .events
            .iter()
            .map(|event| (u32::from(event.pcr), event.digest.as_slice()));
        let replayed = replay(digests, input.bank);
        assert_eq!(replayed.len(), branch.pcrs.len());
        for (pcr, value) in &branch.pcrs {
            assert_eq!(replayed.get(&u32::from(*pcr)), Some(value));
        }
    }
    Some(prediction)
}

/// Nothing is sealed to a value that is predicted in part.
fn sealed(prediction: &Prediction) {
    let whole = |pcr: &u8| {
        let mut gaps = prediction
            .branches
            .iter()
            .filter_map(|branch| branch.gap.as_ref());
        gaps.all(|gap| !gap.missed_pcrs().contains(pcr))
    };
    let mut pcrs = prediction.selection.pcrs.iter();
    match Sealable::new(prediction.clone(), true) {
        Ok(sealable) => assert!(sealable.prediction().selection.pcrs.iter().all(whole)),
        Err(error) => {
            assert!(pcrs.any(|pcr| !whole(pcr)));
            told(&error);
        }
    }
}

/// What boots, and has no warning of a difference, is what the reference predicts.
fn like_the_reference(input: &Input<'_>, ours: &Prediction) {
    let differs = |warning: &Warning| {
        matches!(
            warning,
            Warning::ReferenceDiffers { .. }
                | Warning::BuiltInLevel { .. }
                | Warning::IndirectDataOid { .. }
                | Warning::MokListTrusted { .. }
        )
    };
    // Without PCR 7 nobody asks who authorised what, so nobody warns.
    if !input.profile.secure_boot || ours.warnings.iter().any(differs) {
        return;
    }
    let reference = Input {
        rules: Rules::reference(),
        ..*input
    };
    if let Ok(theirs) = predict(&reference) {
        // A chain of one is unknown to it.
        if input.boot.files.len() == 2 {
            assert_eq!(theirs.composites(), ours.composites());
        }
    }
}
