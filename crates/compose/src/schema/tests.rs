//! Tests of the module above.

use super::*;
use crate::place::Sources;

fn fault(text: &str) -> String {
    let file = Sources::default().add("compose.yaml", text);
    let document = crate::yaml::parse(text, file).expect(text).remove(0);
    validate(&document.root).expect_err(text).to_string()
}

fn sorted(fields: &Fields, name: &str) {
    assert!(fields.keys.is_sorted_by(|a, b| a.0 < b.0), "the keys of {name} are not sorted");
    fields.keys.iter().for_each(|(key, shape)| inside(shape, key));
}

fn inside(shape: &Shape, name: &str) {
    match shape {
        Shape::Fields(fields) => sorted(fields, name),
        Shape::List(item, _) => inside(item, name),
        Shape::Dict(dict) => inside(dict.value, name),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| inside(shape, name)),
        _ => {}
    }
}

#[test]
fn all_tables_are_sorted() {
    sorted(&TOP, "a file");
}

#[test]
fn faults_are_told_with_their_path() {
    for (text, words) in [
        ("service: {}", "the top level: additional property `service` is not allowed"),
        ("services: {web: {imag: x}}", "services.web: additional property `imag`"),
        ("services: {we b: {}}", "services: additional property `we b`"),
        ("services: {web: {image: 1}}", "services.web.image must be a string"),
        ("services: {web: {ports: {}}}", "services.web.ports must be a list"),
        ("services: {web: {command: {}}}", "services.web.command must be nothing, a string or a list"),
        ("services: {web: {cap_add: [a, b, a]}}", "services.web.cap_add items at 0 and 2 are equal"),
        ("services: {web: {cpu_percent: 101}}", "services.web.cpu_percent must be less than or equal to 100"),
        ("services: {web: {cgroup: hosts}}", "services.web.cgroup must be one of `host`, `private`"),
        ("services: {web: {depends_on: {db: {}}}}", "services.web.depends_on.db is missing the property `condition`"),
        ("services: {web: {pull_policy: often}}", "services.web.pull_policy `often` must be"),
    ] {
        assert!(fault(text).starts_with(words), "{text}: {}", fault(text));
    }
}
