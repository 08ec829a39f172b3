//! Tests of config.json: which host an entry is for, and that other content stays.

use super::*;

fn logins(text: &str) -> (tempfile::TempDir, Logins) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("config.json");
    std::fs::write(&file, text).expect("written");
    (dir, Logins { file: Some(file), stop: Stop::default() })
}

fn password(user: &str, password: &str) -> Credential {
    Credential::Password { user: user.to_owned(), password: password.to_owned() }
}

#[test]
fn a_credential_is_for_one_host_and_port() {
    let auth = BASE64_STANDARD.encode("me:a:b");
    let (_dir, logins) = logins(&json!({"auths": {"r.io:5000": {"auth": auth}}}).to_string());
    assert_eq!(logins.get("r.io:5000").expect("read"), Some(password("me", "a:b")));
    for other in ["r.io", "r.io:5001", "x.r.io:5000", "r.io:50000", "docker.io"] {
        assert_eq!(logins.get(other).expect("read"), None, "{other}");
    }
}

#[test]
fn docker_hub_has_its_old_address_as_key() {
    let (_dir, logins) = logins("{}");
    logins.put("docker.io", &password("me", "pw")).expect("kept");
    let text = std::fs::read_to_string(logins.file.as_ref().expect("a file")).expect("read");
    assert!(text.contains("https://index.docker.io/v1/"), "{text}");
    assert_eq!(logins.get("docker.io").expect("read"), Some(password("me", "pw")));
    assert_eq!(logins.get("index.docker.io.evil").expect("read"), None);
}

#[test]
fn a_login_keeps_everything_else_and_a_logout_takes_its_own_alone() {
    let (_dir, logins) = logins(r#"{"psFormat": "x", "auths": {"b": {"auth": "Yjpi"}}, "zzz": [1]}"#);
    let place = logins.put("a:1", &password("u", "p")).expect("kept");
    let file = logins.file.clone().expect("a file");
    assert_eq!(place, Place::File(file.clone()));
    assert!(logins.remove("a:1").expect("removed") && !logins.remove("a:1").expect("nothing there"));
    let left: Value = serde_json::from_slice(&std::fs::read(&file).expect("read")).expect("JSON");
    assert_eq!(left, json!({"psFormat": "x", "auths": {"b": {"auth": "Yjpi"}}, "zzz": [1]}));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_identity_token_comes_before_a_password() {
    let (_dir, logins) = logins(r#"{"auths": {"a": {"auth": "dTpw", "identitytoken": "tok"}}}"#);
    assert_eq!(logins.get("a").expect("read"), Some(Credential::Identity("tok".to_owned())));
}

#[test]
fn nothing_secret_stands_in_errors_and_debug_output() {
    let (_dir, broken) = logins(r#"{"auths": {"a": {"auth": "!!hunter2"}}}"#);
    let error = broken.get("a").expect_err("refused");
    assert!(error.to_string().contains("no base64") && !format!("{error:?}").contains("hunter2"), "{error}");
    let (_dir, broken) = logins(r#"{"auths": {"a": {"auth": hunter2}}}"#);
    let error = broken.get("a").expect_err("refused");
    assert!(error.to_string().contains("line 1") && !format!("{error:?}").contains("hunter2"), "{error}");
    assert_eq!(format!("{:?}", password("u", "hunter2")), "Credential(...)");
}
