//! A layer made with an earlier version is equal, byte for byte, to one made from its sources; and
//! the files that it shares with the earlier directory are equal.

#![allow(clippy::unwrap_used, clippy::print_stderr)]
use super::*;
use crate::tree::Time;
use crate::{Flavour, LayerId, Layers};
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::Store;

fn open() -> (tempfile::TempDir, Layers) {
    let temp = tempfile::tempdir().unwrap();
    let layers = Layers::new(Store::open(temp.path()).unwrap(), Flavour::Root);
    (temp, layers)
}

/// A file with this text, which counts how often its source is opened.
fn sourced(path: &str, text: &str, opened: &Arc<AtomicUsize>) -> (Entry, Bytes) {
    let digest = Some(Digest::of(text.as_bytes()));
    let node = Node::File { size: text.len() as u64, digest, offset: None };
    let (text, opened) = (text.to_owned(), Arc::clone(opened));
    let bytes = Bytes::Open(Box::new(move || {
        opened.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(std::io::Cursor::new(text.into_bytes())))
    }));
    let own = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let mtime = Time { seconds: 1_000_000_000, nanos: 5 };
    (Entry { node, mode: 0o644, uid: own, gid: group, mtime, ..Entry::directory(path.as_bytes(), mtime) }, bytes)
}

/// Enough files for all cores; file 7 contains `seventh`.
fn project(seventh: &str, opened: &Arc<AtomicUsize>) -> Vec<(Entry, Bytes)> {
    let mut entries: Vec<(Entry, Bytes)> =
        (0..10).map(|dir| (Entry::directory(format!("d{dir}").as_bytes(), Time::default()), Bytes::None)).collect();
    for number in 0..900 {
        let text = if number == 7 { seventh.to_owned() } else { format!("file {number}\n").repeat(number * 3) };
        entries.push(sourced(&format!("d{}/f{number}", number % 10), &text, opened));
    }
    // A file larger than a batch, an empty file, and two names of one inode.
    entries.push(sourced("d1/large", &"large ".repeat(1_000_000), opened));
    entries.push(sourced("d1/empty", "", opened));
    for name in ["d2/one", "d3/two"] {
        let (entry, bytes) = sourced(name, "linked", opened);
        entries.push((Entry { link: Some(3), ..entry }, bytes));
    }
    entries
}

fn tar(layers: &Layers, id: &LayerId) -> Vec<u8> {
    std::fs::read(layers.store().layers().join(id.to_string()).join("tar")).unwrap()
}

#[test]
fn the_earlier_form_spares_the_sources_and_gives_the_same_bytes() {
    let (_temp, layers) = open();
    let (first, second, fresh) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let one = layers.publish_tar(project("seven", &first), None).unwrap();
    assert_eq!(first.load(Ordering::SeqCst), 903);
    let two = layers.publish_tar(project("changed", &second), Some(&one)).unwrap();
    // The changed file, the large one and the link group: an earlier version offers no linked
    // files.
    assert!(second.load(Ordering::SeqCst) <= 3, "{second:?} sources were opened");
    let alone = layers.publish_tar(project("changed", &fresh), None).unwrap();
    assert_eq!(tar(&layers, &two), tar(&layers, &alone));
    assert_eq!(layers.tree(&two).unwrap(), layers.tree(&alone).unwrap());
    let digest = Digest::of(&tar(&layers, &two));
    assert_eq!(layers.vouched(&two).unwrap(), (Some(digest), digest));
    assert_eq!(layers.diff_id(&two, None).unwrap().0, Digest::of(&tar(&layers, &two)));
}

#[test]
fn an_earlier_form_that_is_damaged_or_gone_is_not_believed() {
    let (_temp, layers) = open();
    let opened = Arc::<AtomicUsize>::default();
    let one = layers.publish_tar(project("seven", &opened), None).unwrap();
    let wanted = tar(&layers, &one);
    let Node::File { offset: Some(at), .. } = layers.tree(&one).unwrap().get(b"d5/f505").unwrap().node else {
        panic!("a file has a place")
    };
    let path = layers.store().layers().join(one.to_string()).join("tar");
    File::options().write(true).open(&path).unwrap().write_all_at(b"X", at + 100).unwrap();
    let two = layers.publish_tar(project("seven", &opened), Some(&one)).unwrap();
    assert!(tar(&layers, &two) == wanted, "damage spread");
    std::fs::remove_file(path.with_file_name("sums")).unwrap();
    let without = layers.publish_tar(project("seven", &opened), Some(&one)).unwrap();
    assert!(tar(&layers, &without) == wanted, "damage spread");
    std::fs::remove_file(&path).unwrap();
    let three = layers.publish_tar(project("seven", &opened), Some(&one)).unwrap();
    assert!(tar(&layers, &three) == wanted);
}

#[test]
fn equal_files_of_the_earlier_directory_are_linked_and_no_others() {
    let (_temp, layers) = open();
    let opened = Arc::<AtomicUsize>::default();
    let one = layers.publish_tar(project("seven", &opened), None).unwrap();
    let before = layers.dir(&one).unwrap();
    let mut entries = project("changed", &opened);
    let entry = |entries: &mut Vec<(Entry, Bytes)>, path: &str| {
        entries.iter().position(|(entry, _)| &*entry.path == path.as_bytes()).unwrap()
    };
    let (mode, time, mark) =
        (entry(&mut entries, "d1/f11"), entry(&mut entries, "d2/f12"), entry(&mut entries, "d3/f13"));
    entries[mode].0.mode = 0o755;
    entries[time].0.mtime.nanos = 6;
    entries[mark].0.xattrs = vec![(b"user.mark"[..].into(), b"1"[..].into())];
    let two = layers.publish_tar(entries, Some(&one)).unwrap();
    let after = layers.dir(&two).unwrap();
    let inode = |dir: &Path, path: &str| std::fs::metadata(dir.join(path)).unwrap().ino();
    for path in ["d7/f7", "d1/f11", "d2/f12", "d3/f13", "d2/one"] {
        assert_ne!(inode(&before, path), inode(&after, path), "{path} is shared");
    }
    for path in ["d0/f0", "d1/f21", "d1/large", "d1/empty", "d9/f899"] {
        assert_eq!(inode(&before, path), inode(&after, path), "{path} is not shared");
    }
    assert_eq!(inode(&after, "d2/one"), inode(&after, "d3/two"));
    assert_eq!(std::fs::metadata(after.join("d1/f11")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(std::fs::metadata(after.join("d2/f12")).unwrap().mtime_nsec(), 6);
    assert_eq!(std::fs::read(after.join("d7/f7")).unwrap(), b"changed");
    // The earlier directory is unchanged, and deleting the earlier layer leaves this one's files.
    assert_eq!(std::fs::read(before.join("d7/f7")).unwrap(), b"seven");
    std::fs::remove_dir_all(layers.store().layers().join(one.to_string())).unwrap();
    assert_eq!(std::fs::read_to_string(after.join("d1/f21")).unwrap(), "file 21\n".repeat(63));
}
