//! What a kernel that is older than this code may lack. kiln needs Linux 5.11; what came later is tried, and where it is not
//! there something else is done.
//!
//! A build of kiln with debug assertions takes the variable `KILN_TEST_KERNEL=5.11` for the version of the kernel, so that
//! tests can force each of these other ways. A release build does not know it.

use std::sync::atomic::{AtomicU32, Ordering};

/// The oldest kernel that kiln works on: overlayfs in a user namespace (`userxattr`).
pub const OLDEST: (u32, u32) = (5, 11);

/// A version of Linux.
type Version = (u32, u32);

/// mount_setattr(2).
pub const MOUNT_SETATTR: Version = (5, 12);
/// clone3(2) into a control group.
pub const CLONE_INTO_CGROUP: Version = (5, 7);
/// A binfmt_misc of its own for each user namespace.
pub const OWN_BINFMT_MISC: Version = (6, 7);

static PRETENDED: AtomicU32 = AtomicU32::new(u32::MAX);

/// Pretends that the kernel is of a version, in builds with debug assertions.
pub fn pretend(version: &str) {
    if cfg!(debug_assertions)
        && let Some((major, minor)) = parse(version)
    {
        PRETENDED.store(number((major, minor)), Ordering::Relaxed);
    }
}

/// Whether the kernel is said to be older than a version. Asked before the real kernel is; makes no system call.
pub fn lacks(since: Version) -> bool {
    cfg!(debug_assertions) && PRETENDED.load(Ordering::Relaxed) < number(since)
}

/// The first two numbers of a release, such as `6.1.0-56-amd64`.
pub fn parse(release: &str) -> Option<Version> {
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    Some((parts.next()??, parts.next()??))
}

fn number((major, minor): Version) -> u32 {
    major.saturating_mul(1000).saturating_add(minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(parse("6.1.0-56-amd64"), Some((6, 1)));
        assert_eq!(parse("5.11"), Some((5, 11)));
        assert_eq!(parse("six"), None);
        assert!(number((5, 9)) < number(OLDEST));
    }
}
