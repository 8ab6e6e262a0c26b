//! What events mean that no prediction is compared with: those of the firmware itself, of other loaders, and those
//! that are only noted.
//!
//! TCG PC Client Platform Firmware Profile 1.06, section 10.4.1 (types), 10.2 and 10.4.5 (structures); systemd's
//! `TPM2_PCR_MEASUREMENTS` and Linux's EFI stub for the numbers of `EV_EVENT_TAG`.

use uuid::{Uuid, uuid};

use super::text::{is_text, text};
use crate::event::EventKind;

/// Most handoff tables that are named.
const MAX_TABLES: usize = 4;

/// Tables that have names: UEFI 2.10, section 4.6.
const TABLES: [(Uuid, &str); 3] = [
    (uuid!("eb9d2d31-2d88-11d3-9a16-0090273fc14d"), "SMBIOS"),
    (uuid!("f2fd1544-9794-4a2c-992e-e5bbcf20e394"), "SMBIOS 3"),
    (uuid!("8868e871-e4f1-11d3-bc22-0080c73c8881"), "ACPI"),
];

/// An event of a type that has no [`super::logged::Meaning`] of its own.
pub(super) fn other(event_type: u32, data: &[u8]) -> String {
    match event_type {
        0x1 | 0x13 => blob("code of the firmware", event_type == 0x13, data),
        0x3 => noted(data),
        0x7 => blob("content of the root of trust (S-CRTM)", false, data),
        0x8 => version(data),
        0x9 => blob("microcode", false, data),
        0xa => blob("platform configuration", false, data),
        0xb => tables("table of devices", data),
        0xc if !is_text(data) => format!("number {}", hex::encode(data.get(..8).unwrap_or(data))),
        0xf => blob("code that does not run on the host", false, data),
        0x10 => blob(
            "configuration of code that does not run on the host",
            false,
            data,
        ),
        0x11 => nonhost(data),
        0x12 => "that firmware leaves out what boot devices would measure".to_owned(),
        0x8000_0006 | 0x8000_000d => partition_table(data),
        0x8000_0008 => blob("firmware", false, data),
        0x8000_000a => blob("firmware", true, data),
        0x8000_0009 => tables("tables for the system", data),
        0x8000_000b => described_tables(data),
        0x8000_0010 => "start of a dynamic root of trust in hardware (H-CRTM)".to_owned(),
        0x8000_00e1 => "firmware of a device, as it told by SPDM".to_owned(),
        0x8000_00e2 => "configuration of a device, as it told by SPDM".to_owned(),
        _ if EventKind::name_of(event_type).is_none() => {
            format!("of a type that the TCG does not know, {}", in_words(data))
        }
        _ => in_words(data),
    }
}

fn bytes(data: &[u8]) -> String {
    format!("{} bytes of data", data.len())
}

/// A text, a blob by place and length, or one with its description, where a type may have each of them.
fn blob(what: &str, is_described: bool, data: &[u8]) -> String {
    let place = |data: &[u8]| {
        let (base, len) = data.split_first_chunk::<8>()?;
        let (base, len) = (
            u64::from_le_bytes(*base),
            u64::from_le_bytes(len.try_into().ok()?),
        );
        Some(format!("{what}, {len} bytes at {base:#x}"))
    };
    let description = || {
        let (len, rest) = data.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        Some(format!("{}: {:?}", place(rest)?, text(name)))
    };
    // td-shim gives names of 16 bytes to what it measures, then their length.
    let tagged = || {
        let (name, rest) = data.split_first_chunk::<16>()?;
        let (len, rest) = rest.split_first_chunk()?;
        let is_one = usize::try_from(u32::from_le_bytes(*len)) == Ok(rest.len());
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        (is_one && is_text(name)).then(|| format!("{what}, {:?}: {} bytes", text(name), rest.len()))
    };
    if is_text(data) {
        return format!("{what}: {:?}", text(data));
    }
    let found = if is_described {
        description()
    } else {
        place(data).or_else(tagged)
    };
    found.unwrap_or_else(|| format!("{what}, {}", bytes(data)))
}

/// A version is a text in UTF-16, a GUID, or whatever the vendor likes.
fn version(data: &[u8]) -> String {
    const WHAT: &str = "version of the firmware";
    match <[u8; 16]>::try_from(data) {
        _ if is_text(data) => format!("{WHAT}: {:?}", text(data)),
        Ok(guid) => format!("{WHAT}: {}", Uuid::from_bytes_le(guid)),
        Err(_) if data.iter().all(|byte| *byte == 0) => format!("{WHAT}: empty"),
        Err(_) => format!("{WHAT}, {}", bytes(data)),
    }
}

/// Google's virtual machines tell here how their memory is protected.
fn nonhost(data: &[u8]) -> String {
    let kind = data.strip_prefix(b"GCE NonHostInfo\0");
    let kind = kind.and_then(<[u8]>::first).map(|kind| match kind {
        0 => "none".to_owned(),
        1 => "AMD SEV".to_owned(),
        2 => "AMD SEV-ES".to_owned(),
        3 => "Intel TDX".to_owned(),
        4 => "AMD SEV-SNP".to_owned(),
        other => format!("number {other}"),
    });
    let name = data.split(|byte| *byte == 0).next().unwrap_or_default();
    match kind {
        Some(kind) => format!("memory encryption of Google Compute Engine: {kind}"),
        None if is_text(name) => format!("what does not run on the host: {:?}", text(name)),
        None => format!("what does not run on the host, {}", bytes(data)),
    }
}

/// GUIDs behind their number.
fn tables(what: &str, data: &[u8]) -> String {
    let Some((count, rest)) = data.split_first_chunk::<8>() else {
        return format!("{what}, {}", bytes(data));
    };
    let guids = rest.chunks_exact(16 + 8).filter_map(|table| {
        let guid = table.first_chunk::<16>()?;
        let guid = Uuid::from_bytes_le(*guid);
        let name = TABLES.iter().find(|(of, _)| *of == guid);
        Some(name.map_or_else(|| guid.to_string(), |(_, name)| (*name).to_owned()))
    });
    let guids: Vec<_> = guids.take(MAX_TABLES).collect();
    if guids.is_empty() {
        return format!("{what}, {}", bytes(data));
    }
    let more = u64::from_le_bytes(*count).saturating_sub(guids.len() as u64);
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    format!("{what}: {}{more}", guids.join(", "))
}

/// The same behind a description.
fn described_tables(data: &[u8]) -> String {
    const WHAT: &str = "tables for the system";
    let found = data.split_first().and_then(|(len, rest)| {
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        Some((text(name), rest))
    });
    match found {
        Some((name, rest)) => tables(&format!("{WHAT}, {name:?}"), rest),
        None => format!("{WHAT}, {}", bytes(data)),
    }
}

/// `UEFI_GPT_DATA`: the header, the number of partitions, and their entries.
fn partition_table(data: &[u8]) -> String {
    let count = data.get(92..).and_then(<[u8]>::first_chunk::<8>);
    match (data.starts_with(b"EFI PART"), count) {
        (true, Some(count)) => {
            let disk = data.get(56..).and_then(<[u8]>::first_chunk::<16>);
            let disk = Uuid::from_bytes_le(disk.copied().unwrap_or_default());
            format!(
                "partition table of the disk {disk}, {} partitions",
                u64::from_le_bytes(*count)
            )
        }
        _ => format!("partition table, {}", bytes(data)),
    }
}

/// An event that is not extended, by its signature.
fn noted(data: &[u8]) -> String {
    let (signature, rest) = data.split_at_checked(16).unwrap_or((data, &[]));
    match (signature, rest) {
        (b"StartupLocality\0", [locality]) => {
            format!(
                "only noted: the TPM was started from locality {locality}, which PCR 0 begins with"
            )
        }
        (b"Spec ID Event03\0", _) => "only noted: what the log is".to_owned(),
        (b"SP800-155 Event\0" | b"SP800-155 Event2" | b"SP800-155 Event3", _) => {
            "only noted: the firmware, and where its reference values are".to_owned()
        }
        _ => match signature.split(|byte| *byte == 0).next() {
            Some(name) if name.len() >= 4 && is_text(name) => {
                format!("only noted: {:?}", text(name))
            }
            _ => format!("only noted, {}", bytes(data)),
        },
    }
}

/// What `EV_EVENT_TAG` says: number, length and data; some kernels log the text alone.
pub(super) fn tagged(data: &[u8]) -> String {
    let parts = data.split_first_chunk::<4>().and_then(|(id, rest)| {
        let (len, content) = rest.split_first_chunk::<4>()?;
        let is_whole = usize::try_from(u32::from_le_bytes(*len)) == Ok(content.len());
        is_whole.then_some((u32::from_le_bytes(*id), content))
    });
    let Some((id, content)) = parts else {
        return if is_text(data) {
            format!("{:?}", text(data))
        } else {
            bytes(data)
        };
    };
    let what = match id {
        0x8f3b_22ed => "command line, by the kernel",
        0x8f3b_22ec => "initial ramdisk, by the kernel",
        0xf5bc_582a => "loader.conf, by systemd-boot",
        0x6c46_f751 => "device tree from an addon, by systemd's stub",
        0x49df_fe0f => "initial ramdisk from an addon, by systemd's stub",
        0xdac0_8e1a => "microcode from an addon, by systemd's stub",
        0x13ae_d6db => "chosen profile of the kernel image, by systemd's stub",
        0xd5cb_7cbc | 0xe0d4_7bc8 | 0xc0b3_bd23 => {
            "description of the machine (SMBIOS), by systemd's stub"
        }
        0x4141_454c => "event of the confidential containers' agent",
        // Windows puts events in containers, which have the highest bit but one.
        0x4001_0001..=0x4001_ffff | 0x1_0001..=0x9_ffff => "event of Windows",
        _ => return format!("number {id:#010x}, {}", in_words(content)),
    };
    format!("{what}: {}", in_words(content))
}

fn in_words(content: &[u8]) -> String {
    if is_text(content) {
        format!("{:?}", text(content))
    } else {
        bytes(content)
    }
}
