//! Runs one RUN: makes the sandbox's input from the op, and a layer from the upper directory.

mod ending;

use super::agent::Forward;
use super::bring::Form;
use super::cache_mounts::{Held, Wanted};
use super::device;
use super::identity::{self, Identity};
use super::stubs::{Stubs, Want};
use super::{Job, Secret, bug};
use base::error::{At, Error, Kind, Result};
use base::sync::lock;
use ending::Tail;
use frontend::op::{self, Network, Security};
use layer::files::{Files, resolve};
use layer::rootfs::Rootfs;
use layer::tree::Node;
use layer::tree::Time;
use layer::view::View;
use layer::{Draft, LayerId};
use sandbox::cgroup::{Device, Devices, Group};
use sandbox::emulate::Entrance;
use sandbox::network::{self, Lease, Order};
use sandbox::{self, Exit, Mount, MountKind, Spec, surroundings};
use solver::{Event, Step, StepId, Stream};
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// The largest secret in bytes (BuildKit's limit).
const LARGEST_SECRET: u64 = 500 * 1024;

impl Job<'_> {
    pub(super) fn run_exec(&self, step: &Step<'_, Self>, exec: &op::Exec) -> Result<LayerId> {
        let number = self.step_of(step.id);
        self.tell_shortcoming();
        let order = self.order(exec);
        let rootfs = exec.base.map(|input| step.input(input)).transpose()?.cloned().unwrap_or_default();
        // Unpacking a base also indexes it, so it comes first and nothing is decompressed twice.
        let lowers = self.dirs(&rootfs, number)?;
        let view = self.host.view(&rootfs, Form::Dir, number)?;
        let who = identity::lookup(&view, &exec.user)?;
        let mut stubs = Stubs::default();
        for (target, want) in FIXED {
            stubs.need(&view, target, *want)?;
        }
        let mounts = self.mounts(step, exec, &view, &mut stubs)?;
        let lease = self.lease(order);
        let (network, resolv) = match &lease {
            Some(lease) => (lease.network(), lease.resolv()),
            None if exec.network == Network::None => (sandbox::Network::None, network::host_resolv()),
            None => (sandbox::Network::Host, network::host_resolv()),
        };
        let lost = self.lost(&mounts)?;
        let devices = match exec.security {
            Security::Insecure => Devices::All,
            Security::Sandbox => Devices::UsualAnd(mounts.devices),
        };
        let draft = self.host.layers.draft()?;
        self.make_cwd(&view, exec, draft.upper())?;

        let spec = Spec {
            stubs: self.stubs(&stubs, &view)?,
            lowers,
            upper: draft.upper().to_owned(),
            work: draft.work().to_owned(),
            lost: lost.as_ref().map(|lost| lost.0.clone()),
            stage: self.stage()?,
            userxattr: self.host.rootless,
            mounts: mounts.list,
            args: exec.args.iter().map(|arg| arg.clone().into_bytes()).collect(),
            env: environment(exec, &who, mounts.env),
            cwd: exec.cwd.clone().into_bytes(),
            user: sandbox::User {
                uid: who.uid,
                gid: who.gid,
                groups: who.groups,
                insecure: exec.security == Security::Insecure,
                raw_sockets: lease.as_ref().is_none_or(Lease::is_filtered),
                offline: exec.network == Network::None,
            },
            timeout: exec.timeout,
            network,
            emulation: self.emulator(exec)?,
            group: self.host.groups.make(&self.host.limits.resources, &devices)?,
            limits: self.host.limits.clone(),
            listed: Some((self.host.steps.clone(), step.graph.get(step.id).name.clone())),
            hosts: hosts(exec)?,
            resolv,
            hostname: exec.hostname.clone(),
        };
        let mut tail = Tail::default();
        let mut output = |stream: sandbox::Stream, bytes: &[u8]| {
            tail.add(bytes);
            let stream = if stream == sandbox::Stream::Out { Stream::Out } else { Stream::Err };
            let event = Event::Output { step: number, stream, bytes: bytes.to_vec() };
            self.host.observer.event(SystemTime::now(), &event);
        };
        let began = Time::now();
        let ended = self.host.phase(number, "run", || sandbox::run(&spec, &mut output, &self.host.stop))?;
        if ended.exit == Exit::Code(0) {
            self.host.note_cache_mounts(&mounts.held);
        }
        drop((lease, mounts.held, mounts.forwards));
        if self.host.stop.is_stopped() {
            return Err(Error::new(Kind::Interrupted, "stopped"));
        }
        match ended.exit {
            Exit::Code(0) => {
                let below = |path: &[u8]| view.has_dir(path);
                let window = (began, Time::now());
                let layer = self.host.phase(number, "harvest", || {
                    stubs.sweep(draft.upper())?;
                    self.host.layers.publish_upper(&draft, window, step.earlier.and_then(Rootfs::top), &below)
                });
                lock(&self.host.shared.leftovers).push(Leftover { _draft: draft, _group: spec.group });
                layer
            }
            // The files that the step wrote still fill the disk at this point.
            _ => Err(self.host.or_full(self.failed(exec, ended, tail))),
        }
    }

    /// An empty directory to mount on. Each step mounts in a mount namespace of its own, so one
    /// serves all.
    fn stage(&self) -> Result<PathBuf> {
        let mut known = lock(&self.host.shared.stage);
        if let Some(stage) = &*known {
            return Ok(stage.clone());
        }
        let stage = self.host.store.temp("stage");
        std::fs::create_dir(&stage).at("make", &stage)?;
        Ok(known.insert(stage).clone())
    }

    /// The directory for writes to mounts that are discarded, unless they go to memory.
    fn lost(&self, mounts: &Mounts) -> Result<Option<Lost>> {
        let written = |mount: &Mount| matches!(mount.kind, MountKind::Layers { readonly: false, .. });
        if !self.host.rootless || !mounts.list.iter().any(written) {
            return Ok(None);
        }
        let dir = self.host.store.temp("lost");
        std::fs::create_dir(&dir).at("make", &dir)?;
        Ok(Some(Lost(dir)))
    }

    /// Warns once about missing isolation.
    fn tell_shortcoming(&self) {
        if let Some(less) = surroundings::shortcoming(self.host.rootless)
            && !self.host.shared.shortcoming.swap(true, Ordering::Relaxed)
        {
            let text = format!("RUN is less isolated: {less}");
            self.host.observer.event(SystemTime::now(), &Event::Warning { text });
        }
    }

    fn emulator(&self, exec: &op::Exec) -> Result<Option<Entrance>> {
        let prepared = self.host.emulation.prepare(&exec.platform.architecture, self.host.rootless);
        prepared.map_err(|why| Error::new(Kind::System, format!("RUN for {} does not work here: {why}", exec.platform)))
    }

    /// Orders a network for a step with the default network. A step that could reconfigure it gets
    /// one that is not reused.
    fn order(&self, exec: &op::Exec) -> Option<Order<'_>> {
        let kept = exec.security != Security::Insecure;
        (exec.network == Network::Default).then(|| self.host.networks.order(kept))
    }

    /// Waits for the network. If there can be none, the step uses the host's network, with a
    /// warning.
    fn lease<'a>(&self, order: Option<Order<'a>>) -> Option<Lease<'a>> {
        let leased = order?.wait(&self.host.stop);
        let warn = |text: String| self.host.observer.event(SystemTime::now(), &Event::Warning { text });
        self.host.networks.notes().into_iter().for_each(warn);
        let refusal = match leased {
            Ok(lease) => return Some(lease),
            Err(refusal) => refusal,
        };
        if !self.host.stop.is_stopped() && !self.host.shared.shared_network.swap(true, Ordering::Relaxed) {
            let remedy = refusal.remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
            warn(format!("RUN has the host's network, because {}{remedy}; --network=none takes it away", refusal.why));
        }
        None
    }

    /// The mountable directories of a rootfs, the topmost first.
    fn dirs(&self, rootfs: &Rootfs, step: StepId) -> Result<Vec<PathBuf>> {
        self.host.fetch(&rootfs.layers, Form::Dir, step)?;
        self.host.phase(step, "unpack", || self.host.layers.dirs(rootfs.layers.iter().rev()))
    }

    /// A directory with the missing mount points; equal ones are made once.
    fn stubs(&self, stubs: &Stubs, view: &View) -> Result<Option<PathBuf>> {
        if stubs.is_empty() {
            return Ok(None);
        }
        let root = view.lookup(b"")?;
        let name = (stubs.clone(), root.as_ref().map(|root| (root.mode, root.uid, root.gid, root.mtime)));
        let mut known = lock(&self.host.shared.stubs);
        if let Some(dir) = known.get(&name) {
            return Ok(Some(dir.clone()));
        }
        let dir = self.host.store.temp("stubs");
        std::fs::create_dir(&dir).at("make", &dir)?;
        stubs.make(&dir, root.as_ref())?;
        known.insert(name, dir.clone());
        Ok(Some(dir))
    }

    /// Makes a missing working directory in the step's own layer, with the parts before a `..` in
    /// it, as runc does. Below a mount, the step's process makes it there.
    fn make_cwd(&self, view: &View, exec: &op::Exec, upper: &std::path::Path) -> Result<()> {
        let below = |mount: &op::Mount| {
            let rest = exec.cwd.strip_prefix(mount.target.as_str()).filter(|_| !mount.target.is_empty());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if exec.mounts.iter().any(below) {
            return Ok(());
        }
        let mut missing = Stubs::default();
        let cwd = format!("{}/", exec.cwd);
        for (at, _) in cwd.match_indices("/../") {
            missing.need(view, &cwd.as_bytes()[..at], Want::Directory)?;
        }
        missing.need(view, exec.cwd.as_bytes(), Want::Directory)?;
        if missing.is_empty() { Ok(()) } else { missing.make(upper, view.lookup(b"")?.as_ref()) }
    }

    fn mounts(&self, step: &Step<'_, Self>, exec: &op::Exec, view: &View, stubs: &mut Stubs) -> Result<Mounts> {
        let (mut mounts, mut list) = (Mounts::default(), Vec::new());
        let held = self.hold_cache_mounts(step, exec)?;
        for (at, mount) in exec.mounts.iter().enumerate() {
            let (kind, want) = match &mount.kind {
                op::MountKind::Bind { input, source, readonly } => {
                    let rootfs = input.map(|input| step.input(input)).transpose()?.cloned().unwrap_or_default();
                    let number = self.step_of(step.id);
                    let want = kind_of(&self.host.view(&rootfs, Form::Dir, number)?, source)?;
                    let lowers = self.dirs(&rootfs, number)?;
                    (MountKind::Layers { lowers, source: source.clone().into_bytes(), readonly: *readonly }, want)
                }
                op::MountKind::Cache { source, readonly, from, .. } => {
                    let held =
                        held.iter().find(|(place, _)| *place == at).ok_or_else(|| bug("a cache mount is not held"))?;
                    // The directory that filled the cache is already its root.
                    let source = if from.is_some() { "/" } else { source.as_str() };
                    let source = source.as_bytes().to_vec();
                    (MountKind::Dir { path: held.1.data.clone(), source, readonly: *readonly }, Want::Directory)
                }
                op::MountKind::Tmpfs { size } => (MountKind::Tmpfs { size: *size }, Want::Tmpfs),
                op::MountKind::Secret { id, env, required, mode, uid, gid } => {
                    let Some(data) = self.secret(id, *required)? else { continue };
                    if let Some(name) = env {
                        mounts.env.push([name.as_bytes(), b"=", &data].concat());
                    }
                    if mount.target.is_empty() {
                        continue;
                    }
                    (MountKind::Bytes { data, mode: *mode, uid: *uid, gid: *gid }, Want::File)
                }
                op::MountKind::Ssh { id, required, mode, uid, gid } => {
                    let Some(forward) = self.forward(id, *required)? else { continue };
                    let socket = forward.socket();
                    std::os::unix::fs::chown(&socket, Some(*uid), Some(*gid)).at("change the owner of", &socket)?;
                    let mode = std::os::unix::fs::PermissionsExt::from_mode(*mode);
                    std::fs::set_permissions(&socket, mode).at("change the mode of", &socket)?;
                    mounts.forwards.push(forward);
                    (MountKind::Node { path: socket }, Want::File)
                }
            };
            list.push((Mount { target: mount.target.clone().into_bytes(), kind }, want));
        }
        for device in &exec.devices {
            let Some(added) = device::find(device)? else { continue };
            mounts.env.extend(added.env.into_iter().map(String::into_bytes));
            mounts.devices.extend(added.nodes.iter().filter_map(|(path, _)| Device::at(path)));
            let nodes = added.nodes.into_iter().map(|(path, to)| (to, MountKind::Node { path }, Want::File));
            let folders = added.folders.into_iter().map(|(path, to, readonly)| {
                (to, MountKind::Dir { path, source: b"/".to_vec(), readonly }, Want::Directory)
            });
            let added = nodes.chain(folders);
            list.extend(added.map(|(to, kind, want)| (Mount { target: to.into_bytes(), kind }, want)));
        }
        // Parents come first: a path sorts before the paths below it.
        list.sort_by(|(one, _), (two, _)| one.target.cmp(&two.target));
        // Only the last of several mounts with the same target is made.
        list.reverse();
        list.dedup_by(|(one, _), (two, _)| one.target == two.target);
        for (mount, want) in list.into_iter().rev() {
            stubs.need(view, &mount.target, want)?;
            mounts.list.push(mount);
        }
        mounts.held = held.into_iter().map(|(_, held)| held).collect();
        Ok(mounts)
    }

    /// Takes all cache mounts of a step in the order of their ids, so that two steps cannot
    /// deadlock.
    fn hold_cache_mounts(&self, step: &Step<'_, Self>, exec: &op::Exec) -> Result<Vec<(usize, Held)>> {
        let mut wanted = Vec::new();
        for (at, mount) in exec.mounts.iter().enumerate() {
            if let op::MountKind::Cache { id, sharing, from, source, dir, .. } = &mount.kind {
                let from = from.map(|input| step.input(input)).transpose()?;
                wanted.push((at, Wanted { id, sharing: *sharing, from, source, dir: *dir }));
            }
        }
        wanted.sort_by(|(_, one), (_, two)| one.id.cmp(two.id));
        wanted
            .iter()
            .map(|(at, wanted)| Ok((*at, self.host.hold_cache_mount(wanted, self.step_of(step.id))?)))
            .collect()
    }

    fn forward(&self, id: &str, required: bool) -> Result<Option<Forward>> {
        match self.host.agents.get(id) {
            Some(agent) => Forward::begin(&self.host.store, agent, &self.host.stop).map(Some),
            None if required => Err(Error::new(Kind::Step, format!("ssh agent {id}: not found"))
                .hint(format!("give it with `--ssh {id}` (the agent of $SSH_AUTH_SOCK) or `--ssh {id}=KEYFILE`"))),
            None => Ok(None),
        }
    }

    fn secret(&self, id: &str, required: bool) -> Result<Option<Vec<u8>>> {
        let Some(secret) = self.host.secrets.get(id) else {
            return if required { Err(missing_secret(id)) } else { Ok(None) };
        };
        let path = match secret {
            Secret::Value(value) => return Ok(Some(value.clone())),
            Secret::File(path) => path,
        };
        let mut data = Vec::new();
        let usage = |error: Error| error.within(Kind::Usage);
        let file = std::fs::File::open(path).at("open the secret file", path).map_err(usage)?;
        let read = file.take(LARGEST_SECRET + 1).read_to_end(&mut data).at("read the secret file", path);
        read.map_err(usage)?;
        if data.len() as u64 > LARGEST_SECRET {
            return Err(Error::new(Kind::Step, format!("secret `{id}` is larger than {LARGEST_SECRET} bytes")));
        }
        Ok(Some(data))
    }
}

/// A directory that is deleted on drop.
struct Lost(PathBuf);

impl Drop for Lost {
    fn drop(&mut self) {
        // If this fails, the process's temporary directory is removed later.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The parts of a finished step that take time to remove: overlayfs's work directory and the
/// cgroup.
pub(super) struct Leftover {
    _draft: Draft,
    _group: Option<Group>,
}

/// The mount points of every container.
const FIXED: &[(&[u8], Want)] = &[
    (b"proc", Want::Directory),
    (b"sys", Want::Directory),
    (b"dev", Want::Directory),
    (b"etc/hosts", Want::File),
    (b"etc/resolv.conf", Want::File),
];

#[derive(Default)]
struct Mounts {
    list: Vec<Mount>,
    /// Secrets as environment variables.
    env: Vec<Vec<u8>>,
    /// The devices that only this step may open.
    devices: Vec<Device>,
    held: Vec<Held>,
    /// Agents that are forwarded until the step ends.
    forwards: Vec<Forward>,
}

fn kind_of(view: &View, source: &str) -> Result<Want> {
    let found = resolve(view, source.as_bytes())?;
    match found.entry.map(|entry| entry.node) {
        Some(Node::Dir { .. }) => Ok(Want::Directory),
        Some(_) => Ok(Want::File),
        None if found.path.is_empty() => Ok(Want::Directory),
        None => Err(Error::new(Kind::Step, format!("`{source}` of a bind mount: not found in its source"))
            .hint("check the path, and whether .dockerignore excludes it")),
    }
}

fn missing_secret(id: &str) -> Error {
    Error::new(Kind::Step, format!("secret {id}: not found"))
        .hint(format!("give it with `--secret id={id},src=FILE` or `--secret id={id},env=NAME`"))
}

fn environment(exec: &op::Exec, who: &Identity, secrets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut env: Vec<Vec<u8>> = Vec::new();
    for (name, value) in exec.proxy.iter().chain(&exec.env) {
        env.push(format!("{name}={value}").into_bytes());
    }
    if !exec.env.iter().any(|(name, _)| name == "HOME") {
        env.push(format!("HOME={}", who.home).into_bytes());
    }
    env.extend(secrets);
    env
}

fn hosts(exec: &op::Exec) -> Result<Vec<u8>> {
    let mut text = format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", exec.hostname);
    for (name, address) in &exec.hosts {
        let address = if address == op::HOST_GATEWAY { host_gateway()? } else { address.clone() };
        text.push_str(&format!("{address}\t{name}\n"));
    }
    Ok(text.into_bytes())
}

fn host_gateway() -> Result<String> {
    let address = network::host_gateway().map(|address| address.to_string());
    address.ok_or_else(|| {
        Error::new(Kind::Step, "--add-host with host-gateway: this machine has no address that a step can reach it by")
            .hint("it has no default route by IPv4; give the address itself, or --network=host")
    })
}
