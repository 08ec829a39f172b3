//! The command line of `kiln build`, from flags to the request.

use super::*;
use crate::engine::Secret;
use base::attributes::Attributes;
use base::error::Kind;
use clap::Parser as _;

fn request(args: &[&str]) -> Result<BuildRequest> {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").expect("written");
    let context = dir.path().to_string_lossy().into_owned();
    let words = ["kiln", "build"].into_iter().chain(args.iter().copied()).chain([context.as_str()]);
    let args::Command::Build(build) = args::Cli::try_parse_from(words).expect("flags").command else {
        panic!("another command")
    };
    let get = |name: &str| (name == "SET").then(|| "value".to_owned());
    BuildRequest::of(&build, &Environment { get: &get }, 7)
}

fn refused(args: &[&str], words: &str) {
    let error = request(args).map(drop).expect_err("refused");
    let text = format!("{error} {}", error.hints().join(" "));
    assert!(text.contains(words) && error.kind() == Kind::Usage, "{text}");
}

#[test]
fn flags_mean_what_they_mean_to_docker() {
    let request = request(&[
        "--build-arg=A=1",
        "--build-arg=SET",
        "--build-arg=UNSET",
        "--platform=linux/amd64,arm64",
        "--add-host=a:1.2.3.4",
        "--secret=id=s,env=SET",
        "--network=host",
        "-o",
        "type=oci,dest=-",
        "--label=x=y=z",
        "-t",
        "a/b:c",
    ])
    .expect("a request");
    assert_eq!(request.build_args.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["A=1", "SET=value"]);
    assert_eq!(request.platforms.iter().map(ToString::to_string).collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);
    assert_eq!(request.hosts, [("a".to_owned(), "1.2.3.4".to_owned())]);
    assert_eq!(request.secrets.get("s"), Some(&Secret::Value(b"value".to_vec())));
    assert!(request.allow.network_host && request.network == Network::Host);
    assert_eq!(request.labels, [("x".to_owned(), "y=z".to_owned())]);
    assert_eq!((request.outputs[0].attributes.kind.as_str(), request.outputs[0].now), ("oci", 7));
}

#[test]
fn wrong_values_are_refused_with_the_right_ones() {
    refused(&["--network=nnoe"], "did you mean `none`?");
    refused(&["--allow=network.hots"], "did you mean `network.host`?");
    refused(&["--platform=a/b/c/d"], "cannot parse platform");
    refused(&["--secret=idd=x"], "did you mean `id`?");
    refused(&["--secret=id=x,env=NOPE"], "NOPE is not set");
    refused(&["-o", "type=oic,dest=x"], "did you mean `oci`?");
    refused(&["-o", "dest=x"], "no type=");
    refused(&["--push"], "a name to push to");
    refused(&["-o", "type=registry,name=a@sha256:12"], "digest");
    refused(&["-o", "type=image,push=true,push-by-digest=true,name=r.io/a:1"], "without a tag");
    refused(&["--cache-to=type=local"], "--cache-to type=local needs dest=");
    refused(&["--cache-to=type=lcoal,dest=x"], "did you mean `local`?");
    refused(&["--cache-to=type=registry,ref=r.io/a,mdoe=max"], "did you mean `mode`?");
    refused(&["--cache-to=type=registry,ref=r.io/a,mode=mx"], "did you mean `max`?");
    refused(&["--cache-from=type=local,dest=x"], "unknown attribute of --cache-from type=local `dest`");
    refused(&["--cache-from=UPPER"], "must be lowercase");
    refused(&["--provenance=max"], "--provenance=false");
    refused(&["-t", "UPPER"], "must be lowercase");
    assert!(request(&["--provenance=false", "--sbom=false", "--load", "--rm", "--force-rm"]).is_ok());
}

#[test]
fn push_is_an_output_of_its_own_or_that_of_the_image() {
    let kinds = |args: &[&str]| {
        let outputs = request(args).expect("a request").outputs;
        outputs.into_iter().map(|one| one.attributes).collect::<Vec<_>>()
    };
    let of = |kind: &str, others: &[(&str, &str)]| [Attributes::new(kind, others.iter().copied())];
    assert_eq!(kinds(&["--push", "-t", "a"]), of("registry", &[]));
    assert_eq!(kinds(&["--push", "-t", "a", "-o", "type=image"]), of("image", &[("push", "true")]));
    assert_eq!(kinds(&["--push", "-o", "type=registry,name=a,b/c"]), of("registry", &[("name", "a,b/c")]));
    assert_eq!(kinds(&["--push", "-o", "type=image,name=a"]), of("image", &[("name", "a"), ("push", "true")]));
}

#[test]
fn the_store_is_where_the_environment_says() {
    let root_of = |pairs: &'static [(&str, &str)], is_root| {
        let get =
            move |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        root(&Environment { get: &get }, is_root).map(|path| path.display().to_string()).ok()
    };
    assert_eq!(root_of(&[("KILN_ROOT", "/k"), ("HOME", "/h")], true).as_deref(), Some("/k"));
    assert_eq!(root_of(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")], false).as_deref(), Some("/x/kiln"));
    assert_eq!(root_of(&[("HOME", "/h")], false).as_deref(), Some("/h/.local/share/kiln"));
    assert_eq!(root_of(&[("HOME", "/root")], true).as_deref(), Some("/var/lib/kiln"));
    assert_eq!(root_of(&[], false), None);
}
