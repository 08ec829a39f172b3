//! Runs programs of other architectures: through binfmt_misc the kernel executes a static qemu for
//! them (Documentation/admin-guide/binfmt-misc.rst).
//!
//! If the machine has already registered an emulator (package qemu-user-binfmt, tonistiigi/binfmt),
//! kiln does nothing. Else it registers those that it finds in PATH for itself alone: since Linux
//! 6.7 each user namespace has its own binfmt_misc. When an ordinary user runs kiln, kiln is in a
//! user namespace already. When root runs it, kiln makes one with all ids, and steps enter it right
//! before execve(2). So nothing changes for the machine, and the registration ends with kiln.

mod formats;

use crate::sys::kernel;
use crate::sys::userns::{self, Keeper};
use formats::Format;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The directory that shows what the machine has registered.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// The emulators of a build.
#[derive(Debug, Default)]
pub struct Emulation {
    own: OnceLock<Result<Own, String>>,
}

/// The emulators that kiln registered for itself.
#[derive(Clone, Debug)]
enum Own {
    /// In kiln's own user namespace. The registration lasts as long as the mount is open.
    Here { _mounted: Arc<OwnedFd> },
    /// In a separate user namespace.
    There(Arc<Keeper>),
}

/// The user namespace that a step enters right before execve(2).
#[derive(Clone, Debug)]
pub struct Entrance(Arc<Keeper>);

impl Entrance {
    pub(super) fn namespace(&self) -> rustix::fd::BorrowedFd<'_> {
        self.0.namespace.as_fd()
    }
}

impl Emulation {
    /// Succeeds if programs of this architecture are likely to run. The error says why they can't.
    pub fn can(&self, architecture: &str) -> Result<(), String> {
        if is_native(architecture) || is_registered(architecture) {
            return Ok(());
        }
        let format = formats::of(architecture).ok_or_else(|| format!("there is no emulator for {architecture}"))?;
        find(format).map(drop)
    }

    /// Registers the emulator for this architecture. Returns None if a step need not enter a
    /// namespace for it.
    pub fn prepare(&self, architecture: &str, rootless: bool) -> Result<Option<Entrance>, String> {
        self.can(architecture)?;
        if is_native(architecture) || is_registered(architecture) {
            return Ok(None);
        }
        match self.own.get_or_init(|| register_all(rootless)).clone()? {
            Own::Here { .. } => Ok(None),
            Own::There(keeper) => Ok(Some(Entrance(keeper))),
        }
    }
}

/// Lists the architectures that kiln can emulate here, and their emulators, for people to read.
pub fn found() -> Vec<String> {
    let all = formats::FORMATS.iter().filter(|format| !is_native(format.architecture));
    let name = |format: &Format| {
        if is_registered(format.architecture) {
            return Some(format!("{} (registered)", format.architecture));
        }
        find(format).ok().map(|program| format!("{} ({})", format.architecture, program.display()))
    };
    all.filter_map(name).collect()
}

/// True if the processor itself runs this architecture.
fn is_native(architecture: &str) -> bool {
    match std::env::consts::ARCH {
        "x86_64" => matches!(architecture, "amd64" | "386"),
        "aarch64" => architecture == "arm64",
        "powerpc64" => matches!(architecture, "ppc64" | "ppc64le"),
        other => architecture == other,
    }
}

/// True if the machine has registered an interpreter for it with flag F (opened at registration),
/// so that it need not be in the image.
fn is_registered(architecture: &str) -> bool {
    let Some(format) = formats::of(architecture) else { return false };
    let entries = std::fs::read_dir(REGISTERED).into_iter().flatten().flatten();
    entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).any(|text| format.is_served_by(&text))
}

/// Finds a static emulator in PATH.
fn find(format: &Format) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = [format!("qemu-{}-static", format.qemu), format!("qemu-{}", format.qemu)];
    let places = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    let mut programs = places.flat_map(|dir| names.iter().map(move |name| dir.join(name)).collect::<Vec<_>>());
    let found = programs.find(|program| is_static(program));
    found.ok_or_else(|| format!("neither the machine nor PATH has an emulator for {}", format.architecture))
}

/// True if the program needs no dynamic loader, which the kernel would look for in the image
/// (elf(5): a program header of type PT_INTERP).
fn is_static(program: &Path) -> bool {
    use std::os::unix::fs::FileExt as _;
    const PT_INTERP: u32 = 3;
    let Ok(file) = std::fs::File::open(program) else { return false };
    let mut head = [0; 64];
    if file.read_exact_at(&mut head, 0).is_err() || head[..5] != *b"\x7fELF\x02" {
        return false;
    }
    let number = |at: usize, bytes: usize| {
        head[at..at + bytes].iter().rev().fold(0_u64, |all, byte| all << 8 | u64::from(*byte))
    };
    let (offset, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).all(|at| {
        let mut kind = [0; 4];
        file.read_exact_at(&mut kind, offset.saturating_add(at * size)).is_ok() && u32::from_le_bytes(kind) != PT_INTERP
    })
}

fn register_all(rootless: bool) -> Result<Own, String> {
    let rules = formats::FORMATS.iter().filter(|format| !is_native(format.architecture));
    let rules: Vec<Vec<u8>> = rules.filter_map(|format| Some(format.rule(&find(format).ok()?))).collect();
    let failed = |cause: Errno| {
        format!(
            "cannot register emulators in a namespace of its own: {cause}; Linux 6.7 or newer can, else register them for the machine"
        )
    };
    if rootless {
        return register(&rules).map(|mounted| Own::Here { _mounted: Arc::new(mounted) }).map_err(failed);
    }
    // The keeper's process holds the mount until it ends.
    let inside = || register(&rules).map(std::mem::forget);
    userns::keep(&inside).map(|keeper| Own::There(Arc::new(keeper))).map_err(failed)
}

/// Makes a detached mount of the namespace's own binfmt_misc and registers the rules. Makes only
/// system calls, because it may run in a forked child.
fn register(rules: &[Vec<u8>]) -> Result<OwnedFd, Errno> {
    if kernel::lacks(kernel::OWN_BINFMT_MISC) {
        return Err(Errno::PERM);
    }
    let fs = fsopen(c"binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(fs.as_fd())?;
    let mounted = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    for rule in rules {
        let register = rustix::fs::openat(&mounted, c"register", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        match rustix::io::write(&register, rule) {
            // A rule that exists already is fine.
            Ok(_) | Err(Errno::EXIST) => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(mounted)
}
