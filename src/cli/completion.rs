//! Completion scripts and manual pages, made of the same definitions as `--help`.

use super::args::Cli;
use base::error::{At as _, Error, Kind, Result};
use base::outside;
use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use std::io::Write;
use std::path::{Path, PathBuf};

/// `kiln completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `kiln man`.
#[derive(Debug, Args)]
pub struct Manual {
    /// An existing directory.
    pub dir: PathBuf,
}

/// Prints the completion script of a shell.
pub fn print(args: &Completion, out: &mut impl Write) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kiln", &mut script);
    out.write_all(&script).map_err(|cause| Error::new(Kind::Export, "cannot print the script").because(cause))
}

/// Writes a manual page for each verb: `kiln.1`, `kiln-build.1` and so on.
pub fn write_manual(args: &Manual) -> Result<()> {
    let mut command = Cli::command();
    command.build();
    write_pages(&command, "kiln", &args.dir).map_err(|error| error.within(Kind::Export))
}

fn write_pages(command: &Command, name: &str, dir: &Path) -> Result<()> {
    let path = dir.join(format!("{name}.1"));
    let mut page = Vec::new();
    let titled = command.clone().display_name(name.to_owned());
    Man::new(titled).title(name.to_owned()).render(&mut page).at("write", &path)?;
    outside::write(&path, &page).at("write", &path)?;
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    verbs.into_iter().try_for_each(|verb| write_pages(verb, &format!("{name}-{}", verb.get_name()), dir))
}
