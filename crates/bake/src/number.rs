//! Numbers as go-cty has them: binary floats of up to 512 bits, which know their own precision.
//!
//! Literals have 512 bits, counts and indexes 64, results of float functions 53; an operation has the larger
//! precision of its operands. Exponents are bounded: what is larger is infinite, what is smaller is zero, so that no
//! text in a file makes a number whose digits fill the memory.

mod text;

use num_bigint::BigUint;
use num_traits::{ToPrimitive, Zero};
use std::cmp::Ordering;

/// Bits of a literal.
pub const LITERAL: u32 = 512;
/// Bits of a count or index.
pub const INTEGER: u32 = 64;
/// Bits of the result of a float function.
pub const DOUBLE: u32 = 53;
/// Largest binary exponent, either way.
const EXPONENT: i64 = 1 << 17;
/// Largest decimal exponent of a literal: a little above what `EXPONENT` allows.
const DECIMAL_EXPONENT: i64 = 40_000;

/// A number. A finite one is `±mantissa * 2^exponent`; a mantissa is odd or zero.
#[derive(Clone, Debug)]
pub struct Number {
    negative: bool,
    infinite: bool,
    mantissa: BigUint,
    exponent: i64,
    precision: u32,
}

impl Number {
    /// Zero.
    pub fn zero() -> Number {
        Number::from(0i64)
    }

    /// Positive or negative infinity.
    pub fn infinity(negative: bool) -> Number {
        let mantissa = BigUint::zero();
        Number { negative, infinite: true, mantissa, exponent: 0, precision: LITERAL }
    }

    /// A double, unless it is no number.
    pub fn from_f64(value: f64) -> Option<Number> {
        if value.is_nan() {
            return None;
        }
        if value.is_infinite() {
            return Some(Number::infinity(value < 0.0));
        }
        let bits = value.to_bits();
        let field = ((bits >> 52) & 0x7ff) as i64;
        let fraction = bits & ((1 << 52) - 1);
        let (mantissa, exponent) = if field == 0 { (fraction, -1074) } else { (fraction | (1 << 52), field - 1075) };
        Some(Number::round(value.is_sign_negative(), mantissa.into(), exponent, false, DOUBLE))
    }

    /// An integer with as many bits as it needs, at least 64.
    pub fn from_integer(negative: bool, value: BigUint) -> Number {
        let bits = u32::try_from(value.bits()).unwrap_or(u32::MAX).max(INTEGER);
        Number::round(negative, value, 0, false, bits)
    }

    /// A decimal literal with optional fraction and exponent, as Go reads it with 512 bits.
    pub fn parse(text: &str) -> Option<Number> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (digits, scale) = match digits.find(['e', 'E']) {
            Some(at) => (&digits[..at], digits[at + 1..].parse::<i64>().ok()?),
            None => (digits, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let value = BigUint::parse_bytes(all.as_bytes(), 10)?;
        let scale = scale.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        if value.is_zero() {
            return Some(Number { precision: LITERAL, ..Number::zero() });
        }
        if scale > DECIMAL_EXPONENT {
            return Some(Number::infinity(negative));
        }
        if scale < -DECIMAL_EXPONENT - i64::try_from(all.len()).ok()? {
            return Some(Number { precision: LITERAL, ..Number::zero() });
        }
        let power = BigUint::from(10u32).pow(u32::try_from(scale.unsigned_abs()).ok()?);
        if scale >= 0 {
            return Some(Number::round(negative, value * power, 0, false, LITERAL));
        }
        Some(Number::quotient(negative, &value, 0, &power, 0, LITERAL))
    }

    /// Rounds to nearest, ties to even. `sticky` says that something non-zero is below the mantissa.
    fn round(negative: bool, mantissa: BigUint, exponent: i64, sticky: bool, precision: u32) -> Number {
        let (mut mantissa, mut exponent) = (mantissa, exponent);
        let bits = mantissa.bits();
        if bits > u64::from(precision) {
            let drop = bits - u64::from(precision);
            let half = mantissa.bit(drop - 1);
            let below = sticky || mantissa.trailing_zeros().is_some_and(|zeros| zeros < drop - 1);
            mantissa >>= drop;
            exponent = exponent.saturating_add(i64::try_from(drop).unwrap_or(i64::MAX));
            if half && (below || mantissa.bit(0)) {
                mantissa += 1u32;
            }
        }
        if let Some(zeros) = mantissa.trailing_zeros() {
            mantissa >>= zeros;
            exponent = exponent.saturating_add(i64::try_from(zeros).unwrap_or(i64::MAX));
        } else {
            exponent = 0;
        }
        let top = exponent.saturating_add(i64::try_from(mantissa.bits()).unwrap_or(i64::MAX));
        if top > EXPONENT {
            return Number { precision, ..Number::infinity(negative) };
        }
        if top < -EXPONENT {
            (mantissa, exponent) = (BigUint::zero(), 0);
        }
        Number { negative, infinite: false, mantissa, exponent, precision }
    }

    fn quotient(negative: bool, a: &BigUint, ae: i64, b: &BigUint, be: i64, precision: u32) -> Number {
        let shift = (u64::from(precision) + 2 + b.bits()).saturating_sub(a.bits());
        let (quotient, rest) = num_integer::Integer::div_rem(&(a << shift), b);
        let sticky = !rest.is_zero();
        // One more bit below keeps the sticky information away from the rounding bit.
        let (mantissa, down) = if sticky { ((quotient << 1u32) + 1u32, 1) } else { (quotient, 0) };
        let exponent = ae - be - i64::try_from(shift).unwrap_or(i64::MAX) - down;
        Number::round(negative, mantissa, exponent, sticky, precision)
    }

    /// The sum; none for opposing infinities.
    pub fn add(&self, other: &Number) -> Option<Number> {
        if self.infinite || other.infinite {
            return match (self.infinite, other.infinite) {
                (true, true) if self.negative != other.negative => None,
                (true, _) => Some(self.clone()),
                _ => Some(other.clone()),
            };
        }
        let exponent = self.exponent.min(other.exponent);
        let align = |number: &Number| &number.mantissa << (number.exponent - exponent).unsigned_abs();
        let (a, b) = (align(self), align(other));
        let (negative, mantissa) = match (self.negative == other.negative, a.cmp(&b)) {
            (true, _) => (self.negative, a + b),
            (false, Ordering::Less) => (other.negative, b - a),
            (false, Ordering::Equal) => (false, BigUint::zero()),
            (false, Ordering::Greater) => (self.negative, a - b),
        };
        Some(Number::round(negative, mantissa, exponent, false, self.precision.max(other.precision)))
    }

    /// The difference; none for equal infinities.
    pub fn subtract(&self, other: &Number) -> Option<Number> {
        self.add(&other.negate())
    }

    /// The product, with as many bits as it needs up to 512; none for zero times infinity.
    pub fn multiply(&self, other: &Number) -> Option<Number> {
        let negative = self.negative != other.negative;
        if self.infinite || other.infinite {
            return if self.is_zero() || other.is_zero() { None } else { Some(Number::infinity(negative)) };
        }
        let mut product =
            Number::round(negative, &self.mantissa * &other.mantissa, self.exponent + other.exponent, false, LITERAL);
        let needed = u32::try_from(product.mantissa.bits()).unwrap_or(LITERAL);
        product.precision = needed.max(self.precision).max(other.precision);
        Some(product)
    }

    /// The quotient; none for zero by zero and infinity by infinity.
    pub fn divide(&self, other: &Number) -> Option<Number> {
        let negative = self.negative != other.negative;
        match (self.infinite, other.infinite, self.is_zero(), other.is_zero()) {
            (true, true, ..) | (_, _, true, true) => None,
            (true, ..) | (_, _, _, true) => Some(Number::infinity(negative)),
            (_, true, ..) => Some(Number::zero()),
            _ => {
                let precision = self.precision.max(other.precision);
                let (a, b) = (&self.mantissa, &other.mantissa);
                Some(Number::quotient(negative, a, self.exponent, b, other.exponent, precision))
            }
        }
    }

    /// The rest of the division whose quotient is cut towards zero. A rest by zero is the number itself.
    pub fn modulo(&self, other: &Number) -> Option<Number> {
        if self.infinite || other.infinite {
            return self.multiply(other);
        }
        if other.is_zero() {
            return Some(self.clone());
        }
        let whole = self.divide(other)?.truncate();
        let whole = Number { precision: self.precision.max(INTEGER), ..whole };
        self.subtract(&Number { precision: self.precision, ..other.multiply(&whole)? })
    }

    /// The number with the other sign.
    pub fn negate(&self) -> Number {
        Number { negative: !self.negative, ..self.clone() }
    }

    /// The number without its sign.
    pub fn absolute(&self) -> Number {
        Number { negative: false, ..self.clone() }
    }

    /// The integer that is next towards zero.
    pub fn truncate(&self) -> Number {
        if self.is_integer() || self.infinite {
            return self.clone();
        }
        let whole = &self.mantissa >> self.exponent.unsigned_abs();
        Number::from_integer(self.negative, whole)
    }

    /// The integer that is next downwards (`up` false) or upwards.
    pub fn whole(&self, up: bool) -> Number {
        if self.infinite || self.is_integer() {
            return self.clone();
        }
        let cut = self.truncate();
        let step = if up == self.negative { 0i64 } else { 1 };
        let step = Number::from(if up { step } else { -step });
        cut.add(&step).unwrap_or(cut)
    }

    /// True of zero.
    pub fn is_zero(&self) -> bool {
        !self.infinite && self.mantissa.is_zero()
    }

    /// True of the infinities.
    pub fn is_infinite(&self) -> bool {
        self.infinite
    }

    /// True below zero.
    pub fn is_negative(&self) -> bool {
        self.negative && !self.is_zero()
    }

    /// True of whole numbers.
    pub fn is_integer(&self) -> bool {
        !self.infinite && self.exponent >= 0
    }

    /// The number as a 64-bit integer, if it is one.
    pub fn to_i64(&self) -> Option<i64> {
        let value = self.to_integer()?;
        let value = i128::from(value.to_u64()?);
        i64::try_from(if self.negative { -value } else { value }).ok()
    }

    /// The magnitude of a whole number.
    pub fn to_integer(&self) -> Option<BigUint> {
        self.is_integer().then(|| &self.mantissa << self.exponent.unsigned_abs())
    }

    /// The nearest double.
    pub fn to_f64(&self) -> f64 {
        if self.infinite {
            return if self.negative { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        self.text_exponent(None).parse().unwrap_or(0.0)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Number {
        Number::round(value < 0, value.unsigned_abs().into(), 0, false, INTEGER)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Number {
        Number::round(false, value.into(), 0, false, INTEGER)
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let sign = |number: &Number| match (number.is_zero(), number.negative) {
            (true, _) => 0,
            (_, true) => -1,
            _ => 1,
        };
        let (a, b) = (sign(self), sign(other));
        if a != b || a == 0 {
            return a.cmp(&b);
        }
        let size = match (self.infinite, other.infinite) {
            (false, false) => {
                let exponent = self.exponent.min(other.exponent);
                let align = |n: &Number| &n.mantissa << (n.exponent - exponent).unsigned_abs();
                align(self).cmp(&align(other))
            }
            (a, b) => a.cmp(&b),
        };
        if a < 0 { size.reverse() } else { size }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).expect("a number")
    }

    #[test]
    fn arithmetic_is_that_of_decimals_where_they_are_exact() {
        assert_eq!(number("0.5").add(&number("0.25")), Some(number("0.75")));
        assert_eq!(number("7").modulo(&number("-3")), Some(number("1")));
        assert_eq!(number("-7").modulo(&number("3")), Some(number("-1")));
        assert_eq!(number("1").divide(&number("0")), Some(Number::infinity(false)));
        assert_eq!(number("0").divide(&number("0")), None);
        assert_eq!(number("-1.2").whole(false), Number::from(-2i64));
        assert_eq!(number("1.2").whole(true), Number::from(2i64));
        assert_eq!(number("-1.2").whole(true), Number::from(-1i64));
        assert!(number("2") < number("10") && number("-2") > number("-10"));
    }

    #[test]
    fn numbers_beyond_the_bound_are_infinite_or_zero() {
        assert!(number("1e999999999").is_infinite());
        assert!(number("1e-999999999").is_zero());
        let mut large = number("1e9000");
        for _ in 0..10 {
            large = large.multiply(&large).expect("a product");
        }
        assert!(large.is_infinite());
    }
}
