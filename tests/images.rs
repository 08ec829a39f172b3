//! Base images as other tools write them, and images on their way out: the same bytes, the right platform, the names.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "common/archives.rs"]
mod archives;
mod common;

use archives::Tar;
use common::{Space, needs, registry};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};
use std::collections::BTreeMap;
use std::path::PathBuf;

const OCI: &str = "application/vnd.oci.image";

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A layout in the making.
struct Layout {
    dir: PathBuf,
    sha512: bool,
}

impl Layout {
    fn new(space: &Space, name: &str) -> Layout {
        Layout { dir: space.path(name), sha512: false }
    }

    /// Puts a blob; its descriptor comes back.
    fn put(&self, media_type: &str, bytes: &[u8]) -> Value {
        let (algorithm, name) =
            if self.sha512 { ("sha512", hex(Sha512::digest(bytes))) } else { ("sha256", hex(Sha256::digest(bytes))) };
        let folder = self.dir.join("blobs").join(algorithm);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(&name), bytes).unwrap();
        json!({"mediaType": media_type, "digest": format!("{algorithm}:{name}"), "size": bytes.len()})
    }

    /// An image of one layer with a file `f`; `edit` changes its config.
    fn image(&self, layer_type: &str, edit: impl FnOnce(&mut Value)) -> Value {
        let tar = Tar::default().file("f", b"x").end();
        let mut config = json!({
            "architecture": "amd64", "os": "linux", "config": {}, "history": [{"created_by": "x"}],
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(Sha256::digest(&tar)))]}
        });
        edit(&mut config);
        let layer = self.put(layer_type, &tar);
        let config = self.put(&format!("{OCI}.config.v1+json"), config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": format!("{OCI}.manifest.v1+json"), "config": config, "layers": [layer]
        });
        self.put(&format!("{OCI}.manifest.v1+json"), manifest.to_string().as_bytes())
    }

    fn index(&self, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": format!("{OCI}.index.v1+json"), "manifests": manifests});
        self.put(&format!("{OCI}.index.v1+json"), index.to_string().as_bytes())
    }

    /// Gives an entry the name `v1`.
    fn finish(&self, mut top: Value) -> String {
        top["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
        let index = json!({"schemaVersion": 2, "manifests": [top]});
        std::fs::write(self.dir.join("index.json"), index.to_string()).unwrap();
        std::fs::write(self.dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        format!("base=oci-layout://{}:v1", self.dir.display())
    }
}

/// The only image of an OCI layout in a directory: index.json, the thing that it names, manifest and config.
fn read(dir: &std::path::Path) -> [Value; 3] {
    let file = |path: &std::path::Path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let blob = |value: &Value| file(&dir.join("blobs").join(value["digest"].as_str().unwrap().replace(':', "/")));
    let index = file(&dir.join("index.json"));
    let top = blob(&index["manifests"][0]);
    let manifest = if top["manifests"].is_array() { blob(&top["manifests"][0]) } else { top.clone() };
    let config = blob(&manifest["config"]);
    [top, manifest, config]
}

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

#[test]
fn bases_come_as_builders_have_written_them_for_years() {
    let space = Space::new();
    space.write("app/Dockerfile", "FROM base\nENV A=b\n");
    let works = |name: &str, make: &dyn Fn(&mut Layout) -> Value| {
        let mut layout = Layout::new(&space, name);
        let top = make(&mut layout);
        let base = layout.finish(top);
        let out = format!("type=tar,dest={}", space.path("out.tar").display());
        space.built(&["--platform=linux/amd64", "--build-context", &base, "-o", &out, "app"]);
        let listed = common::run("tar", &["tf", space.path("out.tar").to_str().unwrap()]);
        assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), "f", "{name}");
    };
    works("plain", &|layout| layout.image(TAR, |_| {}));
    for (name, media_type) in [
        ("foreign", "application/vnd.docker.image.rootfs.foreign.diff.tar"),
        ("nondistributable", "application/vnd.oci.image.layer.nondistributable.v1.tar"),
    ] {
        works(name, &|layout| layout.image(media_type, |_| {}));
    }
    works("nested", &|layout| {
        let image = layout.image(TAR, |_| {});
        let inner = layout.index(&[image]);
        layout.index(&[inner])
    });
    works("by-config", &|layout| {
        let other = layout.image(TAR, |config| config["architecture"] = json!("arm64"));
        let image = layout.image(TAR, |_| {});
        layout.index(&[other, image])
    });
    works("sha512", &|layout| {
        layout.sha512 = true;
        let image = layout.image(TAR, |_| {});
        layout.index(&[image])
    });
    works("nulls", &|layout| {
        layout.image(TAR, |config| {
            config["config"] = Value::Null;
            config["history"] = Value::Null;
            config["author"] = Value::Null;
        })
    });
}

#[test]
fn a_blob_must_have_the_sha512_that_names_it() {
    let space = Space::new();
    space.write("app/Dockerfile", "FROM base\n");
    let layout = Layout { sha512: true, ..Layout::new(&space, "layout") };
    let image = layout.image(TAR, |_| {});
    let base = layout.finish(image);
    for entry in std::fs::read_dir(space.path("layout/blobs/sha512")).unwrap() {
        let path = entry.unwrap().path();
        if std::fs::read(&path).unwrap().len() > 1024 {
            std::fs::write(&path, "another layer").unwrap();
        }
    }
    let built = space.build(&["--build-context", &base, "-o", "type=tar,dest=out.tar", "app"]);
    assert!(!built.ok && built.stderr.contains("does not have the digest"), "{}", built.stderr);
}

#[test]
fn the_platform_that_is_asked_for_stands_in_config_and_index() {
    let space = Space::new();
    let layout = Layout::new(&space, "layout");
    let image = layout.image(TAR, |config| config["other.builder"] = json!("its own"));
    let base = layout.finish(image);
    space.write("app/f", "y");
    space.write("app/Dockerfile", "FROM base\nCOPY f /g\n");
    let out = space.path("out");
    let oci = format!("type=oci,tar=false,dest={}", out.display());
    let build = |platform: &str| space.built(&["--platform", platform, "--build-context", &base, "-o", &oci, "app"]);

    let built = build("linux/arm64");
    assert!(built.stderr.contains("InvalidBaseImagePlatform"), "{}", built.stderr);
    let [_, _, config] = read(&out);
    assert_eq!((config["architecture"].as_str(), config["os"].as_str()), (Some("arm64"), Some("linux")));
    assert!(config.get("other.builder").is_none(), "{config}");

    build("linux/amd64,linux/arm/v6");
    let [top, ..] = read(&out);
    let platforms: Vec<&Value> = top["manifests"].as_array().unwrap().iter().map(|one| &one["platform"]).collect();
    assert_eq!(platforms[0], &json!({"architecture": "amd64", "os": "linux"}));
    assert_eq!(platforms[1], &json!({"architecture": "arm", "os": "linux", "variant": "v6"}));
    assert_ne!(top["manifests"][0]["digest"], top["manifests"][1]["digest"]);

    // Nobody asked: the image is for what the base is for.
    space.built(&["--build-context", &base, "-o", &oci, "app"]);
    assert_eq!(read(&out)[2]["architecture"], "amd64");
    // The variable asks too, the flag before it.
    let by_variable = |flags: &[&str]| {
        let line = [&["build", "--build-context", &base, "-o", &oci], flags, &["app"]].concat();
        let output = space.kiln(&line).env("DOCKER_DEFAULT_PLATFORM", "linux/s390x").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        read(&out)[2]["architecture"].as_str().unwrap().to_owned()
    };
    assert_eq!(by_variable(&[]), "s390x");
    assert_eq!(by_variable(&["--platform=linux/amd64"]), "amd64");
}

#[test]
fn archives_have_the_same_bytes_each_time() {
    let space = Space::new();
    space.write("app/a", "a");
    space.write("app/Dockerfile", "FROM scratch\nCOPY a /\nLABEL z=1 a=2 m=3\n");
    let mut seen: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    for number in 0..6 {
        for (kind, name) in [("oci", "x:1"), ("docker", "x:1"), ("oci", "y/z:2")] {
            let path = space.path(&format!("{kind}{number}"));
            space.built(&["-t", name, "-t", "two:2", "-o", &format!("type={kind},dest={}", path.display()), "app"]);
            seen.entry(if name == "x:1" { kind } else { "other" }).or_default().push(std::fs::read(path).unwrap());
        }
        let saved = space.kiln(&["save", "x:1"]).output().unwrap();
        seen.entry("save").or_default().push(saved.stdout);
        let saved = space.kiln(&["save", "--format=oci", "x:1"]).output().unwrap();
        seen.entry("save oci").or_default().push(saved.stdout);
    }
    for (kind, archives) in seen {
        assert!(archives[0].len() > 1024, "{kind}");
        assert!(archives.iter().all(|archive| *archive == archives[0]), "{kind}");
    }
}

#[test]
fn a_tarball_on_standard_output_stands_there_alone() {
    let space = Space::new();
    space.write("app/Dockerfile", "FROM scratch\nLABEL a=b\nCOPY Dockerfile /\n");
    for output in ["-", "type=tar,dest=-", "type=oci,dest=-", "type=docker,dest=-"] {
        let made = space.kiln(&["build", "-q", "-o", output, "app"]).output().unwrap();
        assert!(made.status.success() && made.stdout.len().is_multiple_of(512), "{output}: {}", made.stdout.len());
    }
    let quiet = space.kiln(&["build", "-q", "-o", "type=tar,dest=x.tar", "app"]).output().unwrap();
    assert!(quiet.stdout.starts_with(b"sha256:"));
    let both = space.build(&["-o", "-", "-o", "type=oci,dest=-", "app"]);
    assert_eq!(both.code, Some(2), "{}", both.stderr);
}

#[test]
fn files_of_an_earlier_build_do_not_outlive_a_failure() {
    let space = Space::new();
    space.write("app/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    space.write("app/Bad", "FROM scratch\nCOPY nothing /\n");
    let flags = ["--iidfile", "id", "--metadata-file", "meta"];
    space.built(&[&flags[..], &["app"]].concat());
    assert!(space.path("id").exists() && space.path("meta").exists());
    // A mistake on the command line is no build, and a check neither.
    assert!(!space.build(&[&flags[..], &["--network=nonsense", "app"]].concat()).ok);
    space.built(&[&flags[..], &["--check", "app"]].concat());
    assert!(space.path("id").exists() && space.path("meta").exists());
    assert!(!space.build(&[&flags[..], &["-f", "app/Bad", "app"]].concat()).ok);
    assert!(!space.path("id").exists() && !space.path("meta").exists());
    // An entry that is no file stays, and an empty name is none.
    std::os::unix::fs::symlink("/dev/null", space.path("link")).unwrap();
    space.built(&["--iidfile", "link", "--metadata-file", "", "--target", "", "app"]);
    assert!(space.path("link").is_symlink());
}

#[test]
fn an_id_stands_for_all_names_of_an_image() {
    let space = Space::new();
    space.write("app/Dockerfile", "FROM scratch\nLABEL a=b\nCOPY Dockerfile /\n");
    let id = || {
        let output =
            space.kiln(&["build", "-q", "-t", "one:1", "-t", "one:2", "-t", "other:1", "app"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let names = || String::from_utf8(space.kiln(&["images", "-q"]).output().unwrap().stdout).unwrap().lines().count();
    let id = (id(), id()).1;
    let refused = space.kiln(&["rmi", &id[7..19]]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("one:2") && said.contains("--force"), "{said}");
    assert_eq!(names(), 3);
    // Names of one repository go together.
    assert!(space.kiln(&["rmi", "other:1"]).status().unwrap().success());
    assert!(space.kiln(&["rmi", &id]).status().unwrap().success());
    assert_eq!(names(), 0);
    space.built(&["-t", "one:1", "-t", "other:1", "app"]);
    assert!(space.kiln(&["rmi", "--force", &id]).status().unwrap().success());
    assert_eq!(names(), 0);
    assert!(!space.kiln(&["rmi", &id]).status().unwrap().success());
}

#[test]
fn what_was_pulled_is_pushed_as_it_came() {
    needs!("docker-registry", "skopeo");
    let (host, _) = registry();
    let space = Space::new();
    let layout = Layout::new(&space, "layout");
    let image = layout.image(TAR, |_| {});
    // A manifest that nobody would write like this again.
    let path = space.path("layout/blobs").join(image["digest"].as_str().unwrap().replace(':', "/"));
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    manifest["annotations"] = json!({"org.example.team": "blue"});
    let bytes = serde_json::to_vec_pretty(&manifest).unwrap();
    let top = layout.put(&format!("{OCI}.manifest.v1+json"), &bytes);
    let digest = top["digest"].as_str().unwrap().to_owned();
    layout.finish(top);
    let from = format!("oci:{}:v1", space.path("layout").display());
    let (a, b, c) =
        (format!("{host}/as-it-came/a:1"), format!("{host}/as-it-came/b:1"), format!("{host}/as-it-came/c:1"));
    common::run("skopeo", &["copy", "--dest-tls-verify=false", "--preserve-digests", &from, &format!("docker://{a}")]);

    let kiln = |args: &[&str]| {
        let output = space.kiln(args).output().unwrap();
        assert!(output.status.success(), "{args:?} {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert!(kiln(&["pull", &a]).ends_with(&digest));
    assert_eq!(kiln(&["push", "-q", &a, &b]), digest);
    let there = common::run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{b}")]);
    assert_eq!(there.stdout, bytes);
    // An archive of it has it too; who asks for Docker's media types gets another.
    kiln(&["save", "--format=oci", "-o", "saved.tar", &a]);
    let listed = common::run("tar", &["tf", space.path("saved.tar").to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&digest[7..]));
    assert_ne!(kiln(&["push", "-q", "--format=docker", &a, &c]), digest);
    // The collector keeps it.
    kiln(&["prune", "--all"]);
    assert_eq!(kiln(&["push", "-q", &a, &c]), digest);
    space.assert_whole();
}

#[test]
fn a_local_output_loses_only_what_it_is_told_to_lose() {
    let space = Space::new();
    space.write("app/f", "new");
    space.write("app/Dockerfile", "FROM scratch\nCOPY f /d/f\nCOPY f /g\n");
    let elsewhere = Space::new();
    let fill = |space: &Space| {
        for name in ["out/old", "out/d/old", "out/g/in/the/way", "out/tree/deep/file"] {
            space.write(name, "old");
        }
        let _ = std::fs::remove_file(space.path("out/link"));
        std::os::unix::fs::symlink(space.path("kept"), space.path("out/link")).unwrap();
        space.write("kept/file", "kept");
        std::fs::set_permissions(space.path("out/tree/deep"), std::os::unix::fs::PermissionsExt::from_mode(0o555))
            .unwrap();
    };
    fill(&space);
    std::fs::remove_dir_all(space.path("out/g")).unwrap();
    space.built(&["-o", "out", "app"]);
    assert!(space.path("out/old").exists() && space.path("out/d/f").exists());
    std::fs::remove_file(space.path("out/g")).unwrap();
    std::fs::set_permissions(space.path("out/tree/deep"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fill(&space);
    space.built(&["-o", "type=local,dest=out,mode=delete", "app"]);
    let left = common::run("find", &[space.path("out").to_str().unwrap(), "-mindepth", "1", "-printf", "%P\n"]);
    let mut left: Vec<String> = String::from_utf8(left.stdout).unwrap().lines().map(str::to_owned).collect();
    left.sort();
    assert_eq!(left, ["d", "d/f", "g"]);
    assert!(space.path("kept/file").exists());

    fill(&elsewhere);
    let there = format!("type=local,mode=delete,dest={}", elsewhere.path("out").display());
    let refused = space.build(&["-o", &there, "app"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("--allow buildx.local.delete"), "{}", refused.stderr);
    assert!(elsewhere.path("out/old").exists());
    space.built(&["--allow=buildx.local.delete", "-o", &there, "app"]);
    assert!(!elsewhere.path("out/old").exists() && elsewhere.path("out/d/f").exists());
    // Folders of platforms that are not built any more go too.
    let both = ["-o", "type=local,dest=out,mode=delete", "--platform=linux/amd64,linux/arm64", "app"];
    space.built(&both);
    space.built(&["--build-arg=BUILDKIT_MULTI_PLATFORM=1", "--platform=linux/arm64", both[0], both[1], "app"]);
    let mut left: Vec<_> =
        std::fs::read_dir(space.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["linux_arm64"]);
}

#[test]
fn build_arguments_of_buildkit_do_what_they_do_there() {
    let space = Space::new();
    space.write(
        "app/Dockerfile",
        "ARG SOURCE_DATE_EPOCH=86400\nFROM scratch AS last\nARG TARGETSTAGE\nLABEL s=$TARGETSTAGE\nCOPY Dockerfile /\n",
    );
    let out = space.path("out");
    let oci = format!("type=oci,tar=false,dest={}", out.display());
    let built = space.built(&[
        "--build-arg=BUILDKIT_MULTI_PLATFORM=1",
        "--build-arg=BUILDKIT_INLINE_CACHE=1",
        "--build-arg=BUILDKIT_SBOM_SCAN_STAGE=1",
        "-o",
        &oci,
        "app",
    ]);
    let [top, _, config] = read(&out);
    assert_eq!(top["manifests"].as_array().map(Vec::len), Some(1), "{top}");
    assert!(config["dev.kiln.cache.inline.v2"].is_string() && config["created"] == "1970-01-02T00:00:00Z", "{config}");
    assert_eq!(config["config"]["Labels"]["s"], "last");
    assert!(built.stderr.contains("BUILDKIT_SBOM_SCAN_STAGE does nothing here"), "{}", built.stderr);
    assert!(!built.stderr.contains("BUILDKIT_INLINE_CACHE"), "{}", built.stderr);
    for (flags, says) in [
        (vec!["--build-arg=BUILDKIT_SYNTAX="], "BUILDKIT_SYNTAX is empty"),
        (vec!["--build-arg=BUILDKIT_MULTI_PLATFORM=0", "--platform=linux/amd64,linux/arm64"], "does not go with"),
        (vec!["--build-arg==V"], "--build-arg =V: there is no name"),
        (vec!["--label", "=V"], "--label =V: there is no name"),
        (vec!["--secret=id=,src=app/Dockerfile"], "there is no id="),
        (vec!["--add-host=:1.2.3.4"], "there is no name"),
    ] {
        let refused = space.build(&[&flags[..], &["app"]].concat());
        assert!(refused.code == Some(2) && refused.stderr.contains(says), "{flags:?}: {}", refused.stderr);
    }
}

#[test]
fn variables_of_buildx_count_where_a_flag_leaves_it_open() {
    let space = Space::new();
    space.write("app/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let said = |view: &str, flags: &[&str]| {
        let mut command = space.kiln(&[&["build", "--no-cache=true", "--push=false"], flags, &["app"]].concat());
        command.env("BUILDKIT_PROGRESS", view).env("BUILDX_BUILDER", "x").env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1");
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(said("rawjson", &[]).1.starts_with('{'));
    assert!(said("rawjson", &["--progress=plain"]).1.starts_with('#'));
    assert_eq!(said("quiet", &["-q=false"]).1, "");
    assert_eq!(said("nonsense", &[]).0, Some(2));
}
