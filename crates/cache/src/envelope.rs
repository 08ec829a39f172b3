//! The envelope of an object of a remote cache: a checksum of its body and, with a key, a
//! signature.
//!
//! ```text
//! kiln-object 1 <64 hex: SHA-256 of the body>
//! ed25519 <64 hex: SHA-256 of the public key> <base64: signature>      only if it is signed
//!                                                                      an empty line
//! <body>
//! ```
//! The signature covers `kiln-object 1 `, the object's name, a line feed, and the body, so an
//! object that is copied to another name is not signed. The digests of all blobs are in the body,
//! so the signature covers them too.

use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::read;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use std::path::Path;

const MAGIC: &str = "kiln-object 1 ";
/// The prefix of an Ed25519 public key in DER (RFC 8410, section 4).
const PUBLIC_KEY: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The largest key file in bytes.
const LARGEST_KEY: u64 = 64 << 10;

/// Signs objects.
pub(super) struct Signer(Ed25519KeyPair);

/// Accepts only the objects that the owner of a key signed.
#[derive(Clone)]
pub(super) struct Verifier([u8; 32]);

impl Signer {
    /// Reads a private key from a PEM file, as `openssl genpkey -algorithm ed25519` writes it.
    pub(super) fn read(path: &Path) -> Result<Signer> {
        let der = pem(path, "PRIVATE KEY")?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        pair.map(Signer).map_err(|_| no_key(path, "`openssl genpkey -algorithm ed25519 -out FILE` makes one"))
    }
}

impl Signer {
    /// The verifier that accepts the signatures of this key.
    pub(super) fn verifier(&self) -> Verifier {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        Verifier(key)
    }

    /// The fingerprint of its public key.
    pub(super) fn fingerprint(&self) -> String {
        self.verifier().fingerprint()
    }
}

impl Verifier {
    /// The fingerprint of the key: its SHA-256, in hex.
    pub(super) fn fingerprint(&self) -> String {
        Digest::of(&self.0).hex()
    }

    /// Reads a public key from a PEM file, as `openssl pkey -pubout` writes it.
    pub(super) fn read(path: &Path) -> Result<Verifier> {
        let der = pem(path, "PUBLIC KEY")?;
        let key = der.strip_prefix(&PUBLIC_KEY).and_then(|key| key.try_into().ok());
        key.map(Verifier).ok_or_else(|| no_key(path, "`openssl pkey -in PRIVATE -pubout -out FILE` makes one"))
    }
}

fn no_key(path: &Path, hint: &str) -> Error {
    Error::new(Kind::Usage, format!("`{}` holds no Ed25519 key of that kind in PEM", path.display())).hint(hint)
}

fn pem(path: &Path, kind: &str) -> Result<Vec<u8>> {
    let text = String::from_utf8(read::file(LARGEST_KEY, path)?).unwrap_or_default();
    let body = text
        .split_once(&format!("-----BEGIN {kind}-----"))
        .and_then(|(_, rest)| rest.split_once(&format!("-----END {kind}-----")))
        .map(|(body, _)| body.split_whitespace().collect::<String>());
    body.and_then(|body| STANDARD.decode(body).ok()).ok_or_else(|| no_key(path, "it has the form of PEM"))
}

fn signed(name: &str, body: &[u8]) -> Vec<u8> {
    [MAGIC.as_bytes(), name.as_bytes(), b"\n", body].concat()
}

/// Puts an envelope around a body.
pub(super) fn seal(name: &str, body: &[u8], signer: Option<&Signer>) -> Vec<u8> {
    let mut head = format!("{MAGIC}{}\n", Digest::of(body).hex());
    if let Some(Signer(pair)) = signer {
        let signature = STANDARD.encode(pair.sign(&signed(name, body)));
        head.push_str(&format!("ed25519 {} {signature}\n", Digest::of(pair.public_key().as_ref()).hex()));
    }
    head.push('\n');
    [head.as_bytes(), body].concat()
}

/// The body of an object. The error says in a few words what is wrong with it.
pub(super) fn open<'a>(name: &str, object: &'a [u8], verifier: Option<&Verifier>) -> Result<&'a [u8], &'static str> {
    let end = object.windows(2).position(|pair| pair == b"\n\n").ok_or("it is damaged")?;
    let (head, body) = (&object[..end], &object[end + 2..]);
    let mut lines = std::str::from_utf8(head).map_err(|_| "it is damaged")?.lines();
    let sum = lines.next().and_then(|line| line.strip_prefix(MAGIC)).ok_or("it is of another version")?;
    if sum != Digest::of(body).hex() {
        return Err("it is damaged");
    }
    let Some(Verifier(key)) = verifier else { return Ok(body) };
    let line = lines.next().and_then(|line| line.strip_prefix("ed25519 ")).ok_or("it is not signed")?;
    let (owner, signature) = line.split_once(' ').ok_or("it is not signed")?;
    if owner != Digest::of(key).hex() {
        return Err("it is signed by another key");
    }
    let signature = STANDARD.decode(signature).map_err(|_| "its signature is wrong")?;
    let verified = UnparsedPublicKey::new(&ED25519, key).verify(&signed(name, body), &signature);
    verified.map(|()| body).map_err(|_| "its signature is wrong")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    fn keys() -> (Signer, Verifier) {
        let dir = tempfile::tempdir().expect("a folder");
        let (private, public) = (dir.path().join("private"), dir.path().join("public"));
        std::fs::write(&private, PRIVATE).expect("written");
        std::fs::write(&public, PUBLIC).expect("written");
        assert!(Signer::read(&public).is_err() && Verifier::read(&private).is_err());
        (Signer::read(&private).expect("a key"), Verifier::read(&public).expect("a key"))
    }

    #[test]
    fn any_changed_byte_is_seen() {
        let (signer, verifier) = keys();
        let object = seal("written-1", b"{\"a\": 1}", Some(&signer));
        assert_eq!(open("written-1", &object, None), Ok(&b"{\"a\": 1}"[..]));
        assert_eq!(open("written-1", &object, Some(&verifier)), Ok(&b"{\"a\": 1}"[..]));
        for at in 0..object.len() {
            for bit in [1, 4, 32, 128] {
                let mut other = object.clone();
                other[at] ^= bit;
                assert!(open("written-1", &other, Some(&verifier)).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_signature_is_of_a_name_and_a_key() {
        let (signer, verifier) = keys();
        let object = seal("written-1", b"{}", Some(&signer));
        assert_eq!(open("written-2", &object, Some(&verifier)), Err("its signature is wrong"));
        assert_eq!(open("written-1", &seal("written-1", b"{}", None), Some(&verifier)), Err("it is not signed"));
        assert_eq!(open("written-1", &object, Some(&Verifier([7; 32]))), Err("it is signed by another key"));
    }
}
