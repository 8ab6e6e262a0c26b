//! Where everything goes, worked out a second time: the rules of `--make-room`, `--grow-root` and
//! `--sector-size`, for comparing with what the program plans and does.
//!
//! P is the length of the root partition, F that of the filesystem, H the 16 MiB of the header, D = P - H.

use crate::support::image::{Geometry, Image};
use crate::support::judge::Expected;

const H: u64 = 16 << 20;
const MIB: u64 = 1 << 20;

/// The options that decide the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// `--make-room`.
    pub make_room: &'static str,
    /// `--sector-size`.
    pub sector_size: &'static str,
    /// `--grow-root`.
    pub grow_root: bool,
    /// The source is a VHD.
    pub from_vhd: bool,
    /// The output is a VHD.
    pub to_vhd: bool,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            make_room: "auto",
            sector_size: "auto",
            grow_root: false,
            from_vhd: false,
            to_vhd: false,
        }
    }
}

impl Choice {
    /// The command-line options.
    pub fn options(&self) -> Vec<&'static str> {
        let mut options = vec![
            "--make-room",
            self.make_room,
            "--sector-size",
            self.sector_size,
        ];
        if self.grow_root {
            options.push("--grow-root");
        }
        options.extend(["--output-format", if self.to_vhd { "vhd" } else { "raw" }]);
        options
    }
}

/// The ends of disk and root, in sectors of the disk.
#[derive(Clone, Copy)]
struct Ends {
    disk: u64,
    last: u64,
}

/// What the conversion shall lead to, or the message with which it shall be refused.
pub fn expect(image: &Image, choice: Choice) -> Result<Expected, String> {
    let geometry = image.geometry;
    let cloud_init = image.has_cloud_init;
    let sector = geometry.sector_bytes;
    let f = geometry.filesystem_bytes();
    let luks = luks_sector(&geometry, choice, cloud_init)?;
    let p = |ends: Ends| (ends.last + 1 - geometry.root_first_lba) * sector;
    let whole = |sectors: u64| {
        if choice.to_vhd {
            sectors.next_multiple_of(MIB / sector)
        } else {
            sectors
        }
    };

    // Where the partition may end without moving anything, and where it ends to begin with.
    let mut start = Ends {
        disk: whole(geometry.disk_sectors),
        last: geometry.root_last_lba,
    };
    let limit = geometry.last_usable_lba(start.disk);
    let limit = geometry.next_first_lba.map_or(limit, |next| next - 1);
    if choice.grow_root && (limit - start.last) * sector >= MIB {
        start.last = limit;
    }
    let gap = limit - start.last;
    let grown = Ends {
        last: start.last + gap.min(H / sector),
        ..start
    };
    let extended = Ends {
        disk: whole(start.disk + H / sector),
        last: start.last + H / sector,
    };

    // A multiple of the LUKS sector at or below D that holds so many bytes.
    let fits = |ends: Ends, bytes: u64| {
        let d = p(ends).checked_sub(H)? / luks * luks;
        (d >= bytes).then_some(d)
    };
    let done = |ends: Ends, d: u64, shrunk: Option<u64>| Expected {
        luks_sector_bytes: luks,
        disk_bytes: ends.disk * sector,
        root_last_lba: geometry.root_first_lba + (H + d) / sector - 1,
        vhd: choice.to_vhd,
        grow_root: choice.grow_root,
        cloud_init,
        datasources: None,
        kernel_efi: false,
        skips_free: false,
        shrunk_bytes: shrunk,
    };
    if let Some(d) = fits(start, f) {
        return Ok(done(start, d, None));
    }
    let can_extend = geometry.next_first_lba.is_none();
    let no_room = |obstacle: String| {
        Err(format!(
            "the LUKS2 header needs 16 MiB: filesystem and header take {} bytes, the root partition \
             has {}, and {obstacle}",
            H + f,
            geometry.partition_bytes(),
        ))
    };
    match choice.make_room {
        "grow" => match fits(grown, f).filter(|_| gap > 0) {
            Some(d) => Ok(done(grown, d, None)),
            None => no_room(format!("only {gap} sectors behind it are free")),
        },
        "extend" => match (can_extend, fits(extended, f)) {
            (true, Some(d)) => Ok(done(extended, d, None)),
            (true, None) => unreachable!("H more is always enough here"),
            (false, _) => no_room(format!(
                "the disk cannot be extended: a partition at LBA {} follows",
                geometry.next_first_lba.unwrap()
            )),
        },
        "shrink" => {
            let blocks = (p(start) - H) / geometry.block_bytes;
            let d = fits(start, blocks * geometry.block_bytes).unwrap();
            Ok(done(start, d, Some(blocks * geometry.block_bytes)))
        }
        _ => match (
            fits(grown, f).filter(|_| gap > 0),
            fits(extended, f).filter(|_| can_extend),
        ) {
            (Some(d), _) => Ok(done(grown, d, None)),
            (None, Some(d)) => Ok(done(extended, d, None)),
            (None, None) => no_room(format!(
                "another partition follows {gap} free sectors behind it"
            )),
        },
    }
}

fn luks_sector(geometry: &Geometry, choice: Choice, cloud_init: bool) -> Result<u64, String> {
    match choice.sector_size {
        "512" => Ok(512),
        "4096" if geometry.block_bytes < 4096 => Err(format!(
            "--sector-size 4096 needs filesystem blocks of at least 4096 bytes, this filesystem's have {}",
            geometry.block_bytes
        )),
        "4096" if geometry.sector_bytes == 512 && cloud_init && !choice.grow_root => Err(
            "--sector-size 4096 on a disk with 512-byte sectors: at its first boot the guest grows the \
             partition to a length that is no multiple of 4096, and cannot open it at the second"
                .to_owned(),
        ),
        "4096" => Ok(4096),
        _ if geometry.sector_bytes == 4096 && geometry.block_bytes >= 4096 => Ok(4096),
        _ => Ok(512),
    }
}

/// Every combination of the options for one shape.
pub fn choices(to_vhd: bool) -> Vec<Choice> {
    let mut all = Vec::new();
    for make_room in ["auto", "extend", "grow", "shrink"] {
        for sector_size in ["auto", "512", "4096"] {
            for grow_root in [false, true] {
                all.push(Choice {
                    make_room,
                    sector_size,
                    grow_root,
                    from_vhd: to_vhd,
                    to_vhd,
                });
            }
        }
    }
    all
}
