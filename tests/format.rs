//! `kiln images --format` and `kiln inspect --format`: Go templates over docker's fields.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::Space;

fn told(space: &Space, args: &[&str]) -> String {
    let output = space.kiln(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn built() -> Space {
    let space = Space::new();
    space.write("app/Dockerfile", "FROM scratch\nCOPY Dockerfile /\nENV A=1 B=2\nLABEL role=db\n");
    space.built(&["-t", "app:1", "-t", "localhost:5000/team/app", "app"]);
    space
}

#[test]
fn images_are_listed_by_a_template() {
    let space = built();
    assert_eq!(
        told(&space, &["images", "--format", "{{.Repository}}:{{.Tag}}"]),
        "app:1\nlocalhost:5000/team/app:latest\n"
    );
    let id = told(&space, &["images", "-q"]).lines().next().unwrap().to_owned();
    assert!(id.contains(told(&space, &["images", "--format", "{{.ID}}"]).lines().next().unwrap()), "{id}");
    let table = told(&space, &["images", "--format", "table {{.Repository}}\\t{{.Tag}}\\t{{.CreatedSince}}"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("REPOSITORY                TAG       CREATED"), "{table}");
    assert!(lines[1].starts_with("app                       1         ") && lines[1].ends_with(" ago"), "{table}");
    assert_eq!(lines.len(), 3);
}

#[test]
fn an_image_is_inspected_by_a_template() {
    let space = built();
    assert_eq!(told(&space, &["inspect", "-f", "{{json .Config.Env}} {{.Os}}", "app:1"]).trim(), {
        "[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\",\"A=1\",\"B=2\"] linux"
    });
    let labels = "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{end}} {{index .RepoTags 0}}";
    let both = told(&space, &["inspect", "--format", labels, "app:1", "localhost:5000/team/app"]);
    assert_eq!(both, "role=db app:1\nrole=db localhost:5000/team/app:latest\n");
    assert_eq!(told(&space, &["inspect", "-f", "{{.Nothing}}", "app:1"]), "<no value>\n");
    let whole: serde_json::Value = serde_json::from_str(&told(&space, &["inspect", "app:1"])).unwrap();
    assert_eq!(whole[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(whole[0]["Id"], whole[0]["id"]);
}

#[test]
fn a_wrong_template_is_wrong_usage() {
    let space = built();
    for (args, says) in [
        (vec!["images", "--format", "{{.Nope}}"], "can't evaluate field Nope"),
        (vec!["images", "--format", "{{.ID"], "unclosed action"),
        (vec!["inspect", "-f", "{{nope .Id}}", "app:1"], "function \"nope\" not defined"),
        (vec!["inspect", "-f", "{{.Id.x}}", "app:1"], "can't evaluate field x"),
    ] {
        let output = space.kiln(&args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && error.contains(says) && output.stdout.is_empty(),
            "{args:?}: {error}"
        );
    }
}
