//! `kiln doctor`: checks which features of this machine kiln can use, and says how to enable the
//! others. Features are tried instead of guessed, if possible. It changes nothing except a
//! directory of its own, which it removes.

use base::error::{Error, Kind, Result};
use sandbox::cgroup::{Devices, Groups, Resources};
use sandbox::emulate;
use sandbox::network::{Networks, trial};
use sandbox::surroundings;
use sandbox::sys::kernel;
use sandbox::sys::userns::{self, Identity};
use sandbox::{self, Ended, Network, Spec, Stop, User};
use serde_json::json;
use store::remove::remove_tree;
use store::{Store, owner};

/// The result of one check.
struct Answer {
    what: &'static str,
    good: bool,
    found: String,
    /// The way to enable the feature.
    lift: Option<String>,
}

/// Runs all checks. Returns the text to print, and true if steps can run.
pub fn examine(identity: &Identity, store: &Store, as_json: bool) -> (String, bool) {
    let container = container(identity, store);
    let able = container.good;
    let answers = [
        kernel(),
        who(identity),
        container,
        filter(),
        devices(),
        network(),
        cgroups(),
        emulation(),
        tools(),
        private(store),
        room(store),
    ];
    if as_json {
        let rows = answers.iter().map(
            |answer| json!({"what": answer.what, "good": answer.good, "found": answer.found, "lift": answer.lift}),
        );
        return (format!("{:#}\n", json!({"able": able, "answers": rows.collect::<Vec<_>>()})), able);
    }
    let mut text = String::new();
    for Answer { what, good, found, lift } in &answers {
        text.push_str(&format!("{} {what:<12} {found}\n", if *good { "ok  " } else { "lack" }));
        if let Some(lift) = lift {
            text.push_str(&format!("                  {lift}\n"));
        }
    }
    text.push_str(if able { "\nkiln can build here.\n" } else { "\nRUN can't work here; builds without it do.\n" });
    (text, able)
}

fn answer(what: &'static str, good: bool, found: impl Into<String>, lift: Option<&str>) -> Answer {
    Answer { what, good, found: found.into(), lift: lift.filter(|_| !good).map(str::to_owned) }
}

fn kernel() -> Answer {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    // An unknown version is not judged, as the containers are tried below.
    let new = kernel::parse(&release).is_none_or(|version| version >= kernel::OLDEST);
    let lift = format!("RUN needs {}.{} or newer", kernel::OLDEST.0, kernel::OLDEST.1);
    answer("kernel", new, format!("Linux {release}"), Some(&lift))
}

fn who(identity: &Identity) -> Answer {
    match (identity.rootless, identity.single_id) {
        (false, _) => answer("user", true, "root", None),
        (true, false) => {
            answer("user", true, format!("a user namespace with a range of ids ({})", identity.mapping), None)
        }
        (true, true) => answer(
            "user",
            false,
            "a user namespace with one id: files of others in an image are yours while steps run",
            Some(&userns::remedy(identity)),
        ),
    }
}

/// Runs an empty container, which should fail only because its program is missing.
fn container(identity: &Identity, store: &Store) -> Answer {
    let tried = trial(identity, store);
    let lift = tried.as_ref().err().map(|error| {
        let why = error.to_string();
        if why.contains("overlay") {
            "the store must lie on a file system that overlayfs can write to: set KILN_ROOT to a folder on ext4, xfs, btrfs or tmpfs"
        } else {
            "allow user namespaces and mounts: kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, \
             user.max_user_namespaces above 0; in a container, seccomp and AppArmor unconfined, or run as root"
        }
    });
    match tried {
        Ok(()) => match surroundings::shortcoming(identity.rootless) {
            None => answer("containers", true, "namespaces, overlayfs and mounts work", None),
            Some(less) => answer("containers", true, format!("they work, but {less}"), None),
        },
        Err(error) => answer("containers", false, error.to_string(), lift),
    }
}

fn trial(identity: &Identity, store: &Store) -> Result<()> {
    use base::error::At as _;
    let folder = store.temp("doctor");
    let inside = |name: &str| folder.join(name);
    for name in ["lower/proc", "lower/sys", "lower/dev", "lower/etc", "upper", "work", "stage"] {
        std::fs::create_dir_all(inside(name)).at("make", inside(name))?;
    }
    for name in ["lower/etc/hosts", "lower/etc/resolv.conf"] {
        std::fs::write(inside(name), "").at("write", inside(name))?;
    }
    let spec = Spec {
        stubs: None,
        lowers: vec![inside("lower")],
        upper: inside("upper"),
        work: inside("work"),
        lost: None,
        stage: inside("stage"),
        mounts: Vec::new(),
        args: vec![b"/nothing".to_vec()],
        env: Vec::new(),
        cwd: b"/".to_vec(),
        user: User { uid: 0, gid: 0, groups: Vec::new(), insecure: false, raw_sockets: true, offline: true },
        timeout: None,
        network: Network::None,
        limits: sandbox::Limits::default(),
        hostname: "doctor".to_owned(),
        hosts: Vec::new(),
        resolv: Vec::new(),
        emulation: None,
        group: None,
        listed: None,
        userxattr: identity.rootless,
    };
    let ended: Result<Ended, Error> = sandbox::run(&spec, &mut |_, _| {}, &Stop::default());
    let _ = remove_tree(&folder);
    match ended {
        // All went well up to the program, which is not there.
        Err(error) if error.kind() == Kind::Step => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

fn filter() -> Answer {
    let known = matches!(std::env::consts::ARCH, "x86_64" | "aarch64");
    let found = if known { "Docker's system call profile is applied" } else { "no profile for this architecture" };
    answer("seccomp", known, found, Some("none: system calls of steps are not limited here"))
}

fn devices() -> Answer {
    // Every container has a /dev without devices; the cgroup is a second barrier.
    let made = Groups::default().make(&Resources::default(), &Devices::UsualAnd(Vec::new()));
    let grouped = made.ok().flatten().is_some_and(|group| group.controls_devices());
    let found = if grouped { "closed by mounts and by a control group" } else { "closed by mounts" };
    answer("devices", true, found, None)
}

fn private(store: &Store) -> Answer {
    let root = store.root();
    let lift = format!("chmod 700 {}, or set KILN_ROOT to a folder of its own", root.display());
    match owner::openness(root) {
        Ok(None) => answer("privacy", true, "nobody else gets into the store", None),
        Ok(Some(mode)) => {
            let found = format!("others get into {} (mode {mode:o}); its parts are closed", root.display());
            answer("privacy", false, found, Some(&lift))
        }
        Err(cause) => answer("privacy", false, format!("cannot look at {}: {cause}", root.display()), Some(&lift)),
    }
}

/// Sets up the network of a step, with a look-up and a connection in it.
fn network() -> Answer {
    let networks = Networks::default();
    let lease = match networks.order(false).wait(&Stop::default()) {
        Ok(lease) => lease,
        Err(refusal) => {
            let found = format!("RUN has the host's network: {}", refusal.why);
            let remedy =
                refusal.remedy.unwrap_or_else(|| "give --network=none where a step needs no network".to_owned());
            return answer("network", false, found, Some(&remedy));
        }
    };
    let mut found = format!("RUN has a network of its own, by {}", lease.carrier());
    for note in networks.notes() {
        found.push_str(&format!("; {note}"));
    }
    match trial::reach(&lease) {
        Ok(reached) => answer("network", true, format!("{found}: {reached}"), None),
        Err(why) => answer(
            "network",
            false,
            format!("{found}, but {why}"),
            Some("--network=host gives steps the host's own network, if `--allow network.host` is given too"),
        ),
    }
}

fn cgroups() -> Answer {
    let limited = Resources { memory: Some(64 << 20), ..Resources::default() };
    match Groups::default().make(&limited, &Devices::UsualAnd(Vec::new())) {
        Ok(_) => {
            answer("limits", true, "control groups: memory, processors and processes of steps can be bounded", None)
        }
        Err(error) => answer(
            "limits",
            false,
            error.to_string(),
            Some(
                "run kiln as root or by `systemd-run --user --scope -p Delegate=yes`; steps are bounded by what bounds kiln",
            ),
        ),
    }
}

fn emulation() -> Answer {
    let found = emulate::found();
    let text = match found.as_slice() {
        [] => "none: RUN for this machine's own architecture alone".to_owned(),
        all => all.join(", "),
    };
    answer("emulation", !found.is_empty(), text, Some("package qemu-user-static: RUN for other architectures"))
}

fn tools() -> Answer {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let have = |tool: &&&str| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    let missing: Vec<&str> = ["git", "ssh-agent", "newuidmap"].iter().filter(|tool| !have(tool)).copied().collect();
    let found = if missing.is_empty() {
        "git, ssh-agent, newuidmap".to_owned()
    } else {
        format!("without {}", missing.join(", "))
    };
    answer(
        "tools",
        missing.is_empty(),
        found,
        Some("packages git (repositories), openssh-client (--ssh with key files), uidmap (ordinary users)"),
    )
}

fn room(store: &Store) -> Answer {
    let root = store.root();
    match rustix::fs::statvfs(root) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{} has {:.1} GB free", root.display(), free as f64 / 1e9);
            answer("store", free > 1_000_000_000, found, Some("`kiln prune` frees what no image needs"))
        }
        Err(cause) => {
            answer("store", false, format!("{}: {cause}", root.display()), Some("set KILN_ROOT to another folder"))
        }
    }
}
