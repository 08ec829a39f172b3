//! ADD of archives.

use super::memory::{MemoryFiles, layer, make};
use super::op;

/// A ustar header and its content.
#[allow(clippy::too_many_arguments)]
fn member(name: &str, typ: u8, link: &str, mode: u32, uid: u32, gid: u32, text: &[u8], size: usize) -> Vec<u8> {
    let mut h = vec![0u8; 512];
    h[..name.len()].copy_from_slice(name.as_bytes());
    let mut put = |at: usize, len: usize, v: u64| {
        let t = format!("{v:0w$o}\0", w = len - 1);
        h[at..at + len].copy_from_slice(t.as_bytes());
    };
    put(100, 8, mode as u64);
    put(108, 8, uid as u64);
    put(116, 8, gid as u64);
    put(124, 12, size as u64);
    put(136, 12, 1);
    h[148..156].fill(b' ');
    h[156] = typ;
    h[157..157 + link.len()].copy_from_slice(link.as_bytes());
    h[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = h.iter().map(|b| u64::from(*b)).sum();
    let t = format!("{sum:06o}\0 ");
    h[148..156].copy_from_slice(t.as_bytes());
    h.extend_from_slice(text);
    h.resize(h.len().div_ceil(512) * 512, 0);
    h
}
pub(super) fn tar(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        let mut words = line.split(' ');
        let word = words.next().unwrap();
        let (mut mode, mut uid, mut gid) = (if word.ends_with('/') { 0o755 } else { 0o644 }, 0, 0);
        for w in words {
            if let Some((u, g)) = w.split_once(':') {
                uid = u.parse().unwrap();
                gid = g.parse().unwrap();
            } else {
                mode = u32::from_str_radix(w, 8).unwrap();
            }
        }
        out.extend(if let Some((n, l)) = word.split_once("==") {
            member(n, b'1', l, mode, uid, gid, b"", 0)
        } else if let Some((n, l)) = word.split_once("->") {
            member(n, b'2', l, 0o777, uid, gid, b"", 0)
        } else if let Some((n, t)) = word.split_once('=') {
            member(n, b'0', "", mode, uid, gid, t.as_bytes(), t.len())
        } else {
            member(word, b'5', "", mode, uid, gid, b"", 0)
        });
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn context(archive: Vec<u8>) -> MemoryFiles {
    let mut files = MemoryFiles::of(&["fake.tar.gz=text"]);
    files.add("x.tar=", Some(archive));
    files
}

#[track_caller]
fn check(members: &[&str], base: &[&str], line: &str, expected: &[&str]) {
    let base = (!base.is_empty()).then(|| MemoryFiles::of(base));
    assert_eq!(layer(&op(line), &context(tar(members)), base.as_ref()).unwrap(), expected, "{members:?}");
}

#[track_caller]
fn fails(members: &[&str], part: &str) {
    let error = layer(&op("ADD x.tar /d/"), &context(tar(members)), None).unwrap_err().to_string();
    assert!(error.contains(part), "{members:?}: {error}");
}

const MEMBERS: [&str; 5] = ["f=one 0640 5:6", "h==f", "l->f 5:6", "sub/ 0750 5:6", "sub/g=two 5:6"];

#[test]
fn an_archive_is_unpacked_with_owners_modes_and_links() {
    let expected =
        ["d/ @99", "d/f=one 0640 5:6 #1", "d/h=one 0640 5:6 #1", "d/l->f 5:6", "d/sub/ 0750 5:6", "d/sub/g=two 5:6"];
    for line in ["ADD x.tar /d/", "ADD x.tar /d", "ADD *.tar /d"] {
        check(&MEMBERS, &[], line, &expected);
    }
    let mut packed = MemoryFiles::default();
    packed.add("x.dat=", Some(zstd::bulk::compress(&tar(&MEMBERS), 1).unwrap()));
    assert_eq!(layer(&op("ADD x.dat /d/"), &packed, None).unwrap(), expected);
}

#[test]
fn what_is_no_archive_is_copied_and_copy_never_unpacks() {
    check(&MEMBERS, &[], "ADD fake.tar.gz /e/", &["e/ @99", "e/fake.tar.gz=text"]);
    let copied = make(&op("x.tar /d/"), &context(tar(&MEMBERS)), None).unwrap().layer;
    assert_eq!(copied.len(), 2);
}

#[test]
fn a_slash_behind_the_name_of_a_file_makes_no_directory() {
    check(&["t/=text"], &[], "ADD x.tar /d/", &["d/ @99", "d/t=text"]);
    let mut old = tar(&["t/=text"]);
    let sum: u64 = old[..512].iter().map(|byte| u64::from(*byte)).sum::<u64>();
    // No type flag at all.
    old[156] = 0;
    let digits: u64 = old[148..156].iter().map(|byte| u64::from(*byte)).sum();
    let text = format!("{:06o}\0 ", sum - digits - u64::from(b'0') + 8 * 32);
    old[148..156].copy_from_slice(text.as_bytes());
    assert_eq!(layer(&op("ADD x.tar /d/"), &context(old), None).unwrap(), ["d/ @99", "d/t/ 0644"]);
}

#[test]
fn chown_holds_for_members_and_chmod_does_not() {
    let expected = ["d/ 1:2 @99", "d/i/ @99", "d/i/f=x 0600 1:2"];
    check(&["i/f=x 0600 5:6"], &[], "ADD --chmod=777 --chown=1:2 x.tar /d/", &expected);
}

#[test]
fn members_merge_into_what_is_there_and_replace_files() {
    let base = ["d/", "d/f=old 0600 #3", "d/k=keep", "d/sub/ 0700", "d/sub/old=o"];
    let expected =
        ["d/", "d/f=one 0640 5:6 #1", "d/h=one 0640 5:6 #1", "d/l->f 5:6", "d/sub/ 0750 5:6", "d/sub/g=two 5:6"];
    check(&MEMBERS, &base, "ADD x.tar /d/", &expected);
    check(&["sub=now"], &base, "ADD x.tar /d/", &["d/", "d/sub=now"]);
    check(&["sub=now", "sub/", "sub/f=f"], &base, "ADD x.tar /d/", &["d/", "d/sub/ opaque", "d/sub/f=f"]);
    check(&["f/", "f/g=g"], &base, "ADD x.tar /d/", &["d/", "d/f/", "d/f/g=g"]);
    check(&["n/", "n/a=a", "n=file"], &base, "ADD x.tar /d/", &["d/", "d/n=file"]);
}

#[test]
fn the_entry_of_the_archive_itself_changes_nothing() {
    check(&["./ 0700 5:6", "./f=f"], &["have/ 0711"], "ADD x.tar /have/", &["have/ 0711", "have/f=f"]);
    check(&["./ 0700 5:6", "./f=f"], &[], "ADD x.tar /new/", &["new/ @99", "new/f=f"]);
}

#[test]
fn the_destination_is_the_root_of_all_links() {
    let base = ["etc/", "etc/passwd=p", "lnk->/real", "real/", "real/out->/etc", "real/etc/", "real/up->../../../etc"];
    check(&["f=f"], &base, "ADD x.tar /lnk/", &["real/", "real/f=f"]);
    check(&["out/passwd=f"], &base, "ADD x.tar /lnk/", &["real/", "real/etc/", "real/etc/passwd=f"]);
    check(&["up/x=f"], &base, "ADD x.tar /real/", &["real/", "real/etc/", "real/etc/x=f"]);
    check(&["e->/", "e/etc/x=f"], &base, "ADD x.tar /real/", &["real/", "real/e->/", "real/etc/", "real/etc/x=f"]);
    check(&["/abs=f", "/../up2=g"], &base, "ADD x.tar /real/", &["real/", "real/abs=f", "real/up2=g"]);
    check(&["out=f"], &base, "ADD x.tar /real/", &["real/", "real/out=f"]);
}

#[test]
fn a_hard_link_may_name_what_the_target_has() {
    let base = ["d/", "d/old=text 0600 3:4"];
    check(&["new==old"], &base, "ADD x.tar /d/", &["d/", "d/new=text 0600 3:4 #1", "d/old=text 0600 3:4 #1"]);
    // A first name may be replaced later; the bytes stay.
    check(&["a=one", "b==a", "a=two"], &[], "ADD x.tar /d/", &["d/ @99", "d/a=two", "d/b=one #1"]);
}

#[test]
fn hostile_members_are_refused() {
    fails(&["../x=evil"], "leads out");
    fails(&["a/../../x=evil"], "leads out");
    fails(&["h==../../etc/passwd"], "leads out");
    fails(&["h==gone"], "not a file there");
    fails(&["f=f", "f==f"], "not a file there");
    fails(&["f=f", "f/x=f"], "`/d/f` of the target is not a directory");
    fails(&["a->b", "b->a", "a/x=f"], "symbolic links");
    fails(&[".wh.x="], "cannot stand in a layer");
}

#[test]
fn a_damaged_archive_is_an_error_not_a_copy() {
    let noise: Vec<u8> = (0..9375u32).flat_map(|n| base::digest::Digest::of(&n.to_le_bytes()).0).collect();
    let mut packed = zstd::bulk::compress(&member("f", b'0', "", 0o644, 0, 0, &noise, 300_000), 1).unwrap();
    packed.truncate(packed.len() / 2);
    assert!(layer(&op("ADD x.tar /d/"), &context(packed), None).is_err());
}
