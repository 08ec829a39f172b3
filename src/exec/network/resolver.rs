//! /etc/resolv.conf of a step (resolv.conf(5)): the host's, but for nameservers that only the host itself can reach.

use crate::read;
use std::fs::File;
use std::net::IpAddr;

/// Larger files are nobody's.
const LARGEST: u64 = 64 * 1024;
const HOST: &str = "/etc/resolv.conf";
/// What systemd-resolved itself asks, when the file above names only its stub at 127.0.0.53.
const BEHIND_THE_STUB: &str = "/run/systemd/resolve/resolv.conf";

fn text(path: &str) -> Option<String> {
    let bytes = read::at_most(LARGEST, File::open(path).ok()?).ok()??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// As the host has it.
pub(super) fn host() -> Vec<u8> {
    text(HOST).unwrap_or_default().into_bytes()
}

/// Whether all nameservers of the host are on its loopback, and nothing says what is behind them.
pub(super) fn is_out_of_reach() -> bool {
    !has_reachable(&reachable_file())
}

/// For a network of its own. `nameserver` stands for the host's, where those can't be reached.
pub(super) fn inside(nameserver: Option<&str>) -> Vec<u8> {
    rewrite(&reachable_file(), nameserver).into_bytes()
}

fn reachable_file() -> String {
    let host = text(HOST).unwrap_or_default();
    if has_reachable(&host) {
        return host;
    }
    text(BEHIND_THE_STUB).filter(|text| has_reachable(text)).unwrap_or(host)
}

/// The address of a line that names a nameserver.
fn nameserver(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next()).flatten()
}

fn is_reachable(address: &str) -> bool {
    // A zone (`fe80::1%eth0`) is a link of the host's.
    address.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback() && !address.is_unspecified())
}

fn has_reachable(text: &str) -> bool {
    text.lines().filter_map(nameserver).any(is_reachable)
}

fn rewrite(text: &str, instead: Option<&str>) -> String {
    let mut lines: Vec<String> = instead.map(|address| format!("nameserver {address}")).into_iter().collect();
    let keeps = |line: &str| match nameserver(line) {
        Some(address) => instead.is_none() && is_reachable(address),
        None => true,
    };
    lines.extend(text.lines().filter(|line| keeps(line)).map(str::to_owned));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_host_reaches_is_left_out_or_replaced() {
        let text = "# from DHCP\nnameserver 127.0.0.53\nnameserver 10.1.1.1\nnameserver ::1\nsearch example.org\n";
        assert!(has_reachable(text));
        assert_eq!(rewrite(text, None), "# from DHCP\nnameserver 10.1.1.1\nsearch example.org\n");
        assert_eq!(rewrite(text, Some("10.0.2.3")), "nameserver 10.0.2.3\n# from DHCP\nsearch example.org\n");
        for stub in ["nameserver 127.0.0.53\noptions edns0\n", "", "nameserver\n", "nameserver fe80::1%eth0\n"] {
            assert!(!has_reachable(stub), "{stub}");
        }
        assert_eq!(
            rewrite("nameserver 127.0.0.53\noptions edns0\n", Some("169.254.1.1")),
            "nameserver 169.254.1.1\noptions edns0\n"
        );
    }
}
