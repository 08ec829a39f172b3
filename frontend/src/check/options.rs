//! `# check=skip=A,B;error=true;experimental=C`, as a directive, as `--build-arg BUILDKIT_DOCKERFILE_CHECK`, and as a
//! comment right above an instruction, which it then holds for.

use super::Rule;

/// The rules that speak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    skip: Vec<String>,
    experimental: Vec<String>,
    /// A finding is an error.
    pub error: bool,
    /// kiln's own rules speak too.
    pub own: bool,
}

/// Stands for every rule.
const ALL: &str = "all";

impl Options {
    /// Reads the text behind `check=`.
    pub fn parse(text: &str) -> Result<Options, String> {
        let mut options = Options::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(options);
        }
        for part in text.splitn(3, ';') {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("invalid check option {part:?}"))?;
            let list = || value.split(',').map(|rule| rule.trim().to_owned()).collect();
            match key.trim() {
                "skip" => options.skip = list(),
                "experimental" => options.experimental = list(),
                "error" => {
                    options.error = base::words::bool_of(value.trim())
                        .ok_or_else(|| format!("failed to parse check option {part:?}"))?;
                }
                other => return Err(format!("invalid check option {other:?}")),
            }
        }
        Ok(options)
    }

    /// With what a comment above an instruction adds.
    pub(super) fn merged(&self, comments: &[String]) -> Options {
        let mut options = self.clone();
        let check = |comment: &String| {
            let (name, value) = comment.split_once('=')?;
            name.trim().eq_ignore_ascii_case("check").then(|| value.trim().split(' ').next().unwrap_or("").to_owned())
        };
        if let Some(Ok(more)) = comments.iter().find_map(check).map(|text| Options::parse(&text)) {
            for (list, more) in [(&mut options.skip, more.skip), (&mut options.experimental, more.experimental)] {
                if more == [ALL] {
                    *list = more;
                } else if *list != [ALL] {
                    list.extend(more);
                }
            }
        }
        options
    }

    pub(super) fn allows(&self, rule: &Rule) -> bool {
        // As in BuildKit `all` stands for all only where it stands alone.
        let named = |list: &[String]| list.iter().any(|name| name == rule.name) || list == [ALL];
        if rule.experimental { named(&self.experimental) } else { (self.own || !rule.own) && !named(&self.skip) }
    }

    /// True if it may speak, by these options or by a comment.
    pub(super) fn may_allow(&self, rule: &Rule) -> bool {
        rule.experimental || self.allows(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_buildkit_reads_them() {
        let options = Options::parse("skip=A, B;error=true").unwrap_or_default();
        assert_eq!((options.skip.as_slice(), options.error), (["A".to_owned(), "B".to_owned()].as_slice(), true));
        assert!(Options::parse("").is_ok_and(|options| options == Options::default()));
        assert!(
            Options::parse("skip").is_err() && Options::parse("x=y").is_err() && Options::parse("error=2").is_err()
        );
    }

    #[test]
    fn a_comment_adds_to_what_the_file_says() {
        let options = Options::parse("skip=UndefinedVar").unwrap_or_default();
        let merged = options.merged(&["note".to_owned(), "check=skip=StageNameCasing".to_owned()]);
        let rule = |name| Rule::named(name).map(|rule| merged.allows(rule));
        assert_eq!(rule("StageNameCasing"), Some(false));
        assert_eq!(rule("UndefinedVar"), Some(false));
        assert_eq!(rule("DuplicateStageName"), Some(true));
        assert_eq!(rule("InvalidDefinitionDescription"), Some(false));
    }
}
