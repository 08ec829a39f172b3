//! TAP devices, by the descriptor of the process that carries their frames
//! (Documentation/networking/tuntap.rst).

use super::spawn::Instruction;
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::io::Errno;
use std::ffi::c_ulong;

// linux/if_tun.h
const TUNGETIFF: c_ulong = 0x8004_54d2;
const TUNATTACHFILTER: c_ulong = 0x4010_54d5;
const IFF_TAP: i32 = 2;

/// True if this descriptor is a TAP device.
pub fn is_tap(file: &OwnedFd) -> bool {
    // SAFETY: the request is a whole `ifreq`, which the kernel fills in; other files refuse the
    // number.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        let done = libc::ioctl(file.as_raw_fd(), TUNGETIFF as _, &mut request);
        done == 0 && i32::from(request.ifr_ifru.ifru_flags) & IFF_TAP != 0
    }
}

/// Attaches a filter to the device. It decides every frame that the namespace sends before a reader
/// of the device gets it, and drops those for which it returns 0. The device runs it, so no sender
/// can bypass it.
pub fn attach_filter(file: &OwnedFd, program: &[Instruction]) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: an `Instruction` is laid out as `sock_filter`; the kernel copies as many as are said.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), TUNATTACHFILTER as _, &program) };
    if done < 0 {
        // SAFETY: errno is this thread's own.
        return Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }));
    }
    Ok(())
}
