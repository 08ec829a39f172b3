//! Attacks that broke other builders, and what a step may do here. The numbers are those of `docs/security.md`.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Built, Space, have, is_root, registry};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// Builds lines on busybox.
fn build(space: &Space, lines: &str, flags: &[&str]) -> Option<Built> {
    if !have("docker-registry") || !have("busybox") {
        return None;
    }
    space.write("app/Dockerfile", &format!("FROM {}/busybox\n{lines}\n", registry().0));
    Some(space.build(&[flags, &["app"]].concat()))
}

/// The system calls of a sandboxed step are Docker's: a filter is on, namespaces can't be made, mounts neither.
#[test]
fn s7_system_calls_are_filtered_unless_that_is_allowed() {
    let space = Space::new();
    let lines = "RUN grep Seccomp: /proc/self/status; unshare -U true || echo no namespace; unshare -m true || echo no mounts; mount -t tmpfs x /mnt || echo no mount";
    let Some(built) = build(&space, lines, &[]) else { return };
    for said in ["Seccomp:\t2", "no namespace", "no mounts", "no mount\n"] {
        assert!(built.ok && built.stderr.contains(said), "{said}: {}", built.stderr);
    }
    let Some(built) =
        build(&space, "RUN --security=insecure grep Seccomp: /proc/self/status", &["--allow", "security.insecure"])
    else {
        return;
    };
    assert!(built.ok && built.stderr.contains("Seccomp:\t0"), "{}", built.stderr);
    let refused = build(&space, "RUN --security=insecure true", &[]).unwrap();
    assert!(refused.stderr.contains("security.insecure is not allowed"));
    assert!(build(&space, "RUN --security=privileged true", &[]).unwrap().code == Some(1));
}

/// A program of 32 bits: an ELF header, one segment, `write(1, "i386\n", 5)` and `exit(0)` by int 0x80.
fn i386_program() -> Vec<u8> {
    let code: &[u8] = &[
        0xb8, 4, 0, 0, 0, 0xbb, 1, 0, 0, 0, 0xb9, 0x77, 0x80, 4, 8, 0xba, 5, 0, 0, 0, 0xcd, 0x80, 0xb8, 1, 0, 0, 0,
        0x31, 0xdb, 0xcd, 0x80, 0x90, 0x90, 0x90, 0x90,
    ];
    let mut program = Vec::new();
    program.extend(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [2_u16, 3] {
        program.extend(half.to_le_bytes());
    }
    for word in [1_u32, 0x0804_8054, 52, 0, 0] {
        program.extend(word.to_le_bytes());
    }
    for half in [52_u16, 32, 1, 0, 0, 0] {
        program.extend(half.to_le_bytes());
    }
    let length = 84 + code.len() as u32 + 5;
    for word in [1_u32, 0, 0x0804_8000, 0x0804_8000, length, length, 5, 0x1000] {
        program.extend(word.to_le_bytes());
    }
    program.extend(code);
    program.extend(b"i386\n");
    program
}

#[test]
fn programs_of_32_bits_run_in_a_64_bit_image() {
    if std::env::consts::ARCH != "x86_64" {
        common::skipped("an x86_64 machine");
        return;
    }
    let space = Space::new();
    let path = space.write("app/p", "");
    std::fs::write(path, i386_program()).unwrap();
    let Some(built) = build(&space, "COPY --chmod=755 p /p\nRUN /p", &[]) else { return };
    assert!(built.ok && built.stderr.contains(" i386\n"), "{}", built.stderr);
}

/// CVE-2024-21626: descriptors of the host as a working directory.
#[test]
fn s1_no_descriptor_leads_out() {
    let space = Space::new();
    for number in 3..12 {
        let Some(built) = build(&space, &format!("WORKDIR /proc/self/fd/{number}\nRUN pwd; ls"), &[]) else { return };
        assert!(!built.stderr.contains("Cargo.toml") && !built.stderr.contains("store"), "{}", built.stderr);
    }
    let Some(built) = build(&space, "RUN ls -l /proc/self/fd | wc -l; cat /proc/self/environ | tr '\\0' '\\n'", &[])
    else {
        return;
    };
    assert!(built.ok && !built.stderr.contains("KILN_ROOT"), "{}", built.stderr);
}

/// CVE-2019-5736: the builder's own program from inside.
#[test]
fn s2_the_builder_is_not_within_reach() {
    let space = Space::new();
    let lines =
        "RUN for p in /proc/[0-9]*; do readlink $p/exe; done | grep -c kiln || echo none; ls /proc | grep -c '^[0-9]'";
    let Some(built) = build(&space, lines, &[]) else { return };
    assert!(built.ok && built.stderr.contains("none"), "{}", built.stderr);
}

/// CVE-2024-23651, CVE-2024-9675: a cache mount's source that is a link, or climbs.
#[test]
fn s3_s4_sources_of_mounts_stay_beneath_their_root() {
    let space = Space::new();
    let victim = space.path("victim");
    std::fs::create_dir_all(&victim).unwrap();
    std::fs::write(victim.join("secret"), "of-the-host").unwrap();
    let v = victim.display();
    let Some(made) = build(
        &space,
        &format!(
            "RUN --mount=type=cache,id=c,target=/c ln -s {v} /c/l; mkdir -p /c/d; ln -s ../../../../../../..{v} /c/d/l"
        ),
        &[],
    ) else {
        return;
    };
    assert!(made.ok, "{}", made.stderr);
    for source in ["/l", "/d/l", "/../../../../../../../..", &format!("{v}")] {
        let built = build(
            &space,
            &format!("RUN --mount=type=cache,id=c,target=/c,source={source} cat /c/secret || ls -la /c"),
            &[],
        )
        .unwrap();
        assert!(!built.stderr.contains("of-the-host"), "{source}: {}", built.stderr);
    }
    space.write("app/x", "");
    std::os::unix::fs::symlink(&victim, space.path("app/link")).unwrap();
    for source in ["link", "../victim", "/../../victim"] {
        let built =
            build(&space, &format!("RUN --mount=type=bind,source={source},target=/c cat /c/secret || true"), &[])
                .unwrap();
        assert!(!built.stderr.contains("of-the-host"), "{source}: {}", built.stderr);
    }
    assert_eq!(std::fs::read_to_string(victim.join("secret")).unwrap(), "of-the-host");
}

/// CVE-2024-9407: options of mounts that mean nothing here.
#[test]
fn s5_unknown_options_of_mounts_are_errors() {
    let space = Space::new();
    for option in ["bind-propagation=shared", "relabel=shared", "z", "U", "rw=maybe", "propagation=rshared"] {
        let Some(built) = build(&space, &format!("RUN --mount=type=bind,target=/x,{option} true"), &[]) else { return };
        assert_eq!(built.code, Some(1), "{option}: {}", built.stderr);
    }
}

/// CVE-2024-23652: the place of a mount is replaced while the step runs.
#[test]
fn s6_s22_links_in_the_place_of_mounts_touch_nothing_outside() {
    let space = Space::new();
    let victim = space.path("victim");
    std::fs::create_dir_all(victim.join("sub")).unwrap();
    std::fs::write(victim.join("kept"), "kept").unwrap();
    let v = victim.display();
    let lines = format!(
        "RUN --mount=type=tmpfs,target=/m/sub rm -rf /m/other; true\nRUN rm -rf /m; ln -s {v} /m\nRUN --mount=type=tmpfs,target=/m/sub touch /m/sub/x; ls {v} || true\nWORKDIR /m/new\nRUN touch y"
    );
    let Some(built) = build(&space, &lines, &[]) else { return };
    assert!(built.ok, "{}", built.stderr);
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(victim.join("sub")).unwrap().count(), 0);
    space.assert_whole();
}

/// CVE-2024-40635 and others: users that are no numbers, or too large ones.
#[test]
fn s20_odd_users_are_errors_and_never_root() {
    let space = Space::new();
    for user in
        ["-1", "4294967295", "4294967296", "2147483648", "99999999999999999999", "0x0", "nobody2", "1:nogroup2", " "]
    {
        let Some(built) = build(&space, &format!("USER \"{user}\"\nRUN id -u"), &[]) else { return };
        let as_root = built.stderr.lines().any(|line| line.ends_with(" 0"));
        assert!(user == " " || !as_root, "{user}: {}", built.stderr);
        assert!(!built.stderr.contains("panicked"), "{}", built.stderr);
    }
    let lines = "RUN head -c 20000000 /dev/zero | tr '\\0' 'a' > /etc/passwd\nUSER somebody\nRUN id";
    let built = build(&space, lines, &[]).unwrap();
    assert!(!built.ok && !built.stderr.contains("panicked"), "{}", built.stderr);
    let lines = "RUN rm -f /etc/passwd && ln -s /proc/1/environ /etc/passwd\nUSER somebody\nRUN id";
    assert!(!build(&space, lines, &[]).unwrap().ok);
}

/// CVE-2025-31133 and others: the image has links where the builder mounts.
#[test]
fn s21_links_in_an_image_do_not_lead_the_builder_s_own_mounts_out() {
    let space = Space::new();
    let victim = space.path("victim");
    std::fs::create_dir_all(&victim).unwrap();
    let v = victim.display();
    for place in ["/dev", "/proc", "/sys", "/etc", "/run", "/etc/hosts", "/etc/resolv.conf"] {
        let lines = format!(
            "FROM scratch AS evil\nCOPY --from=base / /\nCOPY evil{place} {place}\nFROM evil\nRUN --mount=type=secret,id=s true; ls {v}"
        );
        let link = space.path(&format!("app/evil{place}"));
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        let _ = std::fs::remove_dir_all(&link);
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        space.write("s", "value");
        let Some(built) = build(&space, "RUN true", &[]) else { return };
        assert!(built.ok);
        space.write("app/Dockerfile", &format!("FROM {}/busybox AS base\n{lines}\n", registry().0));
        let built = space.build(&["--secret", "id=s,src=s", "app"]);
        assert!(!built.stderr.contains("panicked"), "{place}: {}", built.stderr);
        assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0, "{place}: {}", built.stderr);
        std::fs::remove_file(&link).unwrap();
    }
    space.assert_whole();
}

/// CVE-2026-33747: a name that somebody else chose becomes part of a path.
#[test]
fn s9_names_from_outside_are_no_paths() {
    let space = Space::new();
    let climbing = format!("../../../../../../../../../..{}/escaped", space.dir.path().display());
    std::fs::create_dir_all(space.path("named")).unwrap();
    space.write("named/f", "x");
    space.write("s", "value");
    for name in
        [climbing.as_str(), "..", "../escaped", "/escaped", "escaped/../../escaped", "..\\escaped", "C:\\escaped"]
    {
        let lines = format!(
            "RUN --mount=type=cache,id={name},target=/c --mount=type=secret,id={name},target=/s touch /c/x && cat /s || true"
        );
        let secret = format!("id={name},src=s");
        let Some(built) = build(&space, &lines, &["--no-cache", "--secret", &secret]) else { return };
        // A backslash is no part of what a Dockerfile means by it: the step's secret has another name then.
        let given = built.stderr.contains(" value") || name.contains('\\');
        assert!(built.ok && given, "{name}: {}", built.stderr);
        let refused = build(&space, "RUN true", &["-t", name]).unwrap();
        assert_eq!(refused.code, Some(2), "{name}: {}", refused.stderr);
        let context = format!("{name}=named");
        for (lines, flags) in [
            (format!("COPY --from={name} f /f"), &["--build-context", &context][..]),
            (format!("FROM scratch AS {name}"), &["--target", name]),
            (format!("RUN --mount=type=bind,from={name},target=/m true"), &["--build-arg", "x=y"]),
        ] {
            let built = build(&space, &lines, flags).unwrap();
            assert!(!built.stderr.contains("panicked"), "{name}: {}", built.stderr);
        }
        for arguments in [&["inspect", name][..], &["save", "-o", "saved", name], &["rmi", name]] {
            let output = space.kiln(arguments).output().unwrap();
            assert!(!output.status.success(), "{arguments:?}");
        }
    }
    // Digests of an image's manifest are names too.
    for digest in ["sha256:../../../../kept", "../../../../kept", "sha256:", "sha256:escaped"] {
        let descriptor = format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":4,"annotations":{{"org.opencontainers.image.ref.name":"x"}}}}"#
        );
        space.write("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        space.write("layout/index.json", &format!(r#"{{"schemaVersion":2,"manifests":[{descriptor}]}}"#));
        space.write("kept", "kept");
        space.write("app/Dockerfile", "FROM base\nRUN true\n");
        let built = space.build(&["--build-context", "base=oci-layout://layout:x", "app"]);
        assert!(built.code == Some(1) && !built.stderr.contains("panicked"), "{digest}: {}", built.stderr);
    }
    let found = Command::new("find").arg(space.dir.path()).args(["-name", "*escaped*"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    assert!(!Path::new("/escaped").exists());
    space.assert_whole();
}

/// Links in the folder, names with `..` and names of platforms that lead an export out of its folder.
#[test]
fn s14_exports_stay_in_their_folder() {
    let space = Space::new();
    let (out, victim) = (space.path("out"), space.path("victim"));
    for folder in [&out, &victim] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(victim.join("kept"), "kept").unwrap();
    let v = victim.display();
    let rows = |name: &str, lines: &str| -> Option<Built> {
        space.write("app/f", name);
        space.write("app/d/f", name);
        space.write("app/Dockerfile", &format!("FROM scratch\n{lines}\n"));
        have("busybox").then(|| space.build(&["-o", "out", "app"]))
    };
    let untouched = || {
        let names: Vec<_> = std::fs::read_dir(&victim).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names == ["kept"] && std::fs::read_to_string(victim.join("kept")).unwrap() == "kept"
    };
    // An entry of the folder leads out: a file takes the link's place, a directory does not.
    for (link, target, lines, ok) in [
        ("f", format!("{v}/kept"), "COPY f /f", true),
        ("f", format!("{v}/new"), "COPY f /f", true),
        ("d", v.to_string(), "COPY d /d", false),
        ("d", "../victim".to_owned(), "COPY f /d/kept", false),
        ("d", "../victim".to_owned(), "COPY d /d/e/", false),
    ] {
        let _ = std::fs::remove_file(out.join(link));
        std::os::unix::fs::symlink(&target, out.join(link)).unwrap();
        let Some(built) = rows("new", lines) else { return };
        assert_eq!((built.ok, untouched()), (ok, true), "{lines}, {link} -> {target}: {}", built.stderr);
        std::fs::remove_file(out.join(link)).unwrap();
    }
    // An entry of the image leads out, and something is put behind it.
    let _ = std::fs::remove_dir_all(&out);
    std::os::unix::fs::symlink(&victim, space.path("app/l")).unwrap();
    for lines in ["COPY l /l\nCOPY f /l/f", "COPY l /l\nCOPY d /l/", "COPY d /l/d\nCOPY l /l2\nCOPY f /../../l2/f"] {
        let built = rows("new", lines).unwrap();
        assert!(untouched() && !built.stderr.contains("panicked"), "{lines}: {}", built.stderr);
    }
    // Names with `..` are refused or mean the image's root, in a base's layer as in an archive.
    let script = "import io, sys, tarfile\nwith tarfile.open(sys.argv[1], 'w') as tar:\n    for n in ['../up', 'a/../../up', '/../up', 'fine']:\n        if n in sys.argv[2:]:\n            i = tarfile.TarInfo(n); i.size = 1; tar.addfile(i, io.BytesIO(b'x'))\n";
    for name in ["../up", "a/../../up", "/../up", "fine"] {
        if !have("python3") {
            return;
        }
        common::run("python3", &["-c", script, space.path("app/a.tar").to_str().unwrap(), name, "fine"]);
        let _ = std::fs::remove_dir_all(&out);
        let built = rows("new", "ADD a.tar /x/y/").unwrap();
        assert!(!built.ok || out.join("x/y/fine").exists(), "{name}: {}", built.stderr);
        assert!(!space.path("up").exists() && !built.stderr.contains("panicked"), "{name}: {}", built.stderr);
    }
    for platform in ["linux/../../up", "../up", "linux/amd64/../../up"] {
        let built = space.build(&["--platform", platform, "-o", "type=local,dest=out,platform-split=true", "app"]);
        assert_eq!((built.code, space.path("up").exists()), (Some(2), false), "{platform}: {}", built.stderr);
    }
    assert!(untouched());
    space.assert_whole();
}

/// CVE-2022-27651 and others: groups and inheritable capabilities.
#[test]
fn s23_s38_capabilities_and_groups_are_what_they_should_be() {
    let space = Space::new();
    let lines = "RUN adduser -D -u 1234 joe 2>/dev/null || echo 'joe:x:1234:1234::/:/bin/sh' >> /etc/passwd; echo 'team:x:77:joe' >> /etc/group\nUSER joe\nRUN grep -E 'Cap|Groups' /proc/self/status";
    let Some(built) = build(&space, lines, &[]) else { return };
    for said in [
        "CapInh:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapAmb:\t0000000000000000",
    ] {
        assert!(built.stderr.contains(said), "{said}: {}", built.stderr);
    }
    assert!(!is_root() || built.stderr.contains("77"), "{}", built.stderr);
}

/// CVE-2019-14271: what the builder reads of an image it reads itself.
#[test]
fn s33_nothing_of_an_image_runs_on_the_host() {
    let space = Space::new();
    let marker = space.path("ran-on-the-host");
    for tool in ["tar", "xz", "gzip", "git", "newuidmap", "getent"] {
        let path = space.write(&format!("app/bin/{tool}"), &format!("#!/bin/sh\ntouch {}\n", marker.display()));
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut tar = std::fs::File::create(space.path("app/a.tar.xz")).unwrap();
    tar.write_all(b"\xfd7zXZ\0not really").unwrap();
    let Some(built) = build(&space, "COPY bin /usr/local/bin\nCOPY --chown=bin:bin bin /b\nUSER bin\nRUN true", &[])
    else {
        return;
    };
    assert!(!built.stderr.contains("panicked"));
    let built = build(&space, "COPY bin /usr/local/bin\nADD a.tar.xz /x/", &[]).unwrap();
    assert!(!built.stderr.contains("panicked"));
    assert!(!Path::new(&marker).exists());
}

/// CVE-2025-54059: what is written may be read by others, never changed by them.
#[test]
fn s36_nothing_is_writable_by_others() {
    let space = Space::new();
    let Some(built) = build(&space, "RUN echo x > /x", &["-o", "out", "-t", "x", "--iidfile", "id"]) else { return };
    assert!(built.ok);
    for place in ["store/refs-v1", "store/cache-v2", "store/store-v1/blobs", "id"] {
        let found =
            Command::new("find").arg(space.path(place)).args(["-perm", "/002", "!", "-type", "l"]).output().unwrap();
        assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    }
}

#[test]
fn limits_of_processes_hold_and_change_no_key() {
    let space = Space::new();
    let flags = ["--ulimit", "nofile=33:44", "--ulimit", "fsize=4096", "--shm-size", "1m"];
    let lines = "RUN ulimit -n; ulimit -Hn; df -k /dev/shm | tail -n 1; head -c 100000 /dev/zero > /big || echo too big; rm -f /big";
    let Some(built) = build(&space, lines, &flags) else { return };
    for said in [" 33\n", " 44\n", "1024 ", "too big"] {
        assert!(built.ok && built.stderr.contains(said), "{said}: {}", built.stderr);
    }
    assert!(build(&space, lines, &[]).unwrap().ran.is_empty(), "limits are no part of a key");
    assert_eq!(build(&space, "RUN true", &["--ulimit", "files=1"]).unwrap().code, Some(2));
}

/// The network that is not there: no names, no sockets of the host.
#[test]
fn s35_no_network_means_none() {
    let space = Space::new();
    let lines = "RUN --network=none cat /proc/net/unix | tail -n +2 | wc -l; nslookup localhost 127.0.0.1 || echo no names; wget -q -T 2 -O- http://169.254.169.254/ || echo no metadata";
    let Some(built) = build(&space, lines, &[]) else { return };
    assert!(built.ok && built.stderr.contains("no names") && built.stderr.contains("no metadata"), "{}", built.stderr);
    assert!(built.stderr.contains(" 0\n"), "sockets of the host: {}", built.stderr);
}
