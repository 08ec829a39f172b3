//! `--chmod`: octal, or symbolic as in chmod(1) with a umask of 0. This module does not know files.

use base::error::{Error, Kind, Result};

/// A parsed `--chmod`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chmod {
    /// The mode of every file.
    Octal(u32),
    /// Changes, applied in order.
    Symbolic(Vec<Change>),
}

/// One change of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The bits that may change.
    who: u32,
    operator: u8,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Bits(u32),
    /// `X`: these bits, for directories and files that have an execute bit.
    Search(u32),
    /// The permissions of one class, named by its shift.
    As(u32),
}

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;
/// The bits of `a`, and of a clause without letters.
const ALL: u32 = 0o6777;

impl Chmod {
    /// Parses the value of `--chmod=`.
    pub(super) fn parse(text: &str) -> Result<Chmod> {
        let bad = || {
            let message = format!("`{text}` is not a mode for `--chmod`");
            Error::new(Kind::Dockerfile, message).hint("write it as `755` or as `u=rwX,go=rX`")
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(bad)?;
            return Ok(Chmod::Octal(mode));
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            symbolic(clause.as_bytes(), &mut changes).ok_or_else(bad)?;
        }
        Ok(Chmod::Symbolic(changes))
    }

    /// The mode of a copied file that had `mode`.
    pub(super) fn apply(&self, mode: u32, directory: bool) -> u32 {
        let changes = match self {
            Chmod::Octal(mode) => return *mode,
            Chmod::Symbolic(changes) => changes,
        };
        // `X` depends on the mode before any change, as in BSD's setmode(3).
        let runs = directory || mode & EXECUTE != 0;
        changes.iter().fold(mode, |mode, change| change.apply(mode, runs))
    }

    /// The mode of directories that the copy has to make; an octal mode applies to them too.
    pub(super) fn of_made_directories(&self) -> u32 {
        match self {
            Chmod::Octal(mode) => mode & 0o777,
            Chmod::Symbolic(_) => 0o755,
        }
    }
}

impl Change {
    fn apply(&self, mode: u32, runs: bool) -> u32 {
        let bits = match self.what {
            What::Bits(bits) => bits & self.who,
            What::Search(bits) if runs => bits & self.who,
            What::Search(_) => 0,
            What::As(shift) => ((mode >> shift & 0o7) * 0o111) & self.who,
        };
        let cleared = match self.what {
            What::As(_) => self.who & 0o777,
            _ => self.who,
        };
        match self.operator {
            b'+' => mode | bits,
            b'-' => mode & !bits,
            _ => mode & !cleared | bits,
        }
    }
}

/// One clause: the classes, then one or more operators with permissions.
fn symbolic(clause: &[u8], changes: &mut Vec<Change>) -> Option<()> {
    let end = clause.iter().position(|byte| !b"ugoa".contains(byte))?;
    let (letters, mut rest) = clause.split_at(end);
    let named = letters.iter().fold(0, |who, letter| {
        who | match letter {
            b'u' => SET_UID | 0o700,
            b'g' => SET_GID | 0o070,
            b'o' => 0o007,
            _ => ALL,
        }
    });
    let who = if letters.is_empty() { ALL } else { named };
    // With `o` alone, `s` and `t` have no effect.
    let special = letters.is_empty() || named & !0o007 != 0;
    while let Some((&operator, more)) = rest.split_first() {
        if !b"+-=".contains(&operator) {
            return None;
        }
        let end = more.iter().position(|byte| b"+-=".contains(byte)).unwrap_or(more.len());
        let (letters, more) = more.split_at(end);
        permissions(letters, operator, who, special, changes)?;
        rest = more;
    }
    Some(())
}

fn permissions(letters: &[u8], operator: u8, who: u32, special: bool, changes: &mut Vec<Change>) -> Option<()> {
    let (mut bits, mut sticky, mut search, mut copies) = (0, 0, 0, Vec::new());
    for letter in letters {
        match letter {
            b'r' => bits |= 0o444,
            b'w' => bits |= 0o222,
            b'x' => bits |= EXECUTE,
            b'X' if operator == b'-' => bits |= EXECUTE,
            b'X' => search |= EXECUTE,
            b's' if special => bits |= SET_UID | SET_GID,
            b't' if special => sticky = STICKY,
            b's' | b't' => {}
            b'u' => copies.push(6),
            b'g' => copies.push(3),
            b'o' => copies.push(0),
            _ => return None,
        }
    }
    let change = |operator, what| Change { who: who | sticky, operator, what };
    // With `=`, the first change clears, and the following ones add.
    let mut operator = operator;
    let then = if operator == b'=' { b'+' } else { operator };
    if bits | sticky != 0 || operator == b'=' && copies.is_empty() {
        changes.push(change(operator, What::Bits(bits | sticky)));
        operator = then;
    }
    for shift in copies {
        changes.push(change(operator, What::As(shift)));
        operator = then;
    }
    if search != 0 {
        changes.push(change(b'+', What::Search(search)));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn modes_change_as_chmod_says() {
        let file = |text: &str, mode| Chmod::parse(text).unwrap().apply(mode, false);
        for (text, before, after) in [
            ("600", 0o755, 0o600),
            ("04755", 0o644, 0o4755),
            ("u+x", 0o644, 0o744),
            ("+x", 0o644, 0o755),
            ("go-w", 0o666, 0o644),
            ("go=", 0o755, 0o700),
            ("u=rwx,go=u-w", 0o600, 0o755),
            ("g=u", 0o640, 0o660),
            ("a+X", 0o644, 0o644),
            ("a+X", 0o744, 0o755),
            ("a-x,a+X", 0o755, 0o755),
            ("=rw,+X", 0o4700, 0o777),
            ("u+s,+t", 0o755, 0o5755),
            ("o+s", 0o755, 0o755),
            ("a=r", 0o1777, 0o1444),
            ("ug+rw-x", 0o711, 0o661),
        ] {
            assert_eq!(file(text, before), after, "{text} of {before:o}: {:o}", file(text, before));
        }
        assert_eq!(Chmod::parse("a+X").unwrap().apply(0o600, true), 0o711);
    }

    #[test]
    fn what_is_no_mode_is_an_error() {
        for bad in ["", "banana", "8", "10000", "7z", "u", "u+q", "u+x,", "+x g", "-1"] {
            assert!(Chmod::parse(bad).is_err(), "{bad}");
        }
    }
}
