//! The closed set of ops, as plain data. Each op describes itself to a key. Knows nothing of how an op is run.
//!
//! An op names its inputs by their place in [`solver::Vertex::inputs`]. A part that is not described (proxy variables,
//! the values of secrets, names for people) can change without running a step again.
//!
//! | op | enters the key | does not |
//! |---|---|---|
//! | source | kind, manifest digest, platform; name of a context | how the image was named |
//! | exec | platform, args, env, cwd, user, network, security, hosts, each mount | proxy variables, timeout, secret values, cache contents |
//! | copy | destination, link, owner, mode, parents, excludes, unpack, each source | times |
//! | file | action and its fields | |

mod copy;
mod exec;
mod mount;

pub use copy::{Copy, CopySource, Unpack};
pub use exec::{Device, Exec, HOST_GATEWAY, Network, Security};
pub use mount::{CacheDir, Mount, MountKind, Sharing};

use crate::platform::Platform;
use solver::{Describe, Manifest};

/// The place of an input in its vertex's list.
pub type Input = usize;

/// The operation of one vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Brings something in from outside.
    Source(Source),
    /// Runs a command in a rootfs.
    Exec(Exec),
    /// Copies files into a rootfs.
    Copy(Copy),
    /// Changes a single path of a rootfs.
    File(File),
}

/// Something from outside the graph. It has no inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An image, pinned: its output is its rootfs.
    Image {
        /// As the user wrote it, normalised; for people and for fetching.
        name: String,
        /// `sha256:...` of the platform's manifest.
        digest: String,
        /// The platform whose manifest was taken.
        platform: Platform,
    },
    /// A directory of the user: the build context (`context`) or a named one. Its output is a way to read it,
    /// and what enters the key of a reader is the digest of what that reader selects.
    Context {
        /// `context`, or the name given by `--build-context`.
        name: String,
    },
}

/// One path of a rootfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The rootfs; none on `FROM scratch`.
    pub base: Option<Input>,
    /// The actions, in order.
    pub action: FileAction,
}

/// An action on one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// A directory with its missing parents, mode 0755 (WORKDIR).
    Mkdir {
        /// Absolute and clean.
        path: String,
        /// The USER in force, as written: owner of what is made; empty for root.
        user: String,
    },
}

impl Describe for Op {
    fn describe(&self, to: &mut dyn Manifest) {
        match self {
            Op::Source(source) => source.describe(to),
            Op::Exec(exec) => exec.describe(to),
            Op::Copy(copy) => copy.describe(to),
            Op::File(file) => file.describe(to),
        }
    }
}

impl Describe for Source {
    fn describe(&self, to: &mut dyn Manifest) {
        match self {
            Source::Image { name: _, digest, platform } => {
                to.text("op", "image");
                to.text("digest", digest);
                to.text("platform", &platform.to_string());
            }
            Source::Context { name } => {
                to.text("op", "context");
                to.text("name", name);
            }
        }
    }
}

fn input(to: &mut dyn Manifest, name: &'static str, input: Option<Input>) {
    match input {
        Some(input) => to.number(name, input as u64),
        None => to.text(name, "none"),
    }
}

impl Describe for File {
    fn describe(&self, to: &mut dyn Manifest) {
        let File { base, action: FileAction::Mkdir { path, user } } = self;
        to.text("op", "mkdir");
        input(to, "base", *base);
        to.text("path", path);
        to.text("user", user);
    }
}
