//! `--chmod`: octal or symbolic (chmod(1)). The frontend has checked the syntax.

use crate::error::{Error, Kind, Result};

/// The mode that a change gives.
pub(super) fn apply(change: &str, mode: u32, directory: bool) -> Result<u32> {
    if let Ok(octal) = u32::from_str_radix(change, 8) {
        return Ok(octal & 0o7777);
    }
    change.split(',').try_fold(mode, |mode, clause| self::clause(clause, mode, directory)).ok_or_else(|| {
        Error::new(Kind::Dockerfile, format!("invalid chmod parameter: '{change}'"))
    })
}

fn clause(clause: &str, mut mode: u32, directory: bool) -> Option<u32> {
    let at = clause.find(['+', '-', '='])?;
    let who = &clause[..at];
    let all = who.is_empty() || who.contains('a');
    let classes: Vec<u32> = [('u', 6), ('g', 3), ('o', 0)].into_iter().filter(|(c, _)| all || who.contains(*c)).map(|(_, shift)| shift).collect();
    let mut rest = &clause[at..];
    while !rest.is_empty() {
        let operator = rest.chars().next()?;
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
        let letters = &rest[1..end];
        rest = &rest[end..];
        let (mut bits, mut special) = (0, 0);
        for letter in letters.chars() {
            match letter {
                'r' => bits |= 4,
                'w' => bits |= 2,
                'x' => bits |= 1,
                'X' if directory || mode & 0o111 != 0 => bits |= 1,
                'X' => {}
                's' => special |= classes.iter().map(|shift| match shift { 6 => 0o4000, 3 => 0o2000, _ => 0 }).sum::<u32>(),
                't' => special |= 0o1000,
                'u' => bits |= mode >> 6 & 7,
                'g' => bits |= mode >> 3 & 7,
                'o' => bits |= mode & 7,
                _ => return None,
            }
        }
        let spread = classes.iter().map(|shift| bits << shift).sum::<u32>() | special;
        let mask = classes.iter().map(|shift| 7 << shift).sum::<u32>();
        mode = match operator {
            '+' => mode | spread,
            '-' => mode & !spread,
            _ => mode & !mask | spread,
        };
    }
    Some(mode)
}

#[cfg(test)]
mod tests {
    #[test]
    fn modes_are_those_of_chmod() {
        let check = |change, mode, directory, expected| {
            assert_eq!(super::apply(change, mode, directory).ok(), Some(expected), "{change}");
        };
        check("755", 0o600, false, 0o755);
        check("4711", 0o600, false, 0o4711);
        check("u+x", 0o644, false, 0o744);
        check("a=r,u+w", 0o777, false, 0o644);
        check("go-rwx", 0o755, false, 0o700);
        check("u=rwX,go=rX", 0o600, true, 0o755);
        check("u=rwX,go=rX", 0o600, false, 0o644);
        check("+x", 0o644, false, 0o755);
        check("g=u", 0o640, false, 0o660);
        check("u+s,+t", 0o755, false, 0o5755);
    }
}
