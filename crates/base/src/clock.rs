//! The current time. It may go only into a record or a key of its own: equal inputs give equal
//! bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since 1970. Zero if the clock is set before that.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The seconds since 1970.
pub fn now() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

/// Formats a time as RFC 3339, in UTC.
pub fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Converts days since 1970 to a year, a month and a day (Howard Hinnant's `civil_from_days`).
pub fn date(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Parses such a time to seconds since 1970. It must be in UTC; fractions of a second are ignored.
pub fn seconds(text: &str) -> Option<u64> {
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    u64::try_from(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

/// Converts a year, a month and a day to days since 1970. Years begin in March, so that the leap day is the last.
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_228_800), "2026-11-21T02:40:00Z");
        for time in [0, 951_782_399, 951_782_400, 1_795_228_800] {
            assert_eq!(seconds(&rfc3339(time)), u64::try_from(time).ok());
        }
        assert_eq!(seconds("2026-11-21T02:40:00.999Z"), Some(1_795_228_800));
        assert_eq!(seconds("yesterday"), None);
        for day in [-719_528, -719_163, -1, 0, 11_016, 2_932_896] {
            let (year, month, date) = date(day);
            assert_eq!(days(year, month, date), day, "{year}-{month}-{date}");
        }
    }
}
