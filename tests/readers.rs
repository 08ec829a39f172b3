//! Tools that are not ours read and run what is exported.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::dockerd::Dockerd;
use common::{Space, by_root, have, is_root, registry, run};
use serde_json::Value;

const DOCKERFILE: &str = "\nWORKDIR /data\nCOPY hello .\nRUN ln hello linked && ln -s hello link && mkfifo pipe && chmod 4755 hello && chown -h 5:6 link\nRUN rm /etc/hostname && mkdir -p /etc/new && echo x > /etc/new/f\nENV GREETING=hi\nUSER app\nCMD [\"/bin/cat\", \"/data/hello\"]\n";

fn project(space: &Space) -> bool {
    if !have("docker-registry") || !have("busybox") {
        return false;
    }
    space.write("app/Dockerfile", &format!("FROM {}/busybox{DOCKERFILE}", registry().0));
    space.write("app/hello", "hello\n");
    true
}

fn path(space: &Space, name: &str) -> String {
    space.path(name).to_str().unwrap().to_owned()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn skopeo_and_umoci_read_every_form_and_compression() {
    let space = Space::new();
    if !project(&space) || !have("skopeo") || !have("umoci") {
        return;
    }
    for compression in ["gzip", "zstd", "uncompressed"] {
        let (tar, dir, docker) = (path(&space, "out.tar"), path(&space, "layout"), path(&space, "docker.tar"));
        let outputs = [
            format!("type=oci,dest={tar},compression={compression}"),
            format!("type=oci,tar=false,dest={dir},compression={compression},name=app:1"),
            format!("type=docker,dest={docker},compression={compression},name=app:1"),
        ];
        let _ = std::fs::remove_dir_all(&dir);
        space.built(&["-o", &outputs[0], "-o", &outputs[1], "-o", &outputs[2], "app"]);
        let archive = json(&run("skopeo", &["inspect", "--config", &format!("oci-archive:{tar}")]).stdout);
        let layout = json(&run("skopeo", &["inspect", "--config", &format!("oci:{dir}:1")]).stdout);
        let from_docker = json(&run("skopeo", &["inspect", "--config", &format!("docker-archive:{docker}")]).stdout);
        assert_eq!((&archive, &layout), (&layout, &from_docker));
        assert_eq!(archive["config"]["Env"][1], "GREETING=hi");
        // Every blob is read and checked on the way.
        run("skopeo", &["copy", "-q", &format!("oci-archive:{tar}"), &format!("dir:{}", path(&space, "copied"))]);
        if compression != "zstd" && is_root() {
            let bundle = path(&space, &format!("bundle-{compression}"));
            run("umoci", &["unpack", "--image", &format!("{dir}:1"), &bundle]);
            let stat = run("stat", &["-c", "%h %a %s", &format!("{bundle}/rootfs/data/hello")]).stdout;
            assert_eq!(String::from_utf8_lossy(&stat).trim(), "2 4755 6");
            assert!(!std::path::Path::new(&format!("{bundle}/rootfs/etc/hostname")).exists());
            assert_eq!(std::fs::read_to_string(format!("{bundle}/rootfs/etc/new/f")).unwrap(), "x\n");
        }
    }
}

#[test]
fn docker_loads_and_runs_what_is_saved() {
    let space = Space::new();
    if !by_root("run dockerd") || !project(&space) || !have("dockerd") {
        return;
    }
    space.built(&["-t", "kiln-test:1", "app"]);
    // The base must be there to be saved: an export brings it.
    space.built(&["-t", "kiln-test:1", "-o", &format!("type=oci,dest={}", path(&space, "x.tar")), "app"]);
    let saved = path(&space, "saved.tar");
    assert!(space.kiln(&["save", "-o", &saved, "kiln-test:1"]).status().unwrap().success());
    let dockerd = Dockerd::start(&space);
    let loaded = dockerd.docker(&["load", "-i", &saved]);
    let ran = dockerd.docker(&["run", "--rm", "--net=none", "kiln-test:1"]);
    let id = dockerd.docker(&["image", "inspect", "--format", "{{.Id}}", "kiln-test:1"]);
    drop(dockerd);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "hello\n", "{}", String::from_utf8_lossy(&ran.stderr));
    let ours = space.kiln(&["images", "-q"]).output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&id.stdout), String::from_utf8_lossy(&ours), "the image id is the same");
}

#[test]
fn podman_or_runc_runs_an_exported_image() {
    let space = Space::new();
    if !by_root("run containers") || !project(&space) || !have("umoci") || !have("runc") {
        return;
    }
    let dir = path(&space, "layout");
    space.built(&["-o", &format!("type=oci,tar=false,dest={dir},name=app:1"), "app"]);
    if have("podman") {
        let (pod, pod_run, image) = (path(&space, "pod"), path(&space, "podrun"), format!("oci:{dir}:1"));
        let storage = [
            "--root",
            &pod,
            "--runroot",
            &pod_run,
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--runtime=runc",
        ];
        let args = [&storage[..], &["run", "--rm", "--cgroups=disabled", "--network=none", &image]].concat();
        let output = std::process::Command::new("podman").args(&args).output().unwrap();
        if output.status.success() {
            assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
            return;
        }
    }
    let bundle = path(&space, "bundle");
    run("umoci", &["unpack", "--image", &format!("{dir}:1"), &bundle]);
    let file = format!("{bundle}/config.json");
    let mut config = json(&std::fs::read(&file).unwrap());
    config["process"]["terminal"] = Value::Bool(false);
    config["linux"]["resources"] = serde_json::json!({});
    std::fs::write(&file, config.to_string()).unwrap();
    let output = run(
        "runc",
        &["--root", &path(&space, "runc"), "run", "--bundle", &bundle, &format!("kiln-{}", std::process::id())],
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
}

#[test]
fn files_come_out_as_a_directory_and_as_a_tarball() {
    let space = Space::new();
    if !project(&space) {
        return;
    }
    // A link in the user's directory must not lead a file elsewhere.
    let (dest, outside) = (space.path("dest"), space.path("outside"));
    std::fs::create_dir_all(&dest).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, dest.join("data")).unwrap();
    let refused = space.build(&["-o", dest.to_str().unwrap(), "app"]);
    assert!(!refused.ok && std::fs::read_dir(&outside).unwrap().count() == 0, "{}", refused.stderr);
    std::fs::remove_file(dest.join("data")).unwrap();
    space.built(&["-o", dest.to_str().unwrap(), "app"]);
    assert_eq!(std::fs::read_to_string(dest.join("data/link")).unwrap(), "hello\n");
    assert!(!dest.join("etc/hostname").exists());
    let output = space.kiln(&["build", "-q", "-o", "-", "app"]).output().unwrap();
    std::fs::write(space.path("files.tar"), &output.stdout).unwrap();
    let list = run("tar", &["-tvf", &path(&space, "files.tar")]).stdout;
    let list = String::from_utf8_lossy(&list).into_owned();
    assert!(
        list.contains("data/linked link to data/hello")
            || list.contains("data/hello") && !list.contains("etc/hostname"),
        "{list}"
    );
}
