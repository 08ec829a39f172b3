//! Limits what may leave a step's namespace: a socket filter program (BPF) on the TAP device that
//! the carrier reads.
//!
//! A step has CAP_NET_RAW, as in Docker. So it can send any frame, even one that is addressed to
//! 127.0.0.1 or ::1. Some carriers connect to any destination address, and would connect to the
//! host's own loopback. The kernel runs this program on each frame, whichever socket sent it
//! (AF_PACKET, raw, AF_XDP). The step can't remove it, because it has neither CAP_NET_ADMIN nor the
//! carrier's descriptor.
//!
//! The descriptor is copied from the carrier (pidfd_getfd(2)), since the carrier opens the device
//! itself.

use crate::sys::spawn::Instruction;
use crate::sys::tap;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::Errno;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use std::time::{Duration, Instant};

/// How long after the first route a carrier may take to open its device.
const PATIENCE: Duration = Duration::from_secs(1);
/// The carrier's descriptors below this number are searched for its device.
const MOST_DESCRIPTORS: i32 = 64;

// linux/filter.h
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const GO: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

// linux/if_ether.h
const IPV4: u32 = 0x0800;
const ARP: u32 = 0x0806;
const IPV6: u32 = 0x86dd;

// Offsets in a frame. The destination address has a fixed offset in both kinds of header.
const KIND: u32 = 12;
const IPV4_TO: u32 = 30;
const IPV6_TO: u32 = 38;

const fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Passes ARP, and IP except to 0.0.0.0/8, 127.0.0.0/8, ::/96 (which holds :: and ::1) and
/// ::ffff:0:0/96. Drops a frame that is too short to hold its address.
const FILTER: &[Instruction] = &[
    instruction(LOAD_HALF, KIND, 0, 0),
    instruction(IF_EQUAL, ARP, 14, 0),
    instruction(IF_EQUAL, IPV4, 2, 0),
    instruction(IF_EQUAL, IPV6, 4, 0),
    instruction(GO, 10, 0, 0),
    // IPv4.
    instruction(LOAD_BYTE, IPV4_TO, 0, 0),
    instruction(IF_EQUAL, 0, 8, 0),
    instruction(IF_EQUAL, 127, 7, 8),
    // IPv6.
    instruction(LOAD_WORD, IPV6_TO, 0, 0),
    instruction(IF_EQUAL, 0, 0, 6),
    instruction(LOAD_WORD, IPV6_TO + 4, 0, 0),
    instruction(IF_EQUAL, 0, 0, 4),
    instruction(LOAD_WORD, IPV6_TO + 8, 0, 0),
    instruction(IF_EQUAL, 0, 1, 0),
    instruction(IF_EQUAL, 0xffff, 0, 1),
    instruction(RETURN, 0, 0, 0),
    instruction(RETURN, u32::MAX, 0, 0),
];

/// Attaches the filter to the device of a carrier. No process of a step may run in the namespace
/// before.
pub(super) fn attach(carrier: &OwnedFd) -> Result<(), String> {
    let began = Instant::now();
    loop {
        match device(carrier) {
            Ok(Some(device)) => {
                return tap::attach_filter(&device, FILTER)
                    .map_err(|cause| format!("no filter can be attached: {cause}"));
            }
            Ok(None) if began.elapsed() > PATIENCE => return Err("the device of its carrier was not found".to_owned()),
            // A carrier's child may make the device and hand it over a moment later.
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(cause) => return Err(format!("the device of its carrier can't be borrowed: {cause}")),
        }
    }
}

fn device(carrier: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    for number in 3..MOST_DESCRIPTORS {
        match pidfd_getfd(carrier.as_fd(), number, PidfdGetfdFlags::empty()) {
            Ok(file) if tap::is_tap(&file) => return Ok(Some(file)),
            Ok(_) | Err(Errno::BADF) => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// Interprets the program as the kernel would. True if the frame passes.
    fn passes(frame: &[u8]) -> bool {
        let (mut at, mut value) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = FILTER[at];
            at += 1;
            let bytes = |count: usize| {
                let bytes = frame.get(k as usize..k as usize + count)?;
                Some(bytes.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)))
            };
            match code {
                LOAD_WORD | LOAD_HALF | LOAD_BYTE => {
                    let count = [4, 2, 1][usize::from((code - LOAD_WORD) / 8)];
                    let Some(loaded) = bytes(count) else { return false };
                    value = loaded;
                }
                GO => at += k as usize,
                IF_EQUAL => at += usize::from(if value == k { jt } else { jf }),
                RETURN => return k != 0,
                other => panic!("code {other}"),
            }
        }
    }

    fn frame(kind: u16, at: usize, to: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x11; 14 + 64];
        frame[12..14].copy_from_slice(&kind.to_be_bytes());
        frame[14 + at..14 + at + to.len()].copy_from_slice(to);
        frame
    }

    #[test]
    fn nothing_addressed_to_a_loopback_leaves() {
        let four = |to: &str| passes(&frame(0x0800, 16, &to.parse::<Ipv4Addr>().expect("an address").octets()));
        for to in ["127.0.0.1", "127.255.0.9", "0.0.0.0", "0.1.2.3"] {
            assert!(!four(to), "{to}");
        }
        for to in ["1.0.0.1", "126.0.0.1", "128.0.0.1", "10.0.2.3", "169.254.1.1", "255.255.255.255"] {
            assert!(four(to), "{to}");
        }
        let six = |to: &str| passes(&frame(0x86dd, 24, &to.parse::<Ipv6Addr>().expect("an address").octets()));
        for to in ["::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"] {
            assert!(!six(to), "{to}");
        }
        for to in ["2001:db8::1", "fe80::1", "ff02::1", "64:ff9b::7f00:1", "0:1::1", "0:0:0:1::1", "::1:0:0:1"] {
            assert!(six(to), "{to}");
        }
    }

    #[test]
    fn frames_of_other_kinds_and_short_ones_are_dropped() {
        assert!(passes(&frame(0x0806, 0, &[])));
        for kind in [0x8100, 0x88a8, 0x8863, 0x0000, 0xffff] {
            assert!(!passes(&frame(kind, 16, &[10, 0, 0, 1])), "{kind:x}");
        }
        assert!(!passes(&frame(0x0800, 16, &[10, 0, 0, 1])[..30]));
        assert!(!passes(&frame(0x86dd, 24, &[0; 2])[..40]));
        assert!(!passes(&[]));
    }
}
