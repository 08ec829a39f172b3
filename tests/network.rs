//! The network of a RUN: what it reaches and what it must not, with each carrier and with none. Everything happens in a
//! network namespace of the test's own, with a server outside of the steps' reach and one within it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Space, have, is_root, skipped};
use std::path::Path;
use std::process::{Command, Output};

/// A network with a way out, a web server that anybody reaches at 10.9.9.9:8000 and one on the loopback at port 8001, a
/// nameserver on the loopback that knows one name, and an abstract socket of the host's.
const LAB: &str = r#"
set -eu
cd "$DIR"
ip link set lo up
ip addr add 10.9.9.9/32 dev lo
ip link add lab0 type veth peer name lab1; ip link set lab1 up
ip addr add 10.9.0.1/24 dev lab0
ip link set lab0 up
ip route add default via 10.9.0.254 dev lab0
[ -e resolv.conf ] || printf 'nameserver 127.0.0.1\nsearch lab\n' > resolv.conf
mount --bind resolv.conf /etc/resolv.conf
rm -f ready
mkdir -p outside host
echo reached outside > outside/page
echo reached the host > host/page
python3 - <<'PY' &
import http.server, socket, socketserver, threading, functools
secret = socket.socket(socket.AF_UNIX); secret.bind(b"\0kiln-test-abstract"); secret.listen()
for address, folder in (("10.9.9.9", "outside"), ("127.0.0.1", "host")):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    server = socketserver.ThreadingTCPServer((address, 8000 if folder == "outside" else 8001), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
def answer(asked):
    question = asked[12:asked.index(b"\0", 12) + 5]
    known = question.startswith(b"\x06server\x03lab\0\0\x01")
    head = asked[:2] + (b"\x81\x80\0\1\0\1\0\0\0\0" if known else b"\x81\x80\0\1\0\0\0\0\0\0")
    return head + question + (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([10, 9, 9, 9]) if known else b"")
def names(socket):
    while True:
        asked, who = socket.recvfrom(512)
        socket.sendto(answer(asked), who)
for address in ("127.0.0.1", "127.0.0.53", "10.9.9.9", "10.9.0.1"):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind((address, 53))
    threading.Thread(target=names, args=(server,), daemon=True).start()
open("ready", "w").close()
threading.Event().wait()
PY
until [ -e ready ]; do sleep 0.05; done
"#;

/// Builds a Dockerfile in the lab; none where there can be no lab.
fn build(space: &Space, lines: &str, flags: &str, path: Option<&Path>) -> Option<Output> {
    if !["busybox", "ip", "python3", "unshare", "pasta"].iter().all(|program| have(program)) {
        return None;
    }
    let tun = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
    if rustix::fs::access("/dev/net/tun", tun).is_err() {
        skipped("a /dev/net/tun that we may open");
        return None;
    }
    space.write(
        "app/Dockerfile",
        &format!("FROM scratch\nCOPY busybox /bin/\nRUN [\"/bin/busybox\", \"--install\", \"/bin\"]\n{lines}\n"),
    );
    std::fs::copy("/bin/busybox", space.path("app/busybox")).unwrap();
    let path = path.map_or(String::new(), |path| format!("PATH={} ", path.display()));
    let script = format!("{LAB}\n{path}{} build --progress=plain --no-cache {flags} app", common::KILN);
    let mut command = Command::new("unshare");
    command.args(if is_root() { &["-n", "-m"][..] } else { &["-U", "-r", "-n", "-m"] });
    command.args(["--kill-child", "-p", "--fork", "--mount-proc", "bash", "-c", &script]);
    command.env("DIR", space.dir.path()).env("KILN_ROOT", space.path("store")).current_dir(space.dir.path());
    Some(command.output().unwrap())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a step tries, each with a line of its own. The pipe to `nc` stays open: its end would close the connection.
const TRIES: &str = "RUN mkfifo /asked; ask() { { printf 'GET /page\\r\\n\\r\\n'; sleep 60; } > /asked & nc -w 5 $1 $2 < /asked; }; \
     ask 10.9.9.9 8000 || echo no way out; \
     ask 127.0.0.1 8001 || echo no host; \
     nslookup server.lab | grep -q 10.9.9.9 && echo has names; \
     grep -c kiln-test-abstract /proc/net/unix | sed 's/^/abstract /'; \
     ls /sys/class/net | tr '\\n' ' '; rm /asked";

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

#[test]
fn a_step_reaches_others_but_neither_the_host_s_loopback_nor_its_abstract_sockets() {
    let space = Space::new();
    let Some(output) = build(&space, &[TRIES, TRIES].join("\n"), "", None) else { return };
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for line in ["reached outside", "no host", "has names", "abstract 0"] {
        assert_eq!(text.lines().filter(|found| found.ends_with(line)).count(), 2, "{line}: {text}");
    }
    assert!(!text.contains("host's network"), "{text}");
}

#[test]
fn slirp4netns_serves_where_pasta_is_not() {
    let space = Space::new();
    if !have("slirp4netns") {
        return;
    }
    let path = only(&space, &["slirp4netns"]);
    let Some(output) = build(&space, TRIES, "", Some(&path)) else { return };
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for line in ["reached outside", "no host", "has names", "abstract 0"] {
        assert!(text.lines().any(|found| found.ends_with(line)), "{line}: {text}");
    }
}

/// Whether names resolve with this /etc/resolv.conf on the host.
fn resolves(resolv: &str, programs: Option<&[&str]>) -> Option<String> {
    let space = Space::new();
    space.write("resolv.conf", resolv);
    let path = programs.map(|programs| only(&space, programs));
    let output = build(&space, "RUN cat /etc/resolv.conf; nslookup server.lab | grep 10.9.9.9", "", path.as_deref())?;
    let text = text(&output);
    assert!(output.status.success(), "{resolv}: {text}");
    Some(text)
}

#[test]
fn names_resolve_whatever_nameserver_the_host_has() {
    let carriers: [Option<&[&str]>; 2] = [None, Some(&["slirp4netns"])];
    for carrier in carriers.into_iter().filter(|carrier| carrier.is_none() || have("slirp4netns")) {
        for server in ["127.0.0.1", "127.0.0.53", "10.9.9.9", "10.9.0.1"] {
            let resolv = format!("nameserver {server}\nsearch lab\noptions timeout:2\n");
            let Some(text) = resolves(&resolv, carrier) else { return };
            assert!(text.contains("search lab") && text.contains("options timeout:2"), "{text}");
        }
    }
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
fn a_killed_build_leaves_no_carrier_and_no_mount() {
    let space = Space::new();
    if !have("pasta") || !have("busybox") {
        return;
    }
    std::fs::create_dir_all(space.path("app")).unwrap();
    std::fs::copy("/bin/busybox", space.path("app/busybox")).unwrap();
    space.write("app/Dockerfile", "FROM scratch\nCOPY busybox /bin/sh\nRUN echo begun; sleep 600\n");
    let mut build =
        space.kiln(&["build", "--progress=plain", "app"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let stderr = std::io::BufReader::new(build.stderr.take().unwrap());
    let begun = std::io::BufRead::lines(stderr).map_while(Result::ok).any(|line| line.ends_with(" begun"));
    assert!(begun);
    let carriers = || children(build.id());
    assert!(!carriers().is_empty());
    let left = carriers();
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

fn children(of: u32) -> Vec<u32> {
    let output = Command::new("pgrep").args(["-P", &of.to_string()]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().parse().unwrap()).collect()
}

fn alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
