//! The changes of a user between two builds: files, modes, kinds, steps, flags; or takes back.

use crate::program::{Node, Program, Step, complete};
use crate::random::Random;

/// The next state after those before.
pub fn edited(random: &mut Random, before: &[Program]) -> Program {
    let mut program = before.last().unwrap().clone();
    // A comment of the source that a step compiles: that step comes out the same.
    if program.dockerfile().contains("COPY main.c /code/") && random.percent(30) {
        let text = format!("#{}\nmain\n", random.below(100));
        program.context.insert("main.c".to_owned(), Node::File { text, mode: 0o644, time: 0 });
        return program;
    }
    match random.below(100) {
        0..15 if before.len() > 1 => return random.pick(&before[..before.len() - 1]).clone(),
        0..55 => context(random, &mut program),
        55..62 => {
            let time = 0;
            program.other.insert("one".to_owned(), Node::File { text: word(random), mode: 0o644, time });
            complete(&mut program.other);
        }
        62..92 => step(random, &mut program, before.len()),
        _ => {
            program.flags.retain(|flag| flag.0 != "build-arg");
            program.flags.push(("build-arg", format!("{}={}", random.pick(&["GLOBAL", "A", "B"]), word(random))));
        }
    }
    program
}

fn word(random: &mut Random) -> String {
    (*random.pick(&["edited\n", "second\n", "edited again\n", ""])).to_owned()
}

fn context(random: &mut Random, program: &mut Program) {
    let tree = &mut program.context;
    let files: Vec<String> =
        tree.iter().filter(|(_, node)| matches!(node, Node::File { .. })).map(|(name, _)| name.clone()).collect();
    let all: Vec<String> = tree.keys().filter(|name| *name != "trigger.txt" && *name != "main.c").cloned().collect();
    let name = random.pick(&files).clone();
    let (Some(Node::File { text, mode, time }), again) = (tree.get(&name).cloned(), random.percent(30)) else { return };
    let node = match random.below(9) {
        0..3 => Node::File { text: word(random), mode, time: 0 },
        // Other bytes of the same length, at the same time: only the inode tells.
        3 => Node::File { text: text.chars().rev().collect(), mode, time: if again { time } else { 0 } },
        4 => Node::File { text, mode: *random.pick(&[0o600, 0o755, 0o4711]), time },
        5 => Node::File { text, mode, time: if again { 1_500_000_000 } else { 0 } },
        6 => {
            let new = (*random.pick(&["one", "src/added", "added.txt", "src/gen/added.md"])).to_owned();
            tree.insert(new, Node::File { text: word(random), mode: 0o644, time: 0 });
            return complete(tree);
        }
        kind => {
            let Some(name) = all.get(random.below(all.len())).cloned() else { return };
            tree.retain(|other, _| *other != name && !other.starts_with(&format!("{name}/")));
            match (kind, random.below(3)) {
                (7, _) => None,
                (_, 0) => {
                    tree.insert(format!("{name}/inside"), Node::File { text: word(random), mode: 0o644, time: 0 })
                }
                (_, 1) => tree.insert(name, Node::Symlink("trigger.txt".to_owned())),
                _ => tree.insert(name, Node::File { text: word(random), mode: 0o755, time: 0 }),
            };
            return complete(tree);
        }
    };
    tree.insert(name, node);
    complete(tree);
}

fn step(random: &mut Random, program: &mut Program, state: usize) {
    let steps = &mut program.steps;
    let fixed =
        |text: &str| text.starts_with("FROM ") || text.starts_with("ARG S") || text.starts_with("ARG GLOBAL=all");
    let free: Vec<usize> = (0..steps.len()).filter(|at| !fixed(&steps[*at].text)).collect();
    if free.is_empty() {
        return;
    }
    let at = *random.pick(&free);
    match random.below(10) {
        0..4 => {
            let runs: Vec<usize> = free.into_iter().filter(|at| steps[*at].text.ends_with("|| true")).collect();
            if !runs.is_empty() {
                let at = *random.pick(&runs);
                steps[at].text.push_str(&format!("; echo {} > /tmp/edit", random.below(3)));
            }
        }
        4..6 => drop(steps.remove(at)),
        6..8 if at > 0 && !fixed(&steps[at - 1].text) => steps.swap(at, at - 1),
        _ => {
            let text = *random.pick(&["ENV B=added", "COPY trigger.txt /app/added", "WORKDIR /data", "LABEL l1=added"]);
            steps.insert(at, Step { number: 1000 + state, text: text.to_owned() });
        }
    }
}
