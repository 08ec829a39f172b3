//! Git repositories, by the `git` of the machine: for ADD, and for contexts. One commit is fetched, without history where
//! the server allows that, and kept as a folder of files.
//!
//! A repository is a stranger's: git reads no configuration but what is given here, runs no hook and no filter, speaks
//! http, https, ssh and its own protocol alone, and gets no name that could be an option. What links in it lead out
//! leads nowhere: the folder is read as a context is, beneath its descriptor.

use super::fetched;
use super::http::shown;
use crate::error::{At as _, Error, Kind, Result};
use crate::store::Store;
use frontend::remote::Git;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

/// A commit's files.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Their folder: the part that was asked for.
    pub folder: PathBuf,
    /// The commit's time in seconds.
    pub time: Option<i64>,
}

/// Who fetches.
pub struct Fetcher<'a> {
    /// Where it is kept.
    pub store: &'a Store,
    /// The user's secrets, by id: `GIT_AUTH_TOKEN[.host]`, `GIT_AUTH_HEADER[.host]`.
    pub secret: &'a dyn Fn(&str) -> Option<String>,
    /// The socket of an ssh agent.
    pub agent: Option<PathBuf>,
}

/// Half an hour: a server that sends nothing must not hold a build forever; git itself has no such bound.
const SLOWEST: &str = "1800";

impl Fetcher<'_> {
    /// Brings a commit, or finds it.
    pub fn fetch(&self, git: &Git) -> Result<Checkout> {
        check_reference(&git.reference)?;
        let commit = match &git.checksum {
            Some(commit) if git.by_commit && is_commit(commit) => commit.clone(),
            _ => self.resolve(git)?,
        };
        if let Some(wanted) = git.checksum.as_ref().filter(|wanted| !commit.starts_with(wanted.as_str())) {
            let message = format!("expected checksum to match {wanted}, got {commit}");
            return Err(Error::new(Kind::Source, message)
                .because(format!("`{}` of {} stands for another commit now", git.reference, shown(&git.url)))
                .hint("look at what changed, and correct the checksum"));
        }
        let keep = git.keep_git_dir == Some(true);
        let name = format!("{}\n{commit}\n{keep}\n{}\n{}", git.url, git.skip_submodules, git.commit_time);
        let place = fetched::place(self.store, "git", &name)?;
        if !fetched::keep(self.store, &place) {
            let made = self.store.temp("git");
            self.checkout(git, &commit, keep, &made)?;
            fetched::publish(&made, &place)?;
            fetched::keep(self.store, &place);
        }
        let time = fs::read_to_string(place.join("time")).ok().and_then(|text| text.trim().parse().ok());
        Ok(Checkout { folder: inside(&place.join("files"), &git.subdir, git)?, time })
    }

    /// The commit behind a reference: a tag's own, else a branch's.
    fn resolve(&self, git: &Git) -> Result<String> {
        if is_commit(&git.reference) {
            return Ok(git.reference.clone());
        }
        let reference = if git.reference.is_empty() { "HEAD" } else { &git.reference };
        let peeled = format!("{reference}^{{}}");
        let listed = self.run(git, None, &["ls-remote", "--", &git.url, reference, &peeled])?;
        let rows: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
        let find = |name: &str| rows.iter().find(|(_, known)| *known == name).map(|(commit, _)| (*commit).to_owned());
        let names = ["", "refs/", "refs/tags/", "refs/heads/"].map(|prefix| format!("{prefix}{reference}"));
        let found = names.iter().find_map(|name| find(&format!("{name}^{{}}")).or_else(|| find(name)));
        found.filter(|commit| is_commit(commit)).ok_or_else(|| {
            Error::new(Kind::Source, format!("repository {} has no `{reference}`", shown(&git.url)))
                .hint("name a branch, a tag or a whole commit behind `#`")
        })
    }

    fn checkout(&self, git: &Git, commit: &str, keep: bool, made: &Path) -> Result<()> {
        let files = made.join("files");
        fs::create_dir_all(&files).at("make", &files)?;
        let at = Some(files.as_path());
        self.run(git, at, &["init", "--quiet", "--template=", "."])?;
        self.run(git, at, &["remote", "add", "origin", "--", &git.url])?;
        let shallow = ["fetch", "--quiet", "--depth=1", "--no-tags", "origin", commit];
        let by_name = if git.reference.is_empty() { "HEAD" } else { &git.reference };
        let got = self.run(git, at, &shallow).or_else(|refused| {
            // Many servers give commits only by the names that lead to them.
            if is_commit(by_name) {
                return Err(refused);
            }
            self.run(git, at, &["fetch", "--quiet", "--depth=1", "--no-tags", "origin", by_name])
        });
        let has = |at| self.run(git, at, &["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_ok();
        if got.is_err() || !has(at) {
            let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
            self.run(git, at, &["fetch", "--quiet", "origin", all[0], all[1]])?;
        }
        if !has(at) {
            let message = format!("repository {} has no commit {commit}", shown(&git.url));
            return Err(Error::new(Kind::Source, message));
        }
        self.run(git, at, &["checkout", "--quiet", "--force", "--detach", commit])?;
        if !git.skip_submodules && files.join(".gitmodules").is_file() {
            self.run(git, at, &["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        let time = self.run(git, at, &["show", "--no-patch", "--format=%ct", commit])?;
        fs::write(made.join("time"), &time).at("write", made)?;
        if !keep {
            remove_git_dirs(&files)?;
        }
        match time.trim().parse::<u64>() {
            Ok(seconds) if git.commit_time => set_times(&files, UNIX_EPOCH + Duration::from_secs(seconds)),
            _ => Ok(()),
        }
    }

    fn run(&self, git: &Git, at: Option<&Path>, args: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        command.env_clear();
        for name in ["PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSH_COMMAND", "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new")
            .env("GIT_HTTP_LOW_SPEED_LIMIT", "1")
            .env("GIT_HTTP_LOW_SPEED_TIME", SLOWEST)
            .env("LC_ALL", "C")
            .env("HOME", "/nonexistent");
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        // In the environment, which is ours alone, and not among the arguments, which everyone can read.
        let settings = self.settings(git);
        for (number, (key, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        if let Some(at) = at {
            command.current_dir(at);
        }
        let output = command.args(args).stdin(Stdio::null()).output().map_err(|cause| {
            Error::new(Kind::System, "cannot run `git`, which brings repositories").because(cause).hint("install git")
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gave no reason").to_owned();
        let error = Error::new(Kind::Source, format!("git cannot {} {}", args[0], shown(&git.url))).because(why);
        Err(error.hint("a private repository needs `--secret id=GIT_AUTH_TOKEN,...`, or `--ssh default`"))
    }

    fn settings(&self, git: &Git) -> Vec<(String, String)> {
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut all = vec![
            set("core.hooksPath", "/dev/null"),
            set("core.fsmonitor", "false"),
            set("core.autocrlf", "false"),
            set("init.defaultBranch", "main"),
            set("advice.detachedHead", "false"),
            set("protocol.allow", "never"),
            set("safe.directory", "*"),
            set("submodule.recurse", "false"),
        ];
        for protocol in ["http", "https", "ssh", "git"] {
            all.push(set(&format!("protocol.{protocol}.allow"), "always"));
        }
        if let Some(header) = self.credentials(&git.url) {
            let host = git.url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            all.push((format!("http.{host}/.extraheader"), format!("Authorization: {header}")));
        }
        all
    }

    fn credentials(&self, url: &str) -> Option<String> {
        use base64::Engine as _;
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?.split('/').next()?;
        let host = host.rsplit('@').next()?;
        let get = |name: &str| {
            let found = (self.secret)(&format!("{name}.{host}")).or_else(|| (self.secret)(name));
            found.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty() && !text.contains('\n'))
        };
        let token = || {
            let pair = format!("x-access-token:{}", get("GIT_AUTH_TOKEN")?);
            Some(format!("basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
        };
        get("GIT_AUTH_HEADER").or_else(token)
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What git itself would take for a name (git-check-ref-format(1)), and nothing that begins like an option.
fn check_reference(name: &str) -> Result<()> {
    let bad = name.starts_with(['-', '/', '.'])
        || name.ends_with(['/', '.'])
        || name.ends_with(".lock")
        || ["..", "//", "@{", "/."].iter().any(|part| name.contains(part))
        || name.contains(|c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c));
    if bad {
        return Err(Error::new(Kind::Source, format!("`{name}` is no name of a branch, tag or commit")));
    }
    Ok(())
}

/// The part of a checkout that was asked for. No link on the way is followed: it could lead out.
fn inside(files: &Path, subdir: &str, git: &Git) -> Result<PathBuf> {
    let mut path = files.to_owned();
    for part in subdir.split('/').filter(|part| !part.is_empty()) {
        path.push(part);
        let found = fs::symlink_metadata(&path);
        if !found.is_ok_and(|found| found.is_dir()) || part == ".." {
            let message = format!("repository {} has no directory `{subdir}`", shown(&git.url));
            return Err(Error::new(Kind::Source, message).hint("links are not followed there"));
        }
    }
    Ok(path)
}

/// The repository's own folders: that of the whole, and the files that stand for them in submodules.
fn remove_git_dirs(dir: &Path) -> Result<()> {
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).at("list", &dir)? {
            let entry = entry.at("list", &dir)?;
            let kind = entry.file_type().at("look at", entry.path())?;
            match (entry.file_name() == ".git", kind.is_dir()) {
                (true, true) => fs::remove_dir_all(entry.path()).at("remove", entry.path())?,
                (true, false) => fs::remove_file(entry.path()).at("remove", entry.path())?,
                (false, true) => todo.push(entry.path()),
                (false, false) => {}
            }
        }
    }
    Ok(())
}

fn set_times(dir: &Path, time: std::time::SystemTime) -> Result<()> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = rustix::fs::Timespec { tv_sec: i64::try_from(since.as_secs()).unwrap_or(0), tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: at, last_modification: at };
    let mut todo = vec![dir.to_owned()];
    let mut all = Vec::new();
    while let Some(path) = todo.pop() {
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            for entry in fs::read_dir(&path).at("list", &path)? {
                todo.push(entry.at("list", &path)?.path());
            }
        }
        all.push(path);
    }
    for path in all.iter().rev() {
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_could_misread_are_refused() {
        for bad in ["--upload-pack=x", "-x", "a..b", "a b", "x.lock", "a:b", "@{1}", "a\nb", "a*", "/a", "../x"] {
            assert!(check_reference(bad).is_err(), "{bad}");
        }
        for good in ["", "main", "v1.0", "refs/heads/a-b", "feature/x_y", "0123456789012345678901234567890123456789"] {
            assert!(check_reference(good).is_ok(), "{good}");
        }
    }
}
