//! A DNS relay for steps that can't ask the host's nameservers themselves, because these are on the
//! host's loopback or need IPv6. It listens in the step's namespace, at port 53 of an address on
//! the loopback there, and forwards queries from the host's network, by UDP and TCP. It passes
//! messages (RFC 1035) on unchanged, and reads only their ID.
//!
//! One thread serves a namespace, and each TCP connection has a thread while it lasts. Connections,
//! queries and their time are limited. A query beyond a limit gets no answer.

use super::resolver::RELAY;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PORT: u16 = 53;
/// After this time without an answer the next nameserver is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// A connection on which nothing happens is closed.
const IDLE: Duration = Duration::from_secs(10);
/// The most UDP queries that may be open at once. A new one replaces the oldest.
const MOST_QUESTIONS: usize = 128;
/// The most TCP connections at once.
const MOST_CONNECTIONS: usize = 16;
/// The longest message: the limit of TCP, above any of UDP.
const LONGEST: usize = 65_535;

/// The sockets that receive queries.
#[derive(Debug)]
pub(super) struct Ears {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Ears {
    /// Opens the sockets in the calling thread's network namespace, whose loopback must be up.
    pub(super) fn open() -> io::Result<Ears> {
        let (udp, tcp) = (UdpSocket::bind((RELAY, PORT))?, TcpListener::bind((RELAY, PORT))?);
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Ears { udp, tcp })
    }

    /// Answers queries until the other end of `over` is closed. The calling thread is in the host's
    /// network.
    pub(super) fn answer(self, servers: Vec<SocketAddr>, over: &OwnedFd) {
        let servers: Arc<[SocketAddr]> = servers.into();
        let mut relay = Relay { ears: self, servers, good: 0, questions: Vec::new(), connections: Arc::default() };
        let mut buffer = vec![0; LONGEST];
        while relay.turn(over, &mut buffer) {}
    }
}

struct Relay {
    ears: Ears,
    servers: Arc<[SocketAddr]>,
    /// The index of the server that answered last.
    good: usize,
    questions: Vec<Question>,
    /// The number of clones is the number of connections.
    connections: Arc<()>,
}

/// A UDP query without an answer yet.
struct Question {
    from: SocketAddr,
    bytes: Vec<u8>,
    /// Connected to a nameserver.
    socket: UdpSocket,
    server: usize,
    /// The number of servers that were asked.
    asked: usize,
    since: Instant,
}

impl Relay {
    /// Waits for the next event and handles it. Returns false if the relay should end.
    fn turn(&mut self, over: &OwnedFd, buffer: &mut [u8]) -> bool {
        let fds: [&dyn rustix::fd::AsFd; 3] = [over, &self.ears.udp, &self.ears.tcp];
        let mut polled: Vec<PollFd<'_>> =
            fds.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
        polled.extend(self.questions.iter().map(|question| PollFd::new(&question.socket, PollFlags::IN)));
        let wait = self.questions.iter().map(|question| PATIENCE.saturating_sub(question.since.elapsed())).min();
        // Waits a little longer, so that the time has really passed.
        let wait = wait.and_then(|wait| Timespec::try_from(wait + Duration::from_millis(1)).ok());
        if poll(&mut polled, wait.as_ref()).is_err_and(|cause| cause != rustix::io::Errno::INTR) {
            return false;
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        let [over, udp, tcp, questions @ ..] = ready.as_slice() else { return false };
        let mut answers = questions.iter().copied();
        for question in std::mem::take(&mut self.questions) {
            self.go_on(question, answers.next() == Some(true), buffer);
        }
        if *udp {
            self.hear(buffer);
        }
        if *tcp {
            self.accept();
        }
        !over
    }

    fn hear(&mut self, buffer: &mut [u8]) {
        while let Ok((count, from)) = self.ears.udp.recv_from(buffer) {
            let bytes = buffer.get(..count).unwrap_or_default().to_vec();
            if self.questions.len() >= MOST_QUESTIONS {
                self.questions.remove(0);
            }
            self.ask(from, bytes, self.good, 0);
        }
    }

    /// Sends a query to a nameserver, or to the next if that fails, until all were tried.
    fn ask(&mut self, from: SocketAddr, bytes: Vec<u8>, first: usize, asked: usize) {
        let count = self.servers.len();
        for asked in asked..count {
            let server = (first + asked) % count;
            let Some(to) = self.servers.get(server) else { return };
            if let Ok(socket) = send(*to, &bytes) {
                let since = Instant::now();
                self.questions.push(Question { from, bytes, socket, server, asked: asked + 1, since });
                return;
            }
        }
    }

    fn go_on(&mut self, question: Question, ready: bool, buffer: &mut [u8]) {
        let got = if ready { question.socket.recv(buffer) } else { Err(io::ErrorKind::WouldBlock.into()) };
        match got {
            Ok(count) => {
                let answer = buffer.get(..count).unwrap_or_default();
                if answer.get(..2).is_some_and(|number| Some(number) == question.bytes.get(..2)) {
                    self.good = question.server;
                    let _ = self.ears.udp.send_to(answer, question.from);
                } else {
                    self.questions.push(question);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && question.since.elapsed() < PATIENCE => {
                self.questions.push(question);
            }
            // The server refused, or did not answer in time.
            Err(_) => {
                let first = (question.server + self.servers.len() + 1 - question.asked) % self.servers.len().max(1);
                self.ask(question.from, question.bytes, first, question.asked);
            }
        }
    }

    fn accept(&self) {
        while let Ok((client, _)) = self.ears.tcp.accept() {
            if Arc::strong_count(&self.connections) > MOST_CONNECTIONS {
                continue;
            }
            let (servers, held) = (Arc::clone(&self.servers), Arc::clone(&self.connections));
            let good = self.good;
            let serve = move || {
                let _ = converse(client, &servers, good);
                drop(held);
            };
            let _ = std::thread::Builder::new().name("names".to_owned()).spawn(serve);
        }
    }
}

/// Each query has a socket of its own, so that its port can't be guessed.
fn send(to: SocketAddr, bytes: &[u8]) -> io::Result<UdpSocket> {
    let any: SocketAddr =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(to)?;
    socket.send(bytes)?;
    Ok(socket)
}

/// Relays the queries of a TCP connection, one after the other.
fn converse(mut client: TcpStream, servers: &[SocketAddr], good: usize) -> io::Result<()> {
    limit(&client)?;
    let order = servers.iter().cycle().skip(good).take(servers.len());
    let mut connected = order.filter_map(|server| TcpStream::connect_timeout(server, PATIENCE).ok());
    let mut server = connected.next().ok_or(io::ErrorKind::HostUnreachable)?;
    limit(&server)?;
    loop {
        pass(&mut client, &mut server)?;
        pass(&mut server, &mut client)?;
    }
}

fn limit(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))
}

/// Passes one message on: its length in two bytes, then its content.
fn pass(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let mut length = [0; 2];
    from.read_exact(&mut length)?;
    let mut message = length.to_vec();
    message.resize(2 + usize::from(u16::from_be_bytes(length)), 0);
    from.read_exact(message.get_mut(2..).unwrap_or_default())?;
    to.write_all(&message)
}
