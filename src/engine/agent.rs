//! `RUN --mount=type=ssh`: a socket in the step's container that forwards to an ssh agent of the
//! user. Only two requests of the agent's protocol (draft-ietf-sshm-ssh-agent) pass: list the keys,
//! and sign data. A step can neither add nor remove keys. This module does not know mounts: it
//! makes a socket on the host for others to mount.
//!
//! The socket is in a directory of its own (0700, whatever mode the mount asks for) among the
//! store's temporary files, and is removed with its `Forward`. An agent that does not answer delays
//! only its own connection, as only the thread of that connection waits for it. The end of the
//! `Forward` closes all connections.

use base::error::{At as _, Error, Kind, Result};
use base::sync::lock;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use sandbox::Stop;
use sandbox::helper::Helper;
use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use store::Store;
use store::remove::remove_tree;

/// The value of `--ssh` for an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The socket of an agent, or one or more key files.
    pub paths: Vec<PathBuf>,
    /// True if all bytes pass, also to a socket that is no agent's.
    pub raw: bool,
}

/// The longest message in bytes. A signature request contains the signed data, which is a few
/// hundred bytes.
const LONGEST: usize = 256 * 1024;
/// The most open connections of one step.
const MOST_CONNECTIONS: usize = 64;
/// The time in which an agent must start, and accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// The pause before the next try after an error.
const PAUSE: Duration = Duration::from_millis(20);

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;

/// A socket whose connections are forwarded to an agent.
#[derive(Debug)]
pub struct Forward {
    folder: PathBuf,
    listener: Option<Arc<UnixListener>>,
    connections: Arc<Connections>,
    thread: Option<JoinHandle<()>>,
    /// kiln's own agent for keys that are given as files.
    own: Option<Child>,
}

/// The open connections by number, each with the streams to shut down at the end of the `Forward`.
#[derive(Debug, Default)]
struct Connections(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    streams: HashMap<u64, Vec<UnixStream>>,
    ended: bool,
}

impl Forward {
    /// Starts forwarding.
    pub fn begin(store: &Store, agent: &Agent, stop: &Stop) -> Result<Forward> {
        let folder = store.temp("ssh");
        DirBuilder::new().mode(0o700).create(&folder).at("make", &folder)?;
        let mut forward = Forward { folder, listener: None, connections: Arc::default(), thread: None, own: None };
        let behind = match agent.paths.as_slice() {
            [one] if is_socket(one) => one.clone(),
            keys => forward.hold(keys, stop)?,
        };
        let listener = Arc::clone(forward.listener.insert(Arc::new(forward.listen()?)));
        let (raw, connections) = (agent.raw, Arc::clone(&forward.connections));
        let thread = std::thread::Builder::new().name("ssh".to_owned());
        let serve = move || serve(&listener, &behind, raw, &connections);
        forward.thread = Some(thread.spawn(serve).at("start a thread for", "--ssh")?);
        Ok(forward)
    }

    /// The socket to mount.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// Binds the socket through the directory's descriptor, because the path of a socket has at
    /// most 107 bytes (unix(7)).
    fn listen(&self) -> Result<UnixListener> {
        let folder = File::open(&self.folder).at("open", &self.folder)?;
        UnixListener::bind(format!("/proc/self/fd/{}/socket", folder.as_raw_fd())).at("make a socket in", &self.folder)
    }

    /// Starts an agent for key files.
    fn hold(&mut self, keys: &[PathBuf], stop: &Stop) -> Result<PathBuf> {
        let socket = self.folder.join("agent");
        let missing = "install openssh-client, or start an agent yourself and write `--ssh default`";
        let agent = Helper::new("ssh-agent").with(|command| _ = command.arg("-D").arg("-a").arg(&socket));
        let child = self.own.insert(agent.or_else(missing).start()?);
        let began = Instant::now();
        while !is_socket(&socket) {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(Error::new(Kind::System, format!("`ssh-agent` has ended ({status})")).hint(missing));
            }
            if began.elapsed() > CONNECT {
                return Err(Error::new(Kind::System, "`ssh-agent` makes no socket").hint(missing));
            }
            stop.sleep(PAUSE)?;
        }
        for key in keys {
            let added = Helper::new("ssh-add").or_else(missing).with(|command| {
                command.arg("--").arg(key).env("SSH_AUTH_SOCK", &socket);
                command.env_remove("DISPLAY").env("SSH_ASKPASS_REQUIRE", "never");
            });
            let added = added.run(&|| stop.is_stopped())?;
            if !added.status.success() {
                let why = added.reason();
                return Err(Error::new(Kind::Usage, format!("--ssh: cannot read the key `{}`", key.display()))
                    .because(why)
                    .hint("a key with a passphrase needs an agent of yours: `ssh-add KEY`, then `--ssh default`"));
            }
        }
        Ok(socket)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.connections.end();
        if let Some(listener) = &self.listener {
            // Ends the accept(2) of the thread, even if the path of the socket is gone.
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(child) = &mut self.own {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = remove_tree(&self.folder);
    }
}

impl Connections {
    /// Registers a connection with the step; `None` if there are too many, or after the end.
    fn begin(&self, step: &UnixStream) -> Option<u64> {
        let mut open = lock(&self.0);
        if open.ended || open.streams.len() >= MOST_CONNECTIONS {
            return None;
        }
        let number = open.next;
        open.next += 1;
        open.streams.insert(number, vec![step.try_clone().ok()?]);
        Some(number)
    }

    /// Adds the stream to the agent; `None` after the end.
    fn add(&self, number: u64, agent: &UnixStream) -> Option<()> {
        lock(&self.0).streams.get_mut(&number)?.push(agent.try_clone().ok()?);
        Some(())
    }

    fn ended(&self) -> bool {
        lock(&self.0).ended
    }

    fn remove(&self, number: u64) {
        lock(&self.0).streams.remove(&number);
    }

    /// Shuts all connections down, and refuses new ones.
    fn end(&self) {
        let mut open = lock(&self.0);
        open.ended = true;
        for stream in open.streams.drain().flat_map(|(_, streams)| streams) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// True if a path is a socket.
pub fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn serve(listener: &UnixListener, behind: &Path, raw: bool, connections: &Arc<Connections>) {
    loop {
        let step = match listener.accept() {
            Ok((step, _)) => step,
            Err(_) if connections.ended() => return,
            // Most likely the process has no free descriptor.
            Err(_) => {
                std::thread::sleep(PAUSE);
                continue;
            }
        };
        let Some(number) = connections.begin(&step) else { continue };
        let (shared, behind) = (Arc::clone(connections), behind.to_owned());
        let pass = move || {
            // An error on one side closes both; there is no way to report it.
            if let Ok(agent) = connect(&behind)
                && shared.add(number, &agent).is_some()
            {
                let _ = if raw { pass_all(&step, &agent) } else { pass_requests(step, agent) };
            }
            shared.remove(number);
        };
        if std::thread::Builder::new().name("ssh connection".to_owned()).spawn(pass).is_err() {
            connections.remove(number);
        }
    }
}

/// Connects within a time limit: connect(2) blocks while the queue of the other side is full.
fn connect(path: &Path) -> rustix::io::Result<UnixStream> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(CONNECT))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
    Ok(UnixStream::from(socket))
}

/// Forwards message by message: a length, a type, the rest.
fn pass_requests(mut step: UnixStream, mut agent: UnixStream) -> std::io::Result<()> {
    while let Some(request) = message(&mut step)? {
        if matches!(request.first(), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST))) {
            send(&mut agent, &request)?;
            let Some(answer) = message(&mut agent)? else { return Ok(()) };
            send(&mut step, &answer)?;
        } else {
            send(&mut step, &[FAILURE])?;
        }
    }
    Ok(())
}

fn message(from: &mut UnixStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > LONGEST {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

fn send(to: &mut UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(&[&(bytes.len() as u32).to_be_bytes(), bytes].concat())
}

fn pass_all(one: &UnixStream, two: &UnixStream) -> std::io::Result<()> {
    std::thread::scope(|scope| {
        for (mut from, mut to) in [(one.try_clone()?, two.try_clone()?), (two.try_clone()?, one.try_clone()?)] {
            scope.spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_may_ask_for_keys_and_signatures_and_for_nothing_else() {
        let (mut step, inner) = UnixStream::pair().expect("a pair");
        let (agent, mut user) = UnixStream::pair().expect("a pair");
        let passing = std::thread::spawn(move || pass_requests(inner, agent));
        for kind in [1_u8, 17, 18, 19, 20, 22, 27, 200] {
            send(&mut step, &[kind, 1, 2]).expect("sent");
            assert_eq!(message(&mut step).expect("read"), Some(vec![FAILURE]));
        }
        for kind in [REQUEST_IDENTITIES, SIGN_REQUEST] {
            send(&mut step, &[kind, 7]).expect("sent");
            assert_eq!(message(&mut user).expect("read"), Some(vec![kind, 7]));
            send(&mut user, &[kind + 1]).expect("sent");
            assert_eq!(message(&mut step).expect("read"), Some(vec![kind + 1]));
        }
        step.write_all(&u32::MAX.to_be_bytes()).expect("sent");
        assert_eq!(message(&mut step).expect("read"), None);
        assert!(passing.join().expect("ended").is_ok());
    }
}
