//! COPY: files from the context, another stage or an image. Holds what ADD shares with it.

use super::flags::{self, Flags, Kind};
use super::{Diagnostic, Line, Stage, error};
use crate::line::{Heredoc, Word};
use crate::op::{self, CopySource, Op, Unpack};
use crate::remote::{self, Remote};
use crate::stage::{Origin, join};
use crate::text;
use solver::VertexId;

/// `COPY [flags] source... destination`.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(super) from: Option<String>,
    pub(super) parents: bool,
    pub(super) common: Common,
}

/// The common part of COPY and ADD.
#[derive(Clone, Debug)]
pub(super) struct Common {
    /// `COPY` or `ADD`.
    name: &'static str,
    written: String,
    pub(super) sources: Vec<Word>,
    inline: Vec<Heredoc>,
    dest: String,
    chown: Option<String>,
    chmod: Option<String>,
    link: bool,
    exclude: Vec<String>,
    /// `--checksum` and `--keep-git-dir` of ADD.
    pub(super) checksum: Option<String>,
    pub(super) keep_git_dir: Option<bool>,
}

pub(super) const FLAGS: &[(&str, Kind)] =
    &[("chown", Kind::Text), ("chmod", Kind::Text), ("link", Kind::Switch), ("exclude", Kind::List)];

impl Copy {
    pub(super) fn parse(line: &Line) -> Result<Copy, Diagnostic> {
        let own = [("from", Kind::Text), ("parents", Kind::Switch)];
        let flags = flags::check(line, &[FLAGS, &own].concat())?;
        let (from, parents) = (flags.text("from"), flags.switch("parents") == Some(true));
        if let Some(flag) = flags.all("from").next().filter(|_| from.as_deref().is_some_and(|from| from.contains('$')))
        {
            let message = "'from' doesn't support variable expansion, define alias stage instead";
            let help = "put `FROM $IMAGE AS name` before this stage and write `--from=name`";
            return Err(Diagnostic::error("from-variable", message, Some(flag.span.clone())).help(help));
        }
        Ok(Copy { from, parents, common: Common::parse("COPY", line, &flags)? })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        let origin = match &self.from {
            Some(from) => Origin::Named(from.clone()),
            None => Origin::Context,
        };
        self.common.lower(stage, &origin, self.parents, None)
    }
}

impl Common {
    pub(super) fn parse(name: &'static str, line: &Line, flags: &Flags<'_>) -> Result<Common, Diagnostic> {
        let Some((dest, sources)) = line.args.split_last().filter(|(_, sources)| !sources.is_empty()) else {
            let message = format!(
                "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
            );
            return Err(error(line, "no-destination", message).help(super::usage(&line.name)));
        };
        if text::heredoc_word(&dest.text).is_some() {
            let message = format!("{name} cannot accept a heredoc as a destination");
            let error = Diagnostic::error("heredoc", message, Some(dest.span.clone()));
            return Err(error.help(format!("the destination comes last: `{name} <<EOF /path`")));
        }
        let (mut paths, mut inline) = (Vec::new(), Vec::new());
        for source in sources {
            match text::heredoc_word(&source.text) {
                Some(begun) => inline.extend(line.heredocs.iter().find(|heredoc| heredoc.name == begun.name).cloned()),
                None => paths.push(source.clone()),
            }
        }
        Ok(Common {
            name,
            written: line.rest.clone(),
            sources: paths,
            inline,
            dest: dest.text.clone(),
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            link: flags.switch("link") == Some(true),
            exclude: flags.texts("exclude"),
            checksum: None,
            keep_git_dir: None,
        })
    }

    pub(super) fn lower(
        &self,
        stage: &mut Stage<'_, '_>,
        origin: &Origin,
        parents: bool,
        unpack: Option<bool>,
    ) -> Result<(), Diagnostic> {
        let plain = if self.name == "ADD" { Unpack::Archives } else { Unpack::Never };
        let owner = self.chown.as_deref().map(|owner| stage.expand(owner)).transpose()?;
        let mode = self.chmod.as_deref().map(|mode| stage.expand(mode)).transpose()?;
        mode.as_deref().map_or(Ok(()), |mode| self.check_mode(stage, mode))?;
        let mut message = self.name.to_owned();
        let flag = |name: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |value| format!(" --{name}={value}"))
        };
        message.push_str(if parents { " --parents" } else { "" });
        message.push_str(&flag("chown", &owner));
        message.push_str(&flag("chmod", &mode));

        let (mut sources, mut inputs) = (Vec::new(), Vec::new());
        // Inputs stand behind the rootfs, if there is one.
        let (first, mut here) = (usize::from(stage.top().is_some()), None);
        for word in &self.sources {
            let path = stage.expand(&word.text)?;
            message.push_str(&format!(" {}", remote::redacted(&path)));
            match self.elsewhere(stage, word, &path)? {
                Some(remote) => sources.push(self.fetched(stage, word, remote, unpack, &mut inputs)?),
                None => {
                    if matches!(origin, Origin::Context) {
                        stage.tell_of_copied(&path);
                    }
                    let input = match here {
                        Some(input) => input,
                        None => {
                            inputs.push(stage.origin(origin)?);
                            *here.insert(first + inputs.len() - 1)
                        }
                    };
                    sources.push(CopySource::Path { input, path });
                }
            }
        }
        let mut inline = Vec::new();
        for heredoc in &self.inline {
            let content = if heredoc.chomp { text::chomped(&heredoc.content) } else { heredoc.content.clone() };
            let content = if heredoc.expand { stage.expand_heredoc(&content)? } else { content };
            message.push_str(&format!(" <<{}", heredoc.name));
            inline.push((heredoc.name.clone(), content));
        }
        let dest = stage.expand(&self.dest)?;
        message.push_str(&format!(" {dest}"));
        let target = destination(&stage.workdir(), &dest);

        // A mode that depends on what is there can't be set on a layer that is made for itself, says BuildKit.
        let link = self.link && mode.is_none();
        let vertex = stage.push(
            &format!("{} {}", self.name, self.written),
            |base| {
                let inline =
                    inline.into_iter().map(|(name, data)| CopySource::Inline { name, data: data.into_bytes() });
                let (sources, exclude) = (sources.into_iter().chain(inline).collect(), self.exclude.clone());
                let unpack = if unpack == Some(false) { Unpack::Never } else { plain };
                Op::Copy(op::Copy { base, link, sources, dest: target, owner, mode, parents, exclude, unpack })
            },
            &inputs,
        );
        stage.history(format!("{message} # buildkit"), Some(vertex));
        Ok(())
    }
}

impl Common {
    fn check_mode(&self, stage: &Stage<'_, '_>, mode: &str) -> Result<(), Diagnostic> {
        let octal = !mode.is_empty() && mode.bytes().all(|byte| byte.is_ascii_digit());
        let good =
            if octal { u32::from_str_radix(mode, 8).is_ok_and(|mode| mode <= 0o7777) } else { is_symbolic(mode) };
        if good {
            return Ok(());
        }
        let message = format!("invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777");
        let error = stage.error_at("chmod", self.chmod.as_deref().unwrap_or(""), message);
        Err(error.help("write `--chmod=755` or `--chmod=u=rwX,go=rX`"))
    }
}

/// Absolute and clean, with a slash at the end where the user says that it is a directory.
fn destination(workdir: &str, dest: &str) -> String {
    let path = join(workdir, dest);
    let directory = dest.ends_with('/') || matches!(dest, "" | ".") || dest.ends_with("/.");
    if directory && path != "/" { path + "/" } else { path }
}

/// chmod(1): clauses of who, operator and permissions.
fn is_symbolic(mode: &str) -> bool {
    mode.split(',').all(|clause| {
        let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
        let mut actions = 0;
        let mut rest = rest;
        while let Some(after) = rest.strip_prefix(['+', '-', '=']) {
            actions += 1;
            rest = after.trim_start_matches(['r', 'w', 'x', 'X', 's', 't', 'u', 'g', 'o']);
        }
        actions > 0 && rest.is_empty()
    })
}

impl Common {
    /// The URL or repository that a source names.
    fn elsewhere(&self, stage: &Stage<'_, '_>, word: &Word, path: &str) -> Result<Option<Remote>, Diagnostic> {
        let wrong = |message: String| Diagnostic { span: Some(word.span.clone()), ..stage.error("remote", message) };
        let found = match remote::git(path).map_err(&wrong)? {
            Some(git) => Some(Remote::Git(git)),
            None => remote::http(path).map(Remote::Http),
        };
        match &found {
            Some(remote) if self.name == "COPY" => {
                let what = if matches!(remote, Remote::Git(_)) { "git ref" } else { "URL" };
                let error = stage.error("copy-remote", format!("source can't be a {what} for COPY")).help("use ADD");
                Err(Diagnostic { span: Some(word.span.clone()), ..error })
            }
            _ => Ok(found),
        }
    }

    /// Has a source fetched: it becomes one more input.
    fn fetched(
        &self,
        stage: &mut Stage<'_, '_>,
        word: &Word,
        remote: Remote,
        unpack: Option<bool>,
        inputs: &mut Vec<VertexId>,
    ) -> Result<CopySource, Diagnostic> {
        let wrong =
            |message: &str| Diagnostic { span: Some(word.span.clone()), ..Diagnostic::error("remote", message, None) };
        let (remote, path) = match remote {
            Remote::Http(mut http) => {
                http.checksum = self.checksum.clone();
                let path = format!("/{}", crate::glob::escaped(&http.file_name()));
                (Remote::Http(http), path)
            }
            Remote::Git(mut git) => {
                match (self.keep_git_dir, git.keep_git_dir) {
                    (Some(one), Some(other)) if one != other => {
                        return Err(wrong("inconsistent keep-git-dir configuration"));
                    }
                    (one, other) => git.keep_git_dir = other.or(one),
                }
                match (&self.checksum, &git.checksum) {
                    (Some(one), Some(other)) if one != other => {
                        return Err(wrong(&format!("checksum mismatch {one:?} != {other:?}")));
                    }
                    (one, other) => git.checksum = other.clone().or_else(|| one.clone()),
                }
                (Remote::Git(git), "/".to_owned())
            }
        };
        // All of a repository is copied; a file is unpacked only when that is asked for.
        let archive = matches!(remote, Remote::Http(_)) && unpack == Some(true);
        inputs.push(stage.remote(&remote, word)?);
        let input = usize::from(stage.top().is_some()) + inputs.len() - 1;
        Ok(if archive { CopySource::Path { input, path } } else { CopySource::Raw { input, path } })
    }
}
