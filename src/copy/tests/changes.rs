//! A source that changes between its selection and the read.

use super::archives::tar;
use super::memory::{MemoryFiles, NOW};
use super::op;
use crate::copy::{entries, facts, select};
use base::digest::Digest;
use base::error::{Kind, Result};
use layer::files::{Files, Opener};
use layer::tree::{Entry, Node};
use layer::{Flavour, LayerId, Layers};
use store::Store;

/// Files whose entries are from before a change, and whose bytes are from after it.
struct Changing {
    before: MemoryFiles,
    after: MemoryFiles,
    lasts: bool,
}

impl Files for Changing {
    fn lookup(&self, path: &[u8]) -> Result<Option<Entry>> {
        self.before.lookup(path)
    }
    fn list(&self, path: &[u8]) -> Result<Vec<Box<[u8]>>> {
        self.before.list(path)
    }
    fn lasts(&self) -> bool {
        self.lasts
    }
    fn opener(&self, path: &[u8]) -> Opener {
        self.after.opener(path)
    }
    fn digest(&self, path: &[u8]) -> Result<Digest> {
        self.before.digest(path)
    }
}

/// The layer of a copy of `x`, which changes after its selection.
fn written(line: &str, before: &[u8], after: &[u8], lasts: bool) -> Result<(tempfile::TempDir, Layers, LayerId)> {
    let file = |bytes: &[u8]| {
        let mut files = MemoryFiles::default();
        files.add("x=", Some(bytes.to_vec()));
        files
    };
    let changing = Changing { before: file(before), after: file(after), lasts };
    let dir = tempfile::tempdir().unwrap();
    let layers = Layers::new(Store::open(dir.path()).unwrap(), Flavour::Root);
    let (op, sources) = (op(line), |_| Ok(&changing as &dyn Files));
    let selection = select(&op, &sources)?;
    let facts = facts(&op, &selection, &sources, None, layers.store())?;
    let id = layers.publish_tar(entries(&op, facts, &sources, None, NOW)?, None)?;
    Ok((dir, layers, id))
}

#[track_caller]
fn changes(line: &str, before: &[u8], after: &[u8]) {
    let error = written(line, before, after, false).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.what_changed()), (Kind::Changed, Some(&b"x"[..])), "{line}: {error}");
}

#[test]
fn no_layer_comes_of_a_file_that_has_changed() {
    let (long, longer) = (vec![b'l'; 5 << 20], [vec![b'l'; 5 << 20], vec![b'm']].concat());
    for line in ["x /y", "ADD x /y"] {
        changes(line, b"one", b"two");
        changes(line, b"longer", b"long");
        changes(line, b"text", b"");
        changes(line, &longer, &long);
        changes(line, &longer, &[&long[..], b"n"].concat());
    }
    // A file that has grown still has the selected bytes at its beginning.
    let (_dir, layers, id) = written("x /y", &long, &longer, false).unwrap();
    let entry = layers.tree(&id).unwrap().get(b"y").unwrap().clone();
    assert_eq!(entry.node, Node::File { size: 5 << 20, digest: Some(Digest::of(&long)), offset: Some(512) });
}

#[test]
fn no_layer_comes_of_an_archive_that_has_changed() {
    let (one, two) = (tar(&["f=one"]), tar(&["f=two"]));
    changes("ADD x /d/", &one, &two);
    changes("ADD x /d/", &one, b"no archive");
    changes("ADD x /d/", b"no archive", &one);
    changes("ADD x /d/", &one, &one[..700]);
    // An error in an unchanged archive is reported.
    let error = written("ADD x /d/", &one[..514], &one[..514], false).map(drop).unwrap_err();
    assert!(error.kind() != Kind::Changed && error.message().contains("unpack"), "{error}");
    // A change after the end of the archive counts too.
    changes("ADD x /d/", &[&one[..], &[1; 300_000]].concat(), &[&one[..], &[2; 300_000]].concat());
}

#[test]
fn bytes_of_a_layer_that_are_others_are_damage() {
    let error = written("x /y", b"one", b"two", true).map(drop).unwrap_err();
    assert_eq!(error.kind(), Kind::Store, "{error}");
}
