//! The sight and the rights of a RUN: capabilities, descriptors, network, processes, secrets, hostile root file systems.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Built, Space, have, needs, registry};

/// Runs commands in a fresh image and gives their output.
fn output(space: &Space, lines: &str, flags: &[&str]) -> Option<Built> {
    if !have("docker-registry") || !have("busybox") {
        return None;
    }
    space.write("app/Dockerfile", &format!("FROM {}/busybox\n{lines}\n", registry().0));
    Some(space.build(&[flags, &["app"]].concat()))
}

#[test]
fn capabilities_are_dockers_and_nothing_is_inherited() {
    let space = Space::new();
    let Some(built) = output(
        &space,
        "RUN grep Cap /proc/self/status; ls /proc/self/fd | tr '\\n' ' '; cat /proc/1/comm; readlink /proc/self/fd/0",
        &[],
    ) else {
        return;
    };
    assert!(built.ok, "{}", built.stderr);
    for line in [
        "CapInh:\t0000000000000000",
        "CapBnd:\t00000000a80425fb",
        "CapEff:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
    ] {
        assert!(built.stderr.contains(line), "{line} in {}", built.stderr);
    }
    // Its three streams, and what ls itself opened.
    assert!(built.stderr.contains(" 0 1 2 3 sh") && built.stderr.contains("/dev/null"), "{}", built.stderr);
}

#[test]
fn no_network_is_loopback_alone_and_processes_left_behind_do_not_hold_the_step() {
    let space = Space::new();
    let Some(built) = output(
        &space,
        "RUN --network=none ls /sys/class/net | tr '\\n' '.'; cat /proc/net/dev | grep -c :; sleep 1000 & echo left",
        &[],
    ) else {
        return;
    };
    assert!(built.ok && built.stderr.contains("left"), "{}", built.stderr);
    assert!(built.stderr.contains(" lo.1\n"), "{}", built.stderr);
    space.assert_whole();
}

#[test]
fn proc_is_masked_and_read_only_where_dockers_is() {
    let space = Space::new();
    let lines = "RUN wc -c < /proc/kcore; ls /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/panic || echo refused; touch /sys/x || echo refused too";
    let Some(built) = output(&space, lines, &[]) else { return };
    assert!(built.ok && built.stderr.contains("refused\n") && built.stderr.contains("refused too"), "{}", built.stderr);
}

#[test]
fn a_working_directory_can_not_lead_out() {
    let space = Space::new();
    for number in 3..12 {
        let lines = format!("WORKDIR /proc/self/fd/{number}\nRUN pwd && ls /work /root/.cargo");
        let Some(built) = output(&space, &lines, &[]) else { return };
        assert!(!built.ok, "WORKDIR /proc/self/fd/{number} was entered: {}", built.stderr);
    }
}

#[test]
fn links_in_an_image_do_not_lead_mounts_to_the_host() {
    needs!("busybox");
    let space = Space::new();
    let sentinel = space.write("sentinel", "untouched\n");
    let host = space.path("host");
    std::fs::create_dir(&host).unwrap();
    let busybox = common::run("sh", &["-c", "command -v busybox"]).stdout;
    space.write("app/root/etc/empty", "");
    std::fs::create_dir(space.path("app/root/bin")).unwrap();
    std::fs::copy(String::from_utf8_lossy(&busybox).trim(), space.path("app/root/bin/busybox")).unwrap();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, space.path("app/root").join(name)).unwrap();
    link("busybox", "bin/sh");
    link(sentinel.to_str().unwrap(), "etc/hosts");
    link(&format!("../../../../../..{}", sentinel.display()), "etc/resolv.conf");
    for name in ["proc", "sys", "dev"] {
        link(host.to_str().unwrap(), name);
    }
    space.write("app/Dockerfile", "FROM scratch\nCOPY root /\nRUN echo changed > /etc/hosts; echo changed > /dev/null; /bin/busybox ls /proc/self >/dev/null; echo ran\n");
    // True if it runs or is refused: the host is not touched.
    let built = space.build(&["app"]);
    assert!(built.stderr.contains("ran") || !built.ok, "{}", built.stderr);
    assert_eq!(std::fs::read_to_string(sentinel).unwrap(), "untouched\n");
    assert_eq!(std::fs::read_dir(host).unwrap().count(), 0);
    space.assert_whole();
}

#[test]
fn a_secret_reaches_its_step_and_nothing_else() {
    let space = Space::new();
    let canary = "canary-6b1f0f4c";
    let file = space.write("secret.txt", canary);
    let flag = format!("--secret=id=s,src={}", file.display());
    let lines = "RUN --mount=type=secret,id=s,env=S test \"$(cat /run/secrets/s 2>/dev/null)$S\" != '' && wc -c < /proc/self/environ && echo ${#S}\nRUN test ! -e /run/secrets/s && echo gone";
    let Some(built) = output(&space, lines, &[&flag, "-o", "type=oci,dest=out.tar,compression=uncompressed"]) else {
        return;
    };
    assert!(built.ok && built.stderr.contains(" 15\n") && built.stderr.contains("gone"), "{}", built.stderr);
    assert!(!built.stderr.contains(canary) && !built.stdout.contains(canary));
    std::fs::remove_file(file).unwrap();
    let found =
        std::process::Command::new("grep").args(["-rl", canary, space.dir.path().to_str().unwrap()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the secret is on disk");
}

#[test]
fn what_needs_leave_does_not_begin_without_it() {
    let space = Space::new();
    let Some(refused) = output(&space, "RUN echo first\nRUN --security=insecure echo x", &[]) else { return };
    assert!(
        !refused.ok && refused.stderr.contains("security.insecure is not allowed") && refused.ran.is_empty(),
        "{}",
        refused.stderr
    );
    let refused = output(&space, "RUN --network=host echo x", &[]).unwrap();
    assert!(!refused.ok && refused.stderr.contains("--allow network.host"), "{}", refused.stderr);
    assert!(output(&space, "RUN --network=host echo x", &["--allow", "network.host"]).unwrap().ok);
}

#[test]
fn a_failed_step_shows_its_place_its_last_lines_and_its_code() {
    let space = Space::new();
    let Some(built) = output(&space, "RUN seq 1 50; echo reason >&2; exit 3", &[]) else { return };
    assert_eq!(built.code, Some(1));
    for words in ["Dockerfile:2:1", "^^^^", "exit code: 3", "| reason", "| 50"] {
        assert!(built.stderr.contains(words), "{words}:\n{}", built.stderr);
    }
    assert!(!built.stderr.contains("| 12\n"), "only the last lines are repeated");
}

#[test]
fn mounts_are_made_parents_first_and_the_working_directory_in_them() {
    let space = Space::new();
    let lines = "WORKDIR /w/d\n\
        RUN --mount=type=bind,target=/m/d --mount=type=tmpfs,target=/m echo tmpfs: $(ls -A /m)\n\
        RUN --mount=type=bind,target=/m/a/b --mount=type=cache,target=/m --mount=type=tmpfs,target=/m/a echo cache: $(ls -A /m /m/a)\n\
        RUN --mount=type=tmpfs,target=/w echo in: $(pwd)\n\
        RUN --mount=type=cache,target=/w touch kept; echo in: $(ls -d /w/d)\n\
        RUN --mount=type=cache,target=/w/d/e --mount=type=tmpfs,target=/w/d echo nested: $(ls -A .)\n\
        RUN ls -A /w/d; echo left: $(ls -A /w /m)";
    let Some(built) = output(&space, lines, &[]) else { return };
    assert!(built.ok, "{}", built.stderr);
    for says in ["tmpfs: d", "cache: /m: a /m/a: b", "in: /w/d", "nested: e", "left: /w: d"] {
        assert!(built.stderr.contains(says), "{says}: {}", built.stderr);
    }
    // Where nobody may write, nothing can be made.
    let read_only = "WORKDIR /w/d\nRUN --mount=type=bind,target=/w true";
    let Some(refused) = output(&space, read_only, &[]) else { return };
    assert!(!refused.ok && refused.stderr.contains("working directory"), "{}", refused.stderr);
    space.assert_whole();
}

#[test]
fn a_tmpfs_has_the_mode_of_the_directory_that_it_covers() {
    let space = Space::new();
    let tmpfs = |target: &str| format!("--mount=type=tmpfs,target={target}");
    let mounts: Vec<String> = ["/w", "/new", "/new/sub/deep", "/m/sub", "/dev/shm"].map(tmpfs).into();
    let lines = format!(
        "RUN mkdir /w && chmod 2750 /w && chown 5:6 /w\n\
        RUN {} --mount=type=bind,target=/m,rw stat -c '%n=%a,%u,%g' /w /new /new/sub/deep /m/sub /dev/shm\n\
        RUN --mount=type=bind,target=/new/sub --mount=type=tmpfs,target=/new stat -c '%n:%a' /new\n\
        RUN echo left $(stat -c %a,%u,%g /w) $(ls -d /new /m)",
        mounts.join(" ")
    );
    let Some(built) = output(&space, &lines, &[]) else { return };
    assert!(built.ok, "{}", built.stderr);
    let shown = ["/w=2750,0,0", "/new=1777,0,0", "/new/sub/deep=1777,0,0", "/m/sub=1777,0,0", "/dev/shm=1777,0,0"];
    for says in shown.into_iter().chain(["/new:1777", "left 2750,5,6\n"]) {
        assert!(built.stderr.contains(says), "{says}: {}", built.stderr);
    }
}

#[test]
fn a_directory_that_only_a_mount_point_needs_is_kept_if_it_holds_something() {
    let space = Space::new();
    let lines = "RUN --mount=type=bind,target=/w/a/d mkdir /w/k && rmdir /w/k && touch /w/a/f && rm /w/a/f && chmod 700 /w/a\n\
        RUN --mount=type=tmpfs,target=/v/d chmod 700 /v\n\
        RUN --mount=type=bind,target=/u/d touch /u/kept\n\
        RUN echo left: $(ls -d /w /v /u/*)";
    let Some(built) = output(&space, lines, &[]) else { return };
    assert!(built.ok && built.stderr.contains("left: /u/kept\n"), "{}", built.stderr);
    space.assert_whole();
}

#[test]
fn a_mount_point_or_working_directory_below_a_file_is_refused() {
    let space = Space::new();
    let file = "RUN rm -rf /w && echo file > /w\n";
    let mount = format!("{file}RUN --mount=type=tmpfs,target=/w/d true");
    let cwd = format!("WORKDIR /w/d\n{file}RUN rm /w");
    for lines in [mount, cwd] {
        let Some(built) = output(&space, &lines, &[]) else { return };
        assert_eq!(built.code, Some(1), "{}", built.stderr);
        assert!(built.stderr.contains("cannot make `/w/d` for the step: `/w` is not a directory"), "{}", built.stderr);
    }
}

#[test]
fn of_several_mounts_at_one_target_the_last_is_made() {
    let space = Space::new();
    let says = "$(stat -c %a /w) $(grep -c ' /w ' /proc/mounts)";
    let (bind, tmpfs) = ("--mount=type=bind,target=/w,rw", "--mount=type=tmpfs,target=/w");
    let cache = "--mount=type=cache,target=/w,mode=0711";
    let lines = format!(
        "RUN {bind} {tmpfs} echo one $(ls -A /w) {says}\n\
        RUN {tmpfs} {bind} echo two $(ls -A /w) {says}\n\
        RUN {cache} --mount=type=tmpfs,target=/w/ echo three {says}\n\
        RUN mkdir -m 750 /w\n\
        RUN {cache} {tmpfs} echo four {says}"
    );
    let Some(built) = output(&space, &lines, &[]) else { return };
    assert!(built.ok, "{}", built.stderr);
    for says in ["one 1777 1\n", "two Dockerfile 755 1\n", "three 1777 1\n", "four 750 1\n"] {
        assert!(built.stderr.contains(says), "{says}: {}", built.stderr);
    }
}

#[test]
fn another_owner_or_mode_is_another_cache() {
    let space = Space::new();
    let mount = |more: &str| format!("RUN --mount=type=cache,id=c,target=/c{more} ");
    let lines = [
        mount("") + "echo plain >/c/f; stat -c '1 %a %u:%g' /c",
        mount(",uid=7,gid=8,mode=0700") + "stat -c '2 %a %u:%g' /c; echo \"2 $(ls /c)\"; echo seven >/c/f",
        mount(",mode=0700,gid=8,uid=7") + "echo 3 $(cat /c/f)",
        mount(",uid=0") + "stat -c '4 %a %u:%g' /c; echo zero >/c/f",
        mount(",mode=0755,gid=0") + "echo 5 $(cat /c/f)",
        mount("") + "echo 6 $(cat /c/f)",
    ];
    let Some(built) = output(&space, &lines.join("\n"), &[]) else { return };
    assert!(built.ok, "{}", built.stderr);
    for says in ["1 755 0:0", "2 700 7:8", " 2 \n", "3 seven", "4 755 0:0", "5 zero", "6 plain"] {
        assert!(built.stderr.contains(says), "{says}: {}", built.stderr);
    }
}

#[test]
fn groups_hold_the_primary_one_and_numbers_are_ids() {
    let space = Space::new();
    let lines = "RUN printf 'root:x:0:0::/root:/bin/sh\\nme:x:1000:50::/:/bin/sh\\n7:x:1001:51::/:/bin/sh\\n' >/etc/passwd; \
        printf 'fifty:x:50:\\nmore:x:60:me,x\\nnine:x:9:me\\n9:x:61:\\n' >/etc/group\n\
        RUN grep Groups /proc/self/status | tr -s '\\t ' '_'\n\
        USER me\nRUN echo me $(grep -h Groups /proc/self/status)\n\
        USER me:more\nRUN echo me:more $(grep -h Groups /proc/self/status)\n\
        USER 1000\nRUN echo 1000 $(grep -h Groups /proc/self/status)\n\
        USER 7\nRUN echo 7 $(grep -h -E '^(Uid|Gid)' /proc/self/status)\n\
        USER 5:9\nRUN echo 5:9 $(grep -h Groups /proc/self/status)";
    let Some(built) = output(&space, lines, &[]) else { return };
    assert!(built.ok, "{}", built.stderr);
    for says in [
        "Groups:_0_",
        "me Groups: 9 50 60",
        "me:more Groups: 60",
        "1000 Groups: 9 50 60",
        "7 Uid: 7 7 7 7 Gid: 0 0 0 0",
        "5:9 Groups: 9\n",
    ] {
        assert!(built.stderr.contains(says), "{says}: {}", built.stderr);
    }
}
