//! Makes programs: stages that share prefixes, join and repeat each other, every instruction and kind of mount, and
//! contexts with links, odd names and modes.

use crate::program::{Member, Node, Program, REGISTRY, Step, Tree, complete};
use crate::random::Random;
use crate::shell;

const NAMES: &[&str] = &[
    "one",
    "two.txt",
    ".three",
    "src/one",
    "src/two.txt",
    "src/gen/deep",
    "src/gen/.keep",
    "lib/a.md",
    "lib/b.txt",
    "lib/in/c.txt",
    "sp ace",
    "ünï.txt",
    "br[ack]et",
    "st*r",
    "-lead",
    "#hash",
    "do$lar",
    "quo\"te",
    "run.sh",
];
const TARGETS: &[&str] =
    &["/app/", "/app/src/", "/out/", "/out/lib/", "/data/", "./", "near/", "/new/deep/", "/app/lib", "/data"];
const STAGE_PATHS: &[&str] =
    &["/ap*", "/ap*", "/ou*", "/dat?", "/tmp/", "/home", "/etc/group", "/app/*", "/usr/local", "/app/s*"];
const CONTEXT_GLOBS: &[&str] = &[".", "*", "s*", "*.txt", "?*", "l*"];

/// A program in the making.
pub struct Generator<'a> {
    random: &'a mut Random,
    /// The prefix of cache ids: no two programs share a cache.
    seed: u64,
    /// The things that are frequent in this program: linked copies, and steps that are in it already.
    links: usize,
    repeats: usize,
    reports: usize,
    context: Tree,
    other: Tree,
    stages: Vec<String>,
}

pub fn program(random: &mut Random, seed: u64) -> Program {
    let (context, other) = (tree(random, 10), tree(random, 4));
    let links = *random.pick(&[0, 40]);
    let repeats = *random.pick(&[0, 30]);
    Generator { random, seed, links, repeats, reports: 0, context, other, stages: Vec::new() }.program()
}

/// A context; the files of a pattern that another tool reads are always there.
fn tree(random: &mut Random, most: usize) -> Tree {
    let mut tree = Tree::new();
    let file = |random: &mut Random, text: &str| Node::File {
        text: text.to_owned(),
        mode: *random.pick(&[0o644, 0o644, 0o755, 0o600, 0o4755, 0o444]),
        time: 1_600_000_000 + i64::try_from(random.below(1_000_000)).unwrap(),
    };
    for name in random.some(NAMES, 3, most) {
        let text = *random.pick(&["first\n", "second\n", "", "much longer than the others\n", name]);
        tree.insert(name.to_owned(), file(random, text));
    }
    tree.insert("main.c".to_owned(), file(random, "#1\nmain\n"));
    tree.insert("trigger.txt".to_owned(), file(random, "pulled\n"));
    let files: Vec<String> = tree.keys().cloned().collect();
    for (share, name) in [(40, "same"), (25, "src/same")] {
        if random.percent(share) {
            tree.insert(name.to_owned(), Node::HardLink(random.pick(&files).clone()));
        }
    }
    for (share, name) in [(40, "link"), (30, "src/link")] {
        if random.percent(share) {
            // Most lead to what is there: a copy of one that does not fails.
            let up = if name.contains('/') { "../" } else { "" };
            let known = format!("{up}{}", random.pick(&["main.c", "trigger.txt"]));
            let to = if random.percent(85) { known } else { (*random.pick(&["nowhere", "/app", "src"])).to_owned() };
            tree.insert(name.to_owned(), Node::Symlink(to));
        }
    }
    if random.percent(50) {
        tree.insert("empty".to_owned(), Node::Dir { mode: *random.pick(&[0o755, 0o700, 0o2775, 0o1777]) });
    }
    if random.percent(40) {
        let name = *random.pick(&["bundle.tar", "bundle.tar.gz"]);
        let members = (0..random.between(1, 4)).map(|_| member(random)).collect();
        tree.insert(name.to_owned(), Node::Archive(members));
    }
    if random.percent(20) {
        let patterns = *random.pick(&["*.md\n", "src/gen\n!src/gen/deep\n", "**/*.txt\n!two.txt\n", ".three\n"]);
        tree.insert(".dockerignore".to_owned(), file(random, patterns));
    }
    complete(&mut tree);
    tree
}

fn member(random: &mut Random) -> Member {
    let (kind, name) = *random.pick(&[
        ('f', "bun/one"),
        ('f', "bun/two"),
        ('d', "bun"),
        ('f', "app/src/one"),
        ('d', "app"),
        ('f', "far/off/one"),
        ('l', "bun/link"),
        ('l', "tip"),
    ]);
    let text = if kind == 'l' { *random.pick(&["one", "/app", "bun"]) } else { *random.pick(&["tar\n", "rat\n"]) };
    let mode = if kind == 'd' { *random.pick(&[0o755, 0o711, 0o700]) } else { *random.pick(&[0o644, 0o755, 0o600]) };
    Member { kind, name: name.to_owned(), text: text.to_owned(), mode, owner: *random.pick(&[0, 1000]) }
}

fn image(name: &str) -> String {
    format!("{REGISTRY}/{name}")
}

impl Generator<'_> {
    fn program(mut self) -> Program {
        let mut lines = vec!["ARG GLOBAL=all".to_owned()];
        let prefix: Vec<String> = (0..self.random.between(1, 3)).map(|_| self.step("busybox")).collect();
        let mut names = Vec::new();
        for index in 0..self.random.between(1, 4) {
            let (name, from) = (format!("s{index}"), self.from(index, &mut lines));
            lines.push(format!("FROM {from} AS {name}"));
            let mut body = if from.ends_with("busybox") { prefix.clone() } else { Vec::new() };
            if from.ends_with("/config") && self.random.percent(70) {
                body.push("USER root".to_owned());
            }
            for _ in 0..self.random.between(1, 5) {
                let again = !body.is_empty() && self.random.percent(self.repeats);
                let step = if again { self.random.pick(&body).clone() } else { self.step(&from) };
                body.push(step);
            }
            if from != "scratch" {
                match self.random.below(100) {
                    0..15 => body.extend(self.compiled()),
                    15..30 => body.extend(self.made_anew()),
                    _ => {}
                }
            }
            lines.extend(body);
            names.push(name.clone());
            if from != "scratch" {
                self.stages.push(name);
            }
        }
        if self.random.percent(75) {
            let from = if self.random.percent(30) { "scratch".to_owned() } else { image("busybox") };
            lines.push(format!("FROM {from} AS last"));
            for name in self.random.some(&names, 1, 4) {
                let flags = if self.random.percent(self.links) { "--link " } else { "" };
                let path = self.random.pick(&["/ap*", "/tmp*", "/", "/ou*"]);
                lines.push(format!("COPY --from={name} {flags}{path} /all/{}/", self.random.pick(&[&name, "both"])));
            }
        }
        let mut flags = Vec::new();
        for (share, flag) in [(12, "target"), (12, "no-cache-filter")] {
            if self.random.percent(share) {
                flags.push((flag, self.random.pick(&names).clone()));
            }
        }
        if self.random.percent(30) {
            flags.push(("build-arg", (*self.random.pick(&["GLOBAL=cli", "A=cli", "B="])).to_owned()));
        }
        let steps = lines.into_iter().enumerate().map(|(number, text)| Step { number, text }).collect();
        Program { steps, context: self.context, other: self.other, flags }
    }

    /// The base of a stage.
    fn from(&mut self, index: usize, lines: &mut Vec<String>) -> String {
        let earlier = if self.stages.is_empty() { None } else { Some(self.random.pick(&self.stages).clone()) };
        match (self.random.below(100), earlier) {
            (0..50, _) => image("busybox"),
            (50..70, Some(stage)) => stage,
            (70..76, Some(stage)) => {
                lines.insert(0, format!("ARG S{index}"));
                format!("${{S{index}:-{stage}}}")
            }
            (76..84, _) => "scratch".to_owned(),
            (84..90, _) => image("busybox:onbuild"),
            (90..95, _) => image("multi"),
            _ => image("config"),
        }
    }

    /// An instruction for a stage that begins so.
    fn step(&mut self, from: &str) -> String {
        let bare = from == "scratch";
        let step = match self.random.below(100) {
            0..38 if !bare => self.run(),
            0..76 => self.copy(bare),
            _ => self.setting(bare),
        };
        let triggers = !bare && !step.contains("<<") && self.random.percent(3);
        let can = ["RUN", "COPY", "ENV", "WORKDIR"].iter().any(|word| step.starts_with(word));
        if triggers && can { format!("ONBUILD {step}") } else { step }
    }

    fn report_file(&mut self) -> usize {
        self.reports += 1;
        self.reports
    }

    fn run(&mut self) -> String {
        let mut parts: Vec<String> = (0..self.random.between(1, 3)).map(|_| shell::change(self.random)).collect();
        if self.random.percent(50) {
            let roots = self.random.some(&["/app", "/out", "/data", "/home", "/usr/local", "/new", "/srv"], 2, 4);
            parts.push(shell::report(&roots.join(" "), self.report_file()));
        }
        if self.random.percent(15) {
            let file = self.report_file();
            parts.push(format!("echo \"$A-$B-$GLOBAL-$TARGETARCH $(pwd) $(id -u) $(id -G)\" > /tmp/r{file}"));
        }
        let mut flags = String::new();
        for _ in 0..*self.random.pick(&[0, 0, 1, 1, 2]) {
            let (mount, seen) = self.mount();
            flags.push_str(&format!("--mount={mount} "));
            parts.push(seen);
        }
        if self.random.percent(10) {
            flags.push_str(&format!("--network={} ", self.random.pick(&["none", "default"])));
        }
        shell::run(self.random, &flags, &parts)
    }

    /// A mount, and a command that sees it.
    fn mount(&mut self) -> (String, String) {
        let (file, seed) = (self.report_file(), self.seed);
        let target = *self.random.pick(&["/mnt", "/app", "/app/src", "/data/in", "/out"]);
        let mount = match self.random.below(10) {
            0..4 if !self.stages.is_empty() => {
                let stage = self.random.pick(&self.stages).clone();
                let source = *self.random.pick(&["", "", ",source=/etc", ",source=/tmp", ",source=/home"]);
                let write = *self.random.pick(&["", "", ",rw"]);
                format!("type=bind,target={target},from={stage}{source}{write}")
            }
            0..6 => {
                let from = *self.random.pick(&["", "", ",from=other", ",source=src", ",rw"]);
                let from = if from == ",source=src" && !self.context.contains_key("src") { "" } else { from };
                format!("type=bind,target={target}{from}")
            }
            6..8 => {
                let rest = *self.random.pick(&["", ",uid=1000,gid=50,mode=0770", ",sharing=locked", ",mode=0711"]);
                // A cache is one with its mode and owner only if these are said: one id for each.
                let mount = format!("type=cache,target=/cache,id=c{seed}{}{rest}", rest.len());
                return (mount, format!("stat -c '%a %u:%g' /cache > /tmp/r{file}; echo kept > /cache/file"));
            }
            8 => {
                let seen =
                    format!("cat /run/secrets/word > /tmp/r{file}; stat -c '%a %u' /run/secrets/word >> /tmp/r{file}");
                return ("type=secret,id=word".to_owned(), seen);
            }
            _ => {
                let target = *self.random.pick(&["/scratch", "/app", "/out/lib"]);
                let seen = format!("echo gone > {target}/gone; ls -A {target} /app > /tmp/r{file}");
                return (format!("type=tmpfs,target={target}"), seen);
            }
        };
        let seen = shell::report(target, file);
        (mount, seen)
    }

    fn copy_flags(&mut self, bare: bool) -> String {
        let mut flags = String::new();
        let linked = self.random.percent(self.links);
        if linked {
            flags.push_str("--link ");
        }
        if self.random.percent(20) {
            flags.push_str(&format!("--chmod={} ", self.random.pick(&["0640", "755", "u=rwX,go=rX", "4755", "go-w"])));
        }
        if self.random.percent(20) {
            // A linked copy knows no names.
            let owners: &[&str] =
                if bare || linked { &["1000:50", "7"] } else { &["1000:50", "app", "app:staff", "0:2000"] };
            flags.push_str(&format!("--chown={} ", self.random.pick(owners)));
        }
        flags
    }

    fn copy(&mut self, bare: bool) -> String {
        let flags = self.copy_flags(bare);
        let exclude =
            if self.random.percent(12) { *self.random.pick(&["*.txt", "**/*.md", "src/gen", ".*"]) } else { "" };
        let excluding = if exclude.is_empty() { String::new() } else { format!("--exclude={exclude} ") };
        let target = *self.random.pick(TARGETS);
        let folder = format!("{}/", target.trim_end_matches('/'));
        match self.random.below(100) {
            0..45 => self.copy_context(&format!("{flags}{excluding}"), target),
            45..53 if self.context.contains_key("bundle.tar") => format!("ADD {flags}bundle.tar {folder}"),
            45..53 if self.context.contains_key("bundle.tar.gz") => format!("ADD {flags}bundle.tar.gz {folder}"),
            45..58 => format!("COPY {flags}<<ONE <<two.txt {folder}\n$A here\nONE\nno more\ntwo.txt"),
            58..82 if !self.stages.is_empty() => {
                let parents = if self.random.percent(12) { "--parents " } else { "" };
                let (stage, path) = (self.random.pick(&self.stages).clone(), *self.random.pick(STAGE_PATHS));
                format!("COPY --from={stage} {flags}{excluding}{parents}{path} {folder}")
            }
            58..92 => {
                format!("COPY --from=other {flags}{excluding}{} {folder}", self.random.pick(&[".", "*", "/", "main.c"]))
            }
            _ => {
                let (image, path) =
                    (self.random.pick(&["config", "multi", "busybox"]), self.random.pick(&["/etc", "/srv*", "/home"]));
                format!("COPY --from={REGISTRY}/{image} {flags}{path} {folder}")
            }
        }
    }

    /// From the context: one or two sources, by name or pattern.
    fn copy_context(&mut self, flags: &str, target: &str) -> String {
        let names = self.context.iter().filter(|(name, _)| *name != ".dockerignore");
        let mut names: Vec<String> = names.map(|(name, _)| spelled(name)).collect();
        names.extend(CONTEXT_GLOBS.iter().map(|glob| (*glob).to_owned()));
        let mut sources = self.random.some(&names, 1, 2);
        let verb = if self.random.percent(15) { "ADD" } else { "COPY" };
        let parents = verb == "COPY" && self.random.percent(12);
        if parents {
            sources.retain(|source| source != ".");
        }
        if sources.is_empty() {
            sources.push("s*".to_owned());
        }
        let folder = parents || sources.len() > 1 || sources.iter().any(|source| source.contains(['*', '?']));
        let target = if folder { format!("{}/", target.trim_end_matches('/')) } else { target.to_owned() };
        let flags = format!("{flags}{}", if parents { "--parents " } else { "" });
        let plain = |text: &String| text.chars().all(|char| char.is_ascii_alphanumeric() || "./*?_".contains(char));
        if sources.iter().all(plain) && self.random.percent(85) {
            return format!("{verb} {flags}{} {target}", sources.join(" "));
        }
        sources.push(target);
        format!("{verb} {flags}{}", serde_json::json!(sources))
    }

    /// An instruction that changes the config, or what later steps see of it.
    fn setting(&mut self, bare: bool) -> String {
        let random = &mut *self.random;
        match random.below(13) {
            0..3 => format!("WORKDIR {}", random.pick(&["/app", "/app/src", "near", "/new/dir", "..", "$A"])),
            3 if bare => "USER 1000:50".to_owned(),
            3 => format!("USER {}", random.pick(&["app", "1000:50", "root", "0"])),
            4 | 5 => format!("ENV {}", random.pick(&["A=1", "B=$A$B", "A=/app/src", "B=${GLOBAL:-none}", "A=\"s p\""])),
            6 | 7 => format!("ARG {}", random.pick(&["GLOBAL", "A=default", "B", "GLOBAL=own", "TARGETARCH"])),
            8 => format!("LABEL l{}={}", random.between(1, 2), random.pick(&["v", "$A", "\"a b\""])),
            9 => format!("SHELL {}", random.pick(&["[\"/bin/sh\", \"-c\"]", "[\"/bin/busybox\", \"sh\", \"-ec\"]"])),
            10 => format!("VOLUME {}", random.pick(&["/app", "/vol", "[\"/data\", \"/vol\"]"])),
            11 => (*random.pick(&["EXPOSE 80 81/udp", "STOPSIGNAL 9", "HEALTHCHECK CMD true", "MAINTAINER me"]))
                .to_owned(),
            _ => {
                (*random.pick(&["CMD [\"x\", \"$A\"]", "ENTRYPOINT echo $A", "ENTRYPOINT [\"e\"]", "CMD y"])).to_owned()
            }
        }
    }

    /// A step that looks at times: as `make` does, after a source that an edit may change without effect.
    fn compiled(&mut self) -> Vec<String> {
        let file = self.report_file();
        let built = "RUN mkdir -p /out && rm -rf /out/main.o && grep -v '^#' /code/main.c > /out/main.o || true";
        vec![
            "USER 0".to_owned(),
            "COPY main.c /code/".to_owned(),
            built.to_owned(),
            format!("RUN {} || true", shell::newer("/code/main.c", "/out/main.o", file)),
        ]
    }
    /// A directory that a step removes and makes again, as `rm -rf dist && build` does, and then more in it.
    fn made_anew(&mut self) -> Vec<String> {
        let at = *self.random.pick(&["/app", "/out/lib"]);
        let more =
            *self.random.pick(&["COPY trigger.txt AT/", "WORKDIR AT", "WORKDIR AT/in", "ADD trigger.txt AT/in/"]);
        vec![
            "USER root".to_owned(),
            format!("RUN mkdir -p {at} && echo old > {at}/old || true"),
            format!("RUN rm -rf {at} && mkdir -p {at} && echo new > {at}/new || true"),
            more.replace("AT", at),
        ]
    }
}

/// A name of a context as a source: what a pattern or a variable would begin stands for itself.
fn spelled(name: &str) -> String {
    name.replace(['[', '*'], "?").replace('$', "\\$").replace('"', "\\\"")
}
