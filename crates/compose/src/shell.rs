//! Splits a command line into words as Docker Compose does: with quotes and backslashes, up to a
//! `;`, `&`, `|`, `<` or `>` outside of quotes.

/// Splits a command line.
pub fn words(line: &str) -> Result<Vec<String>, String> {
    const UNCLOSED: &str = "invalid command line string: a quote is not closed";
    let mut words = Vec::new();
    let mut word = String::new();
    let mut started = false;
    let mut escaped = false;
    let (mut single, mut double, mut back, mut dollar) = (false, false, false, false);
    for c in line.chars() {
        if escaped {
            word.push(c);
            (escaped, started) = (false, true);
            continue;
        }
        match c {
            '\\' if single => {
                word.push(c);
                continue;
            }
            '\\' => {
                escaped = true;
                continue;
            }
            ' ' | '\t' | '\r' | '\n' => {
                if single || double || back || dollar {
                    word.push(c);
                } else if started {
                    words.push(std::mem::take(&mut word));
                    started = false;
                }
                continue;
            }
            '`' if !single && !double && !dollar => back = !back,
            ')' if !single && !double && !back => dollar = !dollar,
            '(' if !single && !double && !back => {
                if dollar || !word.ends_with('$') {
                    return Err("invalid command line string: a parenthesis outside of quotes".to_owned());
                }
                dollar = true;
                word.push(c);
                continue;
            }
            '"' if !single && !dollar => {
                started |= double;
                double = !double;
                continue;
            }
            '\'' if !double && !dollar => {
                started |= single;
                single = !single;
                continue;
            }
            ';' | '&' | '|' | '<' | '>' if !(single || double || back || dollar) => {
                // The digit of `2>` is cut off too.
                if c == '>' && word.starts_with(|c: char| c.is_ascii_digit()) {
                    started = false;
                }
                break;
            }
            _ => {}
        }
        started = true;
        word.push(c);
    }
    if started {
        words.push(word);
    }
    if escaped || single || double || back || dollar {
        return Err(UNCLOSED.to_owned());
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn lines_are_split_at_blanks_outside_of_quotes() {
        let split = |line: &str| words(line).map(|words| words.join("|"));
        assert_eq!(split("a 'b c'  \"d e\" f\\ g"), Ok("a|b c|d e|f g".to_owned()));
        assert_eq!(split("a '' $(x y)"), Ok("a||$(x y)".to_owned()));
        assert_eq!(split("echo a 2>x; b"), Ok("echo|a".to_owned()));
        assert_eq!(split(""), Ok(String::new()));
        for line in ["'a", "a \"", "a\\", "f(x)", "`a"] {
            assert!(words(line).is_err(), "{line}");
        }
    }
}
