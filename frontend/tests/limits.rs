//! A hostile Dockerfile must not do this: take long, fill the memory, end the process.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Images, empty, request};
use frontend::expand::Expander;
use frontend::platform::Platform;
use frontend::text;

fn expand(word: &str, value: &str) -> Result<String, String> {
    let lookup = |name: &str| (name == "a").then(|| value.to_owned());
    Expander::new('\\', &lookup).word(word).map(|expanded| expanded.text).map_err(|error| error.to_string())
}

#[test]
fn patterns_of_many_stars_are_matched_in_linear_time() {
    let value = "a".repeat(20_000);
    for pattern in ["*a".repeat(60) + "b", "a*".repeat(60) + "b", "*a*?".repeat(60) + "b"] {
        for form in ["##", "#", "%%", "%"] {
            assert_eq!(expand(&format!("${{a{form}{pattern}}}"), &value).unwrap(), value);
        }
        assert_eq!(expand(&format!("${{a//{pattern}/x}}"), &value).unwrap(), value);
    }
    assert!(expand(&format!("${{a#{}}}", "*".repeat(10_000)), "x").unwrap_err().contains("longer than 4096"));
}

#[test]
fn the_result_of_an_expansion_is_bounded() {
    let value = "x".repeat(100_000);
    for word in ["$a".repeat(20), format!("\"{}\"", "$a".repeat(20)), format!("${{a//x/{}}}", "y".repeat(50))] {
        assert!(expand(&word, &value).unwrap_err().contains("longer than the text"));
    }
    // Text that is thrown away again counts too.
    let thrown = format!("${{b:+{}}}", "$a".repeat(9)).repeat(100);
    assert!(expand(&thrown, &value).unwrap_err().contains("longer than the text"));
    assert_eq!(expand("$a$a", &value).unwrap().len(), 200_000);
    let doubling = "FROM scratch\nENV A=0123456789\n".to_owned() + &"ENV A=$A$A\n".repeat(64);
    let none = Images(|_: &str, platform: &Platform| Ok(empty(platform)));
    let errors = frontend::plan(&text::parse(doubling.as_bytes()).unwrap(), &request(), &none).unwrap_err();
    assert!(errors[0].message.contains("longer than the text"), "{}", errors[0].message);
}

#[test]
fn instructions_nested_in_each_other_do_not_end_the_stack() {
    let source = "FROM scratch\n".to_owned() + &"ONBUILD ".repeat(200_000) + "RUN a\n";
    assert_eq!(text::parse(source.as_bytes()).unwrap().lines.len(), 2);
    let nested = "${a:-".repeat(200_000);
    assert!(expand(&nested, "").unwrap_err().contains("inside each other"));
}
