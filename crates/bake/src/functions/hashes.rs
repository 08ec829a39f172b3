//! Hashes, random and derived identifiers, decryption.

use super::{Builtin, Failure, number, row, rsa, string, text, variadic, whole};
use crate::host::Host;
use crate::value::Value;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

pub const TABLE: &[Builtin] = &[
    variadic("bcrypt", &[string("str")], number("cost"), bcrypt),
    row("md5", &[string("str")], |_, a| hex::<Md5>(a)),
    row("rsadecrypt", &[string("ciphertext"), string("privatekey")], |_, a| rsa::decrypt(text(a, 0), text(a, 1))),
    row("sha1", &[string("str")], |_, a| hex::<Sha1>(a)),
    row("sha256", &[string("str")], |_, a| hex::<Sha256>(a)),
    row("sha512", &[string("str")], |_, a| hex::<Sha512>(a)),
    row("uuidv4", &[], |host, _| {
        let mut bytes = [0; 16];
        host.random(&mut bytes);
        Ok(Value::string(uuid(bytes, 4)))
    }),
    row("uuidv5", &[string("namespace"), string("name")], |_, a| uuid5(text(a, 0), text(a, 1))),
];

fn hex<D: Digest>(arguments: &[Value]) -> Result<Value, Failure> {
    let digest = D::digest(text(arguments, 0).as_bytes());
    Ok(Value::string(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

fn bcrypt(host: &dyn Host, arguments: &[Value]) -> Result<Value, Failure> {
    const USUAL: i64 = 10;
    /// Each step doubles the time: 14 takes about a second.
    const MOST: u32 = 14;
    let cost = match arguments.len() {
        1 => USUAL,
        2 => whole(arguments, 1)?,
        _ => return Err("bcrypt() takes no more than two arguments".into()),
    };
    let cost = u32::try_from(cost).ok().filter(|cost| *cost <= MOST).map(|cost| if cost < 4 { 10 } else { cost });
    let cost = cost.ok_or_else(|| format!("cost must be at most {MOST}"))?;
    let secret = text(arguments, 0);
    if secret.len() > 72 {
        return Err("error occurred generating password: bcrypt: password length exceeds 72 bytes".into());
    }
    let mut salt = [0; 16];
    host.random(&mut salt);
    let hash = ::bcrypt::hash_with_salt(secret, cost, salt).map_err(|error| error.to_string())?;
    Ok(Value::string(hash.format_for_version(::bcrypt::Version::TwoA)))
}

fn uuid(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn uuid5(namespace: &str, name: &str) -> Result<Value, Failure> {
    const KNOWN: &[(&str, &str)] = &[
        ("dns", "6ba7b8109dad11d180b400c04fd430c8"),
        ("url", "6ba7b8119dad11d180b400c04fd430c8"),
        ("oid", "6ba7b8129dad11d180b400c04fd430c8"),
        ("x500", "6ba7b8149dad11d180b400c04fd430c8"),
    ];
    let known = KNOWN.iter().find(|(word, _)| *word == namespace).map(|(_, hex)| (*hex).to_owned());
    let hex = known.unwrap_or_else(|| namespace.trim_start_matches("urn:uuid:").replace(['-', '{', '}'], ""));
    let wrong = || format!("uuidv5() doesn't support namespace {namespace:?}");
    if hex.len() != 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong().into());
    }
    let bytes = (0..16).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16));
    let mut all: Vec<u8> = bytes.collect::<Result<_, _>>().map_err(|_| wrong())?;
    all.extend_from_slice(name.as_bytes());
    let digest = Sha1::digest(&all);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Ok(Value::string(uuid(bytes, 5)))
}
