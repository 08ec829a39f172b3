//! The owner of copied files: `--chown` and USER, as ids, or as names from the target's
//! `/etc/passwd` and `/etc/group`. This module does not know the host's users.

use base::error::{Error, Kind, Result};
use layer::files::{Files, resolve};
use layer::tree::Node;
use std::io::{BufRead, BufReader, Read};

/// The largest file that is read, because a hostile image may have an endless one (CVE-2026-47262).
const MAX_BYTES: u64 = 10 << 20;

/// A user and a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

enum Who<'a> {
    Id(u32),
    Name(&'a str),
}

/// The owner that `text` (`user`, `user:group`) means in `base`.
///
/// As in BuildKit, a number alone is also the group, a name alone brings the group of its row, and
/// a name without a row is root. Names need a base for the look-up.
pub fn owner(text: &str, base: Option<&dyn Files>) -> Result<Owner> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let mut owner = match who(user)? {
        Who::Id(id) => Owner { uid: id, gid: id },
        Who::Name(name) => match row(base, b"etc/passwd", name, 2)? {
            Some([uid, gid]) => Owner { uid, gid },
            None => Owner::default(),
        },
    };
    match group.map(who).transpose()? {
        None => {}
        Some(Who::Id(id)) => owner.gid = id,
        Some(Who::Name(name)) => {
            if let Some([gid, _]) = row(base, b"etc/group", name, 1)? {
                owner.gid = gid;
            }
        }
    }
    Ok(owner)
}

/// Parses a user. A text of digits is always a number: a number that is too large must not become a
/// name, which would be root.
fn who(text: &str) -> Result<Who<'_>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    match text {
        "" | "root" => Ok(Who::Id(0)),
        _ if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Who::Name(text)),
        _ => match text.parse::<i32>().ok().and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Ok(Who::Id(id)),
            None => Err(Error::new(Kind::Dockerfile, format!("`{text}` is not a user or group id"))
                .hint(format!("ids go from 0 to {}", i32::MAX))),
        },
    }
}

/// The first `ids` numbers from the third field on, in the first row with the name.
fn row(base: Option<&dyn Files>, path: &[u8], name: &str, ids: usize) -> Result<Option<[u32; 2]>> {
    let shown = String::from_utf8_lossy(path);
    let Some(base) = base else {
        let message = format!("the owner `{name}` cannot be looked up: there is no /{shown} on an empty root");
        return Err(Error::new(Kind::Dockerfile, message).hint("write the owner as numbers, as in `1000:1000`"));
    };
    let found = resolve(base, path)?;
    match found.entry.map(|entry| entry.node) {
        None => return Ok(None),
        Some(Node::File { .. }) => {}
        Some(_) => return Err(Error::new(Kind::Dockerfile, format!("/{shown} of the image is not a file"))),
    }
    let mut reader = BufReader::new(base.open(&found.path)?.take(MAX_BYTES + 1));
    let (mut line, mut total) = (Vec::new(), 0);
    loop {
        line.clear();
        let failed = |cause| Error::new(Kind::Dockerfile, format!("cannot read /{shown} of the image")).because(cause);
        let count = reader.read_until(b'\n', &mut line).map_err(failed)?;
        total += count as u64;
        if total > MAX_BYTES {
            return Err(Error::new(
                Kind::Dockerfile,
                format!("/{shown} of the image is larger than {MAX_BYTES} bytes"),
            ));
        }
        if count == 0 {
            return Ok(None);
        }
        let mut fields = line.trim_ascii().split(|byte| *byte == b':');
        if fields.next() == Some(name.as_bytes()) {
            let mut numbers = [0; 2];
            numbers.iter_mut().take(ids).zip(fields.skip(1)).for_each(|(number, field)| *number = id(field));
            return Ok(Some(numbers));
        }
    }
}

/// An invalid id counts as 0, as in BuildKit.
fn id(field: &[u8]) -> u32 {
    let number = std::str::from_utf8(field).ok().and_then(|text| text.parse::<i32>().ok());
    number.and_then(|id| u32::try_from(id).ok()).unwrap_or(0)
}
