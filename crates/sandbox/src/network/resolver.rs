//! /etc/resolv.conf of a step (resolv.conf(5)). In the host's network it is the host's file. In a
//! network of its own it holds the host's search domains and options, and the host's nameservers if
//! the step can reach them. Else it holds the address at which kiln relays queries to them (see
//! `names`).

use base::read;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;
const HOST: &str = "/etc/resolv.conf";
const PORT: u16 = 53;

/// The address of kiln's relay in a step's network. Docker's own nameserver has the same in
/// containers.
pub(super) const RELAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// How a step in a network of its own resolves names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// The step asks these nameservers itself.
    Direct(Vec<IpAddr>),
    /// The step asks kiln, and kiln asks these nameservers.
    Relayed(Vec<SocketAddr>),
}

impl Names {
    /// Reads the host's files. `taken` is true for addresses that differ in the step's network.
    pub(super) fn of_host(taken: impl Fn(Ipv4Addr) -> bool) -> Names {
        Names::of(&text(HOST), has_ipv4_route(&text("/proc/self/net/route")), taken)
    }

    fn of(resolv: &str, ipv4: bool, taken: impl Fn(Ipv4Addr) -> bool) -> Names {
        let servers: Vec<SocketAddr> = resolv.lines().filter_map(nameserver).filter_map(socket).collect();
        // The order matters: other nameservers may deny names that only the first one knows. So the
        // first one decides.
        let direct = |server: &SocketAddr| match server.ip() {
            IpAddr::V4(ip) => ipv4 && !ip.is_loopback() && !ip.is_unspecified() && !taken(ip),
            // Not every carrier can reach IPv6.
            IpAddr::V6(_) => false,
        };
        match servers.first() {
            Some(first) if direct(first) => {
                Names::Direct(servers.iter().filter(|server| direct(server)).map(SocketAddr::ip).collect())
            }
            Some(_) => Names::Relayed(servers),
            // The addresses that the C library asks then.
            None => Names::Relayed(vec![
                (Ipv4Addr::LOCALHOST, PORT).into(),
                SocketAddrV6::new(Ipv6Addr::LOCALHOST, PORT, 0, 0).into(),
            ]),
        }
    }

    /// The nameservers in a step's /etc/resolv.conf.
    pub(super) fn servers(&self) -> Vec<IpAddr> {
        match self {
            Names::Direct(servers) => servers.clone(),
            Names::Relayed(_) => vec![RELAY.into()],
        }
    }

    /// The content of /etc/resolv.conf.
    pub(super) fn resolv(&self) -> Vec<u8> {
        rewrite(&text(HOST), &self.servers()).into_bytes()
    }
}

/// The host's /etc/resolv.conf.
pub(super) fn host() -> Vec<u8> {
    text(HOST).into_bytes()
}

fn text(path: &str) -> String {
    let bytes = File::open(path).ok().and_then(|file| read::at_most(LARGEST, file).ok()?);
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// The address in a `nameserver` line.
fn nameserver(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next()).flatten()
}

/// Parses a nameserver's address. The unspecified address means the host itself.
fn socket(address: &str) -> Option<SocketAddr> {
    let (address, zone) = address.split_once('%').unwrap_or((address, ""));
    Some(match address.parse().ok()? {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, PORT).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, PORT).into(),
        IpAddr::V4(ip) => (ip, PORT).into(),
        IpAddr::V6(ip) => {
            let index = |name: &str| text(&format!("/sys/class/net/{name}/ifindex")).trim().parse().ok();
            let scope = zone.parse().ok().or_else(|| index(zone).filter(|_| !zone.contains('/'))).unwrap_or(0);
            SocketAddrV6::new(ip, PORT, 0, scope).into()
        }
    })
}

/// True if there is a default route by IPv4 (proc_pid_net(5)).
fn has_ipv4_route(route: &str) -> bool {
    route.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).any(|field| {
        let nothing = "00000000";
        field.get(1).is_some_and(|to| *to == nothing) && field.get(7).is_some_and(|mask| *mask == nothing)
    })
}

fn rewrite(text: &str, servers: &[IpAddr]) -> String {
    let names_one = |line: &&str| line.split_ascii_whitespace().next() == Some("nameserver");
    let kept = text.lines().filter(|line| !names_one(line)).map(|line| format!("{line}\n"));
    servers.iter().map(|server| format!("nameserver {server}\n")).chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(servers: &[[u8; 4]]) -> Names {
        Names::Direct(servers.iter().map(|ip| Ipv4Addr::from(*ip).into()).collect())
    }

    fn relayed(servers: &[&str]) -> Names {
        Names::Relayed(servers.iter().map(|server| server.parse().expect("an address")).collect())
    }

    #[test]
    fn the_first_nameserver_decides_who_is_asked() {
        let of = |resolv: &str| Names::of(resolv, true, |ip| ip.octets()[0] == 10 && ip.octets()[1] == 0);
        assert_eq!(of("nameserver 9.9.9.9\nnameserver 10.1.1.1\n"), direct(&[[9, 9, 9, 9], [10, 1, 1, 1]]));
        assert_eq!(of(" nameserver 9.9.9.9\nnameserver ::1\nnameserver 127.0.0.1"), direct(&[[9, 9, 9, 9]]));
        assert_eq!(of("nameserver 127.0.0.53\nnameserver 9.9.9.9"), relayed(&["127.0.0.53:53", "9.9.9.9:53"]));
        assert_eq!(of("nameserver 10.0.2.3\n"), relayed(&["10.0.2.3:53"]));
        assert_eq!(of("nameserver 2001:db8::1\nnameserver 9.9.9.9\n"), relayed(&["[2001:db8::1]:53", "9.9.9.9:53"]));
        assert_eq!(of("nameserver fe80::1%7\n"), relayed(&["[fe80::1%7]:53"]));
        assert_eq!(of("nameserver 0.0.0.0\n"), relayed(&["127.0.0.1:53"]));
        for nobody in ["", "nameserver\n", "nameserver nonsense\n", "search example.org\n"] {
            assert_eq!(of(nobody), relayed(&["127.0.0.1:53", "[::1]:53"]), "{nobody}");
        }
        assert_eq!(Names::of("nameserver 9.9.9.9", false, |_| false), relayed(&["9.9.9.9:53"]));
    }

    #[test]
    fn nameservers_are_replaced_and_the_rest_is_kept() {
        let text =
            "# from DHCP\nnameserver 127.0.0.53\nnameserver 10.1.1.1\n nameserver fe80::1%eth0\nsearch example.org\n";
        let servers = relayed(&["127.0.0.53:53"]).servers();
        assert_eq!(rewrite(text, &servers), "nameserver 127.0.0.11\n# from DHCP\nsearch example.org\n");
        let servers = direct(&[[9, 9, 9, 9], [1, 1, 1, 1]]).servers();
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\n";
        assert_eq!(rewrite(stub, &servers), "nameserver 9.9.9.9\nnameserver 1.1.1.1\noptions edns0 trust-ad\n");
    }

    #[test]
    fn a_default_route_is_seen() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        assert!(has_ipv4_route(&format!("{head}eth0\t00000000\t010000C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")));
        assert!(!has_ipv4_route(&format!("{head}eth0\t000000C0\t00000000\t0001\t0\t0\t0\tF8FFFFFF\t0\t0\t0\n")));
        assert!(!has_ipv4_route(head));
    }
}
