//! Names of things that are elsewhere.

/// True of URLs and of git references.
pub fn is_remote(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://") || is_git(text)
}

/// True of git references: `git://`, `ssh://`, `git@host:path`, `github.com/…`, and URLs that end in `.git`.
pub fn is_git(text: &str) -> bool {
    let (address, _) = text.split_once('#').unwrap_or((text, ""));
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let named = |prefix: &str| text.starts_with(prefix);
    if named("http://") || named("https://") {
        return address.ends_with(".git")
            || query.split('&').any(|pair| {
                let name = pair.split('=').next().unwrap_or_default();
                ["ref", "tag", "branch", "commit", "checksum", "subdir"].contains(&name) && address.contains(".git")
            });
    }
    if ["git://", "ssh://", "github.com/"].iter().any(|scheme| named(scheme)) {
        return true;
    }
    is_scp(address)
}

/// `user@host:path`
fn is_scp(address: &str) -> bool {
    let Some((user, rest)) = address.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !user.is_empty() && user.chars().all(word) && !host.is_empty() && host.chars().all(word) && !path.is_empty()
}

/// True of a git reference that is reached over SSH.
pub fn is_git_ssh(text: &str) -> bool {
    text.starts_with("ssh://") || is_scp(text.split('#').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_not_remote() {
        for text in
            ["https://x.test/a.hcl", "git@github.com:a/b.git", "github.com/a/b", "ssh://h/x", "git://h/x#ref:dir"]
        {
            assert!(is_remote(text), "{text}");
        }
        for text in ["app", "./a@b", "a.git", "dir/x:y", "cwd://", "docker-image://busybox", "target:x"] {
            assert!(!is_remote(text), "{text}");
        }
        assert!(is_git("https://github.com/a/b.git#main:sub") && !is_git("https://example.test/a.tar.gz"));
    }
}
