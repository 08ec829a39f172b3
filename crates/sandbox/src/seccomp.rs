//! The system calls that a step may make: Docker's default profile as a BPF program (seccomp(2)),
//! for this machine's own calls and those of its 32-bit relatives. This module knows nothing of
//! containers: it makes the instructions, once, and `sys` installs them.
//!
//! A binary search over ranges of numbers finds a call. Four calls are decided by an argument too:
//! `clone` may make no namespaces, `socket` none of the families that lead out of the container or
//! into the kernel's cryptography, `personality` only harmless ones. `clone3`, whose arguments no
//! filter can read, fails with ENOSYS.

use crate::sys::spawn::Instruction;
use std::sync::LazyLock;

/// The profile: `name x86_64 x32 i386 aarch64 arm`, a call each.
const TABLE: &str = include_str!("seccomp/table.txt");

// linux/audit.h
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

// linux/seccomp.h, linux/filter.h
const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
const GO: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;

// struct seccomp_data
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// `CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET`.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// AF_ALG and AF_VSOCK.
const FAMILIES: [u32; 2] = [38, 40];
/// PER_LINUX and PER_LINUX32, each with or without UNAME26, and the value that only queries.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Marks calls of x32 programs on x86_64.
const X32: u32 = 0x4000_0000;

/// The filter for this machine.
pub(super) static FILTER: LazyLock<Vec<Instruction>> = LazyLock::new(|| of_machine(&[]));

/// The filter for a step without a network. i386's `socketcall` fails with ENOSYS: it hides the
/// family of a socket, and AF_VSOCK leads out of any network namespace. With a network it is
/// allowed, as in Docker, because the C library of i386 makes all its sockets with it.
pub(super) static OFFLINE: LazyLock<Vec<Instruction>> = LazyLock::new(|| of_machine(&["socketcall"]));

fn of_machine(missing: &[&str]) -> Vec<Instruction> {
    match std::env::consts::ARCH {
        "x86_64" => program(&[(X86_64, &[1, 2]), (I386, &[3])], missing),
        "aarch64" => program(&[(AARCH64, &[4]), (ARM, &[5])], missing),
        // No table, so nothing is refused. `doctor` and docs/security.md say so.
        _ => Vec::new(),
    }
}

fn instruction(code: u16, k: u32, yes: u8, no: u8) -> Instruction {
    Instruction { code, jt: yes, jf: no, k }
}

fn give(verdict: u32) -> Instruction {
    instruction(RETURN, verdict, 0, 0)
}

/// Builds the filter. Each architecture has its columns in the table. Calls that are `missing` fail
/// with ENOSYS.
fn program(all: &[(u32, &[usize])], missing: &[&str]) -> Vec<Instruction> {
    let mut program = vec![instruction(LOAD, ARCHITECTURE, 0, 0)];
    for (architecture, columns) in all {
        let part = part(columns, *architecture == X86_64, missing);
        program.push(instruction(IF_EQUAL, *architecture, 1, 0));
        program.push(instruction(GO, part.len() as u32, 0, 0));
        program.extend(part);
    }
    program.push(give(KILL));
    program
}

/// The part of the filter for one architecture.
fn part(columns: &[usize], x32: bool, missing: &[&str]) -> Vec<Instruction> {
    let rows: Vec<Vec<&str>> =
        TABLE.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').collect()).collect();
    let numbers = |name: &str| {
        let row = rows.iter().find(|row| row.first() == Some(&name));
        let cells = columns.iter().filter_map(|column| row?.get(*column)?.parse().ok());
        cells.collect::<Vec<u32>>()
    };
    let special = ["clone", "clone3", "personality", "socket", "highest"];
    let names = rows.iter().filter_map(|row| row.first()).filter(|name| !special.contains(name));
    let allowed: Vec<u32> = names.flat_map(|name| numbers(name)).collect();
    let highest = numbers("highest").first().copied().unwrap_or(0);

    let mut part = vec![instruction(LOAD, NUMBER, 0, 0)];
    if x32 {
        part.push(instruction(AND, !X32, 0, 0));
    }
    for (name, judge) in [
        ("clone3", vec![give(ERRNO | ENOSYS)]),
        ("clone", none_of_bits(NEW_NAMESPACES)),
        ("socket", none_of(&FAMILIES)),
        ("personality", one_of(&PERSONALITIES)),
    ] {
        for number in numbers(name) {
            part.push(instruction(IF_EQUAL, number, 0, judge.len() as u8));
            part.extend(judge.iter().copied());
        }
    }
    for number in missing.iter().flat_map(|name| numbers(name)) {
        part.extend([instruction(IF_EQUAL, number, 0, 1), give(ERRNO | ENOSYS)]);
    }
    // x32 and arm have further numbers after a gap.
    let gap_end = allowed.iter().filter(|number| **number > highest).min().map_or(u32::MAX, |number| number - 1);
    part.push(instruction(IF_GREATER, highest, 0, 2));
    part.push(instruction(IF_GREATER, gap_end, 1, 0));
    part.push(give(ERRNO | ENOSYS));
    part.extend(search(&ranges(allowed)));
    part
}

fn none_of_bits(bits: u32) -> Vec<Instruction> {
    vec![instruction(LOAD, FIRST_ARGUMENT, 0, 0), instruction(IF_ANY_BIT, bits, 0, 1), give(ERRNO | EPERM), give(ALLOW)]
}

fn none_of(values: &[u32]) -> Vec<Instruction> {
    let mut judge = vec![instruction(LOAD, FIRST_ARGUMENT, 0, 0)];
    for value in values {
        judge.extend([instruction(IF_EQUAL, *value, 0, 1), give(ERRNO | EPERM)]);
    }
    judge.push(give(ALLOW));
    judge
}

fn one_of(values: &[u32]) -> Vec<Instruction> {
    let mut judge = vec![instruction(LOAD, FIRST_ARGUMENT, 0, 0)];
    for value in values {
        judge.extend([instruction(IF_EQUAL, *value, 0, 1), give(ALLOW)]);
    }
    judge.push(give(ERRNO | EPERM));
    judge
}

/// Runs of numbers that follow each other.
fn ranges(mut numbers: Vec<u32>) -> Vec<(u32, u32)> {
    numbers.sort_unstable();
    numbers.dedup();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// A binary search: halves the ranges until one is left.
fn search(ranges: &[(u32, u32)]) -> Vec<Instruction> {
    match ranges {
        [] => vec![give(ERRNO | EPERM)],
        [(first, last)] => vec![
            instruction(IF_AT_LEAST, *first, 0, 1),
            instruction(IF_GREATER, *last, 0, 1),
            give(ERRNO | EPERM),
            give(ALLOW),
        ],
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let (left, right) = (search(low), search(high));
            let middle = high.first().map_or(0, |(first, _)| *first);
            let mut both = vec![instruction(IF_AT_LEAST, middle, 0, 1), instruction(GO, left.len() as u32, 0, 0)];
            both.extend(left);
            both.extend(right);
            both
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the program as the kernel would, and returns its verdict.
    fn verdict(program: &[Instruction], architecture: u32, number: u32, argument: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        for _ in 0..program.len() {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let mut jump = |yes: bool| at += usize::from(if yes { jt } else { jf });
            match code {
                LOAD => value = [number, architecture, 0, 0, argument][k as usize / 4],
                AND => value &= k,
                GO => at += k as usize,
                IF_EQUAL => jump(value == k),
                IF_GREATER => jump(value > k),
                IF_AT_LEAST => jump(value >= k),
                IF_ANY_BIT => jump(value & k != 0),
                RETURN => return k,
                other => panic!("code {other}"),
            }
        }
        panic!("it does not end")
    }

    #[test]
    fn every_call_is_answered_as_the_table_says() {
        let x86 = program(&[(X86_64, &[1, 2]), (I386, &[3])], &[]);
        let arm = program(&[(AARCH64, &[4]), (ARM, &[5])], &[]);
        assert!(x86.len() < 4096 && arm.len() < 4096, "the kernel takes no more");
        let special = ["clone", "clone3", "personality", "socket", "highest"];
        for (program, architecture, column) in [(&x86, X86_64, 1), (&x86, I386, 3), (&arm, AARCH64, 4), (&arm, ARM, 5)]
        {
            let listed: Vec<u32> = TABLE
                .lines()
                .map(|line| line.split(' ').collect::<Vec<_>>())
                .filter(|row| !row[0].starts_with('#') && !special.contains(&row[0]))
                .filter_map(|row| row[column].parse().ok())
                .collect();
            assert!(listed.len() > 250);
            for number in 0..500 {
                let got = verdict(program, architecture, number, 0xffff);
                match (listed.contains(&number), number > 466) {
                    (true, _) => assert_eq!(got, ALLOW, "{architecture:x} {number}"),
                    (false, true) => assert_eq!(got, ERRNO | ENOSYS, "{architecture:x} {number}"),
                    (false, false) => assert_ne!(got, KILL, "{architecture:x} {number}"),
                }
            }
            assert_eq!(verdict(program, 0x1234, 1, 0), KILL);
        }
    }

    #[test]
    fn some_calls_are_judged_by_their_argument() {
        let program = program(&[(X86_64, &[1, 2]), (I386, &[3])], &[]);
        let ask = |number, argument| verdict(&program, X86_64, number, argument);
        assert_eq!([ask(41, 1), ask(41, 2), ask(41, 39)], [ALLOW; 3]);
        assert_eq!([ask(41, 38), ask(41, 40)], [ERRNO | EPERM; 2]);
        assert_eq!([ask(56, 0x11), ask(56, 0x3d_0f00)], [ALLOW; 2]);
        assert_eq!([ask(56, 0x1000_0000), ask(56, 0x2_0011)], [ERRNO | EPERM; 2]);
        assert_eq!([ask(435, 0), ask(X32 | 435, 0)], [ERRNO | ENOSYS; 2]);
        assert_eq!([ask(135, 0), ask(135, 0xffff_ffff), ask(135, 0x4_0000)], [ALLOW, ALLOW, ERRNO | EPERM]);
        // mount, unshare, keyctl, bpf, io_uring_setup, kexec_load by both its numbers, and x32's
        // own execve.
        for refused in [165, 272, 250, 321, 425, 246, X32 | 528] {
            assert_eq!(ask(refused, 0), ERRNO | EPERM, "{refused}");
        }
        assert_eq!([ask(X32 | 520, 0), ask(59, 0), ask(439, 0)], [ALLOW; 3]);
        assert_eq!(ask(500, 0), ERRNO | ENOSYS);
    }

    #[test]
    fn a_call_that_is_missing_does_not_exist_and_others_do() {
        let program = program(&[(X86_64, &[1, 2]), (I386, &[3])], &["socketcall"]);
        assert_eq!(verdict(&program, I386, 102, 1), ERRNO | ENOSYS);
        // socket(2) itself, and x86_64's getuid, which has that number.
        assert_eq!([verdict(&program, I386, 359, 1), verdict(&program, X86_64, 102, 0)], [ALLOW; 2]);
        assert_eq!([verdict(&program, I386, 359, 40), verdict(&program, X86_64, 41, 40)], [ERRNO | EPERM; 2]);
    }
}
