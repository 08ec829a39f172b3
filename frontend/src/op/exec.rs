//! A RUN: its command, environment, rights and mounts.

use super::{Input, Mount, input};
use crate::platform::Platform;
use solver::{Describe, Manifest};
use std::time::Duration;

/// In place of an address in [`Exec::hosts`]: the host's own. It stands for itself in keys: the address is found when the
/// step runs.
pub const HOST_GATEWAY: &str = "host-gateway";

/// A command in a rootfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// The platform of the programs that it runs.
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
    /// True if a step without it fails.
    pub required: bool,
}

/// The network of a RUN.
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

fn pairs(to: &mut dyn Manifest, name: &'static str, pairs: &[(String, String)]) {
    to.open(name);
    for (key, value) in pairs {
        to.text("name", key);
        to.text("value", value);
    }
    to.close();
}
