//! The closed set of ops, as plain data, and how each describes itself to a key. Knows nothing of how an op is run.
//!
//! An op names its inputs by their place in [`solver::Vertex::inputs`]. What is not described (proxy variables,
//! the values of secrets, names for people) can change without running a step again.
//!
//! | op | enters the key | does not |
//! |---|---|---|
//! | source | kind, manifest digest, platform; name of a context | how the image was named |
//! | exec | platform, args, env, cwd, user, network, security, hosts, each mount | proxy variables, timeout, secret values, cache contents |
//! | copy | destination, link, owner, mode, parents, excludes, unpack, each source | times |
//! | file | action and its fields | |

use crate::platform::Platform;
use solver::{Describe, Manifest};
use std::time::Duration;

/// The place of an input in its vertex's list.
pub type Input = usize;

/// What one vertex does.
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
        /// Whose manifest was taken.
        platform: Platform,
    },
    /// A directory of the user: the build context (`context`) or a named one. Its output is a way to read it,
    /// and what enters the key of a reader is the digest of what that reader selects.
    Context {
        /// `context`, or the name given by `--build-context`.
        name: String,
    },
}

/// In place of an address in [`Exec::hosts`]: the host's own. It stands for itself in keys: the address is found when the
/// step runs.
pub const HOST_GATEWAY: &str = "host-gateway";

/// A command in a rootfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// Whose programs it runs.
    pub platform: Platform,
    /// The rootfs; none on `FROM scratch`.
    pub base: Option<Input>,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Variables in order; PATH is always among them, HOME only when the Dockerfile sets it.
    pub env: Vec<(String, String)>,
    /// Proxy variables that the Dockerfile did not declare: set, but not described.
    pub proxy: Vec<(String, String)>,
    /// The working directory, absolute.
    pub cwd: String,
    /// As written (`name`, `uid`, `user:group`); empty for root. Resolved in the rootfs when the step runs.
    pub user: String,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--timeout`: how long it may take. Not described: what came to its end in time is the same without.
    pub timeout: Option<Duration>,
    /// `--device`.
    pub devices: Vec<Device>,
    /// `--add-host`: name and address.
    pub hosts: Vec<(String, String)>,
    /// The container's host name; `buildkitsandbox` unless BUILDKIT_SANDBOX_HOSTNAME says otherwise.
    pub hostname: String,
    /// In the order in which they are mounted.
    pub mounts: Vec<Mount>,
}

/// A device of the host, by its CDI name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// `vendor.com/class=name`.
    pub name: String,
    /// Whether a step without it fails.
    pub required: bool,
}

/// What a RUN sees of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Whatever the builder's default is.
    #[default]
    Default,
    /// Loopback alone.
    None,
    /// The host's own; needs `--allow network.host`.
    Host,
}

/// How much a RUN may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// The usual capabilities and filters.
    #[default]
    Sandbox,
    /// All privileges; needs `--allow security.insecure`.
    Insecure,
}

/// A `RUN --mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path in the container (empty for a secret that is a variable only).
    pub target: String,
    /// What is mounted.
    pub kind: MountKind,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A path of another rootfs. Writes, where allowed, are thrown away.
    Bind {
        /// Whose; none means an empty rootfs.
        input: Option<Input>,
        /// The path in it, absolute.
        source: String,
        /// Whether writing fails.
        readonly: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name, with the namespace of BUILDKIT_CACHE_MOUNT_NS before it.
        id: String,
        /// Who else may use it at once.
        sharing: Sharing,
        /// What it holds when it is made.
        from: Option<Input>,
        /// The path in `from` and in the cache, absolute.
        source: String,
        /// Whether writing fails.
        readonly: bool,
        /// What the directory is made with, if something was said. It is then empty and apart from other caches of this
        /// name, whatever `from` holds.
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
        /// Whether a step without it fails.
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
        /// Whether a step without it fails.
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

/// Who may use a cache mount at the same time.
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

/// Files into a rootfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// The rootfs the layer goes on; none on `FROM scratch`.
    pub base: Option<Input>,
    /// The layer is made without looking at the base (`--link`), so the base does not enter the key.
    pub link: bool,
    /// Taken in order; later ones replace earlier ones.
    pub sources: Vec<CopySource>,
    /// Absolute; a trailing slash says that it is a directory.
    pub dest: String,
    /// `--chown` as written and expanded: `user`, `user:group`, ids or names.
    pub owner: Option<String>,
    /// `--chmod` as written and expanded: octal or symbolic, checked by the frontend.
    pub mode: Option<String>,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude` patterns, relative to each source.
    pub exclude: Vec<String>,
    /// What happens to archives.
    pub unpack: Unpack,
}

/// One source of a COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path or pattern in an input: a context or a rootfs.
    Path {
        /// Where it is looked up.
        input: Input,
        /// As written and expanded; relative paths start at the root of the input.
        path: String,
    },
    /// The same, but never unpacked: what ADD fetched.
    Raw {
        /// Where it is looked up.
        input: Input,
        /// As for `Path`.
        path: String,
    },
    /// A path with all that is on the way to it, links followed and kept: what a mount of it needs.
    Tree {
        /// Where it is looked up.
        input: Input,
        /// Absolute.
        path: String,
    },
    /// A here-document.
    Inline {
        /// The file's name.
        name: String,
        /// What it holds.
        data: Vec<u8>,
    },
}

/// What happens to local archives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unpack {
    /// They are files like others: COPY, `ADD --unpack=false`.
    #[default]
    Never,
    /// Those that are archives by their content are unpacked: ADD.
    Archives,
    /// Every source is unpacked: `ADD --unpack=true`.
    Always,
}

/// One path of a rootfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The rootfs; none on `FROM scratch`.
    pub base: Option<Input>,
    /// What is done.
    pub action: FileAction,
}

/// What is done to one path.
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

fn pairs(to: &mut dyn Manifest, name: &'static str, pairs: &[(String, String)]) {
    to.open(name);
    for (key, value) in pairs {
        to.text("name", key);
        to.text("value", value);
    }
    to.close();
}

impl Describe for Exec {
    fn describe(&self, to: &mut dyn Manifest) {
        let Exec {
            platform,
            base,
            args,
            env,
            proxy: _,
            cwd,
            user,
            network,
            security,
            timeout: _,
            devices,
            hosts,
            hostname,
            mounts,
        } = self;
        to.text("op", "exec");
        to.text("platform", &platform.to_string());
        input(to, "base", *base);
        to.texts("args", args);
        pairs(to, "env", env);
        to.text("cwd", cwd);
        to.text("user", user);
        to.text(
            "network",
            match network {
                Network::Default => "default",
                Network::None => "none",
                Network::Host => "host",
            },
        );
        to.text(
            "security",
            match security {
                Security::Sandbox => "sandbox",
                Security::Insecure => "insecure",
            },
        );
        for device in devices {
            to.text("device", &device.name);
            to.flag("required", device.required);
        }
        pairs(to, "hosts", hosts);
        to.text("hostname", hostname);
        to.open("mounts");
        for mount in mounts {
            to.open("mount");
            mount.describe(to);
            to.close();
        }
        to.close();
    }
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

impl Describe for Copy {
    fn describe(&self, to: &mut dyn Manifest) {
        let Copy { base, link, sources, dest, owner, mode, parents, exclude, unpack } = self;
        to.text("op", "copy");
        if !link {
            input(to, "base", *base);
        }
        to.flag("link", *link);
        to.text("dest", dest);
        to.text("owner", owner.as_deref().unwrap_or(""));
        to.text("mode", mode.as_deref().unwrap_or(""));
        to.flag("parents", *parents);
        to.texts("exclude", exclude);
        to.text(
            "unpack",
            match unpack {
                Unpack::Never => "never",
                Unpack::Archives => "archives",
                Unpack::Always => "always",
            },
        );
        to.open("sources");
        for source in sources {
            match source {
                CopySource::Path { input: from, path } => {
                    input(to, "from", Some(*from));
                    to.text("path", path);
                }
                CopySource::Raw { input: from, path } => {
                    input(to, "from", Some(*from));
                    to.text("raw", path);
                }
                CopySource::Tree { input: from, path } => {
                    input(to, "from", Some(*from));
                    to.text("tree", path);
                }
                CopySource::Inline { name, data } => {
                    to.text("inline", name);
                    to.bytes("data", data);
                }
            }
        }
        to.close();
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
