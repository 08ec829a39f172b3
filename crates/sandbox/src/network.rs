//! Networks for steps. Each is a network namespace whose only way out is a program that carries its
//! packets through ordinary sockets (pasta(1), slirp4netns(1)). That needs no privilege and changes
//! nothing on the host: no bridge, no firewall rule, no forwarding. The host's loopback and its
//! abstract sockets can't be reached from inside: no address leads there, and packets addressed to
//! the loopback are dropped (see `filter`).
//!
//! Making a namespace takes about 10 ms, nearly all of it for the carrier. So namespaces are kept
//! for the whole build, and one step after another uses them. A step leaves nothing in one: its
//! processes are dead, and without CAP_NET_ADMIN it could not change it. A step that has
//! CAP_NET_ADMIN (`security=insecure`) gets a namespace of its own.
//!
//! Each namespace has a thread (see `keeper`) that ends the carrier when the namespace is no longer
//! needed. The carrier is the first process of a pid namespace and dies with that thread, so that
//! nothing of it is left when kiln is killed.

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

/// How often a wait checks if the build was stopped.
const GLANCE: Duration = Duration::from_millis(50);

/// The networks of a build.
#[derive(Debug, Default)]
pub struct Networks {
    idle: Mutex<Vec<Connected>>,
    /// A network that is being made before a step asks for one.
    expected: Mutex<Option<Coming>>,
    /// Why there can be no network here. Kept, so that not every step tries again.
    refused: Mutex<Option<Refusal>>,
    /// The index of the first carrier to try.
    first: Arc<AtomicUsize>,
    notes: Mutex<Notes>,
}

/// Warnings, each kept once.
#[derive(Debug, Default)]
struct Notes {
    all: Vec<String>,
    taken: usize,
}

/// A namespace with its carrier. Dropping it ends both.
#[derive(Debug)]
struct Connected {
    namespace: Arc<OwnedFd>,
    link: Link,
    /// The keeper's thread runs until this is closed.
    _until: OwnedFd,
}

/// A network for one step.
#[derive(Debug)]
pub struct Lease<'a> {
    networks: &'a Networks,
    connected: Option<Connected>,
    kept: bool,
}

/// A network that is being made while the step is prepared.
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
    /// Starts making a network for a step that will most likely run soon.
    pub fn expect(&self) {
        let mut expected = lock(&self.expected);
        if expected.is_none() && lock(&self.idle).is_empty() && lock(&self.refused).is_none() {
            *expected = Some(self.begin());
        }
    }

    /// Takes an idle network, or starts making one. No other step uses it at the same time.
    ///
    /// `kept`: true if another step may use it afterwards.
    pub fn order(&self, kept: bool) -> Order<'_> {
        let idle = || lock(&self.idle).pop();
        // Networks whose carrier has died are dropped.
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

    /// Returns the warnings that are new since the last call.
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
    /// Waits for the network. The error says why there can be none here.
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
    /// The network that the step joins.
    pub fn network(&self) -> super::Network {
        match &self.connected {
            Some(connected) => super::Network::Own(Arc::clone(&connected.namespace)),
            None => super::Network::None,
        }
    }

    /// The name of its carrier.
    pub fn carrier(&self) -> &'static str {
        self.connected.as_ref().map_or("nothing", |connected| connected.link.carrier.program)
    }

    /// True if packets to the host's loopback are dropped, whatever process sends them. If they are
    /// not, a step must not have CAP_NET_RAW, so that it can't send any.
    pub fn is_filtered(&self) -> bool {
        self.connected.as_ref().is_none_or(|connected| connected.link.filtered)
    }

    /// The content of /etc/resolv.conf for a step in this network.
    pub fn resolv(&self) -> Vec<u8> {
        self.connected.as_ref().map_or_else(resolver::host, |connected| connected.link.names.resolv())
    }

    /// The nameservers that a step in this network asks.
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

/// The content of /etc/resolv.conf for a step in the host's network.
pub fn host_resolv() -> Vec<u8> {
    resolver::host()
}

/// The address at which a step reaches services of the host that listen on all addresses: the
/// host's own source address towards the internet. None if the host has no IPv4 route there.
pub fn host_gateway() -> Option<Ipv4Addr> {
    // This sends nothing: connect(2) of a UDP socket chooses a route, and with it an address.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}
