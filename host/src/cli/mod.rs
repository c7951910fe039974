//! The command line: what was typed, one file a subcommand, one place where errors become words and exit codes.

mod args;
mod cache;
mod error;
mod interrupt;
mod load;
mod plan;
mod plugins;
mod run;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use error::CliError;

use crate::report::visible;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Plugins(args) => plugins::plugins(&args),
        Command::Cache(args) => cache::cache(&args),
        Command::Worker { job } => crate::worker::child::main(&job),
    };
    match result {
        Ok(()) => ExitCode::from(crate::exit_code::OK),
        Err(error) => {
            eprint!("{}", error.render(std::io::stderr().is_terminal()));
            ExitCode::from(error.exit_code())
        }
    }
}

/// The one object on stdout that `--json` promises.
fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::other).map_err(CliError::Stdout)?;
    to_stdout(&(text + "\n"))
}

/// Text on stdout.
fn print(text: &str) -> Result<(), CliError> {
    to_stdout(&visible(text))
}

/// A reader that went away is not worth a word.
fn to_stdout(text: &str) -> Result<(), CliError> {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::Stdout(error)),
        _ => Ok(()),
    }
}
