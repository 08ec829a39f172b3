//! The mounts of a RUN.

use super::{Input, input};
use solver::{Describe, Manifest};

/// A `RUN --mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path in the container (empty for a secret that is a variable only).
    pub target: String,
    /// The kind of the mount.
    pub kind: MountKind,
}

/// The content of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A path of another rootfs. Writes, where allowed, are thrown away.
    Bind {
        /// The rootfs; None means an empty one.
        input: Option<Input>,
        /// The path in it, absolute.
        source: String,
        /// True if writing fails.
        readonly: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name, with the namespace of BUILDKIT_CACHE_MOUNT_NS before it.
        id: String,
        /// The way in which others may use it at once.
        sharing: Sharing,
        /// Its content when it is made.
        from: Option<Input>,
        /// The path in `from` and in the cache, absolute.
        source: String,
        /// True if writing fails.
        readonly: bool,
        /// The owner and mode of the new directory, if they were given. It is then empty and apart from
        /// other caches of this name, whatever `from` holds.
        dir: Option<CacheDir>,
    },
    /// A fresh tmpfs.
    Tmpfs {
        /// Its size in bytes; none for the kernel's default.
        size: Option<u64>,
    },
    /// A secret, as a file, a variable or both.
    Secret {
        /// Its name on the command line.
        id: String,
        /// The variable that carries it.
        env: Option<String>,
        /// True if a step without it fails.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// The socket of an ssh agent of the user.
    Ssh {
        /// Its name on the command line.
        id: String,
        /// True if a step without it fails.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// Owner and mode of the directory of a cache mount when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheDir {
    /// Its mode.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Default for CacheDir {
    fn default() -> Self {
        CacheDir { mode: 0o755, uid: 0, gid: 0 }
    }
}

/// The users that a cache mount may have at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everyone.
    #[default]
    Shared,
    /// Everyone, each with one of its own.
    Private,
    /// One after the other.
    Locked,
}

impl Describe for Mount {
    fn describe(&self, to: &mut dyn Manifest) {
        to.text("target", &self.target);
        match &self.kind {
            MountKind::Bind { input: from, source, readonly } => {
                to.text("type", "bind");
                input(to, "from", *from);
                to.text("source", source);
                to.flag("readonly", *readonly);
            }
            MountKind::Cache { id, sharing, from, source, readonly, dir } => {
                to.text("type", "cache");
                to.text("id", id);
                to.text(
                    "sharing",
                    match sharing {
                        Sharing::Shared => "shared",
                        Sharing::Private => "private",
                        Sharing::Locked => "locked",
                    },
                );
                input(to, "from", *from);
                to.text("source", source);
                to.flag("readonly", *readonly);
                if let Some(CacheDir { mode, uid, gid }) = dir {
                    to.number("mode", u64::from(*mode));
                    to.number("uid", u64::from(*uid));
                    to.number("gid", u64::from(*gid));
                }
            }
            MountKind::Tmpfs { size } => {
                to.text("type", "tmpfs");
                to.text("size", &size.map(|size| size.to_string()).unwrap_or_default());
            }
            MountKind::Secret { id, env, required, mode, uid, gid } => {
                to.text("type", "secret");
                to.text("id", id);
                to.text("env", env.as_deref().unwrap_or(""));
                to.flag("required", *required);
                to.number("mode", u64::from(*mode));
                to.number("uid", u64::from(*uid));
                to.number("gid", u64::from(*gid));
            }
            MountKind::Ssh { id, required, mode, uid, gid } => {
                to.text("type", "ssh");
                to.text("id", id);
                to.flag("required", *required);
                to.number("mode", u64::from(*mode));
                to.number("uid", u64::from(*uid));
                to.number("gid", u64::from(*gid));
            }
        }
    }
}
