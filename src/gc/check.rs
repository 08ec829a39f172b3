//! `kiln fsck`: finds and names all damage, and with `--repair` removes it, which makes it a cache
//! miss. After a boot the same is done for data that the machine may have lost (see `store::boot`).

use super::{failed, files, inventory, read, subfolders};
use crate::image::refs::{self, Ref};
use base::digest::{Digest, Hasher};
use base::error::{At, Result};
use cache::record::RecordFile;
use layer::tree::{Entry, Node};
use layer::{LayerId, Layers, Record};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use store::STORE_VERSION;
use store::lease::{Gate, Leases};
use store::remove::remove_tree;

/// The largest text file of a layer in bytes.
const LONGEST_TEXT: u64 = 4096;

/// Checks everything that changed since a time, in seconds since 1970, and removes damaged data.
/// Data that can be derived again is not checked. Returns the number of damaged items.
pub fn recover(layers: &Layers, since: i64) -> Result<usize> {
    let (mut out, since) = (std::io::sink(), Some(since));
    // On a volume shared by several machines, each sees the other's boot: data in use is not
    // checked.
    let used = Leases::read(&inventory::tmp_folder(layers.store().root()))?.names;
    let mut check = Check { out: &mut out, repair: true, since, used, damages: 0, looked: 0 };
    check.bytes(layers)?;
    if check.damages > 0 {
        check.names(layers)?;
    }
    Ok(check.damages)
}

/// Checks the store. True if nothing is damaged.
pub fn fsck(layers: &Layers, repair: bool, out: &mut dyn Write) -> Result<bool> {
    let root = layers.store().root().to_owned();
    let base = root.join(format!("store-v{STORE_VERSION}"));
    let mut check = Check { out, repair, since: None, used: HashSet::new(), damages: 0, looked: 0 };
    check.bytes(layers)?;
    for file in files(&cache::record::folder(&root).join("records")) {
        check.looked += 1;
        match read::<RecordFile>(&file) {
            None => check.damage(&file, "a cache record that can't be read")?,
            Some(record)
                if record.records.first().is_none_or(|newest| !newest.layers.iter().all(|id| layers.exists(id))) =>
            {
                // A cache forgets in this way: the record is not damaged, but useless.
                if repair {
                    fs::remove_file(&file).at("remove", &file)?;
                }
            }
            Some(_) => {}
        }
    }
    check.names(layers)?;
    if repair {
        let _gate = Gate::close(&root)?;
        for folder in Leases::read(&base.join("tmp"))?.dead {
            if let Err(cause) = remove_tree(&folder) {
                writeln!(check.out, "{}: cannot be removed: {cause}", folder.display()).map_err(failed)?;
            }
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
    /// The time since which changes are checked; `None` checks everything.
    since: Option<i64>,
    /// The items that are not checked, by their name in a lease.
    used: HashSet<String>,
    damages: usize,
    looked: usize,
}

impl Check<'_> {
    /// Checks blobs and layers.
    fn bytes(&mut self, layers: &Layers) -> Result<()> {
        let base = layers.store().root().join(format!("store-v{STORE_VERSION}"));
        for file in files(&base.join("blobs")) {
            if is_since(&file, self.since) && !self.is_used("blob", &file) {
                self.blob(&file)?;
            }
        }
        for folder in subfolders(&base.join("layers")) {
            if self.is_used("layer", &folder) {
                continue;
            }
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            let young: Vec<PathBuf> =
                entries.map(|entry| entry.path()).filter(|path| is_since(path, self.since)).collect();
            if self.since.is_some() {
                self.derived(&folder, &young)?;
            }
            if self.since.is_none() || !young.is_empty() {
                self.layer(layers, &folder)?;
            }
        }
        Ok(())
    }

    fn is_used(&self, what: &str, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.used.contains(&format!("{what} {name}"))
    }

    /// Checks images by their names.
    fn names(&mut self, layers: &Layers) -> Result<()> {
        for file in files(&refs::folder(layers.store().root())) {
            self.looked += 1;
            match read::<Ref>(&file) {
                None => self.damage(&file, "a ref that can't be read")?,
                Some(entry) => self.named(layers, &file, &entry)?,
            }
        }
        Ok(())
    }

    /// Removes young forms of a layer that can be made again from its tar or blob.
    fn derived(&self, folder: &Path, young: &[PathBuf]) -> Result<()> {
        let (tar, record) = (folder.join("tar").exists(), read::<Record>(&folder.join("record")));
        let came = record.is_some_and(|record| record.blob.is_some());
        let again = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            (name.starts_with("dir-") && (tar || came)) || name.starts_with("again-") || (name == "tree" && came)
        };
        // A short text file that lost its bytes is empty or full of zeros.
        let lost = |path: &&PathBuf| {
            let short =
                fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LONGEST_TEXT);
            short && fs::read(path).is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0))
        };
        let mut lost = young.iter().filter(|path| again(path) || lost(path));
        lost.try_for_each(|path| remove_tree(path).at("remove", path))
    }

    fn damage(&mut self, path: &Path, what: &str) -> Result<()> {
        self.damages += 1;
        writeln!(self.out, "{}: {what}", path.display()).map_err(failed)?;
        if self.repair { remove_tree(path).at("remove", path) } else { Ok(()) }
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
        if record.blob.is_some() && layers.diff_id(&id, None).is_err() {
            return self.damage(folder, "a layer without a diff id");
        }
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
        // Compares the stored digest with one of the bytes on disk.
        match layers.vouched(&id) {
            Err(error) => self.damage(folder, &format!("a layer that can't be read ({error})")),
            Ok((Some(known), now)) if known != now => {
                self.damage(folder, &format!("a layer whose content has the digest {now}, not {known}"))
            }
            // Without a digest from before, damage cannot be detected.
            Ok((None, _)) if self.since.is_some() => self.damage(folder, "a layer that nothing vouches for"),
            Ok(_) => Ok(()),
        }
    }

    fn named(&mut self, layers: &Layers, file: &Path, entry: &Ref) -> Result<()> {
        for image in &entry.images {
            if layers.store().read_blob(&image.config, 8 << 20).is_err() {
                return self.damage(file, &format!("the image {} has lost its config", entry.name));
            }
            if image.manifest.is_some_and(|manifest| layers.store().read_blob(&manifest, 8 << 20).is_err()) {
                return self.damage(file, &format!("the image {} has lost its manifest", entry.name));
            }
            if let Some(layer) = image.layers.iter().find(|layer| !layers.exists(layer)) {
                return self.damage(file, &format!("the image {} has lost its layer {layer}", entry.name));
            }
        }
        Ok(())
    }
}

/// True if something changed at a time or later. No process can set the time of a change (inode(7),
/// ctime).
fn is_since(path: &Path, since: Option<i64>) -> bool {
    since.is_none_or(|since| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.ctime() >= since))
}

/// True if an entry of a base layer exists as its tree says. Devices may be missing, as a user
/// namespace cannot make them.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use layer::tree::Time;
    use layer::{Bytes, Flavour};
    use store::Store;

    #[test]
    fn what_lost_its_bytes_goes_unless_somebody_uses_it() {
        let temp = tempfile::tempdir().unwrap();
        let open = || Layers::new(Store::open(temp.path()).unwrap(), Flavour::Root);
        let layers = open();
        let node = Node::File { size: 4, digest: None, offset: None };
        let entry = Entry { node, ..Entry::directory(b"f", Time::default()) };
        let id = layers.publish_tar(vec![(entry, Bytes::Inline(b"text".into()))], None).unwrap();
        let folder = layers.store().layers().join(id.to_string());
        let length = fs::metadata(folder.join("tar")).unwrap().len();
        fs::write(folder.join("tar"), vec![0; usize::try_from(length).unwrap()]).unwrap();
        assert_eq!(recover(&open(), 0).unwrap(), 0, "whoever made it still uses it");
        drop(layers);
        assert_eq!(recover(&open(), i64::MAX).unwrap(), 0, "it is older");
        assert_eq!(recover(&open(), 0).unwrap(), 1);
        assert!(!folder.exists());
    }

    #[test]
    fn a_layer_of_nothing_is_damage() {
        let temp = tempfile::tempdir().unwrap();
        let layers = Layers::new(Store::open(temp.path()).unwrap(), Flavour::Root);
        fs::create_dir(layers.store().layers().join("ab".repeat(16))).unwrap();
        assert!(!fsck(&layers, false, &mut std::io::sink()).unwrap());
    }
}
