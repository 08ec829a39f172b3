//! `.dockerignore` and `--exclude`, as moby/patternmatcher reads them, which is not as git does: patterns are rooted,
//! order counts, a pattern that matches a parent holds for what is in it, `!` brings back what is below an excluded
//! directory. Knows no files: it is asked about paths.
//!
//! Hundreds of patterns cost hardly more than one: `index` says which of them can match a path at all.

mod index;

use crate::glob::Glob;
use index::{Exceptions, Index};

/// An ordered list of patterns.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
    index: Index,
    exceptions: Exceptions,
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
    /// The fault.
    pub message: String,
}

/// The rules that matched a directory or one of its parents, in order: a walker hands them down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched(Vec<u32>);

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
        Ok(ignore.indexed())
    }

    /// From patterns at hand.
    pub fn from_patterns(patterns: &[String]) -> Result<Ignore, IgnoreError> {
        let mut ignore = Ignore::default();
        for (index, pattern) in patterns.iter().enumerate() {
            ignore.add(pattern).map_err(|message| IgnoreError { line: index + 1, message })?;
        }
        Ok(ignore.indexed())
    }

    fn indexed(mut self) -> Ignore {
        self.index = Index::new(self.rules.iter().map(|rule| &rule.glob));
        self.exceptions = Exceptions::new(self.rules.iter().filter(|rule| rule.exception).map(|rule| &rule.glob));
        self
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
        self.rules.push(Rule { glob, exception, text });
        Ok(())
    }

    /// True if there is no pattern.
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
        let mut last = None;
        for part in ends.map(|end| &path[..end]) {
            let later =
                self.index.candidates(part).into_iter().rev().take_while(|at| last.is_none_or(|last| *at > last));
            let found = later.into_iter().find(|at| self.rules[*at as usize].glob.matches(part));
            last = found.or(last);
        }
        last.is_some_and(|at| !self.rules[at as usize].exception)
    }

    /// The verdict for a path whose parent was entered before, and what to hand down if it is a directory. As in
    /// BuildKit's walk, a rule that can't change the verdict is not asked, so it is not handed down either: after
    /// `a/b` and `!a`, the file `a/b` stays ignored.
    pub fn enter(&self, path: &str, parent: &Matched) -> (bool, Matched) {
        let mut ignored = false;
        let mut matched = Vec::new();
        let mut candidates = self.index.candidates(path).into_iter().peekable();
        let mut handed = parent.0.iter().copied().peekable();
        while let Some(at) = candidates.peek().into_iter().chain(handed.peek()).min().copied() {
            candidates.next_if_eq(&at);
            let rule = &self.rules[at as usize];
            let is_handed = handed.next_if_eq(&at).is_some();
            if is_handed || (rule.exception == ignored && rule.glob.matches(path)) {
                ignored = !rule.exception;
                matched.push(at);
            }
        }
        (ignored, Matched(matched))
    }

    /// True if something below an ignored directory may be brought back, so that it must be entered all the same.
    pub fn may_hold_exception(&self, dir: &str) -> bool {
        self.exceptions.may_be_below(dir)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::glob::simple::{self, Random};

    /// Every rule is asked about every path, with the simple matcher.
    struct Slow(Vec<(simple::Glob, bool)>);

    impl Slow {
        fn enter(&self, path: &str, parent: &[bool]) -> (bool, Vec<bool>) {
            let (mut ignored, mut matched) = (false, Vec::new());
            for (at, (glob, exception)) in self.0.iter().enumerate() {
                let handed = parent.get(at).copied().unwrap_or(false);
                let hit = handed || (*exception == ignored && glob.matches(path));
                ignored = if hit { !exception } else { ignored };
                matched.push(hit);
            }
            (ignored, matched)
        }

        fn ignored(&self, path: &str) -> bool {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            let parts: Vec<&str> = ends.map(|end| &path[..end]).collect();
            let holds = |(glob, _): &&(simple::Glob, bool)| parts.iter().any(|part| glob.matches(part));
            self.0.iter().rfind(holds).is_some_and(|(_, exception)| !exception)
        }

        fn may_hold_exception(&self, rules: &[Rule], dir: &str) -> bool {
            let below = format!("{dir}/");
            let may = |rule: &Rule| {
                let prefix = rule.glob.literal_prefix();
                prefix.starts_with(&below) || below.starts_with(prefix) && !rule.glob.is_literal()
            };
            rules.iter().filter(|rule| rule.exception).any(may)
        }
    }

    #[test]
    fn many_patterns_at_once_say_what_they_say_one_by_one() {
        let mut random = Random(7);
        let (mut verdicts, mut exceptions) = ([0, 0], [0, 0]);
        for _ in 0..1_000 {
            let lines: Vec<String> = (0..=random.below(40))
                .map(|_| format!("{}{}", ["", "", "!"][random.below(3)], random.pattern()))
                .filter(|line| Ignore::from_patterns(std::slice::from_ref(line)).is_ok())
                .collect();
            let ignore = Ignore::from_patterns(&lines).unwrap();
            let glob = |rule: &Rule| (simple::Glob::new(&rule.text, true).unwrap(), rule.exception);
            let slow = Slow(ignore.rules.iter().map(glob).collect());
            for _ in 0..20 {
                let path = random.path();
                let (mut above, mut slowly) = (Matched::default(), Vec::new());
                for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
                    let part = &path[..end];
                    let (fast, expected);
                    (fast, above) = ignore.enter(part, &above);
                    (expected, slowly) = slow.enter(part, &slowly);
                    assert_eq!(fast, expected, "{lines:?} on {part:?}");
                    let hits = (0..).zip(&slowly).filter(|(_, hit)| **hit).map(|(at, _)| at);
                    assert_eq!(above.0, hits.collect::<Vec<u32>>(), "{lines:?} on {part:?}");
                    verdicts[usize::from(fast)] += 1;
                }
                assert_eq!(ignore.ignored(&path), slow.ignored(&path), "{lines:?} on {path:?}");
                let may = ignore.may_hold_exception(&path);
                assert_eq!(may, slow.may_hold_exception(&ignore.rules, &path), "{lines:?} below {path:?}");
                exceptions[usize::from(may)] += 1;
            }
        }
        let rare = verdicts.iter().chain(&exceptions).min();
        assert!(rare.is_some_and(|count| *count > 250), "{verdicts:?} {exceptions:?}");
    }

    /// As in a `.dockerignore` that a program wrote.
    #[test]
    fn of_hundreds_of_patterns_few_are_tried() {
        let line = |at: usize| match at % 6 {
            0 => format!("**/*.py{at}"),
            1 => format!("**/node_modules{at}"),
            2 => format!("docs{at}/*"),
            3 => format!("src/*/build/cache{at}"),
            4 => format!("*.tmp{at}"),
            _ => format!("!src/keep{at}/**"),
        };
        let ignore = Ignore::from_patterns(&(0..600).map(line).collect::<Vec<_>>()).unwrap();
        for path in ["src/app/build/cache/x.o", "src/keep/one.rs", "a/b/c.py", "docs/index.md", "x.tmp"] {
            assert!(ignore.index.candidates(path).is_empty(), "{path}");
        }
        for path in ["a/b.py0", "a/node_modules1", "docs2/x", "src/x/build/cache3", "x.tmp4", "src/keep5/y"] {
            assert_eq!(ignore.index.candidates(path).len(), 1, "{path}");
        }
    }
}
