//! The thread that keeps one network namespace. It stays in the host's network, has the namespace
//! made, starts its carrier, answers its DNS queries, and ends the carrier at last. The carrier
//! dies with this thread.
//!
//! Another thread makes the namespace and ends at once. An ordinary user's thread that left the
//! host's network could not return to start the carrier there (setns(2) requires CAP_SYS_ADMIN in
//! the user namespace that owns the network).

use super::carrier::{self, Carrier};
use super::filter;
use super::names::Ears;
use super::resolver::Names;
use crate::pidfd;
use crate::sys::netns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// How long a carrier may take to make a way out.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes that are read of a failed carrier's messages.
const LONGEST_COMPLAINT: u64 = 4096;

/// A namespace that has a way out.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) namespace: OwnedFd,
    pub(super) link: Link,
    /// Warnings for the user.
    pub(super) notes: Vec<String>,
}

/// The way out of the namespace.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) carrier: &'static Carrier,
    pub(super) process: Arc<OwnedFd>,
    pub(super) names: Names,
    /// True if packets to the host's loopback are dropped, whatever process sends them.
    pub(super) filtered: bool,
}

/// Why there is no network, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub why: String,
    /// The remedy, if one is known.
    pub remedy: Option<String>,
}

/// A new namespace, and the sockets that were opened inside it.
struct Inside {
    namespace: OwnedFd,
    routes: OwnedFd,
    ears: Option<Ears>,
}

/// The thread of one namespace. It ends when the other end of `over` is closed. `first` is the
/// index of the first carrier to try.
pub(super) fn keep(first: &AtomicUsize, tell: &Sender<Result<Made, Refusal>>, over: &OwnedFd) {
    let names = Names::of_host(carrier::is_taken);
    let mut failures = Vec::new();
    let found = match carrier::usable() {
        Ok(found) => found,
        Err(refusal) => return drop(tell.send(Err(refusal))),
    };
    for (at, (carrier, program)) in found.iter().enumerate().skip(first.load(Ordering::Relaxed)) {
        let (inside, process, complaints) = match make(carrier, program, &names, over) {
            Ok(made) => made,
            Err(_) if is_closed(over) => return,
            Err(why) => {
                failures.push(why);
                continue;
            }
        };
        first.store(at, Ordering::Relaxed);
        let mut notes = Vec::new();
        if !failures.is_empty() {
            let failures = failures.join("; ");
            notes.push(format!("{} carries the network of RUN instead, because {failures}", carrier.program));
        }
        let filtered = filter::attach(&process);
        if let Err(why) = &filtered {
            notes.push(format!(
                "RUN has no raw sockets (CAP_NET_RAW), because packets to this machine can't be held back: {why}"
            ));
        }
        let process = Arc::new(process);
        let Inside { namespace, ears, routes: _ } = inside;
        let filtered = filtered.is_ok();
        let link = Link { carrier, process: Arc::clone(&process), names: names.clone(), filtered };
        let _ = tell.send(Ok(Made { namespace, link, notes }));
        match (ears, names) {
            (Some(ears), Names::Relayed(servers)) => ears.answer(servers, over),
            _ => wait_for_end(over),
        }
        pidfd::kill(&process);
        // Only now: a carrier that writes to a pipe without a reader dies of SIGPIPE.
        drop(complaints);
        return;
    }
    let _ = tell.send(Err(Refusal { why: failures.join("; "), remedy: None }));
}

/// Makes a namespace and starts its carrier. Returns both, and the pipe with the carrier's
/// messages.
fn make(
    carrier: &Carrier,
    program: &std::path::Path,
    names: &Names,
    over: &OwnedFd,
) -> Result<(Inside, OwnedFd, OwnedFd), String> {
    let relayed = matches!(names, Names::Relayed(_));
    let inside = std::thread::scope(|scope| scope.spawn(|| enter(relayed)).join());
    let inside = inside.unwrap_or_else(|_| Err("the thread that makes a network namespace failed".to_owned()))?;
    let (process, complaints) = carrier.start(program, &inside.namespace)?;
    match wait_for_route(&inside.routes, &process, over) {
        Ok(()) => Ok((inside, process, complaints)),
        Err(why) => {
            pidfd::kill(&process);
            let mut said = String::new();
            let _ = std::fs::File::from(complaints).take(LONGEST_COMPLAINT).read_to_string(&mut said);
            Err(carrier.failed(&why, &said))
        }
    }
}

/// Moves this thread into a new network namespace, and opens there what must be opened inside.
fn enter(relayed: bool) -> Result<Inside, String> {
    let words = |what: &str, cause: rustix::io::Errno| format!("cannot {what}: {cause}");
    let namespace = netns::leave().map_err(|cause| words("make a network namespace", cause))?;
    netns::loopback_up().map_err(|cause| words("bring up the loopback", cause))?;
    let routes = watch_routes().map_err(|cause| words("watch routes", cause))?;
    let ears = relayed.then(Ears::open).transpose().map_err(|cause| format!("cannot answer for names: {cause}"))?;
    Ok(Inside { namespace, routes, ears })
}

/// A socket that receives a message when a route of this thread's network namespace changes
/// (rtnetlink(7)).
fn watch_routes() -> Result<OwnedFd, rustix::io::Errno> {
    const IPV4_ROUTE: u32 = 0x40;
    const IPV6_ROUTE: u32 = 0x400;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, IPV4_ROUTE | IPV6_ROUTE))?;
    Ok(socket)
}

/// Waits until there is a default route, by IPv4 or IPv6.
fn wait_for_route(routes: &OwnedFd, process: &OwnedFd, over: &OwnedFd) -> Result<(), String> {
    let began = Instant::now();
    let mut news = vec![0_u8; 32 * 1024];
    loop {
        let left = PATIENCE.checked_sub(began.elapsed()).ok_or("it made no way out within 10 seconds")?;
        let left = Timespec::try_from(left).map_err(|cause| cause.to_string())?;
        let mut polled =
            [PollFd::new(routes, PollFlags::IN), PollFd::new(process, PollFlags::IN), PollFd::new(over, PollFlags::IN)];
        if let Err(cause) = poll(&mut polled, Some(&left))
            && cause != rustix::io::Errno::INTR
        {
            return Err(format!("cannot wait: {cause}"));
        }
        while let Ok((count, _)) = recv(routes, &mut news[..], RecvFlags::empty()) {
            if holds_default_route(news.get(..count).unwrap_or_default()) {
                return Ok(());
            }
        }
        let [_, process, over] = &polled;
        if !over.revents().is_empty() {
            return Err("nobody needs it any more".to_owned());
        }
        if !process.revents().is_empty() {
            return Err("it ended at once".to_owned());
        }
    }
}

/// True if one of these messages (netlink(7), rtnetlink(7)) reports a new default route.
fn holds_default_route(mut messages: &[u8]) -> bool {
    const HEADER: usize = 16;
    const NEW_ROUTE: u16 = 24;
    const UNICAST: u8 = 1;
    while let Some((header, rest)) = messages.split_at_checked(HEADER) {
        let number = |at: usize| header.get(at).copied().unwrap_or_default();
        let length = u32::from_ne_bytes([number(0), number(1), number(2), number(3)]) as usize;
        let kind = u16::from_ne_bytes([number(4), number(5)]);
        // struct rtmsg: family, length of the destination, of the source, tos, table, protocol,
        // scope, type.
        if let (NEW_ROUTE, [_, 0, _, _, _, _, _, UNICAST, ..]) = (kind, rest) {
            return true;
        }
        let next = length.max(HEADER).next_multiple_of(4);
        messages = messages.get(next..).unwrap_or_default();
    }
    false
}

fn is_closed(over: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(over, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
}

fn wait_for_end(over: &OwnedFd) {
    let mut polled = [PollFd::new(over, PollFlags::IN)];
    while poll(&mut polled, None) == Err(rustix::io::Errno::INTR) {}
}

#[cfg(test)]
mod tests {
    use super::holds_default_route;

    fn message(kind: u16, length: u8, route: u8) -> Vec<u8> {
        let body = [2, length, 0, 0, 254, 3, 0, route, 0, 0, 0, 0];
        let mut message = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.resize(16, 0);
        message.extend(body);
        message
    }

    #[test]
    fn only_a_new_route_to_everywhere_counts() {
        assert!(holds_default_route(&message(24, 0, 1)));
        assert!(holds_default_route(&[message(24, 24, 1), message(24, 0, 1)].concat()));
        for other in [message(25, 0, 1), message(24, 29, 1), message(24, 0, 7), vec![], vec![0; 15], vec![0; 40]] {
            assert!(!holds_default_route(&other), "{other:?}");
        }
        assert!(!holds_default_route(&message(24, 0, 1)[..20]));
    }
}
