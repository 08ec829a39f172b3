//! Git repositories for ADD and for contexts, fetched with the machine's `git`. One commit is
//! fetched, without history if the server allows it, and kept as a directory of files.
//!
//! A repository is untrusted: git reads only the given configuration, runs no hook and no filter,
//! uses only http, https, ssh and its own protocol, and gets no name that could be an option. Links
//! that lead out of the repository have no effect, because the directory is read beneath its
//! descriptor, like a context.

use super::fetched;
use super::http::{encoded, joined, origin};
use base::error::{At as _, Error, Kind, Result};
use frontend::remote::{Git, Url, User};
use registry::Settings;
use sandbox::helper::Helper;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use store::Store;
use store::remove::remove_tree;

/// The files of a commit.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// The directory of the requested part.
    pub folder: PathBuf,
    /// The commit's time in seconds.
    pub time: Option<i64>,
}

/// Fetches repositories.
pub struct Fetcher<'a> {
    /// The store for the files.
    pub store: &'a Store,
    /// The proxies.
    pub settings: &'a Settings,
    /// The user's secrets, by id: `GIT_AUTH_TOKEN[.host]`, `GIT_AUTH_HEADER[.host]`.
    pub secret: &'a dyn Fn(&str) -> Option<String>,
    /// The socket of an ssh agent.
    pub agent: Option<PathBuf>,
    /// True once the user has interrupted the build.
    pub stop: &'a dyn Fn() -> bool,
}

/// The longest silence of an HTTP server in seconds: git itself has no limit for a server that sends nothing.
const SLOWEST: &str = "1800";
/// An ssh server that does not answer is given up after two minutes.
const SSH: &str = "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new \
    -o ConnectTimeout=120 -o ServerAliveInterval=30 -o ServerAliveCountMax=4";
/// One command of git may take so long: the fetch of a very large repository by a slow line.
const LIMIT: Duration = Duration::from_secs(4 * 3600);
/// The list of a repository's references that match a name.
const LARGEST_LIST: usize = 16 << 20;

impl Fetcher<'_> {
    /// Fetches a commit, or finds it in the store.
    pub fn fetch(&self, git: &Git) -> Result<Checkout> {
        check_reference(&git.reference)?;
        let access = self.access(git);
        let commit = match &git.checksum {
            Some(commit) if git.by_commit && is_commit(commit) => commit.clone(),
            _ => self.resolve(git, &access)?,
        };
        if let Some(wanted) = git.checksum.as_ref().filter(|wanted| !commit.starts_with(wanted.as_str())) {
            let message = format!("expected checksum to match {wanted}, got {commit}");
            return Err(Error::new(Kind::Source, message)
                .because(format!("`{}` of {} stands for another commit now", git.reference, git.url))
                .hint("look at what changed, and correct the checksum"));
        }
        let keep = git.keep_git_dir == Some(true);
        let name = format!("{}\n{commit}\n{keep}\n{}\n{}", git.url, git.skip_submodules, git.commit_time);
        let place = fetched::place(self.store, "git", &name)?;
        if !fetched::keep(self.store, &place) {
            let made = self.store.temp("git");
            self.checkout(git, &access, &commit, keep, &made)?;
            fetched::publish(&made, &place)?;
            fetched::keep(self.store, &place);
        }
        let time = fs::read_to_string(place.join("time")).ok().and_then(|text| text.trim().parse().ok());
        Ok(Checkout { folder: inside(&place.join("files"), &git.subdir, git)?, time })
    }

    /// The commit of a reference: a tag's commit, else a branch's.
    fn resolve(&self, git: &Git, access: &Access) -> Result<String> {
        if is_commit(&git.reference) {
            return Ok(git.reference.clone());
        }
        let reference = if git.reference.is_empty() { "HEAD" } else { &git.reference };
        let peeled = format!("{reference}^{{}}");
        let listed = self.run(access, None, &["ls-remote", "--", &access.url, reference, &peeled])?;
        let rows: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
        let find = |name: &str| rows.iter().find(|(_, known)| *known == name).map(|(commit, _)| (*commit).to_owned());
        let names = ["", "refs/", "refs/tags/", "refs/heads/"].map(|prefix| format!("{prefix}{reference}"));
        let found = names.iter().find_map(|name| find(&format!("{name}^{{}}")).or_else(|| find(name)));
        found.filter(|commit| is_commit(commit)).ok_or_else(|| {
            Error::new(Kind::Source, format!("repository {} has no `{reference}`", git.url))
                .hint("name a branch, a tag or a whole commit behind `#`")
        })
    }

    fn checkout(&self, git: &Git, access: &Access, commit: &str, keep: bool, made: &Path) -> Result<()> {
        let files = made.join("files");
        fs::create_dir_all(&files).at("make", &files)?;
        fs::set_permissions(&files, fs::Permissions::from_mode(0o755)).at("set the mode of", &files)?;
        let at = Some(files.as_path());
        self.run(access, at, &["init", "--quiet", "--template=", "."])?;
        self.run(access, at, &["remote", "add", "origin", "--", &access.url])?;
        let shallow = ["fetch", "--quiet", "--depth=1", "--no-tags", "origin", commit];
        let by_name = if git.reference.is_empty() { "HEAD" } else { &git.reference };
        let got = self.run(access, at, &shallow).or_else(|refused| {
            // Many servers serve a commit only by a name that leads to it.
            if is_commit(by_name) {
                return Err(refused);
            }
            self.run(access, at, &["fetch", "--quiet", "--depth=1", "--no-tags", "origin", by_name])
        });
        let has = |at| self.run(access, at, &["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_ok();
        if got.is_err() || !has(at) {
            let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
            self.run(access, at, &["fetch", "--quiet", "origin", all[0], all[1]])?;
        }
        if !has(at) {
            let message = format!("repository {} has no commit {commit}", git.url);
            return Err(Error::new(Kind::Source, message));
        }
        self.run(access, at, &["checkout", "--quiet", "--force", "--detach", commit])?;
        if !git.skip_submodules && files.join(".gitmodules").is_file() {
            self.run(access, at, &["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        let time = self.run(access, at, &["show", "--no-patch", "--format=%ct", commit])?;
        fs::write(made.join("time"), &time).at("write", made)?;
        if !keep {
            remove_git_dirs(&files)?;
        }
        match time.trim().parse::<u64>() {
            Ok(seconds) if git.commit_time => set_times(&files, UNIX_EPOCH + Duration::from_secs(seconds)),
            _ => Ok(()),
        }
    }

    fn run(&self, access: &Access, at: Option<&Path>, args: &[&str]) -> Result<String> {
        let missing = "install git, which brings repositories";
        // The modes of checked out files appear in the image.
        let helper = Helper::new("git").umask(base::umask::USUAL).limit(LIMIT).largest(LARGEST_LIST).or_else(missing);
        let helper = helper.with(|command| {
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
                .env("GIT_SSH_COMMAND", SSH)
                .env("GIT_HTTP_LOW_SPEED_LIMIT", "1")
                .env("GIT_HTTP_LOW_SPEED_TIME", SLOWEST)
                .env("LC_ALL", "C")
                .env("HOME", "/nonexistent");
            if let Some(agent) = &self.agent {
                command.env("SSH_AUTH_SOCK", agent);
            }
            // In the environment, which is ours alone, and not among the arguments, which everyone can read.
            let settings = settings(access);
            for (number, (key, value)) in settings.iter().enumerate() {
                command.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
            }
            command.env("GIT_CONFIG_COUNT", settings.len().to_string());
            if let Some(at) = at {
                command.current_dir(at);
            }
            command.args(args);
        });
        let ended = helper.run(self.stop)?;
        if ended.status.success() {
            return Ok(String::from_utf8_lossy(&ended.output).into_owned());
        }
        let why = ended.reason();
        let error = Error::new(Kind::Source, format!("git cannot {} {}", args[0], access.url)).because(why);
        Err(error.hint("a private repository needs `--secret id=GIT_AUTH_TOKEN,...`, or `--ssh default`"))
    }

    /// The way to reach a repository.
    fn access(&self, git: &Git) -> Access {
        let url = git.url.bare();
        let mut access = Access { authorization: self.authorization(git, &url), end: url.clone(), url };
        if access.authorization.is_some() {
            self.follow(&mut access);
        }
        access
    }

    fn authorization(&self, git: &Git, url: &str) -> Option<String> {
        let origin = origin(url).filter(|_| is_http(url))?;
        let host = origin.split_once("://")?.1;
        let get = |name: &str| {
            let found = (self.secret)(&format!("{name}.{host}")).or_else(|| (self.secret)(name));
            found.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty() && !text.contains('\n'))
        };
        let basic = |user: &User| format!("basic {}", encoded(user));
        let secret = || {
            let token = |token| User { name: "x-access-token".to_owned(), password: Some(token) };
            get("GIT_AUTH_HEADER").or_else(|| get("GIT_AUTH_TOKEN").map(|text| basic(&token(text))))
        };
        let user = git.url.user();
        // A password in the URL is for this repository; a name alone may be a general one.
        match &user {
            Some(user) if user.password.is_some() => Some(basic(user)),
            _ => secret().or_else(|| user.as_ref().map(basic)),
        }
    }

    /// Follows the redirects of a server with credentials, because git would send the credentials
    /// to any target. They are sent only to the origin that they belong to.
    fn follow(&self, access: &mut Access) {
        let first = origin(&access.url);
        let mut at = format!("{}{LIST}", access.url);
        for _ in 0..MOST_REDIRECTS {
            let Ok(agent) = self.settings.agent(&at, false) else { return };
            let mut request = agent.get(&at);
            if let Some(authorization) = access.authorization.as_ref().filter(|_| origin(&at) == first) {
                request = request.header("authorization", authorization);
            }
            // git makes the same request and reports the error.
            let Ok(answer) = request.call() else { return };
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                break;
            }
            let to = answer.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or("");
            let Some(next) = joined(&at, to).map(|next| Url::new(&next).bare()) else { return };
            at = next;
        }
        let Some(end) = at.split('?').next().and_then(|at| at.strip_suffix("/info/refs")) else { return };
        if origin(end) != first {
            access.authorization = None;
        }
        access.end = end.to_owned();
    }
}

/// The way to reach a repository.
struct Access {
    /// The URL without a password, as it is visible in `.git/config` and in the process list.
    url: String,
    /// The URL after redirects.
    end: String,
    /// The value of the header.
    authorization: Option<String>,
}

/// git's first request (gitprotocol-http(5)).
const LIST: &str = "/info/refs?service=git-upload-pack";
/// The most redirects that are followed.
const MOST_REDIRECTS: u32 = 10;

/// The configuration for git, which reads no other.
fn settings(access: &Access) -> Vec<(String, String)> {
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
    if access.end != access.url {
        all.push(set(&format!("url.{}.insteadOf", access.end), &access.url));
    }
    if let (Some(value), Some(origin)) = (&access.authorization, origin(&access.url)) {
        all.push((format!("http.{origin}/.extraheader"), format!("Authorization: {value}")));
        // git would send the header to the target of a redirect.
        all.push((format!("http.{origin}/.followRedirects"), "false".to_owned()));
    }
    all
}

fn is_http(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Accepts the names that git accepts (git-check-ref-format(1)), except those that look like an
/// option.
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

/// The requested part of a checkout. Links on the way are not followed, as they could lead out.
fn inside(files: &Path, subdir: &str, git: &Git) -> Result<PathBuf> {
    let mut path = files.to_owned();
    for part in subdir.split('/').filter(|part| !part.is_empty()) {
        path.push(part);
        let found = fs::symlink_metadata(&path);
        if !found.is_ok_and(|found| found.is_dir()) || part == ".." {
            let message = format!("repository {} has no directory `{subdir}`", git.url);
            return Err(Error::new(Kind::Source, message).hint("links are not followed there"));
        }
    }
    Ok(path)
}

/// Removes `.git`: the directory of the repository, and the files in submodules.
fn remove_git_dirs(dir: &Path) -> Result<()> {
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).at("list", &dir)? {
            let entry = entry.at("list", &dir)?;
            let kind = entry.file_type().at("look at", entry.path())?;
            match (entry.file_name() == ".git", kind.is_dir()) {
                (true, true) => remove_tree(&entry.path()).at("remove", entry.path())?,
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
