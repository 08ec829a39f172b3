//! The flags of `kiln build`.

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use std::path::PathBuf;

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
    pub older: crate::cli::limits::Older,
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
