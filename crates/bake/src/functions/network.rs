//! Functions on address prefixes.

use super::{Builtin, Failure, number, row, string, text, variadic, whole};
use crate::value::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const TABLE: &[Builtin] = &[
    row("cidrhost", &[string("prefix"), number("hostnum")], |_, a| host(a)),
    row("cidrnetmask", &[string("prefix")], |_, a| netmask(text(a, 0))),
    row("cidrsubnet", &[string("prefix"), number("newbits"), number("netnum")], |_, a| subnet(a)),
    variadic("cidrsubnets", &[string("prefix")], number("newbits"), |_, a| subnets(a)),
];

/// An address prefix. Addresses are numbers of `bits` bits.
#[derive(Clone, Copy)]
struct Prefix {
    address: u128,
    length: u32,
    bits: u32,
}

impl Prefix {
    fn parse(text: &str) -> Result<Prefix, Failure> {
        let wrong = || Failure::Whole(format!("invalid CIDR expression: invalid CIDR address: {text}"));
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let (address, bits) = match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let plain = !length.is_empty() && length.len() < 4 && length.bytes().all(|byte| byte.is_ascii_digit());
        let length = length.parse().ok().filter(|length| plain && *length <= bits).ok_or_else(wrong)?;
        Ok(Prefix { address: address & !mask(bits - length), length, bits })
    }

    fn show(self, address: u128) -> String {
        match self.bits {
            32 => Ipv4Addr::from(u32::try_from(address & 0xffff_ffff).unwrap_or(0)).to_string(),
            _ => Ipv6Addr::from(address).to_string(),
        }
    }
}

/// A number whose lowest bits are set.
fn mask(bits: u32) -> u128 {
    if bits >= 128 { u128::MAX } else { (1 << bits) - 1 }
}

fn host(arguments: &[Value]) -> Result<Value, Failure> {
    let prefix = Prefix::parse(text(arguments, 0))?;
    let number = whole(arguments, 1)?;
    let most = mask(prefix.bits - prefix.length);
    let distance = if number < 0 { u128::from(number.unsigned_abs()) - 1 } else { u128::from(number.unsigned_abs()) };
    if distance > most {
        return Err(format!("prefix of {} does not accommodate a host numbered {number}", prefix.length).into());
    }
    let offset = if number < 0 { most - distance } else { distance };
    Ok(Value::string(prefix.show(prefix.address | offset)))
}

fn netmask(text: &str) -> Result<Value, Failure> {
    let prefix = Prefix::parse(text)?;
    if prefix.bits != 32 {
        return Err("IPv6 addresses cannot have a netmask".into());
    }
    Ok(Value::string(prefix.show(!mask(32 - prefix.length))))
}

fn subnet(arguments: &[Value]) -> Result<Value, Failure> {
    let prefix = Prefix::parse(text(arguments, 0))?;
    let (more, number) = (whole(arguments, 1)?, whole(arguments, 2)?);
    if more > 32 {
        return Err("may not extend prefix by more than 32 bits".into());
    }
    let length = u32::try_from(i64::from(prefix.length) + more).ok().filter(|length| *length <= prefix.bits);
    let length =
        length.ok_or_else(|| format!("insufficient address space to extend prefix of {} by {more}", prefix.length))?;
    let most = mask(u32::try_from(more).unwrap_or(0));
    let net = u128::try_from(number)
        .ok()
        .filter(|net| *net <= most)
        .ok_or_else(|| format!("prefix extension of {more} does not accommodate a subnet numbered {number}"))?;
    let shifted = net.checked_shl(prefix.bits - length).unwrap_or(0);
    Ok(Value::string(format!("{}/{length}", prefix.show(prefix.address | shifted))))
}

fn subnets(arguments: &[Value]) -> Result<Value, Failure> {
    let prefix = Prefix::parse(text(arguments, 0))?;
    let last = prefix.address | mask(prefix.bits - prefix.length);
    let mut next = Some(prefix.address);
    let (mut made, mut before) = (Vec::new(), text(arguments, 0).to_owned());
    for at in 1..arguments.len() {
        let wrong = |why: String| Failure::Argument(at, why);
        let more = whole(arguments, at).map_err(|why| wrong(format!("invalid prefix length: {why}")))?;
        if more < 1 {
            return Err(wrong("must extend prefix by at least one bit".into()));
        }
        if more > 32 {
            return Err(wrong("may not extend prefix by more than 32 bits".into()));
        }
        let length = prefix.length + u32::try_from(more).unwrap_or(0);
        if length > prefix.bits {
            let family = if prefix.bits == 32 { "IPv4" } else { "IPv6" };
            let why = format!("would extend prefix to {length} bits, which is too long for an {family} address");
            return Err(wrong(why));
        }
        let size = mask(prefix.bits - length);
        // The first address of the right alignment that is not taken.
        let start = next.and_then(|next| Some(next.checked_add(size)? & !size)).filter(|start| *start <= last);
        let start = start.ok_or_else(|| {
            wrong(format!(
                "not enough remaining address space for a subnet with a prefix of {length} bits after {before}"
            ))
        })?;
        next = start.checked_add(size).and_then(|end| end.checked_add(1)).filter(|next| *next <= last);
        before = format!("{}/{length}", prefix.show(start));
        made.push(before.clone());
    }
    Ok(Value::strings(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_prefix_are_counted_from_both_ends() {
        let call = |number| host(&[Value::string("10.1.0.0/16"), Value::integer(number)]);
        assert_eq!(call(5).expect("a host").as_str(), Some("10.1.0.5"));
        assert_eq!(call(-1).expect("a host").as_str(), Some("10.1.255.255"));
        assert!(call(65536).is_err());
        assert_eq!(netmask("10.0.0.0/12").expect("a mask").as_str(), Some("255.240.0.0"));
    }

    #[test]
    fn subnets_follow_each_other() {
        let all = subnets(&[Value::string("10.0.0.0/8"), Value::integer(4), Value::integer(8)]).expect("subnets");
        assert!(all.equals(&Value::strings(["10.0.0.0/12", "10.16.0.0/16"])));
        let made = subnet(&[Value::string("fd00::/48"), Value::integer(16), Value::integer(162)]).expect("a subnet");
        assert_eq!(made.as_str(), Some("fd00:0:0:a2::/64"));
    }
}
