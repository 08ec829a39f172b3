//! Starts a process in new namespaces: a clone that shares this process's memory until execve(2)
//! (clone(2) with CLONE_VM and CLONE_VFORK), so that its cost does not grow with our size.
//!
//! The child runs a closure on its own stack. Until execve(2) it must not allocate, lock or panic,
//! because it shares the heap with threads that go on running. It reports a failure through the
//! shared memory.

use super::{errno_of, kernel};
use rustix::fd::{BorrowedFd, FromRawFd as _, OwnedFd};
use rustix::io::Errno;
use std::ffi::{CStr, c_int, c_void};

/// Why the child could not run its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The child's action that failed, in words.
    pub doing: &'static str,
    /// The index of the item it was doing that to, from 0.
    pub which: usize,
    /// The error of the system call.
    pub errno: Errno,
}

/// The namespaces and the control group that a child begins in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// True for the namespaces of the caller, or those that it entered for its children. False for
    /// new ones.
    pub inside: bool,
    /// True for a new network namespace too. It has only a loopback, which is down.
    pub network: bool,
    /// The directory of a control group of version 2.
    pub group: Option<BorrowedFd<'a>>,
}

const STACK: usize = 256 * 1024;

/// Runs in the child. The argument is true if the child is in its control group already.
pub type Child<'a> = dyn Fn(bool) -> Failure + Sync + 'a;

struct Shared<'a> {
    child: &'a Child<'a>,
    entered: bool,
    failure: Option<Failure>,
}

/// Starts a child that runs `child`, which returns only if it failed. Returns the pidfd of the
/// child once it has executed its program. All signals are blocked in the child until
/// [`reset_signals`].
pub fn spawn(surroundings: Surroundings<'_>, child: &Child<'_>) -> Result<OwnedFd, Failure> {
    let mut stack = vec![0_u8; STACK];
    let mut shared = Shared { child, entered: true, failure: None };
    let mut flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    if !surroundings.inside {
        flags |= libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    }
    if surroundings.network {
        flags |= libc::CLONE_NEWNET;
    }
    let mut pidfd: c_int = -1;
    let top = stack.as_mut_ptr_range().end as usize & !15;
    let group = surroundings.group.filter(|_| !kernel::lacks(kernel::CLONE_INTO_CGROUP));
    let group = group.map(|group| rustix::fd::AsRawFd::as_raw_fd(&group));
    // SAFETY: the stack is ours, large, aligned and lives until the child has executed or ended,
    // because CLONE_VFORK suspends this thread until then. `shared` is touched by the child alone
    // in that time. Signals are blocked around it, so no handler runs in the child on memory it
    // shares.
    let pid = unsafe {
        let (mut all, mut old) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        let shared: *mut Shared<'_> = &mut shared;
        let into = group.map(|group| clone_into(group, flags, &mut stack, shared, &mut pidfd));
        let pid = match into {
            Some(pid) if pid > 0 => pid,
            _ => {
                (*shared).entered = false;
                let pid = libc::clone(enter, top as *mut c_void, flags, shared.cast(), &mut pidfd as *mut c_int);
                if pid < 0 { -*libc::__errno_location() } else { pid }
            }
        };
        libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut());
        pid
    };
    if pid < 0 {
        return Err(Failure { doing: "make its namespaces", which: 0, errno: Errno::from_raw_os_error(-pid) });
    }
    // SAFETY: the kernel has just given us this descriptor.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    match shared.failure {
        None => Ok(pidfd),
        Some(failure) => {
            // It ended by itself and must be reaped.
            let _ = rustix::process::waitid(
                rustix::process::WaitId::PidFd(pidfd_borrow(&pidfd)),
                rustix::process::WaitIdOptions::EXITED,
            );
            Err(failure)
        }
    }
}

fn pidfd_borrow(fd: &OwnedFd) -> BorrowedFd<'_> {
    rustix::fd::AsFd::as_fd(fd)
}

extern "C" fn enter(shared: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a `Shared` that outlives the child's use of it; nobody else touches it
    // meanwhile.
    let shared = unsafe { &mut *shared.cast::<Shared<'_>>() };
    shared.failure = Some((shared.child)(shared.entered));
    127
}

/// clone3(2) into a control group. The result is negative if the kernel, a seccomp filter around us
/// or this architecture does not have it.
///
/// # Safety
/// As for `clone` in [`spawn`]: the stack and the target of `shared` outlive the child's use of
/// them.
#[cfg(target_arch = "x86_64")]
unsafe fn clone_into(
    group: c_int,
    flags: c_int,
    stack: &mut [u8],
    shared: *mut Shared<'_>,
    pidfd: &mut c_int,
) -> c_int {
    // struct clone_args of linux/sched.h, as far as cgroup.
    #[repr(C, align(8))]
    struct Args {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let base = (stack.as_mut_ptr() as u64 + 15) & !15;
    let args = Args {
        flags: INTO_CGROUP | (flags & !libc::SIGCHLD) as u32 as u64,
        pidfd: pidfd as *mut c_int as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: base,
        stack_size: (STACK - 32) as u64,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group as u64,
    };
    let pid: i64;
    // SAFETY: the child has another stack and returns to nothing: it calls `enter` and ends. The
    // parent goes on behind the call with all its registers; what the kernel and the call itself
    // change is named.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "mov edi, eax",
            "mov eax, {exit}",
            "syscall",
            "ud2",
            "2:",
            exit = const libc::SYS_exit,
            inlateout("rax") libc::SYS_clone3 => pid,
            in("rdi") &args,
            in("rsi") size_of::<Args>(),
            in("r12") enter as extern "C" fn(*mut c_void) -> c_int,
            in("r13") shared,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    pid as c_int
}

/// Not implemented on this architecture: the child enters the group itself.
///
/// # Safety
/// Nothing is done.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn clone_into(_: c_int, _: c_int, _: &mut [u8], _: *mut Shared<'_>, _: &mut c_int) -> c_int {
    -libc::ENOSYS
}

/// Executes a program. Returns only if execve(2) failed.
pub fn execute(program: &CStr, args: &[*const std::ffi::c_char], env: &[*const std::ffi::c_char]) -> Errno {
    debug_assert!(args.last().is_some_and(|last| last.is_null()) && env.last().is_some_and(|last| last.is_null()));
    // SAFETY: both lists end with a null pointer (the caller builds them so) and point to live
    // strings.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    // SAFETY: errno is this thread's own; the child runs as the suspended thread.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// A list of strings for execve(2): pointers, the last one null.
pub fn pointers(strings: &[std::ffi::CString]) -> Vec<*const std::ffi::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// A list of pointers that may be passed to the child.
pub struct Pointers(pub Vec<*const std::ffi::c_char>);

// SAFETY: the strings they point to are not changed while the list is in use.
unsafe impl Sync for Pointers {}
// SAFETY: as above.
unsafe impl Send for Pointers {}

/// Makes a cgroup namespace whose root is the control group that this process is in
/// (cgroup_namespaces(7)).
pub fn new_cgroup_root() -> Result<(), Errno> {
    // SAFETY: of this process only that namespace changes.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }
}

/// Sets default signal handlers and an empty signal mask for the program that is executed next
/// (Rust ignores SIGPIPE).
pub fn reset_signals() {
    // SAFETY: only changes this process's own dispositions; called in the child.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// One instruction of a packet filter (`struct sock_filter`, linux/filter.h).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// The number of instructions to skip if a condition holds.
    pub jt: u8,
    /// The number to skip if it does not hold.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// Installs a filter that decides every system call from here on (seccomp(2)). execve(2) keeps it.
pub fn install_filter(program: &[Instruction]) -> Result<(), Errno> {
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const Instruction,
    }
    const SET_MODE_FILTER: libc::c_ulong = 1;
    // Like runc: programs are not slowed down by the mitigation of speculative store bypass
    // (SECCOMP_FILTER_FLAG_SPEC_ALLOW).
    const SPEC_ALLOW: libc::c_ulong = 4;
    let given = Program { len: program.len() as u16, filter: program.as_ptr() };
    // SAFETY: the program and what it points to outlive the call, which only reads them.
    errno_of(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, SPEC_ALLOW, &given) })
}

/// Joins a new session keyring, so that the parent's keys are out of reach (keyctl(2)). A system
/// without keys is fine.
pub fn join_new_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a system call without pointers that are read.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<c_void>()) };
}

/// True if the working directory is beneath the root. If it is not, getcwd(2) returns a path that
/// begins with `(unreachable)`.
pub fn cwd_is_reachable() -> bool {
    let mut buffer = [0_u8; 4096];
    // SAFETY: the buffer's length is given.
    let got = unsafe { libc::getcwd(buffer.as_mut_ptr().cast(), buffer.len()) };
    !got.is_null() && buffer[0] == b'/'
}

/// Closes every descriptor from `first` on (close_range(2)).
pub fn close_from(first: u32) -> Result<(), Errno> {
    // SAFETY: only called in the child, whose descriptors nobody else uses: it does not share the
    // table.
    errno_of(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })
}

/// Sets the supplementary groups of this process alone. This is the raw system call, because the C
/// library's function would change the threads of our parent too.
pub fn set_groups(groups: &[rustix::fs::Gid]) -> Result<(), Errno> {
    rustix::thread::set_thread_groups(groups)
}

/// Sets the real, effective and saved user and group ids of this process alone.
pub fn set_ids(uid: rustix::fs::Uid, gid: rustix::fs::Gid) -> Result<(), Errno> {
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, OFlags};
    use std::io::Read as _;

    /// Returns what a child in this control group sees: if it began in the group, and its
    /// /proc/self/cgroup.
    fn groups(group: Option<BorrowedFd<'_>>) -> (bool, String) {
        let (read, write) = std::io::pipe().expect("a pipe");
        let child = |entered: bool| {
            let mut text = [0; 4096];
            let file = rustix::fs::openat(CWD, c"/proc/self/cgroup", OFlags::RDONLY, Mode::empty());
            let got = file.and_then(|file| rustix::io::read(&file, &mut text)).unwrap_or(0);
            let _ = rustix::io::write(&write, if entered { b"1" } else { b"0" });
            let _ = rustix::io::write(&write, &text[..got]);
            Failure { doing: "end", which: 0, errno: Errno::CANCELED }
        };
        let failure = spawn(Surroundings { group, ..Surroundings::default() }, &child).expect_err("it ends at once");
        assert_eq!(failure.doing, "end");
        drop(write);
        let mut text = String::new();
        (&read).read_to_string(&mut text).expect("read");
        (text.starts_with('1'), text)
    }

    #[test]
    fn a_child_begins_in_its_control_group() {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let name = format!("kiln-{}-test", std::process::id());
        let made = roots.iter().map(|root| std::path::Path::new(root).join(&name)).find(|folder| {
            folder.parent().is_some_and(|root| root.join("cgroup.procs").exists())
                && std::fs::create_dir(folder).is_ok()
        });
        let Some(folder) = made else {
            return crate::lacks::skipped("control groups of version 2 that we may write to");
        };
        let open = std::fs::File::open(&folder).expect("a folder");
        let (entered, text) = groups(Some(rustix::fd::AsFd::as_fd(&open)));
        let outside = groups(None);
        std::fs::remove_dir(&folder).expect("nobody is left in it");
        assert_eq!(text.contains(&name), entered, "{text}");
        assert!(entered || !cfg!(target_arch = "x86_64"), "{text}");
        assert!(!outside.0 && !outside.1.contains(&name), "{}", outside.1);
    }
}
