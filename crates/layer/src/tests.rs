//! Layers in all their forms: stacked, mounted, packed, and read by another process.

#![allow(clippy::unwrap_used)]
use super::index::tests::{Raw, dir, file, record, tar};
use super::tree::Time;
use super::*;
use crate::files::Files as _;
use crate::view::View;
use base::digest::DiffId;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

const GZIP: Compression = Compression::GZIP;

fn open() -> (tempfile::TempDir, Layers) {
    let temp = tempfile::tempdir().unwrap();
    let layers = Layers::new(Store::open(temp.path()).unwrap(), Flavour::Root);
    (temp, layers)
}

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        lacks::skipped("root, for owners and mounts");
    }
    root
}

/// A file for a COPY's layer.
fn text(path: &str, text: &str) -> (Entry, Bytes) {
    let node = Node::File { size: text.len() as u64, digest: None, offset: None };
    (Entry { node, mode: 0o644, ..Entry::directory(path.as_bytes(), Time::default()) }, Bytes::Inline(text.into()))
}

fn plain(path: &str, node: Node) -> (Entry, Bytes) {
    (Entry { node, ..Entry::directory(path.as_bytes(), Time::default()) }, Bytes::None)
}

/// A base layer from this tar, on top of another layer.
fn base(layers: &Layers, tar: &[u8], below: Option<&LayerId>) -> LayerId {
    let blob = layers.store().put_blob(tar).unwrap();
    let media_type = Compression::None.media_type().to_owned();
    let blob = BaseBlob { digest: blob.digest, size: blob.size, media_type };
    layers.base(DiffId(Digest::of(tar)), &blob, below).unwrap()
}

/// A directory and a file with metadata that differs from every default.
fn below(layers: &Layers) -> LayerId {
    let own = |entry: Entry, mode| Entry {
        mode,
        uid: 5,
        gid: 6,
        mtime: Time { seconds: 7, nanos: 8 },
        xattrs: vec![(b"user.kept"[..].into(), b"value"[..].into())],
        ..entry
    };
    let (file, bytes) = text("tmp/f", "text");
    let (dir, none) = plain("tmp", Node::Dir { opaque: false });
    layers.publish_tar(vec![(own(dir, 0o1777), none), (own(file, 0o4640), bytes)], None).unwrap()
}

/// A mount of layers, the lowest first, that is unmounted on drop; `None` without overlayfs.
struct Mounted(PathBuf);

impl Mounted {
    fn new(temp: &tempfile::TempDir, layers: &Layers, ids: &[LayerId]) -> Option<Mounted> {
        let dirs: Vec<_> = ids.iter().rev().map(|id| layers.dir(id).unwrap().display().to_string()).collect();
        let at = temp.path().join("mounted");
        fs::create_dir(&at).unwrap();
        // An empty directory too: a mount needs two.
        let lower = [dirs.join(":"), temp.path().join("empty").display().to_string()].join(":");
        fs::create_dir(temp.path().join("empty")).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &format!("ro,lowerdir={lower}")]).arg(&at);
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Mounted(at));
        }
        lacks::skipped("the right to mount overlayfs");
        None
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let names = fs::read_dir(self.0.join(dir)).unwrap();
        let mut names: Vec<_> = names.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(&self.0).status().unwrap().success());
    }
}

#[test]
fn a_directory_without_an_entry_is_mounted_as_it_is_below() {
    if !root() {
        return;
    }
    let (temp, layers) = open();
    let lower = below(&layers);
    let upper = base(&layers, &tar(&[file("tmp/x", b"x"), file("new/x", b"x")]), Some(&lower));
    let higher = base(&layers, &tar(&[file("tmp/y", b"y")]), Some(&upper));
    let mounted = Mounted::new(&temp, &layers, &[lower, upper, higher.clone()]);
    let roots = [Some(layers.dir(&higher).unwrap()), mounted.as_ref().map(|mounted| mounted.0.clone())];
    for root in roots.iter().flatten() {
        let tmp = fs::metadata(root.join("tmp")).unwrap();
        assert_eq!((tmp.mode() & 0o7777, tmp.uid(), tmp.gid()), (0o1777, 5, 6), "{}", root.display());
        assert_eq!((tmp.mtime(), tmp.mtime_nsec()), (7, 8), "{}", root.display());
        let mut value = [0; 16];
        let count = rustix::fs::lgetxattr(root.join("tmp"), "user.kept", &mut value[..]).unwrap();
        assert_eq!(&value[..count], b"value");
    }
    if let Some(mounted) = mounted {
        assert_eq!(mounted.names("tmp"), ["f", "x", "y"]);
        assert_eq!(fs::metadata(mounted.0.join("new")).unwrap().mode() & 0o7777, 0o755);
    }
}

#[test]
fn a_hard_link_to_a_lower_layer_is_one_file_with_it() {
    if !root() {
        return;
    }
    let (temp, layers) = open();
    let lower = below(&layers);
    let archive = tar(&[Raw("a/h", b'1', "tmp/f", b""), Raw("z", b'1', "a/h", b"")]);
    let upper = base(&layers, &archive, Some(&lower));
    let view = View::new(&layers, &[lower.clone(), upper.clone()]).unwrap();
    let mut read = String::new();
    view.open(b"a/h").unwrap().read_to_string(&mut read).unwrap();
    assert_eq!(read, "text");
    assert_eq!(view.digest(b"z").unwrap(), Digest::of(b"text"));
    let Some(mounted) = Mounted::new(&temp, &layers, &[lower, upper]) else { return };
    let metadata = ["tmp/f", "a/h", "z"].map(|path| fs::metadata(mounted.0.join(path)).unwrap());
    for one in &metadata {
        assert_eq!((one.ino(), one.nlink()), (metadata[0].ino(), 3));
        assert_eq!((one.mode() & 0o7777, one.uid(), one.mtime()), (0o4640, 5, 7));
    }
    assert_eq!(fs::read(mounted.0.join("z")).unwrap(), b"text");
    assert_eq!(fs::metadata(mounted.0.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
}

#[test]
fn the_same_archive_on_other_layers_is_another_layer_of_the_same_content() {
    let (_temp, layers) = open();
    let archive = tar(&[file("tmp/x", b"x")]);
    let lower = below(&layers);
    let (alone, on) = (base(&layers, &archive, None), base(&layers, &archive, Some(&lower)));
    assert_ne!(alone, on);
    assert_eq!(alone.to_string(), Digest::of(&archive).hex());
    assert_eq!(base(&layers, &archive, Some(&lower)), on);
    assert_eq!(layers.content(&alone).unwrap(), layers.content(&on).unwrap());
    let mode = |id: &LayerId| layers.tree(id).unwrap().get(b"tmp").unwrap().mode;
    assert_eq!((mode(&alone), mode(&on)), (0o755, 0o1777));
}

#[test]
fn an_image_of_many_layers_is_indexed_from_its_top() {
    let (_temp, layers) = open();
    let mut top = below(&layers);
    for at in 0..300 {
        top = base(&layers, &tar(&[file(&format!("tmp/{at}"), b"")]), Some(&top));
    }
    assert_eq!(layers.tree(&top).unwrap().get(b"tmp").unwrap().mode, 0o1777);
}

#[test]
fn a_base_under_another_compression_has_the_same_diff_id() {
    let (_temp, layers) = open();
    // kiln would write other headers, so its own tar would have another digest.
    let archive = [tar(&[dir("d"), file("./d/f", b"text")]), vec![0; 2048]].concat();
    let id = base(&layers, &archive, None);
    for how in [GZIP, Compression::ZSTD] {
        let blob = layers.blob(&id, how, true, Some(1)).unwrap();
        assert_eq!((blob.diff_id.0, blob.media_type.as_str()), (Digest::of(&archive), how.media_type()));
        let packed = layers.store().open_blob(&blob.digest).unwrap();
        let mut plain = Vec::new();
        compress::decompressor(Box::new(packed)).unwrap().0.read_to_end(&mut plain).unwrap();
        assert!(plain == archive);
    }
    assert_eq!(layers.diff_id(&id, None).unwrap().0, Digest::of(&archive));
}

#[test]
fn a_base_that_is_not_what_its_image_says_leaves_nothing() {
    let (temp, layers) = open();
    let blob = layers.store().put_blob(&tar(&[file("f", b"")])).unwrap();
    let blob = BaseBlob { digest: blob.digest, size: blob.size, media_type: "any".into() };
    let id = layers.base(DiffId(Digest::of(b"a lie")), &blob, None).unwrap();
    for error in [layers.tree(&id).unwrap_err(), layers.dir(&id).unwrap_err()] {
        assert!(error.to_string().contains("digest"), "{error}");
    }
    let folder = temp.path().join(format!("store-v1/layers/{id}"));
    let names = fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["diff-id", "lock", "record"]);
}

/// True if a file of an archive is written that has no name yet.
fn staged(layers: &Layers) -> bool {
    let tmp = layers.store().temp("x");
    let found = fs::read_dir(tmp.parent().unwrap()).unwrap().flatten();
    let mut stages = found.filter(|entry| entry.file_name().to_string_lossy().ends_with("-stage"));
    stages.any(|stage| fs::read_dir(stage.path()).is_ok_and(|mut files| files.next().is_some()))
}

#[test]
fn a_base_is_unpacked_while_its_blob_comes() {
    if !root() {
        return;
    }
    let (_temp, layers) = open();
    let mut sparse = b"1\n5\n3\n".to_vec();
    sparse.resize(512, 0);
    sparse.extend(b"end");
    let map = [record("GNU.sparse.major", "1"), record("GNU.sparse.realsize", "8"), record("GNU.sparse.name", "s")];
    let bytes = tar(&[
        dir("d"),
        file("d/a", b"first"),
        Raw("d/link", b'1', "d/a", b""),
        file("d/a", b"second"),
        file("gone/inside", b"x"),
        file("gone", b"now a file"),
        Raw("p", b'x', "", &map.concat()),
        file("s", &sparse),
        file("empty", b""),
        file("large", &[b'x'; 300_000]),
    ]);
    let media_type = Compression::None.media_type().to_owned();
    let blob = BaseBlob { digest: Digest::of(&bytes), size: bytes.len() as u64, media_type };
    let id = layers.base(DiffId(blob.digest), &blob, None).unwrap();
    let coming = layers.store().expect(&[blob.digest]);
    let mut writer = layers.store().blob_of(&blob.digest).unwrap();
    let made = std::thread::scope(|scope| {
        let made = scope.spawn(|| layers.dir(&id));
        let (most, rest) = bytes.split_at(200_000);
        for part in most.chunks(7000) {
            std::io::Write::write_all(&mut writer, part).unwrap();
        }
        // A file is written before the rest has arrived, but without a name.
        let early = (0..10_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            staged(&layers)
        });
        assert!(early);
        assert!(!layers.folder(&id).join("dir-root").exists() && !layers.folder(&id).join("tree").exists());
        std::io::Write::write_all(&mut writer, rest).unwrap();
        writer.complete_as(&blob.digest, Some(blob.size)).unwrap();
        made.join().unwrap().unwrap()
    });
    drop(coming);
    let read = |path: &str| fs::read_to_string(made.join(path)).unwrap();
    assert_eq!((read("d/a"), read("d/link"), read("gone")), ("second".into(), "first".into(), "now a file".into()));
    assert_eq!((read("s"), read("empty")), ("\0\0\0\0\0end".into(), String::new()));
    let mut names: Vec<_> = fs::read_dir(&made).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["d", "empty", "gone", "large", "s"]);
    assert_eq!(fs::metadata(made.join("s")).unwrap().mode() & 0o7777, 0o755);
    assert!(layers.folder(&id).join("tree").exists());
    let left: Vec<_> = fs::read_dir(layers.store().temp("x").parent().unwrap()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "only the lease is left: {left:?}");
}

#[test]
fn attributes_of_users_are_not_lost_in_silence() {
    if !root() {
        return;
    }
    let (_temp, layers) = open();
    let with = |key: &str, value: &str, member| {
        tar(&[Raw("p", b'x', "", &record(&format!("SCHILY.xattr.{key}"), value)), member])
    };
    let id = base(&layers, &with("user.a", "b", file("f", b"")), None);
    let mut value = [0; 8];
    assert_eq!(rustix::fs::lgetxattr(layers.dir(&id).unwrap().join("f"), "user.a", &mut value[..]), Ok(1));
    // More than any file system takes (xattr(7): 64 KiB).
    let id = base(&layers, &with("user.large", &"x".repeat(70_000), file("f", b"")), None);
    let error = layers.dir(&id).unwrap_err().to_string();
    assert!(error.contains("user.large"), "{error}");
    // Links cannot have user attributes, and labels belong to this machine's policy.
    for archive in [with("user.a", "b", Raw("l", b'2', "to", b"")), with("security.x", "b", file("f", b""))] {
        layers.dir(&base(&layers, &archive, None)).unwrap();
    }
}

#[test]
fn overlayfs_shows_what_whiteouts_say() {
    if !root() {
        return;
    }
    let (temp, layers) = open();
    let entries = ["a/x", "a/y", "b/old", "c/f", "c/g"].map(|path| text(path, "1"));
    let dirs = ["a", "b", "c"].map(|path| plain(path, Node::Dir { opaque: false }));
    let lower = layers.publish_tar(entries.into_iter().chain(dirs).collect(), None).unwrap();
    let members = [file("a/.wh.x", b""), file("b/.wh..wh..opq", b""), file("b/new", b"n"), file("c/f", b"2")];
    let upper = base(&layers, &tar(&members), Some(&lower));
    let view = View::new(&layers, &[lower.clone(), upper.clone()]).unwrap();
    let Some(mounted) = Mounted::new(&temp, &layers, &[lower, upper]) else { return };
    for (dir, expected) in [("a", &["y"][..]), ("b", &["new"]), ("c", &["f", "g"])] {
        assert_eq!(mounted.names(dir), expected);
        let listed = view.list(dir.as_bytes()).unwrap();
        assert_eq!(listed, expected.iter().map(|name| name.as_bytes().into()).collect::<Vec<Box<[u8]>>>());
    }
    assert_eq!(fs::read(mounted.0.join("c/f")).unwrap(), b"2");
}

#[test]
fn holes_stay_holes() {
    if !root() {
        return;
    }
    let (_temp, layers) = open();
    let mut bytes = vec![0; 8 << 20];
    bytes[5 << 20] = 1;
    let id = base(&layers, &tar(&[file("s", &bytes)]), None);
    let file = layers.dir(&id).unwrap().join("s");
    let unpacked = fs::metadata(&file).unwrap();
    assert_eq!(unpacked.len(), bytes.len() as u64);
    assert!(unpacked.blocks() * 512 <= 256 << 10, "{} blocks", unpacked.blocks());
    assert!(fs::read(file).unwrap() == bytes);
}

#[test]
fn copies_of_the_same_entries_are_the_same_bytes_in_any_order() {
    let (temp, layers) = open();
    let sample = || {
        let linked = |path: &str, bytes| (Entry { link: Some(4), ..text(path, "linked").0 }, bytes);
        vec![
            linked("d/b", Bytes::Inline(b"linked".into())),
            text("d/f", "hello"),
            plain("d", Node::Dir { opaque: false }),
            linked("a", Bytes::None),
            plain("gone", Node::Whiteout),
        ]
    };
    let mut other = sample();
    other.reverse();
    let (one, two) = (layers.publish_tar(sample(), None).unwrap(), layers.publish_tar(other, None).unwrap());
    assert_ne!(one, two);
    assert_eq!(layers.diff_id(&one, None).unwrap(), layers.diff_id(&two, None).unwrap());
    assert_eq!(layers.content(&one).unwrap(), layers.content(&two).unwrap());
    let blob = |id: &LayerId| layers.blob(id, GZIP, false, None).unwrap();
    assert_eq!(blob(&one), blob(&two));
    // A new process sees the same.
    let again = Layers::new(Store::open(temp.path()).unwrap(), Flavour::Root);
    assert_eq!(again.tree(&one).unwrap(), layers.tree(&one).unwrap());
    let mut read = String::new();
    let tree = again.tree(&one).unwrap();
    again.open(&one, tree.get(b"a").unwrap()).unwrap().read_to_string(&mut read).unwrap();
    assert_eq!(read, "linked");
}

#[test]
fn gzip_is_one_member_that_other_programs_read() {
    let (_temp, layers) = open();
    let long: String = (0..600_000).map(|at| format!("{at} ")).collect();
    let id = layers.publish_tar(vec![text("f", &long)], None).unwrap();
    let blob = layers.blob(&id, GZIP, false, None).unwrap();
    let path = layers.store().blob_path(&blob.digest);
    let mut single = flate2::bufread::GzDecoder::new(std::io::BufReader::new(File::open(&path).unwrap()));
    let (mut plain, mut rest) = (Vec::new(), Vec::new());
    single.read_to_end(&mut plain).unwrap();
    single.into_inner().read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty() && Digest::of(&plain) == blob.diff_id.0);
    let script = "import gzip,sys;sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
    for (program, args) in [("gzip", vec!["-dc"]), ("python3", vec!["-c", script])] {
        match Command::new(program).args(args).stdin(File::open(&path).unwrap()).output() {
            Ok(output) => assert!(output.status.success() && output.stdout == plain, "{program}"),
            Err(_) => lacks::skipped(&format!("the program {program}")),
        }
    }
}

#[test]
fn higher_layers_hide_lower_ones_in_a_view() {
    let (_temp, layers) = open();
    let stack = [
        vec![text("a/x", "1"), text("a/y", "1"), text("b/x", "1"), text("c/x", "1"), text("d", "1"), text("e/x", "1")],
        vec![
            text("a/x", "2"),
            plain("b", Node::Dir { opaque: true }),
            text("b/z", "2"),
            plain("c", Node::Whiteout),
            plain("d", Node::Dir { opaque: false }),
            text("e", "2"),
        ],
        vec![plain("a/y", Node::Whiteout), plain("c", Node::Dir { opaque: true }), text("c/w", "3"), text("d/n", "3")],
    ];
    let ids: Vec<_> = stack.into_iter().map(|entries| layers.publish_tar(entries, None).unwrap()).collect();
    let view = View::new(&layers, &ids).unwrap();
    let read = |path: &str| {
        view.lookup(path.as_bytes()).unwrap()?;
        let mut text = String::new();
        view.open(path.as_bytes()).unwrap().read_to_string(&mut text).unwrap();
        Some(text)
    };
    assert_eq!((read("a/x").as_deref(), read("e").as_deref()), (Some("2"), Some("2")));
    assert_eq!((read("c/w").as_deref(), read("d/n").as_deref()), (Some("3"), Some("3")));
    for gone in ["a/y", "b/x", "c/x", "e/x", "f", "a/x/y"] {
        assert_eq!(view.lookup(gone.as_bytes()).unwrap(), None, "{gone}");
    }
}

#[test]
fn a_view_shows_no_marks_and_a_step_of_root_sets_none_of_them() {
    let (_temp, layers) = open();
    let lower = layers.publish_tar(vec![plain("d", Node::Dir { opaque: false }), text("d/old", "1")], None).unwrap();
    let upper = layers.publish_tar(vec![plain("d", Node::Dir { opaque: true }), text("d/new", "2")], None).unwrap();
    let view = View::new(&layers, &[lower, upper.clone()]).unwrap();
    assert_eq!(layers.tree(&upper).unwrap().get(b"d").unwrap().node, Node::Dir { opaque: true });
    assert_eq!(view.lookup(b"d").unwrap().unwrap().node, Node::Dir { opaque: false });
    assert_eq!(view.children(b"").unwrap()[0].node, Node::Dir { opaque: false });
    let marked = |(_, entry): &(LayerId, Entry)| matches!(entry.node, Node::Dir { opaque: true } | Node::Whiteout);
    assert!(!view.all().unwrap().iter().any(marked));
    assert_eq!(view.list(b"d").unwrap(), [Box::from(&b"new"[..])]);

    // If overlayfs marks with trusted.*, a user.overlay.* attribute marks nothing, and it is no
    // part of an image.
    let upper = tempfile::tempdir().unwrap();
    let dir = upper.path().join("d");
    fs::create_dir(&dir).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&dir, "user.overlay.opaque", b"y", flags).is_err() {
        return lacks::skipped("a temporary folder with attributes of users");
    }
    let seen = |opaque| harvest::harvest(upper.path(), opaque).unwrap().entries[0].clone();
    assert_eq!(seen("trusted.overlay.opaque").node, Node::Dir { opaque: false });
    assert_eq!(seen("user.overlay.opaque").node, Node::Dir { opaque: true });
    assert!(seen("trusted.overlay.opaque").xattrs.is_empty());
}

#[test]
fn what_was_hashed_of_a_large_layer_is_kept() {
    let (temp, layers) = open();
    let run = |size: usize| {
        let draft = layers.draft().unwrap();
        fs::write(draft.upper().join("f"), vec![7; size]).unwrap();
        layers.publish_upper(&draft, (Time::now(), Time::now()), None, &|_| false).unwrap()
    };
    let digest = |layers: &Layers, id: &LayerId| match layers.tree(id).unwrap().get(b"f").unwrap().node {
        Node::File { digest, .. } => digest,
        _ => None,
    };
    let (small, large) = (run(10), run(2 << 20));
    assert_eq!((digest(&layers, &small), digest(&layers, &large)), (None, None));
    let content = [layers.content(&small).unwrap(), layers.content(&large).unwrap()];
    for layers in [&layers, &Layers::new(Store::open(temp.path()).unwrap(), Flavour::Root)] {
        assert_eq!(digest(layers, &large), Some(Digest::of(&vec![7; 2 << 20])));
        assert_eq!(digest(layers, &small), None, "that costs more than it saves");
        assert_eq!([layers.content(&small).unwrap(), layers.content(&large).unwrap()], content);
    }
    assert!(layers.diff_id(&large, None).is_ok());
}
