//! Digits of numbers: the shortest that give the same number back, or as many as asked for.

use super::Number;
use num_bigint::BigUint;
use num_traits::Zero;

/// A decimal number `0.digits * 10^point`.
struct Decimal {
    digits: Vec<u8>,
    point: i64,
}

impl Decimal {
    /// The exact decimal form of `mantissa * 2^exponent`.
    fn exact(mantissa: &BigUint, exponent: i64) -> Decimal {
        let shift = exponent.unsigned_abs();
        let (value, scale) = if exponent >= 0 {
            (mantissa << shift, 0)
        } else {
            let power = u32::try_from(shift).unwrap_or(u32::MAX);
            (mantissa * BigUint::from(5u32).pow(power), i64::try_from(shift).unwrap_or(i64::MAX))
        };
        if value.is_zero() {
            return Decimal { digits: Vec::new(), point: 0 };
        }
        let mut digits = value.to_string().into_bytes();
        let point = i64::try_from(digits.len()).unwrap_or(i64::MAX) - scale;
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        Decimal { digits, point }
    }

    fn at(&self, index: usize) -> u8 {
        self.digits.get(index).copied().unwrap_or(b'0')
    }

    fn cut(&mut self, count: usize, up: bool) {
        if count >= self.digits.len() {
            return;
        }
        self.digits.truncate(count);
        if up {
            while self.digits.last() == Some(&b'9') {
                self.digits.pop();
            }
            match self.digits.last_mut() {
                Some(last) => *last += 1,
                None => {
                    self.digits.push(b'1');
                    self.point += 1;
                }
            }
        }
        while self.digits.last() == Some(&b'0') {
            self.digits.pop();
        }
        if self.digits.is_empty() {
            self.point = 0;
        }
    }

    /// Rounds to so many digits, ties to even.
    fn round(&mut self, count: usize) {
        let next = self.at(count);
        let more = self.digits.len() > count + 1;
        let odd = count > 0 && (self.at(count - 1) - b'0') % 2 == 1;
        let up = next > b'5' || (next == b'5' && (more || odd));
        self.cut(count, up);
    }

    /// `[-]d.ddddd` with so many digits after the point, or as many as there are.
    fn fixed(&self, decimals: Option<usize>) -> String {
        let mut text = String::new();
        for index in 0..self.point.max(0) {
            text.push(char::from(self.at(usize::try_from(index).unwrap_or(usize::MAX))));
        }
        if text.is_empty() {
            text.push('0');
        }
        let count = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        let decimals = decimals.unwrap_or_else(|| usize::try_from(count - self.point).unwrap_or(0));
        if decimals > 0 {
            text.push('.');
            for place in 0..decimals {
                let index = self.point + i64::try_from(place).unwrap_or(i64::MAX);
                let digit = usize::try_from(index).map_or(b'0', |index| self.at(index));
                text.push(char::from(digit));
            }
        }
        text
    }

    /// `d.ddde±dd`.
    fn scientific(&self, decimals: usize, letter: char) -> String {
        let mut text = String::from(char::from(self.at(0)));
        if decimals > 0 {
            text.push('.');
            text.extend((1..=decimals).map(|index| char::from(self.at(index))));
        }
        let exponent = if self.digits.is_empty() { 0 } else { self.point - 1 };
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{text}{letter}{sign}{:02}", exponent.unsigned_abs())
    }
}

impl Number {
    /// Like Go's `%f`: without a count of decimals the shortest text that gives the number back.
    pub fn text_fixed(&self, decimals: Option<usize>) -> String {
        self.signed(|| match decimals {
            None => self.shortest().fixed(None),
            Some(decimals) => {
                let mut decimal = Decimal::exact(&self.mantissa, self.exponent);
                let places = i64::try_from(decimals).unwrap_or(i64::MAX);
                match usize::try_from(decimal.point.saturating_add(places)) {
                    Ok(count) => decimal.round(count),
                    Err(_) => decimal = Decimal { digits: Vec::new(), point: 0 },
                }
                decimal.fixed(Some(decimals))
            }
        })
    }

    /// Like Go's `%e`.
    pub fn text_exponent(&self, decimals: Option<usize>) -> String {
        self.signed(|| {
            let (decimal, decimals) = self.significant(decimals.map(|decimals| decimals + 1));
            decimal.scientific(decimals.max(1) - 1, 'e')
        })
    }

    /// Like Go's `%g`: with an exponent where that is shorter. Without a count of digits the exponent begins at 21.
    pub fn text_general(&self, digits: Option<usize>) -> String {
        self.signed(|| {
            let (decimal, count) = self.significant(digits.map(|digits| digits.max(1)));
            let mut limit = i64::try_from(count).unwrap_or(i64::MAX);
            let given = i64::try_from(decimal.digits.len()).unwrap_or(i64::MAX);
            if limit > given && given >= decimal.point {
                limit = given;
            }
            if digits.is_none() {
                limit = 21;
            }
            let exponent = decimal.point - 1;
            if exponent < -4 || exponent >= limit {
                let shown = count.min(decimal.digits.len()).max(1);
                return decimal.scientific(shown - 1, 'e');
            }
            let decimals = usize::try_from(given - decimal.point).unwrap_or(0);
            decimal.fixed(Some(decimals))
        })
    }

    fn signed(&self, digits: impl FnOnce() -> String) -> String {
        let sign = if self.negative { "-" } else { "" };
        match (self.infinite, self.negative) {
            (true, true) => "-Inf".into(),
            (true, false) => "+Inf".into(),
            _ => format!("{sign}{}", digits()),
        }
    }

    fn significant(&self, digits: Option<usize>) -> (Decimal, usize) {
        match digits {
            Some(digits) => {
                let mut decimal = Decimal::exact(&self.mantissa, self.exponent);
                decimal.round(digits);
                (decimal, digits)
            }
            None => {
                let decimal = self.shortest();
                let count = decimal.digits.len();
                (decimal, count)
            }
        }
    }

    /// The shortest digits between the middles to both neighbours.
    fn shortest(&self) -> Decimal {
        let mut decimal = Decimal::exact(&self.mantissa, self.exponent);
        if self.mantissa.is_zero() {
            return decimal;
        }
        // The last bit of `mantissa` is half of the last place.
        let shift = (u64::from(self.precision) + 1).saturating_sub(self.mantissa.bits());
        let mantissa = &self.mantissa << shift;
        let exponent = self.exponent - i64::try_from(shift).unwrap_or(i64::MAX);
        let inclusive = !mantissa.bit(1);
        let lower = Decimal::exact(&(&mantissa - 1u32), exponent);
        let upper = Decimal::exact(&(&mantissa + 1u32), exponent);
        for index in 0..decimal.digits.len() {
            let (low, digit, high) = (lower.at(index), decimal.at(index), upper.at(index));
            let down = low != digit || (inclusive && index + 1 == lower.digits.len());
            let up = digit != high && (inclusive || digit + 1 < high || index + 1 < upper.digits.len());
            match (down, up) {
                (true, true) => decimal.round(index + 1),
                (true, false) => decimal.cut(index + 1, false),
                (false, true) => decimal.cut(index + 1, true),
                (false, false) => continue,
            }
            break;
        }
        decimal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).expect("a number")
    }

    #[test]
    fn text_gives_the_number_back_in_the_fewest_digits() {
        for text in ["0", "1", "-0.5", "1000", "12345678901234567890", "0.1", "2.25", "0.000001"] {
            assert_eq!(number(text).text_fixed(None), text);
        }
        let third = number("1").divide(&number("3")).expect("a number").text_fixed(None);
        assert!(third.starts_with("0.3333") && third.ends_with("335") && third.len() == 157, "{third}");
        assert_eq!(Number::from_f64(0.1).expect("a number").text_fixed(None), "0.1");
        assert_eq!(Number::from(7i64).divide(&Number::from(2i64)).expect("a number").text_fixed(None), "3.5");
    }

    #[test]
    fn formats_round_as_go_does() {
        assert_eq!(number("2.25").text_fixed(Some(1)), "2.2");
        assert_eq!(number("0.5").text_fixed(Some(0)), "0");
        assert_eq!(number("1.5").text_fixed(Some(0)), "2");
        assert_eq!(number("9.99").text_fixed(Some(1)), "10.0");
        assert_eq!(number("0.001").text_fixed(Some(2)), "0.00");
        assert_eq!(number("1234.5").text_exponent(Some(2)), "1.23e+03");
        assert_eq!(number("1e21").text_general(None), "1e+21");
        assert_eq!(number("1e20").text_general(None), "100000000000000000000");
        assert_eq!(number("0.00001").text_general(None), "1e-05");
        assert_eq!(number("100000").text_general(Some(3)), "1e+05");
    }
}
