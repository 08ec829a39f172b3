//! Needs of the language, and answers other than images: ssh agents, checks, outlines, frontends.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, have, needs, registry};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

#[test]
fn checks_and_outlines_are_answers_with_an_exit_code() {
    let space = Space::new();
    space.write("app/.git/HEAD", "");
    space.write("app/Dockerfile", "ARG V=1\n# app the one\nFROM scratch AS app\nARG V\nCOPY . /\nCMD echo $V\n");
    let answer = |args: &[&str]| {
        let output = space.kiln(&[&["build", "app"], args].concat()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = answer(&["--check"]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("Check complete, 2 warnings have been found!"), "{text}");
    assert!(text.contains("MissingIgnoreFile") && text.contains("app/Dockerfile:6:1"), "{text}");
    let (code, text) = answer(&["--call=check,format=sarif"]);
    let sarif: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, sarif["runs"][0]["results"].as_array().unwrap().len()), (Some(1), 2));
    let (code, text) = answer(&["--call=outline"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("TARGET:") && text.contains("V           1"), "{text}");
    assert!(answer(&["--call=targets"]).1.contains("app (default)   the one"));
    space.write("app/Dockerfile", "FROM scratch\nLABEL a=b\n");
    assert_eq!(answer(&["--check"]), (Some(0), "Check complete, no warnings found.\n".to_owned()));
    space.write("app/Dockerfile", "FROM scratch\nLABLE a=b\n");
    let (code, text) = answer(&["--check"]);
    assert!(code == Some(1) && text.contains("error[unknown-instruction]") && text.contains("LABEL"), "{text}");
    // The other rules, and the Dockerfile's own choice.
    space.write("app/Dockerfile", "# check=error=true\nFROM scratch\nCMD a\n");
    let failed = space.build(&["app"]);
    assert!(failed.code == Some(1) && failed.stderr.contains("lint violation found for rules: JSONArgsRecommended"));
}

#[test]
fn a_frontend_that_knows_more_is_named_once() {
    let space = Space::new();
    space.write("app/Dockerfile", "# syntax=docker/dockerfile:1\nFROM scratch\nLABEL a=b\n");
    assert!(!space.built(&["app"]).stderr.contains("syntax="));
    let labs = ["--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile:1-labs", "app"];
    assert_eq!(space.built(&labs).stderr.matches("syntax=docker/dockerfile:1-labs").count(), 1);
}

#[test]
fn an_ssh_agent_reaches_the_step_that_asks_and_no_other() {
    needs!("docker-registry", "busybox");
    let space = Space::new();
    let base = format!("FROM {}/busybox\n", registry().0);
    let listener = UnixListener::bind(space.path("agent")).unwrap();
    // An agent that knows no keys.
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 5];
            while stream.read_exact(&mut request).is_ok() {
                stream.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).unwrap();
            }
        }
    });
    space.write("app/Dockerfile", &format!("{base}RUN --mount=type=ssh,mode=0666,uid=7 stat -c '%a %u %F' $SSH_AUTH_SOCK\nRUN echo no=$SSH_AUTH_SOCK; find / -xdev -name 'ssh_agent*'\n"));
    let agent = format!("default={}", space.path("agent").display());
    let built = space.built(&["--ssh", &agent, "app"]);
    assert!(built.stderr.contains("666 7 socket") && built.stderr.contains("no=\n"), "{}", built.stderr);
    assert!(!built.stderr.contains("/ssh_agent.0\n"), "the mount point is in the layer: {}", built.stderr);

    space.write("app/Dockerfile", &format!("{base}RUN --mount=type=ssh,required=true true\n"));
    let failed = space.build(&["app"]);
    assert!(failed.stderr.contains("ssh agent default: not found") && failed.stderr.contains("--ssh default"));
    let failed = space.build(&["--ssh", "default=/nowhere", "app"]);
    assert!(failed.code == Some(2), "{}", failed.stderr);
    space.assert_whole();
}

#[test]
fn an_agent_that_does_not_answer_holds_up_nobody_else() {
    needs!("docker-registry", "busybox");
    let space = Space::new();
    // It listens, and never accepts.
    let _silent = UnixListener::bind(space.path("agent")).unwrap();
    let ask = "for i in $(seq 300); do nc local:$SSH_AUTH_SOCK < /dev/null > /dev/null 2>&1 & done; sleep 1; echo over";
    let text = format!("FROM {}/busybox\nRUN --mount=type=ssh {ask}\nRUN echo next\n", registry().0);
    space.write("app/Dockerfile", &text);
    let agent = format!("default={}", space.path("agent").display());
    let began = std::time::Instant::now();
    let built = space.built(&["--network=none", "--ssh", &agent, "app"]);
    assert!(built.stderr.contains(" over\n") && built.stderr.contains(" next\n"), "{}", built.stderr);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    space.assert_whole();
}

#[test]
fn the_directory_of_an_agents_socket_is_the_users_alone() {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    needs!("docker-registry", "busybox");
    let space = Space::new();
    let _listener = UnixListener::bind(space.path("agent")).unwrap();
    let mount = "RUN --mount=type=ssh,mode=0777,uid=65534 touch /begun; for i in $(seq 200); do sleep 0.1; done";
    space.write("app/Dockerfile", &format!("FROM {}/busybox\n{mount}\n", registry().0));
    let agent = format!("default={}", space.path("agent").display());
    let mut build = space.kiln(&["build", "-q", "--network=none", "--ssh", &agent, "app"]).spawn().unwrap();
    let sockets = || {
        let (mut found, mut todo) = (Vec::new(), vec![space.path("store/store-v1/tmp")]);
        while let Some(folder) = todo.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                    Ok(kind) if kind.is_socket() => found.push(folder.clone()),
                    _ => {}
                }
            }
        }
        found
    };
    let began = std::time::Instant::now();
    while sockets().is_empty() && began.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let modes: Vec<u32> = sockets()
        .iter()
        .filter_map(|folder| std::fs::metadata(folder).ok())
        .map(|metadata| metadata.permissions().mode() & 0o777)
        .collect();
    let _ = build.kill();
    let _ = build.wait();
    assert!(!modes.is_empty() && modes.iter().all(|mode| *mode == 0o700), "{modes:?}");
}

#[test]
fn key_files_are_held_by_an_agent_for_the_build() {
    needs!("ssh-agent", "ssh-keygen", "ssh-add", "docker-registry");
    let space = Space::new();
    let key = space.path("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    // A client's request for the keys, and the number of keys in the answer.
    let ask = "printf '\\\\000\\\\000\\\\000\\\\001\\\\013' | nc local:$SSH_AUTH_SOCK -w 1 | od -An -tu1 | head -n 1";
    space.write("app/Dockerfile", &format!("FROM {}/busybox\nRUN --mount=type=ssh {ask}\n", registry().0));
    let built = space.build(&["--ssh", &format!("default={}", key.display()), "app"]);
    assert!(built.ok, "{}", built.stderr);
    let left = Command::new("pgrep").args(["-f", "ssh-agent -D -a"]).stdout(Stdio::null()).status().unwrap();
    assert!(!left.success(), "an agent is left behind");
}

#[test]
fn a_device_reaches_the_step_that_asks_when_it_is_allowed() {
    if !common::by_root("write /etc/cdi") || !have("docker-registry") || !have("busybox") {
        return;
    }
    let space = Space::new();
    let (kind, path) = (format!("kiln-{}.test/zero", std::process::id()), "/etc/cdi");
    let file = std::path::PathBuf::from(format!("{path}/kiln-{}.json", std::process::id()));
    std::fs::create_dir_all(path).unwrap();
    let spec = format!(
        r#"{{"cdiVersion": "0.6.0", "kind": "{kind}", "devices": [{{"name": "z", "containerEdits": {{
            "env": ["FROM_CDI=yes"], "deviceNodes": [{{"path": "/dev/kilnzero", "hostPath": "/dev/zero"}}]}}}}]}}"#
    );
    std::fs::write(&file, spec).unwrap();
    let run = format!("RUN --device={kind}=z echo $FROM_CDI $(head -c 3 /dev/kilnzero | wc -c)");
    space.write("app/Dockerfile", &format!("FROM {}/busybox\n{run}\nRUN ls /dev\n", registry().0));
    let refused = space.build(&["app"]);
    let built = space.build(&["--allow", "device", "app"]);
    std::fs::remove_file(&file).unwrap();
    assert!(refused.stderr.contains("is not allowed") && refused.ran.is_empty(), "{}", refused.stderr);
    assert!(built.ok && built.stderr.contains(" yes 3\n"), "{}", built.stderr);
    assert!(!built.stderr.contains("kilnzero\n"), "the other step has no such device: {}", built.stderr);
    space.write("app/Dockerfile", &format!("FROM {}/busybox\nRUN --device=a.com/b=c,required true\n", registry().0));
    assert!(space.build(&["--allow", "device=a.com/b=c", "app"]).stderr.contains("device a.com/b=c is not there"));
}

#[test]
fn the_doctor_says_what_the_machine_gives() {
    let space = Space::new();
    let output = space.kiln(&["doctor"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("ok   containers") && text.contains("kiln can build here"),
        "{text}"
    );
    let output = space.kiln(&["doctor", "--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["able"], true);
    // A store where overlayfs can't write.
    let command = space.kiln(&["doctor"]).env("KILN_ROOT", "/proc/kiln").output().unwrap();
    assert!(!command.status.success());
}
