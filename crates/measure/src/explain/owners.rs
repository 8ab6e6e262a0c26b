//! Which program an authority is for.
//!
//! Firmware measures what let a program start, then the program; between them may stand other things, its partition
//! table for instance. shim does the same without anything between, as the logs of 15.6 and later show; in those of 15 and 15.4
//! the program comes first and its authority directly behind, as the certificate alone, without an owner. Several signatures of one
//! program are several authorities in a row.

use std::collections::HashMap;

use super::logged::{Logged, Meaning, authority_owner};

/// The programs and drivers of a log, and those that its authorities belong to.
#[derive(Debug)]
pub(super) struct Owners {
    /// Number and place of each program and driver, ascending.
    images: Vec<(usize, usize)>,
    /// Number of each authority with the place of what it is for, ascending.
    authorities: Vec<(usize, Option<usize>)>,
    /// How many authorities each place of an image has.
    counts: HashMap<usize, usize>,
}

impl Owners {
    pub fn new(log: &[Logged<'_>]) -> Self {
        let is_image =
            |event: &Logged<'_>| matches!(event.meaning, Meaning::Program(_) | Meaning::Driver(_));
        let images = log.iter().enumerate();
        let images = images.filter(|(_, event)| is_image(event));
        let mut owners = Self {
            images: images.map(|(place, event)| (event.number, place)).collect(),
            authorities: Vec::new(),
            counts: HashMap::new(),
        };
        let is_image_at = |place: usize| log.get(place).is_some_and(is_image);
        // The certificates without an owner, in rows; a row that has only a program in front tells of an old shim.
        let program_before = |start: usize, first: &Logged<'_>| {
            start.checked_sub(1).filter(|before| {
                let image = log.get(*before).map(|image| &image.meaning);
                matches!(image, Some(Meaning::Program(_))) && authority_owner(first).is_none()
            })
        };
        let is_of_old_shim = rows(log)
            .any(|(start, first, end)| program_before(start, first).is_some() && !is_image_at(end));
        for (start, first, end) in rows(log) {
            let before = program_before(start, first);
            let behind = Some(end).filter(|end| is_image_at(*end));
            let owner = if is_of_old_shim {
                before.or(behind)
            } else {
                behind.or(before)
            };
            let owner = owner.or_else(|| owners.image_behind(first.number));
            let row = log.get(start..end).unwrap_or_default();
            let numbers = row.iter().map(|one| (one.number, owner));
            owners.authorities.extend(numbers);
            if let Some(owner) = owner {
                let count = owners.counts.entry(owner).or_default();
                *count = count.saturating_add(row.len());
            }
        }
        owners
    }

    /// The place of the program or driver that the authority of this number is for.
    pub fn image_of(&self, number: usize) -> Option<usize> {
        let at = self
            .authorities
            .binary_search_by_key(&number, |(number, _)| *number);
        self.authorities.get(at.ok()?).and_then(|(_, place)| *place)
    }

    /// How many authorities the program of this place has.
    pub fn authorities_of(&self, place: usize) -> usize {
        self.counts.get(&place).copied().unwrap_or_default()
    }

    /// The place of the first program or driver behind an event.
    pub fn image_behind(&self, number: usize) -> Option<usize> {
        let behind = self.images.partition_point(|(image, _)| *image <= number);
        self.images.get(behind).map(|(_, place)| *place)
    }

    /// The place of the last program or driver before an event.
    pub fn image_before(&self, number: usize) -> Option<usize> {
        let behind = self.images.partition_point(|(image, _)| *image < number);
        let (_, place) = self.images.get(behind.checked_sub(1)?)?;
        Some(*place)
    }
}

/// Authorities that stand in a row: place and event of the first, and the place behind the last.
fn rows<'a>(log: &'a [Logged<'a>]) -> impl Iterator<Item = (usize, &'a Logged<'a>, usize)> {
    let mut place = 0_usize;
    let chunks = log.chunk_by(|one, next| one.is_authority() == next.is_authority());
    chunks.filter_map(move |row| {
        let start = place;
        place = place.saturating_add(row.len());
        let first = row.first().filter(|first| first.is_authority())?;
        Some((start, first, place))
    })
}
