//! Grants beyond building: `--allow`.

use crate::csv;

/// Grants.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// `network.host`
    pub network_host: bool,
    /// `security.insecure`
    pub insecure: bool,
    /// `ssh`
    pub ssh: bool,
    /// `buildx.local.delete`
    pub delete: bool,
    /// `device`: all.
    pub all_devices: bool,
    /// `device=NAME`
    pub devices: Vec<String>,
    /// `fs.read=PATH`
    pub read: Vec<String>,
    /// `fs.write=PATH`
    pub write: Vec<String>,
}

impl Allowed {
    /// Reads the values of `--allow`.
    pub fn parse(texts: &[String]) -> Result<Allowed, String> {
        let mut allowed = Allowed::default();
        for text in texts {
            let (key, value) = match text.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (text.as_str(), None),
            };
            match (key, value) {
                ("network.host", None) => allowed.network_host = true,
                ("security.insecure", None) => allowed.insecure = true,
                ("ssh", None) => allowed.ssh = true,
                ("buildx.local.delete", None) => allowed.delete = true,
                ("buildx.local.delete", Some(_)) => return Err(format!("{key} does not accept a value")),
                ("device", None) => allowed.all_devices = true,
                ("device", Some(value)) => {
                    let fields = csv::fields(&value, ',');
                    let fields =
                        fields.map_err(|why| format!("failed to parse device entitlement {value:?}: {why}"))?;
                    allowed.devices.extend(fields.into_iter().next());
                }
                ("fs.read", value) => allowed.read.push(value.unwrap_or_default()),
                ("fs.write", value) => allowed.write.push(value.unwrap_or_default()),
                ("fs", value) => {
                    let path = value.unwrap_or_default();
                    allowed.read.push(path.clone());
                    allowed.write.push(path);
                }
                ("image" | "image.push" | "image.load", _) => {}
                _ => return Err(format!("unknown entitlement key {key:?}")),
            }
        }
        Ok(allowed)
    }
}
