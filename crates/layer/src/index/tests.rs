//! Hostile archives: names, marks, sizes and limits.

#![allow(clippy::unwrap_used)]
use super::*;

/// One archive member as an attacker writes it: name, type flag, link, content.
pub(crate) struct Raw<'a>(pub &'a str, pub u8, pub &'a str, pub &'a [u8]);

pub(crate) fn tar(members: &[Raw<'_>]) -> Vec<u8> {
    let mut tar = Vec::new();
    for Raw(path, kind, link, bytes) in members {
        let mut block = vec![0; 512];
        block[..path.len()].copy_from_slice(path.as_bytes());
        block[100..107].copy_from_slice(b"0000755");
        block[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        block[156] = *kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend(block);
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar
}

fn read(members: &[Raw<'_>]) -> Result<Tree> {
    read_bytes(&tar(members))
}

fn read_bytes(bytes: &[u8]) -> Result<Tree> {
    index(bytes, &mut |_| Ok(None), &mut |_, _| Ok(())).map(|indexed| indexed.tree)
}

pub(crate) fn file<'a>(path: &'a str, bytes: &'a [u8]) -> Raw<'a> {
    Raw(path, b'0', "", bytes)
}

pub(crate) fn dir(path: &str) -> Raw<'_> {
    Raw(path, b'5', "", b"")
}

pub(crate) fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|length| rest + length.to_string().len() == *length).unwrap();
    format!("{length} {key}={value}\n").into_bytes()
}

fn paths(tree: &Tree) -> Vec<&str> {
    tree.entries.iter().map(|entry| std::str::from_utf8(&entry.path).unwrap()).collect()
}

#[test]
fn names_that_lead_out_are_refused() {
    for members in [
        &[file("../out", b"x")][..],
        &[file("a/../../out", b"x")],
        &[dir("..")],
        &[file("../.wh.out", b"")],
        &[Raw("h", b'1', "../out", b"")],
        &[Raw("l", b'2', "/out", b""), Raw("h", b'1', "l/file", b"")],
        &[dir("d"), Raw("h", b'1', "d", b"")],
        &[Raw("a", b'2', "b", b""), Raw("b", b'2', "a", b""), file("a/x", b"x")],
        &[file(".wh...", b"")],
        &[file(".wh..", b"")],
        &[Raw("v", b'V', "", b"")],
    ] {
        assert!(read(members).is_err(), "{}", members[0].0);
    }
}

#[test]
fn links_of_the_layer_are_followed_beneath_its_root() {
    let tree = read(&[Raw("l", b'2', "../../etc", b""), file("l/file", b"x")]).unwrap();
    assert_eq!(paths(&tree), ["etc", "etc/file", "l"]);
    let tree = read(&[dir("d"), file("d/f", b"x"), Raw("d", b'2', "/e", b""), file("d/g", b"x")]).unwrap();
    assert_eq!(paths(&tree), ["d", "e", "e/g"]);
}

#[test]
fn what_overlayfs_obeys_does_not_come_from_an_archive() {
    let records: Vec<u8> = ["trusted.overlay.redirect", "user.overlay.opaque", "user.kept"]
        .iter()
        .flat_map(|name| record(&format!("SCHILY.xattr.{name}"), "/secret"))
        .collect();
    let tree = read(&[Raw("p", b'x', "", &records), dir("d")]).unwrap();
    let names: Vec<&[u8]> = tree.get(b"d").unwrap().xattrs.iter().map(|(name, _)| name.as_ref()).collect();
    assert_eq!(names, [b"user.kept"]);
    let tree = read(&[Raw("gone", b'3', "", b"")]).unwrap();
    assert_eq!(tree.get(b"gone").unwrap().node, Node::Whiteout);
}

#[test]
fn marks_below_what_is_no_directory_hide_nothing() {
    for mark in ["d/.wh.x", "d/.wh..wh..opq"] {
        let tree = read(&[dir("d"), file(mark, b""), file("d", b"now a file")]).unwrap();
        assert_eq!(paths(&tree), ["d"], "{mark}");
    }
}

#[test]
fn content_is_never_taken_for_headers() {
    let hidden = tar(&[file("hidden", b"")]);
    let size = record("size", "512");
    for members in [
        &[Raw("dir/", b'0', "", &hidden[..])][..],
        &[Raw("dir/", 0, "", &hidden)],
        &[Raw("dir/", b'7', "", &hidden)],
        &[file("dir", &hidden)],
    ] {
        assert_eq!(paths(&read(members).unwrap()), ["dir"], "flag {}", members[0].1);
    }
    // The size in the PAX record counts, not the size in the header.
    let bytes = [tar(&[Raw("p", b'x', "", &size), file("outer", b"")]), hidden].concat();
    assert_eq!(paths(&read_bytes(&bytes).unwrap()), ["outer"]);
}

#[test]
fn global_records_change_no_member() {
    let records = [record("path", "other"), record("size", "512"), record("SCHILY.xattr.user.a", "b")].concat();
    let tree = read(&[Raw("g", b'g', "", &records), file("f", b""), file("k", b"")]).unwrap();
    assert_eq!(paths(&tree), ["f", "k"]);
    assert!(tree.get(b"f").unwrap().xattrs.is_empty());
}

#[test]
fn attributes_in_many_headers_are_bounded_together() {
    let one = record("SCHILY.xattr.user.a", &"x".repeat(700_000));
    let two = record("SCHILY.xattr.user.b", &"x".repeat(700_000));
    assert!(read(&[Raw("p", b'x', "", &one), file("f", b"")]).is_ok());
    assert!(read(&[Raw("p", b'x', "", &one), Raw("p", b'x', "", &two), file("f", b"")]).is_err());
}

#[test]
fn links_do_not_put_together_a_path_that_is_too_long() {
    let long = "x/".repeat(1900);
    let (path, link) = (record("linkpath", &long), record("path", &format!("l/{long}f")));
    let members = [Raw("p", b'x', "", &path), Raw("l", b'2', "", b""), Raw("p", b'x', "", &link), file("f", b"")];
    assert!(read(&members).is_err());
}

#[test]
fn cut_archives_are_errors_and_damaged_ones_do_not_panic() {
    let whole = tar(&[dir("d"), file("d/f", &[7; 700]), Raw("h", b'1', "d/f", b"")]);
    for at in (1..whole.len()).filter(|at| at % 512 != 0) {
        assert!(read_bytes(&whole[..at]).is_err(), "cut at {at}");
    }
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..4000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(6) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        for block in bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        let _ = read_bytes(&bytes);
    }
}

/// Reads an archive on top of layers with these entries, which belong to user 7.
fn read_on(below: &[Raw<'_>], members: &[Raw<'_>]) -> Result<Indexed> {
    let below = read(below).unwrap();
    let lower = |entry: &Entry| Entry { uid: 7, mode: 0o1777, ..entry.clone() };
    index(&tar(members)[..], &mut |path| Ok(below.get(path).map(lower)), &mut |_, _| Ok(()))
}

#[test]
fn what_is_only_implied_stays_as_it_is_below() {
    let below = [dir("a"), dir("a/b"), file("f", b"")];
    let tree = read_on(&below, &[file("a/b/c/x", b""), file("f/x", b"")]).unwrap().tree;
    let owner = |path: &str| tree.get(path.as_bytes()).map(|entry| (entry.uid, entry.mode));
    assert_eq!((owner("a"), owner("a/b")), (Some((7, 0o1777)), Some((7, 0o1777))));
    assert_eq!((owner("a/b/c"), owner("f")), (Some((0, 0o755)), Some((0, 0o755))), "no directory below");
    let tree = read_on(&below, &[dir("a"), file("a/x", b"")]).unwrap().tree;
    assert_eq!(tree.get(b"a").unwrap().uid, 0, "the archive says it");
    let tree = read_on(&below, &[file(".wh.a", b""), file("a/x", b"")]).unwrap().tree;
    assert_eq!(tree.get(b"a").map(|entry| (entry.uid, &entry.node)), Some((0, &Node::Dir { opaque: true })));
}

#[test]
fn a_hard_link_brings_a_file_of_the_layers_below_up() {
    let below = [dir("a"), file("a/f", b"text"), Raw("a/l", b'2', "f", b"")];
    let indexed = read_on(&below, &[Raw("b/h", b'1', "/a/f", b""), Raw("b/i", b'1', "b/h", b"")]).unwrap();
    assert_eq!(paths(&indexed.tree), ["a", "a/f", "b", "b/h", "b/i"]);
    let entry = |path: &str| indexed.tree.get(path.as_bytes()).unwrap();
    for path in ["a/f", "b/h", "b/i"] {
        assert_eq!((entry(path).link, entry(path).uid), (Some(1), 7), "{path}");
        assert_eq!(entry(path).node, Node::File { size: 4, digest: None, offset: None });
        assert_eq!(*indexed.below[path.as_bytes()], *b"a/f");
    }
    assert_eq!(entry("a").uid, 7);
    let indexed = read_on(&below, &[Raw("h", b'1', "a/f", b""), file("a/f", b"new")]).unwrap();
    assert_eq!(indexed.below.len(), 1, "only the old name needs the bytes below");
    assert_eq!(indexed.tree.get(b"h").unwrap().link, None);
    let indexed = read_on(&below, &[Raw("h", b'1', "a/l", b"")]).unwrap();
    assert_eq!(indexed.tree.get(b"h").unwrap().node, Node::Symlink { target: b"f"[..].into() });
}

#[test]
fn a_hard_link_to_what_is_not_there_is_refused() {
    let below = [dir("a"), file("a/f", b"text")];
    for before in [file("a/.wh.f", b""), file(".wh.a", b""), file("a/.wh..wh..opq", b""), file("a", b"")] {
        let name = before.0;
        assert!(read_on(&below, &[before, Raw("h", b'1', "a/f", b"")]).is_err(), "{name}");
    }
    for target in ["a", "", "/", "gone", "a/f/x", "a/../..", "../a/f"] {
        assert!(read_on(&below, &[Raw("h", b'1', target, b"")]).is_err(), "{target}");
    }
}

#[test]
fn names_that_imply_many_directories_are_bounded_together() {
    let long = tar(&[Raw("p", b'x', "", &record("path", &"x/".repeat(1400))), dir("d")]);
    let read = |tar: Vec<u8>, most| index_within(&tar[..], &mut |_| Ok(None), &mut |_, _| Ok(()), most);
    assert!(long.len() < 5000 && read(long.clone(), 3 << 20).is_ok());
    let error = read(long, 1 << 20).unwrap_err().to_string();
    assert!(error.contains("names and attributes"), "{error}");
    let value = record("SCHILY.xattr.user.a", &"x".repeat(100_000));
    let mut linked = tar(&[Raw("p", b'x', "", &value), file("f", b"")]);
    linked.extend((0..20).flat_map(|at| tar(&[Raw(&format!("l{at}"), b'1', "f", b"")])));
    assert!(read(linked.clone(), 3 << 20).is_ok());
    assert!(read(linked, 1 << 20).is_err(), "each link has the attributes once more");
}
