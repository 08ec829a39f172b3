//! The machine as the reader of compose files sees it.
//!
//! That reader makes all paths absolute, while a definition is printed with the paths as they are written. So it is
//! told a folder that is nowhere: what is below or beside that folder afterwards was relative. The folder's name is
//! that of the project, which is `bake` where nothing else names it.

use super::Surroundings;
use crate::host::FileKind;
use crate::problem::Source;
use compose::host::{Host, Kind};
use std::io;

/// The folder that is nowhere. It is deep, so that `..` stays within it.
const NOWHERE: &str = "/.bake/0/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/bake";
const ROOT: &str = "/.bake/";

/// Variables that name files and profiles: a definition is read with those of the command line alone.
const UNUSED: [&str; 4] = ["COMPOSE_ENV_FILES", "COMPOSE_DISABLE_ENV_FILE", "COMPOSE_PROFILES", "COMPOSE_FILE"];

/// Compose files that were read, and the machine.
pub struct Files<'a> {
    sources: &'a [&'a Source],
    surroundings: &'a Surroundings<'a>,
}

impl<'a> Files<'a> {
    pub fn new(sources: &'a [&'a Source], surroundings: &'a Surroundings<'a>) -> Files<'a> {
        Files { sources, surroundings }
    }

    /// The names of the files.
    pub fn names(&self) -> Vec<String> {
        self.sources.iter().map(|source| source.name.clone()).collect()
    }

    /// The number of a file of these.
    pub fn number(&self, path: &str) -> Option<usize> {
        let path = relative(path);
        self.sources.iter().position(|source| source.name == path || crate::paths::clean(&source.name) == path)
    }

    /// Text without the folder that is nowhere.
    pub fn shown(&self, text: &str) -> String {
        text.replace(&format!("{NOWHERE}/"), "").replace(NOWHERE, ".")
    }
}

/// A path as it was written, shortest form.
pub fn relative(path: &str) -> String {
    if path == NOWHERE {
        return ".".into();
    }
    if !path.starts_with(ROOT) {
        return path.to_owned();
    }
    let (own, other): (Vec<&str>, Vec<&str>) = (NOWHERE.split('/').collect(), path.split('/').collect());
    let same = own.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", own.len() - same);
    let parts: Vec<&str> = up.chain(other[same..].iter().copied()).collect();
    if parts.is_empty() { ".".into() } else { parts.join("/") }
}

impl Host for Files<'_> {
    fn directory(&self) -> String {
        NOWHERE.into()
    }

    fn environment(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        if self.surroundings.environment {
            all = self.surroundings.host.variables();
            all.retain(|(name, _)| !UNUSED.contains(&name.as_str()));
        }
        for (name, value) in self.surroundings.overrides {
            all.retain(|(known, _)| known != name);
            all.push((name.clone(), value.clone()));
        }
        all
    }

    fn kind(&self, path: &str) -> io::Result<Kind> {
        Ok(match self.surroundings.host.stat(&relative(path))? {
            FileKind::File => Kind::File,
            FileKind::Directory => Kind::Directory,
            FileKind::Socket | FileKind::Other => Kind::Other,
        })
    }

    fn read(&self, path: &str, limit: u64, _given: bool) -> io::Result<Vec<u8>> {
        if let Some(at) = self.number(path) {
            return Ok(self.sources[at].text.clone());
        }
        let host = self.surroundings.host;
        let path = relative(path);
        if host.stat(&path)? != FileKind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if host.size(&path)? > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        host.read(&path)
    }

    fn input(&self, _limit: u64) -> io::Result<Vec<u8>> {
        let source = self.sources.iter().find(|source| source.name == "-");
        source.map(|source| source.text.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_link(&self, _path: &str) -> bool {
        false
    }

    fn canonical(&self, path: &str) -> io::Result<String> {
        Ok(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_back_as_they_were_written() {
        for path in [".", "app", "../src", "a/b", "../../x"] {
            let absolute = crate::paths::join(NOWHERE, path);
            assert_eq!(relative(&absolute), path);
        }
        assert_eq!(relative("/etc/x"), "/etc/x");
    }
}
