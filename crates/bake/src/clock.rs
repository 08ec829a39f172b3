//! Points in time, and their text in RFC 3339.

use base::clock::{date, days};

/// A point in time as a clock with an offset shows it. Years are 0 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    nanos: i64,
    /// Seconds east of UTC.
    offset: i64,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Time {
    /// A number of seconds since 1970, in UTC; none outside of the years 0 to 9999.
    pub fn checked(seconds: i64) -> Option<Time> {
        (-62_167_219_200..=253_402_300_799).contains(&seconds).then(|| Time::from_unix(seconds))
    }

    /// A number of seconds since 1970, in UTC.
    pub fn from_unix(seconds: i64) -> Time {
        Time::at(seconds, 0, 0)
    }

    fn at(seconds: i64, nanos: i64, offset: i64) -> Time {
        let local = seconds.saturating_add(offset);
        let (year, month, day) = date(local.div_euclid(86_400));
        let rest = local.rem_euclid(86_400);
        Time { year, month, day, hour: rest / 3600, minute: rest / 60 % 60, second: rest % 60, nanos, offset }
    }

    /// Reads `2006-01-02T15:04:05Z`, with a fraction and an offset.
    pub fn parse(text: &str) -> Result<Time, String> {
        let mut rest = text;
        let mut number = |count: usize, what: &str, least: i64, most: i64, mark: &str| -> Result<i64, String> {
            let bad = "not a valid RFC3339 timestamp";
            if rest.is_empty() {
                return Err(format!("{bad}: end of string before {what}"));
            }
            let digits = rest.get(..count).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            let value = digits.and_then(|digits| digits.parse::<i64>().ok()).filter(|v| (least..=most).contains(v));
            let value = value.ok_or_else(|| format!("{bad}: cannot use {rest:?} as {what}"))?;
            rest = &rest[count..];
            rest = match rest.strip_prefix(mark) {
                Some(after) => after,
                None if mark == "T" => return Err(format!("{bad}: missing required time introducer 'T'")),
                None if rest.is_empty() => return Err(format!("{bad}: end of string where {mark:?} is expected")),
                None => return Err(format!("{bad}: found {rest:?} where {mark:?} is expected")),
            };
            Ok(value)
        };
        let year = number(4, "year", 0, 9999, "-")?;
        let month = number(2, "month", 1, 12, "-")?;
        let day = number(2, "day of month", 1, 31, "T")?;
        let hour = number(2, "hour", 0, 23, ":")?;
        let minute = number(2, "minute", 0, 59, ":")?;
        let second = number(2, "second", 0, 59, "")?;
        if date(days(year, month, day)) != (year, month, day) {
            return Err(format!("not a valid RFC3339 timestamp: cannot use {text:?} as day of month"));
        }
        let mut nanos = 0;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let digits: String = after[..end].chars().chain("000000000".chars()).take(9).collect();
            nanos = digits.parse().unwrap_or(0);
            rest = &after[end..];
        }
        let offset = zone(rest).ok_or_else(|| match rest {
            "" => "not a valid RFC3339 timestamp: end of string before UTC offset".to_owned(),
            rest => format!("not a valid RFC3339 timestamp: cannot use {rest:?} as UTC offset"),
        })?;
        Ok(Time { year, month, day, hour, minute, second, nanos, offset })
    }

    /// Seconds since 1970.
    pub fn unix(&self) -> i64 {
        let of_day = self.hour * 3600 + self.minute * 60 + self.second;
        days(self.year, self.month, self.day) * 86_400 + of_day - self.offset
    }

    /// So many nanoseconds later.
    pub fn add(&self, nanos: i64) -> Time {
        let all = i128::from(self.nanos) + i128::from(nanos);
        let seconds = i64::try_from(all.div_euclid(1_000_000_000)).unwrap_or(0);
        let nanos = i64::try_from(all.rem_euclid(1_000_000_000)).unwrap_or(0);
        Time::at(self.unix().saturating_add(seconds), nanos, self.offset)
    }

    /// The text, to the second.
    pub fn rfc3339(&self) -> String {
        let Time { year, month, day, hour, minute, second, .. } = self;
        let zone = self.zone("Z", ":");
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}")
    }

    /// The offset: a word for none, else `+hh` and `mm` with a mark between.
    pub fn zone(&self, utc: &str, mark: &str) -> String {
        if self.offset == 0 {
            return utc.into();
        }
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.abs() / 60;
        format!("{sign}{:02}{mark}{:02}", minutes / 60, minutes % 60)
    }

    /// The day of the year, from 1.
    pub fn year_day(&self) -> i64 {
        days(self.year, self.month, self.day) - days(self.year, 1, 1) + 1
    }

    /// The day of the week, Sunday is 0.
    pub fn weekday(&self) -> i64 {
        (days(self.year, self.month, self.day) + 4).rem_euclid(7)
    }

    /// The week by ISO 8601, and its year.
    pub fn iso_week(&self) -> (i64, i64) {
        // The Thursday of the week decides.
        let thursday = days(self.year, self.month, self.day) + 3 - (self.weekday() + 6) % 7;
        let (year, ..) = date(thursday);
        (year, (thursday - days(year, 1, 1)) / 7 + 1)
    }

    /// The month's name.
    pub fn month_name(&self) -> &'static str {
        usize::try_from(self.month - 1).ok().and_then(|at| MONTHS.get(at)).copied().unwrap_or("")
    }

    /// The weekday's name.
    pub fn weekday_name(&self) -> &'static str {
        usize::try_from(self.weekday()).ok().and_then(|at| WEEKDAYS.get(at)).copied().unwrap_or("")
    }
}

fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let two = |text: &str, most: i64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|value| digits && *value <= most)
    };
    Some(sign * (two(hours, 24)? * 3600 + two(minutes, 60)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let time = Time::parse("2024-02-29T23:05:09+02:00").expect("a time");
        assert_eq!((time.weekday_name(), time.year_day(), time.unix()), ("Thursday", 60, 1_709_240_709));
        assert_eq!(time.rfc3339(), "2024-02-29T23:05:09+02:00");
        assert_eq!(Time::from_unix(0).rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(Time::from_unix(1_700_000_000).iso_week(), (2023, 46));
        assert_eq!(Time::parse("2021-01-03T00:00:00Z").expect("a time").iso_week(), (2020, 53));
        assert_eq!(
            Time::parse("2024-12-31T23:59:59.5Z").expect("a time").add(500_000_000).rfc3339(),
            "2025-01-01T00:00:00Z"
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["", "2024", "2023-02-29T00:00:00Z", "2024-01-01 00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:00"]
        {
            assert!(Time::parse(text).is_err(), "{text}");
        }
    }
}
