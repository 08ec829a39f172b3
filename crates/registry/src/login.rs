//! Credentials in Docker's format: `auths`, `credHelpers` and `credsStore` of config.json
//! (docs.docker.com, "docker login").
//!
//! ```text
//! $DOCKER_CONFIG/config.json, else ~/.docker/config.json
//!   {"auths": {"r.io": {"auth": base64 of user:password, "identitytoken": ...}},
//!    "credHelpers": {"r.io": "x"}, "credsStore": "y"}
//! ```
//! A credential is for one host and port. It is never printed, neither by `Debug` nor in an error.

use super::helper;
use base::error::{At, Error, Kind, Result};
use base::outside;
use base::read;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sandbox::Stop;
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The largest config.json that is read, in bytes.
const LARGEST_FILE: u64 = 4 << 20;
/// The key of Docker Hub in the file and for helpers.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A credential for a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password.
    Password {
        /// The user name. It holds no colon.
        user: String,
        /// The password.
        password: String,
    },
    /// An OAuth2 refresh token.
    Identity(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(...)")
    }
}

/// The stored credentials. The file is read on each request, not before.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    /// The path of config.json.
    pub file: Option<PathBuf>,
    /// Ends a credential helper.
    pub stop: Stop,
}

/// Where a credential was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file, unencrypted.
    File(PathBuf),
    /// In the store of this helper.
    Helper(String),
}

impl Logins {
    /// The credential for a registry, if there is one.
    pub fn get(&self, registry: &str) -> Result<Option<Credential>> {
        let Some(file) = &self.file else { return Ok(None) };
        let config = load(file)?;
        if let Some(name) = helper_of(&config, registry)
            && let Some(found) = helper::get(&name, &key_of(registry), &self.stop)?
        {
            return Ok(Some(found));
        }
        let auths = config.get("auths").and_then(Value::as_object);
        let entry = auths.into_iter().flatten().find(|(key, entry)| is_for(key, registry) && has_something(entry));
        entry.map(|(_, entry)| credential(entry)).transpose().map_err(|why| {
            let message = format!("`{}`: the entry of {registry} can't be read", file.display());
            Error::new(Kind::Usage, message).because(why).hint(format!("`kiln login {registry}` writes it anew"))
        })
    }

    /// Stores a credential: with the helper that the file names, else in the file.
    pub fn put(&self, registry: &str, credential: &Credential) -> Result<Place> {
        let file = self.place()?;
        let mut config = load(file)?;
        let helper = helper_of(&config, registry);
        let entry = match (&helper, credential) {
            (Some(name), _) => {
                helper::store(name, &key_of(registry), credential, &self.stop)?;
                json!({})
            }
            (None, Credential::Password { user, password }) => {
                json!({"auth": BASE64_STANDARD.encode(format!("{user}:{password}"))})
            }
            (None, Credential::Identity(token)) => {
                json!({"auth": BASE64_STANDARD.encode("00000000-0000-0000-0000-000000000000:"), "identitytoken": token})
            }
        };
        let auths = auths(&mut config, file)?;
        auths.retain(|key, _| !is_for(key, registry));
        auths.insert(key_of(registry), entry);
        write(file, &config)?;
        Ok(helper.map_or_else(|| Place::File(file.clone()), Place::Helper))
    }

    /// Removes a registry's credential. Returns false if there was none.
    pub fn remove(&self, registry: &str) -> Result<bool> {
        let file = self.place()?;
        let mut config = load(file)?;
        let mut had = false;
        if let Some(name) = helper_of(&config, registry) {
            had = helper::get(&name, &key_of(registry), &self.stop)?.is_some();
            if had {
                helper::erase(&name, &key_of(registry), &self.stop)?;
            }
        }
        if config.get("auths").is_some() {
            let auths = auths(&mut config, file)?;
            let before = auths.len();
            auths.retain(|key, _| !is_for(key, registry));
            if auths.len() < before {
                had = true;
                write(file, &config)?;
            }
        }
        Ok(had)
    }

    fn place(&self) -> Result<&PathBuf> {
        self.file.as_ref().ok_or_else(|| {
            Error::new(Kind::Usage, "there is no place for credentials").hint("set DOCKER_CONFIG or HOME")
        })
    }
}

/// The key of a registry in the file.
fn key_of(registry: &str) -> String {
    if registry == "docker.io" { DOCKER_HUB.to_owned() } else { registry.to_owned() }
}

/// True if a key of the file is for exactly this host and port. Older files have URLs as keys.
fn is_for(key: &str, registry: &str) -> bool {
    let host = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = host.split('/').next().unwrap_or_default();
    match registry {
        "docker.io" => matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io"),
        registry => host.eq_ignore_ascii_case(registry),
    }
}

/// An empty entry means that a helper has the credential.
fn has_something(entry: &Value) -> bool {
    entry.as_object().is_some_and(|fields| !fields.is_empty())
}

fn helper_of(config: &Map<String, Value>, registry: &str) -> Option<String> {
    let own = config.get("credHelpers").and_then(Value::as_object).into_iter().flatten();
    let own = own.filter(|(key, _)| is_for(key, registry)).map(|(_, name)| name).next();
    own.or_else(|| config.get("credsStore"))?.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn credential(entry: &Value) -> Result<Credential, &'static str> {
    let text = |key: &str| entry[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(token) = text("identitytoken") {
        return Ok(Credential::Identity(token));
    }
    if let (Some(user), Some(password)) = (text("username"), text("password")) {
        return Ok(Credential::Password { user, password });
    }
    let bytes = BASE64_STANDARD.decode(text("auth").ok_or("there is no `auth`")?).map_err(|_| "`auth` is no base64")?;
    let both = String::from_utf8(bytes).map_err(|_| "`auth` is no text")?;
    let (user, password) = both.split_once(':').ok_or("`auth` has no colon")?;
    Ok(Credential::Password { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() })
}

fn load(file: &Path) -> Result<Map<String, Value>> {
    let opened = match std::fs::File::open(file) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        opened => opened.at("open", file)?,
    };
    let bad = || Error::new(Kind::Usage, format!("`{}` is no config file of Docker", file.display()));
    let bytes = read::at_most(LARGEST_FILE, opened).at("read", file)?;
    let bytes = bytes.ok_or_else(|| bad().because("it is too large"))?;
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    // The parser's message might quote the content, so the error gives only line and column.
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(config)) => Ok(config),
        Ok(_) => Err(bad().because("it holds no object")),
        Err(cause) => Err(bad().because(format!("line {}, column {}", cause.line(), cause.column()))),
    }
}

fn auths<'a>(config: &'a mut Map<String, Value>, file: &Path) -> Result<&'a mut Map<String, Value>> {
    config.entry("auths").or_insert_with(|| json!({})).as_object_mut().ok_or_else(|| {
        Error::new(Kind::Usage, format!("`{}` is no config file of Docker", file.display()))
            .because("`auths` is no object")
    })
}

/// Writes the file. Everything else in it stays. At every moment only its owner can read it.
fn write(file: &Path, config: &Map<String, Value>) -> Result<()> {
    // If the file is a symbolic link, its target is replaced and the link stays.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if let Some(dir) = file.parent() {
        outside::create_dir_all(dir).at("make", dir)?;
    }
    let mut name = file.clone().into_os_string();
    name.push(format!(".kiln-{}", std::process::id()));
    let temp = PathBuf::from(name);
    let mut text = serde_json::to_string_pretty(config)
        .map_err(|_| Error::new(Kind::System, format!("cannot write `{}`", file.display())))?;
    text.push('\n');
    let _ = std::fs::remove_file(&temp);
    let done = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temp)
        .and_then(|mut to| to.write_all(text.as_bytes()).and_then(|()| to.sync_all()))
        .and_then(|()| std::fs::rename(&temp, &file));
    if done.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    done.at("write", &file)
}

#[cfg(test)]
mod tests;
