//! Names of images, with Docker's normalisation (distribution/reference): `debian` is
//! `docker.io/library/debian:latest`.

use base::digest::Digest;
use std::fmt;
use std::str::FromStr;

/// The longest name, as in Docker.
const LONGEST: usize = 255;

/// An image's full name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Host and port.
    pub registry: String,
    /// `library/debian`.
    pub repository: String,
    /// `latest`, unless there is a digest alone.
    pub tag: Option<String>,
    /// The digest of the manifest.
    pub digest: Option<Digest>,
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Reference, String> {
        let bad = |why: &str| format!("invalid reference format: `{text}`: {why}");
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>().map_err(|cause| bad(&cause.to_string()))?)),
            None => (text, None),
        };
        let slash = name.rfind('/').map_or(0, |at| at + 1);
        let (path, tag) = match name[slash..].split_once(':') {
            Some((last, tag)) => (&name[..slash + last.len()], Some(tag.to_owned())),
            None => (name, None),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest))
                if first.contains(['.', ':']) || first == "localhost" || first != first.to_lowercase() =>
            {
                (first, rest.to_owned())
            }
            _ => ("docker.io", path.to_owned()),
        };
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let repository = if registry == "docker.io" && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository
        };
        if !is_host(registry) {
            return Err(bad("the registry is no host name"));
        }
        if repository.len() > LONGEST || !repository.split('/').all(is_component) {
            let lower = repository != repository.to_lowercase();
            return Err(bad(if lower {
                "repository name must be lowercase"
            } else {
                "the name has characters that no repository has"
            }));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("the tag has characters that no tag has"));
        }
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
        Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            return address.parse::<std::net::Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port));
        }
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && (port.is_empty() || is_port(port))
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

/// Lower case letters and digits, with `.`, `_`, `__` or dashes between.
fn is_component(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inside = text.chars().all(|c| ends(c) || "._-".contains(c));
    let separators = !text.contains("..") && !text.contains("___") && !text.contains("._") && !text.contains("_.");
    inside && separators && text.starts_with(ends) && text.ends_with(ends)
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&text.len()) && text.starts_with(word) && text.chars().all(|c| word(c) || ".-".contains(c))
}

impl Reference {
    /// The tag or digest for the path `/manifests/`.
    pub fn target(&self) -> String {
        self.digest.map(|digest| digest.to_string()).or_else(|| self.tag.clone()).unwrap_or_default()
    }

    /// The host that serves the registry.
    pub fn host(&self) -> &str {
        if self.registry == "docker.io" { "registry-1.docker.io" } else { &self.registry }
    }

    /// True if the registry is on this machine, where plain HTTP is usual.
    pub fn is_local(&self) -> bool {
        is_local(&self.registry)
    }
}

/// True if a host, with or without a port, is this machine.
pub(super) fn is_local(host: &str) -> bool {
    let is_in_brackets = |host: &str| host.starts_with('[') && host.ends_with(']');
    let without_port = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let host = if is_in_brackets(host) { host } else { without_port };
    host == "localhost"
        || host == "[::1]"
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))?;
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Reference>().map(|r| r.to_string()), Ok(expected.to_owned()))
        };
        check("debian", "docker.io/library/debian:latest");
        check("user/app:1", "docker.io/user/app:1");
        check("localhost:5000/busybox", "localhost:5000/busybox:latest");
        check("localhost/x", "localhost/x:latest");
        check("ghcr.io/a/b/c:v1.0", "ghcr.io/a/b/c:v1.0");
        check("index.docker.io/debian", "docker.io/library/debian:latest");
        check("[::1]:5000/a", "[::1]:5000/a:latest");
        let digest = Digest::of(b"x");
        check(&format!("debian@{digest}"), &format!("docker.io/library/debian@{digest}"));
        for bad in ["", "Debian", "a//b", "a:b:c", "a@sha256:12", "a/../b", "-a", "a:", "a b", "http://a/b", "a._b"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
