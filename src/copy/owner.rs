//! `--chown`: names looked up in the target's own passwd and group files, as BuildKit does. A user without a group
//! brings the group of its row, or 0 (of an id: the same id).

use crate::error::{Error, Kind, Result};
use crate::layer::files::{Files, resolve};
use crate::layer::tree::Node;
use std::io::Read;

/// Larger files are refused: a hostile image must not fill the memory.
const LARGEST: u64 = 10 << 20;

/// The ids of `user`, `user:group` or `:group`.
pub(super) fn lookup(files: &dyn Files, owner: &str) -> Result<(u32, u32)> {
    let (user, group) = owner.split_once(':').map_or((owner, None), |(user, group)| (user, Some(group)));
    let (uid, own_group) = match id(user) {
        Some(uid) => (uid, None),
        None if user.is_empty() => (0, None),
        None => {
            let row = row(files, b"etc/passwd", user)?.ok_or_else(|| unknown("user", user, "passwd"))?;
            (field(&row, 2).ok_or_else(|| unknown("user", user, "passwd"))?, field(&row, 3))
        }
    };
    let gid = match group.filter(|group| !group.is_empty()) {
        Some(group) => match id(group) {
            Some(gid) => gid,
            None => {
                let row = row(files, b"etc/group", group)?.ok_or_else(|| unknown("group", group, "group"))?;
                field(&row, 2).ok_or_else(|| unknown("group", group, "group"))?
            }
        },
        None => own_group.unwrap_or(if id(user).is_some() { uid } else { 0 }),
    };
    Ok((uid, gid))
}

fn id(text: &str) -> Option<u32> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn field(row: &str, at: usize) -> Option<u32> {
    row.split(':').nth(at).and_then(id)
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    Error::new(Kind::Dockerfile, format!("unable to find {what} {name}: no such {what} in /etc/{file} of the image"))
        .hint("write a number, or add it in an earlier step (a linked COPY sees no earlier step)")
}

fn row(files: &dyn Files, path: &[u8], name: &str) -> Result<Option<String>> {
    let found = resolve(files, path)?;
    let Some(Node::File { size, .. }) = found.entry.map(|entry| entry.node) else { return Ok(None) };
    if size > LARGEST {
        let path = String::from_utf8_lossy(path).into_owned();
        return Err(Error::new(Kind::Dockerfile, format!("`/{path}` of the image is larger than {LARGEST} bytes")));
    }
    let mut bytes = Vec::new();
    files.open(&found.path)?.take(LARGEST).read_to_end(&mut bytes).map_err(|cause| {
        Error::new(Kind::Store, "cannot read a file of the image").because(cause)
    })?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().find(|line| line.split(':').next() == Some(name)).map(str::to_owned))
}
