//! bpf(2), as far as control groups of version 2 need it to limit devices.

use super::errno_of;
use rustix::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use rustix::io::Errno;

/// One instruction (`struct bpf_insn`, linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// The operation.
    pub code: u8,
    /// The destination register in the low half, the source in the high one.
    pub registers: u8,
    /// The distance to jump, or the offset to read at.
    pub offset: i16,
    /// A constant.
    pub constant: i32,
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Programs of the groups above are run too (BPF_F_ALLOW_MULTI).
const ALLOW_MULTI: u32 = 2;

/// Loads a program that decides which devices may be opened.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    // The fields of union bpf_attr that the first version of BPF_PROG_LOAD had.
    #[repr(C, align(8))]
    struct Load {
        kind: u32,
        count: u32,
        program: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    let load = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        program: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the structure is as long as is said, and what it points to outlives the call, which
    // only reads it.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &load, size_of::<Load>()) };
    errno_of(fd)?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches the program to a control group, for as long as the group exists.
pub fn attach_device_program(program: BorrowedFd<'_>, group: BorrowedFd<'_>) -> Result<(), Errno> {
    #[repr(C, align(8))]
    struct Attach {
        group: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    let attach = Attach {
        group: group.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the structure is as long as is said, and holds no pointers.
    errno_of(unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &attach, size_of::<Attach>()) })
}
