//! Network namespaces (network_namespaces(7)) of single threads.

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::UnshareFlags;

/// Moves the calling thread, and no other, into a new network namespace, and returns that
/// namespace.
pub fn leave() -> Result<OwnedFd, Errno> {
    // SAFETY: of this thread's state only its network namespace changes; no descriptor becomes
    // another's.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
    current()
}

/// The network namespace of the calling thread.
pub fn current() -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, c"/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Brings up the loopback of the current network namespace (netdevice(7)).
pub fn loopback_up() -> Result<(), Errno> {
    // SAFETY: plain ioctl on a socket of our own with a request that is fully set.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(Errno::from_raw_os_error(*libc::__errno_location()));
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let done = libc::ioctl(socket, libc::SIOCSIFFLAGS, &request);
        let errno = *libc::__errno_location();
        libc::close(socket);
        if done < 0 { Err(Errno::from_raw_os_error(errno)) } else { Ok(()) }
    }
}
