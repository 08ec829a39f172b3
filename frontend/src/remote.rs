//! Sources that are neither in the context nor in an image: URLs and git repositories, as BuildKit reads their names
//! (`frontend/dockerfile/dfgitutil`). Only text: nothing is fetched here.

mod url;

pub use url::{Url, User, redacted};

/// A source elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// `http://` or `https://`: one file.
    Http(Http),
    /// A git repository at one commit.
    Git(Git),
}

/// A file behind a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Http {
    /// As written.
    pub url: Url,
    /// `sha256:...` that its content must have.
    pub checksum: Option<String>,
}

/// A repository, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Git {
    /// For git itself, without what stands behind `#` and `?`.
    pub url: Url,
    /// A commit, tag or branch; empty for the default branch.
    pub reference: String,
    /// A directory in it, clean and relative; empty for all.
    pub subdir: String,
    /// The commit, or how it begins.
    pub checksum: Option<String>,
    /// True if `.git` stays.
    pub keep_git_dir: Option<bool>,
    /// True if submodules are left out.
    pub skip_submodules: bool,
    /// Files get the commit's time.
    pub commit_time: bool,
    /// The checksum is fetched; what the reference stands for is not asked.
    pub by_commit: bool,
}

impl Http {
    /// The name of the file: the last part of the path, as ADD has it.
    pub fn file_name(&self) -> String {
        let path = self.url.secret().split(['?', '#']).next().unwrap_or("");
        let path = path.split_once("://").map_or("", |(_, rest)| rest).split_once('/').map_or("", |(_, path)| path);
        let path = decoded(path);
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or("");
        if matches!(name, "" | "." | "..") || name.contains('\0') { "__unnamed__".to_owned() } else { name.to_owned() }
    }
}

/// True if a text is a URL of a file.
pub fn http(text: &str) -> Option<Http> {
    let is = text.starts_with("http://") || text.starts_with("https://");
    is.then(|| Http { url: Url::new(text), checksum: None })
}

/// Reads the name of a repository: none if it is something else, an error if it is one with a bad query.
pub fn git(text: &str) -> Result<Option<Git>, String> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (url, query) = rest.split_once('?').unwrap_or((rest, ""));
    let known = match url.split_once("://") {
        Some(("http" | "https", path)) => path.split_once('/').is_some_and(|(_, path)| path.ends_with(".git")),
        Some(("git" | "ssh", path)) => !path.is_empty(),
        Some(_) => false,
        None => is_scp(url),
    };
    if !known {
        return Ok(None);
    }
    let mut git = Git { url: Url::new(url), ..Git::default() };
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    git.reference = decoded(reference);
    git.subdir = clean(&decoded(subdir));
    git.read_query(query)?;
    Ok(Some(git))
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let Some((host, path)) = rest.split_once(':') else { return false };
    word(user) && word(host) && !host.starts_with('-') && !user.starts_with('-') && !path.is_empty()
}

impl Git {
    fn read_query(&mut self, query: &str) -> Result<(), String> {
        let (mut tag, mut branch) = (None, None);
        let mut seen: Vec<String> = Vec::new();
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let value = decoded(value);
            if seen.iter().any(|known| known == key) {
                return Err(format!("query {key:?} has multiple values"));
            }
            seen.push(key.to_owned());
            let switch = || match value.as_str() {
                "" => Ok(true),
                text => base::words::bool_of(text).ok_or_else(|| format!("invalid {key} value: {value:?}")),
            };
            if value.is_empty() && !matches!(key, "submodules" | "keep-git-dir" | "fetch-by-commit") {
                return Err(format!("query {key:?} has no value"));
            }
            match key {
                "ref" => set_once(&mut self.reference, value, "ref")?,
                "subdir" => set_once(&mut self.subdir, clean(&value), "subdir")?,
                "tag" => tag = Some(prefixed("refs/tags/", &value)),
                "branch" => branch = Some(prefixed("refs/heads/", &value)),
                "checksum" | "commit" => self.checksum = Some(value),
                "keep-git-dir" => self.keep_git_dir = Some(switch()?),
                "submodules" => self.skip_submodules = !switch()?,
                "fetch-by-commit" => self.by_commit = switch()?,
                "mtime" if matches!(value.as_str(), "commit" | "checkout") => self.commit_time = value == "commit",
                "mtime" => {
                    return Err(format!("invalid mtime value: {value:?} (must be \"checkout\" or \"commit\")"));
                }
                other => return Err(format!("unexpected query {other:?}")),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err("branch conflicts with tag".to_owned());
        }
        tag.or(branch).map_or(Ok(()), |reference| set_once(&mut self.reference, reference, "ref"))
    }
}

fn set_once(place: &mut String, value: String, what: &str) -> Result<(), String> {
    if !place.is_empty() && *place != value {
        return Err(format!("{what} conflicts: {place:?} vs {value:?}"));
    }
    *place = value;
    Ok(())
}

fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// A relative path that stays where it is.
fn clean(path: &str) -> String {
    crate::stage::join("/", path).trim_start_matches('/').to_owned()
}

/// `%2e` is a dot.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                plain.push(value);
                at += 3;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, String, String)> {
        git(text).unwrap_or_default().map(|git| (git.url.secret().to_owned(), git.reference, git.subdir))
    }

    #[test]
    fn repositories_are_told_from_files_and_paths() {
        let all = |url: &str, reference: &str, subdir: &str| Some((url.into(), reference.into(), subdir.into()));
        assert_eq!(parts("https://h/a/b.git"), all("https://h/a/b.git", "", ""));
        assert_eq!(parts("https://h/b.git#main:/x/../y/"), all("https://h/b.git", "main", "y"));
        assert_eq!(parts("git@h:a/b.git#v1"), all("git@h:a/b.git", "v1", ""));
        assert_eq!(parts("ssh://git@h/a"), all("ssh://git@h/a", "", ""));
        assert_eq!(parts("git://h/a#:../../etc"), all("git://h/a", "", "etc"));
        assert_eq!(parts("https://h/b.git?branch=x&subdir=d"), all("https://h/b.git", "refs/heads/x", "d"));
        for other in
            ["https://h/b", "https://h.git", "./a.git", "a/b", "file:///x.git", "ext::sh", "-u@h:x", "github.com/a/b"]
        {
            assert_eq!(parts(other), None, "{other}");
        }
        for bad in ["tag=a&branch=b", "ref=a&ref=b", "x=y", "submodules=maybe", "mtime=now", "ref="] {
            assert!(git(&format!("https://h/b.git?{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_are_called_by_the_last_part_of_their_path_and_never_lead_away() {
        let name = |url: &str| http(url).map(|http| http.file_name()).unwrap_or_default();
        assert_eq!(name("https://h/a/b.txt?x=/y#z"), "b.txt");
        assert_eq!(name("https://h/a%20b"), "a b");
        for url in
            ["https://h", "https://h/", "https://h/..", "https://h/a/%2e%2e", "https://h/%2e%2e%2f", "https://h/%00"]
        {
            assert_eq!(name(url), "__unnamed__", "{url}");
        }
        assert_eq!(name("https://h/%2e%2e%2fetc%2fpasswd"), "passwd");
    }
}
