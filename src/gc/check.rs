//! `kiln fsck`: every damage is found and named; with `--repair` it is removed, which makes it a miss.

use super::{failed, files, read, subfolders};
use crate::cache::{self, RecordFile};
use crate::digest::{Digest, Hasher};
use crate::error::{At, Result};
use crate::image::refs::{self, Ref};
use crate::layer::tree::{Entry, Node};
use crate::layer::{LayerId, Layers, remove};
use crate::store::STORE_VERSION;
use crate::store::lease::{Gate, Leases};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

/// Checks the store. True if nothing is damaged.
pub fn fsck(layers: &Layers, repair: bool, out: &mut dyn Write) -> Result<bool> {
    let root = layers.store().root().to_owned();
    let base = root.join(format!("store-v{STORE_VERSION}"));
    let mut check = Check { out, repair, damages: 0, looked: 0 };
    for file in files(&base.join("blobs")) {
        check.blob(&file)?;
    }
    for folder in subfolders(&base.join("layers")) {
        check.layer(layers, &folder)?;
    }
    for file in files(&cache::folder(&root).join("records")) {
        check.looked += 1;
        match read::<RecordFile>(&file) {
            None => check.damage(&file, "a cache record that can't be read")?,
            Some(record)
                if record.records.first().is_none_or(|newest| !newest.layers.iter().all(|id| layers.exists(id))) =>
            {
                // That is how a cache forgets: no damage, but of no use.
                if repair {
                    fs::remove_file(&file).at("remove", &file)?;
                }
            }
            Some(_) => {}
        }
    }
    for file in files(&refs::folder(&root)) {
        check.looked += 1;
        match read::<Ref>(&file) {
            None => check.damage(&file, "a ref that can't be read")?,
            Some(entry) => check.named(layers, &file, &entry)?,
        }
    }
    if repair {
        let _gate = Gate::close(&root)?;
        for folder in Leases::read(&base.join("tmp"))?.dead {
            remove(&folder).at("remove", &folder)?;
        }
    }
    let (damages, looked) = (check.damages, check.looked);
    writeln!(
        check.out,
        "{looked} things checked, {damages} damaged{}",
        if repair && damages > 0 { " and removed" } else { "" }
    )
    .map_err(failed)?;
    Ok(damages == 0 || repair)
}

struct Check<'a> {
    out: &'a mut dyn Write,
    repair: bool,
    damages: usize,
    looked: usize,
}

impl Check<'_> {
    fn damage(&mut self, path: &Path, what: &str) -> Result<()> {
        self.damages += 1;
        writeln!(self.out, "{}: {what}", path.display()).map_err(failed)?;
        if self.repair {
            match path.is_dir() {
                true => remove(path).at("remove", path)?,
                false => fs::remove_file(path).at("remove", path)?,
            }
        }
        Ok(())
    }

    fn blob(&mut self, path: &Path) -> Result<()> {
        self.looked += 1;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match hash(path) {
            Some(digest) if digest.hex() == name => Ok(()),
            Some(digest) => self.damage(path, &format!("a blob whose content has the digest {digest}")),
            None => self.damage(path, "a blob that can't be read"),
        }
    }

    fn layer(&mut self, layers: &Layers, folder: &Path) -> Result<()> {
        self.looked += 1;
        let id = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<LayerId>().ok());
        let Some(id) = id else { return self.damage(folder, "no layer has such a name") };
        let Ok(record) = layers.record(&id) else { return self.damage(folder, "a layer without a record") };
        if record.blob.is_some() && !folder.join("tree").exists() {
            return Ok(());
        }
        let Ok(tree) = layers.tree(&id) else { return self.damage(folder, "a layer with a damaged tree") };
        if record.blob.is_some() {
            let dir = folder.join(layers.flavour_folder());
            let missing = dir.exists().then(|| tree.entries.iter().find(|entry| !stands(&dir, entry))).flatten();
            return match missing {
                Some(entry) => {
                    self.damage(folder, &format!("a layer that lost `{}`", String::from_utf8_lossy(&entry.path)))
                }
                None => Ok(()),
            };
        }
        // The digest that is remembered, against the bytes that are there now.
        let known = fs::read_to_string(folder.join("diff-id")).ok().and_then(|text| text.trim().parse::<Digest>().ok());
        match (known, layers.fresh_diff_id(&id)) {
            (_, Err(error)) => self.damage(folder, &format!("a layer that can't be read ({error})")),
            (Some(known), Ok(now)) if known != now => {
                self.damage(folder, &format!("a layer whose content has the digest {now}, not {known}"))
            }
            _ => Ok(()),
        }
    }

    fn named(&mut self, layers: &Layers, file: &Path, entry: &Ref) -> Result<()> {
        for image in &entry.images {
            if layers.store().read_blob(&image.config, 8 << 20).is_err() {
                return self.damage(file, &format!("the image {} has lost its config", entry.name));
            }
            if let Some(layer) = image.layers.iter().find(|layer| !layers.exists(layer)) {
                return self.damage(file, &format!("the image {} has lost its layer {layer}", entry.name));
            }
        }
        Ok(())
    }
}

/// Whether an entry of a base is there as its tree says. Devices are left out where nobody can make them.
fn stands(dir: &Path, entry: &Entry) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let path = dir.join(std::ffi::OsStr::from_bytes(&entry.path));
    match (fs::symlink_metadata(path), &entry.node) {
        (Ok(metadata), Node::File { size, .. }) => metadata.is_file() && metadata.len() == *size,
        (Ok(metadata), Node::Dir { .. }) => metadata.is_dir(),
        (Ok(_), _) => true,
        (Err(_), Node::Char { .. } | Node::Block { .. }) => true,
        (Err(_), _) => false,
    }
}

fn hash(path: &Path) -> Option<Digest> {
    let (mut file, mut hasher, mut buffer) = (File::open(path).ok()?, Hasher::default(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
