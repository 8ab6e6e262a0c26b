//! The time that a change gets, as FAT keeps it: two seconds, from 1980 to 2107, in UTC.

use std::cell::Cell;

use hadris_fat::time::{FatDateTime, TimeProvider};

thread_local! {
    static NOW: Cell<FatDateTime> = const { Cell::new(FatDateTime::EPOCH) };
}

/// The clock that the library asks. It wants one that lives for ever, so this one tells each thread the time that was
/// set in it last: every change sets it first.
#[derive(Debug)]
pub(super) struct ThreadClock;

pub(super) static THREAD_CLOCK: ThreadClock = ThreadClock;

impl TimeProvider for ThreadClock {
    fn now(&self) -> FatDateTime {
        NOW.get()
    }
}

pub(super) fn set(now_seconds: i64) {
    NOW.set(date_time(now_seconds));
}

/// Seconds since 1970 as date and time of FAT; times that it cannot keep become the nearest that it can.
fn date_time(now_seconds: i64) -> FatDateTime {
    const FIRST: i64 = 315_532_800; // 1980-01-01 00:00:00
    const LAST: i64 = 4_354_819_198; // 2107-12-31 23:59:58
    let seconds = now_seconds.clamp(FIRST, LAST);
    let (mut days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut year = 1970;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    for (number, length) in (1..).zip(days_of_months(year)) {
        month = number;
        if days < length {
            break;
        }
        days -= length;
    }
    let part = |value: i64| u8::try_from(value).unwrap_or(0); // all are below 60
    FatDateTime::new(
        u16::try_from(year).unwrap_or(1980),
        month,
        part(days + 1),
        part(of_day / 3600),
        part(of_day / 60 % 60),
        part(of_day % 60),
    )
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_months(year: i64) -> [i64; 12] {
    let february = if is_leap(year) { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar_and_end_where_fat_ends() {
        for (seconds, expected) in [
            (0, (1980, 1, 1, 0, 0, 0)),
            (315_532_800, (1980, 1, 1, 0, 0, 0)),
            (951_782_399, (2000, 2, 28, 23, 59, 58)),
            (951_782_400, (2000, 2, 29, 0, 0, 0)),
            (1_704_164_645, (2024, 1, 2, 3, 4, 4)),
            (1_735_689_599, (2024, 12, 31, 23, 59, 58)),
            (4_107_542_400, (2100, 3, 1, 0, 0, 0)),
            (i64::MAX, (2107, 12, 31, 23, 59, 58)),
        ] {
            let (year, month, day, hour, minute, second) = expected;
            let expected = FatDateTime::new(year, month, day, hour, minute, second);
            assert_eq!(date_time(seconds), expected, "{seconds}");
        }
    }
}
