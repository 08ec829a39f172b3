//! Asks for privileges that `--allow` did not grant.

use super::host::Machine;
use ::bake::command::Plan;
use ::bake::grants::missing;
use ::bake::host::Host as _;
use base::error::{At as _, Error, Kind, Result};
use base::words::bool_of;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// Asks on a terminal; elsewhere what is not granted is an error.
pub(super) fn ask(plan: &Plan, machine: &Machine) -> Result<()> {
    let mut wanted = missing(&plan.selection, &plan.allowed, machine).at("look at", ".")?;
    if files_are_free(machine)? {
        wanted.files.clear();
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let list: String = wanted.sentences().map(|sentence| format!(" - {sentence}\n")).collect();
    let head = "Your build is requesting privileges for following possibly insecure capabilities:";
    let mut out = std::io::stderr();
    let write = |cause| Error::new(Kind::Export, "cannot ask").because(cause);
    writeln!(out, "{head}\n\n{list}").map_err(write)?;
    if std::io::stdin().is_terminal() {
        write!(out, "Do you want to grant requested privileges and continue? [y/N] ").map_err(write)?;
        out.flush().map_err(write)?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map_err(write)?;
        if answer.trim().eq_ignore_ascii_case("y") {
            return Ok(());
        }
    }
    Err(Error::new(Kind::Usage, "additional privileges requested")
        .hint(format!("pass `{}` to grant requested privileges", wanted.flags())))
}

/// BUILDX_BAKE_ENTITLEMENTS_FS=0: files may be anywhere.
fn files_are_free(machine: &Machine) -> Result<bool> {
    const NAME: &str = "BUILDX_BAKE_ENTITLEMENTS_FS";
    let Some(text) = machine.variable(NAME) else { return Ok(false) };
    let on = bool_of(&text).ok_or_else(|| Error::new(Kind::Usage, format!("failed to parse {NAME} value {text:?}")))?;
    Ok(!on)
}
