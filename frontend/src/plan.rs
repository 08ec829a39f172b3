//! The plan: what the frontend returns.

use crate::config::ImageConfig;
use crate::diagnostic::Diagnostic;
use crate::ignore::Ignore;
use crate::op::{Network, Op};
use crate::outline::Outline;
use crate::platform::Platform;
use solver::{Graph, VertexId};
use std::collections::BTreeMap;

/// The user's request, as far as the Dockerfile is concerned.
#[derive(Clone, Debug)]
pub struct Request {
    /// `--target`: a stage's name; none for the last stage.
    pub target: Option<String>,
    /// The platform that is built.
    pub platform: Platform,
    /// The user named the platform. The image is then for it, whatever the base is for.
    pub platform_given: bool,
    /// Where RUN runs.
    pub build_platform: Platform,
    /// `--build-arg`, environment already looked up.
    pub build_args: BTreeMap<String, String>,
    /// `--label`, in order.
    pub labels: Vec<(String, String)>,
    /// `--network`: the default of every RUN.
    pub network: Network,
    /// `--add-host`.
    pub hosts: Vec<(String, String)>,
    /// The facts that checks need.
    pub checks: Checks,
    /// More than one platform is being built (names of vertices then carry the platform).
    pub several_platforms: bool,
}

impl Request {
    /// A build for this platform, on it, with nothing else asked for.
    pub fn new(platform: Platform) -> Request {
        Request {
            target: None,
            build_platform: platform.clone(),
            platform,
            platform_given: false,
            build_args: BTreeMap::new(),
            labels: Vec::new(),
            network: Network::Default,
            hosts: Vec::new(),
            checks: Checks::default(),
            several_platforms: false,
        }
    }
}

/// The facts that checks need beside the Dockerfile.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// kiln's own rules speak too, and all stages are looked at.
    pub asked: bool,
    /// The rules of the context's ignore file.
    pub ignore: Option<Ignore>,
    /// The names at the top of a context that has no ignore file.
    pub top: Vec<String>,
}

/// A Dockerfile made ready for the solver.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The ops; only what the target needs.
    pub graph: Graph<Op>,
    /// The vertex that makes the image's rootfs; None for `FROM scratch` without any layer.
    pub target: Option<VertexId>,
    /// Architecture, os, config and author of the image. `history`, `rootfs` and `created` are filled by the image's assembler.
    pub config: ImageConfig,
    /// The history: that of the base first.
    pub history: Vec<Past>,
    /// The diff ids of the layers of the base image: the image must begin with them, and have one more layer for each
    /// vertex in `history`.
    pub base_layers: Vec<String>,
    /// The platform of the target.
    pub platform: Platform,
    /// The inputs of the target.
    pub outline: Outline,
    /// Things that are suspicious but no error.
    pub warnings: Vec<Diagnostic>,
}

/// One entry of the history.
#[derive(Clone, Debug, PartialEq)]
pub enum Past {
    /// From the base image, as it came.
    Base(crate::config::History),
    /// An instruction of this build.
    New {
        /// As BuildKit words it, with ` # buildkit` where it adds that.
        created_by: String,
        /// The vertex whose layer it made; none if it made no layer.
        vertex: Option<VertexId>,
    },
}
