//! Numbers, names and maps at their limits, and archives of other programs.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::index::tests::{Raw, dir, file, record, tar};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

/// All members with their stored bytes.
fn read(tar: &[u8]) -> Result<Vec<(Member, Vec<u8>)>> {
    let mut archive = Archive::new(tar);
    let mut members = Vec::new();
    while let Some(member) = archive.next_member()? {
        let mut bytes = vec![0; member.stored.min(1 << 20) as usize];
        let mut got = 0;
        while got < bytes.len() {
            got += archive.read(&mut bytes[got..])?;
        }
        members.push((member, bytes));
    }
    Ok(members)
}

/// The archive with a field of its first header changed, and a right checksum.
fn patched(mut tar: Vec<u8>, at: usize, field: &[u8]) -> Vec<u8> {
    tar[at..at + field.len()].copy_from_slice(field);
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar
}

fn with(key: &str, value: &str) -> Vec<u8> {
    tar(&[Raw("p", b'x', "", &record(key, value)), file("f", b"")])
}

#[track_caller]
fn refused(tar: &[u8], why: &str) {
    let error = read(tar).expect_err(why).to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn owners_that_are_none_are_refused() {
    let one = tar(&[file("f", b"")]);
    refused(&patched(one.clone(), 108, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), "owner");
    refused(&patched(one.clone(), 116, &[0xff; 8]), "negative");
    refused(&patched(one.clone(), 108, &[0x80, 0, 0, 1, 0, 0, 0, 0]), "owner");
    for value in ["4294967295", "4294967296", "99999999999999999999"] {
        assert!(read(&with("uid", value)).is_err() && read(&with("gid", value)).is_err(), "{value}");
    }
    refused(&with("uid", "-1"), "number");
    assert_eq!(read(&with("uid", "4294967294")).unwrap()[0].0.uid, u32::MAX - 1);
}

#[test]
fn times_of_any_size_are_read() {
    let seconds = |tar: &[u8]| read(tar).unwrap()[0].0.mtime.seconds;
    assert_eq!(seconds(&patched(tar(&[file("f", b"")]), 136, &[0xff; 12])), -1);
    assert_eq!(seconds(&with("mtime", "9223372036854775807")), i64::MAX);
    assert_eq!(seconds(&with("mtime", "-9223372036854775808")), i64::MIN);
    let time = read(&with("mtime", "-0.25")).unwrap()[0].0.mtime;
    assert_eq!(time, Time { seconds: -1, nanos: 750_000_000 });
    for value in ["", "x", "1e9", "-9223372036854775808.5", "9223372036854775808", "1.-5"] {
        assert!(read(&with("mtime", value)).is_err(), "{value}");
    }
}

#[test]
fn sizes_that_can_not_be_are_refused() {
    let one = tar(&[file("f", b"")]);
    refused(&patched(one.clone(), 124, &[0xff; 12]), "negative");
    refused(&patched(one, 124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), "size");
    refused(&with("size", "-1"), "number");
    refused(&tar(&[Raw("p", b'x', "", &[b'1'; 600])]), "PAX");
}

#[test]
fn names_are_bytes() {
    let mut one = tar(&[file("f", b"")]);
    one = patched(one, 0, b"\xff\xfe/\x01");
    assert_eq!(read(&one).unwrap()[0].0.path, b"\xff\xfe/\x01");
    let mut long = record("path", "a?b").to_vec();
    let at = long.iter().position(|byte| *byte == b'?').unwrap();
    long[at] = 0xff;
    assert_eq!(read(&tar(&[Raw("p", b'x', "", &long), file("f", b"")])).unwrap()[0].0.path, b"a\xffb");
    long[at] = 0;
    refused(&tar(&[Raw("p", b'x', "", &long), file("f", b"")]), "name");
}

#[test]
fn long_names_are_bounded_and_the_last_counts() {
    let long = |text: &[u8]| tar(&[Raw("././@LongLink", b'L', "", text), file("f", b"")]);
    assert_eq!(read(&long(b"name\0hidden\0")).unwrap()[0].0.path, b"name");
    refused(&long(&[b'x'; 5000]), "name");
    let many = |count: usize| {
        let mut all: Vec<u8> = (0..count).flat_map(|_| tar(&[Raw("l", b'L', "", b"n\0")])).collect();
        all.extend(tar(&[file("f", b"")]));
        all
    };
    assert_eq!(read(&many(20)).unwrap().len(), 1);
    refused(&many(1000), "extended headers");
    let two = [tar(&[Raw("l", b'L', "", b"one\0"), Raw("l", b'L', "", b"two\0")]), tar(&[file("f", b"")])].concat();
    assert_eq!(read(&two).unwrap()[0].0.path, b"two");
    let mut huge = tar(&[Raw("l", b'L', "", b"")]);
    huge = patched(huge, 124, b"77777777777");
    refused(&huge, "extended header of");
}

#[test]
fn after_an_empty_block_comes_nothing_else() {
    let one = tar(&[file("f", b"")]);
    refused(&[one.clone(), vec![0; 512], tar(&[file("hidden", b"")])].concat(), "empty block");
    let garbage = [one.clone(), vec![0; 1024], vec![b'x'; 300]].concat();
    assert_eq!(read(&garbage).unwrap().len(), 1, "what follows the end is padding");
    assert_eq!(read(&[one, vec![0; 512]].concat()).unwrap().len(), 1);
}

#[test]
fn the_map_of_a_sparse_file_ends() {
    let mut old = patched(tar(&[Raw("f", b'S', "", b"")]), 482, &[1]);
    old.resize(512 * 10_000, 0);
    for block in old.chunks_exact_mut(512).skip(1) {
        block[504] = 1;
    }
    refused(&old, "without pieces");
    let zeros = [record("GNU.sparse.major", "1"), record("GNU.sparse.realsize", "5")].concat();
    refused(&tar(&[Raw("p", b'x', "", &zeros), file("f", &[b'0'; 4096])]), "digits");
    let pieces = |map: &str, size: &str| {
        let records = [record("GNU.sparse.map", map), record("GNU.sparse.size", size)].concat();
        read(&tar(&[Raw("p", b'x', "", &records), file("f", b"1234")]))
    };
    assert!(pieces("0,2,4,2", "9").is_ok());
    for (map, size) in
        [("4,2,0,2", "9"), ("0,3,2,1", "9"), ("0,2,8,2", "9"), ("0,2", "9"), ("0,2,4,2", "99999999999999")]
    {
        assert!(pieces(map, size).is_err(), "{map} {size}");
    }
    assert!(pieces("18446744073709551615,2,0,2", "9").is_err());
    // Each file may be small enough while all together are not.
    let records = [record("GNU.sparse.map", "0,4"), record("GNU.sparse.size", "1073741824")].concat();
    let one = tar(&[Raw("p", b'x', "", &records), file("f", b"1234")]);
    assert!(read(&one.repeat(16)).is_ok());
    refused(&one.repeat(17), "sparse files of more than");
}

/// The output of a program; `None` if the program is missing.
fn run(dir: &std::path::Path, program: &str, args: &[&str]) -> Option<Vec<u8>> {
    match Command::new(program).args(args).current_dir(dir).env("LC_ALL", "C.UTF-8").output() {
        Ok(output) => {
            assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        }
        Err(_) => {
            crate::lacks::skipped(&format!("the program {program}"));
            None
        }
    }
}

#[test]
fn archives_of_other_programs_are_read_in_all_their_formats() {
    let temp = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "x".repeat(90), "y".repeat(90));
    std::fs::create_dir_all(temp.path().join(&long)).unwrap();
    std::fs::write(temp.path().join(&long).join("file"), "hello").unwrap();
    std::os::unix::fs::symlink("z".repeat(150), temp.path().join("link")).unwrap();
    std::fs::hard_link(temp.path().join(&long).join("file"), temp.path().join("zz")).unwrap();
    let programs: [(&str, &[&str]); 3] = [
        ("tar", &["--format=gnu", "--format=posix", "--format=oldgnu"]),
        ("bsdtar", &["--format=pax", "--format=gnutar"]),
        ("python3", &["GNU_FORMAT", "PAX_FORMAT"]),
    ];
    for (program, format) in programs.iter().flat_map(|(program, all)| all.iter().map(move |format| (program, format)))
    {
        let script = format!(
            "import tarfile,sys;t=tarfile.open(fileobj=sys.stdout.buffer,mode='w|',format=tarfile.{format});t.add('.')"
        );
        let args = if *program == "python3" { vec!["-c", &script] } else { vec![format, "-cf", "-", "."] };
        let Some(tar) = run(temp.path(), program, &args) else { continue };
        let members = read(&tar).unwrap();
        let find = |end: &str| members.iter().find(|(member, _)| member.path.ends_with(end.as_bytes())).unwrap();
        let (one, other) = (find("y/file"), find("zz"));
        let (first, second) = if one.0.kind == b'0' { (one, other) } else { (other, one) };
        assert_eq!((&first.1[..], second.0.kind), (&b"hello"[..], b'1'), "{program} {format}");
        assert!(one.0.path.len() >= 181 + 5, "{program} {format}");
        assert_eq!(find("link").0.link, "z".repeat(150).as_bytes(), "{program} {format}");
        assert!(members.iter().any(|(member, _)| member.kind == b'5' && member.path.len() > 180), "{program}");
    }
}

#[test]
fn sparse_files_of_every_format_have_their_pieces() {
    let temp = tempfile::tempdir().unwrap();
    let sparse = std::fs::File::create(temp.path().join("s")).unwrap();
    (0..40_u64).for_each(|at| sparse.write_all_at(b"data", at * 16384 + 4096).unwrap());
    sparse.set_len(700_000).unwrap();
    let expected = std::fs::read(temp.path().join("s")).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let args = [format, &["--hard-dereference", "--sparse", "-cf", "-", "s", "s"]].concat();
        let Some(tar) = run(temp.path(), "tar", &args) else { return };
        assert!(tar.len() < 600_000, "{format:?}: the archive is sparse");
        let members = read(&tar).unwrap();
        assert_eq!(members.len(), 2, "{format:?}: what follows is found");
        let (member, stored) = &members[0];
        assert_eq!((member.path.as_slice(), member.size), (&b"s"[..], 700_000), "{format:?}");
        let (mut whole, mut at) = (vec![0; 700_000], 0);
        for &(offset, length) in member.pieces.as_ref().unwrap() {
            let (offset, length) = (offset as usize, length as usize);
            whole[offset..offset + length].copy_from_slice(&stored[at..at + length]);
            at += length;
        }
        assert!(whole == expected, "{format:?}");
    }
}

#[test]
fn what_is_no_file_has_no_bytes_whatever_its_size_says() {
    let tar = [patched(tar(&[dir("d/")]), 124, b"00000001000"), tar(&[file("next", b"")])].concat();
    assert_eq!(read(&tar).unwrap().len(), 2);
}
