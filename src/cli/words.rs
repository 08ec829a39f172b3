//! Parses words into flags with the conventions of docker's command line (Go's pflag): switches may
//! have values, and the last value of a flag counts. This module names no flag.

use super::args::Cli;
use base::words::bool_of;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, CommandFactory as _, FromArgMatches as _, Parser as _};
use std::ffi::OsString;
use std::path::Path;

/// Parses the command line; an error or `--help` ends the process.
pub fn parse() -> Cli {
    parse_from(called_as(std::env::args_os().collect())).unwrap_or_else(|error| error.exit())
}

/// A program with the name `docker-compose` is `kiln compose`.
fn called_as(mut words: Vec<OsString>) -> Vec<OsString> {
    let name = words.first().and_then(|word| Path::new(word).file_name());
    if name.is_some_and(|name| name == "docker-compose") {
        words.insert(1, "compose".into());
    }
    words
}

/// Parses the given words.
pub fn parse_from(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let parsed = as_in_go(Cli::command()).try_get_matches_from(&words);
    match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        // Help shows switches in their usual form.
        Err(error) if error.kind() == ErrorKind::DisplayHelp => match Cli::try_parse_from(words) {
            Err(plain) if plain.kind() == ErrorKind::DisplayHelp => Err(plain),
            _ => Err(error),
        },
        parsed => parsed,
    }
}

/// Gives flags the behaviour of Go's pflag: a switch may have a value (`--push=false`, `-q=1`), and
/// the last value of a repeated flag counts.
fn as_in_go(command: clap::Command) -> clap::Command {
    let switch = |arg: Arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_name("BOOL")
            .value_parser(switch_of)
            .default_value("false")
            .default_missing_value("true"),
        _ => arg,
    };
    command.args_override_self(true).mut_args(switch).mut_subcommands(as_in_go)
}

fn switch_of(text: &str) -> Result<bool, String> {
    bool_of(text).ok_or_else(|| "write true or false".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Command;

    fn words(text: &[&str]) -> Vec<OsString> {
        std::iter::once("kiln").chain(text.iter().copied()).map(OsString::from).collect()
    }

    /// Collects every command with the words that lead to it.
    fn commands(command: &clap::Command, way: &[String], all: &mut Vec<(Vec<String>, clap::Command)>) {
        for inner in command.get_subcommands() {
            let way = [way, &[inner.get_name().to_owned()]].concat();
            commands(inner, &way, all);
            all.push((way, inner.clone()));
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        as_in_go(Cli::command()).debug_assert();
    }

    #[test]
    fn the_name_docker_compose_means_compose() {
        let line = called_as(["/usr/bin/docker-compose", "config"].map(OsString::from).to_vec());
        assert_eq!(line[1..], ["compose", "config"].map(OsString::from));
        assert_eq!(called_as(words(&["images"])), words(&["images"]));
    }

    #[test]
    fn a_typo_of_a_flag_is_suggested() {
        let error = parse_from(words(&["build", "--no-cahce", "."])).map(drop).map_err(|error| error.to_string());
        assert!(error.as_ref().is_err_and(|text| text.contains("--no-cache")), "{error:?}");
    }

    #[test]
    fn every_switch_takes_a_value_as_in_go() {
        let mut all = Vec::new();
        commands(&Cli::command(), &[], &mut all);
        let mut seen = 0;
        for (way, command) in all {
            let switches = command.get_arguments().filter(|arg| matches!(arg.get_action(), ArgAction::SetTrue));
            for switch in switches {
                let long = switch.get_long().map(|name| format!("--{name}"));
                let short = switch.get_short().map(|name| format!("-{name}"));
                for name in long.into_iter().chain(short) {
                    seen += 1;
                    let value = |text: &str| {
                        let line = [way.clone(), vec![format!("{name}{text}")]].concat();
                        let line = std::iter::once("kiln".to_owned()).chain(line);
                        // The other arguments of the command do not matter here.
                        let root = as_in_go(Cli::command()).ignore_errors(true);
                        let mut matches = root.try_get_matches_from(line).ok()?;
                        for step in &way {
                            matches = matches.remove_subcommand().filter(|(name, _)| name == step)?.1;
                        }
                        matches.get_one::<bool>(switch.get_id().as_str()).copied()
                    };
                    for yes in ["", "=true", "=1", "=t", "=T", "=TRUE", "=True"] {
                        assert_eq!(value(yes), Some(true), "{way:?} {name}{yes}");
                    }
                    for no in ["=false", "=0", "=f", "=F", "=FALSE", "=False"] {
                        assert_eq!(value(no), Some(false), "{way:?} {name}{no}");
                    }
                    assert_ne!(value("=maybe"), Some(true), "{way:?} {name}");
                }
            }
        }
        assert!(seen > 25, "{seen} switches");
    }

    #[test]
    fn the_last_of_a_flag_counts_and_lists_grow() {
        let line =
            words(&["build", "-q", "--quiet=0", "--target=a", "--target", "b", "-t", "x", "-t", "y", "--push=1", "."]);
        let Ok(Cli { command: Command::Build(build) }) = parse_from(line) else { panic!("no build") };
        assert_eq!((build.quiet, build.push, build.target.as_deref()), (false, true, Some("b")));
        assert_eq!((build.tag, build.context), (vec!["x".to_owned(), "y".to_owned()], ".".to_owned()));
        for wrong in ["--push=maybe", "--push=", "-q=2"] {
            assert!(parse_from(words(&["build", wrong, "."])).is_err(), "{wrong}");
        }
        // A switch does not consume the next word.
        let Ok(Cli { command: Command::Rmi { images, force } }) = parse_from(words(&["rmi", "-f", "true"])) else {
            panic!("no rmi")
        };
        assert!(force && images == ["true"]);
    }

    #[test]
    fn help_shows_plain_switches() {
        let help = parse_from(words(&["build", "--help"])).map(drop).map_err(|error| error.to_string());
        assert!(help.as_ref().is_err_and(|text| text.contains("--pull\n") && !text.contains("--pull[=")), "{help:?}");
    }
}
