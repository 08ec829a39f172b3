//! A place to build in: the context of the state at hand, written as an editor or a checkout would, and stores.

use crate::common::{KILN, Space, registry};
use crate::image::{self, Image};
use crate::program::{Node, Program, REGISTRY, Tree, archive};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

pub struct World {
    pub space: Space,
    context: Tree,
    other: Tree,
    program: Option<Program>,
    outputs: usize,
}

/// The outcome of a build: an image, or the words of its failure; and the steps that it reports to have run.
pub struct Outcome {
    pub image: Result<Image, String>,
    pub ran: Vec<String>,
}

/// A build that was begun.
pub struct Begun {
    child: Child,
    name: String,
}

impl World {
    pub fn new() -> World {
        let (context, other) = (Tree::new(), Tree::new());
        World { space: Space::new(), context, other, program: None, outputs: 0 }
    }

    /// Brings the context to a state. What did not change is not touched.
    pub fn enter(&mut self, program: &Program) {
        for (name, old, new) in
            [("context", &mut self.context, &program.context), ("other", &mut self.other, &program.other)]
        {
            let dir = self.space.path(name);
            fs::create_dir_all(&dir).unwrap();
            bring(&dir, old, new);
            *old = new.clone();
        }
        self.write_rest("", program);
        self.program = Some(program.clone());
    }

    fn write_rest(&self, prefix: &str, program: &Program) {
        let text = program.dockerfile().replace(REGISTRY, &registry().0);
        self.space.write(&format!("{prefix}Dockerfile"), &text);
        self.space.write(&format!("{prefix}word"), "a secret\n");
    }

    /// Begins to build another state, out of a directory of its own.
    pub fn begin_aside(&mut self, program: &Program, store: &str) -> Begun {
        let aside = self.space.path("aside");
        let _ = fs::remove_dir_all(&aside);
        for (name, tree) in [("context", &program.context), ("other", &program.other)] {
            fs::create_dir_all(aside.join(name)).unwrap();
            bring(&aside.join(name), &Tree::new(), tree);
        }
        self.write_rest("aside/", program);
        self.begin_in(&aside, program, store, &[])
    }

    pub fn build(&mut self, store: &str, more: &[&str]) -> Outcome {
        let begun = self.begin(store, more);
        self.end(begun)
    }

    pub fn begin(&mut self, store: &str, more: &[&str]) -> Begun {
        let program = self.program.clone().unwrap();
        self.begin_in(&self.space.path(""), &program, store, more)
    }

    fn begin_in(&mut self, dir: &Path, program: &Program, store: &str, more: &[&str]) -> Begun {
        self.outputs += 1;
        let name = format!("out{}", self.outputs);
        let mut command = self.command(&["build", "--progress=plain", "-f", "Dockerfile"], store);
        let layout = self.space.path(&name);
        command.current_dir(dir).arg("-o").arg(format!("type=oci,tar=false,dest={}", layout.display()));
        command.args(["--build-context", "other=./other", "--secret", "id=word,src=word"]).args(more);
        command.args(program.flags.iter().map(|(flag, value)| format!("--{flag}={value}")));
        command.env("KILN_EVENT_LOG", self.space.path(&format!("{name}.log")));
        let said = fs::File::create(self.space.path(&format!("{name}.err"))).unwrap();
        let child = command.arg("context").stdout(Stdio::null()).stderr(said).spawn().unwrap();
        Begun { child, name }
    }

    pub fn end(&mut self, mut begun: Begun) -> Outcome {
        let status = begun.child.wait().unwrap();
        let path = |suffix: &str| self.space.path(&format!("{}{suffix}", begun.name));
        let ran = crate::common::ran(&path(".log"));
        let image = if status.success() {
            image::read(&path(""))
        } else {
            Err(format!("{status}\n{}", fs::read_to_string(path(".err")).unwrap()))
        };
        let _ = fs::remove_dir_all(path(""));
        Outcome { image, ran }
    }

    /// Kills a build in the middle: the one process, as kill -9 does.
    pub fn kill(&mut self, mut begun: Begun, after: Duration) {
        std::thread::sleep(after);
        let _ = begun.child.kill();
        begun.child.wait().unwrap();
        let _ = fs::remove_dir_all(self.space.path(&begun.name));
    }

    /// The base of the built stage of the state at hand.
    pub fn base(&self) -> Option<&str> {
        self.program.as_ref().and_then(Program::base)
    }

    /// True if steps of the state at hand run again whatever is known.
    pub fn runs_again(&self) -> bool {
        self.program.as_ref().is_some_and(|program| program.flags.iter().any(|flag| flag.0 == "no-cache-filter"))
    }

    /// A command of kiln on a store.
    pub fn kiln(&self, store: &str, args: &[&str]) -> Result<(), String> {
        let output = self.command(args, store).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
    }

    fn command(&self, args: &[&str], store: &str) -> Command {
        let mut command = match std::env::var_os("KILN_BINARY") {
            Some(other) => Command::new(other),
            None => Command::new(KILN),
        };
        command.args(args).current_dir(self.space.dir.path()).env_remove("SOURCE_DATE_EPOCH");
        command.env("KILN_ROOT", self.space.path(store)).env("KILN_GC", "off");
        command
    }

    /// Removes a store that is not needed any more.
    pub fn forget(&self, store: &str) {
        let _ = self.kiln(store, &["prune", "--all"]);
        let _ = fs::remove_dir_all(self.space.path(store));
    }
}

/// Brings a directory from one tree to another.
fn bring(dir: &Path, old: &Tree, new: &Tree) {
    let same = |name: &str| match (old.get(name), new.get(name)) {
        (Some(Node::HardLink(was)), Some(Node::HardLink(of))) => was == of && old.get(was) == new.get(of),
        (was, is) => was == is,
    };
    let linked = |name: &str| {
        [old, new].iter().any(|tree| tree.values().any(|node| matches!(node, Node::HardLink(of) if of == name)))
    };
    // A file that has one name is written in place; all else is removed and made again.
    let stays = |name: &str| match (old.get(name), new.get(name)) {
        (Some(Node::Dir { .. }), Some(Node::Dir { .. })) => true,
        (Some(Node::File { .. }), Some(Node::File { .. })) => same(name) || !linked(name),
        _ => same(name),
    };
    for name in old.keys().rev().filter(|name| !stays(name)) {
        let path = dir.join(name);
        let removed = if path.is_dir() && !path.is_symlink() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
        removed.unwrap();
    }
    let made = new.iter().filter(|(name, _)| !same(name) || !stays(name));
    let (links, others): (Vec<_>, Vec<_>) = made.partition(|(_, node)| matches!(node, Node::HardLink(_)));
    others.into_iter().chain(links).for_each(|(name, node)| make(dir, name, node));
}

fn make(dir: &Path, name: &str, node: &Node) {
    let path = dir.join(name);
    let mode = |mode: u32| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    match node {
        Node::File { text, mode: bits, time } => {
            if path.exists() {
                mode(0o600);
            }
            fs::write(&path, text).unwrap();
            if *time != 0 {
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(*time).unwrap());
                fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            }
            mode(*bits);
        }
        Node::Dir { mode: bits } => {
            fs::create_dir_all(&path).unwrap();
            mode(*bits);
        }
        Node::Symlink(to) => symlink(to, &path).unwrap(),
        Node::HardLink(of) => fs::hard_link(dir.join(of), &path).unwrap(),
        Node::Archive(members) => fs::write(&path, archive(name, members)).unwrap(),
    }
}
