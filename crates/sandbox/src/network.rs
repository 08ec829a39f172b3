//! Networks for steps: namespaces of their own whose only way out is a program that carries their packets through
//! ordinary sockets (pasta(1), slirp4netns(1)). It needs no privilege and changes nothing on the host: no bridge, no
//! rule of a firewall, no forwarding. The host's loopback and its abstract sockets can't be reached from inside: no address
//! leads there, and packets that are addressed to it are dropped (see `filter`).
//!
//! A namespace costs some 10 ms, nearly all of it the carrier's, so they are kept for the length of a build and given to
//! one step after the other. Nothing of a step stays in one: its processes are dead, and without CAP_NET_ADMIN it
//! could not change it. A step that could (`security=insecure`) has its namespace to itself.
//!
//! Each has a thread that waits (see `keeper`) and takes the carrier down at last. The carrier is the first process of a pid
//! namespace and dies with that thread, so that nothing of it is left when kiln is killed.

mod carrier;
mod filter;
mod keeper;
mod names;
mod resolver;
pub mod trial;

use super::{Stop, pidfd};
use base::sync::lock;
pub use keeper::Refusal;
use keeper::{Link, Made, keep};
use rustix::fd::OwnedFd;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a wait looks whether the build was stopped.
const GLANCE: Duration = Duration::from_millis(50);

/// The networks of a build.
#[derive(Debug, Default)]
pub struct Networks {
    idle: Mutex<Vec<Connected>>,
    /// On its way before a step has asked.
    expected: Mutex<Option<Coming>>,
    /// Why there can be none here: what was tried once is not tried for every step.
    refused: Mutex<Option<Refusal>>,
    /// The first carrier that is worth a try, by its place.
    first: Arc<AtomicUsize>,
    notes: Mutex<Notes>,
}

/// What is worth a warning, each once.
#[derive(Debug, Default)]
struct Notes {
    all: Vec<String>,
    taken: usize,
}

/// A namespace with its carrier. Both end with it.
#[derive(Debug)]
struct Connected {
    namespace: Arc<OwnedFd>,
    link: Link,
    /// The thread waits until this is closed.
    _until: OwnedFd,
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
    New { told: Receiver<Result<Made, Refusal>>, until: OwnedFd },
    Refused(Refusal),
}

impl Networks {
    /// Begins to make a network for a step that will most likely run soon.
    pub fn expect(&self) {
        let mut expected = lock(&self.expected);
        if expected.is_none() && lock(&self.idle).is_empty() && lock(&self.refused).is_none() {
            *expected = Some(self.begin());
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
            None => {
                let expected = || lock(&self.expected).take().unwrap_or_else(|| self.begin());
                refused().map_or_else(expected, Coming::Refused)
            }
        };
        Order { networks: self, kept, coming }
    }

    /// What is worth a warning and was not taken yet.
    pub fn notes(&self) -> Vec<String> {
        let notes = &mut *lock(&self.notes);
        let new = notes.all.get(notes.taken..).unwrap_or_default().to_vec();
        notes.taken = notes.all.len();
        new
    }

    fn begin(&self) -> Coming {
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (over, until) = match pipe {
            Ok(pipe) => pipe,
            Err(cause) => {
                return Coming::Refused(Refusal { why: format!("cannot make a pipe: {cause}"), remedy: None });
            }
        };
        let (tell, told) = channel();
        let first = Arc::clone(&self.first);
        let keeper = move || keep(&first, &tell, &over);
        match std::thread::Builder::new().name("network".to_owned()).spawn(keeper) {
            Ok(_) => Coming::New { told, until },
            Err(cause) => Coming::Refused(Refusal { why: format!("cannot start a thread: {cause}"), remedy: None }),
        }
    }

    fn note(&self, new: Vec<String>) {
        let all = &mut lock(&self.notes).all;
        for note in new {
            if !all.contains(&note) {
                all.push(note);
            }
        }
    }
}

impl<'a> Order<'a> {
    /// The network; or why there can be none here.
    pub fn wait(self, stop: &Stop) -> Result<Lease<'a>, Refusal> {
        let networks = self.networks;
        let connected = match self.coming {
            Coming::Idle(connected) => Ok(connected),
            Coming::Refused(refusal) => Err(refusal),
            Coming::New { told, until } => wait(&told, stop).map(|mut made| {
                networks.note(std::mem::take(&mut made.notes));
                Connected { namespace: Arc::new(made.namespace), link: made.link, _until: until }
            }),
        };
        if let (Err(refusal), false) = (&connected, stop.is_stopped()) {
            *lock(&networks.refused) = Some(refusal.clone());
        }
        Ok(Lease { networks, connected: Some(connected?), kept: self.kept })
    }
}

fn wait(told: &Receiver<Result<Made, Refusal>>, stop: &Stop) -> Result<Made, Refusal> {
    let refusal = |why: &str| Err(Refusal { why: why.to_owned(), remedy: None });
    loop {
        match told.recv_timeout(GLANCE) {
            Ok(made) => return made,
            Err(RecvTimeoutError::Timeout) if stop.is_stopped() => return refusal("the build was stopped"),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return refusal("its thread ended"),
        }
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
        self.connected.as_ref().map_or("nothing", |connected| connected.link.carrier.program)
    }

    /// Whether packets to the host's loopback are dropped, whoever made them. Where they are not, a step must not be able to
    /// make any (CAP_NET_RAW).
    pub fn is_filtered(&self) -> bool {
        self.connected.as_ref().is_none_or(|connected| connected.link.filtered)
    }

    /// /etc/resolv.conf for it.
    pub fn resolv(&self) -> Vec<u8> {
        self.connected.as_ref().map_or_else(resolver::host, |connected| connected.link.names.resolv())
    }

    /// The nameservers in it.
    fn servers(&self) -> Vec<IpAddr> {
        self.connected.as_ref().map(|connected| connected.link.names.servers()).unwrap_or_default()
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
        !pidfd::has_ended(&self.link.process)
    }
}

/// /etc/resolv.conf for a step that has the host's network.
pub fn host_resolv() -> Vec<u8> {
    resolver::host()
}

/// The address by which a step reaches services of the host that listen on all addresses: the one that the host itself has
/// on its way out. None where it has no way out by IPv4.
pub fn host_gateway() -> Option<Ipv4Addr> {
    // Nothing is sent: a route is chosen, and with it an address.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}
