//! Dates of YAML 1.1, as in the reference implementation: `2026-01-02` without quotes is a point in
//! time, and is printed as one.

use std::fmt::{Display, Formatter, Result};

/// A point in time as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    date: (u32, u32, u32),
    clock: (u32, u32, u32),
    nanos: u32,
    /// Minutes east of Greenwich.
    offset: i32,
}

impl Timestamp {
    /// Reads `2026-1-2`, `2026-01-02 03:04:05.6` or `2026-01-02T03:04:05+01:00`.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if digits != 4 || text.as_bytes().get(4) != Some(&b'-') {
            return None;
        }
        let mut rest = Cursor(text);
        let year = rest.number(4, 4)?;
        rest.expect('-')?;
        let month = rest.number(1, 2)?;
        rest.expect('-')?;
        let day = rest.number(1, 2)?;
        if !(1..=12).contains(&month) || day < 1 || day > days(year, month) {
            return None;
        }
        let mut time = Timestamp { date: (year, month, day), clock: (0, 0, 0), nanos: 0, offset: 0 };
        let Some(separator) = rest.0.chars().next() else { return Some(time) };
        rest.0 = &rest.0[separator.len_utf8()..];
        if !matches!(separator, 'T' | 't' | ' ') {
            return None;
        }
        let hour = rest.number(1, 2)?;
        rest.expect(':')?;
        let minute = rest.number(1, 2)?;
        rest.expect(':')?;
        let second = rest.number(1, 2)?;
        time.clock = (hour, minute, second);
        time.nanos = rest.fraction()?;
        if separator != ' ' {
            time.offset = rest.zone()?;
        }
        (hour < 24 && minute < 60 && second < 60 && rest.0.is_empty()).then_some(time)
    }

    /// The form of RFC 3339, which JSON output uses.
    pub fn rfc3339(&self) -> String {
        let zone = if self.offset == 0 { "Z".to_owned() } else { self.zone(":") };
        format!("{}T{}{zone}", self.day(), self.time())
    }

    fn day(&self) -> String {
        let (year, month, day) = self.date;
        format!("{year:04}-{month:02}-{day:02}")
    }

    fn time(&self) -> String {
        let (hour, minute, second) = self.clock;
        let whole = format!("{hour:02}:{minute:02}:{second:02}");
        if self.nanos == 0 {
            return whole;
        }
        let fraction = format!("{:09}", self.nanos);
        format!("{whole}.{}", fraction.trim_end_matches('0'))
    }

    fn zone(&self, between: &str) -> String {
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.abs();
        format!("{sign}{:02}{between}{:02}", minutes / 60, minutes % 60)
    }
}

/// Prints the time as Go does.
impl Display for Timestamp {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let zone = self.zone("");
        let name = if self.offset == 0 { "UTC" } else { &zone };
        write!(f, "{} {} {zone} {name}", self.day(), self.time())
    }
}

struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let len = self.0.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let number = self.0.get(..len)?.parse().ok()?;
        self.0 = &self.0[len..];
        (len >= least).then_some(number)
    }

    fn expect(&mut self, char: char) -> Option<()> {
        self.0 = self.0.strip_prefix(char)?;
        Some(())
    }

    fn fraction(&mut self) -> Option<u32> {
        let Some(rest) = self.0.strip_prefix(['.', ',']) else { return Some(0) };
        let len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let digits = rest.get(..len.min(9))?;
        self.0 = &rest[len..];
        format!("{digits:0<9}").parse().ok().filter(|_| len > 0)
    }

    fn zone(&mut self) -> Option<i32> {
        if let Some(rest) = self.0.strip_prefix('Z') {
            self.0 = rest;
            return Some(0);
        }
        let sign = if self.0.starts_with('-') { -1 } else { 1 };
        self.0 = self.0.strip_prefix(['+', '-'])?;
        let hours = self.number(2, 2)?;
        self.expect(':')?;
        let minutes = self.number(2, 2)?;
        (hours <= 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) as i32)
    }
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_print_as_go_prints_them() {
        let shown = |text| Timestamp::parse(text).map(|time| (time.to_string(), time.rfc3339()));
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(shown("2026-1-2"), pair("2026-01-02 00:00:00 +0000 UTC", "2026-01-02T00:00:00Z"));
        assert_eq!(
            shown("2026-01-02T03:04:05.60+01:30"),
            pair("2026-01-02 03:04:05.6 +0130 +0130", "2026-01-02T03:04:05.6+01:30")
        );
        for text in ["2026-13-01", "2026-02-30", "26-01-01", "2026-01-02T03:04:05", "2026-01-02x", "2026-01"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
