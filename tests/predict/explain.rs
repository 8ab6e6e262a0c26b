//! A prediction beside the log of a guest: what is equal, where each PCR parts, and why.
//!
//! The logs are those of real boots. Beside its own prediction each must be equal; beside the prediction for
//! another boot the first difference of each PCR and its cause are known, since we know how the boots differ.

use measure::{self, Comparison, Explanation, Prediction, Profile, Verdict, predict};
use tpm::Bank;
use tpm::event_log::{self, LoggedEvent};

use crate::firmware::{BOOTS, RealBoot, input, real_boot};

/// The prediction for a recorded boot, all three PCRs.
pub fn predicted(real: &RealBoot, secure_boot: bool) -> Prediction {
    let profile = Profile {
        boot_manager: true,
        secure_boot: true,
        kernel: true,
        ..Profile::default()
    };
    predict(&measure::Input {
        profile,
        ..input(real, secure_boot)
    })
    .unwrap()
}

fn is_on(boot: &str) -> bool {
    !boot.starts_with("secure-boot-off")
}

fn explained(prediction: &Prediction, log: &[LoggedEvent]) -> Explanation {
    let branches: Vec<_> = prediction.branches.iter().collect();
    measure::explain(&branches, &prediction.selection, log)
}

pub fn logged(boot: &str) -> Vec<LoggedEvent> {
    event_log::read(&real_boot(boot).log, Bank::Sha256).unwrap()
}

fn comparison(explanation: &Explanation, pcr: u8) -> &Comparison {
    let mut all = explanation.comparisons.iter();
    all.find(|comparison| comparison.pcr == pcr).unwrap()
}

#[test]
fn every_boot_within_reach_is_equal_beside_its_own_prediction() {
    for boot in BOOTS {
        let real = real_boot(boot);
        let explanation = explained(&predicted(&real, is_on(boot)), &logged(boot));
        for pcr in [4, 7] {
            let comparison = comparison(&explanation, pcr);
            assert_eq!(comparison.first_difference(), None, "{boot}, PCR {pcr}");
            assert_eq!(comparison.predicted, comparison.logged, "{boot}, PCR {pcr}");
            assert!(comparison.rows.len() >= 3);
        }
        // The boot entry's command line is the one thing that no prediction has.
        let has_load_options = boot == "command-line-by-boot-entry";
        assert_eq!(explanation.is_equal(), !has_load_options, "{boot}");
        for (pcr, value) in &explanation.values {
            // The running kernel extends PCR 10, which no firmware log has.
            if *pcr != 10 {
                assert_eq!(
                    hex::encode(value),
                    real.pcrs[&pcr.to_string()],
                    "{boot}, PCR {pcr}"
                );
            }
        }
    }
}

#[test]
fn what_no_firmware_log_has_is_no_difference() {
    let boot = "shim-boot-entry";
    let explanation = explained(&predicted(&real_boot(boot), true), &logged(boot));
    let twelve = comparison(&explanation, 12);
    let [row] = &twelve.rows[..] else {
        panic!("{twelve:?}");
    };
    assert_eq!(row.verdict, Verdict::NotLogged);
    assert_eq!((row.number, &row.cause), (None, &None));
    assert_eq!(twelve.logged, Bank::Sha256.zero());
    assert_ne!(twelve.predicted, twelve.logged);
    assert!(explanation.is_equal());
}

/// The explanation of one boot's log by the prediction for another.
fn pair(prediction_of: &str, log_of: &str) -> Explanation {
    let prediction = predicted(&real_boot(prediction_of), is_on(prediction_of));
    explained(&prediction, &logged(log_of))
}

/// All differences, a line each: PCR, number in the log, verdict, name of the cause.
pub fn differences(explanation: &Explanation) -> Vec<String> {
    let mut lines = Vec::new();
    for comparison in &explanation.comparisons {
        for row in comparison.rows.iter().filter(|row| row.verdict.differs()) {
            let number = row.number.map(|number| number.to_string());
            let number = number.unwrap_or_else(|| "-".to_owned());
            let cause = row.cause.as_ref().unwrap().name();
            lines.push(format!(
                "{} {number} {:?} {cause}",
                comparison.pcr, row.verdict
            ));
        }
    }
    lines
}

/// The cause of the difference at an event of the log, or of the last one without, in words.
#[track_caller]
fn text_at(explanation: &Explanation, number: impl Into<Option<usize>>) -> String {
    let number = number.into();
    let mut rows = explanation.comparisons.iter().flat_map(|one| &one.rows);
    let row = rows
        .rfind(|row| row.verdict.differs() && row.number == number)
        .unwrap();
    operations::predict::cause(row.cause.as_ref().unwrap())
}

const WINDOWS_PCA: &str = "Microsoft Windows Production PCA 2011 (certificate e8e95f0733a55e8b…)";
const UEFI_CA_2011: &str = "Microsoft Corporation UEFI CA 2011 (certificate 48e99b991f57fc52…)";
const UEFI_CA_2023: &str = "Microsoft UEFI CA 2023 (certificate f6124e34125bee3f…)";
const SIGNER: &str = "Test image signer (certificate 2bb22015410201a4…)";
const OTHER_SIGNER: &str = "Another test image signer (certificate b1cdee4f9051ba6e…)";
/// The program that all of these boots end in.
const UKI: &str = "da5b0fb0cc8d6cba9141a6e22590b51ea7edb22b501a990409ec624005aed861";

#[test]
fn boots_that_measure_the_same_are_equal_whatever_the_firmware_and_the_way_to_shim() {
    for log_of in ["ovmf-2025.02", "shim-removable", "fallback-second-boot"] {
        assert!(pair("shim-boot-entry", log_of).is_equal(), "{log_of}");
    }
}

#[test]
fn entries_of_db_that_came_went_or_moved_are_named() {
    let explanation = pair("db-order", "dbx-present");
    assert_eq!(
        differences(&explanation),
        ["7 7 Differs other-database", "7 8 Differs other-database"]
    );
    assert_eq!(
        text_at(&explanation, 7),
        format!(
            "the guest's db is not that of the configuration: it has in addition {WINDOWS_PCA}, {OTHER_SIGNER}; it lacks {UEFI_CA_2023}; \
             its order is {UEFI_CA_2011}, {SIGNER}; the configuration's is {SIGNER}, {UEFI_CA_2011}"
        )
    );
    // Another owner's keys throughout.
    assert_eq!(
        differences(&pair("shim-boot-entry", "db-order")),
        [
            "7 5 Differs other-database",
            "7 6 Differs other-database",
            "7 7 Differs other-database"
        ]
    );
}

#[test]
fn entries_of_dbx_are_named_and_many_are_counted() {
    let explanation = pair("db-order", "dbx-present");
    assert_eq!(
        text_at(&explanation, 8),
        "the guest's dbx is not that of the configuration: it has in addition Test machine owner key (certificate 6d608fa1be7e0649…), \
         SHA-256 557c8e15c21e6fae06656d1c003bcceb96604dfb4645969c37120da9842257a8, \
         SHA-256 7126cd62e2b7572ff58cc996e32bf0d07f57c1b008bd9749c0ce66eddbebe3e4, \
         SHA-256 aca1f33e7cc48991f2765ac628c58d9823fe7343c89dfb976af06ba84527735e, 9 more; \
         it lacks SHA-256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn secure_boot_that_is_off_is_named_and_so_is_the_inner_kernel_that_follows_from_it() {
    let off = "Secure Boot is off in this guest: nothing is verified and no authority measured (--secure-boot off predicts such a boot)";
    let explanation = pair("shim-boot-entry", "secure-boot-off-user-mode");
    assert_eq!(
        differences(&explanation),
        [
            "4 42 Extra inner-kernel",
            "7 4 Differs secure-boot-off",
            "7 - Missing secure-boot-off",
            "7 27 Differs secure-boot-off",
            "7 - Missing secure-boot-off",
        ]
    );
    assert_eq!(text_at(&explanation, 4), off);
    assert_eq!(
        text_at(&explanation, 42),
        "the kernel inside of uki-stub257 is measured as well: systemd's stub hands it to firmware, which measures it while Secure Boot is off"
    );
    let explanation = pair("shim-boot-entry", "secure-boot-off-setup-mode");
    assert_eq!(text_at(&explanation, 4), off);
    assert_eq!(
        text_at(&explanation, 5),
        "the guest's PK is not that of the configuration: it is empty, the configuration has 1005 bytes"
    );
}

#[test]
fn secure_boot_that_is_on_against_the_prediction_is_named() {
    let explanation = pair("secure-boot-off-user-mode", "shim-boot-entry");
    assert_eq!(
        differences(&explanation),
        [
            "4 - Missing secure-boot-on",
            "7 4 Differs secure-boot-on",
            "7 23 Extra secure-boot-on",
            "7 28 Differs secure-boot-on",
            "7 30 Extra secure-boot-on",
        ]
    );
    assert_eq!(
        text_at(&explanation, 4),
        "Secure Boot is on in this guest, and the prediction is for one in which it is off"
    );
}

#[test]
fn a_digest_in_db_in_place_of_a_certificate_is_named() {
    let expected = [
        "7 7 Differs other-database",
        "7 8 Differs other-database",
        "7 30 Differs other-authority",
    ];
    let owner = "8be4df61-0000-4000-8000-000000000001";
    let (digest, certificate) = (
        format!("db entry of {owner}, digest {UKI}"),
        format!("db entry of {owner}, CN=Test image signer"),
    );
    let explanation = pair("dbx-present", "hash-in-db");
    assert_eq!(differences(&explanation), expected);
    assert_eq!(
        text_at(&explanation, 30),
        format!(
            "uki-stub257 was started by {digest}, not by {certificate}: its digest stands in the guest's db, and no certificate verified it before"
        )
    );
    let explanation = pair("hash-in-db", "dbx-present");
    assert_eq!(differences(&explanation), expected);
    assert_eq!(
        text_at(&explanation, 30),
        format!(
            "uki-stub257 was started by {certificate}, not by {digest}: the guest's db holds a certificate that verifies it, and its digest is not looked at or not there"
        )
    );
}

#[test]
fn a_signature_more_or_less_of_the_kernel_is_named() {
    let explanation = pair("db-order", "dual-signed-kernel");
    assert_eq!(
        differences(&explanation),
        [
            "7 7 Differs other-database",
            "7 8 Differs other-database",
            "7 30 Extra further-signature"
        ]
    );
    assert_eq!(
        text_at(&explanation, 30),
        "\\EFI\\ubuntu\\grubx64.efi carries several signatures, and shim measures an authority for each that verifies"
    );
    let explanation = pair("dual-signed-kernel", "db-order");
    assert_eq!(
        differences(&explanation).last().unwrap(),
        "7 - Missing fewer-signatures"
    );
    assert_eq!(
        text_at(&explanation, None),
        "the log has fewer authorities for uki-stub257-dual than predicted: one of its signatures leads to nothing in this guest's db"
    );
}

#[test]
fn another_certificate_of_the_same_chain_is_named() {
    let explanation = pair("db-order", "leaf-signed-kernel");
    assert_eq!(
        text_at(&explanation, 30),
        "uki-stub257 was started by db entry of 8be4df61-0000-4000-8000-000000000001, CN=Test key exchange key, not by db entry of \
         8be4df61-0000-4000-8000-000000000001, CN=Test image signer: the same program leads to another certificate, in a db of other entries or order"
    );
}

#[test]
fn a_machine_owner_key_is_named() {
    let explanation = pair("shim-boot-entry", "mok-signed-kernel");
    assert_eq!(
        differences(&explanation),
        ["7 7 Differs other-database", "7 30 Differs other-authority"]
    );
    assert_eq!(
        text_at(&explanation, 30),
        "uki-stub257 was started by MokListRT entry of 8be4df61-0000-4000-8000-000000000001, CN=Test machine owner key, not by db entry of \
         8be4df61-0000-4000-8000-000000000001, CN=Test image signer: a certificate built into shim, or a machine owner key (MOK) of the \
         guest, verified it, and nothing in db"
    );
}

#[test]
fn a_first_pass_through_fallback_is_named() {
    let explanation = pair("shim-boot-entry", "fallback-first-boot-no-reset");
    assert_eq!(
        differences(&explanation),
        [
            "4 30 Extra fallback",
            "4 32 Extra measured-again",
            "7 29 Extra fallback",
            "7 31 Extra measured-again",
            "7 35 Extra measured-again",
        ]
    );
    assert_eq!(
        text_at(&explanation, 30),
        "\\EFI\\BOOT\\fbx64.efi is shim's fallback loader: the boot had no entry yet and went through EFI/BOOT; the next boot goes without it"
    );
    assert_eq!(
        text_at(&explanation, 32),
        "program \\EFI\\ubuntu\\shimx64.efi is measured once more: a loader was started twice in this boot"
    );
}

#[test]
fn another_kernel_is_named() {
    let explanation = pair("shim-boot-entry", "stub-252");
    assert_eq!(differences(&explanation), ["4 31 Differs other-kernel"]);
    assert_eq!(
        text_at(&explanation, 31),
        "another kernel than uki-stub257: the guest started \\EFI\\ubuntu\\grubx64.efi, of other content; \
         an updated or rebuilt kernel, initial ramdisk or command line"
    );
}

#[test]
fn a_shim_more_or_less_is_named() {
    let differ = differences(&pair("shim-boot-entry", "direct-db-cert"));
    assert_eq!(
        differ,
        [
            "4 - Missing not-started",
            "7 5 Differs other-database",
            "7 6 Differs other-database",
            "7 7 Differs other-database",
            "7 - Missing no-authority",
            "7 - Missing no-sbat-level",
        ]
    );
    let explanation = pair("direct-db-cert", "shim-boot-entry");
    assert_eq!(differences(&explanation)[0], "4 25 Extra further-program");
    assert_eq!(
        text_at(&explanation, 25),
        "the guest started \\EFI\\ubuntu\\shimx64.efi besides: a boot menu or loader that the prediction does not have"
    );
    assert_eq!(
        text_at(&explanation, 28),
        "\\EFI\\ubuntu\\shimx64.efi is a shim that the prediction does not have: it measures its SbatLevel"
    );
}

#[test]
fn a_command_line_from_outside_is_named() {
    let explanation = pair("command-line-by-boot-entry", "command-line-by-boot-entry");
    assert_eq!(differences(&explanation), ["12 42 Extra load-options"]);
    assert_eq!(
        text_at(&explanation, 42),
        "\"console=ttyS0 panic=1 quiet test.option=1\" came from outside of the kernel image, as load options, a credential or an addon, \
         and its stub measured it"
    );
}

#[test]
fn of_several_branches_the_one_that_fits_best_is_taken() {
    let (one, other) = (
        predicted(&real_boot("shim-boot-entry"), true),
        predicted(&real_boot("stub-252"), true),
    );
    let branches = [&one.branches[0], &other.branches[0]];
    for (log_of, expected) in [("shim-boot-entry", 0), ("stub-252", 1)] {
        let explanation = measure::explain(&branches, &one.selection, &logged(log_of));
        assert_eq!(explanation.branch, expected, "{log_of}");
        assert!(explanation.is_equal());
    }
    // Of two that fit alike it is the first.
    let explanation = measure::explain(&branches, &one.selection, &logged("db-order"));
    assert_eq!(explanation.branch, 0);
}
