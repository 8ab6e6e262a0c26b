//! Events: what is extended into a PCR, what a log says of it, and what it means in words.
//!
//! TCG PC Client Platform Firmware Profile 1.05, section 10.2.6 (`UEFI_VARIABLE_DATA`):
//!
//! | offset | size | name |
//! | --- | --- | --- |
//! | 0 | 16 | GUID of the variable |
//! | 16 | 8 | length of the name in UTF-16 units |
//! | 24 | 8 | length of the data in bytes |
//! | 32 | … | name in UTF-16LE without a NUL, then the data |
//!
//! This is what is hashed for a variable or an authority. For a program its Authenticode digest is
//! extended, and the log holds `UEFI_IMAGE_LOAD_EVENT` (section 10.2.3), which nobody hashes.

use uuid::Uuid;

use base::number::fitting;
use firmware::{guid, utf16};
use tpm::Bank;

/// What firmware says before it starts a boot option.
pub(super) const CALLING: &str = "Calling EFI Application from Boot Option";
/// The data of a separator, and the epoch.
const ZEROS: [u8; 4] = [0; 4];
/// What systemd-pcrosseparator extends the digest of, without a terminator.
const OS_SEPARATOR: &[u8] = b"os-separator";
/// The PCRs into which it does.
const OS_SEPARATOR_PCRS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14];

/// The type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// `EV_SEPARATOR`
    Separator,
    /// `EV_IPL`
    Ipl,
    /// `EV_EFI_VARIABLE_DRIVER_CONFIG`
    Variable,
    /// `EV_EFI_BOOT_SERVICES_APPLICATION`
    Program,
    /// `EV_EFI_ACTION`
    Action,
    /// `EV_EFI_VARIABLE_AUTHORITY`
    Authority,
}

impl EventKind {
    /// The number of the type.
    pub fn number(self) -> u32 {
        match self {
            Self::Separator => 4,
            Self::Ipl => 0xd,
            Self::Variable => 0x8000_0001,
            Self::Program => 0x8000_0003,
            Self::Action => 0x8000_0007,
            Self::Authority => 0x8000_00e0,
        }
    }

    /// The TCG's name of a type.
    pub fn name_of(number: u32) -> Option<&'static str> {
        Some(match number {
            0x1 => "EV_POST_CODE",
            0x2 => "EV_UNUSED",
            0x3 => "EV_NO_ACTION",
            0x4 => "EV_SEPARATOR",
            0x5 => "EV_ACTION",
            0x6 => "EV_EVENT_TAG",
            0x7 => "EV_S_CRTM_CONTENTS",
            0x8 => "EV_S_CRTM_VERSION",
            0x9 => "EV_CPU_MICROCODE",
            0xa => "EV_PLATFORM_CONFIG_FLAGS",
            0xb => "EV_TABLE_OF_DEVICES",
            0xc => "EV_COMPACT_HASH",
            0xd => "EV_IPL",
            0xe => "EV_IPL_PARTITION_DATA",
            0xf => "EV_NONHOST_CODE",
            0x10 => "EV_NONHOST_CONFIG",
            0x11 => "EV_NONHOST_INFO",
            0x12 => "EV_OMIT_BOOT_DEVICE_EVENTS",
            0x13 => "EV_POST_CODE2",
            0x8000_0001 => "EV_EFI_VARIABLE_DRIVER_CONFIG",
            0x8000_0002 => "EV_EFI_VARIABLE_BOOT",
            0x8000_0003 => "EV_EFI_BOOT_SERVICES_APPLICATION",
            0x8000_0004 => "EV_EFI_BOOT_SERVICES_DRIVER",
            0x8000_0005 => "EV_EFI_RUNTIME_SERVICES_DRIVER",
            0x8000_0006 => "EV_EFI_GPT_EVENT",
            0x8000_0007 => "EV_EFI_ACTION",
            0x8000_0008 => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
            0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
            0x8000_000a => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
            0x8000_000b => "EV_EFI_HANDOFF_TABLES2",
            0x8000_000c => "EV_EFI_VARIABLE_BOOT2",
            0x8000_000d => "EV_EFI_GPT_EVENT2",
            0x8000_0010 => "EV_EFI_HCRTM_EVENT",
            0x8000_00e0 => "EV_EFI_VARIABLE_AUTHORITY",
            0x8000_00e1 => "EV_EFI_SPDM_FIRMWARE_BLOB",
            0x8000_00e2 => "EV_EFI_SPDM_FIRMWARE_CONFIG",
            0x8000_00e3 => "EV_EFI_SPDM_DEVICE_POLICY",
            0x8000_00e4 => "EV_EFI_SPDM_DEVICE_AUTHORITY",
            _ => return None,
        })
    }
}

/// What an event comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The action before the boot option.
    Action,
    /// The end of what firmware measures before it boots.
    Separator,
    /// A variable of the configuration.
    Variable(&'static str),
    /// What authorised the program `file`: an entry of the database `database`.
    Authority {
        /// Name of the boot file.
        file: String,
        /// The variable's name in the event.
        database: &'static str,
    },
    /// The SBAT level that the shim `file` sets or finds.
    Level {
        /// Name of the boot file.
        file: String,
    },
    /// The variable `MokListTrusted`, which the shim `file` makes where it finds none.
    MokListTrusted {
        /// Name of the boot file.
        file: String,
    },
    /// The program itself.
    Program {
        /// Name of the boot file.
        file: String,
    },
    /// The kernel inside of the program.
    InnerKernel {
        /// Name of the boot file.
        file: String,
    },
    /// A section of the unified kernel image `file`: its name, then its content.
    Section {
        /// Name of the boot file.
        file: String,
    },
    /// What systemd-boot hands to the program `file`.
    LoadOptions {
        /// Name of the boot file.
        file: String,
    },
    /// A word with which systemd tells how far the boot is, without an entry in firmware's log.
    Phase,
    /// The epoch that snap-bootstrap extends, without a log entry.
    Epoch,
    /// The separator that systemd extends in the initrd, without an entry in firmware's log.
    OsSeparator,
}

impl Source {
    /// False for what no log of firmware has, since the running system extends it.
    pub fn is_logged(&self) -> bool {
        !matches!(self, Self::Phase | Self::Epoch | Self::OsSeparator)
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Number of the PCR.
    pub pcr: u8,
    /// Its type.
    pub kind: EventKind,
    /// What is extended.
    pub digest: Vec<u8>,
    /// What a log says of it.
    pub data: Vec<u8>,
    /// What it comes from.
    pub source: Source,
    /// The same in words.
    pub description: String,
}

impl Event {
    /// The TCG's name of its type; empty for what firmware's log has not.
    pub fn type_name(&self) -> &'static str {
        if !self.source.is_logged() {
            return "";
        }
        EventKind::name_of(self.kind.number()).unwrap_or_default()
    }

    fn hashed(bank: Bank, pcr: u8, kind: EventKind, data: Vec<u8>, source: Source) -> Self {
        Self {
            pcr,
            kind,
            digest: bank.digest(&data),
            data,
            source,
            description: String::new(),
        }
    }

    fn described(self, description: String) -> Self {
        Self {
            description,
            ..self
        }
    }

    pub(super) fn action(bank: Bank) -> Self {
        let data = CALLING.as_bytes().to_vec();
        Self::hashed(bank, 4, EventKind::Action, data, Source::Action).described(CALLING.to_owned())
    }

    pub(super) fn separator(bank: Bank, pcr: u8) -> Self {
        Self::hashed(
            bank,
            pcr,
            EventKind::Separator,
            ZEROS.to_vec(),
            Source::Separator,
        )
        .described("end of what firmware measures before it boots".to_owned())
    }

    pub(super) fn epoch(bank: Bank) -> Self {
        Self {
            data: b"snap-bootstrap epoch 0".to_vec(),
            ..Self::hashed(bank, 12, EventKind::Ipl, ZEROS.to_vec(), Source::Epoch)
        }
        .described("epoch 0 of snap-bootstrap, extended without a log entry".to_owned())
    }

    /// The two events of a section: its name, and its content by its digest. The log shows the name for both.
    pub(super) fn section(bank: Bank, name: &str, content: &[u8], file: &str) -> [Self; 2] {
        let mut terminated = name.as_bytes().to_vec();
        terminated.push(0);
        let source = Source::Section {
            file: file.to_owned(),
        };
        let logged: Vec<u8> = format!("{name}\0")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let event = |digest: Vec<u8>, what: &str| Self {
            pcr: 11,
            kind: EventKind::Ipl,
            digest,
            data: logged.clone(),
            source: source.clone(),
            description: format!("{what} of the section {name} in {file}"),
        };
        [
            event(bank.digest(&terminated), "name"),
            event(content.to_vec(), "content"),
        ]
    }

    /// What systemd-boot hands to a program, and measures before it starts it.
    pub(super) fn load_options(bank: Bank, options: &str, file: &str) -> Self {
        let terminated = format!("{options}\0");
        let data: Vec<u8> = terminated
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let source = Source::LoadOptions {
            file: file.to_owned(),
        };
        let shown: String = options.chars().flat_map(char::escape_debug).collect();
        Self::hashed(bank, 12, EventKind::Ipl, data, source)
            .described(format!("load options for {file}, by systemd-boot: {shown}"))
    }

    /// A word by systemd-pcrphase.
    pub(super) fn phase(bank: Bank, word: &str) -> Self {
        let data = word.as_bytes().to_vec();
        Self::hashed(bank, 11, EventKind::Ipl, data, Source::Phase)
            .described(format!("{word}, by systemd-pcrphase (initrd)"))
    }

    /// One for each PCR, in the order of their numbers.
    pub(super) fn os_separators(bank: Bank) -> Vec<Self> {
        let separator = |pcr: &u8| {
            let data = OS_SEPARATOR.to_vec();
            Self::hashed(bank, *pcr, EventKind::Ipl, data, Source::OsSeparator)
                .described("systemd-pcrosseparator (initrd)".to_owned())
        };
        OS_SEPARATOR_PCRS.iter().map(separator).collect()
    }

    pub(super) fn variable(bank: Bank, guid: Uuid, name: &'static str, data: &[u8]) -> Self {
        let hashed = variable_data(guid, name, data);
        let size = match data.len() {
            0 => "empty".to_owned(),
            1 if name == "SecureBoot" => {
                if data == [1] {
                    "on".to_owned()
                } else {
                    "off".to_owned()
                }
            }
            len => format!("{len} bytes"),
        };
        Self::hashed(bank, 7, EventKind::Variable, hashed, Source::Variable(name))
            .described(format!("variable {name}: {size}"))
    }

    pub(super) fn authority(
        bank: Bank,
        guid: Uuid,
        database: &'static str,
        data: &[u8],
        file: &str,
        description: String,
    ) -> Self {
        let hashed = variable_data(guid, database, data);
        let file = file.to_owned();
        Self::hashed(
            bank,
            7,
            EventKind::Authority,
            hashed,
            Source::Authority { file, database },
        )
        .described(description)
    }

    pub(super) fn level(bank: Bank, file: &str, text: &str) -> Self {
        let hashed = variable_data(guid::SHIM_LOCK, "SbatLevel", text.as_bytes());
        let source = Source::Level {
            file: file.to_owned(),
        };
        Self::hashed(bank, 7, EventKind::Authority, hashed, source)
            .described(format!("SbatLevel of {file}: {text:?}"))
    }

    /// What a shim measures where nobody took its trust in the list of machine owner keys away.
    pub(super) fn mok_list_trusted(bank: Bank, file: &str) -> Self {
        let hashed = variable_data(guid::SHIM_LOCK, "MokListTrusted", &[1]);
        let source = Source::MokListTrusted {
            file: file.to_owned(),
        };
        Self::hashed(bank, 7, EventKind::Authority, hashed, source)
            .described(format!("MokListTrusted of {file}: yes"))
    }

    /// A program's digest; `path` is what the log shows as its place.
    pub(super) fn program(digest: &[u8], path: &str, source: Source, description: String) -> Self {
        Self {
            pcr: 4,
            kind: EventKind::Program,
            digest: digest.to_vec(),
            data: image_load_event(path),
            source,
            description,
        }
    }
}

/// `UEFI_VARIABLE_DATA`.
fn variable_data(guid: Uuid, name: &str, data: &[u8]) -> Vec<u8> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let len = |len: usize| (len as u64).to_le_bytes();
    let mut bytes = guid.to_bytes_le().to_vec();
    bytes.extend(len(units.len()));
    bytes.extend(len(data.len()));
    bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
    bytes.extend(data);
    bytes
}

/// A variable's name and data in a logged event, where it is one.
pub fn parse_variable_data(event: &[u8]) -> Option<(Uuid, String, &[u8])> {
    let (guid, rest) = event.split_first_chunk::<16>()?;
    let (units, rest) = rest.split_first_chunk()?;
    let (data_bytes, rest) = rest.split_first_chunk()?;
    let units = usize::try_from(u64::from_le_bytes(*units)).ok()?;
    let data_bytes = usize::try_from(u64::from_le_bytes(*data_bytes)).ok()?;
    let (name, data) = rest.split_at_checked(units.checked_mul(2)?)?;
    let data = data.get(..data_bytes)?;
    Some((Uuid::from_bytes_le(*guid), utf16::text(name), data))
}

/// `UEFI_IMAGE_LOAD_EVENT`: addresses (unknown here, zeros), then a device path of one file path node.
fn image_load_event(path: &str) -> Vec<u8> {
    let mut name: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
    name.extend([0, 0]);
    let node_bytes: u16 = fitting(name.len().saturating_add(4));
    let mut device_path = vec![4, 4]; // media device path, file path
    device_path.extend(node_bytes.to_le_bytes());
    device_path.extend(name);
    device_path.extend([0x7f, 0xff, 4, 0]); // end of the path
    let mut bytes = vec![0; 24];
    bytes.extend((device_path.len() as u64).to_le_bytes());
    bytes.extend(device_path);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex_digest(event: &Event) -> String {
        hex::encode(&event.digest)
    }

    #[test]
    fn the_digests_of_fixed_events_are_the_known_ones() {
        let bank = Bank::Sha256;
        let variable =
            |guid, name, data: &[u8]| hex_digest(&Event::variable(bank, guid, name, data));
        let cases = [
            (
                variable(guid::GLOBAL_VARIABLE, "SecureBoot", &[1]),
                "ccfc4bb32888a345bc8aeadaba552b627d99348c767681ab3141f5b01e40a40e",
            ),
            (
                variable(guid::GLOBAL_VARIABLE, "SecureBoot", &[0]),
                "115aa827dbccfb44d216ad9ecfda56bdea620b860a94bed5b7a27bba1c4d02d8",
            ),
            (
                variable(guid::GLOBAL_VARIABLE, "PK", &[]),
                "dea7b80ab53a3daaa24d5cc46c64e1fa9ffd03739f90aadbd8c0867c4a5b4890",
            ),
            (
                variable(guid::GLOBAL_VARIABLE, "KEK", &[]),
                "e670e121fcebd473b8bc41bb801301fc1d9afa33904f06f7149b74f12c47a68f",
            ),
            (
                variable(guid::IMAGE_SECURITY_DATABASE, "db", &[]),
                "baf89a3ccace52750c5f0128351e0422a41597a1adfd50822aa363b9d124ea7c",
            ),
            (
                variable(guid::IMAGE_SECURITY_DATABASE, "dbx", &[]),
                "9f75b6823bff6af1024a4e2036719cdd548d3cbc2bf1de8e7ef4d0ed01f94bf9",
            ),
            (
                hex_digest(&Event::separator(bank, 7)),
                "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119",
            ),
            (
                hex_digest(&Event::epoch(bank)),
                "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119",
            ),
            (
                hex_digest(&Event::action(bank)),
                "3d6772b4f84ed47595d72a2c4c5ffd15f5bb72c7507fe26f2aaee2c69d5633ba",
            ),
            (
                hex_digest(&Event::level(bank, "shim", "sbat,1,2021030218\n")),
                "922e939a5565798a5ef12fe09d8b49bf951a8e7f89a0cca7a51636693d41a34d",
            ),
            (
                hex_digest(&Event::level(
                    bank,
                    "shim",
                    "sbat,1,2025021800\nshim,4\ngrub,5\n",
                )),
                "ef611239b24f977f968379a9c9547b8da480557b8e0b2a83c66b3cea6034b330",
            ),
            (
                hex_digest(&Event::level(bank, "shim", "")),
                "f0b85059be7fa63a9dfc739580417e0eb9e8864ebd2471e64ce1c5b36f585566",
            ),
        ];
        for (digest, expected) in cases {
            assert_eq!(digest, expected);
        }
    }

    #[test]
    fn the_event_of_secure_boot_has_the_known_53_bytes() {
        assert_eq!(
            hex::encode(variable_data(guid::GLOBAL_VARIABLE, "SecureBoot", &[1])),
            "61dfe48bca93d211aa0d00e098032b8c0a000000000000000100000000000000\
             53006500630075007200650042006f006f00740001"
        );
    }

    #[test]
    fn short_replays_give_the_known_values() {
        let bank = Bank::Sha256;
        let replay = |events: &[Event]| {
            let digests = events.iter().map(|event| (4, event.digest.as_slice()));
            hex::encode(&tpm::event_log::replay(digests, bank)[&4])
        };
        assert_eq!(
            replay(&[Event::separator(bank, 4)]),
            "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
        );
        assert_eq!(
            replay(&[Event::action(bank), Event::separator(bank, 4)]),
            "7a94ffe8a7729a566d3d3c577fcb4b6b1e671f31540375f80eae6382ab785e35"
        );
        let global = guid::GLOBAL_VARIABLE;
        let database = guid::IMAGE_SECURITY_DATABASE;
        assert_eq!(
            replay(&[
                Event::variable(bank, global, "SecureBoot", &[1]),
                Event::variable(bank, global, "PK", &[]),
                Event::variable(bank, global, "KEK", &[]),
                Event::variable(bank, database, "db", &[]),
                Event::variable(bank, database, "dbx", &[]),
                Event::separator(bank, 7),
            ]),
            "1280310e584b5dd6fdea51b262a8dcaa446f7a6cb4eda22ad73a7118b4e46951"
        );
    }

    /// The value that the program of systemd 262.1 left in PCRs that were zero.
    #[test]
    fn the_separator_extended_into_zero_is_the_known_value() {
        let bank = Bank::Sha256;
        let separators = Event::os_separators(bank);
        let digests = separators
            .iter()
            .map(|event| (u32::from(event.pcr), event.digest.as_slice()));
        let values = tpm::event_log::replay(digests, bank);
        let pcrs: Vec<u32> = values.keys().copied().collect();
        assert_eq!(pcrs, [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14]);
        for value in values.values() {
            assert_eq!(
                hex::encode(value),
                "3345a4e7857aa5ae65e97702ade84a3755fd6144724779536b5773128676c99c"
            );
        }
    }

    #[test]
    fn a_variable_in_a_log_is_read_back_and_nonsense_is_not() {
        let data = variable_data(guid::GLOBAL_VARIABLE, "PK", &[7; 5]);
        let read = parse_variable_data(&data).unwrap();
        assert_eq!(read, (guid::GLOBAL_VARIABLE, "PK".to_owned(), &[7; 5][..]));
        for len in 0..data.len() {
            assert_eq!(parse_variable_data(&data[..len]), None, "{len}");
        }
        assert_eq!(parse_variable_data(&[0xff; 64]), None);
    }
}
