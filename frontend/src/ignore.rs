//! `.dockerignore` and `--exclude`, as moby/patternmatcher reads them, which is not as git does: patterns are rooted,
//! order counts, a pattern that matches a parent holds for what is in it, `!` brings back what is below an excluded
//! directory. Knows no files: it is asked about paths.

use crate::glob::Glob;

/// An ordered list of patterns.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
    exceptions: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    glob: Glob,
    exception: bool,
    text: String,
}

/// A pattern that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Which rules matched a directory or one of its parents: what a walker hands down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched(Vec<bool>);

impl Ignore {
    /// Reads a file of patterns, one a line, `#` in the first column for comments.
    pub fn parse(file: &[u8]) -> Result<Ignore, IgnoreError> {
        let text = String::from_utf8_lossy(file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file));
        let mut ignore = Ignore::default();
        for (index, line) in text.lines().enumerate() {
            if !line.starts_with('#') {
                ignore.add(line).map_err(|message| IgnoreError { line: index + 1, message })?;
            }
        }
        Ok(ignore)
    }

    /// From patterns at hand.
    pub fn from_patterns(patterns: &[String]) -> Result<Ignore, IgnoreError> {
        let mut ignore = Ignore::default();
        for (index, pattern) in patterns.iter().enumerate() {
            ignore.add(pattern).map_err(|message| IgnoreError { line: index + 1, message })?;
        }
        Ok(ignore)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(());
        }
        let (exception, text) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
        if text.is_empty() {
            return Err("illegal exclusion pattern: \"!\"".to_owned());
        }
        let text = clean(text);
        // A pattern for the root itself says nothing about what is in it.
        let text = if text.len() > 1 { text.strip_prefix('/').unwrap_or(&text).trim().to_owned() } else { text };
        // Taken apart twice, as Docker does: a `!` behind a leading slash counts too.
        let (exception, text) = match text.strip_prefix('!').filter(|_| !exception) {
            Some(rest) => (true, rest.to_owned()),
            None => (exception, text),
        };
        if exception && (text.is_empty() || text == "/") {
            return Err("illegal exclusion pattern: \"!\"".to_owned());
        }
        let glob = Glob::new(&text, true).map_err(|_| format!("syntax error in pattern `{line}`"))?;
        self.exceptions |= exception;
        self.rules.push(Rule { glob, exception, text });
        Ok(())
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The patterns as they are matched, `!` before exceptions.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        self.rules.iter().map(|rule| format!("{}{}", if rule.exception { "!" } else { "" }, rule.text))
    }

    /// The verdict for a path alone: a rule holds for it if it matches the path or one of its parents. The path is clean
    /// and relative.
    pub fn ignored(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let paths: Vec<&str> = ends.map(|end| &path[..end]).collect();
        let mut ignored = false;
        for rule in self.rules.iter().filter(|rule| paths.iter().any(|path| rule.glob.matches(path))) {
            ignored = !rule.exception;
        }
        ignored
    }

    /// The verdict for a path whose parent was entered before, and what to hand down if it is a directory. As in
    /// BuildKit's walk, a rule that can't change the verdict is not asked, so it is not handed down either: after
    /// `a/b` and `!a`, the file `a/b` stays ignored.
    pub fn enter(&self, path: &str, parent: &Matched) -> (bool, Matched) {
        let mut ignored = false;
        let mut matched = Vec::with_capacity(self.rules.len());
        for (at, rule) in self.rules.iter().enumerate() {
            let handed = parent.0.get(at).copied().unwrap_or(false);
            let hit = handed || (rule.exception == ignored && rule.glob.matches(path));
            if hit {
                ignored = !rule.exception;
            }
            matched.push(hit);
        }
        (ignored, Matched(matched))
    }

    /// Whether something below an ignored directory may be brought back, so that it must be entered all the same.
    pub fn may_hold_exception(&self, dir: &str) -> bool {
        let below = format!("{dir}/");
        let may = |rule: &Rule| {
            let prefix = rule.glob.literal_prefix();
            prefix.starts_with(&below) || below.starts_with(&prefix) && !rule.glob.is_literal()
        };
        self.exceptions && self.rules.iter().filter(|rule| rule.exception).any(may)
    }
}

/// Go's `path.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => drop(parts.pop()),
            ("..", None) if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}
