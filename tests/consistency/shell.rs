//! The commands of RUN steps: short commands over a few names, so that they meet, and reports of what a step sees. The
//! outcome of each depends on nothing but what the step is given.

use crate::random::Random;

const DIRS: &[&str] = &["/app", "/app/src", "/app/src/gen", "/out", "/out/lib", "/data"];
const NAMES: &[&str] = &["one", "two.txt", ".three", "lib", "src"];
const MODES: &[&str] = &["0755", "0644", "0700", "4755", "2775", "1777", "0600"];
const OWNERS: &[&str] = &["1000:50", "0:0", "app:staff", "1000"];

/// One change of the tree; `D`, `E`: directories, `F`, `G`: names in them, `W`: a word, `M`: a mode, `O`: an owner.
const CHANGES: &[&str] = &[
    "mkdir -p D && echo W > F",
    "mkdir -p D && echo W >> F",
    "rm -rf D && mkdir -p D && echo W > F",
    "rm -rf D && mkdir -p D && echo W > D/new",
    "rm -rf D && mkdir -p D",
    "rm -rf D",
    "rm -rf F",
    "rm -rf F && mkdir -p F",
    "rm -rf D && echo W > D",
    "mv D E",
    "mv F G",
    "mkdir -p E && mv D/* E/",
    "mkdir -p D && mv D D.was && mkdir D && mv D.was D/was",
    "mkdir -p D E && echo W > F && ln -f F G",
    "ln -f F G",
    "rm -rf D && ln -s E D",
    "rm -rf F && ln -s E F",
    "ln -sfn ../one F",
    "mkdir -p D && rm -rf F && mkfifo F",
    "cp -a D E/copy",
    "rm -rf D && cp -a E D",
    "mkdir -p D/brief && rmdir D/brief",
    "echo W > D/brief && rm D/brief",
    "touch F",
    "chmod M D",
    "chmod M F",
    "chown O F",
    "chown -R O D",
    "chown -h O F",
    "rm -rf /usr/local /home/app && mkdir -p /home/app && echo W > /home/app/new",
    "rm -f /etc/hostname",
    "echo W > /etc/hostname && rm -rf /var",
];

pub fn change(random: &mut Random) -> String {
    let (first, second) = (*random.pick(DIRS), *random.pick(DIRS));
    let names = (*random.pick(NAMES), *random.pick(NAMES));
    let (mode, owner, word) = (*random.pick(MODES), *random.pick(OWNERS), *random.pick(&["red", "green", "blue"]));
    let put = |part: &str| match part {
        "D" => first.to_owned(),
        "E" => second.to_owned(),
        "F" => format!("{first}/{}", names.0),
        "G" => format!("{second}/{}", names.1),
        "M" => mode.to_owned(),
        "O" => owner.to_owned(),
        "W" => word.to_owned(),
        other => other.to_owned(),
    };
    // The letters stand alone or before a slash or a dot.
    let words = random.pick(CHANGES).split(' ').map(|part| match part.split_once(['/', '.']) {
        Some((letter @ ("D" | "E"), rest)) => format!("{}{}{rest}", put(letter), &part[1..2]),
        _ => put(part),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Writes down what is below some directories: names, kinds, modes, owners and bytes.
pub fn report(below: &str, file: usize) -> String {
    format!(
        "{{ find {below} -xdev -exec stat -c '%a %u:%g %F %N' {{}} + | sort; \
         find {below} -xdev -type f -exec cksum {{}} + | sort; }} > /tmp/r{file}"
    )
}

/// A report of the newer one of two files, to the nanosecond.
pub fn newer(first: &str, second: &str, file: usize) -> String {
    format!("stat -c '%y %n' {first} {second} | sort | tail -n 1 | cut -d ' ' -f 4 > /tmp/r{file}")
}

/// Parts as a RUN that always succeeds, in one of the three forms.
pub fn run(random: &mut Random, flags: &str, parts: &[String]) -> String {
    match random.below(10) {
        0 | 1 => {
            let lines: String = parts.iter().map(|part| format!("{{ {part}; }} 2>/dev/null || true\n")).collect();
            format!("RUN {flags}<<END\n{lines}END")
        }
        2 => {
            let script = serde_json::json!(format!("{{ {}; }} 2>/dev/null || true", parts.join("; ")));
            format!("RUN {flags}[\"/bin/sh\", \"-c\", {script}]")
        }
        _ => format!("RUN {flags}{{ {}; }} 2>/dev/null || true", parts.join("; ")),
    }
}
