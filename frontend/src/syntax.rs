//! `# syntax=`: which frontends' language is the one that is read here. Nothing is fetched.

/// The version of Dockerfile frontend whose language this is.
pub const VERSION: &str = "1.26";

/// True if a frontend by this name knows nothing that is not known here: Docker's own, up to that version, and not the
/// one with experiments.
pub fn is_known(name: &str) -> bool {
    let name = name.split_whitespace().next().unwrap_or("");
    let name = name.split('@').next().unwrap_or("");
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
    if !matches!(repository, "docker/dockerfile" | "docker/dockerfile-upstream") {
        return false;
    }
    let mut known = VERSION.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut wanted = tag.split('.').map(str::parse::<u32>);
    match (wanted.next(), wanted.next(), known.next(), known.next()) {
        (Some(Ok(major)), None, Some(own), _) => major == own,
        (Some(Ok(major)), Some(Ok(minor)), Some(own), Some(most)) => major == own && minor <= most,
        _ => matches!(tag, "latest" | "master"),
    }
}

/// The frontend that a file names which is no Dockerfile: `// syntax=` at the top, or `{"syntax": ...}`, as BuildKit looks
/// for it to choose who reads the file.
pub(crate) fn foreign(source: &[u8]) -> Option<String> {
    let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    let first = source.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if *first == b'{' {
        let value: serde_json::Value = serde_json::from_slice(source).ok()?;
        return value.get("syntax")?.as_str().map(str::to_owned);
    }
    let head = source.get(..source.len().min(16 << 10))?;
    let text = String::from_utf8_lossy(head);
    let directives = text.lines().map_while(|line| line.trim_start().strip_prefix("//")?.split_once('='));
    let mut named = directives.filter(|(name, _)| name.trim().eq_ignore_ascii_case("syntax"));
    named.next().map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_own_frontends_are_known_up_to_our_version() {
        for known in [
            "docker/dockerfile:1",
            "docker/dockerfile",
            "docker.io/docker/dockerfile:1.4",
            "docker/dockerfile:1.26.0",
            "docker/dockerfile:1@sha256:00",
            "docker/dockerfile-upstream:master",
        ] {
            assert!(is_known(known), "{known}");
        }
        for other in [
            "docker/dockerfile:1.27",
            "docker/dockerfile:2",
            "docker/dockerfile:1-labs",
            "me/dockerfile:1",
            "",
            "tonistiigi/x",
        ] {
            assert!(!is_known(other), "{other}");
        }
    }
}
