//! The image config as data: the fields of the OCI image specification (config.md) and those that Docker adds
//! (Healthcheck, OnBuild, Shell). What is not known is kept as it came.

mod nulls;

use crate::platform::Platform;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The whole config blob of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// MAINTAINER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// `amd64`.
    pub architecture: String,
    /// `v7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `linux`.
    pub os: String,
    /// How a container of the image is run.
    pub config: RunConfig,
    /// The diff ids of the layers.
    pub rootfs: RootFs,
    /// One entry an instruction, the oldest first.
    pub history: Vec<History>,
    /// Everything else (`os.version`, ...).
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ImageConfig {
    /// Reads a config blob. As in Go, `null` stands for the empty value of any field.
    pub fn read(bytes: &[u8]) -> Result<ImageConfig, serde_json::Error> {
        let mut value: Value = serde_json::from_slice(bytes)?;
        nulls::replace(&mut value);
        serde_json::from_value(value)
    }

    /// Writes the platform as everybody else does: `arm64` for `aarch64`, `arm64` for `arm64/v8`.
    pub(crate) fn normalise_platform(&mut self) {
        if !self.architecture.is_empty() {
            let platform = Platform::normal(&self.os, &self.architecture, self.variant.as_deref());
            (self.architecture, self.variant) = (platform.architecture, platform.variant);
        }
    }

    /// Makes it the config of an image for a platform. What a base says more of the same platform stays.
    pub(crate) fn set_platform(&mut self, platform: &Platform) {
        let same = self.os == platform.os && self.architecture == platform.architecture;
        if platform.variant.is_some() || !same {
            self.variant.clone_from(&platform.variant);
        }
        if !same {
            self.other.remove("os.version");
        }
        self.os.clone_from(&platform.os);
        self.architecture.clone_from(&platform.architecture);
    }
}

/// How a container of the image is run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RunConfig {
    /// USER.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// EXPOSE: `80/tcp`.
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub exposed_ports: Option<BTreeMap<String, Value>>,
    /// ENV, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// ENTRYPOINT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// CMD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// VOLUME.
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub volumes: Option<BTreeMap<String, Value>>,
    /// WORKDIR.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// LABEL.
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub labels: Option<BTreeMap<String, String>>,
    /// STOPSIGNAL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Set by CMD; Windows alone reads it. There because BuildKit's images have it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// HEALTHCHECK (Docker's own).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// ONBUILD (Docker's own).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// SHELL (Docker's own).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Everything else (`StopTimeout`, ...).
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// HEALTHCHECK; times are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", text]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// The time limit of one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// In which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between checks in the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures until the container is unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers of the image, the lowest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `sha256:` of each uncompressed tar.
    pub diff_ids: Vec<String>,
}

impl Default for RootFs {
    fn default() -> Self {
        RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One instruction of the image's past.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction as BuildKit words it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// MAINTAINER.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// The program that wrote the entry.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// True if the instruction made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

fn is_none_or_empty<V>(map: &Option<BTreeMap<String, V>>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}
