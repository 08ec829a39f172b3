//! A program: a Dockerfile as a list of steps, the trees that it copies from, and flags.

use crate::archives::Tar;
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;

/// Where the base images are, as programs name it; the registry of the test takes its place.
pub const REGISTRY: &str = "localhost:5000";

/// A file, link or directory of a context.
#[derive(Clone, PartialEq, Debug)]
pub enum Node {
    /// `time` is the modification time in seconds; 0 is when it was written.
    File {
        text: String,
        mode: u32,
        time: i64,
    },
    Dir {
        mode: u32,
    },
    Symlink(String),
    HardLink(String),
    /// A tar, compressed if the name ends so.
    Archive(Vec<Member>),
}

/// An entry of an archive: its kind (`f`, `d` or `l`), its name, its text or target, mode and owner.
#[derive(Clone, PartialEq, Debug)]
pub struct Member {
    pub kind: char,
    pub name: String,
    pub text: String,
    pub mode: u32,
    pub owner: u32,
}

/// Everything below a directory, by name; every parent is in it.
pub type Tree = BTreeMap<String, Node>;

/// An instruction; its number is the same in all states of a program.
#[derive(Clone, Debug)]
pub struct Step {
    pub number: usize,
    pub text: String,
}

#[derive(Clone, Debug)]
pub struct Program {
    pub steps: Vec<Step>,
    pub context: Tree,
    /// The build context `other`.
    pub other: Tree,
    /// Names and values: `target`, `no-cache-filter`, `build-arg`.
    pub flags: Vec<(&'static str, String)>,
}

impl Program {
    pub fn dockerfile(&self) -> String {
        self.steps.iter().map(|step| format!("{}\n", step.text)).collect()
    }

    /// The reference of the image that the built stage begins with; none for scratch.
    pub fn base(&self) -> Option<&str> {
        let target = self.flags.iter().find(|flag| flag.0 == "target").map(|flag| flag.1.as_str());
        let stages: Vec<(&str, &str)> = self.steps.iter().filter_map(|step| stage(&step.text)).collect();
        let named = |name: &str| stages.iter().rev().find(|stage| stage.1 == name);
        let mut at = target.map_or(stages.last(), named)?;
        loop {
            // A stage may be named by a variable: `${S1:-s0}`.
            let from = at.0.split_once(":-").map_or(at.0, |(_, name)| name.trim_end_matches('}'));
            match named(from) {
                Some(next) if next != at => at = next,
                _ if from == "scratch" => return None,
                _ => return Some(from),
            }
        }
    }

    /// In words, to be read and to be typed.
    pub fn show(&self) -> String {
        let mut text = format!("flags {:?}\n{}", self.flags, self.dockerfile());
        for (name, tree) in [("context", &self.context), ("other", &self.other)] {
            tree.iter().for_each(|(path, node)| text.push_str(&format!("# {name}: {path:?} {node:?}\n")));
        }
        text
    }
}

/// A program as JSON, for who builds it elsewhere; trees as `[kind, ...]` by name.
pub fn as_json(program: &Program) -> Value {
    let tree = |tree: &Tree| {
        let nodes = tree.iter().map(|(name, node)| (name.clone(), node_as_json(name, node)));
        Value::Object(nodes.collect())
    };
    json!({
        "dockerfile": program.dockerfile(),
        "steps": program.steps.iter().map(|step| &step.text).collect::<Vec<_>>(),
        "context": tree(&program.context),
        "other": tree(&program.other),
        "flags": program.flags,
    })
}

fn node_as_json(name: &str, node: &Node) -> Value {
    match node {
        Node::File { text, mode, .. } => json!(["f", text, mode]),
        Node::Dir { mode } => json!(["d", mode]),
        Node::Symlink(to) => json!(["l", to]),
        Node::HardLink(of) => json!(["h", of]),
        // A plain tar is mostly zeros: packed here, unpacked when it is written.
        Node::Archive(members) => {
            let packed = archive(&format!("{}.gz", name.trim_end_matches(".gz")), members);
            json!([if name.ends_with(".gz") { "z" } else { "t" }, BASE64.encode(packed)])
        }
    }
}

/// The name in a FROM, and the name that it gives.
pub fn stage(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("FROM ")?.split_once(" AS ")
}

/// All parents are there and are directories, and links have a file to share.
pub fn complete(tree: &mut Tree) {
    for name in tree.keys().cloned().collect::<Vec<_>>() {
        let parents = name.match_indices('/').map(|(at, _)| name[..at].to_owned());
        for parent in parents.collect::<Vec<_>>() {
            if !matches!(tree.get(&parent), Some(Node::Dir { .. })) {
                tree.insert(parent, Node::Dir { mode: 0o755 });
            }
        }
    }
    let files = |tree: &Tree, name: &String| matches!(tree.get(name), Some(Node::File { .. }));
    let all = tree.clone();
    tree.retain(|_, node| !matches!(node, Node::HardLink(of) if !files(&all, of)));
}

/// The bytes of an archive.
pub fn archive(name: &str, members: &[Member]) -> Vec<u8> {
    let tar = members.iter().fold(Tar::default(), |tar, member| {
        let (kind, text) = match member.kind {
            'd' => (b'5', ""),
            'l' => (b'2', ""),
            _ => (b'0', member.text.as_str()),
        };
        let link = if member.kind == 'l' { member.text.as_bytes() } else { b"" };
        let owner = format!("{:07o}\0{:07o}", member.owner, member.owner);
        let one = Tar::default().member(member.name.as_bytes(), kind, link, text.as_bytes());
        let one = one.with(100, format!("{:07o}", member.mode).as_bytes()).with(108, owner.as_bytes());
        tar.raw(&one.open())
    });
    if !name.ends_with(".gz") {
        return tar.end();
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&tar.end()).unwrap();
    packed.finish().unwrap()
}
