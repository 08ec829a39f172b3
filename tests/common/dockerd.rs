//! A dockerd of the test's own, ended with it.

use super::{Space, run};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

pub struct Dockerd {
    host: String,
    daemon: Child,
}

impl Dockerd {
    /// Starts one whose data lies in the space. Needs root.
    pub fn start(space: &Space) -> Dockerd {
        let path = |name: &str| space.path(name).display().to_string();
        let host = format!("unix://{}", path("d.sock"));
        let folders =
            ["--data-root", &path("docker"), "--exec-root", &path("exec"), "--pidfile", &path("pid"), "-H", &host];
        let daemon = Command::new("dockerd")
            .args(folders)
            .args(["--iptables=false", "--bridge=none", "--storage-driver=vfs"])
            .arg(format!(
                "--containerd-namespace=kiln-{}",
                Path::new(&path("")).file_name().map_or("test".into(), |name| name.to_string_lossy().replace('.', ""))
            ))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let dockerd = Dockerd { host, daemon };
        let up = (0..300).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            dockerd.docker(&["info"]).status.success()
        });
        assert!(up, "dockerd did not start");
        dockerd
    }

    pub fn docker(&self, args: &[&str]) -> Output {
        Command::new("/usr/bin/docker").args(["-H", &self.host]).args(args).output().unwrap()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        run("kill", &[&self.daemon.id().to_string()]);
        let _ = self.daemon.wait();
    }
}
