//! The program `kiln`: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    kiln::cli::run::main()
}
