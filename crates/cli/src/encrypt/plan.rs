//! What an `encrypt` will do, in lines: all of it for `--dry-run`, the choices before a run.

use std::fmt::Write as _;

use operations::encrypt::EncryptPlan;
use operations::{DiskFormat, Partition, Room, partition_types};

/// What was chosen where there was a choice.
pub fn choices(plan: &EncryptPlan) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "root: {}", partition(&plan.root, plan));
    if plan.profile.because.is_some() {
        let _ = writeln!(text, "profile: {}", profile(plan));
    }
    if plan.route.in_place {
        let _ = writeln!(
            text,
            "room for the LUKS2 header and for what a crash must not lose (24.0 MiB): {}",
            room(plan)
        );
        let _ = writeln!(text, "in place: {}", plan.route.source.display());
    } else {
        let _ = writeln!(text, "room for the LUKS2 header: {}", room(plan));
    }
    text
}

/// A name, and what there is to say of it.
pub type Line = (&'static str, String);

/// The whole plan.
pub fn table(plan: &EncryptPlan) -> String {
    let mut lines = facts(plan);
    lines.push((
        "keyslot 0",
        "the unlock key, in clear in a token until deploy".to_owned(),
    ));
    if plan.has_growpart_key {
        lines.push((
            "keyslot 10",
            "the growpart key, removed by cloud-init at the first boot".to_owned(),
        ));
    }
    aligned(&lines) + &where_table(plan) + &edits(plan)
}

/// Lines whose names stand in a column.
pub fn aligned(lines: &[Line]) -> String {
    let mut text = String::new();
    for (name, what) in lines {
        let _ = writeln!(text, "{name:<12}{what}");
    }
    text
}

/// What is known of the image before its keyslots.
pub fn facts(plan: &EncryptPlan) -> Vec<Line> {
    let mut lines = vec![(
        "source",
        format!(
            "{}, {}{}, {}",
            plan.route.source.display(),
            plan.route.source_format,
            packed(plan),
            size(plan.route.source_bytes)
        ),
    )];
    let below = plan.route.backing_files.iter();
    lines.extend(below.map(|(path, format)| ("lies on", format!("{}, {format}", path.display()))));
    lines.extend([
        (
            "output",
            format!(
                "{}{}, {}, {}",
                if plan.route.in_place {
                    "in place, "
                } else {
                    ""
                },
                plan.route.output.display(),
                format_name(plan.route.output_format),
                size(plan.layout.disk_bytes)
            ),
        ),
        (
            "disk",
            format!(
                "sectors of {} bytes, {} in the source, {} in the output",
                plan.sector_bytes,
                plan.route.source_bytes / plan.sector_bytes,
                plan.layout.disk_sectors
            ),
        ),
        ("root", partition(&plan.root, plan)),
        ("ESP", partition(&plan.esp, plan)),
        ("profile", profile(plan)),
        ("room", room(plan)),
        (
            "LUKS2",
            format!(
                "{}, sectors of {} bytes, aes-xts-plain64 with 512 bits",
                label(plan.label),
                plan.layout.sector_size.bytes()
            ),
        ),
    ]);
    lines
}

/// Where everything goes.
pub fn where_table(plan: &EncryptPlan) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "\n{:<24}{:>16}{:>16}", "where", "offset", "bytes");
    for (name, offset, bytes) in places(plan) {
        let _ = writeln!(text, "{name:<24}{offset:>16}{bytes:>16}");
    }
    text
}

/// What is written into the filesystems.
pub fn edits(plan: &EncryptPlan) -> String {
    let mut text = "\nchanges in the filesystems\n".to_owned();
    for edit in &plan.edits {
        let _ = writeln!(text, "  {edit}");
    }
    text
}

/// How the source is packed, for the plan's line about it.
fn packed(plan: &EncryptPlan) -> String {
    plan.route
        .packing
        .map(|packing| format!(" packed ({packing})"))
        .unwrap_or_default()
}

fn places(plan: &EncryptPlan) -> Vec<(&'static str, u64, u64)> {
    let layout = &plan.layout;
    let segment = layout.segment_start_bytes();
    let root_end = segment + layout.segment_bytes;
    let (before, behind) = if plan.route.in_place {
        ("stays", "stays, backup GPT")
    } else {
        ("copied", "copied, backup GPT")
    };
    let mut places = vec![
        (before, 0, layout.root_bytes),
        (
            "LUKS2 header",
            layout.root_bytes,
            segment - layout.root_bytes,
        ),
        ("encrypted filesystem", segment, layout.filesystem_bytes),
    ];
    let slack = layout.segment_bytes - layout.filesystem_bytes;
    if slack > 0 {
        places.push(("encrypted zeros", segment + layout.filesystem_bytes, slack));
    }
    places.push((behind, root_end, layout.disk_bytes - root_end));
    places
}

fn partition(partition: &Partition, plan: &EncryptPlan) -> String {
    let kind = partition_types::type_name(partition.type_guid).unwrap_or("unknown type");
    let bytes = partition.sectors() * plan.sector_bytes;
    format!("partition {} ({kind}, {})", partition.number, size(bytes))
}

fn profile(plan: &EncryptPlan) -> String {
    let profile = &plan.profile;
    match &profile.because {
        Some(because) => format!("{} ({because})", profile.profile),
        None => profile.profile.to_string(),
    }
}

/// A container's label, where it has one.
pub fn label(label: &str) -> String {
    if label.is_empty() {
        "no label".to_owned()
    } else {
        format!("label {}", label.escape_debug())
    }
}

pub fn format_name(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Raw => "raw",
        DiskFormat::FixedVhd => "fixed VHD",
    }
}

fn room(plan: &EncryptPlan) -> String {
    let bytes = |sectors: u64| size(sectors * plan.sector_bytes);
    match plan.layout.room {
        Room::Fits => "the partition has it".to_owned(),
        Room::Grown { sectors } => {
            format!("the partition grows by {} of free space", bytes(sectors))
        }
        Room::Extended { sectors } => format!("the disk becomes {} longer", bytes(sectors)),
        Room::Shrunk { blocks } => format!("resize2fs shrinks the filesystem to {blocks} blocks"),
    }
}

/// A length in binary units.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut whole = bytes;
    let mut unit = 0;
    while whole >= 1024 * 1024 && unit + 1 < units.len() {
        whole /= 1024;
        unit += 1;
    }
    format!(
        "{}.{} {}",
        whole / 1024,
        whole % 1024 * 10 / 1024,
        units[unit]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_binary_units_with_one_decimal() {
        let texts = [
            0,
            1023,
            1024,
            1536,
            1 << 20,
            (1 << 20) - 1,
            2_361_393_152,
            1 << 40,
        ]
        .map(size);
        assert_eq!(
            texts,
            [
                "0 B",
                "1023 B",
                "1.0 KiB",
                "1.5 KiB",
                "1.0 MiB",
                "1023.9 KiB",
                "2.1 GiB",
                "1.0 TiB"
            ]
        );
    }
}
