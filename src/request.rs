//! The request of a build: plain data that a front end (the command line, bake, compose) fills and
//! [`crate::pipeline`] builds. It knows no flags.

pub mod fetch;

use crate::call::Asked;
use crate::engine::Secret;
use crate::engine::agent::Agent;
use crate::export::Wanted;
use crate::image::Image;
use base::error::{Error, Kind, Result};
use fetch::PendingContext;
use frontend::op::Network;
use frontend::platform::Platform;
use frontend::remote::Remote;
use registry::Settings;
use sandbox::Limits;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Everything that decides on a build: plain data, with the environment resolved.
#[derive(Debug)]
pub struct BuildRequest {
    /// Excerpts of the Dockerfile in errors may be coloured.
    pub color: bool,
    /// The bytes of the Dockerfile.
    pub dockerfile: Vec<u8>,
    /// Its name in messages. Its ignore file is looked for beside it.
    pub dockerfile_path: Option<PathBuf>,
    /// The directory of the context. None if there is only a Dockerfile.
    pub context: Option<PathBuf>,
    /// A context that is not on this machine yet.
    pub pending: Option<PendingContext>,
    /// BUILDKIT_CONTEXT_KEEP_GIT_DIR: a git context keeps its `.git`.
    pub keep_git_dir: bool,
    /// The directory that the pending context was put into.
    pub fetched: Option<PathBuf>,
    /// SOURCE_DATE_EPOCH=context: the time is the context's.
    pub epoch_of_context: bool,
    /// `-t`.
    pub names: Vec<String>,
    /// `--build-arg`, with values from the environment where none was written.
    pub build_args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--label`.
    pub labels: Vec<(String, String)>,
    /// `--platform`: at least one.
    pub platforms: Vec<Platform>,
    /// True if `--platform` or DOCKER_DEFAULT_PLATFORM named them.
    pub platform_given: bool,
    /// `--build-context`, by name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`, by id.
    pub agents: BTreeMap<String, Agent>,
    /// `--ulimit`, `--shm-size`.
    pub limits: Limits,
    /// `--call`.
    pub asked: Asked,
    /// `--allow`.
    pub allow: Allow,
    /// The places of the Dockerfile and the context: two builds with the same place are compared by
    /// `kiln explain`.
    pub place: String,
    /// `--fail-on-miss`.
    pub fail_on_miss: Vec<String>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`.
    pub no_cache_filter: Vec<String>,
    /// `--cache-from` and `--cache-to`.
    pub caches: Vec<cache::Wanted>,
    /// `--pull`.
    pub pull: bool,
    /// `--jobs`.
    pub jobs: Option<usize>,
    /// `--network`.
    pub network: Network,
    /// `--add-host`.
    pub hosts: Vec<(String, String)>,
    /// `--output`.
    pub outputs: Vec<Wanted>,
    /// `--iidfile`.
    pub iidfile: Option<PathBuf>,
    /// `--metadata-file`.
    pub metadata_file: Option<PathBuf>,
    /// `-q`: the image id is the only output.
    pub quiet: bool,
    /// `--progress`.
    pub progress: String,
    /// BUILDKIT_MULTI_PLATFORM: one platform has the form of several.
    pub multi: bool,
    /// Warnings that are printed before the build begins.
    pub warnings: Vec<String>,
    /// SOURCE_DATE_EPOCH.
    pub epoch: Option<i64>,
    /// Proxies, mirrors and credentials of registries.
    pub settings: Settings,
    /// Another build of this process begins with its images, so their layers are brought here.
    /// Caches and registries are those of this build alone.
    pub linked: bool,
}

/// A source that `--build-context` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory.
    Dir(PathBuf),
    /// An image at a registry.
    Image(String),
    /// `oci-layout://...`.
    Layout(String),
    /// A repository, or a tarball behind a URL.
    Remote(Remote),
    /// Images of this process, one a platform: the result of another target of a bake definition.
    Built(Arc<Vec<Image>>),
}

/// Entitlements of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// `network.host`.
    pub network_host: bool,
    /// `security.insecure`.
    pub security_insecure: bool,
    /// `device=NAME`; an empty name for `device`, which allows all.
    pub devices: Vec<String>,
    /// `buildx.local.delete`: `type=local,mode=delete` may empty any directory.
    pub local_delete: bool,
}

impl BuildRequest {
    /// Removes `--iidfile` and `--metadata-file` of an earlier build: a build that fails must not
    /// leave them.
    pub fn remove_earlier_answers(&self) -> Result<()> {
        for path in self.iidfile.iter().chain(&self.metadata_file) {
            // Only regular files are removed: /dev/stdout and its target stay.
            let is_file = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
            if is_file {
                match std::fs::remove_file(path) {
                    Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                        let text = format!("cannot remove `{}`, which an earlier build wrote", path.display());
                        return Err(Error::new(Kind::Export, text).because(cause));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
