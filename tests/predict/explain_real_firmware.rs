//! What the firmware, shims and loaders of real machines log otherwise than the machine of the recorded boots does: a
//! recorded log, changed in that way, one change for each kind that logs of real machines showed.

use base::storage::MemoryStorage;
use firmware::{Hash, Program, UefiConfig, config};
use measure::{
    self, Boot, BootFile, Chain, Explanation, Input, Prediction, Profile, Reader, Rules, Separator,
};
use tpm::Bank;
use tpm::event_log::LoggedEvent;
use uuid::{Uuid, uuid};

use crate::data;
use crate::explain::{differences, logged};
use crate::explain_causes::{
    ACTION, ACTION_TYPE, AUTHORITY, AUTHORITY_OF_KERNEL, DRIVER, IMAGE_SECURITY, KERNEL, LEVEL,
    PROGRAM, SECURE_BOOT, SEPARATOR_4, SEPARATOR_7, SHIM, SHIM_LOCK, VARIABLE, after, event,
    explained, image, image_load_event, is, variable,
};

const GLOBAL: Uuid = uuid!("8be4df61-93ca-11d2-aa0d-00e098032b8c");
const IPL: u32 = 0xd;
const TAG: u32 = 6;

/// How the log's event of this number is described, in a compared PCR or in another.
#[track_caller]
fn described(explanation: &Explanation, number: usize) -> String {
    let rows = explanation.comparisons.iter().flat_map(|one| &one.rows);
    let compared = rows.filter(|row| row.number == Some(number));
    let compared = compared.filter_map(|row| row.logged.as_ref());
    let others = explanation.others.iter();
    let others = others.filter(|other| other.number == number);
    let mut all = compared.chain(others.map(|other| &other.event));
    all.next().unwrap().description.clone()
}

#[test]
fn programs_that_firmware_measures_into_pcr_2_are_found_there() {
    let elsewhere = ["4 - Missing programs-elsewhere"; 2];
    is(
        &after(|log| {
            log[SHIM].pcr = 2;
            log[KERNEL].pcr = 2;
        }),
        &elsewhere,
        "this firmware measures the programs that it starts into PCR 2, not into PCR 4; no configuration can describe that. \
         In the place of shim-16.1-deb12 it has \\EFI\\ubuntu\\shimx64.efi, the same program",
    );
    is(
        &after(|log| {
            log[SHIM] = image(2, PROGRAM, "\\EFI\\BOOT\\BOOTX64.EFI");
            log[KERNEL] = image(2, PROGRAM, "\\EFI\\Linux\\a.efi");
        }),
        &elsewhere,
        "this firmware measures the programs that it starts into PCR 2, not into PCR 4; no configuration can describe that. \
         In the place of shim-16.1-deb12 it has \\EFI\\BOOT\\BOOTX64.EFI, of other content",
    );
}

#[test]
fn events_in_another_pcr_than_the_predicted_one_are_found_there() {
    is(
        &after(|log| log[ACTION].pcr = 5),
        &["4 - Missing ready-to-boot-elsewhere"],
        "this firmware measures that it calls the boot option into PCR 5, and not into PCR 4: describe it with --omits-ready-to-boot-signal",
    );
    is(
        &after(|log| log[SECURE_BOOT].pcr = 1),
        &["7 - Missing other-pcr"],
        "this firmware measures it into PCR 1, not into PCR 7; no configuration can describe that (variable SecureBoot: on)",
    );
}

#[test]
fn the_variable_that_shim_15_6_measures_is_named() {
    let explanation = after(|log| {
        let trusted = variable(SHIM_LOCK, "MokListTrusted", &[1]);
        log.insert(LEVEL + 1, event(7, AUTHORITY, &trusted));
    });
    is(
        &explanation,
        &["7 29 Extra mok-list-trusted"],
        "shim measured MokListTrusted into PCR 7: shim 15.6 does unless somebody took that trust away, shim 15.5 where the variable exists, and no other",
    );
    assert_eq!(described(&explanation, 29), "authority: MokListTrusted 01");
}

#[test]
fn a_secure_boot_without_a_value_is_neither_on_nor_off() {
    let changed = |content: &[u8]| {
        after(|log| {
            let data = variable(GLOBAL, "SecureBoot", content);
            log[SECURE_BOOT] = event(7, VARIABLE, &data);
            log.remove(AUTHORITY_OF_KERNEL);
        })
    };
    let absent = changed(&[]);
    is(
        &absent,
        &[
            "7 4 Differs secure-boot-absent",
            "7 - Missing secure-boot-absent",
        ],
        "firmware measured the variable SecureBoot without a value: this guest does not have it, or not yet where it is measured; \
         Secure Boot is not on, and no configuration can describe that",
    );
    assert_eq!(
        described(&absent, 4),
        "variable SecureBoot: absent or empty"
    );
    let unknown = changed(&[2, 0]);
    is(
        &unknown,
        &[
            "7 4 Differs secure-boot-unknown",
            "7 - Missing secure-boot-unknown",
        ],
        "the variable SecureBoot has the value 0200 in this guest, which is neither on nor off",
    );
    assert_eq!(
        described(&unknown, 4),
        "variable SecureBoot: 0200, which is neither on nor off"
    );
}

#[test]
fn separators_of_all_values_are_told_apart() {
    for (data, name, text) in [
        (
            &[0xff; 4][..],
            "ones-separator",
            "this firmware ends the PCR with ffffffff, which the TCG allows as well as zeros; no configuration can describe that",
        ),
        (
            &[1, 0, 0, 0],
            "error-separator",
            "firmware noted an error before it booted: the separator is 1",
        ),
        (
            &[7],
            "unknown-separator",
            "firmware ended the PCR with a value that the TCG does not know",
        ),
    ] {
        let explanation = after(|log| log[SEPARATOR_7] = event(7, 4, data));
        is(&explanation, &[&format!("7 9 Differs {name}")], text);
    }
    let twice = after(|log| log.insert(SEPARATOR_4, event(4, 4, &[0; 4])));
    is(
        &twice,
        &["4 21 Extra second-separator"],
        "firmware ends the PCR once more; no configuration can describe that",
    );
}

/// `UEFI_IMAGE_LOAD_EVENT` with these nodes, each type, subtype and data, and the end.
fn loaded(nodes: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
    let mut path = Vec::new();
    for (kind, subtype, data) in nodes {
        path.extend([*kind, *subtype]);
        path.extend(u16::try_from(data.len() + 4).unwrap().to_le_bytes());
        path.extend(data);
    }
    path.extend([0x7f, 0xff, 4, 0]);
    image_load_event(&path)
}

#[test]
fn a_path_with_zeros_behind_its_end_is_read() {
    let explanation = after(|log| log[KERNEL].data.extend([0; 8]));
    assert!(explanation.is_equal());
    let other = after(|log| {
        log[KERNEL] = image(4, PROGRAM, "\\EFI\\redhat\\grubx64.efi");
        log[KERNEL].data.extend([0; 8]);
    });
    assert_eq!(described(&other, 31), "program \\EFI\\redhat\\grubx64.efi");
}

#[test]
fn programs_and_drivers_without_a_file_are_named_by_where_they_lie() {
    let (volume, file) = (
        uuid!("11111111-2222-3333-4444-555555555555"),
        uuid!("66666666-7777-8888-9999-aaaaaaaaaaaa"),
    );
    let stub = uuid!("55c5d1f8-04cd-46b5-8a20-e56cbb3052d0");
    let guid = |guid: Uuid| guid.to_bytes_le().to_vec();
    let firmware = [(4, 7, guid(volume)), (4, 6, guid(file))];
    let rom = [
        (2, 1, vec![0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0]),
        (1, 1, vec![0, 2]),
        (4, 8, [vec![0; 4], vec![0; 7], vec![1], vec![0; 8]].concat()),
    ];
    let explanation = after(|log| {
        log.insert(ACTION, event(2, DRIVER, &loaded(&rom)));
        log.insert(ACTION, event(4, PROGRAM, &loaded(&firmware)));
        log.push(event(4, PROGRAM, &loaded(&[(4, 3, guid(stub))])));
        log.push(event(4, PROGRAM, &image_load_event(&[])));
    });
    is(
        &explanation,
        &[
            "4 15 Extra before-boot",
            "4 50 Extra further-program",
            "4 51 Extra from-memory",
        ],
        &format!(
            "firmware started Fv({volume})/FvFile({file}) in the firmware before the boot: a program of the firmware's own, or a SysPrep entry"
        ),
    );
    for (number, expected) in [
        (
            15,
            format!("program Fv({volume})/FvFile({file}) in the firmware"),
        ),
        (
            16,
            "driver PciRoot(0x0)/Pci(0x2,0x0)/Offset(0x100000000000000,0x0) in an option ROM"
                .to_owned(),
        ),
        (
            50,
            "program inside of a unified kernel image: its kernel".to_owned(),
        ),
        (51, "program from memory, without a path".to_owned()),
    ] {
        assert_eq!(described(&explanation, number), expected);
    }
    let memory = after(|log| log.push(event(4, PROGRAM, &image_load_event(&[]))));
    is(
        &memory,
        &["4 48 Extra from-memory"],
        "a boot loader started a program from its memory, which has no path: the kernel, where the loader is GRUB; some measure it twice",
    );
}

#[test]
fn another_loader_in_the_place_of_shim_is_no_updated_shim() {
    is(
        &after(|log| log[SHIM] = image(4, PROGRAM, "\\EFI\\systemd\\systemd-bootx64.efi")),
        &["4 25 Differs other-loader"],
        "firmware started \\EFI\\systemd\\systemd-bootx64.efi in place of shim-16.1-deb12: another boot loader, or another boot option than the predicted one",
    );
}

/// shim 15.4 measures a program first and then, without an owner, what verified it.
#[test]
fn an_authority_belongs_to_the_program_before_it_where_an_old_shim_measured_it() {
    let with_owner = logged("shim-boot-entry")
        .swap_remove(AUTHORITY_OF_KERNEL)
        .data;
    let (_, _, entry) = measure::parse_variable_data(&with_owner).unwrap();
    let certificate = &entry[16..];
    let bare = |name: &str| event(7, AUTHORITY, &variable(SHIM_LOCK, name, certificate));
    let from_memory = |content: u8| {
        let mut program = event(4, PROGRAM, &image_load_event(&[]));
        program.digest = vec![content; 32];
        program
    };
    let explanation = after(|log| {
        log.truncate(AUTHORITY_OF_KERNEL);
        log.extend([from_memory(1), bare("Shim"), from_memory(2), bare("Shim")]);
    });
    let differ = differences(&explanation);
    assert!(
        !differ.iter().any(|line| line.contains("further-signature")),
        "{differ:?}"
    );
    // In shim 15.6 the authority comes first, and two in a row are those of one program.
    let explanation = after(|log| {
        log.truncate(AUTHORITY_OF_KERNEL);
        log.extend([bare("Shim"), bare("MokListRT"), from_memory(1)]);
    });
    let differ = differences(&explanation);
    assert!(
        differ.iter().any(|line| line.contains("further-signature")),
        "{differ:?}"
    );
}

/// The prediction for a unified kernel image that firmware starts itself, with PCR 11.
fn with_sections() -> Prediction {
    let file = MemoryStorage::new(data::content("vectors/pe/uki-1.efi.gz"));
    let mut program = Program::read(&file, &[], false).unwrap();
    program.read_section_digests(&file, Hash::Sha256).unwrap();
    let mut boot = Boot::default();
    boot.files.push(BootFile {
        folder: Vec::new(),
        name: "uki.efi".to_owned(),
        program,
    });
    boot.chains = vec![Chain::new(0, [])];
    let configuration = data::content("vectors/uefi/std.json");
    let configuration = UefiConfig::from_json(&configuration, config::Rules::Ours).unwrap();
    let input = Input {
        configuration: &configuration.config,
        boot: &boot,
        profile: Profile {
            sections: true,
            ..Profile::default()
        },
        reader: Reader::Systemd {
            separator: Separator::No,
        },
        rules: Rules {
            verify_signatures: false,
            obey_sbat: false,
            ..Rules::firmware()
        },
        bank: Bank::Sha256,
    };
    measure::predict(&input).unwrap()
}

/// The predicted events as a guest logs them, changed.
fn sections_after(change: impl FnOnce(&mut Vec<LoggedEvent>)) -> Explanation {
    let prediction = with_sections();
    let events = prediction.branches[0].events.iter();
    let mut log: Vec<_> = events
        .filter(|event| event.pcr == 11 && event.source.is_logged())
        .map(|event| LoggedEvent {
            pcr: 11,
            event_type: IPL,
            digest: event.digest.clone(),
            data: event.data.clone(),
        })
        .collect();
    change(&mut log);
    explained(&prediction, &log)
}

/// The two events of a section.
fn section(name: &str, content: &[u8]) -> [LoggedEvent; 2] {
    let name = format!("{name}\0");
    let data: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [name.as_bytes(), content].map(|hashed| LoggedEvent {
        data: data.clone(),
        ..event(11, IPL, hashed)
    })
}

#[test]
fn sections_of_another_kernel_are_held_against_the_predicted_ones_by_name() {
    assert!(sections_after(|_| ()).is_equal());
    // .linux, .osrel, .cmdline and .initrd, each by its name and then its content.
    let explanation = sections_after(|log| log[1] = section(".linux", b"another")[1].clone());
    is(
        &explanation,
        &["11 2 Differs other-section"],
        "the section .linux of the guest's kernel image is not that of uki.efi: another kernel",
    );
    assert_eq!(described(&explanation, 1), "name of the section .linux");
    assert_eq!(described(&explanation, 2), "content of the section .linux");
    let all = sections_after(|log| {
        for at in [1, 3, 5, 7] {
            log[at].digest = vec![7; 32];
        }
        log.extend(section(".uname", b"6.1"));
    });
    is(
        &all,
        &[
            "11 2 Differs other-section",
            "11 4 Differs other-section",
            "11 6 Differs other-section",
            "11 8 Differs other-section",
            "11 9 Extra further-section",
            "11 10 Extra further-section",
        ],
        "the section .linux of the guest's kernel image is not that of uki.efi: another kernel",
    );
    let rows = all.comparisons[0].rows.iter();
    let causes = rows.filter_map(|row| row.cause.as_ref());
    let said: Vec<_> = causes.map(ToString::to_string).collect();
    assert_eq!(
        said[1..5],
        [
            "the section .osrel of the guest's kernel image is not that of uki.efi: another version of the system or the kernel",
            "the section .cmdline of the guest's kernel image is not that of uki.efi: another command line",
            "the section .initrd of the guest's kernel image is not that of uki.efi: another initial ramdisk",
            "the guest's kernel image has the section .uname, and uki.efi has none that is measured",
        ]
    );
}

#[test]
fn sections_that_the_guest_lacks_are_named() {
    let [name, content] = [4, 5];
    is(
        &sections_after(|log| drop(log.drain(name..=content))),
        &["11 - Missing no-section", "11 - Missing no-section"],
        "the guest measured no section .cmdline, which uki.efi has: its kernel image lacks it, or has an older stub",
    );
    is(
        &sections_after(Vec::clear),
        &["11 - Missing no-sections"; 8],
        "the guest measured no section of a kernel image: it did not start uki.efi or another with systemd's stub, or the log ends before",
    );
    // What stands in PCR 11 otherwise is no section.
    is(
        &sections_after(|log| log.push(event(11, IPL, b"something"))),
        &["11 9 Extra unexpected"],
        "the guest measured \"something\", which is not part of any prediction",
    );
}

#[test]
fn what_a_stub_takes_from_outside_is_told_by_its_number() {
    let tagged = [
        &0x49df_fe0f_u32.to_le_bytes()[..],
        &2_u32.to_le_bytes(),
        b"a\0",
    ]
    .concat();
    is(
        &after(|log| log.push(event(12, TAG, &tagged))),
        &["12 48 Extra from-outside"],
        "initial ramdisk from an addon, by systemd's stub: \"a\": it came from outside of the kernel image, and its stub measured it",
    );
    let odd: Vec<u8> = "quiet"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .chain([0])
        .collect();
    is(
        &after(|log| log.push(event(12, IPL, &odd))),
        &["12 48 Extra load-options"],
        "\"quiet\" came from outside of the kernel image, as load options, a credential or an addon, and its stub measured it",
    );
}

#[test]
fn events_of_every_type_are_told_in_words() {
    let place = [0xff13_0000_u64.to_le_bytes(), 4096_u64.to_le_bytes()].concat();
    let described_place = [&b"\x02Fv"[..], &place].concat();
    let table = |guid: Uuid| [&guid.to_bytes_le()[..], &[0; 8]].concat();
    let smbios = table(uuid!("f2fd1544-9794-4a2c-992e-e5bbcf20e394"));
    let tables = [&1_u64.to_le_bytes()[..], &smbios].concat();
    let two = [&3_u64.to_le_bytes()[..], &smbios, &table(GLOBAL)].concat();
    let partitions = [
        &b"EFI PART"[..],
        &[0; 48],
        &GLOBAL.to_bytes_le(),
        &[0; 20],
        &[3, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let device = variable(IMAGE_SECURITY, "devdb", &[1, 2]);
    let version = |text: &str| {
        text.encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let td_hob = [
        &b"td_hob\0\0\0\0\0\0\0\0\0\0"[..],
        &2_u32.to_le_bytes(),
        &[1, 2],
    ]
    .concat();
    let cases: Vec<(u32, u32, Vec<u8>, &str, &str)> = vec![
        (
            0,
            0x1,
            b"ACPI DATA".to_vec(),
            "EV_POST_CODE",
            "code of the firmware: \"ACPI DATA\"",
        ),
        (
            0,
            0x1,
            place.clone(),
            "EV_POST_CODE",
            "code of the firmware, 4096 bytes at 0xff130000",
        ),
        (
            0,
            0x13,
            described_place.clone(),
            "EV_POST_CODE2",
            "code of the firmware, 4096 bytes at 0xff130000: \"Fv\"",
        ),
        (
            0,
            0x13,
            vec![9, 1],
            "EV_POST_CODE2",
            "code of the firmware, 2 bytes of data",
        ),
        (
            0,
            0x3,
            b"StartupLocality\0\x03".to_vec(),
            "EV_NO_ACTION",
            "only noted: the TPM was started from locality 3, which PCR 0 begins with",
        ),
        (
            0xffff_ffff,
            0x3,
            vec![4, 0, 1, 0xc0],
            "EV_NO_ACTION",
            "only noted, 4 bytes of data",
        ),
        (
            0,
            0x3,
            b"SP800-155 Event3\0\0".to_vec(),
            "EV_NO_ACTION",
            "only noted: the firmware, and where its reference values are",
        ),
        (
            0,
            0x3,
            b"Anything else, too".to_vec(),
            "EV_NO_ACTION",
            "only noted: \"Anything else, t\"",
        ),
        (
            0,
            0x7,
            b"Boot Guard\0".to_vec(),
            "EV_S_CRTM_CONTENTS",
            "content of the root of trust (S-CRTM): \"Boot Guard\"",
        ),
        (
            0,
            0x8,
            version("edk2"),
            "EV_S_CRTM_VERSION",
            "version of the firmware: \"edk2\"",
        ),
        (
            0,
            0x8,
            GLOBAL.to_bytes_le().to_vec(),
            "EV_S_CRTM_VERSION",
            "version of the firmware: 8be4df61-93ca-11d2-aa0d-00e098032b8c",
        ),
        (
            0,
            0x8,
            vec![0, 0],
            "EV_S_CRTM_VERSION",
            "version of the firmware: empty",
        ),
        (
            0,
            0x8,
            vec![1, 2, 3],
            "EV_S_CRTM_VERSION",
            "version of the firmware, 3 bytes of data",
        ),
        (
            1,
            0x9,
            b"revision 1".to_vec(),
            "EV_CPU_MICROCODE",
            "microcode: \"revision 1\"",
        ),
        (
            1,
            0xa,
            td_hob,
            "EV_PLATFORM_CONFIG_FLAGS",
            "platform configuration, \"td_hob\": 2 bytes",
        ),
        (
            1,
            0xb,
            tables.clone(),
            "EV_TABLE_OF_DEVICES",
            "table of devices: SMBIOS 3",
        ),
        (5, 0xc, b"WBCL".to_vec(), "EV_COMPACT_HASH", "\"WBCL\""),
        (
            0,
            0xf,
            vec![],
            "EV_NONHOST_CODE",
            "code that does not run on the host, 0 bytes of data",
        ),
        (
            0,
            0x10,
            vec![1],
            "EV_NONHOST_CONFIG",
            "configuration of code that does not run on the host, 1 bytes of data",
        ),
        (
            0,
            0x11,
            b"GCE NonHostInfo\0\x03".to_vec(),
            "EV_NONHOST_INFO",
            "memory encryption of Google Compute Engine: Intel TDX",
        ),
        (
            0,
            0x11,
            b"GCE NonHostInfo\0\x09".to_vec(),
            "EV_NONHOST_INFO",
            "memory encryption of Google Compute Engine: number 9",
        ),
        (
            0,
            0x11,
            b"IntelCSxEEvent01\0\x01".to_vec(),
            "EV_NONHOST_INFO",
            "what does not run on the host: \"IntelCSxEEvent01\"",
        ),
        (
            1,
            0x12,
            b"x".to_vec(),
            "EV_OMIT_BOOT_DEVICE_EVENTS",
            "that firmware leaves out what boot devices would measure",
        ),
        (
            5,
            0x8000_0006,
            partitions.clone(),
            "EV_EFI_GPT_EVENT",
            "partition table of the disk 8be4df61-93ca-11d2-aa0d-00e098032b8c, 3 partitions",
        ),
        (
            5,
            0x8000_000d,
            partitions,
            "EV_EFI_GPT_EVENT2",
            "partition table of the disk 8be4df61-93ca-11d2-aa0d-00e098032b8c, 3 partitions",
        ),
        (
            5,
            0x8000_0006,
            vec![1],
            "EV_EFI_GPT_EVENT",
            "partition table, 1 bytes of data",
        ),
        (
            0,
            0x8000_0008,
            place,
            "EV_EFI_PLATFORM_FIRMWARE_BLOB",
            "firmware, 4096 bytes at 0xff130000",
        ),
        (
            0,
            0x8000_000a,
            described_place,
            "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
            "firmware, 4096 bytes at 0xff130000: \"Fv\"",
        ),
        (
            1,
            0x8000_0009,
            two,
            "EV_EFI_HANDOFF_TABLES",
            "tables for the system: SMBIOS 3, 8be4df61-93ca-11d2-aa0d-00e098032b8c and 1 more",
        ),
        (
            1,
            0x8000_000b,
            [&b"\x01T"[..], &tables].concat(),
            "EV_EFI_HANDOFF_TABLES2",
            "tables for the system, \"T\": SMBIOS 3",
        ),
        (
            0,
            0x8000_0010,
            b"HCRTM".to_vec(),
            "EV_EFI_HCRTM_EVENT",
            "start of a dynamic root of trust in hardware (H-CRTM)",
        ),
        (
            2,
            0x8000_00e1,
            vec![0; 9],
            "EV_EFI_SPDM_FIRMWARE_BLOB",
            "firmware of a device, as it told by SPDM",
        ),
        (
            3,
            0x8000_00e2,
            vec![0; 9],
            "EV_EFI_SPDM_FIRMWARE_CONFIG",
            "configuration of a device, as it told by SPDM",
        ),
        (
            8,
            0x8000_00e3,
            device.clone(),
            "EV_EFI_SPDM_DEVICE_POLICY",
            "variable devdb: 2 bytes",
        ),
        (
            8,
            0x8000_00e4,
            device,
            "EV_EFI_SPDM_DEVICE_AUTHORITY",
            "authority: devdb entry of 2 bytes",
        ),
        (
            9,
            TAG,
            [
                &0x8f3b_22ed_u32.to_le_bytes()[..],
                &2_u32.to_le_bytes(),
                b"a\0",
            ]
            .concat(),
            "EV_EVENT_TAG",
            "command line, by the kernel: \"a\"",
        ),
        (
            9,
            TAG,
            b"LOADED_IMAGE::LoadOptions\0".to_vec(),
            "EV_EVENT_TAG",
            "\"LOADED_IMAGE::LoadOptions\"",
        ),
        (
            9,
            TAG,
            [&0x1234_u32.to_le_bytes()[..], &1_u32.to_le_bytes(), &[0xff]].concat(),
            "EV_EVENT_TAG",
            "number 0x00001234, 1 bytes of data",
        ),
        (
            2,
            0x8401,
            vec![1],
            "0x00008401",
            "of a type that the TCG does not know, 1 bytes of data",
        ),
    ];
    let explanation = after(|log| {
        log.extend(
            cases
                .iter()
                .map(|(pcr, event_type, data, ..)| event(*pcr, *event_type, data)),
        );
    });
    assert!(explanation.is_equal());
    let first = logged("shim-boot-entry").len() + 1;
    for (number, (pcr, event_type, _, name, expected)) in (first..).zip(cases) {
        let mut others = explanation.others.iter();
        let other = others.find(|other| other.number == number).unwrap();
        assert_eq!(
            (
                other.event.event_type.as_str(),
                other.event.description.as_str()
            ),
            (name, expected)
        );
        assert_eq!(other.pcr, (event_type != 3).then_some(pcr));
    }
}

/// The action of another PCR, and what else firmware says of itself.
#[test]
fn an_action_that_is_about_no_boot_option_is_no_failed_one() {
    is(
        &after(|log| log.insert(SHIM, event(4, ACTION_TYPE, b"Entering ROM Based Setup"))),
        &["4 25 Extra unexpected"],
        "the guest measured Entering ROM Based Setup, which is not part of any prediction",
    );
}
