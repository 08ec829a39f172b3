//! The command line as clap definitions. Nothing is resolved here.

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Builds OCI images from Dockerfiles: no daemon, no root, one binary.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 110, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// The command to run.
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

/// The values of `--output`, `--cache-to` and `--progress`, for the help text.
fn tables() -> String {
    format!(
        "Outputs:\n{}\nCaches (docs/cache.md):\n{}\nProgress views:\n{}\n{EXIT_CODES}",
        crate::export::help(),
        cache::help(),
        crate::progress::help()
    )
}

/// The causes in a report, for the help text.
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
    /// Each RUN gets a network of its own with access to the outside, by pasta or slirp4netns. If
    /// neither works, it uses the host's network, with a warning.
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
    /// List images.
    Images(Images),
    /// Display detailed information on one or more images.
    Inspect(Inspect),
    /// Remove one or more images; `kiln prune` then frees the space.
    Rmi {
        /// Names or image IDs.
        #[arg(required = true)]
        images: Vec<String>,
        /// Force removal of an image by its ID: removes all its names.
        #[arg(short, long)]
        force: bool,
    },
    /// Save an image to a tar archive (streamed to STDOUT by default).
    Save(Save),
    /// Download an image from a registry.
    Pull {
        /// The image.
        name: String,
        /// Set platform if the image is multi-platform [default: this machine's].
        #[arg(long, value_name = "OS/ARCH")]
        platform: Option<String>,
        /// Suppress verbose output.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Upload an image to a registry and print its digest.
    Push(Push),
    /// Authenticate to a registry; `docker` uses the same credentials.
    #[command(after_help = LOGIN)]
    Login(Login),
    /// Log out from a registry.
    Logout {
        /// Host and port of the registry.
        #[arg(default_value = "docker.io")]
        registry: String,
    },
    /// Show why steps of the last build were not cached.
    ///
    /// A step is compared with the most similar earlier step of the same Dockerfile and context.
    #[command(after_help = causes())]
    Explain(Explain),
    /// Show the disk usage of the store.
    Du(Du),
    /// Manage the cache mounts of RUN --mount=type=cache.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// List the running steps of all builds, with their processes.
    Ps {
        /// Print JSON: id, build (process ID), name, begun (milliseconds since 1970), pid,
        /// processes.
        #[arg(long)]
        json: bool,
    },
    /// Run a shell or another command inside a running step.
    ///
    /// The command has the step's root, processes, network, environment, user and limits, and no
    /// more privileges. It ends with the step. kiln exits with the command's exit code. While kiln
    /// shell itself is stopped (SIGSTOP), the step cannot end.
    Shell(super::look::Shell),
    /// Remove build cache, and images without a name. Builds may run meanwhile; the cache that they
    /// use stays.
    Prune(Prune),
    /// Check which features of this machine kiln can use, and how to enable the others.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Verify every file in the store.
    Fsck {
        /// Remove damaged data; it is built or pulled again when needed.
        #[arg(long)]
        repair: bool,
    },
    /// Generate the completion script for a shell.
    Completion(super::completion::Completion),
    /// Write manual pages into a directory.
    #[command(hide = true)]
    Man(super::completion::Manual),
    /// Write the store to disk now. Builds do this once an hour, in the background; use it on
    /// machines that end with their job.
    Sync,
}

/// The commands of `kiln cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List the cache mounts of this machine, or of a cache.
    Ls {
        /// The cache to list, as --cache-from of `kiln build`.
        #[arg(long, value_name = "type=TYPE,...")]
        from: Option<String>,
    },
    /// Save cache mounts to a cache. Data that it has already is not sent again.
    Export {
        /// The cache to save to, as --cache-to of `kiln build`.
        #[arg(long, value_name = "type=TYPE,...")]
        to: String,
        /// The ids of cache mounts [default: all].
        ids: Vec<String>,
    },
    /// Restore cache mounts from a cache. Mounts that were used here since stay as they are.
    Import {
        /// The cache to restore from, as --cache-from of `kiln build`.
        #[arg(long, value_name = "type=TYPE,...")]
        from: String,
        /// The ids of cache mounts [default: all].
        ids: Vec<String>,
    },
    /// Remove cache mounts of this machine, or of a cache.
    Rm {
        /// The cache to remove from, as --cache-from of `kiln build`.
        #[arg(long, value_name = "type=TYPE,...")]
        from: Option<String>,
        /// The ids of cache mounts.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Remove old results of steps from a cache; saved cache mounts stay.
    Prune {
        /// The cache to prune, as --cache-from of `kiln build`.
        #[arg(long, value_name = "type=TYPE,...")]
        from: String,
        /// Keep results that were written more recently than this: 12h, 30d.
        #[arg(long, visible_alias = "keep", value_name = "AGE")]
        keep_duration: String,
    },
}

/// The flags of `kiln build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The build context: a directory, a URL, or `-` for a Dockerfile or tarball on standard input.
    pub context: String,
    /// Name of the Dockerfile [default: CONTEXT/Dockerfile]; `-` is standard input.
    #[arg(short, long, value_name = "PATH")]
    pub file: Option<String>,
    /// Image identifier (may repeat).
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub tag: Vec<String>,
    /// Set build-time variables; NAME alone takes the value from the environment (may repeat).
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Set the target build stage to build [default: the last].
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Set metadata for an image (may repeat).
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Set target platform for build; several make an index. RUN for another architecture needs an
    /// emulator: see `kiln doctor`.
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub platform: Vec<String>,
    /// Additional build contexts: NAME=DIR, NAME=docker-image://REF, NAME=oci-layout://PATH:TAG
    /// (may repeat).
    #[arg(long, value_name = "NAME=SOURCE")]
    pub build_context: Vec<String>,
    /// Secret to expose to the build: id=ID,src=FILE or id=ID,env=NAME (may repeat).
    #[arg(long, value_name = "id=ID,...")]
    pub secret: Vec<String>,
    /// SSH agent socket or keys to expose to the build: `default` is $SSH_AUTH_SOCK; ID=SOCKET,
    /// ID=KEYFILE,KEYFILE (may repeat).
    #[arg(long, value_name = "default|ID[=PATH]")]
    pub ssh: Vec<String>,
    /// Allow extra privileged entitlement: network.host, security.insecure, device, device=NAME,
    /// buildx.local.delete (may repeat).
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Set method for evaluating build: build, check, outline, targets, subrequests.describe; the
    /// formats are text and json, for check also sarif and github.
    #[arg(long, value_name = "CALL[,format=FORMAT]", conflicts_with = "check")]
    pub call: Option<String>,
    /// Shorthand for --call=check. The exit code is 1 if there are findings.
    #[arg(long)]
    pub check: bool,
    /// Do not use cache when building the image.
    #[arg(long)]
    pub no_cache: bool,
    /// Do not cache specified stages (may repeat).
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// Exit with code 5 before running an uncached step. STEP is a stage, a number as shown (2/4,
    /// "build 2/4"), or a part of the instruction (may repeat).
    #[arg(long, value_name = "STEP")]
    pub fail_on_miss: Vec<String>,
    /// External cache sources: type=TYPE,...; REF is type=registry,ref=REF (may repeat).
    #[arg(long, value_name = "type=TYPE,...")]
    pub cache_from: Vec<String>,
    /// Cache export destinations; each result is pushed when its step ends (may repeat).
    #[arg(long, value_name = "type=TYPE,...")]
    pub cache_to: Vec<String>,
    /// Always attempt to pull all referenced images.
    #[arg(long)]
    pub pull: bool,
    /// Set the networking mode for the RUN instructions during build: default (a network of its
    /// own), none (loopback only), host.
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub network: String,
    /// Ulimit options: nofile=1024:4096, nproc=100, core=0, ... (may repeat).
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// Limit the resources of each step: memory=512m, memory-swap=1g, cpus=1.5, cpu-quota=50000,
    /// cpu-period=100000, cpu-shares=512, cpuset-cpus=0-1, cpuset-mems=0, pids=1000 (may repeat, or
    /// be separated by commas).
    #[arg(long, value_name = "NAME=VALUE,...")]
    pub resource: Vec<String>,
    /// Set the parent cgroup for the RUN instructions during build [default: kiln's own cgroup or
    /// its parent].
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// Docker's older names for --resource.
    #[command(flatten)]
    pub older: super::limits::Older,
    /// Shared memory size for build containers [default: 64m].
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
    /// Limit the number of concurrent steps [default: 4 per core, at least 16; fewer under CPU or
    /// memory pressure].
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Add a custom host-to-IP mapping: NAME:IP or NAME=IP (may repeat). `host-gateway` is this
    /// machine's own address.
    #[arg(long, value_name = "NAME:IP")]
    pub add_host: Vec<String>,
    /// Set type of progress output: auto, tty, plain, quiet, rawjson.
    #[arg(long, value_name = "VIEW", default_value = "auto")]
    pub progress: String,
    /// Suppress the build output and print image ID on success.
    #[arg(short, long)]
    pub quiet: bool,
    /// Write the image ID to a file.
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub iidfile: Option<PathBuf>,
    /// Write build result metadata to a file.
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub metadata_file: Option<PathBuf>,
    /// Print the time of each step after the build, the critical path first; --metadata-file gets
    /// it too.
    #[arg(long)]
    pub timings: bool,
    /// Write the timings as a Chrome trace, for chrome://tracing and ui.perfetto.dev.
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub trace: Option<PathBuf>,
    /// Output destination: type=oci|docker|local|tar|image|registry,dest=PATH,...; DIR is
    /// type=local; `-` is a tarball on standard output (may repeat).
    #[arg(short, long, value_name = "type=TYPE,...")]
    pub output: Vec<String>,
    /// Shorthand for --output=type=registry.
    #[arg(long)]
    pub push: bool,
    /// Keep the image in the store, which is the default.
    #[arg(long)]
    pub load: bool,
    /// Accepted only as `false`: there are no attestations.
    #[arg(long, value_name = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub provenance: Option<String>,
    /// Accepted only as `false`: there are no attestations.
    #[arg(long, value_name = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub sbom: Option<String>,
    /// Accepted without effect: containers are always removed.
    #[arg(long, hide = true)]
    pub rm: bool,
    /// Accepted without effect: containers are always removed.
    #[arg(long, hide = true)]
    pub force_rm: bool,
    /// Flags of `docker buildx build` that are recognised but not supported, for a better error.
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
    /// A build definition file; `-` for standard input (may repeat) [default: compose.yaml,
    /// docker-bake.json, docker-bake.hcl, docker-bake.override.hcl and their other names].
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
    /// Allow build to access specified resources: network.host, security.insecure, device=NAME,
    /// ssh, fs.read=PATH, fs.write=PATH, fs=PATH, buildx.local.delete (may repeat).
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
    /// Accepted without effect: there are no builders.
    #[arg(long, hide = true)]
    pub builder: Option<String>,
}

/// Flags that are recognised but not supported.
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
    /// The first of these flags that was used.
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

/// The flags of `kiln images`.
#[derive(Debug, Args)]
pub struct Images {
    /// Only show image IDs.
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

/// The flags of `kiln inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Image names, or prefixes of image IDs.
    #[arg(required = true)]
    pub images: Vec<String>,
    /// Format output using a custom template: 'json', or a Go template ('{{json .Config.Env}}').
    #[arg(short, long)]
    pub format: Option<String>,
}

/// The flags of `kiln save`.
#[derive(Debug, Args)]
pub struct Save {
    /// An image name, or a prefix of an image ID.
    pub image: String,
    /// Write to a file, instead of STDOUT.
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    pub output: String,
    /// Archive format: docker or oci.
    #[arg(long, default_value = "docker", value_parser = ["docker", "oci"])]
    pub format: String,
}

/// The flags of `kiln push`.
#[derive(Debug, Args)]
pub struct Push {
    /// An image name, or a prefix of an image ID.
    pub image: String,
    /// The name to push to [default: the image's own].
    pub dest: Option<String>,
    /// Compression of layers that were built here: gzip, zstd or uncompressed.
    #[arg(long, value_name = "HOW", default_value = "gzip")]
    pub compression: String,
    /// Media types of the manifest: oci or docker [default: those it was pulled with, or oci].
    #[arg(long, value_parser = ["docker", "oci"])]
    pub format: Option<String>,
    /// Suppress verbose output: print only the digest.
    #[arg(short, long)]
    pub quiet: bool,
}

/// The flags of `kiln login`.
#[derive(Debug, Args)]
pub struct Login {
    /// Host and port of the registry.
    #[arg(default_value = "docker.io")]
    pub registry: String,
    /// Username.
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password or Personal Access Token (PAT). Other processes can see it, so --password-stdin is
    /// safer.
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin.
    #[arg(long)]
    pub password_stdin: bool,
}

/// The flags of `kiln explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Show only this step, with all differences: a stage, a number as shown (2/4), or a part of
    /// the instruction.
    pub step: Option<String>,
    /// The build to show: 1 is the last, 2 the one before it.
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 1)]
    pub build: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// The flags of `kiln du`.
#[derive(Debug, Args)]
pub struct Du {
    /// Provide filter values: id=, parents=, description=, type=, inuse, mutable, immutable,
    /// shared, private, until=AGE; also != and ~= (may repeat).
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Provide a more verbose output.
    #[arg(long)]
    pub verbose: bool,
    /// Format the output: table, or json with one object per line.
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    pub format: String,
}

/// The flags of `kiln prune`.
#[derive(Debug, Args)]
pub struct Prune {
    /// Remove everything that no image and no running build uses, however recent.
    #[arg(short, long)]
    pub all: bool,
    /// Keep data that was used more recently than this: 12h, 7d [default: 7d, or 0 with a filter or
    /// a size].
    #[arg(long, visible_alias = "keep", value_name = "AGE")]
    pub keep_duration: Option<String>,
    /// Provide filter values: id=, parents=, description=, type=, inuse, mutable, immutable,
    /// shared, private, until=AGE; also != and ~= (may repeat).
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Maximum amount of disk space allowed to keep: 10gb, 512MiB, 20% (of the disk). The least
    /// recently used data is removed first.
    #[arg(long, value_name = "SIZE")]
    pub max_used_space: Option<String>,
    /// Target amount of free disk space after pruning. The least recently used data is removed
    /// first.
    #[arg(long, value_name = "SIZE")]
    pub min_free_space: Option<String>,
    /// Amount of disk space always allowed to keep, whatever the other sizes say.
    #[arg(long, alias = "keep-storage", value_name = "SIZE")]
    pub reserved_space: Option<String>,
    /// Provide a more verbose output: list the removed data.
    #[arg(long)]
    pub verbose: bool,
    /// Do not prompt for confirmation; kiln never does.
    #[arg(short, long)]
    pub force: bool,
}
