//! Two lists of events side by side, with as few differences as possible.
//!
//! An event that one side has and the other has not must not make all events behind it look different. So
//! the lists are aligned as `diff` aligns lines: equal events are paired, events at the *same place* (the
//! same variable, a program and a program) may be paired though they differ, the others stand alone. Heads
//! that are equal are always paired, so the first difference is where the values part.

/// How two events compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    Equal,
    SamePlace,
    Unrelated,
}

/// One line of the alignment: places in the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Both(usize, usize),
    Left(usize),
    Right(usize),
}

/// Events that are aligned after the equal start; those behind stand alone. A log that differs in more
/// than this differs anyway, and the table of costs stays small whatever a log claims.
const MAX_ALIGNED: usize = 1024;

/// Aligns lists of `left` and of `right` events.
pub(super) fn align(
    left: usize,
    right: usize,
    likeness: impl Fn(usize, usize) -> Likeness,
) -> Vec<Line> {
    let start = (0..left.min(right))
        .take_while(|at| likeness(*at, *at) == Likeness::Equal)
        .count();
    let mut lines: Vec<_> = (0..start).map(|at| Line::Both(at, at)).collect();
    let end = |len: usize| len.min(start.saturating_add(MAX_ALIGNED));
    let (left_end, right_end) = (end(left), end(right));
    let costs = Costs::new(start..left_end, start..right_end, &likeness);
    let (mut at_left, mut at_right) = (start, start);
    while at_left < left_end || at_right < right_end {
        let (next_left, next_right) = (at_left.saturating_add(1), at_right.saturating_add(1));
        let both = at_left < left_end && at_right < right_end;
        let here = costs.at(at_left, at_right);
        let pairs = both
            && match likeness(at_left, at_right) {
                Likeness::Equal => true,
                Likeness::SamePlace => here == costs.at(next_left, next_right).saturating_add(1),
                Likeness::Unrelated => false,
            };
        if pairs {
            lines.push(Line::Both(at_left, at_right));
            (at_left, at_right) = (next_left, next_right);
        } else if at_right < right_end && here == costs.at(at_left, next_right).saturating_add(1) {
            lines.push(Line::Right(at_right));
            at_right = next_right;
        } else {
            lines.push(Line::Left(at_left));
            at_left = next_left;
        }
    }
    lines.extend((right_end..right).map(Line::Right));
    lines.extend((left_end..left).map(Line::Left));
    lines
}

/// The differences that are left at least from each pair of places to the end.
struct Costs {
    start: usize,
    columns: usize,
    cells: Vec<u32>,
}

impl Costs {
    fn new(
        left: std::ops::Range<usize>,
        right: std::ops::Range<usize>,
        likeness: impl Fn(usize, usize) -> Likeness,
    ) -> Self {
        let columns = right.len().saturating_add(1);
        let cells = left.len().saturating_add(1).saturating_mul(columns);
        let mut table = Self {
            start: left.start,
            columns,
            cells: vec![0; cells],
        };
        for at_left in (left.start..=left.end).rev() {
            for at_right in (right.start..=right.end).rev() {
                let (next_left, next_right) =
                    (at_left.saturating_add(1), at_right.saturating_add(1));
                let mut best = u32::MAX;
                if at_left == left.end && at_right == right.end {
                    best = 0;
                }
                if at_left < left.end {
                    best = best.min(table.at(next_left, at_right).saturating_add(1));
                }
                if at_right < right.end {
                    best = best.min(table.at(at_left, next_right).saturating_add(1));
                }
                if at_left < left.end && at_right < right.end {
                    let paired = table.at(next_left, next_right);
                    match likeness(at_left, at_right) {
                        Likeness::Equal => best = best.min(paired),
                        Likeness::SamePlace => best = best.min(paired.saturating_add(1)),
                        Likeness::Unrelated => {}
                    }
                }
                let cell = table.cell(at_left, at_right);
                if let Some(cost) = table.cells.get_mut(cell) {
                    *cost = best;
                }
            }
        }
        table
    }

    fn cell(&self, left: usize, right: usize) -> usize {
        let row = left.saturating_sub(self.start);
        let column = right.saturating_sub(self.start);
        row.saturating_mul(self.columns).saturating_add(column)
    }

    fn at(&self, left: usize, right: usize) -> u32 {
        self.cells
            .get(self.cell(left, right))
            .copied()
            .unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters are events; upper and lower case of one stand at the same place.
    fn aligned(left: &str, right: &str) -> String {
        let (left, right) = (left.as_bytes(), right.as_bytes());
        let lines = align(left.len(), right.len(), |a, b| match (left[a], right[b]) {
            (a, b) if a == b => Likeness::Equal,
            (a, b) if a.eq_ignore_ascii_case(&b) => Likeness::SamePlace,
            _ => Likeness::Unrelated,
        });
        let shown = lines.iter().map(|line| match *line {
            Line::Both(a, b) if left[a] == right[b] => format!("{}", char::from(left[a])),
            Line::Both(a, b) => format!("{}/{}", char::from(left[a]), char::from(right[b])),
            Line::Left(a) => format!("-{}", char::from(left[a])),
            Line::Right(b) => format!("+{}", char::from(right[b])),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn differences_are_as_few_as_possible() {
        for (left, right, expected) in [
            ("", "", ""),
            ("abc", "abc", "a b c"),
            ("abc", "aBc", "a b/B c"),
            ("abc", "axbc", "a +x b c"),
            ("abc", "ac", "a -b c"),
            ("sk", "sfsk", "s +f +s k"),
            ("abc", "xyz", "+x +y +z -a -b -c"),
            ("abc", "ABC", "a/A b/B c/C"),
            ("ab", "ba", "+b a -b"),
            ("a", "", "-a"),
            ("", "a", "+a"),
        ] {
            assert_eq!(aligned(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn what_lies_behind_the_limit_stands_alone() {
        let likeness = |_, _| Likeness::Unrelated;
        let lines = align(2, MAX_ALIGNED + 10, likeness);
        assert_eq!(lines.len(), MAX_ALIGNED + 12);
        assert_eq!(lines.last(), Some(&Line::Right(MAX_ALIGNED + 9)));
    }
}
