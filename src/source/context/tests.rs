//! A directory that changes between two reads.

#![allow(clippy::unwrap_used)]
use super::*;
use std::fs;

/// A store, and a context with a file `d/f` that is old enough.
fn context() -> (tempfile::TempDir, Context) {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir_all(temp.path().join("c/d")).unwrap();
    fs::write(temp.path().join("c/d/f"), "old").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(150));
    let store = Store::open(&temp.path().join("store")).unwrap();
    let context = Context::open(&temp.path().join("c"), None, &store).unwrap();
    (temp, context)
}

fn text(context: &Context, path: &str) -> String {
    let mut text = String::new();
    context.open(path.as_bytes()).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn what_is_not_there_any_more_has_changed() {
    let (temp, context) = context();
    let at = |path: &str| temp.path().join("c").join(path);
    assert!(context.lookup(b"d/f").unwrap().is_some());
    let changed = |context: &Context| {
        let error = context.digest(b"d/f").unwrap_err();
        assert_eq!((error.kind(), error.what_changed()), (Kind::Changed, Some(&b"d/f"[..])), "{error}");
    };
    fs::remove_file(at("d/f")).unwrap();
    changed(&context);
    fs::write(at("d/f"), "ol").unwrap();
    changed(&context);
    fs::remove_file(at("d/f")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("d/f")).unwrap();
    changed(&context);
    fs::remove_file(at("d/f")).unwrap();
    fs::create_dir(at("d/f")).unwrap();
    changed(&context);
    fs::remove_dir_all(at("d")).unwrap();
    changed(&context);
    // A directory that was listed and then removed.
    fs::create_dir_all(at("e/sub")).unwrap();
    context.look_again(None);
    assert_eq!(context.list(b"e").unwrap().len(), 1);
    fs::remove_dir_all(at("e")).unwrap();
    assert_eq!(context.list(b"e/sub").unwrap_err().kind(), Kind::Changed);
    context.look_again(None);
    assert_eq!(context.list(b"").unwrap().len(), 0);
}

#[test]
fn a_digest_is_remembered_for_the_file_that_was_hashed_alone() {
    let (temp, context) = context();
    let at = |path: &str| temp.path().join("c").join(path);
    fs::create_dir_all(at("e")).unwrap();
    fs::write(at("e/f"), "new").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(150));
    // The file is listed in one directory and hashed in another of the same name; then the first
    // returns, with all its times.
    assert!(context.lookup(b"d/f").unwrap().is_some());
    let swap = || {
        fs::rename(at("d"), at("x")).unwrap();
        fs::rename(at("e"), at("d")).unwrap();
        fs::rename(at("x"), at("e")).unwrap();
    };
    swap();
    assert_eq!(context.digest(b"d/f").unwrap(), Digest::of(b"new"));
    swap();
    context.look_again(None);
    assert_eq!(context.digest(b"d/f").unwrap(), Digest::of(b"old"));
    context.save();
    let store = Store::open(&temp.path().join("store")).unwrap();
    let next = Context::open(&temp.path().join("c"), None, &store).unwrap();
    let Some(Entry { node: Node::File { digest, .. }, .. }) = next.lookup(b"d/f").unwrap() else { panic!("no file") };
    assert_eq!(digest, Some(Digest::of(b"old")));
}

#[test]
fn a_file_that_was_found_changed_is_taken_over() {
    let (temp, context) = context();
    let path = temp.path().join("c/d/f");
    context.look_again(Some(b"d/f"));
    let node = context.lookup(b"d/f").unwrap().unwrap().node;
    fs::write(&path, "quite new").unwrap();
    assert_eq!(node, Node::File { size: 3, digest: Some(Digest::of(b"old")), offset: None });
    assert_eq!((text(&context, "d/f").as_str(), context.digest(b"d/f").unwrap()), ("old", Digest::of(b"old")));
    context.look_again(Some(b"other"));
    context.lookup(b"d/f").unwrap().unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(text(&context, "d/f"), "quite new");
    // It is no file any more, so it does not exist.
    context.look_again(None);
    assert!(context.lookup(b"d/f").unwrap().is_none());
    // From the third time on, all recently written files are copied.
    fs::write(temp.path().join("c/d/young"), "young").unwrap();
    context.look_again(None);
    context.lookup(b"d/young").unwrap().unwrap();
    fs::write(temp.path().join("c/d/young"), "later").unwrap();
    assert_eq!(text(&context, "d/young"), "young");
}
