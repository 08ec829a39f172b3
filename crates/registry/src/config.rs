//! `registries.conf` (containers-registries.conf(5), version 2) maps names to registries. Prefixes
//! are rewritten, mirrors are tried first, and registries may be insecure or blocked. Short names
//! stay Docker's (`debian` is `docker.io/library/debian`), so `unqualified-search-registries` and
//! aliases are not read: the same Dockerfile means the same image on every machine.
//!
//! If `CONTAINERS_REGISTRIES_CONF` names a file, only that file is read. Else
//! `~/.config/containers/registries.conf` is read, or `/etc/containers/registries.conf` if the user
//! has none, and then the `registries.conf.d/*.conf` beside both. A later table replaces an earlier
//! one with the same prefix.

use super::Reference;
use base::error::{Error, Kind, Result};
use base::read;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 4 << 20;

/// The paths of the files.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The only file to read (`CONTAINERS_REGISTRIES_CONF`).
    pub only: Option<PathBuf>,
    /// `~/.config/containers`.
    pub user: Option<PathBuf>,
    /// `/etc/containers`.
    pub system: Option<PathBuf>,
}

/// The tables of all files.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug, Default, Deserialize)]
struct Document {
    #[serde(default)]
    registry: Vec<Rule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Rule {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
    #[serde(skip)]
    file: PathBuf,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: Option<String>,
}

/// A registry to request a name from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub name: Reference,
    /// True if certificates are not verified and plain HTTP may be used.
    pub insecure: bool,
}

impl Rules {
    /// Reads the files. A missing one is fine, unless it is the only one.
    pub(crate) fn read(places: &Places) -> Result<Rules> {
        let mut files = Vec::new();
        match (&places.only, &places.user, &places.system) {
            (Some(only), ..) => files.push(only.clone()),
            (None, user, system) => {
                let main = |folder: &PathBuf| Some(folder.join("registries.conf")).filter(|file| file.exists());
                files.extend(user.as_ref().and_then(main).or_else(|| system.as_ref().and_then(main)));
                for folder in [system, user].into_iter().flatten() {
                    files.extend(parts(&folder.join("registries.conf.d")));
                }
            }
        }
        let mut rules: Vec<Rule> = Vec::new();
        for file in files {
            for rule in document(&file)?.registry {
                let rule = rule.whole(&file)?;
                rules.retain(|old| old.prefix != rule.prefix);
                rules.push(rule);
            }
        }
        Ok(Rules(rules))
    }

    /// The sources to pull a name from, in order.
    pub(crate) fn sources(&self, name: &Reference) -> Result<Vec<Source>> {
        let Some(rule) = self.of(name) else { return Ok(vec![Source { name: name.clone(), insecure: false }]) };
        let mut sources = Vec::new();
        for mirror in &rule.mirror {
            let wanted = match mirror.pull_from_mirror.as_deref() {
                Some("digest-only") => name.digest.is_some(),
                Some("tag-only") => name.digest.is_none(),
                _ => !rule.mirror_by_digest_only || name.digest.is_some(),
            };
            if wanted {
                sources.push(Source { name: rule.rewritten(name, &mirror.location)?, insecure: mirror.insecure });
            }
        }
        sources.push(rule.source(name)?);
        Ok(sources)
    }

    /// The registry to push a name to. It is never a mirror.
    pub(crate) fn target(&self, name: &Reference) -> Result<Source> {
        self.of(name).map_or(Ok(Source { name: name.clone(), insecure: false }), |rule| rule.source(name))
    }

    /// The rule with the longest prefix.
    fn of(&self, name: &Reference) -> Option<&Rule> {
        let fits = self.0.iter().filter_map(|rule| Some((rule.matched(name)?, rule)));
        fits.max_by_key(|(length, _)| *length).map(|(_, rule)| rule)
    }
}

fn document(file: &Path) -> Result<Document> {
    let bytes = read::file(LARGEST, file)?;
    let text = String::from_utf8_lossy(&bytes);
    toml::from_str(&text).map_err(|cause| {
        let line = cause.span().map_or(0, |span| text.get(..span.start).unwrap_or("").matches('\n').count() + 1);
        Error::new(Kind::Usage, format!("`{}`, line {line}: {}", file.display(), cause.message()))
            .hint("see containers-registries.conf(5)")
    })
}

/// The drop-in files of a directory, in order.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "conf")).collect();
    all.sort();
    all
}

impl Rule {
    /// Sets the prefix, which defaults to the location. Having neither is an error.
    fn whole(mut self, file: &Path) -> Result<Rule> {
        if self.prefix.is_empty() {
            self.prefix = self.location.clone();
        }
        self.file = file.to_owned();
        if self.prefix.is_empty() {
            let error = Error::new(
                Kind::Usage,
                format!("`{}`: a [[registry]] has neither prefix nor location", file.display()),
            );
            return Err(error.hint("see containers-registries.conf(5)"));
        }
        Ok(self)
    }

    /// The length of the prefix, if the name begins with it.
    fn matched(&self, name: &Reference) -> Option<usize> {
        let full = name.to_string();
        let prefix = self.prefix.as_str();
        if let Some(suffix) = prefix.strip_prefix('*') {
            let host = name.registry.split(':').next().unwrap_or("");
            return (suffix.starts_with('.') && host.ends_with(suffix)).then_some(prefix.len());
        }
        let rest = full.strip_prefix(prefix)?;
        (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(prefix.len())
    }

    fn source(&self, name: &Reference) -> Result<Source> {
        if self.blocked {
            return Err(Error::new(Kind::Source, format!("{name}: `{}` is blocked", self.prefix))
                .because(format!("`{}` says so", self.file.display())));
        }
        Ok(Source { name: self.rewritten(name, &self.location)?, insecure: self.insecure })
    }

    /// Replaces the prefix of a name by a location.
    fn rewritten(&self, name: &Reference, location: &str) -> Result<Reference> {
        if location.is_empty() || self.prefix == location {
            return Ok(name.clone());
        }
        let full = format!("{}/{}", name.registry, name.repository);
        let rest = match self.prefix.starts_with('*') {
            true => full.get(name.registry.len()..),
            false => full.strip_prefix(self.prefix.as_str()),
        };
        let bad = |cause: String| {
            Error::new(Kind::Usage, format!("`{}`: {name} leads to no image", self.file.display())).because(cause)
        };
        let new = format!("{location}{}", rest.unwrap_or_default());
        let host = new.split('/').next().unwrap_or("");
        let found: Reference = new.parse().map_err(bad)?;
        if found.registry != host && host != "index.docker.io" {
            return Err(bad(format!("`{host}` is no registry")));
        }
        Ok(Reference { tag: name.tag.clone(), digest: name.digest, ..found })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rules(text: &str) -> Result<Rules> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("registries.conf");
        fs::write(&file, text).unwrap();
        Rules::read(&Places { only: Some(file), ..Places::default() })
    }

    fn ways(rules: &Rules, name: &str) -> String {
        let sources = rules.sources(&name.parse().unwrap());
        let shown = |source: &Source| format!("{}{}", source.name, if source.insecure { "!" } else { "" });
        sources.map_or_else(|error| error.to_string(), |all| all.iter().map(shown).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn names_lead_where_the_file_says() {
        let rules = rules(
            r#"unqualified-search-registries = ["other.example"]
            [[registry]]
            prefix = "docker.io"
            location = "docker.io"
            [[registry.mirror]]
            location = "mirror.example/hub"
            [[registry.mirror]]
            location = "localhost:5001"
            insecure = true
            pull-from-mirror = "digest-only"
            [[registry]]
            prefix = "r.example/team"
            location = "new.example:5000/deep/team"
            insecure = true
            [[registry]]
            prefix = "r.example/team/secret"
            blocked = true
            [[registry]]
            prefix = "*.wild.example"
            insecure = true
            "#,
        )
        .unwrap();
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(ways(&rules, "debian"), "mirror.example/hub/library/debian:latest docker.io/library/debian:latest");
        assert_eq!(ways(&rules, &format!("debian@{digest}")).split(' ').count(), 3);
        assert_eq!(ways(&rules, "r.example/team/app:1"), "new.example:5000/deep/team/app:1!");
        assert_eq!(ways(&rules, "r.example/teams/app:1"), "r.example/teams/app:1");
        assert!(ways(&rules, "r.example/team/secret/x:1").contains("is blocked"));
        assert_eq!(ways(&rules, "a.wild.example/x"), "a.wild.example/x:latest!");
        assert_eq!(ways(&rules, "wild.example/x"), "wild.example/x:latest");
        let target = rules.target(&"debian".parse().unwrap()).unwrap();
        assert_eq!(target.name.to_string(), "docker.io/library/debian:latest");
    }

    #[test]
    fn a_file_that_is_wrong_is_told_with_its_line() {
        let error = rules("[[registry]]\nprefix = 3\n").unwrap_err();
        assert!(error.message().contains("line 2"), "{error}");
        assert!(rules("[[registry]]\ninsecure = true\n").is_err());
        let bad = rules("[[registry]]\nprefix = \"a.example\"\nlocation = \"UPPER CASE\"\n").unwrap();
        assert!(ways(&bad, "a.example/x").contains("leads to no image"));
        assert_eq!(ways(&Rules::read(&Places::default()).unwrap(), "debian"), "docker.io/library/debian:latest");
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_and_never_passed_over() {
        let text = format!("[[registry]]\nprefix = \"a.example\"\nblocked = true\n#{}", "x".repeat(LARGEST as usize));
        assert!(rules(&text).is_err_and(|error| error.message().contains("is larger than")));
    }

    #[test]
    fn a_users_file_stands_for_the_systems_and_parts_replace_both() {
        let (system, user) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |folder: &Path, name: &str, location: &str| {
            fs::create_dir_all(folder.join("registries.conf.d")).unwrap();
            let text = format!("[[registry]]\nprefix = \"r.example\"\nlocation = \"{location}\"\n");
            fs::write(folder.join(name), text).unwrap();
        };
        let places = Places { only: None, user: Some(user.path().to_owned()), system: Some(system.path().to_owned()) };
        let way = || ways(&Rules::read(&places).unwrap(), "r.example/x:1");
        write(system.path(), "registries.conf", "one.example");
        assert_eq!(way(), "one.example/x:1");
        write(user.path(), "registries.conf", "two.example");
        assert_eq!(way(), "two.example/x:1");
        write(system.path(), "registries.conf.d/50-x.conf", "three.example");
        assert_eq!(way(), "three.example/x:1");
        write(user.path(), "registries.conf.d/10-x.conf", "four.example");
        assert_eq!(way(), "four.example/x:1");
    }
}
