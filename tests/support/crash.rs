//! What a crash can leave of recorded writes.
//!
//! The disk of this model writes sectors of 512 bytes whole or not at all, in any order, and what was flushed is
//! durable. So the states are, for every stretch of writes between two flushes, all of what was flushed before and any
//! subset of the stretch's sectors. Sectors that do not change make no difference and are left out.
//!
//! Where a stretch has up to [`ALL_SUBSETS_OF`] sectors, all subsets are visited; else the prefixes, the suffixes,
//! single sectors, all but a single one, and [`RANDOM_SUBSETS`] at random, by a generator that always starts the same.

use base::storage::{Overlay, ReadAt, Recorded, WriteAt};

/// The longest stretch of which every subset is visited.
pub const ALL_SUBSETS_OF: usize = 11;

/// Subsets of a longer stretch.
pub const RANDOM_SUBSETS: usize = 200;

const SECTOR_BYTES: usize = 512;

/// Where a crash happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// How many flushes came before.
    pub flushes: usize,
    /// How many sectors of the stretch there are.
    pub sectors: usize,
    /// How many of them were written.
    pub written: usize,
}

impl Place {
    /// True where the whole stretch was written.
    pub fn is_whole(self) -> bool {
        self.written == self.sectors
    }
}

struct Sector {
    offset_bytes: u64,
    old: Vec<u8>,
    new: Vec<u8>,
    is_written: bool,
}

impl Sector {
    fn put<S: ReadAt>(&mut self, disk: &Overlay<S>, is_written: bool) {
        if self.is_written != is_written {
            let bytes = if is_written { &self.new } else { &self.old };
            disk.write_all_at(bytes, self.offset_bytes).unwrap();
            self.is_written = is_written;
        }
    }
}

/// Visits the states that a crash can leave on `disk`, which holds what was there before the first write. In the end it
/// holds all writes.
pub fn each_state<S: ReadAt>(
    disk: &Overlay<S>,
    log: &[Recorded],
    mut visit: impl FnMut(&Overlay<S>, Place),
) {
    for (flushes, stretch) in log.split(|call| *call == Recorded::Flush).enumerate() {
        let mut sectors = sectors(disk, stretch);
        let count = sectors.len();
        let mut show = |sectors: &mut [Sector], is_written: &dyn Fn(usize) -> bool| {
            let mut written = 0;
            for (index, sector) in sectors.iter_mut().enumerate() {
                sector.put(disk, is_written(index));
                written += usize::from(is_written(index));
            }
            let place = Place {
                flushes,
                sectors: count,
                written,
            };
            visit(disk, place);
        };
        if count <= ALL_SUBSETS_OF {
            for subset in 0..1_usize << count {
                let gray = subset ^ (subset >> 1); // one sector changes at a time
                show(&mut sectors, &|index| gray >> index & 1 == 1);
            }
        } else {
            let mut random = 0x9e37_79b9_7f4a_7c15_u64;
            for _ in 0..RANDOM_SUBSETS {
                let seed = splitmix(&mut random);
                show(&mut sectors, &|index| {
                    splitmix(&mut (seed ^ index as u64)) & 1 == 1
                });
            }
            // Long stretches are material and file data, where one cut is like its neighbour.
            let step = count.div_ceil(64);
            for at in (0..count).step_by(step) {
                show(&mut sectors, &|index| index == at);
                show(&mut sectors, &|index| index != at);
                show(&mut sectors, &|index| index >= at);
                show(&mut sectors, &|index| index < at);
            }
        }
        show(&mut sectors, &|_| true);
    }
}

fn sectors<S: ReadAt>(disk: &Overlay<S>, stretch: &[Recorded]) -> Vec<Sector> {
    let mut sectors: Vec<Sector> = Vec::new();
    for call in stretch {
        let Recorded::Write {
            offset_bytes,
            bytes,
        } = call
        else {
            unreachable!("the log is split at flushes");
        };
        assert_eq!(
            offset_bytes % SECTOR_BYTES as u64,
            0,
            "a write begins within a sector"
        );
        for (new, offset_bytes) in bytes
            .chunks(SECTOR_BYTES)
            .zip((*offset_bytes..).step_by(SECTOR_BYTES))
        {
            assert_eq!(new.len(), SECTOR_BYTES, "a write ends within a sector");
            let old = disk.read_vec(offset_bytes, SECTOR_BYTES).unwrap();
            assert!(
                sectors
                    .iter()
                    .all(|other| other.offset_bytes != offset_bytes),
                "a sector is written twice without a flush"
            );
            if old != new {
                sectors.push(Sector {
                    offset_bytes,
                    old,
                    new: new.to_vec(),
                    is_written: false,
                });
            }
        }
    }
    sectors
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
