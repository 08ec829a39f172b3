//! `kiln ps` and `kiln shell`: commands for running steps.

use base::error::{Error, Kind, Result};
use base::text;
use clap::Args;
use sandbox::running::{self, Running};
use sandbox::{attach, processes};
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The longest name of a step that is printed; a name contains text of the Dockerfile.
const LONGEST_NAME: usize = 120;

/// The flags of `kiln shell`.
#[derive(Debug, Args)]
pub struct Shell {
    /// The step: its id, its name, or a part of the name [default: the only running step].
    pub step: Option<String>,
    /// The command, after `--` [default: /bin/sh].
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

/// Lists the running steps with their processes.
pub fn ps(root: &Path, json: bool, out: &mut dyn Write) -> Result<()> {
    let all = running::list(root);
    let text = if json { as_json(&all) } else { all.iter().map(as_text).collect() };
    out.write_all(text.as_bytes()).map_err(|cause| Error::new(Kind::Export, "cannot print the list").because(cause))
}

/// A line for the step, then a line for each process.
fn as_text(running: &Running) -> String {
    let name = text::line(&running.step.name, LONGEST_NAME);
    let mut text = format!("{}  {}s  {name}\n", running.id, running.age().as_secs());
    for line in processes::tree(running.step.process.pid) {
        text.push_str(&format!("    {line}\n"));
    }
    text
}

fn as_json(all: &[Running]) -> String {
    let row = |running: &Running| {
        serde_json::json!({
            "id": running.id,
            "build": running.build,
            "name": running.step.name,
            "begun": running.step.begun,
            "pid": running.step.process.pid,
            "processes": processes::tree(running.step.process.pid),
        })
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    format!("{:#}\n", serde_json::Value::Array(rows))
}

/// Runs a command inside a running step and returns its exit code. Must be called before any thread
/// is started.
pub fn shell(root: &Path, args: &Shell) -> Result<u8> {
    let all = running::list(root);
    let running = choose(&all, args.step.as_deref())?;
    let command: Vec<Vec<u8>> = match args.command.as_slice() {
        [] => vec![b"/bin/sh".to_vec()],
        words => words.iter().map(|word| word.as_bytes().to_vec()).collect(),
    };
    attach::attach(&running.step, &command, std::env::var_os("TERM").as_deref())
}

/// Finds a step by its id, its name, or a unique part of its name.
fn choose<'a>(all: &'a [Running], wanted: Option<&str>) -> Result<&'a Running> {
    let fits = |running: &&Running| wanted.is_none_or(|wanted| running.step.name.contains(wanted));
    let exact = all.iter().find(|running| wanted.is_some_and(|it| running.id == it || running.step.name == it));
    let fitting: Vec<&Running> = all.iter().filter(fits).collect();
    if let Some(exact) = exact {
        return Ok(exact);
    }
    match (fitting.as_slice(), wanted) {
        ([one], _) => Ok(one),
        ([], None) => Err(Error::new(Kind::Usage, "no step runs now, in builds of yours on this store")),
        ([], Some(wanted)) => {
            Err(Error::new(Kind::Usage, format!("no step `{wanted}` runs now")).hint("`kiln ps` lists those that run"))
        }
        (several, _) => {
            let several: String =
                several.iter().map(|running| format!("\n{}  {}", running.id, running.step.name)).collect();
            Err(Error::new(Kind::Usage, format!("which step? These run:{several}")).hint("name one by its id"))
        }
    }
}
