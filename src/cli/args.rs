//! The command line as clap definitions. Nothing is resolved here.

mod bake;
mod build;

pub use bake::{Bake, Buildx};
pub use build::{Build, Later};

use clap::{Args, Parser, Subcommand};

/// Builds OCI images from Dockerfiles: no daemon, no root, one binary.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 110, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Switches take a value: --pull=false, -q=1.

Exit codes:
  0    success
  1    the build failed: Dockerfile, step, base image, export
  2    wrong usage
  3    the store is damaged
  4    the system refuses something, or the disk of the store is full
  5    a step that --fail-on-miss names was not cached
  130  interrupted

Environment:
  KILN_ROOT                    directory of the store (default: $XDG_DATA_HOME/kiln,
                               ~/.local/share/kiln, or /var/lib/kiln for root)
  KILN_GC                      automatic garbage collection: off, or max-used-space=60%,
                               reserved-space=2gb,min-free-space=10% (docs/room.md)
  KILN_EVENT_LOG               file to which every event is appended
  SOURCE_DATE_EPOCH            upper bound of the times in an image
  DOCKER_DEFAULT_PLATFORM      default of --platform
  BUILDKIT_PROGRESS            default of --progress
  DOCKER_CONFIG                directory of Docker's config.json (default: ~/.docker)
  HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY
                               proxies
  CONTAINERS_REGISTRIES_CONF, SSL_CERT_FILE
                               registries and certificates (docs/registries.md)
  NO_COLOR                     no colors";

const LOGIN: &str = "\
The registry is asked if the credential is right. It is then stored by the helper that Docker's
config.json names (credHelpers, credsStore), else in config.json itself, mode 0600:
$DOCKER_CONFIG/config.json, or ~/.docker/config.json.";

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
        "Causes, as in --json:\n{rows}\nA build leaves a report if a step was not cached. The last 32 reports are kept."
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
