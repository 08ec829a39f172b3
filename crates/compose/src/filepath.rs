//! Paths as text: cleans, joins and relates them by their names alone, without access to the disk.

/// The shortest equivalent path, by the names alone: no `.`, no `..` after a name, no double slash.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Joins two paths.
pub fn join(base: &str, path: &str) -> String {
    match (base.is_empty(), path.is_empty()) {
        (true, true) => String::new(),
        (true, false) => clean(path),
        (false, true) => clean(base),
        (false, false) => clean(&format!("{base}/{path}")),
    }
}

/// Makes a path absolute: a relative one is below `directory`.
pub fn absolute(directory: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { join(directory, path) }
}

/// The parent directory of a path.
pub fn parent(path: &str) -> String {
    clean(&path[..path.rfind('/').map_or(0, |at| at + 1)])
}

/// The last name of a path.
pub fn name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (trimmed.rfind('/'), path.is_empty(), trimmed.is_empty()) {
        (_, true, _) => ".",
        (_, _, true) => "/",
        (at, ..) => &trimmed[at.map_or(0, |at| at + 1)..],
    }
}

/// The relative path from one directory to another. None if only one of them is absolute.
pub fn relative(base: &str, target: &str) -> Option<String> {
    let (base, target) = (clean(base), clean(target));
    if base.starts_with('/') != target.starts_with('/') {
        return None;
    }
    let parts = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
    };
    let (base, target) = (parts(&base), parts(&target));
    let shared = base.iter().zip(&target).take_while(|(a, b)| a == b).count();
    if base[shared..].iter().any(|part| part == "..") {
        return None;
    }
    let up = base[shared..].iter().map(|_| "..");
    let all: Vec<&str> = up.chain(target[shared..].iter().map(String::as_str)).collect();
    Some(if all.is_empty() { ".".to_owned() } else { all.join("/") })
}

/// Replaces a leading `~` by the user's home.
pub fn expand_home(path: &str, home: Option<&str>) -> String {
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) => join(home, rest),
        _ => path.to_owned(),
    }
}

/// True if a path is absolute on Windows: a drive with a separator, or a UNC path.
pub fn is_windows_absolute(path: &str) -> bool {
    let bytes = path.as_bytes();
    let separator = |at: usize| matches!(bytes.get(at), Some(b'/' | b'\\'));
    (bytes.len() > 2 && bytes[1] == b':' && separator(2)) || (separator(0) && separator(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_joined_and_related() {
        for (path, cleaned) in
            [("", "."), ("a//b/./c/..", "a/b"), ("/../a", "/a"), ("../..", "../.."), ("a/../..", "..")]
        {
            assert_eq!(clean(path), cleaned, "{path}");
        }
        assert_eq!(join("/a", "../b"), "/b");
        assert_eq!(absolute("/a", "/b/"), "/b");
        assert_eq!((parent("/a/b"), parent("b"), parent("/a")), ("/a".into(), ".".into(), "/".into()));
        assert_eq!((name("/a/b/"), name("/"), name("x")), ("b", "/", "x"));
        assert_eq!(relative("/a/b", "/a/c/d").as_deref(), Some("../c/d"));
        assert_eq!(relative("/a", "/a").as_deref(), Some("."));
        assert_eq!(relative("/a", "b"), None);
        assert_eq!(expand_home("~/x", Some("/h")), "/h/x");
        assert!(is_windows_absolute("c:\\x") && is_windows_absolute("\\\\h\\s") && !is_windows_absolute("c:x"));
    }
}
