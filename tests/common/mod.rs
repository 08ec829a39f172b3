//! Shared by the integration tests: the binary with a store of its own, base images in a real registry, and ways to
//! say what is missing instead of passing without a look.
#![allow(dead_code, unused_imports, unused_macros, clippy::unwrap_used, clippy::zombie_processes, missing_docs)]

pub mod dockerd;
mod lacks;

pub use lacks::{have, skipped, visible};

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ends a test on a machine that lacks one of these programs, which `have` tells.
macro_rules! needs {
    ($($program:expr),+ $(,)?) => {
        if !($(common::have($program))&&+) {
            return;
        }
    };
}
pub(crate) use needs;

pub const KILN: &str = env!("CARGO_BIN_EXE_kiln");

/// A store and a folder to work in, gone with the test.
pub struct Space {
    pub dir: tempfile::TempDir,
}

/// The outcome of a build.
#[derive(Debug)]
pub struct Built {
    pub ok: bool,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// The steps that ran, in order of their begin, without their `[stage 1/2]`.
    pub ran: Vec<String>,
}

impl Space {
    pub fn new() -> Space {
        Space { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A command of kiln on this space's store.
    pub fn kiln(&self, args: &[&str]) -> Command {
        let mut command = Command::new(KILN);
        command.args(args).env("KILN_ROOT", self.path("store")).current_dir(self.dir.path());
        for name in ["SOURCE_DATE_EPOCH", "KILN_EVENT_LOG", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
        command
    }

    /// `kiln build ARGS`, with the list of steps that ran.
    pub fn build(&self, args: &[&str]) -> Built {
        let log = self.path(&format!("events-{:?}", std::thread::current().id()).replace(['(', ')'], ""));
        let _ = std::fs::remove_file(&log);
        let mut command = self.kiln(&["build", "--progress=plain"]);
        let output = command.args(args).env("KILN_EVENT_LOG", &log).output().unwrap();
        Built {
            ok: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            ran: ran(&log),
        }
    }

    /// Builds and insists that it works.
    pub fn built(&self, args: &[&str]) -> Built {
        let built = self.build(args);
        assert!(built.ok, "kiln build {args:?} failed:\n{}", built.stderr);
        built
    }

    /// No process and no mount is left, and everything in the store is whole.
    pub fn assert_whole(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.dir.path().to_str().unwrap()), "a mount is left:\n{mounts}");
        let fsck = self.kiln(&["fsck"]).output().unwrap();
        assert!(fsck.status.success(), "fsck: {}", String::from_utf8_lossy(&fsck.stdout));
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // Files of a rootless build belong to ids that only kiln can remove.
        let _ = self.kiln(&["prune", "--all"]).output();
    }
}

/// The steps that began, by an event log.
pub fn ran(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let begun =
        events.filter(|event| event["event"] == "begin").map(|event| event["name"].as_str().unwrap().to_owned());
    begun
        .filter(|name| name.starts_with('[') && !name.starts_with("[internal]"))
        .map(|name| name.split_once("] ").unwrap().1.to_owned())
        .collect()
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// True for root. Any other user is told which deed a test leaves out.
pub fn by_root(deed: &str) -> bool {
    if !is_root() {
        skipped(&format!("root, to {deed}"));
    }
    is_root()
}

/// The report of `kiln doctor`.
pub fn doctor(space: &Space) -> String {
    String::from_utf8_lossy(&space.kiln(&["doctor"]).output().unwrap().stdout).into_owned()
}

pub fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output().unwrap_or_else(|cause| panic!("{program}: {cause}"));
    assert!(
        output.status.success(),
        "{program} {args:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The registry with the conformance bases: `localhost:PORT`, and the folder with their layouts. Started once a process;
/// ends with it.
pub fn registry() -> &'static (String, PathBuf) {
    static REGISTRY: OnceLock<(String, PathBuf)> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bases-{}", std::process::id()));
        let port = free_port();
        let script = repository().join("testdata/conformance/bases.sh");
        let output =
            Command::new("bash").arg(script).arg(&dir).arg("--serve").env("PORT", port.to_string()).output().unwrap();
        assert!(output.status.success(), "bases.sh: {}", String::from_utf8_lossy(&output.stderr));
        end_with_us(&dir.join("registry.pid"), &dir);
        (format!("localhost:{port}"), dir)
    })
}

/// A watcher that ends a server when this process is gone.
fn end_with_us(pid_file: &Path, dir: &Path) {
    let script = format!(
        "while kill -0 {} 2>/dev/null; do sleep 0.5; done; kill $(cat {}); rm -rf {}",
        std::process::id(),
        pid_file.display(),
        dir.display()
    );
    let null = || std::process::Stdio::null();
    Command::new("setsid").args(["bash", "-c", &script]).stdin(null()).stdout(null()).stderr(null()).spawn().unwrap();
}

/// A port for a server that is started next. None of those that the kernel gives to whoever asks for any (ip(7),
/// ip_local_port_range): it could give it away again before the server has it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    let ports = std::iter::repeat_with(|| first.wrapping_add(NEXT.fetch_add(1, Ordering::SeqCst)) % 12_000 + 20_000);
    let mut ports = ports.map(|port| u16::try_from(port).unwrap());
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// A layout of Debian from real packages, as `NAME=oci-layout://...`; made once by `testdata/debian.sh`.
pub fn debian(name: &str) -> String {
    static DEBIAN: OnceLock<PathBuf> = OnceLock::new();
    let layout = DEBIAN.get_or_init(|| {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("debian");
        let script = repository().join("testdata/debian.sh");
        let output = Command::new("bash").arg(script).arg(&dir).output().unwrap();
        assert!(
            output.status.success(),
            "debian.sh: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        dir.join("layout")
    });
    format!("{name}=oci-layout://{}:latest", layout.display())
}
