//! Reads an image from a layout, checks that it is a valid one, and compares two. Shares no code with the builder.

use crate::common::registry;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

/// A file of a layer: everything but its time, and its time.
#[derive(PartialEq, Clone, Debug)]
pub struct Entry {
    pub what: String,
    pub time: String,
}

/// A layer: the digest of its tar, and its files in their order.
type Layer = (String, Vec<(String, Entry)>);

pub struct Image {
    config: Value,
    history: Vec<(String, bool)>,
    layers: Vec<Arc<Layer>>,
}

impl Image {
    pub fn diff_ids(&self) -> Vec<&str> {
        self.layers.iter().map(|layer| layer.0.as_str()).collect()
    }
}

/// The one image of a layout, if it is whole: sizes and digests of blobs, and a layer for each step that has one.
pub fn read(layout: &Path) -> Result<Image, String> {
    let index = json(&std::fs::read(layout.join("index.json")).map_err(|cause| cause.to_string())?)?;
    let manifest = json(&blob(layout, &index["manifests"][0])?)?;
    let mut config = json(&blob(layout, &manifest["config"])?)?;
    let mut layers = Vec::new();
    for descriptor in list(&manifest["layers"]) {
        layers.push(layer(&blob(layout, descriptor)?)?);
    }
    let promised: Vec<&str> = list(&config["rootfs"]["diff_ids"]).filter_map(Value::as_str).collect();
    let found: Vec<&str> = layers.iter().map(|layer| layer.0.as_str()).collect();
    if promised != found {
        return Err(format!("INVALID: the config says {promised:?}, the layers are {found:?}"));
    }
    let history: Vec<(String, bool)> = list(&config["history"])
        .map(|step| (step["created_by"].as_str().unwrap_or_default().to_owned(), step["empty_layer"] == true))
        .collect();
    let filled = history.iter().filter(|step| !step.1).count();
    if filled != layers.len() {
        return Err(format!("INVALID: {filled} steps of the history have a layer, {} layers are there", layers.len()));
    }
    let steps = history.iter().filter(|step| !step.1).map(|step| &step.0);
    for (step, layer) in steps.zip(&layers) {
        // A step that only adds files takes none away.
        let adds = step.starts_with("COPY ") || step.starts_with("WORKDIR ");
        let away = |path: &str| path.rsplit('/').next().unwrap_or_default().starts_with(".wh.");
        if let Some((path, _)) = layer.1.iter().find(|(path, _)| adds && away(path)) {
            return Err(format!("INVALID: {path:?} in the layer of `{step}`"));
        }
    }
    let members = config.as_object_mut().ok_or("INVALID: the config is no object")?;
    ["created", "rootfs", "history"].iter().for_each(|name| drop(members.remove(*name)));
    Ok(Image { config, history, layers })
}

/// True if an image begins with the layers of its base.
pub fn based(image: &Image, base: Option<&str>) -> Result<(), String> {
    let wanted = base.map(base_layers).unwrap_or_default();
    let found = image.diff_ids();
    let begins = found.len() >= wanted.len() && wanted.iter().zip(&found).all(|(wanted, found)| wanted == found);
    if begins { Ok(()) } else { Err(format!("INVALID: the base {base:?} has {wanted:?}, the image {found:?}")) }
}

fn base_layers(reference: &str) -> Vec<String> {
    let name = reference.rsplit('/').next().unwrap();
    let (name, tag) = name.split_once(':').unwrap_or((name, "latest"));
    let layout = registry().1.join(format!("{name}-{tag}"));
    let read = |descriptor: &Value| json(&blob(&layout, descriptor).unwrap()).unwrap();
    let index = json(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let mut manifest = read(&index["manifests"][0]);
    if manifest["manifests"].is_array() {
        let ours = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let of = list(&manifest["manifests"]).find(|of| of["platform"]["architecture"] == ours).cloned();
        manifest = read(&of.unwrap());
    }
    let config = read(&manifest["config"]);
    list(&config["rootfs"]["diff_ids"]).map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// The first difference of two images.
pub fn difference(wanted: &Image, found: &Image, times: bool) -> Option<String> {
    if wanted.config != found.config {
        return Some(format!("config: want {}, got {}", wanted.config, found.config));
    }
    if wanted.history != found.history {
        return Some(format!("history: want {:?}, got {:?}", wanted.history, found.history));
    }
    let steps: Vec<&String> = wanted.history.iter().filter(|step| !step.1).map(|step| &step.0).collect();
    for (index, (want, got)) in wanted.layers.iter().zip(&found.layers).enumerate() {
        let (want, got): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (want.1.iter().cloned().collect(), got.1.iter().cloned().collect());
        let paths = want.keys().chain(got.keys());
        for path in paths {
            let (want, got) = (want.get(path), got.get(path));
            let what = |entry: Option<&Entry>| entry.map_or("nothing".to_owned(), |entry| entry.what.clone());
            if what(want) != what(got) || times && want != got {
                let text = format!("want {want:?}, got {got:?}");
                return Some(format!("layer {index} of `{}`: {path:?}: {text}", steps[index]));
            }
        }
    }
    None
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|cause| format!("INVALID: {cause}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A blob that is what its descriptor says.
fn blob(layout: &Path, descriptor: &Value) -> Result<Vec<u8>, String> {
    let digest = descriptor["digest"].as_str().ok_or("INVALID: a descriptor without a digest")?;
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    let bytes = std::fs::read(&path).map_err(|cause| format!("INVALID: {digest}: {cause}"))?;
    if sha256(&bytes) != digest || descriptor["size"].as_u64() != u64::try_from(bytes.len()).ok() {
        return Err(format!("INVALID: the bytes of {digest} are others"));
    }
    Ok(bytes)
}

/// The content of a blob; each is read once.
fn layer(blob: &[u8]) -> Result<Arc<Layer>, String> {
    static READ: OnceLock<Mutex<HashMap<String, Arc<Layer>>>> = OnceLock::new();
    let (read, name) = (READ.get_or_init(Mutex::default), sha256(blob));
    if let Some(layer) = read.lock().unwrap().get(&name) {
        return Ok(layer.clone());
    }
    let mut plain = Vec::new();
    if blob.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut plain).map_err(|cause| format!("INVALID: {cause}"))?;
    } else {
        plain = blob.to_vec();
    }
    let layer = Arc::new((sha256(&plain), members(&plain)?));
    read.lock().unwrap().insert(name, layer.clone());
    Ok(layer)
}

/// The members of a tar (ustar with pax records), in their order. The same name twice is an error.
fn members(tar: &[u8]) -> Result<Vec<(String, Entry)>, String> {
    let (mut found, mut at, mut records) = (Vec::new(), 0, BTreeMap::new());
    while let Some(header) = tar.get(at..at + 512).filter(|header| header.iter().any(|byte| *byte != 0)) {
        let field = |from: usize, length: usize| {
            let bytes = header[from..from + length].split(|byte| *byte == 0).next().unwrap();
            String::from_utf8_lossy(bytes).trim().to_owned()
        };
        let number = |from, length| u64::from_str_radix(&field(from, length), 8).unwrap_or(u64::MAX);
        let size = usize::try_from(number(124, 12)).unwrap();
        let bytes = tar.get(at + 512..at + 512 + size).ok_or("INVALID: a tar ends in the middle")?;
        at += 512 + size.next_multiple_of(512);
        let kind = char::from(header[156]);
        if kind == 'x' {
            records = pax(bytes);
            continue;
        }
        let mut value = |key: &str, plain: String| records.remove(key).unwrap_or(plain);
        let prefix = field(345, 155);
        let plain = if prefix.is_empty() { field(0, 100) } else { format!("{prefix}/{}", field(0, 100)) };
        let (path, link) = (value("path", plain), value("linkpath", field(157, 100)));
        let owner = (value("uid", number(108, 8).to_string()), value("gid", number(116, 8).to_string()));
        let time = value("mtime", number(136, 12).to_string());
        drop((value("atime", String::new()), value("ctime", String::new())));
        let holds = if bytes.len() < 200 { format!("{:?}", String::from_utf8_lossy(bytes)) } else { sha256(bytes) };
        let mode = number(100, 8);
        let what = format!("{kind} {mode:o} {}:{} {link:?} {holds} {records:?}", owner.0, owner.1);
        found.push((path.trim_matches('/').to_owned(), Entry { what, time }));
        records.clear();
    }
    let once: std::collections::BTreeSet<_> = found.iter().map(|member| &member.0).collect();
    if once.len() == found.len() { Ok(found) } else { Err("INVALID: a layer names a file twice".to_owned()) }
}

fn pax(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut records = BTreeMap::new();
    while let Some(blank) = bytes.iter().position(|byte| *byte == b' ') {
        let length: usize = String::from_utf8_lossy(&bytes[..blank]).parse().unwrap_or(0);
        let Some(record) = bytes.get(blank + 1..length.saturating_sub(1)) else { break };
        let text = String::from_utf8_lossy(record).into_owned();
        if let Some((key, value)) = text.split_once('=') {
            records.insert(key.to_owned(), value.to_owned());
        }
        bytes = &bytes[length..];
    }
    records
}
