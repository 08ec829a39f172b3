//! /etc/resolv.conf of a step (resolv.conf(5)): the host's, with another nameserver where the step has a network of its
//! own.

use crate::read;
use std::fs::File;

/// Larger files are nobody's.
const LARGEST: u64 = 64 * 1024;
const HOST: &str = "/etc/resolv.conf";

/// As the host has it.
pub(super) fn host() -> Vec<u8> {
    let bytes = File::open(HOST).ok().and_then(|file| read::at_most(LARGEST, file).ok()?);
    bytes.unwrap_or_default()
}

/// For a network of its own: what the host says of search domains and options, and this nameserver alone. The host's own
/// may be addresses that only the host reaches.
pub(super) fn inside(nameserver: &str) -> Vec<u8> {
    rewrite(&String::from_utf8_lossy(&host()), nameserver).into_bytes()
}

fn rewrite(text: &str, nameserver: &str) -> String {
    let names_one = |line: &&str| line.split_ascii_whitespace().next() == Some("nameserver");
    let kept = text.lines().filter(|line| !names_one(line)).map(|line| format!("{line}\n"));
    std::iter::once(format!("nameserver {nameserver}\n")).chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nameservers_are_replaced_and_the_rest_is_kept() {
        let text = "# from DHCP\nnameserver 127.0.0.53\nnameserver 10.1.1.1\n nameserver fe80::1%eth0\nsearch example.org\n";
        assert_eq!(rewrite(text, "10.0.2.3"), "nameserver 10.0.2.3\n# from DHCP\nsearch example.org\n");
        for one in ["nameserver 9.9.9.9", "nameserver\n", "nameserver ::1\n", ""] {
            assert_eq!(rewrite(one, "10.0.2.3"), "nameserver 10.0.2.3\n");
        }
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\n";
        assert_eq!(rewrite(stub, "169.254.1.1"), "nameserver 169.254.1.1\noptions edns0 trust-ad\n");
    }
}
