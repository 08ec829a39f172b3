//! Machines that know nothing of each other, projects that they build, and keys and directories that they share.
#![allow(dead_code)]

use super::common::{self, Built, Space};

/// A machine of its own: another store, the same project.
pub struct Machine {
    pub space: Space,
    pub project: std::path::PathBuf,
}

impl Machine {
    pub fn new(project: &Space) -> Machine {
        Machine { space: Space::new(), project: project.path("app") }
    }
    pub fn build(&self, args: &[&str]) -> Built {
        self.space.build(&[args, &[self.project.to_str().unwrap()]].concat())
    }
    pub fn built(&self, args: &[&str]) -> Built {
        let built = self.build(args);
        assert!(built.ok, "kiln build {args:?} failed:\n{}", built.stderr);
        built
    }
    /// The text of /made after a build with `-o files`.
    pub fn made(&self) -> String {
        std::fs::read_to_string(self.space.path("files/made")).unwrap()
    }
}

/// A pair of keys to sign with, another pair, and directories for caches.
pub struct Desk {
    space: Space,
}

impl Desk {
    pub fn new() -> Desk {
        let desk = Desk { space: Space::new() };
        for pair in ["", "other-"] {
            let (private, public) = (desk.path(&format!("{pair}private")), desk.path(&format!("{pair}public")));
            common::run("openssl", &["genpkey", "-algorithm", "ed25519", "-out", &private]);
            common::run("openssl", &["pkey", "-in", &private, "-pubout", "-out", &public]);
        }
        desk
    }

    pub fn path(&self, name: &str) -> String {
        self.space.path(name).display().to_string()
    }

    pub fn to(&self, name: &str) -> String {
        format!("type=local,dest={}", self.path(name))
    }

    pub fn signed(&self, name: &str) -> String {
        format!("{},sign-key={}", self.to(name), self.path("private"))
    }

    pub fn from(&self, name: &str) -> String {
        format!("type=local,src={}", self.path(name))
    }

    pub fn verified(&self, name: &str) -> String {
        format!("{},verify-key={}", self.from(name), self.path("public"))
    }
}

pub fn base() -> String {
    format!("{}/busybox", common::registry().0)
}

/// Two stages: what the second takes is small, what the first makes besides is not.
pub fn two_stages() -> Space {
    let space = Space::new();
    let dockerfile = format!(
        "FROM {base} AS build\nCOPY source /src/\nRUN head -c 3000000 /dev/urandom >/big && cp /src/source /out\n\
         RUN echo more >>/out\nFROM {base}\nCOPY --from=build /out /app\nRUN cat /app >/copy\n",
        base = base()
    );
    space.write("app/Dockerfile", &dockerfile);
    space.write("app/source", "source\n");
    space
}

/// A project of some small steps.
pub fn steps(count: usize) -> Space {
    let space = Space::new();
    let runs: String = (0..count).map(|number| format!("RUN echo {number} >/file{number}\n")).collect();
    space.write("app/Dockerfile", &format!("FROM {}\n{runs}", base()));
    space
}
