//! A user namespace for an ordinary user (user_namespaces(7)): the whole of kiln moves into it before any thread
//! exists, and is root there. The mapping comes from newuidmap(1) and the ranges of /etc/subuid; without them only the
//! user's own id exists.

use rustix::thread::UnshareFlags;
use std::io::{Read as _, Write as _};
use std::process::Command;

/// Who kiln is to the files of its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whether it is not the machine's root.
    pub rootless: bool,
    /// Whether only one id exists.
    pub single_id: bool,
    /// The mapping, as /proc/self/uid_map has it.
    pub mapping: String,
}

/// The mapping that every process of the machine has.
const WHOLE: &str = "0 0 4294967295";

/// Becomes root: of the machine when we are, else of a new user namespace. Must be called before any thread exists.
pub fn enter() -> Result<Identity, String> {
    if rustix::process::geteuid().is_root() {
        let mapping = mapping();
        let rootless = mapping != WHOLE;
        let single_id = rootless && mapping.split_whitespace().nth(2) == Some("1") && !mapping.contains(',');
        return Ok(Identity { rootless, single_id, mapping });
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let ranges = (range("/etc/subuid", uid), range("/etc/subgid", uid));
    let many = match ranges {
        (Some(uids), Some(gids)) => with_helper(uid, gid, uids, gids)?,
        _ => {
            unshare()?;
            false
        }
    };
    if !many {
        let write = |file: &str, text: String| {
            std::fs::write(format!("/proc/self/{file}"), text).map_err(|cause| format!("cannot write {file}: {cause}"))
        };
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("0 {uid} 1"))?;
        write("gid_map", format!("0 {gid} 1"))?;
    }
    Ok(Identity { rootless: true, single_id: !many, mapping: mapping() })
}

fn mapping() -> String {
    let text = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join(",")
}

fn unshare() -> Result<(), String> {
    let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNS;
    // SAFETY: no thread exists yet; the file descriptor table is not touched by these flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(|cause| {
        format!("cannot make a user namespace: {cause}; an administrator can allow it (kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)")
    })
}

/// A child in the old namespace maps this process once it is in the new one. False if it could not: then the caller
/// maps the single id.
fn with_helper(uid: u32, gid: u32, uids: (u32, u32), gids: (u32, u32)) -> Result<bool, String> {
    let (mut wait, mut ready) = std::io::pipe().map_err(|cause| cause.to_string())?;
    let parent = std::process::id();
    // SAFETY: no thread exists yet, so the child is as whole as we are. It leaves by _exit.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err("cannot fork".to_owned()),
        0 => {
            drop(ready);
            let mut byte = [0];
            let begun = wait.read_exact(&mut byte).is_ok();
            let map = |program: &str, own: u32, (first, count): (u32, u32)| {
                let numbers = [parent, 0, own, 1, 1, first, count.min(65_535)].map(|number| number.to_string());
                Command::new(program).args(numbers).status().is_ok_and(|status| status.success())
            };
            let mapped = begun && map("newuidmap", uid, uids) && map("newgidmap", gid, gids);
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(!mapped)) }
        }
        child => {
            unshare()?;
            let _ = ready.write_all(b"x");
            drop((ready, wait));
            let mut status = 0;
            // SAFETY: reaps the child made above.
            unsafe { libc::waitpid(child, &mut status, 0) };
            Ok(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0)
        }
    }
}

/// The first range of a user in /etc/subuid or /etc/subgid: lines of `name-or-uid:first:count`.
fn range(file: &str, uid: u32) -> Option<(u32, u32)> {
    let name = user_name(uid);
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        if Some(owner) != name.as_deref() && owner != uid.to_string() {
            return None;
        }
        Some((fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?))
    })
}

fn user_name(uid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let row = text.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()))?;
    row.split(':').next().map(str::to_owned)
}
