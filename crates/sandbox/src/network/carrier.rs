//! The programs that carry a network namespace's packets, and how one is started: in new mount and
//! pid namespaces, with the network namespace bind-mounted at a path that it may open.
//!
//! Like Podman, kiln puts that path beneath /run/user, because the AppArmor profiles of these
//! programs allow that directory. No other process sees the mount.

use super::keeper::Refusal;
use crate::sys::spawn::{self, Failure, Pointers, Surroundings, pointers};
use base::text;
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::ffi::{CStr, CString};
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A program that carries packets. One process of it serves one namespace.
#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) program: &'static str,
    /// The arguments before the path of the namespace.
    before: &'static [&'static str],
    after: &'static [&'static str],
}

/// The device that every carrier opens to make its TAP device.
const TUN: &str = "/dev/net/tun";

/// The carriers, the better one first. They map nothing of the host's loopback and forward no port.
/// The addresses are the same on every machine: by default pasta would use the host's own address,
/// and then a step could not reach the host at it. The addresses of 192.0.0.0/29 (RFC 7335) are in
/// no other network.
const CARRIERS: &[Carrier] = &[
    Carrier {
        program: "pasta",
        before: &[
            "--quiet",
            "--foreground",
            "--config-net",
            "--runas",
            "0",
            "--address",
            "192.0.0.2",
            "--netmask",
            "29",
            "--gateway",
            "192.0.0.1",
            "--ns-ifname",
            "eth0",
            "--no-map-gw",
            "-t",
            "none",
            "-u",
            "none",
            "-T",
            "none",
            "-U",
            "none",
            "--netns-only",
            "--netns",
        ],
        after: &[],
    },
    Carrier {
        program: "slirp4netns",
        before: &[
            "--configure",
            "--mtu=65520",
            "--disable-host-loopback",
            "--enable-sandbox",
            "--enable-seccomp",
            "--netns-type=path",
        ],
        after: &["tap0"],
    },
];

/// True if an address in a step's network differs from the same address on the host's network.
pub(super) fn is_taken(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [192, 0, 0, 0..8] | [10, 0, 2, _])
}

/// The installed carriers with their paths. The error says what is missing.
pub(super) fn usable() -> Result<Vec<(&'static Carrier, PathBuf)>, Refusal> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    let found: Vec<_> = CARRIERS
        .iter()
        .filter_map(|carrier| {
            let program = dirs.iter().map(|dir| dir.join(carrier.program)).find(|program| program.is_file())?;
            Some((carrier, program))
        })
        .collect();
    if found.is_empty() {
        let names: Vec<&str> = CARRIERS.iter().map(|carrier| carrier.program).collect();
        return Err(Refusal {
            why: format!("neither {} is installed", names.join(" nor ")),
            remedy: Some(
                "`sudo apt-get install passt` (Debian, Ubuntu), `sudo dnf install passt` (Fedora, RHEL)".to_owned(),
            ),
        });
    }
    match std::fs::File::options().read(true).write(true).open(TUN) {
        Ok(_) => Ok(found),
        Err(cause) => Err(without_device(&cause)),
    }
}

fn without_device(cause: &std::io::Error) -> Refusal {
    let remedy = match cause.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS) => "`sudo chmod 0666 /dev/net/tun` lets every user open it, as udev does on most machines",
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            "`sudo modprobe tun` makes it; in a container, give it with `--device /dev/net/tun`"
        }
        _ => "in a container, give it with `--device /dev/net/tun`",
    };
    let words = cause.to_string();
    let words = words.split(" (os error").next().unwrap_or_default();
    Refusal { why: format!("{TUN} can't be opened ({words})"), remedy: Some(remedy.to_owned()) }
}

impl Carrier {
    /// Starts the carrier in kiln's own network namespace. The calling thread must outlive it.
    /// Returns the process, and a pipe to read its standard error from.
    pub(super) fn start(&self, program: &Path, namespace: &OwnedFd) -> Result<(OwnedFd, OwnedFd), String> {
        let (complaints, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .and_then(|(read, write)| {
                // The pipe is read only after the carrier has ended, so the carrier must not block
                // on it.
                rustix::io::ioctl_fionbio(&write, true)?;
                rustix::io::ioctl_fionbio(&read, true)?;
                Ok((read, write))
            })
            .map_err(|cause| format!("cannot make a pipe: {cause}"))?;
        let plan = Plan::of(self, program, namespace, tell)?;
        let process = spawn::spawn(Surroundings::default(), &|_| plan.run());
        let process = process.map_err(|failure| {
            format!("cannot start {}: cannot {}: {}", program.display(), failure.doing, failure.errno)
        })?;
        Ok((process, complaints))
    }

    /// An error message: why there is no way out, and what the carrier wrote.
    pub(super) fn failed(&self, why: &str, said: &str) -> String {
        // The carrier repeats that there is no syslog, which says nothing about the failure.
        let lines = said.lines().filter(|line| !line.contains("syslog")).map(str::trim).filter(|line| !line.is_empty());
        let said = text::line(&lines.collect::<Vec<_>>().join(", "), 300);
        if said.is_empty() { format!("{}: {why}", self.program) } else { format!("{}: {why}: {said}", self.program) }
    }
}

/// The data of the child, made before it exists, because it must not allocate.
struct Plan {
    program: CString,
    args: Pointers,
    env: Pointers,
    /// The path of the namespace's descriptor in /proc.
    source: CString,
    /// The directory that a tmpfs is mounted on.
    run: &'static CStr,
    folders: [CString; 2],
    name: CString,
    tell: OwnedFd,
    _strings: (Vec<CString>, Vec<CString>),
}

impl Plan {
    fn of(carrier: &Carrier, program: &Path, namespace: &OwnedFd, tell: OwnedFd) -> Result<Plan, String> {
        let string = |bytes: &[u8]| CString::new(bytes).map_err(|_| "a path holds a zero byte".to_owned());
        let user = rustix::process::geteuid().as_raw();
        let (run, below) =
            if Path::new("/run/user").is_dir() { (c"/run/user", "/run/user") } else { (c"/run", "/run/user") };
        let folders =
            [string(format!("{below}/{user}").as_bytes())?, string(format!("{below}/{user}/netns").as_bytes())?];
        let name = format!("{below}/{user}/netns/kiln");
        let words = std::iter::once(carrier.program).chain(carrier.before.iter().copied()).chain([name.as_str()]);
        let args = words
            .chain(carrier.after.iter().copied())
            .map(|word| string(word.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let env = vec![c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
        Ok(Plan {
            program: string(program.as_os_str().as_bytes())?,
            args: Pointers(pointers(&args)),
            env: Pointers(pointers(&env)),
            source: string(format!("/proc/self/fd/{}", namespace.as_raw_fd()).as_bytes())?,
            run,
            folders,
            name: string(name.as_bytes())?,
            tell,
            _strings: (args, env),
        })
    }

    /// Runs in the child. Returns only if it failed.
    fn run(&self) -> Failure {
        let failed = |doing, errno| Failure { doing, which: 0, errno };
        if let Err(errno) = set_parent_process_death_signal(Some(Signal::KILL)) {
            return failed("be ended with its parent", errno);
        }
        if let Err(errno) = self.name_the_namespace() {
            return failed("name its network namespace", errno);
        }
        if let Err(errno) = self.streams() {
            return failed("set up its streams", errno);
        }
        spawn::reset_signals();
        failed("execute", spawn::execute(&self.program, &self.args.0, &self.env.0))
    }

    fn name_the_namespace(&self) -> Result<(), Errno> {
        mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount(c"tmpfs", self.run, c"tmpfs", flags, None::<&CStr>)?;
        if self.run == c"/run" {
            rustix::fs::mkdirat(CWD, c"/run/user", Mode::from(0o755))?;
        }
        for folder in &self.folders {
            rustix::fs::mkdirat(CWD, folder, Mode::from(0o700))?;
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(CWD, &self.name, flags, Mode::from(0o600))?);
        mount_bind(&*self.source, &*self.name)
    }

    fn streams(&self) -> Result<(), Errno> {
        let null = rustix::fs::openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&self.tell)?;
        // `close_from` closes every descriptor, so this one must be dropped before.
        drop(null);
        spawn::close_from(3)
    }
}
