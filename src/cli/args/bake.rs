//! The flags of `kiln bake` and the verbs of `kiln buildx`.

use super::Build;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use std::path::PathBuf;

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
          value_parser = crate::cli::values::switch)]
    pub no_cache: Option<bool>,
    /// Always attempt to pull all referenced images.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = crate::cli::values::switch)]
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
