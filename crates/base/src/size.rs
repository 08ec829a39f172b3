//! Sizes in bytes, as people write and read them.

/// Parses `64m`, `1g`, `512mb`, `67108864`: powers of 1024, as Docker does for memory. None if the
/// text is no size.
pub fn parse(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix('b').unwrap_or(&lower);
    let unit = |letter: char, power: u32| plain.strip_suffix(letter).map(|digits| (digits, power));
    let (digits, power) = unit('k', 10).or(unit('m', 20)).or(unit('g', 30)).unwrap_or((plain, 0));
    digits.parse::<u64>().ok()?.checked_mul(1 << power)
}

/// Formats a size as `999B` or `1.50MB`: powers of 1000, as for disks and networks.
pub fn shown(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.2}{}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [("67", 67), ("64k", 64 << 10), ("1M", 1 << 20), ("2gb", 2 << 30), ("5b", 5), ("0", 0)] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in ["", "b", "k", "x", "-1", "1.5g", "1kk", "1t", "99999999999g"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!((shown(999), shown(1_500_000)), ("999B".to_owned(), "1.50MB".to_owned()));
    }
}
