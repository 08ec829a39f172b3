//! The network of a RUN: what it reaches and what it must not, with each carrier and with none, as whoever runs the tests
//! and as another, ordinary user of the machine. Everything happens in a network namespace of the test's own, with a server
//! outside of the steps' reach and one within it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KILN, Space, have, is_root, needs, skipped};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A network with a way out; a web server that anybody reaches at 10.9.9.9:8000, one at the host's own address 10.9.0.1 and one
/// on the loopback at port 8001; nameservers on several addresses, by UDP and TCP, that know two names; who is heard by UDP
/// and TCP at port 9000 of the loopback and of 10.9.9.9; an abstract socket of the host's; a user without a range of ids
/// (4242) and one with (4243); /dev/net/tun for everybody.
const LAB: &str = include_str!("network/lab.sh");

/// The user who runs kiln in the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// The user who runs the tests.
    We,
    /// An ordinary user of the machine, without a range of ids.
    Single,
    /// One with a range.
    Range,
}

impl Who {
    /// All that can be here.
    fn all() -> &'static [Who] {
        if is_root() && have("setpriv") && have("newuidmap") { &[Who::We, Who::Single, Who::Range] } else { &[Who::We] }
    }

    fn command(self) -> String {
        let id = match self {
            Who::We => return String::new(),
            Who::Single => 4242,
            Who::Range => 4243,
        };
        format!("setpriv --reuid={id} --regid={id} --clear-groups env HOME=\"$DIR\" KILN_ROOT=\"$DIR/store-{id}\" ")
    }
}

/// A lab, and what is different in it.
struct Lab<'a> {
    space: &'a Space,
    who: Who,
    /// The host's PATH.
    path: Option<&'a Path>,
    /// The mode of /dev/net/tun.
    tun: &'a str,
    /// A command that runs kiln.
    by: &'a str,
}

impl<'a> Lab<'a> {
    /// None where there can be none.
    fn new(space: &'a Space) -> Option<Lab<'a>> {
        if !["busybox", "ip", "python3", "unshare", "pasta"].iter().all(|program| have(program)) {
            return None;
        }
        let tun = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
        if rustix::fs::access("/dev/net/tun", tun).is_err() {
            skipped("a /dev/net/tun that we may open");
            return None;
        }
        std::fs::create_dir_all(space.path("app")).unwrap();
        std::fs::copy("/bin/busybox", space.path("app/busybox")).unwrap();
        Some(Lab { space, who: Who::We, path: None, tun: "666", by: "" })
    }

    fn run(&self, command: &str) -> Output {
        let path = self.path.map_or(String::new(), |path| format!("PATH={} ", path.display()));
        let who = self.who.command();
        let command = if who.is_empty() { format!("{path}{command}") } else { format!("{who}{path}{command}") };
        let mut unshare = Command::new("unshare");
        unshare.args(if is_root() { &["-n", "-m"][..] } else { &["-U", "-r", "-n", "-m"] });
        unshare.args(["--kill-child", "-p", "--fork", "--mount-proc", "bash", "-c", &format!("{LAB}\n{command}")]);
        unshare
            .env("DIR", self.space.dir.path())
            .env("KILN_ROOT", self.space.path("store"))
            .env("TUN", self.tun)
            .env("KILN", KILN);
        unshare.current_dir(self.space.dir.path()).output().unwrap()
    }

    fn build(&self, lines: &str, flags: &str) -> Output {
        self.space.write(
            "app/Dockerfile",
            &format!("FROM scratch\nCOPY . /bin/\nRUN [\"/bin/busybox\", \"--install\", \"/bin\"]\n{lines}\n"),
        );
        self.run(&format!("{} $DIR/kiln build --progress=plain --no-cache {flags} app", self.by))
    }
}

/// Builds a Dockerfile in the lab; none where there can be no lab.
fn build(space: &Space, lines: &str, flags: &str, path: Option<&Path>) -> Option<Output> {
    Some(Lab { path, ..Lab::new(space)? }.build(lines, flags))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_lines(text: &str, ends: &[&str], count: usize) {
    for end in ends {
        assert_eq!(text.lines().filter(|line| line.ends_with(end)).count(), count, "{end}: {text}");
    }
}

/// The tries of a step, each with a line of its own. The pipe to `nc` stays open: its end would close the connection.
const TRIES: &str = "RUN mkfifo /asked; ask() { { printf 'GET /page\\r\\n\\r\\n'; sleep 60; } > /asked & nc -w 5 $1 $2 < /asked; }; \
     ask 10.9.9.9 8000 || echo no way out; \
     ask 127.0.0.1 8001 || echo no host; \
     nslookup server.lab | grep -q 10.9.9.9 && echo has names; \
     grep -c kiln-test-abstract /proc/net/unix | sed 's/^/abstract /'; \
     ls /sys/class/net | tr '\\n' ' '; rm /asked";
const REACHED: [&str; 4] = ["reached outside", "no host", "has names", "abstract 0"];

/// A folder with the named programs alone.
fn only(space: &Space, programs: &[&str]) -> std::path::PathBuf {
    let dir = space.path("programs");
    std::fs::create_dir_all(&dir).unwrap();
    for program in programs {
        let found =
            ["/usr/bin", "/bin", "/usr/sbin"].iter().map(|dir| Path::new(dir).join(program)).find(|path| path.exists());
        std::os::unix::fs::symlink(found.unwrap(), dir.join(program)).unwrap();
    }
    dir
}

/// A program that does not do what its name says.
fn sham(space: &Space, program: &str, lines: &str) {
    let path = space.write(&format!("programs/{program}"), &format!("#!/bin/sh\n{lines}\n"));
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn a_step_reaches_others_but_neither_the_host_s_loopback_nor_its_abstract_sockets() {
    for who in Who::all() {
        let space = Space::new();
        let Some(lab) = Lab::new(&space) else { return };
        let output = Lab { who: *who, ..lab }.build(&[TRIES, TRIES].join("\n"), "");
        let text = text(&output);
        assert!(output.status.success(), "{who:?}: {text}");
        assert_lines(&text, &REACHED, 2);
        assert!(!text.contains("host's network"), "{who:?}: {text}");
    }
}

#[test]
fn slirp4netns_serves_where_pasta_is_not() {
    needs!("slirp4netns");
    for who in Who::all() {
        let space = Space::new();
        let path = only(&space, &["slirp4netns", "newuidmap", "newgidmap"]);
        let Some(lab) = Lab::new(&space) else { return };
        let output = Lab { who: *who, path: Some(&path), ..lab }.build(TRIES, "");
        let text = text(&output);
        assert!(output.status.success(), "{who:?}: {text}");
        assert_lines(&text, &REACHED, 1);
        assert!(!text.contains("host's network"), "{who:?}: {text}");
    }
}

/// Looks a name up by UDP, and by TCP with a question of its own.
const LOOK_UP: &str = "RUN cat /etc/resolv.conf; server=$(sed -n 's/^nameserver //p' /etc/resolv.conf | head -n 1); \
     nslookup server.lab | grep 10.9.9.9; \
     { printf '\\000\\034kk\\001\\000\\000\\001\\000\\000\\000\\000\\000\\000\\006server\\003lab\\000\\000\\001\\000\\001'; sleep 1; } | \
     nc -w 2 $server 53 | od -An -tx1 | tr -d '\\n' | grep -q '0a 09 09 09' && echo by TCP too";

#[test]
fn names_resolve_whatever_nameserver_the_host_has() {
    let carriers: [Option<&[&str]>; 2] = [None, Some(&["slirp4netns"])];
    for carrier in carriers.into_iter().filter(|carrier| carrier.is_none() || have("slirp4netns")) {
        for servers in [
            "nameserver 127.0.0.1\n",
            "nameserver 127.0.0.53\n",
            "nameserver 10.9.9.9\n",
            "nameserver 10.9.0.1\n",
            "nameserver ::1\n",
            "",
            "nameserver 127.0.0.77\nnameserver 127.0.0.1\n",
            "nameserver 10.9.9.9\nnameserver 127.0.0.77\n",
        ] {
            let space = Space::new();
            space.write("resolv.conf", &format!("{servers}search lab\noptions timeout:3\n"));
            let path = carrier.map(|programs| only(&space, programs));
            let Some(output) = build(&space, LOOK_UP, "", path.as_deref()) else { return };
            let text = text(&output);
            assert!(output.status.success(), "{servers}: {text}");
            let wanted = ["search lab", "options timeout:3", "by TCP too"];
            assert!(wanted.iter().all(|line| text.contains(line)), "{servers}: {text}");
        }
    }
}

/// kiln answers at port 53 of 127.0.0.11 alone.
#[test]
fn a_step_may_serve_names_at_any_address_but_not_at_all_of_them() {
    let space = Space::new();
    let one = "httpd -f -p 127.0.0.1:53 & server=$!; sleep 1; kill $server && echo one address";
    let Some(output) =
        build(&space, &format!("RUN {one}; timeout 5 nc -l -p 53 < /dev/null || echo not all; true"), "", None)
    else {
        return;
    };
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert_lines(&text, &[" one address", " not all", "Address already in use"], 1);
}

#[test]
fn a_name_that_does_not_resolve_is_told_with_a_way_out() {
    let space = Space::new();
    let Some(output) = build(&space, "RUN wget http://nobody.lab/", "", None) else { return };
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("bad address") && text.contains("kiln doctor") && text.contains("--network=host"), "{text}");
}

#[test]
fn without_a_carrier_the_host_s_network_is_used_and_that_is_said_once() {
    let space = Space::new();
    let path = only(&space, &[]);
    let Some(output) = build(&space, &[TRIES, TRIES].join("\n"), "", Some(&path)) else { return };
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("reached outside") && text.contains("reached the host"), "{text}");
    assert_eq!(
        text.matches("RUN has the host's network, because neither pasta nor slirp4netns is installed").count(),
        1,
        "{text}"
    );
}

#[test]
fn a_carrier_that_fails_says_why_and_the_next_one_is_tried() {
    let space = Space::new();
    needs!("slirp4netns");
    let path = only(&space, &["slirp4netns"]);
    sham(&space, "pasta", "echo the moon is full >&2; exit 1");
    let Some(output) = build(&space, &[TRIES, TRIES].join("\n"), "", Some(&path)) else { return };
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    assert_lines(&told, &REACHED, 2);
    let note = "slirp4netns carries the network of RUN instead, because pasta: it ended at once: the moon is full";
    assert_eq!(told.matches(note).count(), 1, "{told}");

    std::fs::remove_file(path.join("slirp4netns")).unwrap();
    sham(&space, "slirp4netns", "echo so is the jar >&2; exit 1");
    let told = text(&build(&space, &[TRIES, TRIES].join("\n"), "", Some(&path)).unwrap());
    let reasons = "pasta: it ended at once: the moon is full; slirp4netns: it ended at once: so is the jar";
    assert_eq!(told.matches(&format!("RUN has the host's network, because {reasons}")).count(), 1, "{told}");
}

#[test]
fn a_closed_device_is_named_with_the_command_that_opens_it() {
    if !Who::all().contains(&Who::Range) {
        return skipped("root, setpriv and newuidmap");
    }
    let space = Space::new();
    let Some(lab) = Lab::new(&space) else { return };
    let output = Lab { who: Who::Range, tun: "600", ..lab }.build("RUN echo ran", "");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("/dev/net/tun can't be opened (Permission denied); `sudo chmod 0666 /dev/net/tun`"),
        "{text}"
    );
}

#[test]
fn a_user_without_a_range_is_told_the_command_that_gives_one() {
    if !Who::all().contains(&Who::Single) {
        return skipped("root, setpriv and newuidmap");
    }
    let space = Space::new();
    let Some(lab) = Lab::new(&space) else { return };
    let output = Lab { who: Who::Single, ..lab }.build("RUN echo ran", "");
    let text = text(&output);
    // Above the range of the other user.
    let command = "`sudo usermod --add-subuids 465536-531071 --add-subgids 465536-531071 lab-single`";
    assert!(output.status.success() && text.contains(command), "{text}");
}

#[test]
fn none_is_loopback_alone_and_host_needs_leave() {
    let space = Space::new();
    let lines = TRIES.replacen("RUN ", "RUN --network=none ", 1);
    let Some(output) = build(&space, &lines, "", None) else { return };
    let none = text(&output);
    assert!(output.status.success(), "{none}");
    for line in ["no way out", "no host", "abstract 0", " lo "] {
        assert!(none.lines().any(|found| found.ends_with(line)), "{line}: {none}");
    }
    let lines = TRIES.replacen("RUN ", "RUN --network=host ", 1);
    let refused = build(&space, &lines, "", None).unwrap();
    assert!(text(&refused).contains("network.host is not allowed"), "{}", text(&refused));
    let allowed = text(&build(&space, &lines, "--allow network.host", None).unwrap());
    assert!(allowed.contains("reached the host") && allowed.contains("abstract 1"), "{allowed}");
}

#[test]
fn host_gateway_is_where_the_host_is_reached() {
    for carrier in ["pasta", "slirp4netns"].into_iter().filter(|carrier| have(carrier)) {
        let space = Space::new();
        let path = only(&space, &[carrier]);
        let lines = TRIES.replace("10.9.9.9 8000", "machine 8000");
        let Some(output) = build(&space, &lines, "--add-host machine:host-gateway", Some(&path)) else { return };
        let text = text(&output);
        assert!(output.status.success(), "{text}");
        assert_lines(&text, &REACHED, 1);
    }
}

/// Compiles a C program into the context; false where that can't be done.
fn compile(space: &Space, name: &str, source: &str) -> bool {
    let source = space.write(&format!("{name}.c"), source);
    std::fs::create_dir_all(space.path("app")).unwrap();
    let compiled = have("gcc")
        && Command::new("gcc")
            .args(["-static", "-O1", "-o"])
            .args([space.path("app").join(name), source])
            .status()
            .unwrap()
            .success();
    if !compiled {
        skipped("gcc that makes static programs");
    }
    compiled
}

/// Writes frames of its own making to the neighbour that answers for everybody: UDP and the first of TCP, to port 9000 of
/// addresses of the loopback, by each way past the kernel's own checks; and to 10.9.9.9, to show that frames do leave.
const FRAMES: &str = include_str!("network/frames.c");

#[test]
fn no_packet_of_a_step_s_own_making_reaches_the_host_s_loopback() {
    for carrier in ["pasta", "slirp4netns"].into_iter().filter(|carrier| have(carrier)) {
        for who in Who::all() {
            let space = Space::new();
            let path = only(&space, &[carrier]);
            if !compile(&space, "frames", FRAMES) {
                return;
            }
            let Some(lab) = Lab::new(&space) else { return };
            let steps = "RUN /bin/frames\nRUN --security=insecure /bin/frames";
            let lab = Lab { who: *who, path: Some(&path), ..lab };
            let output = lab.build(steps, "--allow security.insecure");
            let text = text(&output);
            assert!(output.status.success(), "{text}");
            assert_lines(&text, &["sent to ::1", "past queues", "all sent"], 2);
            let heard = std::fs::read_to_string(space.path("heard")).unwrap();
            assert!(heard.contains("heard at 10.9.9.9"), "{carrier} {who:?}: nothing left: {text}");
            assert!(!heard.contains("127.") && !heard.contains("::"), "{carrier} {who:?}: {heard}");
        }
    }
}

#[test]
fn a_step_whose_packets_can_t_be_held_back_can_make_none() {
    let space = Space::new();
    if !compile(&space, "frames", FRAMES) {
        return;
    }
    let Some(lab) = Lab::new(&space) else { return };
    space.write("forbid.py", include_str!("network/forbid.py"));
    let output = Lab { by: "python3 forbid.py", ..lab }.build(&format!("{TRIES}; /bin/frames 2>&1"), "");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert_lines(&text, &REACHED, 1);
    assert!(text.contains("no packet socket") && text.contains("no raw socket"), "{text}");
    assert_eq!(text.matches("RUN has no raw sockets (CAP_NET_RAW)").count(), 1, "{text}");
    assert!(!std::fs::read_to_string(space.path("heard")).unwrap().contains("heard"), "{text}");
}

const VSOCK: &str = include_str!("network/vsock.c");

#[test]
#[cfg(target_arch = "x86_64")]
fn without_a_network_no_32_bit_call_hides_the_family_of_a_socket() {
    let space = Space::new();
    if !compile(&space, "vsock", VSOCK) {
        return;
    }
    let Some(output) = build(&space, "RUN --network=none /bin/vsock\nRUN /bin/vsock", "", None) else { return };
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert_lines(&text, &[" no vsock by socketcall", " no inet by socketcall"], 1);
    // The C library of i386 makes its sockets that way, so with a network it works.
    assert_eq!(text.lines().filter(|line| line.ends_with(" inet by socketcall") && !line.contains(" no ")).count(), 1);
}

#[test]
fn doctor_looks_a_name_up_and_connects() {
    for who in Who::all() {
        let space = Space::new();
        let Some(lab) = Lab::new(&space) else { return };
        let lab = Lab { who: *who, ..lab };
        let output = lab.run("$DIR/kiln doctor");
        let well = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = "RUN has a network of its own, by pasta: registry-1.docker.io resolves and answers";
        assert!(
            well.lines().any(|found| found.starts_with("ok   network") && found.ends_with(line)),
            "{who:?}: {well}"
        );
    }
    // The name is in a file of the host's, but its nameserver says nothing.
    let space = Space::new();
    space.write("resolv.conf", "nameserver 10.9.9.8\n");
    let lab = Lab::new(&space).unwrap();
    let known = "cat /etc/hosts > hosts; echo 10.9.9.9 registry-1.docker.io >> hosts; mount --bind hosts /etc/hosts";
    let output = lab.run(&format!("true; {known}; $DIR/kiln doctor"));
    let ill = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(ill.contains("lack network") && ill.contains("does not resolve: 10.9.9.8"), "{ill}");
    assert!(ill.contains("--allow network.host"), "{ill}");
}

/// A build of one step in the host's own network, until the step has begun.
fn begun(space: &Space) -> Option<std::process::Child> {
    if !have("pasta") || !have("busybox") {
        return None;
    }
    std::fs::create_dir_all(space.path("app")).unwrap();
    std::fs::copy("/bin/busybox", space.path("app/busybox")).unwrap();
    space.write("app/Dockerfile", "FROM scratch\nCOPY busybox /bin/sh\nRUN echo begun; sleep 600\n");
    let mut build =
        space.kiln(&["build", "--progress=plain", "app"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let stderr = std::io::BufReader::new(build.stderr.take().unwrap());
    let begun = std::io::BufRead::lines(stderr).map_while(Result::ok).any(|line| line.ends_with(" begun"));
    assert!(begun);
    Some(build)
}

#[test]
fn a_killed_build_leaves_no_carrier_and_no_mount() {
    let space = Space::new();
    let Some(mut build) = begun(&space) else { return };
    let left = children(build.id());
    assert!(!left.is_empty());
    build.kill().unwrap();
    build.wait().unwrap();
    // They end with the threads that started them, which the kernel has just ended.
    for process in left {
        while Path::new(&format!("/proc/{process}/ns/net")).exists() && alive(process) {
            std::thread::yield_now();
        }
    }
    space.assert_whole();
}

#[test]
fn steps_at_once_have_networks_that_work_each() {
    let space = Space::new();
    let branches = |line: &dyn Fn(u32) -> String| (0..6).map(line).collect::<Vec<_>>().join("\n");
    let stages = branches(&|at| format!("FROM base AS s{at}\n{TRIES} && touch /done{at}"));
    let copies = branches(&|at| format!("COPY --from=s{at} /done{at} /"));
    let Some(lab) = Lab::new(&space) else { return };
    let first = "FROM scratch AS base\nCOPY . /bin/\nRUN [\"/bin/busybox\", \"--install\", \"/bin\"]";
    space.write("app/Dockerfile", &format!("{first}\n{stages}\nFROM scratch\n{copies}\n"));
    let output = lab.run("$DIR/kiln build --progress=plain --no-cache app");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert_lines(&text, &REACHED, 6);
}

#[test]
fn a_build_can_be_ended_while_its_carrier_begins() {
    let space = Space::new();
    needs!("busybox");
    std::fs::create_dir_all(space.path("app")).unwrap();
    std::fs::copy("/bin/busybox", space.path("app/busybox")).unwrap();
    space.write("app/Dockerfile", "FROM scratch\nCOPY busybox /bin/sh\nRUN echo begun\n");
    let pid = space.path("pid");
    sham(&space, "pasta", &format!("echo begun > {}; exec /bin/sleep 60", pid.display()));
    let mut build = space
        .kiln(&["build", "--progress=plain", "app"])
        .env("PATH", space.path("programs"))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !pid.exists() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    if !pid.exists() {
        build.kill().unwrap();
        build.wait().unwrap();
        return skipped("a /dev/net/tun that we may open");
    }
    // The step is put together meanwhile and waits.
    std::thread::sleep(Duration::from_millis(500));
    common::run("kill", &["-INT", &build.id().to_string()]);
    let began = Instant::now();
    assert_eq!(build.wait().unwrap().code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

fn children(of: u32) -> Vec<u32> {
    let output = Command::new("pgrep").args(["-P", &of.to_string()]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().parse().unwrap()).collect()
}

fn alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
