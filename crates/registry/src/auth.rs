//! Authentication: turns a registry's challenge into the value of an `Authorization` header (RFC
//! 9110, section 11; the token specification of distribution, and its OAuth2 form for identity
//! tokens).

use super::agents::Agents;
use super::reference::is_local;
use super::transport::{Answer, Ask, Body, QUERY, TRIES, bounded, escaped, host_of, send};
use super::{Credential, Reference};
use base::error::{Error, Kind, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::collections::HashMap;

/// The kind of authentication that a registry asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from `realm`.
    Bearer { realm: String, service: Option<String> },
}

fn denied(name: &Reference, why: &str) -> Error {
    Error::new(Kind::Source, format!("{name}: access denied"))
        .because(why.to_owned())
        .hint(format!("check the name; `kiln login {}` says who you are", name.registry))
}

/// The value of `Authorization` that grants `access`: scopes of the token specification, separated
/// by blanks.
pub(super) fn authorize(
    agents: &Agents,
    name: &Reference,
    access: &str,
    answer: &Answer,
    credential: Option<&Credential>,
) -> Result<String> {
    let challenges = challenges(answer);
    let bearer = challenges.iter().find_map(|challenge| match challenge {
        Challenge::Bearer { realm, service } => Some((realm, service.as_deref())),
        Challenge::Basic => None,
    });
    if let Some((realm, service)) = bearer {
        if !may_be_asked(realm, name) {
            return Err(denied(name, "the registry asks for a token from nowhere"));
        }
        let token = match credential {
            Some(Credential::Identity(identity)) => by_identity(agents, name, realm, service, access, identity)?,
            other => by_question(agents, name, realm, service, access, other)?,
        };
        return Ok(format!("Bearer {token}"));
    }
    match credential {
        Some(Credential::Password { user, password }) if challenges.contains(&Challenge::Basic) => {
            Ok(basic(user, password))
        }
        _ => Err(denied(name, "the registry asks for a user and a password")),
    }
}

/// True if this token server may get the password: over HTTPS, or if both it and the registry are
/// on this machine.
fn may_be_asked(realm: &str, name: &Reference) -> bool {
    let within = name.is_local() && is_local(&host_of(realm));
    realm.starts_with("https://") || (within && realm.starts_with("http://"))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// Gets a token by GET, with the password if there is one, else anonymously.
fn by_question(
    agents: &Agents,
    name: &Reference,
    realm: &str,
    service: Option<&str>,
    access: &str,
    credential: Option<&Credential>,
) -> Result<String> {
    let mut fields = Vec::new();
    fields.extend(service.map(|service| ("service", service)));
    fields.extend(access.split(' ').filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope)));
    let authorization = match credential {
        Some(Credential::Password { user, password }) => {
            fields.push(("account", user));
            Some(basic(user, password))
        }
        _ => None,
    };
    let url = format!("{realm}{}{}", if realm.contains('?') { '&' } else { '?' }, form(&fields));
    let authorization = authorization.as_deref();
    let ask = &mut Ask { method: "GET", url: &url, name, headers: &[], authorization, body: Body::None, tries: TRIES };
    token(name, send(agents, ask)?.answer)
}

/// Gets a token by POST of the identity token. The body holds it, so no redirect is followed.
fn by_identity(
    agents: &Agents,
    name: &Reference,
    realm: &str,
    service: Option<&str>,
    access: &str,
    identity: &str,
) -> Result<String> {
    let mut fields = vec![("grant_type", "refresh_token"), ("client_id", "kiln"), ("refresh_token", identity)];
    fields.extend(service.map(|service| ("service", service)));
    fields.push(("scope", access));
    let body = form(&fields).into_bytes();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let mut reader = &body[..];
    let body = Body::Stream(&mut reader, body.len() as u64);
    let ask = &mut Ask { method: "POST", url: realm, name, headers: &headers, authorization: None, body, tries: TRIES };
    token(name, send(agents, ask)?.answer)
}

fn token(name: &Reference, mut answer: Answer) -> Result<String> {
    if !answer.status().is_success() {
        return Err(denied(name, &format!("no token for it: {}", answer.status())));
    }
    let value: Value = serde_json::from_slice(&bounded(&mut answer, name)?).unwrap_or_default();
    let texts = ["token", "access_token"].map(|key| value[key].as_str().unwrap_or_default().to_owned());
    let token = texts.into_iter().find(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    token.ok_or_else(|| denied(name, "the token server sent no token"))
}

/// `a=b&c=d`.
fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={}", escaped(value, QUERY))).collect();
    pairs.join("&")
}

fn challenges(answer: &Answer) -> Vec<Challenge> {
    let values = answer.headers().get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
    values.filter_map(challenge).collect()
}

fn challenge(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut fields = parameters(rest);
    let realm = fields.remove("realm").unwrap_or_default();
    Some(Challenge::Bearer { realm, service: fields.remove("service") })
}

/// `key="value",key=value`.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut fields = HashMap::new();
    let mut rest = text.trim();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        fields.insert(key.trim().to_lowercase(), value.to_owned());
        rest = after.trim_start_matches([',', ' ']);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        assert_eq!(
            challenge("Bearer realm=\"https://a/t\",service=\"s,t\",scope=\"x\""),
            bearer("https://a/t", Some("s,t"))
        );
        assert_eq!(challenge("bearer realm=https://a/t"), bearer("https://a/t", None));
        assert_eq!(challenge("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!((challenge("Negotiate"), challenge("")), (None, None));
    }

    #[test]
    fn a_password_goes_unencrypted_to_this_machine_alone() {
        let (local, far) = ("localhost:5000/a", "r.example/a");
        let asked = |realm: &str, name: &str| may_be_asked(realm, &name.parse().expect("a name"));
        assert!(asked("https://t.example/t", far) && asked("https://t.example/t", local));
        assert!(asked("http://127.0.0.1:1/t", local) && !asked("http://127.0.0.1:1/t", far));
        for realm in
            ["http://t.example/t", "http://localhost@t.example/", "http://localhost.t.example/", "ftp://localhost/", ""]
        {
            assert!(!asked(realm, local), "{realm}");
        }
    }

    #[test]
    fn nothing_of_a_value_ends_it() {
        assert_eq!(
            form(&[("a", "x&b=c d\n"), ("s", "repository:a/b:pull,push")]),
            "a=x%26b%3Dc%20d%0A&s=repository:a/b:pull,push"
        );
    }
}
