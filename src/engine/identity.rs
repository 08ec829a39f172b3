//! The identity of a RUN: looks USER up in the rootfs's own passwd and group files, as runc and
//! Docker do. The files are read through the rootfs's view; the host's users are never used.

use base::error::{Error, Kind, Result};
use layer::files::{Files, resolve};
use layer::tree::Node;
use std::io::Read;

/// The largest file in bytes: a hostile image must not fill the memory.
const LARGEST_FILE: u64 = 10 << 20;
/// The largest id, as in Docker.
const LARGEST_ID: u32 = i32::MAX as u32;

/// The identity that a process starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups. As in BuildKit, `gid` is one of them.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// Looks up `user`, `user:group`, or the ids of either. Empty means root.
pub(super) fn lookup(files: &dyn Files, user: &str) -> Result<Identity> {
    let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let passwd = Table::read(files, b"etc/passwd", 7)?;
    let groups = Table::read(files, b"etc/group", 4)?;

    // A number is always an id, even if it is also the name of a user.
    let row = id(user).map_or_else(|| passwd.named(user), |uid| passwd.numbered(uid));
    let (uid, gid, home, name) = match (row, id(user)) {
        (Some(row), _) => (row.number(2), row.number(3).unwrap_or(0), row.field(5), Some(row.field(0))),
        (None, Some(uid)) => (Some(uid), 0, "", None),
        (None, None) => return Err(unknown("user", user)),
    };
    let uid = uid.ok_or_else(|| unknown("user", user))?;
    let chosen = group.filter(|group| !group.is_empty());
    let (gid, mut groups) = match chosen {
        Some(group) => {
            let named = || groups.named(group).and_then(|row| row.number(2));
            (id(group).or_else(named).ok_or_else(|| unknown("group", group))?, Vec::new())
        }
        None => (gid, name.map(|name| groups.holding(name)).unwrap_or_default()),
    };
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    if uid > LARGEST_ID || gid > LARGEST_ID {
        return Err(Error::new(Kind::Step, format!("user `{user}` has an id above {LARGEST_ID}")));
    }
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity { uid, gid, groups, home: home.to_owned() })
}

fn id(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn unknown(what: &str, name: &str) -> Error {
    let file = if what == "user" { "passwd" } else { "group" };
    Error::new(Kind::Step, format!("unable to find {what} {name}: no matching entries in {file} file"))
        .hint(format!("add it in an earlier RUN, or write a number instead of `{name}`"))
}

/// A file of lines with fields separated by colons. Lines with too few fields are ignored.
struct Table {
    text: String,
    fields: usize,
}

struct Row<'a>(Vec<&'a str>);

impl Table {
    fn read(files: &dyn Files, path: &[u8], fields: usize) -> Result<Table> {
        let found = resolve(files, path)?;
        let mut text = Vec::new();
        if let Some(Node::File { size, .. }) = found.entry.as_ref().map(|entry| &entry.node) {
            let name = String::from_utf8_lossy(path).into_owned();
            if *size > LARGEST_FILE {
                return Err(Error::new(
                    Kind::Step,
                    format!("`/{name}` of the image is larger than {LARGEST_FILE} bytes"),
                ));
            }
            let reader = files.open(&found.path)?;
            reader.take(LARGEST_FILE).read_to_end(&mut text).map_err(|cause| {
                Error::new(Kind::Store, format!("cannot read `/{name}` of the image")).because(cause)
            })?;
        }
        Ok(Table { text: String::from_utf8_lossy(&text).into_owned(), fields })
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let rows = self.text.lines().map(|line| Row(line.trim().split(':').collect()));
        rows.filter(|row| row.0.len() >= self.fields.min(4))
    }

    fn named(&self, name: &str) -> Option<Row<'_>> {
        self.rows().find(|row| row.field(0) == name)
    }

    fn numbered(&self, number: u32) -> Option<Row<'_>> {
        self.rows().find(|row| row.number(2) == Some(number))
    }

    /// The groups that have this user as a member.
    fn holding(&self, name: &str) -> Vec<u32> {
        let member = |row: &Row<'_>| row.field(3).split(',').any(|member| member == name);
        let mut groups: Vec<u32> = self.rows().filter(member).filter_map(|row| row.number(2)).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

impl<'a> Row<'a> {
    fn field(&self, at: usize) -> &'a str {
        self.0.get(at).copied().unwrap_or("")
    }
    fn number(&self, at: usize) -> Option<u32> {
        id(self.field(at))
    }
}
