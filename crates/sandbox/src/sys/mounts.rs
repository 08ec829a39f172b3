//! Sets flags of mounts: by mount_setattr(2), or by mount(2) on an older kernel.

use super::kernel;
use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags};

/// Adds flags to an attached mount, and to all mounts below it if `recursive`. Allocates nothing.
pub fn limit(mounted: BorrowedFd<'_>, flags: MountAttrFlags, recursive: bool) -> Result<(), Errno> {
    if flags.is_empty() {
        return Ok(());
    }
    match set_attributes(mounted, flags, recursive) {
        // The mounts below can't be listed here, so a recursive call fails and the caller does
        // without.
        Err(Errno::NOSYS) if !recursive => remount(mounted, flags),
        done => done,
    }
}

fn set_attributes(mounted: BorrowedFd<'_>, flags: MountAttrFlags, recursive: bool) -> Result<(), Errno> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    if kernel::lacks(kernel::MOUNT_SETATTR) {
        return Err(Errno::NOSYS);
    }
    let attr = MountAttr { set: u64::from(flags.bits()), clear: 0, propagation: 0, userns: 0 };
    let how = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure is the kernel's first version of it, and its size is given.
    let done = unsafe {
        let fd = mounted.as_raw_fd();
        libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), how, &attr, size_of::<MountAttr>())
    };
    super::errno_of(done)
}

/// mount(2) replaces all flags of a mount, so the current ones are passed again: some can't be
/// cleared in a user namespace.
fn remount(mounted: BorrowedFd<'_>, flags: MountAttrFlags) -> Result<(), Errno> {
    let has = rustix::fs::fstatvfs(mounted)?.f_flag;
    let mut all = MountFlags::BIND;
    for (there, wanted, flag) in [
        (StatVfsMountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountAttrFlags::MOUNT_ATTR_RELATIME, MountFlags::RELATIME),
    ] {
        // MOUNT_ATTR_RELATIME is 0.
        if has.contains(there) || !wanted.is_empty() && flags.contains(wanted) {
            all |= flag;
        }
    }
    if !all.intersects(MountFlags::NOATIME | MountFlags::RELATIME) {
        all |= MountFlags::STRICTATIME;
    }
    let mut name = *b"/proc/self/fd/0000000000\0";
    let path = path_of(mounted.as_raw_fd(), &mut name)?;
    rustix::mount::mount_remount(path, all, c"")
}

/// `/proc/self/fd/<number>`, without the heap.
fn path_of(fd: i32, name: &mut [u8; 25]) -> Result<&std::ffi::CStr, Errno> {
    let mut left = u32::try_from(fd).map_err(|_| Errno::BADF)?;
    let mut digits = [0_u8; 10];
    let mut count = 0;
    loop {
        digits[count] = b'0' + (left % 10) as u8;
        count += 1;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    const START: usize = "/proc/self/fd/".len();
    for (at, digit) in digits[..count].iter().rev().enumerate() {
        name[START + at] = *digit;
    }
    name[START + count] = 0;
    std::ffi::CStr::from_bytes_until_nul(name).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn a_descriptor_has_a_path() {
        let mut name = *b"/proc/self/fd/0000000000\0";
        assert_eq!(path_of(7, &mut name), Ok(c"/proc/self/fd/7"));
        let mut name = *b"/proc/self/fd/0000000000\0";
        assert_eq!(path_of(i32::MAX, &mut name), Ok(c"/proc/self/fd/2147483647"));
        assert!(path_of(-1, &mut name).is_err());
    }
}
