//! Tests of the module above.

use super::*;
use crate::go;
use crate::node::Value;
use crate::place::Sources;

fn read(text: &str) -> Result<Vec<Document>> {
    parse(text, Sources::default().add("compose.yaml", text))
}

fn shown(text: &str) -> String {
    read(text).expect(text).iter().map(|document| go::sprint(&document.root)).collect::<Vec<_>>().join(" | ")
}

fn refused(text: &str) -> (Code, u32) {
    let problem = read(text).expect_err(text).problems.remove(0);
    (problem.code, problem.place.map_or(0, |place| place.start))
}

#[test]
fn scalars_have_the_types_of_go() {
    let text = "[yes, true, ~, '', 0644, 0o17, 0x1F, 1_000, 12345678901234567890, 1e3, .5, 08, 1.2.3, 22:22, !!str 7]";
    let root = read(text).expect("a list")[0].root.clone();
    let kinds: Vec<_> = root.as_list().expect("a list").iter().map(|node| node.value.kind()).collect();
    let (word, flag, number) = ("a string", "a boolean", "a number");
    let rest = [number, number, number, number, number, number, number, number, word, word, word];
    assert_eq!(kinds[..4], [word, flag, "nothing", word]);
    assert_eq!(kinds[4..], rest);
    assert_eq!(shown(text), "[yes true <nil>  420 15 31 1000 12345678901234567890 1000 0.5 8 1.2.3 22:22 7]");
}

#[test]
fn merge_keys_add_what_is_not_there() {
    let text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: {\"<<\": 1}";
    assert!(shown(text).contains("c:map[x:3 y:1 z:2]"), "{}", shown(text));
    assert!(shown(text).contains("d:map[<<:1]"));
    assert_eq!(refused("a: {<<: b}").0, Code::Value);
}

#[test]
fn reset_and_override_are_paths() {
    let documents = read("s: {a: !reset [1], b: !override {c: !reset 1, d: 2}}").expect("a document");
    let paths: Vec<_> = documents[0].cleared.iter().map(|path| path.join(".")).collect();
    assert_eq!(paths, ["s.a", "s.b", "s.b.c"]);
    assert_eq!(go::sprint(&documents[0].root), "map[s:map[b:map[d:2]]]");
}

#[test]
fn tabs_may_stand_between_a_key_and_its_value() {
    assert_eq!(shown("a:\tx\nb: \t y\nc:\t\t[1]\nd: \"\ta:\tb\""), "map[a:x b:y c:[1] d:\ta:\tb]");
}

#[test]
fn places_count_bytes() {
    let documents = read("ü: é\nß: [x, *y]").err().map(|error| error.problems[0].place);
    assert!(documents.is_some());
    let text = "ü: é\nimage: yes";
    let root = read(text).expect("a document")[0].root.clone();
    let image = root.as_map().and_then(|map| map.entry("image")).expect("a key");
    assert_eq!(&text[image.key.start as usize..image.key.end as usize], "image");
    assert_eq!(&text[image.node.place.start as usize..image.node.place.end as usize], "yes");
}

#[test]
fn bad_files_end_in_an_error_with_a_place() {
    assert_eq!(refused("a: 1\na: 2"), (Code::Syntax, 5));
    assert_eq!(refused("a: &a {b: *a}").0, Code::Cycle);
    assert_eq!(refused("a: *b").0, Code::Syntax);
    assert_eq!(refused("a: \u{1}"), (Code::Syntax, 3));
    assert_eq!(refused("1: x"), (Code::Value, 0));
    assert_eq!(refused("a: !!int x").0, Code::Value);
    assert_eq!(refused(&format!("{}{}", "[".repeat(200), "]".repeat(200))).0, Code::Limit);
    assert_eq!(refused(&"- ".repeat(5000)).0, Code::Limit);
}

#[test]
fn aliases_have_a_budget() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let line = format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
        text.push_str(&line);
    }
    assert_eq!(refused(&text).0, Code::Limit);
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(refused(&deep).0, Code::Limit);
}

#[test]
fn documents_and_emptiness() {
    assert!(read("").expect("nothing").is_empty());
    assert!(read("# only words\n").expect("nothing").is_empty());
    assert_eq!(shown("a: 1\n---\nb: 2\n"), "map[a:1] | map[b:2]");
    assert!(matches!(
        read("---\n").expect("one").first(),
        None | Some(Document { root: Node { value: Value::Null, .. }, .. })
    ));
}
