//! Archives and images as an attacker writes them: nothing here is checked, escaped or made right.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::Path;

/// A tar in the making.
#[derive(Clone, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn file(self, path: impl AsRef<[u8]>, bytes: &[u8]) -> Tar {
        self.member(path.as_ref(), b'0', b"", bytes)
    }

    pub fn dir(self, path: impl AsRef<[u8]>) -> Tar {
        self.member(path.as_ref(), b'5', b"", b"")
    }

    pub fn symlink(self, path: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Tar {
        self.member(path.as_ref(), b'2', to.as_ref(), b"")
    }

    pub fn hard_link(self, path: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Tar {
        self.member(path.as_ref(), b'1', to.as_ref(), b"")
    }

    pub fn device(self, path: &str, kind: u8, major: u32, minor: u32) -> Tar {
        let at = self.0.len();
        let numbers = format!("{major:07o}\0{minor:07o}\0");
        self.member(path.as_bytes(), kind, b"", b"").patch(at, 329, numbers.as_bytes())
    }

    /// A member of any type; names that are too long for its block stand in records before it.
    pub fn member(mut self, path: &[u8], kind: u8, link: &[u8], bytes: &[u8]) -> Tar {
        let long: Vec<_> = [("path", path), ("linkpath", link)].into_iter().filter(|(_, it)| it.len() > 100).collect();
        if !long.is_empty() {
            self = self.records(b'x', &long);
        }
        let at = self.0.len();
        let mut block = vec![0; 512];
        let put = |block: &mut Vec<u8>, at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
        put(&mut block, 0, &path[..path.len().min(100)]);
        put(&mut block, 100, if kind == b'5' { b"0000755" } else { b"0000644" });
        put(&mut block, 108, b"0000000\x000000000");
        put(&mut block, 124, format!("{:011o}", bytes.len()).as_bytes());
        put(&mut block, 136, b"00000000007");
        block[156] = kind;
        put(&mut block, 157, &link[..link.len().min(100)]);
        put(&mut block, 257, b"ustar\x0000");
        self.0.extend(block);
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self.patch(at, 0, b"")
    }

    /// Extended records for what follows.
    pub fn records(self, kind: u8, records: &[(&str, &[u8])]) -> Tar {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|length| rest + length.to_string().len() == *length).unwrap();
            text.extend([format!("{length} {key}=").as_bytes(), value, b"\n"].concat());
        }
        self.member(b"records", kind, b"", &text)
    }

    /// Overwrites a field of the header that begins at `at`, and makes its sum right.
    pub fn patch(mut self, at: usize, field: usize, text: &[u8]) -> Tar {
        let block = &mut self.0[at..at + 512];
        block[field..field + text.len()].copy_from_slice(text);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self
    }

    /// The same for the first header.
    pub fn with(self, field: usize, text: &[u8]) -> Tar {
        self.patch(0, field, text)
    }

    /// Bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Tar {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Without an end.
    pub fn open(self) -> Vec<u8> {
        self.0
    }

    /// With the two empty blocks.
    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

fn put_blob(layout: &Path, bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(layout.join("blobs/sha256").join(&hex), bytes).unwrap();
    format!("sha256:{hex}")
}

/// An OCI layout with one image, `latest`, of these layers: each the plain tar and the blob that is said to hold it.
pub fn layout(at: &Path, layers: &[(&[u8], &[u8])]) {
    fs::create_dir_all(at.join("blobs/sha256")).unwrap();
    let digest = |bytes: &[u8]| {
        format!("sha256:{}", Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    let diff_ids: Vec<String> = layers.iter().map(|(plain, _)| digest(plain)).collect();
    let descriptors: Vec<_> = layers
        .iter()
        .map(|(_, blob)| {
            let kind = match blob {
                [0x1f, 0x8b, ..] => "+gzip",
                [0x28, 0xb5, ..] => "+zstd",
                _ => "",
            };
            serde_json::json!({
                "mediaType": format!("application/vnd.oci.image.layer.v1.tar{kind}"),
                "digest": put_blob(at, blob),
                "size": blob.len(),
            })
        })
        .collect();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = serde_json::json!({
        "architecture": arch, "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let kind = "application/vnd.oci.image.config.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": kind, "digest": put_blob(at, &config), "size": config.len() },
        "layers": descriptors,
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": put_blob(at, &manifest), "size": manifest.len(),
            "annotations": { "org.opencontainers.image.ref.name": "latest" },
        }],
    });
    fs::write(at.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
