//! Files and directories outside of the store, made for the user. They get the modes that the
//! user's own umask gives, while kiln itself runs with umask 077. Existing ones keep their mode.

use crate::umask;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// Opens a file with these options, which may create it.
pub fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let was_there = path.exists();
    let file = options.open(path)?;
    if !was_there {
        let mode = file.metadata()?.permissions().mode();
        if let Some(mode) = users(mode, 0o666) {
            // A file system without modes is fine.
            let _ = file.set_permissions(Permissions::from_mode(mode));
        }
    }
    Ok(file)
}

/// Like `File::create`.
pub fn create(path: &Path) -> io::Result<File> {
    open(path, File::options().create(true).write(true).truncate(true))
}

/// Creates a temporary file that is renamed when it is complete. Others may write to its directory
/// too, so an existing file or symbolic link of this name is removed, not written to.
pub fn create_new(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    open(path, File::options().create_new(true).write(true))
}

/// Like `fs::write`.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create(path)?.write_all(bytes)
}

/// Like `fs::create_dir_all`.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o777).create(path) {
        // Another process made it first.
        Err(_) if path.is_dir() => return Ok(()),
        done => done?,
    }
    let mode = fs::metadata(path)?.permissions().mode();
    if let Some(users) = users(mode, 0o777) {
        let _ = fs::set_permissions(path, Permissions::from_mode(mode & 0o7000 | users));
    }
    Ok(())
}

/// The mode that the user's umask would have given, if the file was made with kiln's own umask.
fn users(mode: u32, wanted: u32) -> Option<u32> {
    umask::was_applied(mode, wanted).then(|| wanted & !umask::users())
}
