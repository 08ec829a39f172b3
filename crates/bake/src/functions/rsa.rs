//! Decryption with an RSA key in PEM form (PKCS #1 or PKCS #8), padding PKCS #1 v1.5.
//!
//! The time it takes tells about the key; nobody but the author of the definition can ask, who has the key.

use super::Failure;
use super::encoding::from_base64;
use crate::value::Value;
use num_bigint::BigUint;

/// Bits of the largest modulus.
const LARGEST: u64 = 8192;

/// The text behind a ciphertext in base64.
pub fn decrypt(ciphertext: &str, key: &str) -> Result<Value, Failure> {
    let cipher = from_base64(ciphertext)
        .map_err(|_| format!("failed to decode input {ciphertext:?}: cipher text must be base64-encoded"))?;
    let (modulus, exponent) = private_key(key).ok_or("failed to parse key: no RSA key in PEM form")?;
    let number = BigUint::from_bytes_be(&cipher);
    if modulus.bits() > LARGEST || number >= modulus {
        return Err("failed to decrypt: error occurred during decryption".into());
    }
    let plain = number.modpow(&exponent, &modulus).to_bytes_be();
    // The leading zero of the padding is not part of the number.
    let rest = plain.strip_prefix(&[2]).ok_or("failed to decrypt: wrong padding")?;
    let end =
        rest.iter().position(|&byte| byte == 0).filter(|end| *end >= 8).ok_or("failed to decrypt: wrong padding")?;
    let text = std::str::from_utf8(&rest[end + 1..]).map_err(|_| "the decrypted text is not valid UTF-8")?;
    Ok(Value::string(text))
}

fn private_key(pem: &str) -> Option<(BigUint, BigUint)> {
    let begin = pem.find("-----BEGIN ")?;
    let body = pem[begin..].split_once("-----\n")?.1.split_once("-----END")?.0;
    let der = from_base64(body.trim()).ok()?;
    let (0x30, whole, _) = element(&der)? else { return None };
    let (0x02, _version, rest) = element(whole)? else { return None };
    match element(rest)? {
        (0x02, modulus, rest) => {
            let (0x02, _public, rest) = element(rest)? else { return None };
            let (0x02, private, _) = element(rest)? else { return None };
            Some((BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(private)))
        }
        // PKCS #8: an algorithm, and the key within an octet string.
        (0x30, _, rest) => {
            let (0x04, inner, _) = element(rest)? else { return None };
            let (0x30, whole, _) = element(inner)? else { return None };
            let (0x02, _version, rest) = element(whole)? else { return None };
            let (0x02, modulus, rest) = element(rest)? else { return None };
            let (0x02, _public, rest) = element(rest)? else { return None };
            let (0x02, private, _) = element(rest)? else { return None };
            Some((BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(private)))
        }
        _ => None,
    }
}

/// Tag and content of the first element of DER, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let count = usize::from(first & 0x7f);
            let bytes = rest.get(..count)?;
            (bytes.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)), &rest[count..])
        }
        _ => return None,
    };
    Some((tag, rest.get(..length)?, &rest[length..]))
}
