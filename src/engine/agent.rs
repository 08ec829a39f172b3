//! `RUN --mount=type=ssh`: a socket in the step's container behind which is an ssh agent of the user. Of the agent's
//! protocol (draft-ietf-sshm-ssh-agent) only two requests pass: which keys there are, and sign this; a step can neither
//! add keys nor take any away. Knows nothing of mounts: it makes a socket on the host that others mount.
//!
//! The socket lies in a folder of its own among the store's temporary files and goes with its `Forward`.

use crate::error::{At as _, Error, Kind, Result};
use crate::store::Store;
use std::io::{Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// What `--ssh` gave for an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// An agent's socket, or one key file or more.
    pub paths: Vec<PathBuf>,
    /// Everything passes: the socket need not be an agent's.
    pub raw: bool,
}

/// A longer message is an attack: a signature request holds what is signed, which is some hundred bytes.
const LONGEST: usize = 256 * 1024;
/// Connections of one step at once.
const MOST_CONNECTIONS: usize = 64;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;

/// A socket with somebody who answers.
#[derive(Debug)]
pub struct Forward {
    folder: PathBuf,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Holds keys that came as files.
    own: Option<Child>,
}

impl Forward {
    /// Begins to answer.
    pub fn begin(store: &Store, agent: &Agent) -> Result<Forward> {
        let folder = store.temp("ssh");
        std::fs::create_dir(&folder).at("make", &folder)?;
        let mut forward = Forward { folder, ended: Arc::default(), thread: None, own: None };
        let behind = match agent.paths.as_slice() {
            [one] if is_socket(one) => one.clone(),
            keys => forward.hold(keys)?,
        };
        let listener = forward.listen()?;
        let (raw, ended) = (agent.raw, Arc::clone(&forward.ended));
        let thread = std::thread::Builder::new().name("ssh".to_owned());
        forward.thread =
            Some(thread.spawn(move || serve(&listener, &behind, raw, &ended)).at("start a thread for", "--ssh")?);
        Ok(forward)
    }

    /// The socket to mount.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// By way of the folder's descriptor: a socket's path has at most 107 bytes (unix(7)).
    fn listen(&self) -> Result<UnixListener> {
        let folder = std::fs::File::open(&self.folder).at("open", &self.folder)?;
        UnixListener::bind(format!("/proc/self/fd/{}/socket", folder.as_raw_fd())).at("make a socket in", &self.folder)
    }

    /// Starts an agent of ours with key files.
    fn hold(&mut self, keys: &[PathBuf]) -> Result<PathBuf> {
        let socket = self.folder.join("agent");
        let missing = |cause| {
            Error::new(Kind::System, "cannot start `ssh-agent`, which holds keys that are given as files")
                .because(cause)
                .hint("install openssh-client, or start an agent yourself and write `--ssh default`")
        };
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = self.own.insert(command.spawn().map_err(missing)?);
        for _ in 0..500 {
            if is_socket(&socket) || child.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        for key in keys {
            let added = Command::new("ssh-add")
                .arg("--")
                .arg(key)
                .env("SSH_AUTH_SOCK", &socket)
                .env_remove("DISPLAY")
                .env("SSH_ASKPASS_REQUIRE", "never")
                .stdin(Stdio::null())
                .output()
                .map_err(missing)?;
            if !added.status.success() {
                let why = String::from_utf8_lossy(&added.stderr).trim().to_owned();
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
        self.ended.store(true, Ordering::SeqCst);
        // Whoever waits for a connection gets one.
        if let Ok(folder) = std::fs::File::open(&self.folder) {
            let _ = UnixStream::connect(format!("/proc/self/fd/{}/socket", folder.as_raw_fd()));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(child) = &mut self.own {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether a path is a socket.
pub fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn serve(listener: &UnixListener, behind: &Path, raw: bool, ended: &Arc<AtomicBool>) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if ended.load(Ordering::SeqCst) {
            return;
        }
        let (Ok(step), Ok(agent)) = (stream, UnixStream::connect(behind)) else { continue };
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let open = Arc::clone(&open);
        let done = move || {
            // Whatever ends a connection ends it for both sides; there is nobody to tell.
            let _ = if raw { pass_all(&step, &agent) } else { pass_requests(step, agent) };
            open.fetch_sub(1, Ordering::SeqCst);
        };
        let _ = std::thread::Builder::new().name("ssh connection".to_owned()).spawn(done);
    }
}

/// Message by message: a length, a type, the rest.
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
                let _ = to.shutdown(std::net::Shutdown::Write);
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
