//! The one question the frontend asks outward: what stands behind a name?

use crate::config::ImageConfig;
use crate::platform::Platform;
use crate::remote::Remote;

/// The thing behind a name.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// An image, pinned to the manifest of the platform that was asked for.
    Image {
        /// Normalised (`docker.io/library/debian:latest`).
        name: String,
        /// `sha256:...` of the platform's manifest.
        digest: String,
        /// Its config blob, boxed for its size.
        config: Box<ImageConfig>,
    },
    /// A directory given by `--build-context`.
    Context {
        /// Its name, for [`crate::op::Source::Context`].
        name: String,
    },
}

/// Why a name could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveError {
    /// The fault, lower case, no full stop.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

/// Answers what stands behind a name. Must be cheap to ask twice.
pub trait Resolve {
    /// A context or image that `--build-context` gave under this name, if it did. `name` is as the Dockerfile has it.
    fn named(&self, name: &str, platform: &Platform) -> Result<Option<Resolved>, ResolveError>;
    /// Brings what lies elsewhere: a directory as if `--build-context` had given it.
    fn remote(&self, remote: &Remote) -> Result<Resolved, ResolveError> {
        let message = match remote {
            Remote::Http(http) => format!("{}: nobody is there to fetch it", http.url),
            Remote::Git(git) => format!("{}: nobody is there to fetch it", git.url),
        };
        Err(ResolveError { message, hint: None })
    }
    /// The image of this name, from wherever images come.
    fn image(&self, name: &str, platform: &Platform) -> Result<Resolved, ResolveError>;
}
