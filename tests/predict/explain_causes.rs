//! Causes that no recorded boot has: a real log, changed at one place in the way that firmware, shim or a stub
//! would change it (`docs/explanation.md` says when). Every cause is printed once, here,
//! in `explain.rs` or in `explain_real_firmware.rs`.

use measure::{self, Cause, Event, Explanation, Prediction, Source, parse_variable_data};
use tpm::Bank;
use tpm::event_log::LoggedEvent;
use uuid::{Uuid, uuid};

use crate::explain::{differences, logged, predicted};
use crate::firmware::real_boot;

const BOOT: &str = "shim-boot-entry";
pub const SHIM_LOCK: Uuid = uuid!("605dab50-e046-4300-abb6-3dd810dd8b23");
pub const IMAGE_SECURITY: Uuid = uuid!("d719b2cb-3d3a-4596-a3bc-dad00e67656f");
/// Places of events in the log, which are one below their numbers: the log's first event is not in it.
pub const SECURE_BOOT: usize = 3;
pub const DB: usize = 6;
const DBX: usize = 7;
pub const SEPARATOR_7: usize = 8;
pub const ACTION: usize = 14;
pub const SEPARATOR_4: usize = 19;
pub const AUTHORITY_OF_SHIM: usize = 22;
pub const SHIM: usize = 24;
pub const LEVEL: usize = 27;
pub const AUTHORITY_OF_KERNEL: usize = 29;
pub const KERNEL: usize = 30;

pub const VARIABLE: u32 = 0x8000_0001;
pub const PROGRAM: u32 = 0x8000_0003;
pub const DRIVER: u32 = 0x8000_0004;
pub const ACTION_TYPE: u32 = 0x8000_0007;
pub const AUTHORITY: u32 = 0x8000_00e0;

/// An event whose data are what is hashed.
pub fn event(pcr: u32, event_type: u32, data: &[u8]) -> LoggedEvent {
    LoggedEvent {
        pcr,
        event_type,
        digest: Bank::Sha256.digest(data),
        data: data.to_vec(),
    }
}

/// `UEFI_VARIABLE_DATA`, written down once more.
pub fn variable(guid: Uuid, name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = guid.to_bytes_le().to_vec();
    bytes.extend((name.len() as u64).to_le_bytes());
    bytes.extend((data.len() as u64).to_le_bytes());
    bytes.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
    bytes.extend(data);
    bytes
}

/// `UEFI_IMAGE_LOAD_EVENT`: addresses, the length of the device path, the device path.
pub fn image_load_event(device_path: &[u8]) -> Vec<u8> {
    let len = (device_path.len() as u64).to_le_bytes();
    [&[0; 24], &len[..], device_path].concat()
}

/// An image of other content, at a path.
pub fn image(pcr: u32, event_type: u32, path: &str) -> LoggedEvent {
    let path: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut node = vec![4, 4];
    node.extend(u16::try_from(path.len() + 4).unwrap().to_le_bytes());
    node.extend(path);
    node.extend([0x7f, 0xff, 4, 0]);
    event(pcr, event_type, &image_load_event(&node))
}

pub fn the_prediction() -> Prediction {
    predicted(&real_boot(BOOT), true)
}

/// Explains the boot's log after `change` by the boot's own prediction.
pub fn after(change: impl FnOnce(&mut Vec<LoggedEvent>)) -> Explanation {
    let mut log = logged(BOOT);
    change(&mut log);
    explained(&the_prediction(), &log)
}

pub fn explained(prediction: &Prediction, log: &[LoggedEvent]) -> Explanation {
    let branches: Vec<_> = prediction.branches.iter().collect();
    measure::explain(&branches, &prediction.selection, log)
}

/// Asserts all differences, and the words of the first one's cause.
#[track_caller]
pub fn is(explanation: &Explanation, all: &[&str], text: &str) {
    assert_eq!(differences(explanation), all);
    let mut rows = explanation.comparisons.iter().flat_map(|one| &one.rows);
    let row = rows.find(|row| row.verdict.differs()).unwrap();
    assert_eq!(
        operations::predict::cause(row.cause.as_ref().unwrap()),
        text
    );
}

#[test]
fn the_places_are_those_of_the_log() {
    let log = logged(BOOT);
    let name = |at: usize| {
        let (_, name, _) = parse_variable_data(&log[at].data).unwrap();
        name
    };
    let names = [
        SECURE_BOOT,
        DB,
        DBX,
        AUTHORITY_OF_SHIM,
        LEVEL,
        AUTHORITY_OF_KERNEL,
    ]
    .map(name);
    assert_eq!(names, ["SecureBoot", "db", "dbx", "db", "SbatLevel", "db"]);
    let types = [ACTION, SEPARATOR_4, SEPARATOR_7, SHIM, KERNEL].map(|at| log[at].event_type);
    assert_eq!(types, [ACTION_TYPE, 4, 4, PROGRAM, PROGRAM]);
    assert!(after(|_| ()).is_equal());
}

#[test]
fn another_shim_is_named() {
    let explanation = after(|log| log[SHIM] = image(4, PROGRAM, "\\EFI\\BOOT\\BOOTX64.EFI"));
    is(
        &explanation,
        &["4 25 Differs other-shim"],
        "another first program than shim-16.1-deb12: the guest's firmware started \\EFI\\BOOT\\BOOTX64.EFI, of other content; \
         a shim that was updated on one side",
    );
}

#[test]
fn another_sbat_level_is_named_newer_or_not() {
    let with = |text: &str| {
        let data = variable(SHIM_LOCK, "SbatLevel", text.as_bytes());
        after(|log| log[LEVEL] = event(7, AUTHORITY, &data))
    };
    is(
        &with("sbat,1,2025051000\nshim,4\ngrub,5\ngrub.proxmox,2\n"),
        &["7 28 Differs newer-sbat-level"],
        "the guest's SbatLevel (sbat,1,2025051000) is newer than the one that this shim brings (sbat,1,2025021800): \
         a newer shim or an update of revocations has set it, and shim keeps a newer one",
    );
    is(
        &with("sbat,1,2023012900\nshim,2\ngrub,3\n"),
        &["7 28 Differs other-sbat-level"],
        "the guest's SbatLevel (sbat,1,2023012900) is not the one that this shim sets (sbat,1,2025021800): \
         another shim was started, or its SbatPolicy is not the default",
    );
    is(
        &with(""),
        &["7 28 Differs other-sbat-level"],
        "the guest's SbatLevel (empty) is not the one that this shim sets (sbat,1,2025021800): \
         another shim was started, or its SbatPolicy is not the default",
    );
}

#[test]
fn a_level_that_is_not_there_is_named() {
    is(
        &after(|log| drop(log.remove(LEVEL))),
        &["7 - Missing no-sbat-level"],
        "the log has no SbatLevel: shim-16.1-deb12 was not started as a shim of 15.3 or later",
    );
}

#[test]
fn shims_state_is_named() {
    let state = event(7, AUTHORITY, &variable(SHIM_LOCK, "MokSBState", &[1]));
    is(
        &after(|log| log.insert(LEVEL + 1, state)),
        &["7 29 Extra mok-sb-state"],
        "the variable MokSBState exists in this guest: somebody changed shim's validation with mokutil; once it is deleted the event is gone",
    );
}

#[test]
fn an_option_rom_is_named() {
    // edk2 measures an authority once: shim's is then not measured again.
    let change = |log: &mut Vec<LoggedEvent>| {
        let authority = log.remove(AUTHORITY_OF_SHIM);
        log.insert(SEPARATOR_7, authority);
        log.insert(SEPARATOR_7 + 1, image(2, DRIVER, ""));
    };
    is(
        &after(change),
        &["7 9 Extra option-rom", "7 - Missing other-order"],
        "a driver was verified by db entry of 77fa9abd-0359-4d32-bd60-28f4e78f784b (Microsoft), \
         CN=Microsoft Corporation UEFI CA 2011,O=Microsoft Corporation,L=Redmond,ST=Washington,C=US before the boot: \
         an option ROM of a device that the prediction does not know",
    );
}

#[test]
fn what_firmware_measures_besides_is_named() {
    let dbt = event(7, VARIABLE, &variable(IMAGE_SECURITY, "dbt", &[]));
    is(
        &after(|log| log.insert(DBX + 1, dbt)),
        &["7 9 Extra more-before-boot"],
        "this firmware measures variable dbt: empty besides, before it boots; no configuration can describe that",
    );
    let action = event(7, ACTION_TYPE, b"UEFI Debug Mode");
    is(
        &after(|log| log.insert(SECURE_BOOT, action)),
        &["7 4 Extra more-before-boot"],
        "this firmware measures UEFI Debug Mode besides, before it boots; no configuration can describe that",
    );
}

#[test]
fn another_order_is_named() {
    is(
        &after(|log| log.swap(DB, DBX)),
        &["7 7 Extra other-order", "7 - Missing other-order"],
        "this firmware measures variable dbx: 76 bytes at another place, which no configuration can describe",
    );
}

#[test]
fn a_digest_that_is_not_that_of_its_data_is_named() {
    is(
        &after(|log| log[DB].digest = vec![7; 32]),
        &["7 7 Differs digest-of-other-data"],
        "the log shows the predicted data under another digest: this firmware hashes something else, or the log was changed",
    );
}

#[test]
fn separators_are_named() {
    is(
        &after(|log| log[SEPARATOR_7] = event(7, 4, &[1, 0, 0, 0])),
        &["7 9 Differs error-separator"],
        "firmware noted an error before it booted: the separator is 1",
    );
    is(
        &after(|log| drop(log.remove(SEPARATOR_4))),
        &["4 - Missing no-separator"],
        "the log ends before firmware finished, or leaves events out: the separator is missing",
    );
}

#[test]
fn the_action_before_the_boot_option_is_named() {
    is(
        &after(|log| drop(log.remove(ACTION))),
        &["4 - Missing no-ready-to-boot"],
        "this firmware does not measure that it calls the boot option: describe it with --omits-ready-to-boot-signal",
    );
    let mut real = real_boot(BOOT);
    real.configuration.omits_ready_to_boot_event = true;
    is(
        &explained(&predicted(&real, true), &logged(BOOT)),
        &["4 15 Extra ready-to-boot"],
        "this firmware measures that it calls the boot option, and the configuration says that it does not: leave --omits-ready-to-boot-signal out",
    );
}

#[test]
fn a_boot_option_that_failed_is_named() {
    let change = |log: &mut Vec<LoggedEvent>| {
        let action = |text: &[u8]| event(4, ACTION_TYPE, text);
        log.insert(
            SHIM,
            action(b"Returning from EFI Application from Boot Option"),
        );
        log.insert(
            SHIM + 1,
            action(b"Calling EFI Application from Boot Option"),
        );
    };
    is(
        &after(change),
        &[
            "4 25 Extra failed-boot-option",
            "4 26 Extra failed-boot-option",
        ],
        "a boot option failed, and firmware went on to the next: give the boot disk the first place in the boot order",
    );
}

#[test]
fn programs_besides_are_named() {
    is(
        &after(|log| log.insert(ACTION, image(4, PROGRAM, "\\agent.efi"))),
        &["4 15 Extra before-boot"],
        "firmware started \\agent.efi before the boot: a program of the firmware's own, or a SysPrep entry",
    );
    is(
        &after(|log| {
            log.insert(
                KERNEL,
                image(4, PROGRAM, "\\EFI\\ubuntu\\systemd-bootx64.efi"),
            );
        }),
        &["4 31 Extra further-program"],
        "the guest started \\EFI\\ubuntu\\systemd-bootx64.efi besides: a boot menu or loader that the prediction does not have",
    );
}

#[test]
fn a_program_that_was_refused_after_its_authority_is_named() {
    is(
        &after(|log| log.truncate(KERNEL)),
        &["4 - Missing not-started"],
        "the guest did not start uki-stub257, or the log ends before",
    );
    let change = |log: &mut Vec<LoggedEvent>| {
        let entry = [&[9; 16][..], &[8; 32]].concat();
        let authority = event(7, AUTHORITY, &variable(IMAGE_SECURITY, "db", &entry));
        log.insert(KERNEL + 1, authority);
    };
    is(
        &after(change),
        &["7 32 Extra refused-after-authority"],
        "a program was verified by db entry of 09090909-0909-0909-0909-090909090909, digest \
         0808080808080808080808080808080808080808080808080808080808080808 and not started: shim or firmware refused it afterwards",
    );
}

/// The reason that is given for another authority of the kernel than the predicted one.
fn reason(predicted_as: &'static str, change: impl FnOnce(&mut Vec<LoggedEvent>)) -> String {
    let mut prediction = the_prediction();
    prediction.branches.truncate(1); // the second has the same events
    let of_kernel = |event: &&mut Event| matches!(&event.source, Source::Authority { file, .. } if file == "uki-stub257");
    let mut events = prediction.branches[0].events.iter_mut();
    let event = events.find(of_kernel).unwrap();
    let Source::Authority { database, .. } = &mut event.source else {
        panic!("{event:?}");
    };
    if predicted_as != *database {
        *database = predicted_as;
        event.data = variable(SHIM_LOCK, predicted_as, &[1; 100]);
        event.digest = Bank::Sha256.digest(&event.data);
    }
    let mut log = logged(BOOT);
    change(&mut log);
    let explanation = explained(&prediction, &log);
    let mut rows = explanation.comparisons.iter().flat_map(|one| &one.rows);
    let row = rows
        .find(|row| row.number == Some(AUTHORITY_OF_KERNEL + 1))
        .unwrap();
    let Some(cause @ Cause::OtherAuthority { reason, .. }) = &row.cause else {
        panic!("{row:?}");
    };
    assert!(cause.to_string().ends_with(reason));
    (*reason).to_owned()
}

#[test]
fn the_reason_for_another_authority_is_told() {
    let as_name = |name: &str, guid: Uuid| {
        let name = name.to_owned();
        move |log: &mut Vec<LoggedEvent>| {
            let (_, _, entry) = parse_variable_data(&log[AUTHORITY_OF_KERNEL].data).unwrap();
            log[AUTHORITY_OF_KERNEL] = event(7, AUTHORITY, &variable(guid, &name, entry));
        }
    };
    let entry_of = |owner: u8| {
        move |log: &mut Vec<LoggedEvent>| {
            let (_, _, entry) = parse_variable_data(&log[AUTHORITY_OF_KERNEL].data).unwrap();
            let entry = [&[owner; 16][..], &entry[16..]].concat();
            log[AUTHORITY_OF_KERNEL] = event(7, AUTHORITY, &variable(IMAGE_SECURITY, "db", &entry));
        }
    };
    let another_program = |log: &mut Vec<LoggedEvent>| {
        let entry = [7; 100];
        log[AUTHORITY_OF_KERNEL] = event(7, AUTHORITY, &variable(IMAGE_SECURITY, "db", &entry));
        log[KERNEL] = image(4, PROGRAM, "\\EFI\\ubuntu\\grubx64.efi");
    };
    assert_eq!(
        reason("db", as_name("dbx", IMAGE_SECURITY)),
        "a certificate in the guest's dbx verifies one of its signatures"
    );
    assert_eq!(
        reason("db", entry_of(5)),
        "the same entry stands there under another owner"
    );
    assert_eq!(
        reason("db", another_program),
        "the program is another one, too, as PCR 4 tells"
    );
    assert_eq!(
        reason("MokListRT", |_| ()),
        "the guest's db holds a certificate that verifies it, and shim asks db first"
    );
    assert_eq!(
        reason("Shim", as_name("MokListRT", SHIM_LOCK)),
        "another version of shim, which names its own certificates otherwise (Shim below 15.7, MokListRT from then on)"
    );
}

#[test]
fn an_authority_that_is_not_there_is_named() {
    is(
        &after(|log| drop(log.remove(AUTHORITY_OF_KERNEL))),
        &["7 - Missing no-authority"],
        "the log has no authority for uki-stub257: it was not started, or nobody verified it",
    );
}

#[test]
fn whatever_else_stands_in_the_log_is_named() {
    is(
        &after(|log| log.push(event(4, 0xc, &[0xff; 4]))),
        &["4 48 Extra unexpected"],
        "the guest measured number ffffffff, which is not part of any prediction",
    );
    is(
        &after(|log| drop(log.remove(DB))),
        &["7 - Missing missing"],
        "the log lacks variable db: 3984 bytes",
    );
}

#[test]
fn an_empty_log_differs_everywhere_and_has_no_values() {
    let explanation = explained(&the_prediction(), &[]);
    assert!(!explanation.is_equal());
    assert!(explanation.values.is_empty());
    assert_eq!(differences(&explanation).len(), 4 + 9);
}

#[test]
fn a_log_that_is_much_too_long_is_compared_all_the_same() {
    let explanation = after(|log| {
        let authority = log[AUTHORITY_OF_SHIM].clone();
        log.extend(std::iter::repeat_n(authority, 20_000));
    });
    assert_eq!(differences(&explanation).len(), 20_000);
}
