//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::report::parse_bytes;

/// Plans and runs pipelines of plugin stages.
#[derive(Debug, Parser)]
#[command(version, about, after_help = crate::exit_code::HELP)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Plan a pipeline and run what is not there yet.
    Run(RunArgs),
    /// Say what a run would do, take and refuse; nothing is made.
    Plan(PipelineArgs),
    /// Look at plugins.
    Plugins(PluginsArgs),
    /// Look at stored artifacts, or delete them.
    Cache(CacheArgs),
    /// Do one job; this is how stages are run.
    #[command(hide = true)]
    Worker {
        /// The job file.
        job: PathBuf,
    },
}

/// A pipeline and what it may use.
#[derive(Debug, clap::Args)]
pub struct PipelineArgs {
    /// The pipeline file.
    pub file: PathBuf,
    /// Replace a value, e.g. `stages.train.with.rank=8` or `vars.size=q8_0`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Also look for plugins here.
    #[arg(long, value_name = "DIR")]
    pub plugins: Vec<PathBuf>,
    /// Memory that a stage may use; without it, what is available now.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub memory: Option<u64>,
    /// Threads that a stage may keep busy; without it, all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Use no network.
    #[arg(long)]
    pub offline: bool,
    /// One JSON object on stdout, all else on stderr.
    #[arg(long)]
    pub json: bool,
}

/// `host run`
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Where the run leaves its traces; without it `runs/<pipeline>/<time>` below the current directory.
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
}

/// `host plugins`
#[derive(Debug, clap::Args)]
pub struct PluginsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PluginsCommand,
}

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum PluginsCommand {
    /// Show every plugin that is found: versions, stages, extensions, or why it can't be loaded.
    List {
        /// Also look for plugins here.
        #[arg(long, value_name = "DIR")]
        plugins: Vec<PathBuf>,
        /// One JSON object on stdout, all else on stderr.
        #[arg(long)]
        json: bool,
    },
}

/// `host cache`
#[derive(Debug, clap::Args)]
pub struct CacheArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// What to do with stored artifacts.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show what is stored, largest first.
    List {
        /// One JSON object on stdout, all else on stderr.
        #[arg(long)]
        json: bool,
    },
    /// Delete what fits all that is said.
    Rm(RmArgs),
}

/// `host cache rm`
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct RmArgs {
    /// Results of this stage, by the id in `uses`.
    #[arg(long)]
    pub stage: Option<String>,
    /// Results not written to for this long, e.g. `12h`, `30d`.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub older_than: Option<u64>,
    /// The result whose key begins so.
    #[arg(long, value_name = "PREFIX")]
    pub key: Option<String>,
    /// Everything.
    #[arg(long, conflicts_with_all = ["stage", "older_than", "key"])]
    pub all: bool,
}

fn parse_age(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[end..] {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86400),
        _ => None,
    };
    let age = text[..end].parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    age.ok_or_else(|| "expected an age such as `90m`, `12h` or `30d`".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        assert_eq!(parse_age("12h"), Ok(43_200));
        assert!(parse_age("12").is_err());
    }
}
