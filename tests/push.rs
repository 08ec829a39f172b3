//! Pushing to Debian's docker-registry, plain, with a password, and through a proxy that breaks things. What was pushed is
//! read by skopeo.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "push/rig.rs"]
mod rig;

use common::{Space, needs};
use rig::{Fault, Proxy, Registry};
use serde_json::Value;
use std::process::{Command, Output};

/// A project whose one layer of its own is a few megabytes that don't compress.
fn project(space: &Space, base: &str) {
    space.write("app/Dockerfile", &format!("FROM {base}\nCOPY big small /\nENV GREETING=hi\n"));
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    });
    std::fs::write(space.path("app/big"), noise.take(3 << 20).collect::<Vec<u8>>()).unwrap();
    space.write("app/small", "small\n");
}

fn skopeo(args: &[&str]) -> Output {
    common::run("skopeo", args)
}

fn inspect(name: &str, what: &[&str]) -> Value {
    let name = format!("docker://{name}");
    let args = [&["inspect", "--tls-verify=false"], what, &[name.as_str()]].concat();
    serde_json::from_slice(&skopeo(&args).stdout).unwrap()
}

/// Reads every blob and checks it.
fn assert_readable(space: &Space, name: &str) {
    let to = format!("dir:{}", space.path("copied").display());
    let _ = std::fs::remove_dir_all(space.path("copied"));
    skopeo(&["copy", "-q", "--all", "--src-tls-verify=false", &format!("docker://{name}"), &to]);
}

fn metadata(space: &Space) -> Value {
    serde_json::from_slice(&std::fs::read(space.path("meta.json")).unwrap()).unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// kiln with a folder of credentials of this space's own.
fn kiln(space: &Space, args: &[&str]) -> Command {
    let mut command = space.kiln(args);
    let path = format!("{}:{}", space.path("bin").display(), std::env::var("PATH").unwrap());
    command.env("DOCKER_CONFIG", space.path("docker")).env("PATH", path).stdin(std::process::Stdio::null());
    command
}

fn login(space: &Space, at: &str, password: &str) -> Output {
    space.write("password", password);
    let mut command = kiln(space, &["login", "--username", rig::USER, "--password-stdin", at]);
    command.stdin(std::fs::File::open(space.path("password")).unwrap()).output().unwrap()
}

#[test]
fn what_is_pushed_is_the_image_under_all_its_names_with_its_digest() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(false));
    project(&space, "scratch");
    let (one, two) = (registry.name("team/app:1"), registry.name("other/app:2"));
    let output = format!("type=registry,\"name={one},{two}\",compression=zstd");
    space.built(&["--metadata-file", "meta.json", "-o", &output, "app"]);
    assert_readable(&space, &one);
    for name in [&one, &two] {
        assert_eq!(inspect(name, &[])["Digest"], metadata(&space)["containerimage.digest"]);
        assert_eq!(inspect(name, &["--config"])["config"]["Env"][1], "GREETING=hi");
    }
    let manifest = inspect(&one, &["--raw"]);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(metadata(&space)["image.name"], format!("{two},{one}"));
    // The second repository got its blobs from the first: nothing was sent twice.
    assert_eq!(registry.uploads("other/app"), 0, "{}", registry.log());
    assert!(registry.uploads("team/app") > 0);
}

#[test]
fn a_base_stays_byte_for_byte_and_is_mounted_from_its_repository() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(false));
    space.write("base/Dockerfile", "FROM scratch\nCOPY f /\n");
    space.write("base/f", &"of the base\n".repeat(1000));
    let (base, app) = (registry.name("team/base:1"), registry.name("team/app:1"));
    // Another compression than the one that the app is pushed with.
    space.built(&["-o", &format!("type=registry,name={base},compression=zstd"), "base"]);
    let fresh = Space::new();
    project(&fresh, &base);
    fresh.built(&["--push", "-t", &app, "app"]);
    let (below, above) = (inspect(&base, &["--raw"]), inspect(&app, &["--raw"]));
    assert_eq!(below["layers"][0], above["layers"][0]);
    assert_readable(&fresh, &app);
    let digest = below["layers"][0]["digest"].as_str().unwrap();
    let log = registry.log();
    assert!(
        log.lines().any(|line| line.contains("mount=") && line.contains(digest) && line.ends_with(" 201")),
        "{log}"
    );
    assert!(!log.lines().any(|line| line.starts_with("PUT /v2/team/app/blobs") && line.contains(digest)), "{log}");
}

#[test]
fn a_second_push_sends_nothing() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(false));
    project(&space, "scratch");
    let name = registry.name("app:1");
    space.built(&["--push", "-t", &name, "app"]);
    let before = registry.uploads("app");
    space.built(&["--push", "-t", &name, "app"]);
    assert!(before > 0 && registry.uploads("app") == before, "{}", registry.log());
}

#[test]
fn several_platforms_are_an_index() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(false));
    project(&space, "scratch");
    let name = registry.name("app:many");
    space.built(&["--push", "--platform=linux/amd64,linux/arm64", "--metadata-file", "meta.json", "-t", &name, "app"]);
    let index = inspect(&name, &["--raw"]);
    let platforms: Vec<_> =
        index["manifests"].as_array().unwrap().iter().map(|one| one["platform"]["architecture"].clone()).collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    assert_eq!(inspect(&name, &[])["Digest"], metadata(&space)["containerimage.digest"]);
    assert_readable(&space, &name);
}

#[test]
fn by_digest_nothing_gets_a_tag() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(false));
    project(&space, "scratch");
    let output = format!("type=image,name={},push=true,push-by-digest=true", registry.name("app"));
    space.built(&["--metadata-file", "meta.json", "-o", &output, "app"]);
    let digest = metadata(&space)["containerimage.digest"].as_str().unwrap().to_owned();
    assert_readable(&space, &registry.name(&format!("app@{digest}")));
    let tags = Command::new("skopeo")
        .args(["list-tags", "--tls-verify=false", &format!("docker://{}", registry.name("app"))])
        .output()
        .unwrap();
    assert!(!text(&tags).contains("latest"), "{}", text(&tags));
}

#[test]
fn an_image_of_the_store_is_pushed_and_comes_back() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(false));
    project(&space, "scratch");
    let name = registry.name("team/app:1");
    space.built(&["-t", "local", "app"]);
    let pushed = space.kiln(&["push", "local", &name]).output().unwrap();
    let digest = inspect(&name, &[])["Digest"].as_str().unwrap().to_owned();
    assert_eq!(text(&pushed).trim(), format!("{name}@{digest}"));
    let fresh = Space::new();
    let pulled = fresh.kiln(&["pull", &name]).output().unwrap();
    assert_eq!(text(&pulled).trim(), format!("{name}@{digest}"));
    let ids = |space: &Space| text(&space.kiln(&["images", "-q"]).output().unwrap());
    assert_eq!(ids(&space), ids(&fresh));
    // Its blobs are there: it can go elsewhere, as it was.
    let again = fresh.kiln(&["push", "-q", &name, &registry.name("moved:1")]).output().unwrap();
    assert_eq!(text(&again).trim(), digest);
    fresh.assert_whole();
    let none = space.kiln(&["push", "nobody"]).output().unwrap();
    assert!(!none.status.success() && text(&none).contains("there is no image"), "{}", text(&none));
}

/// Pushes through a proxy that breaks the one large upload; its log comes back.
fn broken(fault: Fault) -> String {
    let (space, registry) = (Space::new(), Registry::start(false));
    let proxy = Proxy::start(&registry, vec![fault]);
    project(&space, "scratch");
    let name = proxy.name("app:1");
    space.built(&["-o", &format!("type=registry,name={name},compression=uncompressed"), "app"]);
    assert_readable(&space, &registry.name("app:1"));
    assert_eq!(proxy.log().matches("FAULT").count(), 1, "{}", proxy.log());
    proxy.log()
}

#[test]
fn a_broken_upload_goes_on_where_it_ended() {
    needs!("docker-registry", "skopeo");
    let log = broken(Fault::keep("PUT", "/blobs/uploads/", 1 << 20));
    assert!(log.lines().any(|line| line.starts_with("PATCH") && line.contains("content-range=1048576-")), "{log}");
}

#[test]
fn an_upload_that_the_registry_has_forgotten_begins_anew() {
    needs!("docker-registry", "skopeo");
    let log = broken(Fault::cut("PUT", "/blobs/uploads/", 1 << 20));
    assert_eq!(log.lines().filter(|line| line.starts_with("POST")).count(), 3, "{log}");
}

#[test]
fn busy_failing_and_resetting_registries_are_asked_again() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(false));
    let faults = vec![
        Fault::status("HEAD", "/blobs/", 503),
        Fault::status("POST", "/blobs/uploads/", 429),
        Fault::status("PUT", "/blobs/uploads/", 502),
        Fault::cut("POST", "/blobs/uploads/", 0),
        Fault::cut("PUT", "/manifests/", 0),
        Fault::status("PUT", "/manifests/", 500),
    ];
    let count = faults.len();
    let proxy = Proxy::start(&registry, faults);
    project(&space, "scratch");
    space.built(&["--push", "-t", &proxy.name("app:1"), "app"]);
    assert_readable(&space, &registry.name("app:1"));
    assert_eq!(proxy.log().matches("FAULT").count(), count, "{}", proxy.log());
}

#[test]
fn a_registry_that_never_recovers_is_given_up_and_nothing_has_the_name() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(false));
    let proxy = Proxy::start(&registry, (0..50).map(|_| Fault::status("PUT", "/blobs/uploads/", 503)).collect());
    project(&space, "scratch");
    let refused = space.build(&["--push", "-t", &proxy.name("app:1"), "app"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("the registry answers 503"), "{}", refused.stderr);
    assert!(!registry.log().contains("PUT /v2/app/manifests"), "{}", registry.log());
}

#[test]
fn a_mount_that_is_declined_is_an_upload() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(false));
    project(&space, "scratch");
    // Without `from` the registry begins an upload, as one does that may not mount.
    let proxy = Proxy::start(&registry, (0..4).map(|_| Fault::forget("POST", "mount=")).collect());
    let (one, two) = (proxy.name("a/app:1"), proxy.name("b/app:1"));
    space.built(&["-o", &format!("type=registry,name={one},{two}"), "app"]);
    assert_readable(&space, &registry.name("b/app:1"));
    assert!(registry.uploads("b/app") > 0, "{}", proxy.log());
}

#[test]
fn a_registry_with_another_manifest_than_ours_is_an_error() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(false));
    let proxy = Proxy::start(&registry, vec![Fault::lie("PUT", "/manifests/")]);
    project(&space, "scratch");
    let refused = space.build(&["--push", "-t", &proxy.name("app:1"), "app"]);
    assert!(!refused.ok && refused.stderr.contains("another manifest"), "{}", refused.stderr);
}

#[test]
fn a_login_opens_the_registry_and_a_logout_closes_it() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(true));
    project(&space, "scratch");
    let (at, name) = (registry.name(""), registry.name("app:1"));
    let at = at.trim_end_matches('/');
    let build = || kiln(&space, &["build", "--push", "-t", &name, "app"]).output().unwrap();
    let refused = build();
    assert!(!refused.status.success() && text(&refused).contains(&format!("kiln login {at}")), "{}", text(&refused));
    let wrong = login(&space, at, "not-the-password");
    assert!(!wrong.status.success() && text(&wrong).contains("access denied"), "{}", text(&wrong));
    assert!(!space.path("docker/config.json").exists() && !text(&wrong).contains("not-the-password"));

    let well = login(&space, at, rig::PASSWORD);
    assert!(well.status.success() && !text(&well).contains(rig::PASSWORD), "{}", text(&well));
    let pushed = build();
    assert!(pushed.status.success() && !text(&pushed).contains(rig::PASSWORD), "{}", text(&pushed));
    // skopeo reads it with the login that kiln wrote.
    let config = space.path("docker/config.json");
    skopeo(&["inspect", "--tls-verify=false", "--authfile", config.to_str().unwrap(), &format!("docker://{name}")]);
    let fresh = Space::new();
    let mut pull = fresh.kiln(&["pull", &name]);
    assert!(pull.env("DOCKER_CONFIG", space.path("docker")).status().unwrap().success());

    assert!(kiln(&space, &["logout", at]).status().unwrap().success());
    assert!(!build().status.success());
}

#[test]
fn a_helper_keeps_the_password_in_place_of_the_file() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(true));
    project(&space, "scratch");
    let kept = space.path("kept");
    let helper = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >{0};;\nget) read s; [ -f {0} ] && grep -q \"$s\" {0} && cat {0} || \
         {{ echo credentials not found in native keychain; exit 1; }};;\nerase) rm {0};;\nesac\n",
        kept.display()
    );
    let path = space.write("bin/docker-credential-test", &helper);
    common::run("chmod", &["+x", path.to_str().unwrap()]);
    let at = registry.name("");
    let at = at.trim_end_matches('/');
    space.write("docker/config.json", &format!("{{\"credHelpers\": {{\"{at}\": \"test\"}}}}"));
    assert!(login(&space, at, rig::PASSWORD).status.success());
    let config = std::fs::read_to_string(space.path("docker/config.json")).unwrap();
    assert!(kept.exists() && !config.contains("\"auth\":"), "{config}");
    let push = || kiln(&space, &["build", "--push", "-t", &registry.name("app:1"), "app"]).output().unwrap();
    assert!(push().status.success(), "{}", text(&push()));
    assert!(kiln(&space, &["logout", at]).status().unwrap().success() && !kept.exists());
    assert!(!push().status.success());
}

#[test]
fn tokens_come_for_a_password_by_get_and_for_an_identity_by_post() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(false));
    project(&space, "scratch");
    let proxy = Proxy::guarded(&registry);
    let at = proxy.name("");
    let at = at.trim_end_matches('/');
    assert!(login(&space, at, rig::PASSWORD).status.success());
    let push = |name: &str| kiln(&space, &["build", "--push", "-t", &proxy.name(name), "app"]).output().unwrap();
    let well = push("a:1");
    assert!(well.status.success(), "{}\n{}", text(&well), proxy.log());
    assert!(proxy.log().contains("GET /token?service=rig&scope=repository:a:pull,push"), "{}", proxy.log());

    space.write(
        "docker/config.json",
        &format!("{{\"auths\": {{\"{at}\": {{\"identitytoken\": \"{}\"}}}}}}", rig::IDENTITY),
    );
    let well = push("b:1");
    assert!(well.status.success(), "{}\n{}", text(&well), proxy.log());
    assert!(proxy.log().contains("POST /token"), "{}", proxy.log());
    space.write(
        "docker/config.json",
        &format!("{{\"auths\": {{\"{at}\": {{\"identitytoken\": \"wrong-identity\"}}}}}}"),
    );
    let refused = push("c:1");
    assert!(!refused.status.success() && !text(&refused).contains("wrong-identity"), "{}", text(&refused));
}

#[test]
fn credentials_go_to_no_other_host() {
    needs!("docker-registry", "skopeo");
    let (space, registry) = (Space::new(), Registry::start(true));
    project(&space, "scratch");
    let at = registry.name("");
    assert!(login(&space, at.trim_end_matches('/'), rig::PASSWORD).status.success());
    // The same machine on another port, which asks for a password and passes everything on.
    let other = Proxy::start(&registry, Vec::new());
    let refused = kiln(&space, &["build", "--push", "-t", &other.name("app:1"), "app"]).output().unwrap();
    assert!(!refused.status.success(), "{}", text(&refused));
    assert!(!other.log().contains("authorization="), "{}", other.log());
    // A registry that sends us there asks for nothing there.
    let astray = Proxy::start(&registry, vec![Fault::redirect("GET", "/manifests/", other.port)]);
    assert!(login(&space, astray.name("").trim_end_matches('/'), rig::PASSWORD).status.success());
    let refused = kiln(&space, &["pull", &astray.name("app:1")]).output().unwrap();
    assert!(!refused.status.success(), "{}", text(&refused));
    assert!(other.log().contains("GET /v2/app/manifests/1"), "{}", other.log());
    assert!(!other.log().contains("authorization="), "{}", other.log());
}
