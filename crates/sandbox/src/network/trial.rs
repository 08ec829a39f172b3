//! Tests a network from inside with one DNS query and one connection, as a step would make them.
//! For `kiln doctor`.

use super::Lease;
use crate::Network;
use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(3);
/// Servers that builds use most. The first one that the host itself reaches is tried.
const GOALS: &[(&str, u16)] =
    &[("registry-1.docker.io", 443), ("deb.debian.org", 80), ("github.com", 443), ("pypi.org", 443)];

/// Describes what worked. The error says what failed although it works on the host.
pub fn reach(lease: &Lease<'_>) -> Result<String, String> {
    let Network::Own(namespace) = lease.network() else { return Err("there is no network".to_owned()) };
    let servers = lease.servers();
    let Some((name, port)) = GOALS.iter().find(|(name, port)| host_reaches(name, *port)) else {
        let names: Vec<&str> = GOALS.iter().map(|(name, _)| *name).collect();
        return Ok(format!("no name was tried, because the host itself reaches none of {}", names.join(", ")));
    };
    let inside = || {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), kind).map_err(|cause| format!("cannot enter it: {cause}"))?;
        let address = look_up(&servers, name)?;
        let to = SocketAddr::from((address, *port));
        TcpStream::connect_timeout(&to, PATIENCE)
            .map_err(|cause| format!("{name} resolves to {address} but does not answer: {cause}"))?;
        Ok(format!("{name} resolves and answers"))
    };
    // A thread of its own enters the namespace, so that the calling thread stays in its network.
    let tried = std::thread::scope(|scope| scope.spawn(inside).join());
    let tried: Result<String, String> = tried.unwrap_or_else(|_| Err("the thread that tries it failed".to_owned()));
    tried.map_err(|why| format!("{why}, and on the host it does"))
}

fn host_reaches(name: &str, port: u16) -> bool {
    let mut addresses = (name, port).to_socket_addrs().into_iter().flatten();
    addresses.any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok())
}

/// Asks each nameserver for the name's address.
fn look_up(servers: &[IpAddr], name: &str) -> Result<Ipv4Addr, String> {
    let mut failures = Vec::new();
    for server in servers {
        match ask(*server, name) {
            Ok(address) => return Ok(address),
            Err(why) => failures.push(format!("{name} does not resolve: {server}: {why}")),
        }
    }
    Err(failures.join("; "))
}

fn ask(server: IpAddr, name: &str) -> Result<Ipv4Addr, String> {
    let words = |cause: std::io::Error| match cause.kind() {
        std::io::ErrorKind::WouldBlock => "no answer within 3 seconds".to_owned(),
        _ => cause.to_string(),
    };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(words)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(words)?;
    socket.connect((server, 53)).map_err(words)?;
    socket.send(&question(name)).map_err(words)?;
    let mut answer = [0; 1500];
    let count = socket.recv(&mut answer).map_err(words)?;
    address(answer.get(..count).unwrap_or_default()).ok_or_else(|| "it knows no address of it".to_owned())
}

/// A DNS query for an IPv4 address (RFC 1035).
fn question(name: &str) -> Vec<u8> {
    // ID, recursion desired, one question.
    let mut bytes = vec![0x6b, 0x6e, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.bytes());
    }
    // The end of the name, type A, class IN.
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// The first address in an answer.
fn address(answer: &[u8]) -> Option<Ipv4Addr> {
    let number = |at: usize| Some(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
    let name_end = |mut at: usize| loop {
        match answer.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(*length),
        }
    };
    let mut at = 12;
    for _ in 0..number(4)? {
        at = name_end(at)? + 4;
    }
    for _ in 0..number(6)? {
        at = name_end(at)?;
        let (kind, length) = (number(at)?, number(at + 8)?);
        if let (1, 4, Some([a, b, c, d])) = (kind, length, answer.get(at + 10..at + 14)) {
            return Some(Ipv4Addr::new(*a, *b, *c, *d));
        }
        at += 10 + usize::from(length);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_behind_other_answers() {
        let asked = question("a.example");
        assert_eq!(&asked[12..], b"\x01a\x07example\0\0\x01\0\x01");
        let mut answer = asked.clone();
        answer[7] = 2;
        answer.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e");
        answer.extend(b"\x01b\xc0\x0e\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x09\x09\x09");
        assert_eq!(address(&answer), Some(Ipv4Addr::new(10, 9, 9, 9)));
        for end in 0..answer.len() {
            assert_eq!(address(&answer[..end]), None, "{end}");
        }
        assert_eq!(address(&asked), None);
        assert_eq!(address(&[0xff; 64]), None);
    }
}
