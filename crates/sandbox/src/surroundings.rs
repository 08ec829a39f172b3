//! Finds what the container around kiln takes away from the isolation of steps.

use std::sync::OnceLock;

/// True if parts of /proc are hidden from kiln. Then the kernel refuses to mount a new proc in a
/// user namespace, because it would show them (mount_too_revealing() in fs/namespace.c). Read once.
pub fn hide_proc() -> bool {
    static HIDDEN: OnceLock<bool> = OnceLock::new();
    *HIDDEN.get_or_init(|| {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        covers_proc(&mounts)
    })
}

/// Describes what is missing, for people. None if nothing is.
pub fn shortcoming(rootless: bool) -> Option<&'static str> {
    (rootless && hide_proc()).then_some(
        "the container around kiln hides parts of /proc, so steps have its /proc and see the names of its processes; \
         run it with /proc unmasked (docker: --security-opt systempaths=unconfined; Kubernetes: procMount: Unmasked) or privileged",
    )
}

fn covers_proc(mounts: &str) -> bool {
    // A mount of binfmt_misc hides nothing, because the directory is empty.
    let targets = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    targets.filter_map(|target| target.strip_prefix("/proc/")).any(|below| below != "sys/fs/binfmt_misc")
}

#[cfg(test)]
mod tests {
    use super::covers_proc;

    #[test]
    fn a_masked_proc_is_told_from_a_whole_one() {
        let line = |at: &str| format!("1 2 0:5 / {at} rw,nosuid - proc proc rw\n");
        assert!(!covers_proc(&line("/proc")));
        assert!(!covers_proc(&(line("/proc") + &line("/proc/sys/fs/binfmt_misc"))));
        assert!(covers_proc(&(line("/proc") + &line("/proc/kcore"))));
        assert!(!covers_proc("") && !covers_proc("x\n"));
    }
}
