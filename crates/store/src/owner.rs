//! Only its owner can access the store. Images in it hold set-user-ID programs, devices and private
//! files, and write access to it would change what others build. So no other user can enter its
//! root (mode 0700), and no part of it may be a symbolic link.
//!
//! If an older kiln made a root with a wider mode, opening the store narrows it. A directory that
//! also holds other things keeps its mode; there the parts of the store are narrowed.

use super::STORE_VERSION;
use base::error::{At, Error, Kind, Result};
use base::outside;
use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The permissions of group and others, which neither the root nor its parts may have.
const OTHERS: u32 = 0o077;
const STICKY: u32 = 0o1000;

/// Makes the directories of a store, and ensures that no other user can enter them. Returns a
/// message about what was changed, for people.
pub(super) fn secure(root: &Path) -> Result<Option<String>> {
    let make = |dir: &Path| DirBuilder::new().recursive(true).mode(0o700).create(dir).at("make", dir);
    if !root.is_dir() {
        let above = root.parent().unwrap_or(root);
        outside::create_dir_all(above).at("make", above)?;
        make(root)?;
    }
    let (parts, alone) = parts(root)?;
    for name in ["", "/blobs", "/blobs/sha256", "/layers", "/tmp"] {
        let dir = root.join(format!("store-v{STORE_VERSION}{name}"));
        match fs::symlink_metadata(&dir) {
            Ok(found) if found.is_dir() => {}
            Err(cause) if cause.kind() == ErrorKind::NotFound => make(&dir)?,
            Ok(_) => return Err(leads_elsewhere(&dir)),
            Err(cause) => return Err(cause).at("look at", &dir),
        }
    }
    narrow(root, parts, alone)
}

fn leads_elsewhere(path: &Path) -> Error {
    Error::new(Kind::Store, format!("`{}` is a part of the store, but no directory", path.display()))
        .hint("a part that is a link is not followed: make KILN_ROOT itself a link, or mount something there")
}

/// The mode of the root, if others can access it. None if only the owner can.
pub fn openness(root: &Path) -> std::io::Result<Option<u32>> {
    let mode = fs::metadata(root)?.permissions().mode() & 0o7777;
    Ok(Some(mode).filter(|mode| mode & OTHERS != 0))
}

fn narrow(root: &Path, parts: Vec<PathBuf>, alone: bool) -> Result<Option<String>> {
    let metadata = fs::metadata(root).at("look at", root)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(None);
    }
    let own = |uid: u32| uid == rustix::process::geteuid().as_raw();
    let mut changed = Vec::new();
    if alone && own(metadata.uid()) && mode & STICKY == 0 {
        fs::set_permissions(root, Permissions::from_mode(mode & !OTHERS)).at("narrow", root)?;
        changed.push(root.to_owned());
    } else {
        for part in parts {
            let Ok(metadata) = fs::symlink_metadata(&part) else { continue };
            let mode = metadata.permissions().mode() & 0o7777;
            if mode & OTHERS != 0 && own(metadata.uid()) {
                fs::set_permissions(&part, Permissions::from_mode(mode & !OTHERS)).at("narrow", &part)?;
                changed.push(part);
            }
        }
    }
    let Some(first) = changed.first() else { return Ok(None) };
    let more = if changed.len() > 1 { format!(" and {} more", changed.len() - 1) } else { String::new() };
    let mut text = format!(
        "others could look into the store, which holds private files and set-user-id programs: only you can now ({}{more})",
        first.display()
    );
    if mode & 0o022 != 0 {
        text += "; they could write to it as well, so remove it if you do not trust them";
    }
    Ok(Some(text))
}

/// The parts of a store in its root, and true if nothing else is there. A part that is a symbolic
/// link is an error.
fn parts(root: &Path) -> Result<(Vec<PathBuf>, bool)> {
    let (mut ours, mut alone) = (Vec::new(), true);
    for entry in fs::read_dir(root).at("list", root)? {
        let entry = entry.at("list", root)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let versioned = name.rsplit_once("-v").is_some_and(|(_, version)| version.parse::<u32>().is_ok());
        if versioned && entry.file_type().at("look at", entry.path())?.is_symlink() {
            return Err(leads_elsewhere(&entry.path()));
        }
        if versioned || matches!(&*name, "lock" | "boot") {
            ours.push(entry.path());
        } else if name != "lost+found" {
            alone = false;
        }
    }
    Ok((ours, alone))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_store_is_its_owners_alone_and_a_wide_one_is_narrowed_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/store");
        assert_eq!(secure(&root).unwrap(), None);
        assert_eq!(mode(&root), 0o700);
        set(&root, 0o777);
        let told = secure(&root).unwrap().unwrap();
        assert!(told.contains("they could write"), "{told}");
        assert_eq!((mode(&root), secure(&root).unwrap()), (0o700, None));
    }

    #[test]
    fn a_folder_with_other_things_in_it_keeps_its_mode_and_the_store_is_closed_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        set(root, 0o1777);
        fs::write(root.join("of the user"), "").unwrap();
        secure(root).unwrap();
        set(&root.join("store-v1"), 0o755);
        assert!(secure(root).unwrap().is_some());
        assert_eq!((mode(root), mode(&root.join("store-v1"))), (0o1777, 0o700));
        assert_eq!(secure(root).unwrap(), None);
    }

    #[test]
    fn a_part_that_is_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (root, elsewhere) = (dir.path().join("store"), dir.path().join("elsewhere"));
        secure(&root).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        for part in ["store-v1/tmp", "store-v1"] {
            let part = root.join(part);
            fs::rename(&part, dir.path().join("away")).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &part).unwrap();
            assert_eq!(secure(&root).unwrap_err().kind(), Kind::Store);
            fs::remove_file(&part).unwrap();
            fs::rename(dir.path().join("away"), &part).unwrap();
        }
        assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
    }
}
