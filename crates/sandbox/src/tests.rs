//! Runs containers in a temporary directory, for cases that the engine's tests can't reach.

use super::*;

/// A spec on an empty rootfs.
fn spec(folder: &std::path::Path, args: &[&str]) -> Spec {
    for name in ["lower/proc", "lower/sys", "lower/dev", "lower/etc", "upper", "work", "stage"] {
        std::fs::create_dir_all(folder.join(name)).expect("made");
    }
    for name in ["lower/etc/hosts", "lower/etc/resolv.conf"] {
        std::fs::write(folder.join(name), "").expect("written");
    }
    Spec {
        stubs: None,
        lowers: vec![folder.join("lower")],
        upper: folder.join("upper"),
        work: folder.join("work"),
        lost: None,
        stage: folder.join("stage"),
        mounts: Vec::new(),
        args: args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        env: vec![b"PATH=/bin".to_vec()],
        cwd: b"/".to_vec(),
        user: User { uid: 0, gid: 0, groups: Vec::new(), insecure: false, raw_sockets: true, offline: false },
        timeout: None,
        network: Network::None,
        limits: Limits::default(),
        hostname: "test".to_owned(),
        hosts: Vec::new(),
        resolv: Vec::new(),
        emulation: None,
        group: None,
        userxattr: false,
        listed: None,
    }
}

fn fails(change: impl FnOnce(&mut Spec), message: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spec = spec(folder.path(), &["/nothing"]);
    change(&mut spec);
    let error = run(&spec, &mut |_, _| {}, &Stop::default()).expect_err("it can't run");
    assert!(error.to_string().contains(message), "{error}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&folder.path().display().to_string()), "a mount is left");
}

#[test]
fn what_can_not_run_says_why() {
    if !rustix::process::geteuid().is_root() {
        return lacks::skipped("root, for namespaces and mounts");
    }
    fails(|_| {}, "exec: \"/nothing\"");
    fails(|spec| spec.args = vec![b"nothing".to_vec()], "executable file not found in $PATH");
    fails(|spec| spec.args = vec![Vec::new()], "there is no command to run");
    fails(|spec| spec.args = vec![b"a\0b".to_vec()], "holds a zero byte");
    fails(|spec| spec.cwd = b"/proc/nowhere".to_vec(), "cannot enter the working directory");
    let node = |path: &str| Mount { target: b"/dev/x".to_vec(), kind: MountKind::Node { path: path.into() } };
    fails(|spec| spec.mounts = vec![node("/nowhere")], "find the source of a mount for");
    fails(|spec| spec.lowers = vec!["/x".into(); 600], "more than the 499");
}

#[test]
fn nothing_begins_once_all_is_stopped() {
    let stop = Stop::default();
    stop.stop();
    let folder = tempfile::tempdir().expect("a folder");
    let ended = run(&spec(folder.path(), &["/nothing"]), &mut |_, _| {}, &stop);
    assert_eq!(ended.expect_err("stopped").kind(), Kind::Interrupted);
}
