//! Credentials for registries: `kiln login`, `kiln logout`, and the settings of the environment for
//! other commands.

use super::args;
use super::request::Environment;
use crate::export::registry::{StoredPush, push as push_stored};
use base::attributes::Attributes;
use base::error::{At, Error, Kind, Result};
use base::read;
use layer::Layers;
use registry::config::Places;
use registry::login::Place;
use registry::{Client, Credential, Logins, Proxies, Reference, Settings};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use sandbox::Stop;
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;

/// The longest password in bytes.
const LONGEST: u64 = 64 << 10;

/// The settings for registries and credentials.
pub fn settings(env: &Environment<'_>) -> Settings {
    let set = |name: &str| (env.get)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")));
    let stop = Stop::default();
    let logins = Logins { file: folder.map(|folder| folder.join("config.json")), stop: stop.clone() };
    let home = set("HOME");
    let user = set("XDG_CONFIG_HOME").or_else(|| home.map(|home| home.join(".config")));
    let user = user.map(|folder| folder.join("containers"));
    let system = PathBuf::from("/etc/containers");
    let certs = [
        Some("/etc/docker/certs.d".into()),
        Some(system.join("certs.d")),
        user.as_ref().map(|user| user.join("certs.d")),
    ];
    Settings {
        proxies: Proxies::of(env.get),
        registries: Places { only: set("CONTAINERS_REGISTRIES_CONF"), user, system: Some(system) },
        certs: certs.into_iter().flatten().collect(),
        authorities: set("SSL_CERT_FILE"),
        logins,
        patience: None,
        stop,
    }
}

/// Runs `kiln login`: checks the credential, then stores it.
pub fn login(args: &args::Login, env: &Environment<'_>) -> Result<()> {
    let name = registry(&args.registry)?;
    let credential = Credential::Password { user: user(args)?, password: password(args)? };
    let settings = settings(env);
    Client::new(&settings).check(&name, &credential).map_err(|error| error.context("cannot log in"))?;
    let place = settings.logins.put(&name.registry, &credential)?;
    match place {
        Place::File(file) => {
            say(&format!("logged in to {}; the password stands unencrypted in `{}`", name.registry, file.display()))
        }
        Place::Helper(helper) => {
            say(&format!("logged in to {}; `docker-credential-{helper}` has the password", name.registry))
        }
    }
}

/// Runs `kiln logout`.
pub fn logout(text: &str, env: &Environment<'_>) -> Result<()> {
    let name = registry(text)?.registry;
    match settings(env).logins.remove(&name)? {
        true => say(&format!("logged out of {name}")),
        false => say(&format!("there was no login to {name}")),
    }
}

/// Runs `kiln push`.
pub fn push(args: &args::Push, layers: &Layers, env: &Environment<'_>) -> Result<String> {
    let mut attributes = Attributes::new("registry", [("compression", args.compression.as_str())]);
    if let Some(format) = &args.format {
        attributes.set("oci-mediatypes", if format == "oci" { "true" } else { "false" });
    }
    let wish = StoredPush { image: &args.image, dest: args.dest.as_deref(), attributes };
    let pushed = push_stored(layers, wish, &settings(env))?;
    Ok(if args.quiet { pushed.rsplit('@').next().unwrap_or_default().to_owned() } else { pushed })
}

/// A registry as a reference, for requests without a repository.
fn registry(text: &str) -> Result<Reference> {
    let host = text.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.strip_suffix("/v1/").or_else(|| host.strip_suffix("/v2/")).unwrap_or(host).trim_end_matches('/');
    let bad =
        || Error::new(Kind::Usage, format!("`{text}` is no registry")).hint("write its host, such as `r.example:5000`");
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host };
    if host.contains('/') {
        return Err(bad());
    }
    let name: Reference = format!("{host}/login").parse().map_err(|_| bad())?;
    if name.registry == host { Ok(name) } else { Err(bad()) }
}

fn user(args: &args::Login) -> Result<String> {
    let user = match &args.username {
        Some(user) => user.clone(),
        None if args.password_stdin || !std::io::stdin().is_terminal() => {
            return Err(Error::new(Kind::Usage, "there is no user").hint("add --username NAME"));
        }
        None => {
            ask("user: ")?;
            line()?
        }
    };
    if user.is_empty() || user.contains(':') {
        return Err(Error::new(Kind::Usage, "a user has a name, without a colon"));
    }
    Ok(user)
}

fn password(args: &args::Login) -> Result<String> {
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => {
            let bytes = read::at_most(LONGEST, std::io::stdin()).at("read", "standard input")?;
            text(bytes.ok_or_else(too_long)?)?
        }
        None if std::io::stdin().is_terminal() => unseen()?,
        None => return Err(Error::new(Kind::Usage, "there is no password").hint("add --password-stdin")),
    };
    if password.is_empty() { Err(Error::new(Kind::Usage, "the password is empty")) } else { Ok(password) }
}

/// Reads a line from the terminal without echo.
fn unseen() -> Result<String> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).at("read the settings of", "the terminal")?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    ask("password: ")?;
    tcsetattr(&stdin, OptionalActions::Flush, &quiet).at("change the settings of", "the terminal")?;
    let answer = line();
    // The terminal is restored even if reading failed.
    let restored = tcsetattr(&stdin, OptionalActions::Flush, &before);
    ask("\n")?;
    restored.at("change the settings of", "the terminal")?;
    answer
}

fn line() -> Result<String> {
    let mut bytes = Vec::new();
    let count = std::io::stdin().lock().take(LONGEST + 1).read_until(b'\n', &mut bytes).at("read", "standard input")?;
    if count as u64 > LONGEST { Err(too_long()) } else { text(bytes) }
}

/// Decodes a line and strips its end.
fn text(bytes: Vec<u8>) -> Result<String> {
    let text = String::from_utf8(bytes).map_err(|_| Error::new(Kind::Usage, "the answer is no UTF-8 text"))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn too_long() -> Error {
    Error::new(Kind::Usage, format!("the answer is longer than {LONGEST} bytes"))
        .hint("a password or token is far shorter: is standard input another file?")
}

fn ask(text: &str) -> Result<()> {
    std::io::stderr().write_all(text.as_bytes()).at("write", "standard error")
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").at("write", "standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_a_host_however_it_is_written() {
        for (text, host) in [
            ("localhost:5000", "localhost:5000"),
            ("https://r.example/v2/", "r.example"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
        ] {
            assert_eq!(registry(text).map(|name| name.registry).ok().as_deref(), Some(host));
        }
        for bad in ["", "a b", "r.example/team", "r", "user@r.example"] {
            assert!(registry(bad).is_err(), "{bad}");
        }
    }
}
