//! `# syntax=`: which frontends' language is the one that is read here. Nothing is fetched.

/// The version of Dockerfile frontend whose language this is.
pub const VERSION: &str = "1.26";

/// Whether a frontend by this name knows nothing that is not known here: Docker's own, up to that version, and not the
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
