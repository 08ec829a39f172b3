//! Paths as text, as Go's `path` package has them.

/// The shortest path that means the same: without `.`, `..` after a name, and doubled slashes.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => drop(parts.pop()),
                _ if rooted => {}
                _ => parts.push(part),
            },
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}

/// Two paths, one after the other.
pub fn join(base: &str, path: &str) -> String {
    match (base, path) {
        ("", "") => String::new(),
        ("", path) => clean(path),
        (base, "") => clean(base),
        _ => clean(&format!("{base}/{path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        let cases =
            [("", "."), ("a//b/./c/..", "a/b"), ("../../x", "../../x"), ("/..", "/"), ("./", "."), ("/a/../b/", "/b")];
        for (path, want) in cases {
            assert_eq!(clean(path), want);
        }
        assert_eq!(join("a", "../b"), "b");
    }
}
