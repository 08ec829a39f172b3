//! Privileges that targets ask for and nobody granted: files outside of the working folder, networks, devices, agents.

use crate::allow::Allowed;
use crate::host::Host;
use crate::paths;
use crate::remote::is_remote;
use crate::selection::Selection;
use crate::target::{Target, is_path};
use std::collections::BTreeSet;
use std::io;

/// Privileges: a sentence and a flag for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those of the machine.
    pub machine: Vec<(String, String)>,
    /// Those of files and agents.
    pub files: Vec<(String, String)>,
}

impl Wanted {
    /// True where all is granted.
    pub fn is_empty(&self) -> bool {
        self.machine.is_empty() && self.files.is_empty()
    }

    /// All sentences.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        self.machine.iter().chain(&self.files).map(|(sentence, _)| sentence.as_str())
    }

    /// All flags in one line.
    pub fn flags(&self) -> String {
        let flags = self.machine.iter().chain(&self.files).map(|(_, flag)| format!("--allow={flag}"));
        flags.collect::<Vec<_>>().join(" ")
    }
}

/// Finds what is wanted and not granted. The working folder may be read and written.
pub fn missing(selection: &Selection, allowed: &Allowed, host: &dyn Host) -> io::Result<Wanted> {
    let mut wanted = Wanted::default();
    let (mut read, mut write) = (BTreeSet::new(), BTreeSet::new());
    let (mut network, mut insecure, mut ssh, mut delete) = (false, false, false, false);
    let mut devices = BTreeSet::new();
    for target in selection.targets.values() {
        for entitlement in target.entitlements.iter().flatten() {
            match entitlement.split_once('=') {
                None if entitlement == "network.host" => network = true,
                None if entitlement == "security.insecure" => insecure = true,
                None if entitlement == "device" => drop(devices.insert(String::new())),
                Some(("device", name)) => drop(devices.insert(name.split(',').next().unwrap_or(name).to_owned())),
                _ => {}
            }
        }
        ssh |= target.ssh.iter().flatten().any(|ssh| ssh.paths.is_empty());
        delete |=
            target.outputs.iter().flatten().any(|output| {
                output.kind == "local" && output.attributes.get("mode").is_some_and(|mode| mode == "delete")
            });
        read.extend(readable(target));
        write.extend(writable(target));
    }
    let mut machine = |asked: bool, granted: bool, sentence: String, flag: String| {
        if asked && !granted {
            wanted.machine.push((sentence, flag));
        }
    };
    let text = |text: &str| text.to_owned();
    let sentence = "Running build containers that can access host network";
    machine(network, allowed.network_host, text(sentence), text("network.host"));
    let sentence = "Running privileged containers that can make system changes";
    machine(insecure, allowed.insecure, text(sentence), text("security.insecure"));
    for device in &devices {
        let granted = allowed.all_devices || allowed.devices.contains(device);
        match device.as_str() {
            "" => machine(true, granted, text("Access to CDI devices"), text("device")),
            name => machine(true, granted, format!("Access to device {name}"), format!("device={name}")),
        }
    }
    let sentence = "Deleting stale files from local output destinations";
    machine(delete, allowed.delete, text(sentence), text("buildx.local.delete"));
    if ssh && !allowed.ssh {
        wanted.files.push((text("Forwarding default SSH agent socket"), text("ssh")));
    }
    let read = outside(&read, &allowed.read, host)?;
    let write = outside(&write, &allowed.write, host)?;
    for path in read.intersection(&write) {
        wanted.files.push((format!("Read and write access to path {path}"), format!("fs={path}")));
    }
    for path in read.difference(&write) {
        wanted.files.push((format!("Read access to path {path}"), format!("fs.read={path}")));
    }
    for path in write.difference(&read) {
        wanted.files.push((format!("Write access to path {path}"), format!("fs.write={path}")));
    }
    Ok(wanted)
}

/// Paths of this machine that a target reads.
fn readable(target: &Target) -> Vec<String> {
    let mut found = Vec::new();
    let context = target.context.as_deref().unwrap_or(".");
    let file = target.dockerfile.as_deref().unwrap_or("Dockerfile");
    if let Some(file) = file.strip_prefix("cwd://") {
        found.push(file.to_owned());
    }
    if !is_remote(context) && !target.inside {
        found.push(context.to_owned());
        if file.starts_with('/') {
            found.push(file.to_owned());
        } else if !file.starts_with("cwd://") {
            found.push(paths::join(context, file));
        }
    }
    for context in target.contexts.values() {
        let far = is_remote(context) || ["target:", "docker-image:"].iter().any(|scheme| context.starts_with(scheme));
        let in_tree = target.elsewhere && is_path(context);
        if !(far || in_tree) {
            let path = context.strip_prefix("cwd://").or_else(|| context.strip_prefix("oci-layout://"));
            found.push(path.unwrap_or(context).to_owned());
        }
    }
    let local = target.cache_from.iter().flatten().filter(|cache| cache.kind == "local");
    found.extend(local.filter_map(|cache| cache.attributes.get("src").cloned()));
    for secret in target.secrets.iter().flatten() {
        found.extend((!secret.path.is_empty()).then(|| secret.path.clone()));
    }
    found.extend(target.ssh.iter().flatten().flat_map(|ssh| ssh.paths.clone()));
    found
}

/// Paths of this machine that a target writes.
fn writable(target: &Target) -> Vec<String> {
    let mut found = Vec::new();
    for output in target.outputs.iter().flatten() {
        let stream = output.destination.is_empty() || output.destination == "-";
        found.extend((!stream).then(|| output.destination.clone()));
    }
    let local = target.cache_to.iter().flatten().filter(|cache| cache.kind == "local");
    found.extend(local.filter_map(|cache| cache.attributes.get("dest").cloned()));
    found
}

/// Those of some paths that are not within the working folder nor a granted path.
fn outside(wanted: &BTreeSet<String>, granted: &[String], host: &dyn Host) -> io::Result<BTreeSet<String>> {
    if granted.iter().any(|path| path == "*") {
        return Ok(BTreeSet::new());
    }
    let here = host.canonical(".")?;
    let absolute = |path: &str| if path.starts_with('/') { paths::clean(path) } else { paths::join(&here, path) };
    let mut allowed = vec![here.clone()];
    for path in granted {
        let (found, rest) = existing(&absolute(path), host);
        allowed.push(if rest.is_empty() { found } else { paths::join(&found, &rest) });
    }
    let within = |path: &str| {
        let below = |folder: &String| folder == "/" || path == folder || path.starts_with(&format!("{folder}/"));
        allowed.iter().any(below)
    };
    let found: BTreeSet<String> = wanted.iter().map(|path| existing(&absolute(path), host).0).collect();
    let all: Vec<String> = found.into_iter().filter(|path| !within(path)).collect();
    // A folder stands for what is in it.
    let parents = |path: &String| all.iter().any(|other| path != other && path.starts_with(&format!("{other}/")));
    Ok(all.iter().filter(|path| !parents(path)).map(|path| shown(path, &here)).collect())
}

/// The nearest path above that exists, links followed, and what is missing behind it.
fn existing(path: &str, host: &dyn Host) -> (String, String) {
    let (mut found, mut rest) = (path.to_owned(), String::new());
    loop {
        match host.canonical(&found) {
            Ok(real) => return (real, rest),
            Err(_) if found == "/" || found.is_empty() => return (path.to_owned(), String::new()),
            Err(_) => {
                let (parent, name) = found.rsplit_once('/').unwrap_or(("", &found));
                rest = if rest.is_empty() { name.to_owned() } else { format!("{name}/{rest}") };
                found = if parent.is_empty() { "/".to_owned() } else { parent.to_owned() };
            }
        }
    }
}

/// A path beside the working folder is shown relative to it.
fn shown(path: &str, here: &str) -> String {
    let parent = here.rsplit_once('/').map_or("", |(parent, _)| parent);
    match path.strip_prefix(&format!("{parent}/")) {
        Some(rest) => format!("../{rest}"),
        None if path == parent => "..".into(),
        None => path.to_owned(),
    }
}
