//! Addresses that may hold a password. They are shown, logged and kept in keys without it; whoever connects asks for all of it.

use super::decoded;
use std::fmt;

/// An address as it was written.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Url(String);

/// The user of an address: `user:password@`.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Decoded.
    pub name: String,
    /// Decoded.
    pub password: Option<String>,
}

impl Url {
    /// Takes an address, or what git takes for one: `user@host:path`.
    pub fn new(text: &str) -> Url {
        Url(text.to_owned())
    }

    /// All of it, to tell two addresses apart. Never to be shown, logged or kept.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// The user of the address.
    pub fn user(&self) -> Option<User> {
        let range = userinfo(&self.0)?;
        let (name, password) = match self.0[range.clone()].split_once(':') {
            Some((name, password)) => (name, Some(password)),
            None => (&self.0[range], None),
        };
        Some(User { name: decoded(name), password: password.map(decoded) })
    }

    /// The address without a password. A user of ssh stays, since it is part of where one goes; one of http does not.
    pub fn bare(&self) -> String {
        let Some(range) = userinfo(&self.0) else { return self.0.clone() };
        let keep = match self.0.starts_with("ssh://") {
            true => self.0[range.clone()].split(':').next().map(|user| format!("{user}@")),
            false => None,
        };
        format!("{}{}{}", &self.0[..range.start], keep.unwrap_or_default(), &self.0[range.end + 1..])
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text with the users and passwords of all addresses in it taken away: `https://...@host/path`.
pub fn redacted(text: &str) -> String {
    let (mut clean, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = authority(address);
        let whole_ssh = before.ends_with("ssh://");
        rest = match address[..end].rfind('@') {
            // The user of ssh is no secret.
            Some(user) if whole_ssh && !address[..user].contains(':') => address,
            Some(user) => {
                clean.push_str("...");
                &address[user..]
            }
            None => address,
        };
    }
    clean.push_str(rest);
    clean
}

/// Where the user of an address stands.
fn userinfo(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find("://")? + 3;
    let end = start + authority(&text[start..]);
    let at = text[start..end].rfind('@')?;
    Some(start..start + at)
}

/// How long host, port and user are.
fn authority(address: &str) -> usize {
    address
        .find(|c: char| matches!(c, '/' | '?' | '#' | '\\' | '"' | '\'') || c.is_whitespace())
        .unwrap_or(address.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_user() {
        for (text, shown, bare) in [
            ("https://h/x", "https://h/x", "https://h/x"),
            ("https://u:p@h:1/x?y=a@b", "https://...@h:1/x?y=a@b", "https://h:1/x?y=a@b"),
            ("https://token@h/x", "https://...@h/x", "https://h/x"),
            ("http://u:a@b@h", "http://...@h", "http://h"),
            ("ssh://git@h/x", "ssh://git@h/x", "ssh://git@h/x"),
            ("ssh://git:p@h/x", "ssh://...@h/x", "ssh://git@h/x"),
            ("git@h:x", "git@h:x", "git@h:x"),
            ("https://h/x@y", "https://h/x@y", "https://h/x@y"),
        ] {
            let url = Url::new(text);
            assert_eq!((url.to_string().as_str(), format!("{url:?}").as_str()), (shown, shown));
            assert_eq!(url.bare(), bare);
            assert_eq!(url.secret(), text);
        }
        let user = Url::new("https://a%40b:c%3Ad@h/").user().expect("a user");
        assert_eq!((user.name.as_str(), user.password.as_deref()), ("a@b", Some("c:d")));
        assert!(Url::new("https://h/").user().is_none());
    }

    #[test]
    fn all_addresses_of_a_text_are_cleaned() {
        let text = "RUN curl https://u:p@h/x \"http://t@g\" && echo a@b ://";
        assert_eq!(redacted(text), "RUN curl https://...@h/x \"http://...@g\" && echo a@b ://");
        assert_eq!(redacted("plain"), "plain");
    }
}
