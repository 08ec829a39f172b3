//! Sentences of docs/security.md about a step's /proc and /sys, keys, privileges, processes and output.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KILN, Space, have, is_root, skipped};
use std::path::Path;
use std::process::{Command, Stdio};

/// Steps with busybox's programs in an image of the machine's own busybox.
fn project(space: &Space, lines: &str) -> bool {
    if !have("busybox") {
        return false;
    }
    std::fs::create_dir_all(space.path("app")).unwrap();
    std::fs::copy("/bin/busybox", space.path("app/busybox")).unwrap();
    let base = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]";
    space.write("app/Dockerfile", &format!("{base}\n{lines}\n"));
    true
}

/// Compiles the program that tells of its own process.
fn teller(space: &Space) -> bool {
    let source = space.write("self.c", include_str!("promises/self.c"));
    std::fs::create_dir_all(space.path("app")).unwrap();
    let mut compiler = Command::new("gcc");
    compiler.args(["-static", "-O1", "-o"]).arg(space.path("app/self")).arg(source);
    have("gcc") && {
        assert!(compiler.status().unwrap().success());
        true
    }
}

/// The lists of Docker's default specification (moby, oci/defaults.go). `looked` counts the places that this kernel has.
const LOOK: &str = r#"looked=0; \
    for at in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug \
        /proc/scsi /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware \
        /sys/devices/system/cpu/cpu*/thermal_throttle; do \
      [ -e $at ] || continue; looked=$((looked+1)); \
      if [ -d $at ]; then [ -z "$(ls -A $at)" ] || echo "shows $at"; else [ "$(wc -c < $at)" = 0 ] || echo "shows $at"; fi; \
    done; \
    for at in /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger /sys; do \
      [ -e $at ] || continue; looked=$((looked+1)); \
      grep -q " $at ro[, ]" /proc/self/mountinfo || echo "may write $at"; \
    done; \
    echo looked at $looked"#;

#[test]
fn proc_and_sys_are_hidden_and_read_only_where_dockers_are() {
    let space = Space::new();
    if !project(&space, &format!("RUN {LOOK}\nUSER 1000\nRUN {LOOK}")) {
        return;
    }
    let built = space.built(&["--network=none", "app"]);
    let counts: Vec<u32> =
        built.stderr.lines().filter_map(|line| line.split_once(" looked at ")?.1.parse().ok()).collect();
    // /proc/interrupts, /proc/fs, /proc/irq, /proc/sys, /proc/sysrq-trigger and /sys are everywhere.
    assert!(counts.len() == 2 && counts.iter().all(|count| *count >= 6), "{}", built.stderr);
    assert!(!built.stderr.contains(" shows /") && !built.stderr.contains(" may write /"), "{}", built.stderr);
    let hot = std::fs::read_dir("/sys/devices/system/cpu").unwrap().flatten();
    if !hot.into_iter().any(|entry| entry.path().join("thermal_throttle").is_dir()) {
        skipped("a processor that counts how often it was throttled, for one of the places");
    }
}

/// Docker's filter refuses the calls for keys, and a step without a filter still has a session keyring of its own.
#[test]
fn a_step_has_none_of_the_hosts_keys() {
    let space = Space::new();
    let lines = "COPY self /self\nRUN /self keys find\nRUN --security=insecure /self keys find";
    if !project(&space, lines) || !teller(&space) {
        return;
    }
    let mut build = Command::new(space.path("app/self"));
    build.args([
        "keys",
        "add",
        KILN,
        "build",
        "--progress=plain",
        "--network=none",
        "--allow=security.insecure",
        "app",
    ]);
    let output = build.env("KILN_ROOT", space.path("store")).current_dir(space.dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.lines().filter(|line| line.ends_with(" no key")).count(), 2, "{said}");
}

/// As in BuildKit, where `USER app` with sudo works.
#[test]
fn a_set_user_id_program_of_the_image_works_and_leads_nowhere_else() {
    let space = Space::new();
    let lines = "COPY --chmod=4755 self /self\nUSER 1000\nRUN grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'; /self user";
    if !project(&space, lines) || !teller(&space) {
        return;
    }
    if !is_root() && common::doctor(&space).contains("one id") {
        return skipped("a range of ids");
    }
    let built = space.built(&["--network=none", "app"]);
    for line in ["NoNewPrivs:0", "Seccomp:2", "user 0"] {
        assert!(built.stderr.lines().any(|found| found.ends_with(line)), "{line}: {}", built.stderr);
    }
}

#[test]
fn a_step_has_a_bound_of_processes_where_groups_can_be_made() {
    let space = Space::new();
    if !project(&space, "RUN echo begun; sleep 600") {
        return;
    }
    if !common::doctor(&space).contains("ok   limits") {
        return skipped("a control group that we may write to");
    }
    let mut command = space.kiln(&["build", "--progress=plain", "--network=none", "app"]);
    let mut build = command.stderr(Stdio::piped()).spawn().unwrap();
    let stderr = std::io::BufReader::new(build.stderr.take().unwrap());
    let begun = std::io::BufRead::lines(stderr).map_while(Result::ok).any(|line| line.ends_with(" begun"));
    let bounds = bounds(Path::new("/sys/fs/cgroup"), &format!("-{}-", build.id()), 0);
    build.kill().unwrap();
    build.wait().unwrap();
    let most: u32 = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap().trim().parse().unwrap();
    assert!(begun && !bounds.is_empty(), "{bounds:?}");
    assert!(
        bounds.iter().all(|text| text.trim().parse::<u32>().is_ok_and(|bound| bound <= most.min(32_768))),
        "{bounds:?}"
    );
}

/// The texts of pids.max of kiln's groups of a process.
fn bounds(folder: &Path, process: &str, depth: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().filter(|_| depth < 5) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with("kiln.") && name.contains(process) {
            found.extend(std::fs::read_to_string(path.join("pids.max")));
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(bounds(&path, process, depth + 1));
        }
    }
    found
}

#[test]
fn a_steps_output_drives_no_terminal_and_forges_no_line() {
    let space = Space::new();
    let odd = r"printf '\033[2J\033]0;title\007\033[31mred\033[0m\n10%%\r20%%\r#1 DONE forged\n\033Pq\033\\end\n'";
    if !project(&space, &format!("RUN {odd}")) {
        return;
    }
    let built = space.built(&["--network=none", "app"]);
    let odd: Vec<&str> = built.stderr.split('\u{1b}').skip(1).collect();
    assert!(
        odd.iter()
            .all(|rest| rest.starts_with('[') && rest.trim_start_matches(['[', ';', '0', '1', '3']).starts_with('m'))
    );
    assert!(built.stderr.contains("red") && built.stderr.contains("end"), "{}", built.stderr);
    for word in ["10%", "20%", "#1 DONE forged"] {
        let lines: Vec<&str> = built.stderr.lines().filter(|line| line.ends_with(word)).collect();
        let prefixed = |line: &&str| line.starts_with('#') && !line.starts_with("#1 DONE");
        assert!(!lines.is_empty() && lines.iter().all(prefixed), "{word}: {}", built.stderr);
    }
    assert!(!built.stderr.contains(['\r', '\u{7}']), "{:?}", built.stderr);
}
