//! `kiln compose`: images of services are built from the compose file, unchanged.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::Space;
use serde_json::Value;
use std::process::Output;

const FILE: &str = "\
name: shop
services:
  base:
    build:
      context: base
      args: {WORD: hello}
  web:
    image: shop/web:1
    build:
      context: web
      additional_contexts: {base: 'service:base'}
      labels: {team: blue}
      tags: [shop/web:latest]
  inline:
    build:
      dockerfile_inline: |
        FROM scratch
        COPY web/file /inline
  cache:
    image: redis
";

fn project() -> Space {
    let space = Space::new();
    space.write("app/compose.yaml", FILE);
    space.write("app/base/Dockerfile", "FROM scratch\nARG WORD\nENV SAID=$WORD\nCOPY file /base\n");
    space.write("app/base/file", "of base\n");
    space.write("app/web/Dockerfile", "FROM base\nCOPY file /web\n");
    space.write("app/web/file", "of web\n");
    space
}

fn compose(space: &Space, args: &[&str]) -> Output {
    let mut command = space.kiln(&["compose"]);
    command.args(args).current_dir(space.path("app")).output().unwrap()
}

fn built(space: &Space, args: &[&str]) {
    let output = compose(space, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn image(space: &Space, name: &str) -> Value {
    let output = space.kiln(&["inspect", name]).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Value>(&output.stdout).unwrap()[0].clone()
}

#[test]
fn the_services_with_a_build_get_images_with_their_names() {
    let space = project();
    built(&space, &["build"]);
    let base = image(&space, "shop-base");
    assert!(base["Config"]["Env"].as_array().unwrap().contains(&"SAID=hello".into()), "{base}");
    let web = image(&space, "shop/web:1");
    assert_eq!(web["RootFS"]["Layers"].as_array().unwrap().len(), 2, "{web}");
    assert_eq!(web["RootFS"]["Layers"][0], base["RootFS"]["Layers"][0]);
    let labels = &web["Config"]["Labels"];
    assert_eq!((&labels["team"], &labels["com.docker.compose.service"]), (&"blue".into(), &"web".into()));
    assert_eq!(image(&space, "shop/web:latest")["Id"], web["Id"]);
    image(&space, "shop-inline");
    // The service without a build is left alone.
    assert!(!space.kiln(&["inspect", "redis"]).output().unwrap().status.success());
}

#[test]
fn a_named_service_is_built_with_the_services_that_it_takes_from() {
    let space = project();
    built(&space, &["build", "--build-arg", "WORD=bye", "web"]);
    image(&space, "shop/web:1");
    assert!(!space.kiln(&["inspect", "shop-inline"]).output().unwrap().status.success());
    let output = compose(&space, &["build", "wbe"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("wbe"), "{told}");
}

#[test]
fn the_model_is_printed_as_docker_prints_it() {
    let space = project();
    let output = compose(&space, &["config", "--format", "json"]);
    let model: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(model["services"]["web"]["image"], "shop/web:1");
    let output = compose(&space, &["config", "--services"]);
    let mut services: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    services.sort();
    assert_eq!(services, ["base", "cache", "inline", "web"]);
    let output = compose(&space, &["version", "--short"]);
    assert!(output.status.success() && !output.stdout.is_empty());
}
