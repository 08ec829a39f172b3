//! What was typed, by clap. Nothing is looked up here.

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Builds OCI images from Dockerfiles: no daemon, no root, one binary.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 110, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Switches may have a value: --pull=false, -q=1.

Exit codes: 0 done; 1 the build failed (Dockerfile, step, base image, export); 2 wrong usage; \
3 the store is damaged; 4 the system refuses something, or the store's disk is full; 5 a step that --fail-on-miss names was not cached; 130 interrupted.

Environment: KILN_ROOT is the store's folder (else $XDG_DATA_HOME/kiln, ~/.local/share/kiln, or /var/lib/kiln for root); \
SOURCE_DATE_EPOCH is the latest time that an image may hold; \
DOCKER_DEFAULT_PLATFORM is --platform where that is not given, BUILDKIT_PROGRESS is --progress; \
DOCKER_CONFIG is the folder of Docker's config.json, with the logins (else ~/.docker); HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY; \
CONTAINERS_REGISTRIES_CONF, SSL_CERT_FILE: see docs/registries.md; NO_COLOR; \
KILN_EVENT_LOG appends every event to a file; \
KILN_GC says how much room the store may take, see docs/room.md: off, or max-used-space=60%,reserved-space=2gb,min-free-space=10%.";

const LOGIN: &str = "The credential is tried first. It is kept by the helper that Docker's config.json names (credHelpers, \
credsStore), else in that file itself, which only you can read: $DOCKER_CONFIG/config.json, or ~/.docker/config.json.";

/// What can be written behind `--output` and `--progress`.
fn tables() -> String {
    format!(
        "Outputs:\n{}\nCaches (docs/cache.md):\n{}\nProgress views:\n{}\n{EXIT_CODES}",
        crate::export::help(),
        cache::help(),
        crate::progress::help()
    )
}

/// What a step can differ in.
fn causes() -> String {
    let rows: String = crate::explain::CAUSES.iter().map(|(word, help)| format!("  {word:<13}{help}\n")).collect();
    format!(
        "Causes, as --json names them:\n{rows}\nBuilds in which every step was cached leave no report; 32 of the others are kept."
    )
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image from a Dockerfile.
    ///
    /// Each RUN has a network of its own, with a way out, by pasta or slirp4netns. Where neither can be had it has the
    /// host's, and the build says so.
    #[command(after_help = tables())]
    Build(Box<Build>),
    /// Define and run applications of several containers with compose files.
    Compose(Box<super::compose::Compose>),
    /// Build the targets of a bake definition, side by side.
    ///
    /// Definitions are docker-bake.hcl, docker-bake.json and compose files, see docs/bake.md.
    Bake(Box<Bake>),
    /// docker's name for `kiln build` and `kiln bake`.
    #[command(subcommand, hide = true)]
    Buildx(Buildx),
    /// List the images of the store.
    Images(Images),
    /// Display detailed information on one or more images.
    Inspect(Inspect),
    /// Take names of images away; `kiln prune` then frees what nothing needs.
    Rmi {
        /// Names or image ids.
        #[arg(required = true)]
        images: Vec<String>,
        /// With an id: all names of the image, in whatever repositories they are.
        #[arg(short, long)]
        force: bool,
    },
    /// Write images as a tarball.
    Save(Save),
    /// Bring an image of a registry into the store, under its name.
    Pull {
        /// The image.
        name: String,
        /// Which of several images [default: this machine's].
        #[arg(long, value_name = "OS/ARCH")]
        platform: Option<String>,
        /// Print nothing.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Push an image of the store to a registry; the digest of what stands there is printed.
    Push(Push),
    /// Keep who you are to a registry, for `docker` and `kiln` alike.
    #[command(after_help = LOGIN)]
    Login(Login),
    /// Forget who you are to a registry.
    Logout {
        /// Host and port of the registry.
        #[arg(default_value = "docker.io")]
        registry: String,
    },
    /// Say why steps of the last build were not cached.
    ///
    /// A step is compared with the nearest earlier one of the same Dockerfile and context.
    #[command(after_help = causes())]
    Explain(Explain),
    /// Show what takes how much room in the store.
    Du(Du),
    /// The folders of RUN --mount=type=cache: list, save, restore, remove.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// List the steps that run now, with their processes: for builds that hang.
    Ps {
        /// As JSON: id, build (its process), name, begun (milliseconds since 1970), pid, processes.
        #[arg(long)]
        json: bool,
    },
    /// Run a shell, or a command, inside a step that runs now.
    ///
    /// It has the step's root, processes, network, environment, user and limits, and no more privileges. It ends with the step. Its
    /// exit code is that of the command. While kiln shell itself is stopped (SIGSTOP) the step can't end.
    Shell(super::look::Shell),
    /// Free what no image and no recent build needs, and what `kiln rmi` took the last name from. Builds may run
    /// meanwhile; what they use stays.
    Prune(Prune),
    /// Say what this machine lets kiln do, what is missing, and what would lift it.
    Doctor {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check everything in the store, byte by byte.
    Fsck {
        /// Remove what is damaged: it is built or pulled again when it is needed.
        #[arg(long)]
        repair: bool,
    },
    /// Generate the completion script for a shell.
    Completion(super::completion::Completion),
    /// Write manual pages into a directory.
    #[command(hide = true)]
    Man(super::completion::Manual),
    /// Bring the store to the disk now; builds do it in the background, once an hour. For machines that end with their job.
    Sync,
}

/// `kiln cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List the cache mounts of this machine, or those that were saved elsewhere.
    Ls {
        /// Where: as --cache-from of `kiln build`.
        #[arg(long, value_name = "type=TYPE,...")]
        from: Option<String>,
    },
    /// Save cache mounts for other machines; what is there already is not sent again.
    Export {
        /// Where to: as --cache-to of `kiln build`.
        #[arg(long, value_name = "type=TYPE,...")]
        to: String,
        /// Which [default: all].
        ids: Vec<String>,
    },
    /// Bring cache mounts that other machines have saved; what was used here since stays.
    Import {
        /// From where: as --cache-from of `kiln build`.
        #[arg(long, value_name = "type=TYPE,...")]
        from: String,
        /// Which [default: all].
        ids: Vec<String>,
    },
    /// Remove cache mounts of this machine, or what was saved of them elsewhere.
    Rm {
        /// Where: as --cache-from of `kiln build`.
        #[arg(long, value_name = "type=TYPE,...")]
        from: Option<String>,
        /// Which.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Remove old records of steps from a cache that builds push to; saved cache mounts stay.
    Prune {
        /// Where: as --cache-from of `kiln build`.
        #[arg(long, value_name = "type=TYPE,...")]
        from: String,
        /// Records that were written more recently than this stay: 12h, 30d.
        #[arg(long, visible_alias = "keep", value_name = "AGE")]
        keep_duration: String,
    },
}

/// `kiln build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The directory to build from; `-` reads a Dockerfile from standard input, without a context.
    pub context: String,
    /// The Dockerfile [default: CONTEXT/Dockerfile]; `-` for standard input.
    #[arg(short, long, value_name = "PATH")]
    pub file: Option<String>,
    /// A name for the image (may repeat).
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub tag: Vec<String>,
    /// The value of an ARG; NAME alone takes it from the environment (may repeat).
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// The stage to build [default: the last].
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// A label of the image (may repeat).
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// What to build for; several make an index. RUN for another architecture needs an emulator: see `kiln doctor`.
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub platform: Vec<String>,
    /// Another directory or image by name: NAME=DIR, NAME=docker-image://REF, NAME=oci-layout://PATH:TAG (may repeat).
    #[arg(long, value_name = "NAME=SOURCE")]
    pub build_context: Vec<String>,
    /// A secret for the steps that ask for it: id=ID,src=FILE or id=ID,env=NAME (may repeat).
    #[arg(long, value_name = "id=ID,...")]
    pub secret: Vec<String>,
    /// An ssh agent for the steps that ask for it: `default` is that of $SSH_AUTH_SOCK; ID=SOCKET, ID=KEYFILE,KEYFILE
    /// (may repeat).
    #[arg(long, value_name = "default|ID[=PATH]")]
    pub ssh: Vec<String>,
    /// Allow what is refused otherwise: network.host, security.insecure, device, device=NAME, buildx.local.delete (may
    /// repeat).
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// What to give instead of an image: build, check, outline, targets, subrequests.describe; check as text, json, sarif
    /// or github, the others as text or json.
    #[arg(long, value_name = "CALL[,format=FORMAT]", conflicts_with = "check")]
    pub call: Option<String>,
    /// Look for what is suspicious, build nothing: the same as --call=check. The exit code is 1 when there is something.
    #[arg(long)]
    pub check: bool,
    /// Run every step again.
    #[arg(long)]
    pub no_cache: bool,
    /// Run the steps of these stages again (may repeat).
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// End with exit code 5 before a step runs that was not cached: a stage, a number as shown (2/4, "build 2/4"), or a part of
    /// the instruction (may repeat).
    #[arg(long, value_name = "STEP")]
    pub fail_on_miss: Vec<String>,
    /// Look for results of other machines there before running anything: type=TYPE,...; REF is type=registry,ref=REF
    /// (may repeat).
    #[arg(long, value_name = "type=TYPE,...")]
    pub cache_from: Vec<String>,
    /// Leave each result there for other machines as soon as its step ends (may repeat).
    #[arg(long, value_name = "type=TYPE,...")]
    pub cache_to: Vec<String>,
    /// Insist on the registry: never use an earlier answer for a base image.
    #[arg(long)]
    pub pull: bool,
    /// The network of RUN: default (its own, with a way out), none (loopback alone), host.
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub network: String,
    /// A limit of every process of a step: nofile=1024:4096, nproc=100, core=0, ... (may repeat).
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// What a step may use: memory=512m, memory-swap=1g, cpus=1.5, cpu-quota=50000, cpu-period=100000, cpu-shares=512,
    /// cpuset-cpus=0-1, cpuset-mems=0, pids=1000 (may repeat, or several behind commas).
    #[arg(long, value_name = "NAME=VALUE,...")]
    pub resource: Vec<String>,
    /// The control group to make those of steps in [default: kiln's own, or what is above it].
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// docker's older names of --resource.
    #[command(flatten)]
    pub older: super::limits::Older,
    /// The size of /dev/shm [default: 64m].
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
    /// How many steps may run at once [default: 4 for each core, and at least 16; fewer while cores or memory are short].
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// A line of /etc/hosts for RUN: NAME:IP or NAME=IP (may repeat). `host-gateway` as IP is this machine's own address.
    #[arg(long, value_name = "NAME:IP")]
    pub add_host: Vec<String>,
    /// How progress is shown: auto, tty, plain, quiet, rawjson.
    #[arg(long, value_name = "VIEW", default_value = "auto")]
    pub progress: String,
    /// Show nothing but the image id.
    #[arg(short, long)]
    pub quiet: bool,
    /// Write the image id to a file.
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub iidfile: Option<PathBuf>,
    /// Write what came out to a file, as JSON.
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub metadata_file: Option<PathBuf>,
    /// Say at the end where the time went, step by step, the critical path first; --metadata-file gets it too.
    #[arg(long)]
    pub timings: bool,
    /// Write where the time went as a Chrome trace, for chrome://tracing and ui.perfetto.dev.
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub trace: Option<PathBuf>,
    /// Where the image goes: type=oci|docker|local|tar|image|registry,dest=PATH,...; DIR is type=local; `-` is a tarball on
    /// standard output (may repeat).
    #[arg(short, long, value_name = "type=TYPE,...")]
    pub output: Vec<String>,
    /// Push the image under its names: the same as --output=type=registry.
    #[arg(long)]
    pub push: bool,
    /// Keep the image in the store: what kiln does anyway.
    #[arg(long)]
    pub load: bool,
    /// Accepted where it changes nothing: `false`.
    #[arg(long, value_name = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub provenance: Option<String>,
    /// Accepted where it changes nothing: `false`.
    #[arg(long, value_name = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub sbom: Option<String>,
    /// Accepted: containers never stay.
    #[arg(long, hide = true)]
    pub rm: bool,
    /// Accepted: containers never stay.
    #[arg(long, hide = true)]
    pub force_rm: bool,
    /// Flags of `docker buildx build` that are not there yet: known, so that the answer is not "unknown".
    #[command(flatten)]
    pub later: Later,
}

/// `kiln buildx`.
#[derive(Debug, Subcommand)]
pub enum Buildx {
    /// Build the targets of a bake definition, side by side.
    #[command(visible_alias = "f")]
    Bake(Box<Bake>),
    /// Build an image from a Dockerfile.
    Build(Box<Build>),
}

/// `kiln bake`.
#[derive(Debug, Args)]
pub struct Bake {
    /// Targets, groups and patterns [default: default].
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// A build definition file; `-` for standard input (may repeat) [default: compose.yaml, docker-bake.json,
    /// docker-bake.hcl, docker-bake.override.hcl and their other names].
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<String>,
    /// Print the options without building.
    #[arg(long)]
    pub print: bool,
    /// List targets or variables: targets, variables, or type=TYPE,format=json.
    #[arg(long, value_name = "WHAT")]
    pub list: Option<String>,
    /// docker's older name of --list=targets.
    #[arg(long, hide = true)]
    pub list_targets: bool,
    /// docker's older name of --list=variables.
    #[arg(long, hide = true)]
    pub list_variables: bool,
    /// Override target value: PATTERN.KEY=VALUE, PATTERN.KEY+=VALUE (may repeat).
    #[arg(long, value_name = "PATTERN.KEY=VALUE")]
    pub set: Vec<String>,
    /// Set a variable value (may repeat).
    #[arg(long, value_name = "NAME=VALUE")]
    pub var: Vec<String>,
    /// Allow build to access specified resources: network.host, security.insecure, device=NAME, ssh, fs.read=PATH,
    /// fs.write=PATH, fs=PATH, buildx.local.delete (may repeat).
    #[arg(long, value_name = "WHAT")]
    pub allow: Vec<String>,
    /// Set method for evaluating build (check, outline, targets).
    #[arg(long, value_name = "METHOD", conflicts_with = "check")]
    pub call: Option<String>,
    /// Shorthand for --call=check.
    #[arg(long)]
    pub check: bool,
    /// Shorthand for --set=*.output=type=docker. Conditional.
    #[arg(long)]
    pub load: bool,
    /// Shorthand for --set=*.output=type=registry. Conditional.
    #[arg(long)]
    pub push: bool,
    /// Do not use cache when building the image.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = super::values::switch)]
    pub no_cache: Option<bool>,
    /// Always attempt to pull all referenced images.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = super::values::switch)]
    pub pull: Option<bool>,
    /// Shorthand for --set=*.attest=type=sbom.
    #[arg(long, value_name = "VALUE")]
    pub sbom: Option<String>,
    /// Shorthand for --set=*.attest=type=provenance.
    #[arg(long, value_name = "VALUE")]
    pub provenance: Option<String>,
    /// Global policy evaluation options.
    #[arg(long, value_name = "OPTIONS")]
    pub policy: Vec<String>,
    /// How many steps of a target may run at once [default: as for `kiln build`].
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// How progress is shown: auto, tty, plain, quiet, rawjson.
    #[arg(long, value_name = "VIEW", default_value = "auto")]
    pub progress: String,
    /// Show nothing but the targets with their image ids.
    #[arg(short, long)]
    pub quiet: bool,
    /// Write what came out of each target to a file, as JSON.
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub metadata_file: Option<PathBuf>,
    /// Accepted: there are no builders.
    #[arg(long, hide = true)]
    pub builder: Option<String>,
}

/// Flags that are known but not there yet.
#[derive(Debug, Default, Args)]
pub struct Later {
    #[arg(long, hide = true)]
    annotation: Vec<String>,
    #[arg(long, hide = true)]
    attest: Vec<String>,
    #[arg(long, hide = true)]
    builder: Option<String>,
    #[arg(long, hide = true)]
    policy: Vec<String>,
    #[arg(long, hide = true)]
    squash: bool,
}

impl Later {
    /// The first of them that was used.
    pub fn used(&self) -> Option<&'static str> {
        let given: [(&'static str, bool); 5] = [
            ("--annotation", !self.annotation.is_empty()),
            ("--attest", !self.attest.is_empty()),
            ("--builder", self.builder.is_some()),
            ("--policy", !self.policy.is_empty()),
            ("--squash", self.squash),
        ];
        given.into_iter().find(|(_, used)| *used).map(|(name, _)| name)
    }
}

/// `kiln images`.
#[derive(Debug, Args)]
pub struct Images {
    /// Only the image ids.
    #[arg(short, long)]
    pub quiet: bool,
    /// Format output using a custom template:
    /// 'table': a table (default);
    /// 'table TEMPLATE': a table by a Go template;
    /// 'json': JSON;
    /// 'TEMPLATE': a line for each image by a Go template.
    /// Fields: .Repository .Tag .ID .Digest .CreatedAt .CreatedSince .Platform
    #[arg(long, default_value = "table", verbatim_doc_comment)]
    pub format: String,
}

/// `kiln inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Names, or beginnings of image ids.
    #[arg(required = true)]
    pub images: Vec<String>,
    /// Format output using a custom template: 'json', or a Go template ('{{json .Config.Env}}').
    #[arg(short, long)]
    pub format: Option<String>,
}

/// `kiln save`.
#[derive(Debug, Args)]
pub struct Save {
    /// A name, or the beginning of an image id.
    pub image: String,
    /// Where to [default: standard output].
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    pub output: String,
    /// docker or oci.
    #[arg(long, default_value = "docker", value_parser = ["docker", "oci"])]
    pub format: String,
}

/// `kiln push`.
#[derive(Debug, Args)]
pub struct Push {
    /// A name, or the beginning of an image id.
    pub image: String,
    /// The name to push to [default: the image's own].
    pub dest: Option<String>,
    /// gzip, zstd or uncompressed, for layers that no registry gave.
    #[arg(long, value_name = "HOW", default_value = "gzip")]
    pub compression: String,
    /// oci or docker: whose media types the manifest has [default: those that it was pulled with, or oci].
    #[arg(long, value_parser = ["docker", "oci"])]
    pub format: Option<String>,
    /// Print nothing but the digest.
    #[arg(short, long)]
    pub quiet: bool,
}

/// `kiln login`.
#[derive(Debug, Args)]
pub struct Login {
    /// Host and port of the registry.
    #[arg(default_value = "docker.io")]
    pub registry: String,
    /// The user.
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// The password; other processes can see it here, so --password-stdin is better.
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub password: Option<String>,
    /// Read the password from standard input.
    #[arg(long)]
    pub password_stdin: bool,
}

/// `kiln explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Only this step, with all that differs: a stage, a number as shown (2/4), or a part of the instruction.
    pub step: Option<String>,
    /// Which of the last builds: 1 is the last, 2 the one before it.
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 1)]
    pub build: usize,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `kiln du`.
#[derive(Debug, Args)]
pub struct Du {
    /// Only what passes: id=, parents=, description=, type=, inuse, mutable, immutable, shared, private, until=AGE; also != and ~= (may repeat).
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// All that is known of each thing.
    #[arg(long)]
    pub verbose: bool,
    /// table, or json: one object a line.
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    pub format: String,
}

/// `kiln prune`.
#[derive(Debug, Args)]
pub struct Prune {
    /// Everything that no image and no running build needs, however recent.
    #[arg(short, long)]
    pub all: bool,
    /// What was used more recently than this stays: 12h, 7d [default: 7d, or 0 with a filter or a size].
    #[arg(long, visible_alias = "keep", value_name = "AGE")]
    pub keep_duration: Option<String>,
    /// Only what passes: id=, parents=, description=, type=, inuse, mutable, immutable, shared, private, until=AGE; also != and ~= (may repeat).
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Remove the least recently used until the store takes no more than this: 10gb, 512MiB, 20% (of the disk).
    #[arg(long, value_name = "SIZE")]
    pub max_used_space: Option<String>,
    /// Remove the least recently used until so much of the disk is free.
    #[arg(long, value_name = "SIZE")]
    pub min_free_space: Option<String>,
    /// So much may stay, whatever the other sizes say.
    #[arg(long, alias = "keep-storage", value_name = "SIZE")]
    pub reserved_space: Option<String>,
    /// List what goes.
    #[arg(long)]
    pub verbose: bool,
    /// Accepted: kiln never asks.
    #[arg(short, long)]
    pub force: bool,
}
