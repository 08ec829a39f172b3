//! A user namespace for an ordinary user (user_namespaces(7)): kiln moves into it before any thread
//! exists, and is root there. newuidmap(1) and the ranges of /etc/subuid give the mapping. Without
//! them only the user's own id is mapped.

use crate::helper::Helper;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use std::io::{Read as _, Write as _};
use std::time::Duration;

/// The ids with which kiln accesses the files of its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// True if kiln is not root of the machine.
    pub rootless: bool,
    /// True if only one id is mapped.
    pub single_id: bool,
    /// The mapping in the format of /proc/self/uid_map, lines joined by commas.
    pub mapping: String,
}

/// The mapping of the initial user namespace.
const WHOLE: &str = "0 0 4294967295";
/// How long newuidmap may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Becomes root of a new user namespace, unless kiln is root already. Must be called before any
/// thread exists.
pub fn enter() -> Result<Identity, String> {
    if rustix::process::geteuid().is_root() {
        // Root of a container may lack the right to mount outside a user namespace of its own, so
        // one is made. If that is refused too, builds that need no mount still work.
        let confined = !may_mount() && with_own_ids().is_ok();
        let mapping = mapping();
        let rootless = confined || mapping != WHOLE;
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

/// A process that keeps a user namespace with all of our ids. It ends when this is dropped, and
/// when kiln ends in any way.
#[derive(Debug)]
pub struct Keeper {
    /// The user namespace, to be entered.
    pub namespace: OwnedFd,
    child: Pid,
    until: Option<OwnedFd>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.until.take());
        let _ = rustix::process::waitpid(Some(self.child), rustix::process::WaitOptions::empty());
    }
}

/// Makes a user and a mount namespace and runs `inside` in them, in a child that then waits.
/// `inside` may make system calls and nothing else: the child has one thread of possibly many.
pub fn keep(inside: &dyn Fn() -> Result<(), Errno>) -> Result<Keeper, Errno> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (told, tell) = pipe()?;
    let (wait, until) = pipe()?;
    let child = fork_quietly()?;
    let Some(child) = child else {
        drop(until);
        let code = kept(&tell, &wait, inside);
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(code) }
    };
    drop((tell, wait));
    let mut keeper = Keeper { namespace: told, child, until: Some(until) };
    hear(&keeper.namespace)?;
    let map = |name: &str| {
        let text = same_ids(name);
        let pid = child.as_raw_nonzero();
        std::fs::write(format!("/proc/{pid}/{name}"), text)
            .map_err(|cause| Errno::from_io_error(&cause).unwrap_or(Errno::IO))
    };
    map("uid_map")?;
    map("gid_map")?;
    if let Some(until) = &keeper.until {
        rustix::io::write(until, b"m")?;
    }
    hear(&keeper.namespace)?;
    let path = format!("/proc/{}/ns/user", child.as_raw_nonzero());
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    keeper.namespace = rustix::fs::openat(rustix::fs::CWD, path.as_str(), flags, rustix::fs::Mode::empty())?;
    Ok(keeper)
}

/// Reads the child's errno from the pipe. 0 means success.
fn hear(told: &OwnedFd) -> Result<(), Errno> {
    let mut answer = [0; 4];
    match rustix::io::read(told, &mut answer)? {
        4 => match i32::from_ne_bytes(answer) {
            0 => Ok(()),
            errno => Err(Errno::from_raw_os_error(errno)),
        },
        _ => Err(Errno::CHILD),
    }
}

/// Runs in the child. Returns its exit code.
fn kept(tell: &OwnedFd, wait: &OwnedFd, inside: &dyn Fn() -> Result<(), Errno>) -> i32 {
    let say = |result: Result<(), Errno>| {
        let errno = result.err().map_or(0, Errno::raw_os_error);
        let _ = rustix::io::write(tell, &errno.to_ne_bytes());
        result.is_ok()
    };
    let mut byte = [0];
    // SAFETY: this process has one thread.
    let made = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) };
    let mapped = say(made) && rustix::io::read(wait, &mut byte).is_ok_and(|count| count == 1);
    if mapped && say(inside()) {
        // Waits until the other end is closed.
        let _ = rustix::io::read(wait, &mut byte);
    }
    0
}

/// fork(2) with all signals blocked in the child, because it inherited the parent's signal
/// handlers, which could signal the parent.
fn fork_quietly() -> Result<Option<Pid>, Errno> {
    // SAFETY: the masks are local; the child makes only system calls before it ends.
    let pid = unsafe {
        let (mut all, mut old) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        let pid = libc::fork();
        if pid != 0 {
            libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut());
        }
        pid
    };
    match pid {
        0 => Ok(None),
        pid => Pid::from_raw(pid).filter(|_| pid > 0).map(Some).ok_or(Errno::AGAIN),
    }
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

fn may_mount() -> bool {
    let sets = rustix::thread::capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN))
}

/// Enters a new user namespace with all ids of the current one.
fn with_own_ids() -> Result<(), String> {
    let parent = std::process::id();
    let texts = ["uid_map", "gid_map"].map(|name| (name, same_ids(name)));
    let mapped = from_outside(&|| {
        texts.iter().all(|(name, text)| std::fs::write(format!("/proc/{parent}/{name}"), text).is_ok())
    })?;
    if mapped { Ok(()) } else { Err("cannot map ids".to_owned()) }
}

/// The mapping that gives a child namespace all ids of this one.
fn same_ids(name: &str) -> String {
    let own = std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let same = |line: &str| {
        let mut words = line.split_whitespace();
        let (first, count) = (words.next()?, words.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    };
    own.lines().filter_map(same).collect()
}

/// Enters a new user namespace and lets newuidmap(1) and newgidmap(1) map the ids. Returns false if
/// they failed: then the caller maps the single id.
fn with_helper(uid: u32, gid: u32, uids: (u32, u32), gids: (u32, u32)) -> Result<bool, String> {
    let parent = std::process::id();
    from_outside(&|| {
        let map = |program: &str, own: u32, (first, count): (u32, u32)| {
            let numbers = [parent, 0, own, 1, 1, first, count.min(65_535)].map(|number| number.to_string());
            let helper = Helper::new(program).with(|command| _ = command.args(numbers));
            helper.limit(LIMIT).run(&|| false).is_ok_and(|ended| ended.status.success())
        };
        map("newuidmap", uid, uids) && map("newgidmap", gid, gids)
    })
}

/// Enters a new user namespace while a child in the old one runs `map`. Returns the result of
/// `map`.
fn from_outside(map: &dyn Fn() -> bool) -> Result<bool, String> {
    let (mut wait, mut ready) = std::io::pipe().map_err(|cause| cause.to_string())?;
    // SAFETY: no thread exists yet, so the child is as whole as we are. It leaves by _exit.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err("cannot fork".to_owned()),
        0 => {
            drop(ready);
            let mut byte = [0];
            let begun = wait.read_exact(&mut byte).is_ok();
            let mapped = begun && map();
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

/// The command that gives an ordinary user with only one id a range of them.
pub fn remedy(identity: &Identity) -> String {
    let uid = identity.mapping.split_whitespace().nth(1).and_then(|uid| uid.parse().ok()).unwrap_or(0);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).any(|dir| dir.join("newuidmap").is_file());
    if !installed {
        return "`sudo apt-get install uidmap` (Debian, Ubuntu) or `sudo dnf install shadow-utils` brings newuidmap"
            .to_owned();
    }
    if range("/etc/subuid", uid).is_some() && range("/etc/subgid", uid).is_some() {
        return "newuidmap refuses the range of /etc/subuid and /etc/subgid: it must be setuid root, or have CAP_SETUID".to_owned();
    }
    let text = |file| std::fs::read_to_string(file).unwrap_or_default();
    let first = first_free(&[text("/etc/subuid"), text("/etc/subgid")].concat());
    let (last, user) = (first + 65_535, user_name(uid).unwrap_or_else(|| uid.to_string()));
    format!("`sudo usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {user}` gives you a range")
}

/// The first id above all ranges.
fn first_free(ranges: &str) -> u32 {
    let end = |line: &str| {
        let mut numbers = line.split(':').skip(1).map(|number| number.trim().parse::<u32>().ok());
        numbers.next()??.checked_add(numbers.next()??)
    };
    ranges.lines().filter_map(end).max().unwrap_or(0).clamp(100_000, u32::MAX - 65_536)
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

#[cfg(test)]
mod tests {
    use super::first_free;

    #[test]
    fn a_new_range_is_above_all_others() {
        assert_eq!(first_free(""), 100_000);
        assert_eq!(first_free("a:100000:65536\nb:165536:65536\n"), 231_072);
        assert_eq!(first_free("a:1000:1\nnonsense\nb:x:y\n"), 100_000);
        assert_eq!(first_free("a:4294967295:9\nb:4294967000:100\n"), u32::MAX - 65_536);
    }
}
