//! Trust: signatures, layers of an unverified cache in the store, records that lie, and a directory that strangers write to.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "remote/machine.rs"]
mod machine;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Space, needs};
use machine::{Desk, Machine, base, two_stages};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// The second stage copies a file of the first. The layer of the copy comes from nobody's cache.
fn project() -> Space {
    let space = Space::new();
    let text = format!(
        "FROM {base} AS one\nRUN head -c 16 /dev/urandom | md5sum >/made\nFROM {base}\nCOPY --from=one /made /made\n",
        base = base()
    );
    space.write("app/Dockerfile", &text);
    space
}

/// A stranger's result comes to a machine that signs; it neither leaves it with a signature nor is used where
/// signatures count.
#[test]
fn what_nobody_vouches_for_is_not_signed_and_not_used_where_signatures_count() {
    needs!("openssl");
    let (project, desk) = (project(), Desk::new());
    let (stranger, ci, user) = (Machine::new(&project), Machine::new(&project), Machine::new(&project));
    stranger.built(&["--cache-to", &desk.to("theirs"), "-o", "files"]);
    // A pull request's job on the machine, which then has the stranger's results.
    ci.built(&["--cache-from", &desk.from("theirs"), "-o", "files"]);
    assert_eq!(ci.made(), stranger.made());
    // It may go on with them, and signs nothing.
    let built = ci.built(&["--cache-to", &desk.signed("ours"), "-o", "files"]);
    assert!(built.ran.is_empty() && built.stderr.contains("are not signed and not pushed"), "{}", built.stderr);
    let copied = ["--cache-from", &desk.from("theirs"), "--cache-to", &desk.signed("ours"), "-o", "files"];
    assert!(Machine::new(&project).built(&copied).stderr.contains("are not signed and not pushed"));
    assert_eq!(user.built(&["--cache-from", &desk.verified("ours"), "-o", "files"]).ran.len(), 2);
    // The main branch's job on that machine.
    let args = ["--cache-from", &desk.verified("ours"), "--cache-to", &desk.signed("ours"), "-o", "files"];
    assert_eq!(ci.built(&args).ran.len(), 2);
    assert_ne!(ci.made(), stranger.made());
    let other = Machine::new(&project);
    assert_eq!(other.built(&["--cache-from", &desk.verified("ours"), "-o", "files"]).ran, [""; 0]);
    assert_eq!(other.made(), ci.made());
    // Verified results are handed on by who has them from there; and they do not count for another key.
    let args = ["--cache-from", &desk.verified("ours"), "--cache-to", &desk.signed("copy"), "-o", "files"];
    assert!(!Machine::new(&project).built(&args).stderr.contains("warning"));
    let last = Machine::new(&project);
    assert_eq!(last.built(&["--cache-from", &desk.verified("copy"), "-o", "files"]).ran, [""; 0]);
    assert_eq!(last.made(), ci.made());
    let wrong = format!("{},verify-key={}", desk.from("copy"), desk.path("other-public"));
    assert_eq!(last.built(&["--cache-from", &wrong, "-o", "files"]).ran.len(), 2, "its store has them by another key");
}

/// A step on a stranger's layer, and a copy out of one, are as little trusted as that one.
#[test]
fn what_is_made_of_an_unverified_layer_is_not_verified() {
    needs!("openssl");
    let (project, desk) = (project(), Desk::new());
    let stranger = Machine::new(&project);
    stranger.built(&["--cache-to", &desk.to("theirs"), "--target", "one", "-o", "files"]);
    let ci = Machine::new(&project);
    let built = ci.built(&["--cache-from", &desk.from("theirs"), "--cache-to", &desk.signed("ours"), "-o", "files"]);
    assert_eq!(built.ran, ["COPY --from=one /made /made"], "{}", built.stderr);
    assert_eq!(ci.made(), stranger.made());
    let user = Machine::new(&project);
    assert_eq!(user.built(&["--cache-from", &desk.verified("ours"), "-o", "files"]).ran.len(), 2);
    assert_ne!(user.made(), stranger.made());
}

/// Changes the bodies of all batches; names and checksums are right again.
fn rewrite(cache: &Path, change: &dyn Fn(&mut Value)) -> usize {
    let objects = cache.join("objects");
    let mut count = 0;
    for entry in std::fs::read_dir(&objects).unwrap().flatten().map(|entry| entry.path()) {
        let text = std::fs::read_to_string(&entry).unwrap();
        let body = STANDARD.decode(text.split_once("\n\n").unwrap().1).unwrap();
        let mut value: Value = serde_json::from_slice(&zstd::decode_all(body.as_slice()).unwrap()).unwrap();
        change(&mut value);
        let body = STANDARD.encode(zstd::bulk::compress(value.to_string().as_bytes(), 3).unwrap());
        let sum: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
        let time = entry.file_name().unwrap().to_string_lossy().split('-').nth(1).unwrap().to_owned();
        std::fs::remove_file(&entry).unwrap();
        let name = objects.join(format!("batch-{time}-{}", &sum[..16]));
        std::fs::write(name, format!("kiln-object 1 {sum}\n\n{body}")).unwrap();
        count += 1;
    }
    count
}

type Lie = (&'static str, fn(&mut Value));

/// Each of these is a record that somebody wrote on purpose. None of them may end a build or be used.
const LIES: &[Lie] = &[
    ("layers of another chain", |batch| {
        let chains = batch["chains"].as_array_mut().unwrap();
        chains.iter_mut().for_each(|chain| chain[0] = Value::Null);
    }),
    ("a layer twice", |batch| {
        let last = batch["chains"].as_array().unwrap().len() - 1;
        let layer = batch["chains"][last][1].clone();
        batch["chains"].as_array_mut().unwrap().push(json!([last, layer]));
        let records = batch["records"].as_array_mut().unwrap();
        records.iter_mut().for_each(|record| record["chain"] = json!(last + 1));
    }),
    ("a chain of itself", |batch| batch["chains"][0][0] = json!(0)),
    ("another content", |batch| change(batch, "content", "1")),
    ("another diff id", |batch| change(batch, "diff_id", "2")),
    ("another blob", |batch| {
        let layers = batch["layers"].as_array_mut().unwrap().iter_mut().filter(|layer| layer.is_object());
        layers.for_each(|layer| layer["blob"]["digest"] = json!(format!("sha256:{}", "3".repeat(64))));
    }),
    ("another size", |batch| {
        let layers = batch["layers"].as_array_mut().unwrap().iter_mut().filter(|layer| layer.is_object());
        layers.for_each(|layer| layer["blob"]["size"] = json!(u64::MAX));
    }),
    ("no base below", |batch| {
        let layers = batch["layers"].as_array_mut().unwrap().iter_mut();
        layers.filter(|layer| layer["kind"] == "base").for_each(|layer| layer["kind"] = json!("run"));
    }),
    ("a text of another key", |batch| {
        let records = batch["records"].as_array_mut().unwrap();
        records.iter_mut().for_each(|record| record["text"] = json!("run: \"rm\"\n"));
    }),
    ("a batch that is not there", |batch| {
        batch["on"] = json!(["batch-000000000001-0123456789abcdef"]);
        batch["layers"][0] = json!([0, 0]);
    }),
    ("a time to come", |batch| batch["records"][0]["at"] = json!(u64::MAX)),
    ("another version of keys", |batch| batch["keys"] = json!(1_000_000)),
    ("nothing", |batch| *batch = json!({})),
    ("many layers", |batch| {
        let chains = (0..20_000).map(|at| if at == 0 { json!([null, 0]) } else { json!([at - 1, 0]) });
        batch["chains"] = chains.collect();
    }),
];

fn change(batch: &mut Value, field: &str, digit: &str) {
    let layers = batch["layers"].as_array_mut().unwrap().iter_mut();
    let layers = layers.filter(|layer| layer.is_object() && layer["kind"] != "base");
    layers.for_each(|layer| layer[field] = json!(format!("sha256:{}", digit.repeat(64))));
}

#[test]
fn a_record_that_lies_costs_time_and_nothing_else() {
    let (project, desk) = (two_stages(), Space::new());
    let (good, bad) = (desk.path("good"), desk.path("bad"));
    Machine::new(&project).built(&["--cache-to", &format!("type=local,dest={}", good.display())]);
    let from = format!("type=local,src={}", bad.display());
    for (what, lie) in LIES {
        common::run("rm", &["-rf", &bad.display().to_string()]);
        common::run("cp", &["-r", &good.display().to_string(), &bad.display().to_string()]);
        assert!(rewrite(&bad, lie) > 0);
        let machine = Machine::new(&project);
        machine.built(&["--cache-from", &from, "-o", "files"]);
        assert_eq!(std::fs::read_to_string(machine.space.path("files/copy")).unwrap(), "source\nmore\n", "{what}");
        machine.space.assert_whole();
        // The records in the store do no harm either.
        let text = std::fs::read_to_string(project.path("app/Dockerfile")).unwrap();
        project.write("app/Dockerfile", &format!("{text}RUN cat /copy >/last\n"));
        machine.built(&["-o", "files"]);
        assert_eq!(std::fs::read_to_string(machine.space.path("files/last")).unwrap(), "source\nmore\n", "{what}");
        project.write("app/Dockerfile", &text);
    }
}

/// A record says that a blob of the base is a layer with another diff id. Nothing of the store may believe that later.
#[test]
fn a_record_can_t_spoil_a_base_image() {
    let (project, desk) = (two_stages(), Space::new());
    let cache = desk.path("cache");
    Machine::new(&project).built(&["--cache-to", &format!("type=local,dest={}", cache.display())]);
    rewrite(&cache, &|batch| {
        let layers = batch["layers"].as_array_mut().unwrap().iter_mut().filter(|layer| layer["kind"] == "base");
        for layer in layers {
            let digest = format!("sha256:{}", "4".repeat(64));
            (layer["diff_id"], layer["content"]) = (json!(digest), json!(digest));
        }
    });
    let machine = Machine::new(&project);
    let from = format!("type=local,src={}", cache.display());
    assert_eq!(machine.built(&["--cache-from", &from, "-o", "files"]).ran.len(), 5);
    machine.built(&["-o", "files", "--no-cache"]);
    machine.space.assert_whole();
}

/// Somebody who may write to the directory puts links where kiln would write or read.
#[test]
fn links_in_a_shared_directory_are_not_followed() {
    let (project, desk) = (two_stages(), Space::new());
    let (cache, victim) = (desk.path("cache"), desk.path("victim"));
    for folder in ["objects", "victim"] {
        std::fs::create_dir_all(if folder == "victim" { victim.clone() } else { cache.join(folder) }).unwrap();
    }
    std::os::unix::fs::symlink(&victim, cache.join("chunks")).unwrap();
    let to = format!("type=local,dest={}", cache.display());
    let built = Machine::new(&project).built(&["--cache-to", &to]);
    assert!(built.stderr.contains("warning: cache local"), "{}", built.stderr);
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
    std::fs::remove_file(cache.join("chunks")).unwrap();
    Machine::new(&project).built(&["--cache-to", &to]);
    // Every file is a link to another that has its bytes: it could be exchanged at any moment.
    for entry in std::fs::read_dir(cache.join("objects")).unwrap().flatten() {
        let moved = victim.join(entry.file_name());
        std::fs::rename(entry.path(), &moved).unwrap();
        std::os::unix::fs::symlink(&moved, entry.path()).unwrap();
    }
    let from = format!("type=local,src={}", cache.display());
    assert_eq!(Machine::new(&project).built(&["--cache-from", &from]).ran.len(), 5);
}
