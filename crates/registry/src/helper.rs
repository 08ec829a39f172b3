//! `docker-credential-*`: programs that store credentials (protocol:
//! github.com/docker/docker-credential-helpers). A request goes to standard input, the answer comes
//! from standard output. Neither is ever printed.

use super::Credential;
use base::error::{Error, Kind, Result};
use sandbox::Stop;
use sandbox::helper::{Ended, Helper};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a helper may take: it may ask a person for a passphrase.
const LIMIT: Duration = Duration::from_secs(600);
/// The user name that says that the secret is an identity token.
const IDENTITY: &str = "<token>";
/// The answer of a helper that has no credential. The text is part of the protocol.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The credential for a server, if the helper has one.
pub(super) fn get(helper: &str, server: &str, stop: &Stop) -> Result<Option<Credential>> {
    let ended = run(helper, "get", server.as_bytes(), stop)?;
    let answer = String::from_utf8_lossy(&ended.output);
    if !ended.status.success() {
        return if answer.trim() == NOT_FOUND { Ok(None) } else { Err(failed(helper, "get").because(ended.reason())) };
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
pub(super) fn store(helper: &str, server: &str, credential: &Credential, stop: &Stop) -> Result<()> {
    let (user, secret) = match credential {
        Credential::Password { user, password } => (user.as_str(), password),
        Credential::Identity(token) => (IDENTITY, token),
    };
    let request = json!({"ServerURL": server, "Username": user, "Secret": secret}).to_string();
    well(helper, "store", run(helper, "store", request.as_bytes(), stop)?)
}

/// Makes the helper forget a server.
pub(super) fn erase(helper: &str, server: &str, stop: &Stop) -> Result<()> {
    well(helper, "erase", run(helper, "erase", server.as_bytes(), stop)?)
}

fn well(helper: &str, action: &str, ended: Ended) -> Result<()> {
    if ended.status.success() { Ok(()) } else { Err(failed(helper, action).because(ended.reason())) }
}

fn failed(helper: &str, action: &str) -> Error {
    Error::new(Kind::Source, format!("the credential helper `docker-credential-{helper}` failed to {action}"))
        .hint("run it by hand to see why, or take it out of Docker's config.json")
}

fn run(helper: &str, action: &str, request: &[u8], stop: &Stop) -> Result<Ended> {
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(Error::new(Kind::Usage, "the name of a credential helper in Docker's config.json is no word"));
    }
    let program = format!("docker-credential-{helper}");
    let missing = "install it, or take it out of Docker's config.json";
    let helper = Helper::new(&program).with(|command| _ = command.arg(action)).input(request);
    helper.limit(LIMIT).or_else(missing).run(&|| stop.is_interrupted()).map_err(|error| error.within(Kind::Source))
}
