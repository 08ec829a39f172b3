//! Debian's docker-registry on a port of its own, and a proxy before it that breaks what it is told to break.
#![allow(clippy::zombie_processes, dead_code)]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

pub const USER: &str = "rig";
pub const PASSWORD: &str = "hunter2-secret";
/// bcrypt of PASSWORD.
const HASH: &str = "$2b$04$qWTlbOZDA83mLjNtag9Ep.R11TNcwDkd1JGs2m1MyohUZQZlkuzuu";
pub const IDENTITY: &str = "identity-of-the-rig";
const TOKEN: &str = "token-of-the-rig";

/// A registry that ends with its test.
pub struct Registry {
    child: Child,
    dir: tempfile::TempDir,
    pub port: u16,
}

impl Registry {
    pub fn start(password: bool) -> Registry {
        Registry::start_with(password, "")
    }

    /// `tls` is added to `http:` in its configuration, such as `, tls: {...}`.
    pub fn start_with(password: bool, tls: &str) -> Registry {
        let (dir, port) = (tempfile::tempdir().unwrap(), super::common::free_port());
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("htpasswd"), format!("{USER}:{HASH}\n")).unwrap();
        let auth = if password {
            format!("auth: {{htpasswd: {{realm: rig, path: {}}}}}\n", at("htpasswd"))
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: false}}, level: error}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: '127.0.0.1:{port}'{tls}}}\n{auth}",
            at("data")
        );
        std::fs::write(at("config.yml"), config).unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        let program = if std::path::Path::new("/usr/bin/docker-registry").exists() {
            "/usr/bin/docker-registry"
        } else {
            "docker-registry"
        };
        let child = Command::new(program)
            .args(["serve", &at("config.yml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut registry = Registry { child, dir, port };
        for _ in 0..200 {
            if registry.child.try_wait().unwrap().is_some() {
                break;
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return registry;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("the registry does not start: {}", std::fs::read_to_string(registry.dir.path().join("log")).unwrap());
    }

    pub fn name(&self, rest: &str) -> String {
        format!("localhost:{}/{rest}", self.port)
    }

    /// `METHOD address status`, one a line.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        let line = |line: &str| {
            let (_, rest) = line.split_once('"')?;
            let (request, rest) = rest.split_once('"')?;
            Some(format!("{} {}\n", request.trim_end_matches(" HTTP/1.1"), rest.split_whitespace().next()?))
        };
        text.lines().filter_map(line).collect()
    }

    /// Removes its layers. Its manifests and configs stay.
    pub fn lose_blobs(&self) {
        let blobs = self.dir.path().join("data/docker/registry/v2/blobs/sha256");
        for folder in
            std::fs::read_dir(&blobs).unwrap().flat_map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap())
        {
            let data = folder.unwrap().path().join("data");
            if std::fs::read(&data).unwrap().starts_with(&[0x1f, 0x8b]) {
                std::fs::remove_file(data).unwrap();
            }
        }
    }

    /// The tags of a repository.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let folder = self.dir.path().join(format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags"));
        let tags = std::fs::read_dir(folder).unwrap().flatten();
        tags.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// A tag is gone, as if somebody had removed it.
    pub fn forget(&self, repository: &str, tag: &str) {
        let folder = self.dir.path().join(format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags"));
        std::fs::remove_dir_all(folder.join(tag)).unwrap();
    }

    /// Counts the blobs that were sent to a repository byte by byte.
    pub fn uploads(&self, repository: &str) -> usize {
        self.log().lines().filter(|line| line.starts_with(&format!("PUT /v2/{repository}/blobs/uploads/"))).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Happens once, to the first request that it fits.
#[derive(Clone)]
pub struct Fault {
    method: &'static str,
    part: &'static str,
    what: What,
}

#[derive(Clone)]
enum What {
    /// Answered so.
    Status(u16),
    /// So many bytes of the body go through, then the connection is gone.
    Cut(usize),
    /// The same, but what went through is kept, as the specification has it. (Debian's registry knows only what it has confirmed.)
    Keep(usize),
    /// The query does not go through.
    Forget,
    /// The answer names another digest.
    Lie,
    /// To another port.
    Redirect(u16),
    /// So many bytes of the answer go through, then the connection is gone.
    Break(usize),
    /// The answer says that it is so many bytes longer than it is.
    Longer(usize),
    /// The last byte of the answer is another.
    Corrupt,
    /// Nothing is answered for so many seconds.
    Hang(u64),
    /// The answer comes so many milliseconds later.
    Slow(u64),
    /// Somebody on the way answers with a page to log in.
    Page,
}

impl Fault {
    pub fn status(method: &'static str, part: &'static str, status: u16) -> Fault {
        Fault { method, part, what: What::Status(status) }
    }
    pub fn cut(method: &'static str, part: &'static str, bytes: usize) -> Fault {
        Fault { method, part, what: What::Cut(bytes) }
    }
    pub fn keep(method: &'static str, part: &'static str, bytes: usize) -> Fault {
        Fault { method, part, what: What::Keep(bytes) }
    }
    pub fn forget(method: &'static str, part: &'static str) -> Fault {
        Fault { method, part, what: What::Forget }
    }
    pub fn lie(method: &'static str, part: &'static str) -> Fault {
        Fault { method, part, what: What::Lie }
    }
    pub fn broken(method: &'static str, part: &'static str, bytes: usize) -> Fault {
        Fault { method, part, what: What::Break(bytes) }
    }
    pub fn longer(method: &'static str, part: &'static str, bytes: usize) -> Fault {
        Fault { method, part, what: What::Longer(bytes) }
    }
    pub fn corrupt(method: &'static str, part: &'static str) -> Fault {
        Fault { method, part, what: What::Corrupt }
    }
    pub fn hang(method: &'static str, part: &'static str, seconds: u64) -> Fault {
        Fault { method, part, what: What::Hang(seconds) }
    }
    pub fn slow(method: &'static str, part: &'static str, milliseconds: u64) -> Fault {
        Fault { method, part, what: What::Slow(milliseconds) }
    }
    pub fn page(method: &'static str, part: &'static str) -> Fault {
        Fault { method, part, what: What::Page }
    }
    pub fn redirect(method: &'static str, part: &'static str, port: u16) -> Fault {
        Fault { method, part, what: What::Redirect(port) }
    }
}

/// A proxy before a registry.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    port: u16,
    behind: u16,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<String>,
    /// Where uploads go on that were kept.
    moved: Mutex<HashMap<String, String>>,
    /// Nothing goes through without TOKEN and its number, which is good for so many requests.
    guarded: Option<usize>,
    /// For how many requests each token is still good, by its number.
    tokens: Mutex<Vec<usize>>,
}

impl Proxy {
    pub fn start(registry: &Registry, faults: Vec<Fault>) -> Proxy {
        Proxy::serve(registry, faults, None)
    }

    /// One that asks for a token, which it gives to USER and to IDENTITY.
    pub fn guarded(registry: &Registry) -> Proxy {
        Proxy::serve(registry, Vec::new(), Some(usize::MAX))
    }

    /// The same, but each of its tokens is good for so many requests.
    pub fn forgetful(registry: &Registry, uses: usize) -> Proxy {
        Proxy::serve(registry, Vec::new(), Some(uses))
    }

    fn serve(registry: &Registry, faults: Vec<Fault>, guarded: Option<usize>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            port,
            behind: registry.port,
            faults: Mutex::new(faults),
            log: Mutex::default(),
            moved: Mutex::default(),
            guarded,
            tokens: Mutex::default(),
        };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || answer(&state, stream));
            }
        });
        Proxy { port, state }
    }

    pub fn name(&self, rest: &str) -> String {
        format!("localhost:{}/{rest}", self.port)
    }

    /// `[FAULT ]METHOD path [content-range=...] [authorization=...]`, one a line.
    pub fn log(&self) -> String {
        self.state.log.lock().unwrap().clone()
    }
}

/// One request, one connection.
fn answer(state: &State, mut client: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let (mut headers, mut head) = (HashMap::new(), String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((key, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(key.to_lowercase(), value.trim().to_owned());
        if !key.eq_ignore_ascii_case("connection") {
            head.push_str(&line);
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut faults = state.faults.lock().unwrap();
    let fits = |fault: &Fault| {
        let long = !matches!(fault.what, What::Cut(bytes) | What::Keep(bytes) if length < bytes);
        fault.method == method && path.contains(fault.part) && long
    };
    let hit = faults.iter().position(fits);
    let hit = hit.map(|at| faults.remove(at));
    let fault = hit.as_ref().map(|hit| hit.what.clone());
    drop(faults);
    let mut line = format!("{}{method} {path}", if fault.is_some() { "FAULT " } else { "" });
    for key in ["content-range", "authorization"] {
        headers.get(key).into_iter().for_each(|value| line.push_str(&format!(" {key}={value}")));
    }
    state.log.lock().unwrap().push_str(&(line + "\n"));

    let mut reply = |status: &str, more: &str, body: &str| {
        let text =
            format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        client.write_all(text.as_bytes()).ok()
    };
    let authorization = headers.get("authorization").map(String::as_str).unwrap_or_default();
    if let (Some(uses), true) = (state.guarded, path.starts_with("/token")) {
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).unwrap();
        let basic = "Basic cmlnOmh1bnRlcjItc2VjcmV0";
        let well =
            if method == "POST" { body.contains(&format!("refresh_token={IDENTITY}")) } else { authorization == basic };
        let field = if method == "POST" { "access_token" } else { "token" };
        return match well {
            true => {
                let mut tokens = state.tokens.lock().unwrap();
                tokens.push(uses);
                reply("200 OK", "", &format!("{{\"{field}\": \"{TOKEN}-{}\"}}", tokens.len() - 1))
            }
            false => reply("401 Unauthorized", "", "{}"),
        };
    }
    if let Some(What::Slow(milliseconds)) = fault {
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
    }
    if matches!(fault, Some(What::Status(_) | What::Redirect(_) | What::Page)) || state.guarded.is_some() {
        let denied = state.guarded.is_some() && {
            let number =
                authorization.strip_prefix(&format!("Bearer {TOKEN}-")).and_then(|text| text.parse::<usize>().ok());
            let mut tokens = state.tokens.lock().unwrap();
            let left = number.and_then(|number| tokens.get_mut(number)).filter(|left| **left > 0);
            let well = left.map(|left| *left -= 1).is_some();
            !well
        };
        if denied || fault.is_some() {
            std::io::copy(&mut (&mut reader).take(length as u64), &mut std::io::sink()).ok()?;
        }
        match fault {
            Some(What::Status(status)) => return reply(&format!("{status} Fault"), "Retry-After: 0\r\n", "{}"),
            Some(What::Page) => return reply("200 OK", "Content-Type: text/html\r\n", "<html>log in</html>"),
            Some(What::Redirect(port)) => {
                return reply("307 Elsewhere", &format!("Location: http://127.0.0.1:{port}{path}\r\n"), "");
            }
            _ if denied => {
                let ask = format!(
                    "WWW-Authenticate: Bearer realm=\"http://localhost:{}/token\",service=\"rig\"\r\n",
                    state.port
                );
                return reply("401 Unauthorized", &ask, "{}");
            }
            _ => {}
        }
    }
    let path = match fault {
        Some(What::Forget) => path.split('?').next()?.to_owned(),
        _ => state.moved.lock().unwrap().get(&path).cloned().unwrap_or(path),
    };
    let mut behind = TcpStream::connect(("127.0.0.1", state.behind)).ok()?;
    if let Some(What::Keep(bytes)) = fault {
        let place = path.split("&digest=").next()?.to_owned();
        let mut part = vec![0; bytes];
        reader.read_exact(&mut part).ok()?;
        write!(behind, "PATCH {place} HTTP/1.1\r\nHost: localhost:{}\r\nContent-Length: {bytes}\r\n", state.port)
            .ok()?;
        behind.write_all(b"Content-Type: application/octet-stream\r\nConnection: close\r\n\r\n").ok()?;
        behind.write_all(&part).ok()?;
        let mut answer = String::new();
        behind.read_to_string(&mut answer).ok()?;
        let next = answer.lines().find_map(|line| line.strip_prefix("Location: "))?;
        let next = next.split_once("/v2/").map(|(_, rest)| format!("/v2/{rest}"))?;
        state.moved.lock().unwrap().insert(place, next);
        return client.shutdown(Shutdown::Both).ok();
    }
    if let Some(What::Hang(seconds)) = fault {
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        return client.shutdown(Shutdown::Both).ok();
    }
    let lie = matches!(fault, Some(What::Lie));
    if let Some(What::Cut(bytes)) = fault {
        write!(behind, "{method} {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n").ok()?;
        std::io::copy(&mut (&mut reader).take(bytes as u64), &mut behind).ok()?;
        // The registry keeps what it has when its client goes; it gets the time to notice.
        behind.shutdown(Shutdown::Write).ok()?;
        std::io::copy(&mut behind, &mut std::io::sink()).ok()?;
        return client.shutdown(Shutdown::Both).ok();
    }
    write!(behind, "{method} {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n").ok()?;
    std::io::copy(&mut (&mut reader).take(length as u64), &mut behind).ok()?;
    let mut answer = Vec::new();
    behind.read_to_end(&mut answer).ok()?;
    if lie {
        let text = String::from_utf8_lossy(&answer).into_owned();
        match text.split_once("Docker-Content-Digest: sha256:") {
            Some((before, _)) => {
                let at = before.len() + "Docker-Content-Digest: sha256:".len();
                answer[at..at + 64].fill(b'0');
            }
            // The registry refuses by itself and names no digest: the next answer lies.
            None => state.faults.lock().unwrap().extend(hit),
        }
    }
    let body = answer.windows(4).position(|part| part == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    match fault {
        Some(What::Break(bytes)) => answer.truncate(body + bytes),
        Some(What::Corrupt) if answer.len() > body => *answer.last_mut()? ^= 1,
        Some(What::Longer(bytes)) => {
            let head = String::from_utf8_lossy(&answer[..body]).into_owned();
            let (before, rest) = head.split_once("Content-Length: ")?;
            let (length, after) = rest.split_once("\r\n")?;
            let longer = length.parse::<usize>().ok()? + bytes;
            let head = format!("{before}Content-Length: {longer}\r\n{after}");
            answer.splice(..body, head.into_bytes());
        }
        _ => {}
    }
    client.write_all(&answer).ok()
}
