//! Raw system calls. This is the only module with `unsafe`. Everything here is small, and safe to
//! call.

#![allow(unsafe_code)]

pub mod bpf;
pub mod command;
pub mod kernel;
pub mod mounts;
pub mod netns;
pub mod spawn;
pub mod tap;
pub mod userns;

/// Turns the result of a system call into its errno.
fn errno_of(result: libc::c_long) -> Result<(), rustix::io::Errno> {
    if result < 0 {
        // SAFETY: errno is this thread's own.
        return Err(rustix::io::Errno::from_raw_os_error(unsafe { *libc::__errno_location() }));
    }
    Ok(())
}
