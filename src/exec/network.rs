//! Networks for steps: namespaces of their own whose only way out is a program that carries their packets through
//! ordinary sockets (pasta(1), slirp4netns(1)). It needs no privilege and changes nothing on the host: no bridge, no
//! rule of a firewall, no forwarding. The host's loopback and its abstract sockets can't be reached from inside.
//!
//! A namespace costs some 10 ms, nearly all of it the carrier's, so they are kept for the length of a build and given to
//! one step after the other. Nothing of a step stays in one: its processes are dead, and without CAP_NET_ADMIN it
//! could not change it. A step that could (`security=insecure`) has its namespace to itself.
//!
//! Each has a thread that made it, waits, and takes the carrier down at last. The carrier is the first process of a pid
//! namespace and dies with that thread, so that nothing of it is left when kiln is killed.

mod carrier;
mod resolver;

use super::pidfd;
use crate::sync::lock;
use crate::sys::netns;
use carrier::Carrier;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::io::Read as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A carrier that has not made a way out by then never will.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what a carrier says when it fails.
const LONGEST_COMPLAINT: u64 = 4096;

/// The networks of a build.
#[derive(Debug, Default)]
pub struct Networks {
    idle: Mutex<Vec<Connected>>,
    /// On its way before a step has asked.
    expected: Mutex<Option<Coming>>,
    /// Why there can be none here: what was tried once is not tried for every step.
    refused: Mutex<Option<String>>,
}

/// A namespace with its carrier. Both end with it.
#[derive(Debug)]
struct Connected {
    namespace: Arc<OwnedFd>,
    program: &'static Carrier,
    process: Arc<OwnedFd>,
    /// The thread waits until this is gone.
    _until: Sender<()>,
}

/// A network for one step.
#[derive(Debug)]
pub struct Lease<'a> {
    networks: &'a Networks,
    connected: Option<Connected>,
    kept: bool,
}

/// A network that is on its way, so that a step can be put together meanwhile.
#[derive(Debug)]
pub struct Order<'a> {
    networks: &'a Networks,
    kept: bool,
    coming: Coming,
}

#[derive(Debug)]
enum Coming {
    Idle(Connected),
    New { told: Receiver<Made>, until: Sender<()>, carrier: &'static Carrier },
    Refused(String),
}

impl Networks {
    /// Begins to make a network for a step that will most likely run soon.
    pub fn expect(&self) {
        let mut expected = lock(&self.expected);
        if expected.is_none() && lock(&self.idle).is_empty() && lock(&self.refused).is_none() {
            *expected = Some(begin());
        }
    }

    /// Begins to make a network that nobody else uses, if none is idle.
    ///
    /// `kept`: whether another step may have it afterwards.
    pub fn order(&self, kept: bool) -> Order<'_> {
        let idle = || lock(&self.idle).pop();
        // One whose carrier has died is of no use.
        let idle = std::iter::from_fn(idle).find(Connected::is_alive);
        let refused = || lock(&self.refused).clone();
        let coming = match idle {
            Some(connected) => Coming::Idle(connected),
            None => refused().map_or_else(|| lock(&self.expected).take().unwrap_or_else(begin), Coming::Refused),
        };
        Order { networks: self, kept, coming }
    }
}

impl<'a> Order<'a> {
    /// The network. The reason in words when there can be none here.
    pub fn wait(self) -> Result<Lease<'a>, String> {
        let connected = match self.coming {
            Coming::Idle(connected) => Ok(connected),
            Coming::Refused(why) => Err(why),
            Coming::New { told, until, carrier } => told
                .recv()
                .unwrap_or_else(|_| Err(format!("{} was not started", carrier.program)))
                .map(|(namespace, process)| Connected {
                    namespace: Arc::new(namespace),
                    program: carrier,
                    process,
                    _until: until,
                }),
        };
        if let Err(why) = &connected {
            *lock(&self.networks.refused) = Some(why.clone());
        }
        Ok(Lease { networks: self.networks, connected: Some(connected?), kept: self.kept })
    }
}

impl Lease<'_> {
    /// What to join.
    pub fn network(&self) -> super::Network {
        match &self.connected {
            Some(connected) => super::Network::Own(Arc::clone(&connected.namespace)),
            None => super::Network::None,
        }
    }

    /// The program that carries it.
    pub fn carrier(&self) -> &'static str {
        self.connected.as_ref().map_or("nothing", |connected| connected.program.program)
    }

    /// /etc/resolv.conf for it.
    pub fn resolv(&self) -> Vec<u8> {
        let nameserver = self.connected.as_ref().map(|connected| connected.program.nameserver);
        nameserver.map_or_else(resolver::host, resolver::inside)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(connected) = self.connected.take().filter(|_| self.kept) {
            lock(&self.networks.idle).push(connected);
        }
    }
}

impl Connected {
    fn is_alive(&self) -> bool {
        !pidfd::has_ended(&self.process)
    }
}

/// /etc/resolv.conf for a step that has the host's network.
pub fn host_resolv() -> Vec<u8> {
    resolver::host()
}

fn begin() -> Coming {
    let (carrier, program) = match carrier::find() {
        Ok(found) => found,
        Err(why) => return Coming::Refused(why),
    };
    let (tell, told) = channel();
    let (until, over) = channel();
    let keeper = move || keep(carrier, &program, &tell, &over);
    match std::thread::Builder::new().name(carrier.program.to_owned()).spawn(keeper) {
        Ok(_) => Coming::New { told, until, carrier },
        Err(cause) => Coming::Refused(format!("cannot start a thread: {cause}")),
    }
}

type Made = Result<(OwnedFd, Arc<OwnedFd>), String>;

/// The thread of one namespace: makes it, has it carried, waits for its end.
fn keep(carrier: &Carrier, program: &std::path::Path, tell: &Sender<Made>, over: &Receiver<()>) {
    let (namespace, process, complaints) = match make(carrier, program) {
        Ok(made) => made,
        Err(why) => {
            let _ = tell.send(Err(why));
            return;
        }
    };
    let process = Arc::new(process);
    let _ = tell.send(Ok((namespace, Arc::clone(&process))));
    // Comes back when the other end is gone.
    let _ = over.recv();
    pidfd::kill(&process);
    // Not before: a carrier whose words nobody can read dies of the next (SIGPIPE).
    drop(complaints);
}

/// A namespace, its carrier, and what that says.
fn make(carrier: &Carrier, program: &std::path::Path) -> Result<(OwnedFd, OwnedFd, OwnedFd), String> {
    let words = |what: &str, cause: rustix::io::Errno| format!("{what}: {cause}");
    // The carrier's sockets belong outside: it is started from there, by a descriptor of the namespace.
    let outside = netns::current().map_err(|cause| words("cannot find the network namespace", cause))?;
    let inside = netns::leave().map_err(|cause| words("cannot make a network namespace", cause))?;
    netns::loopback_up().map_err(|cause| words("cannot bring up the loopback", cause))?;
    let routes = watch_routes().map_err(|cause| words("cannot watch routes", cause))?;
    enter(&outside).map_err(|cause| words("cannot go back to the host's network", cause))?;
    let (process, complaints) = carrier.start(program, &inside)?;
    enter(&inside).map_err(|cause| words("cannot enter a network namespace", cause))?;
    match wait_for_route(&routes, &process) {
        Ok(()) => Ok((inside, process, complaints)),
        Err(why) => {
            pidfd::kill(&process);
            let mut said = String::new();
            let _ = std::fs::File::from(complaints).take(LONGEST_COMPLAINT).read_to_string(&mut said);
            Err(carrier.failed(&why, &said))
        }
    }
}

fn enter(namespace: &OwnedFd) -> Result<(), rustix::io::Errno> {
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)
}

/// A socket that says something when a route changes in this thread's namespace (rtnetlink(7)).
fn watch_routes() -> Result<OwnedFd, rustix::io::Errno> {
    const IPV4_ROUTE: u32 = 0x40;
    const IPV6_ROUTE: u32 = 0x400;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, IPV4_ROUTE | IPV6_ROUTE))?;
    Ok(socket)
}

fn wait_for_route(routes: &OwnedFd, process: &OwnedFd) -> Result<(), String> {
    let began = Instant::now();
    let mut news = [0_u8; 8192];
    while !has_default_route() {
        let left = PATIENCE.checked_sub(began.elapsed()).ok_or("no way out within 10 seconds")?;
        let left = Timespec::try_from(left).map_err(|cause| cause.to_string())?;
        let mut polled = [PollFd::new(routes, PollFlags::IN), PollFd::new(process, PollFlags::IN)];
        if let Err(cause) = poll(&mut polled, Some(&left))
            && cause != rustix::io::Errno::INTR
        {
            return Err(format!("cannot wait: {cause}"));
        }
        if !polled[1].revents().is_empty() {
            return Err("it ended at once".to_owned());
        }
        while recv(routes, &mut news[..], RecvFlags::empty()).is_ok_and(|(count, _)| count > 0) {}
    }
    Ok(())
}

/// Whether this thread's namespace has a way to everywhere, by IPv4 or IPv6 (proc_pid_net(5)).
fn has_default_route() -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let fields = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let four = read("route").lines().map(fields).any(|field| {
        field.get(1).is_some_and(|to| to == "00000000") && field.get(7).is_some_and(|mask| mask == "00000000")
    });
    let zero = "0".repeat(32);
    four || read("ipv6_route").lines().map(fields).any(|field| {
        let everywhere = field.first() == Some(&zero) && field.get(1).is_some_and(|bits| bits == "00");
        everywhere && field.last().is_some_and(|device| device != "lo")
    })
}
