//! `semvercmp`: constraints on versions as the Go library Masterminds/semver reads them.

use super::{Builtin, Failure, row, string, text};
use crate::value::Value;
use regex::Regex;
use std::cmp::Ordering;
use std::sync::LazyLock;

pub const TABLE: &[Builtin] = &[row("semvercmp", &[string("version"), string("constraint")], |_, a| {
    let version = Version::parse(text(a, 0)).ok_or("invalid semantic version")?;
    Ok(Value::Bool(satisfies(&version, text(a, 1))?))
})];

const LONGEST: usize = 1024;
const VERSION: &str = r"v?([0-9]+)(\.[0-9]+)?(\.[0-9]+)?(-[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*)?(?:\+[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*)?";
const PARTIAL: &str = r"v?([0-9|xX*]+)(\.[0-9|xX*]+)?(\.[0-9|xX*]+)?(-[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*)?(?:\+[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*)?";
/// Blanks.
const S: &str = r"[\t\n\f\r ]";
const OPERATORS: &str = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^";

struct Patterns {
    version: Regex,
    range: Regex,
    one: Regex,
    valid: Regex,
}

static PATTERNS: LazyLock<Option<Patterns>> = LazyLock::new(|| {
    let plain = PARTIAL.replace("(\\", "(?:\\").replace("([", "(?:[").replace("(-", "(?:-");
    Some(Patterns {
        version: Regex::new(&format!("^{VERSION}$")).ok()?,
        range: Regex::new(&format!(r"{S}*({plain}){S}+-{S}+({plain}){S}*")).ok()?,
        one: Regex::new(&format!(r"({OPERATORS}){S}*{PARTIAL}")).ok()?,
        valid: Regex::new(&format!(
            r"^(?:{S}*(?:{OPERATORS}){S}*{plain}{S}*)(?:(?:{S}+|,{S}*)(?:{OPERATORS}){S}*{plain}{S}*)*$"
        ))
        .ok()?,
    })
});

#[derive(Debug)]
struct Version {
    numbers: [u64; 3],
    pre: String,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let found = PATTERNS.as_ref()?.version.captures(text).filter(|_| text.len() <= LONGEST)?;
        let number = |at: usize| match found.get(at) {
            Some(part) => part.as_str().trim_start_matches('.').parse().ok(),
            None => Some(0),
        };
        let pre = found.get(4).map_or("", |part| &part.as_str()[1..]);
        Some(Version { numbers: [number(1)?, number(2)?, number(3)?], pre: pre.into() })
    }

    fn compare(&self, other: &Version) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| compare_pre(&self.pre, &other.pre))
    }
}

/// Parts between dots: numbers before words, numbers by size; none at all comes last.
fn compare_pre(one: &str, two: &str) -> Ordering {
    match (one.is_empty(), two.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        _ => {}
    }
    let (mut one, mut two) = (one.split('.'), two.split('.'));
    loop {
        let order = match (one.next(), two.next()) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                _ => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

struct Constraint {
    operator: String,
    version: Version,
    /// Parts that are missing or `x`: any; the minor and the patch, or the patch alone.
    dirty: bool,
    minor_dirty: bool,
    patch_dirty: bool,
}

fn satisfies(version: &Version, text: &str) -> Result<bool, Failure> {
    let improper = |part: &str| Failure::Whole(format!("improper constraint: {part:?}"));
    let patterns = PATTERNS.as_ref().ok_or("no patterns")?;
    if text.len() > LONGEST {
        return Err(improper(&text.chars().take(40).collect::<String>()));
    }
    let text = patterns.range.replace_all(text, ">= $1, <= $2 ");
    let mut satisfied = false;
    for part in text.split("||") {
        if !patterns.valid.is_match(part) {
            return Err(improper(part));
        }
        let mut all = Vec::new();
        for found in patterns.one.captures_iter(part) {
            all.push(constraint(&found).ok_or_else(|| improper(part))?);
        }
        let pre = all.iter().any(|one| !one.version.pre.is_empty());
        satisfied |= all.iter().all(|one| one.check(version, pre));
    }
    Ok(satisfied)
}

fn constraint(found: &regex::Captures<'_>) -> Option<Constraint> {
    let part = |at: usize| found.get(at).map_or("", |part| part.as_str().trim_start_matches('.'));
    let any = |text: &str| matches!(text, "" | "x" | "X" | "*");
    let (major, minor, patch, pre) = (part(2), part(3), part(4), part(5));
    let (text, dirty, minor_dirty, patch_dirty) = if any(major) {
        (format!("0.0.0{pre}"), true, false, false)
    } else if any(minor) {
        (format!("{major}.0.0{pre}"), true, true, false)
    } else if any(patch) {
        (format!("{major}.{minor}.0{pre}"), true, false, true)
    } else {
        (format!("{major}.{minor}.{patch}{pre}"), false, false, false)
    };
    let version = Version::parse(&text)?;
    Some(Constraint { operator: part(1).into(), version, dirty, minor_dirty, patch_dirty })
}

impl Constraint {
    fn check(&self, version: &Version, pre: bool) -> bool {
        if !version.pre.is_empty() && !pre {
            return false;
        }
        let order = version.compare(&self.version);
        match self.operator.as_str() {
            "!=" => self.differs(version),
            ">" => self.greater(version),
            "<" => order == Ordering::Less,
            ">=" | "=>" => order != Ordering::Less,
            "<=" | "=<" => self.at_most(version),
            "~" | "~>" => self.tilde(version),
            "^" => self.caret(version),
            _ if self.dirty => self.tilde(version),
            _ => order == Ordering::Equal,
        }
    }

    fn differs(&self, version: &Version) -> bool {
        let ([major, minor, _], [own_major, own_minor, _]) = (version.numbers, self.version.numbers);
        if !self.dirty {
            return version.compare(&self.version) != Ordering::Equal;
        }
        if own_major != major || (own_minor != minor && !self.minor_dirty) {
            return true;
        }
        if self.minor_dirty {
            return false;
        }
        if version.numbers[2] != self.version.numbers[2] && !self.patch_dirty {
            return true;
        }
        if self.patch_dirty {
            return compare_pre(&version.pre, &self.version.pre) != Ordering::Equal;
        }
        version.compare(&self.version) != Ordering::Equal
    }

    fn greater(&self, version: &Version) -> bool {
        let ([major, minor, _], [own_major, own_minor, _]) = (version.numbers, self.version.numbers);
        match (self.dirty, major.cmp(&own_major)) {
            (true, Ordering::Greater) => true,
            (true, Ordering::Less) => false,
            (true, Ordering::Equal) if self.minor_dirty => false,
            (true, Ordering::Equal) if self.patch_dirty => minor > own_minor,
            _ => version.compare(&self.version) == Ordering::Greater,
        }
    }

    fn at_most(&self, version: &Version) -> bool {
        let ([major, minor, _], [own_major, own_minor, _]) = (version.numbers, self.version.numbers);
        if !self.dirty {
            return version.compare(&self.version) != Ordering::Greater;
        }
        !(major > own_major || (major == own_major && minor > own_minor && !self.minor_dirty))
    }

    fn tilde(&self, version: &Version) -> bool {
        let ([major, minor, _], [own_major, own_minor, _]) = (version.numbers, self.version.numbers);
        if version.compare(&self.version) == Ordering::Less {
            return false;
        }
        if self.version.numbers == [0, 0, 0] && !self.minor_dirty && !self.patch_dirty {
            return true;
        }
        major == own_major && (minor == own_minor || self.minor_dirty)
    }

    fn caret(&self, version: &Version) -> bool {
        let ([major, minor, patch], [own_major, own_minor, own_patch]) = (version.numbers, self.version.numbers);
        if version.compare(&self.version) == Ordering::Less {
            return false;
        }
        if own_major > 0 || self.minor_dirty {
            return major == own_major;
        }
        if major > 0 {
            return false;
        }
        if own_minor > 0 || self.patch_dirty {
            return minor == own_minor;
        }
        minor == 0 && patch == own_patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_those_of_masterminds() {
        let cases = [
            ("1.4.2", ">= 1.2, < 2", true),
            ("2.0.0", "~1.9", false),
            ("1.2.3-rc1", ">= 1.2.0", false),
            ("1.2.3-rc1", ">= 1.2.0-0", true),
            ("1.9.9", "^1.2", true),
            ("0.3.0", "^0.2.3", false),
            ("1.5.0", "1.2 - 1.6", true),
            ("1.5.0", "1.x", true),
            ("3.0.0", "<1 || >=3", true),
            ("1.2.3", "!=1.2.x", false),
            ("v1.2", "=1.2.0", true),
            ("1.2.3", "*", true),
        ];
        for (version, constraint, want) in cases {
            let parsed = Version::parse(version).expect("a version");
            assert_eq!(satisfies(&parsed, constraint).expect("a constraint"), want, "{version} {constraint}");
        }
        assert!(satisfies(&Version::parse("1").expect("a version"), "banana").is_err());
        assert!(Version::parse("one").is_none());
    }
}
