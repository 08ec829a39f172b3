//! The output of templates is that of Go's `text/template` with docker's functions.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::{Value, json};
use template::{Missing, Template, table};

fn data() -> Value {
    json!({
        "Name": "web", "Id": "sha256:0123456789abcdef", "Size": 1536, "Ratio": 0.25, "On": true, "Off": false,
        "Tags": ["a", "b", "c"], "None": [], "Nil": null, "Big": 1e21,
        "Labels": {"z": "last", "com.example/role": "db", "a": ""},
        "State": {"Running": true, "Health": {"Status": "healthy"}},
        "Mounts": [{"Source": "/s1", "Target": "/t1"}, {"Source": "/s2", "Target": "/t2"}],
    })
}

fn run(text: &str) -> Result<String, String> {
    let parsed = Template::parse(text).map_err(|error| error.to_string())?;
    parsed.execute(&data(), Missing::NoValue).map_err(|error| error.to_string())
}

#[test]
fn templates_print_what_go_prints() {
    let cases = [
        ("plain", "plain"),
        ("{{.Name}}", "web"),
        ("{{ .State.Health.Status }}", "healthy"),
        ("{{.Size}} {{.Ratio}} {{.On}} {{.Big}}", "1536 0.25 true 1e+21"),
        ("{{.Tags}}", "[a b c]"),
        ("{{.Labels}}", "map[a: com.example/role:db z:last]"),
        ("{{.Nil}}", "<nil>"),
        ("{{.Nope}}", "<no value>"),
        ("{{.}}", &super_printed()),
        ("{{index .Labels \"com.example/role\"}}", "db"),
        ("{{index .Labels \"nope\"}}", ""),
        ("{{index .Tags 1}}", "b"),
        ("{{(index .Mounts 0).Source}}", "/s1"),
        ("{{index (index .Mounts 1) \"Target\"}}", "/t2"),
        ("{{json .Tags}}", "[\"a\",\"b\",\"c\"]"),
        ("{{.State | json}}", "{\"Running\":true,\"Health\":{\"Status\":\"healthy\"}}"),
        ("{{join .Tags \", \"}}", "a, b, c"),
        ("{{.Name | upper | printf \"%s!\"}}", "WEB!"),
        ("{{range .Tags}}<{{.}}>{{end}}", "<a><b><c>"),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $t := .Tags}}{{if $i}},{{end}}{{$i}}={{$t}}{{end}}", "0=a,1=b,2=c"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a=;com.example/role=db;z=last;"),
        ("{{range .Mounts}}{{.Source}}:{{$.Name}} {{end}}", "/s1:web /s2:web "),
        ("{{range .Tags}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac"),
        ("{{range .Tags}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{if .Off}}x{{else if .Nil}}y{{else}}z{{end}}", "z"),
        ("{{with .State.Health}}{{.Status}}{{end}}", "healthy"),
        ("{{with .Nil}}x{{else with .Name}}{{.}}{{end}}", "web"),
        ("{{with $x := .Name}}{{$x}}{{end}}", "web"),
        ("{{$x := 1}}{{if .On}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if .On}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ("a {{- 1 -}} b", "a1b"),
        ("a{{/* note */}}b {{- /* note */ -}} c", "abc"),
        ("{{define \"t\"}}[{{.}}]{{end}}{{template \"t\" .Name}}", "[web]"),
        ("{{block \"b\" .Size}}<{{.}}>{{end}}", "<1536>"),
        ("{{and .On .Name}} {{or .Off .Nil \"last\"}} {{not .Off}}", "web last true"),
        (
            "{{eq .Name \"x\" \"web\"}} {{ne 1 2}} {{lt 1 2}} {{ge 2.5 2}} {{le \"a\" \"b\"}}",
            "true true true true true",
        ),
        ("{{len .Tags}} {{len .Name}} {{slice .Id 7 19}}", "3 3 0123456789ab"),
        ("{{split \"a:b\" \":\"}} {{title \"two words\"}} {{lower \"ABC\"}}", "[a b] Two Words abc"),
        ("{{pad .Name 1 2}}| {{truncate .Id 6}}", " web  | sha256"),
        ("{{print 1 2 \"x\" 3}} {{println \"a\" 1}}", "1 2x3 a 1\n"),
        (
            "{{printf \"%-6s|%5d|%05.1f|%x|%q|%v|%t|%%\" .Name 42 2.25 255 \"a\" .Tags true}}",
            "web   |   42|002.2|ff|\"a\"|[a b c]|true|%",
        ),
        ("{{printf \"%d\" \"x\"}} {{printf \"%s\"}} {{printf \"a\" 1}}", "%!d(string=x) %!s(MISSING) a%!(EXTRA int=1)"),
        ("{{html \"<a & 'b'>\"}} {{urlquery \"a b/c\"}}", "&lt;a &amp; &#39;b&#39;&gt; a+b%2Fc"),
        (
            "{{\"q\\t\\u00e9\"}} {{`raw\\n`}} {{'a'}} {{0x1f}} {{1_000}} {{-2}} {{1.5e3}}",
            "q\té raw\\n 97 31 1000 -2 1500",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
    }
}

fn super_printed() -> String {
    "map[Big:1e+21 Id:sha256:0123456789abcdef Labels:map[a: com.example/role:db z:last] \
     Mounts:[map[Source:/s1 Target:/t1] map[Source:/s2 Target:/t2]] Name:web Nil:<nil> None:[] Off:false On:true \
     Ratio:0.25 Size:1536 State:map[Health:map[Status:healthy] Running:true] Tags:[a b c]]"
        .to_owned()
}

#[test]
fn what_is_no_template_is_refused_with_its_line() {
    let cases = [
        ("{{", "unclosed action"),
        ("{{.Name", "unclosed action"),
        ("{{if .On}}", "{{end}} is missing"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{break}}", "outside {{range}}"),
        ("{{nope .Name}}", "function \"nope\" not defined"),
        ("{{$x}}", "undefined variable \"$x\""),
        ("{{range $x := .Tags}}{{end}}{{$x}}", "undefined variable"),
        ("{{.Name | .Size}}", "non-function command"),
        ("{{1 2}}", "takes no arguments"),
        ("{{\"open}}", "unterminated quoted string"),
        ("{{()}}", "missing value"),
        ("{{(.Name}}", "unclosed left paren"),
        ("{{/* open }}", "unclosed comment"),
        ("{{.Name}}{{0xzz}}", "bad number syntax"),
        ("{{template \"nope\"}}", "not defined"),
        ("{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}", "exceeded maximum template depth"),
        ("{{.Name.First}}", "can't evaluate field First"),
        ("{{.Nope.First}}", "no entry for key \"First\""),
        ("{{index .Tags 9}}", "out of range"),
        ("{{index .Name .Tags}}", "expected int"),
        ("{{len 3}}", "len of type int"),
        ("{{eq .Tags .Tags}}", "non-comparable"),
        ("{{lt 1 \"a\"}}", "incompatible types"),
        ("{{not}}", "wrong number of args"),
        ("{{range .Name}}{{end}}", "can't iterate"),
    ];
    for (text, expected) in cases {
        let error = run(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(run("a\nb\n{{nope}}").unwrap_err().contains(":3:"));
}

#[test]
fn a_missing_field_is_an_error_where_the_fields_are_known() {
    let template = Template::parse("{{.Nope}}").unwrap();
    let error = template.execute(&data(), Missing::Error).unwrap_err();
    assert!(error.message.contains("can't evaluate field Nope"), "{error}");
}

#[test]
fn hostile_templates_end() {
    let deep = "(".repeat(100_000);
    assert!(run(&format!("{{{{{deep}")).is_err());
    let ifs = "{{if .On}}".repeat(100_000);
    assert!(run(&ifs).is_err());
    let elses = format!("{{{{if .Off}}}}{}", "{{else if .Off}}".repeat(100_000));
    assert!(run(&elses).is_err());
    let loops = "{{range 1000}}".repeat(6) + "x" + &"{{end}}".repeat(6);
    assert!(run(&loops).unwrap_err().contains("too"));
    assert!(run("{{printf \"%999999999d\" 1}}").unwrap().len() < 20_000);
    assert!(run("{{$x := \"0123456789\"}}{{range 900000}}{{$x = print $x $x}}{{end}}").unwrap_err().contains("large"));
}

#[test]
fn the_fields_of_a_table_are_its_heading() {
    let template = Template::parse("{{.Name}}\t{{.Size | json}}\t{{range .Tags}}{{.Inner}}{{end}}{{.Name}}").unwrap();
    assert_eq!(template.fields(), ["Name", "Size", "Tags"]);
}

#[test]
fn columns_are_as_wide_as_their_widest_cell() {
    let lines = ["NAME\tSIZE\tNOTE", "a-long-name\t1kB\tx", "b\t2MB\t"].map(String::from);
    assert_eq!(
        table::align(&lines),
        "NAME          SIZE      NOTE\na-long-name   1kB       x\nb             2MB       \n"
    );
}
