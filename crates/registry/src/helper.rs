//! `docker-credential-*`: programs that store credentials (protocol:
//! github.com/docker/docker-credential-helpers). A request goes to standard input, the answer comes
//! from standard output. Neither is ever printed.

use super::Credential;
use base::error::{Error, Kind, Result};
use base::read;
use sandbox::sys::umask;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// The longest answer that is read, in bytes.
const LARGEST_ANSWER: u64 = 1 << 20;
/// The user name that says that the secret is an identity token.
const IDENTITY: &str = "<token>";
/// The answer of a helper that has no credential. The text is part of the protocol.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The credential for a server, if the helper has one.
pub(super) fn get(helper: &str, server: &str) -> Result<Option<Credential>> {
    let (well, answer) = run(helper, "get", server.as_bytes())?;
    if !well {
        return if answer.trim() == NOT_FOUND { Ok(None) } else { Err(failed(helper, "get")) };
    }
    let value: Value = serde_json::from_str(&answer).map_err(|_| failed(helper, "get"))?;
    let text = |key: &str| value[key].as_str().map(str::to_owned).ok_or_else(|| failed(helper, "get"));
    let (user, secret) = (text("Username")?, text("Secret")?);
    Ok(Some(if user == IDENTITY {
        Credential::Identity(secret)
    } else {
        Credential::Password { user, password: secret }
    }))
}

/// Stores a credential with the helper.
pub(super) fn store(helper: &str, server: &str, credential: &Credential) -> Result<()> {
    let (user, secret) = match credential {
        Credential::Password { user, password } => (user.as_str(), password),
        Credential::Identity(token) => (IDENTITY, token),
    };
    let request = json!({"ServerURL": server, "Username": user, "Secret": secret}).to_string();
    let (well, _) = run(helper, "store", request.as_bytes())?;
    if well { Ok(()) } else { Err(failed(helper, "store")) }
}

/// Makes the helper forget a server.
pub(super) fn erase(helper: &str, server: &str) -> Result<()> {
    let (well, _) = run(helper, "erase", server.as_bytes())?;
    if well { Ok(()) } else { Err(failed(helper, "erase")) }
}

fn failed(helper: &str, action: &str) -> Error {
    Error::new(Kind::Source, format!("the credential helper `docker-credential-{helper}` failed to {action}"))
        .hint("run it by hand to see why, or take it out of Docker's config.json")
}

fn run(helper: &str, action: &str, request: &[u8]) -> Result<(bool, String)> {
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(Error::new(Kind::Usage, "the name of a credential helper in Docker's config.json is no word"));
    }
    let program = format!("docker-credential-{helper}");
    let cannot = |cause: std::io::Error| {
        Error::new(Kind::Source, format!("cannot run the credential helper `{program}`"))
            .because(cause)
            .hint("install it, or take it out of Docker's config.json")
    };
    let mut command = Command::new(&program);
    umask::set_for(&mut command, base::umask::users());
    let mut child = command
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input still answers.
        let _ = input.write_all(request);
    }
    let answer = child.stdout.take().map(|output| read::at_most(LARGEST_ANSWER, output)).transpose();
    let status = child.wait().map_err(cannot)?;
    let answer = answer.map_err(cannot)?.flatten().ok_or_else(|| {
        let message = format!("the credential helper `{program}` answers more than {LARGEST_ANSWER} bytes");
        Error::new(Kind::Source, message)
    })?;
    Ok((status.success(), String::from_utf8_lossy(&answer).into_owned()))
}
