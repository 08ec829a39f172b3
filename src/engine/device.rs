//! `RUN --device`: reads from CDI specifications (Container Device Interface 0.x/1.0, `SPEC.md` of
//! cncf-tags) which nodes, mounts and variables a device needs. Specifications are JSON files in
//! /etc/cdi and /var/run/cdi. Hooks, which would run on the host, are refused.

use base::error::{Error, Kind, Result};
use frontend::op;
use serde::Deserialize;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// The largest specification in bytes.
const LARGEST: u64 = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Specification {
    kind: String,
    devices: Vec<Device>,
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Device {
    name: String,
    container_edits: Edits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    mounts: Vec<HostMount>,
    hooks: Vec<serde_json::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeviceNode {
    path: String,
    host_path: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HostMount {
    host_path: String,
    container_path: String,
    options: Vec<String>,
}

/// The additions of a device to a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Added {
    /// Variables as `NAME=value`.
    pub(super) env: Vec<String>,
    /// Device nodes and files of the host, with their paths in the container.
    pub(super) nodes: Vec<(PathBuf, String)>,
    /// Directories of the host, with their paths in the container, and true if they are read-only.
    pub(super) folders: Vec<(PathBuf, String, bool)>,
}

/// Finds a device; `None` if it is optional and missing.
pub(super) fn find(wanted: &op::Device) -> Result<Option<Added>> {
    find_in(&FOLDERS.map(Path::new), wanted)
}

fn find_in(folders: &[&Path], wanted: &op::Device) -> Result<Option<Added>> {
    let (kind, name) = wanted.name.split_once('=').unwrap_or((&wanted.name, ""));
    for path in folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten()) {
        let path = path.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let Some(found) = read(&path)?.filter(|found| found.kind == kind) else { continue };
        // A class alone means its device `all`, or else its first.
        let by_name = |name: &str| found.devices.iter().find(|device| device.name == name);
        let device = if name.is_empty() { by_name("all").or(found.devices.first()) } else { by_name(name) };
        if let Some(device) = device {
            let mut added = Added::default();
            for edits in [&found.container_edits, &device.container_edits] {
                added.add(edits, &wanted.name)?;
            }
            return Ok(Some(added));
        }
    }
    if !wanted.required {
        return Ok(None);
    }
    Err(Error::new(Kind::Step, format!("device {} is not there", wanted.name))
        .hint("a JSON file in /etc/cdi or /var/run/cdi describes it; YAML is not read"))
}

fn read(path: &Path) -> Result<Option<Specification>> {
    let wrong = |cause: String| {
        Error::new(Kind::System, format!("cannot read the CDI specification `{}`", path.display())).because(cause)
    };
    let size = std::fs::metadata(path).map_err(|cause| wrong(cause.to_string()))?.len();
    if size > LARGEST {
        return Err(wrong(format!("it is larger than {LARGEST} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|cause| wrong(cause.to_string()))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|cause| wrong(cause.to_string()))
}

impl Added {
    fn add(&mut self, edits: &Edits, name: &str) -> Result<()> {
        if !edits.hooks.is_empty() {
            return Err(Error::new(Kind::Step, format!("device {name} asks for hooks, which would run on the host"))
                .hint("describe what it needs as nodes, mounts and variables"));
        }
        self.env.extend(edits.env.iter().cloned());
        for node in &edits.device_nodes {
            self.nodes.push((node.host_path.as_ref().unwrap_or(&node.path).into(), node.path.clone()));
        }
        for mount in &edits.mounts {
            let (from, to) = (PathBuf::from(&mount.host_path), mount.container_path.clone());
            if from.is_dir() {
                self.folders.push((from, to, mount.options.iter().any(|option| option == "ro")));
            } else {
                self.nodes.push((from, to));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_adds_what_its_specification_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = r#"{"cdiVersion": "0.6.0", "kind": "acme.com/gpu", "containerEdits": {"env": ["ACME=1"]}, "devices": [
            {"name": "zero", "containerEdits": {"deviceNodes": [{"path": "/dev/acme0", "hostPath": "/dev/zero"}],
                "mounts": [{"hostPath": "/usr", "containerPath": "/opt/acme", "options": ["ro", "bind"]}]}},
            {"name": "hooked", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]}}]}"#;
        std::fs::write(folder.path().join("acme.json"), text).expect("written");
        let find = |name: &str, required| {
            find_in(&[folder.path(), Path::new("/nowhere")], &op::Device { name: name.to_owned(), required })
        };
        let added = find("acme.com/gpu=zero", true).expect("found").expect("there");
        assert_eq!(added.env, ["ACME=1"]);
        assert_eq!(added.nodes, [("/dev/zero".into(), "/dev/acme0".to_owned())]);
        assert_eq!(added.folders, [("/usr".into(), "/opt/acme".to_owned(), true)]);
        assert!(find("acme.com/gpu", true).expect("found").is_some());
        assert!(find("acme.com/gpu=one", false).expect("no error").is_none());
        assert!(find("acme.com/gpu=one", true).is_err() && find("acme.com/gpu=hooked", true).is_err());
    }
}
