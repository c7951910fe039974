//! `host run`

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::json;

use super::args::RunArgs;
use super::error::CliError;
use super::load::{Loaded, current_dir};
use super::{interrupt, plan, print, print_json};
use crate::report::{Screen, plan_table, run_summary};
use crate::run::{RunLayout, RunRecord};
use crate::schedule::{Dispatcher, LocalWorkers};

/// Plans a pipeline, runs what is not there yet, and shows what came of it.
pub fn run(args: &RunArgs) -> Result<(), CliError> {
    let cancel = interrupt::watch()?;
    let started = Instant::now();
    let json = args.pipeline.json;
    let prepared = Loaded::load(&args.pipeline, &cancel).and_then(|loaded| Ok((start_record(args, &loaded)?, loaded)));
    let (mut record, loaded) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            if json {
                print_json(&json!({ "schema": 1, "error": error.to_json() }))?;
            }
            return Err(error);
        }
    };
    let result = plan_and_run(&loaded, &mut record, &cancel);
    let error = result.as_ref().err().map(CliError::to_json);
    let report = record.finish(started.elapsed().as_secs_f64(), error.as_ref())?;
    if json {
        print_json(&report)?;
    } else if !report.stages.is_empty() {
        print(&format!("\n{}", run_summary(&report)))?;
    }
    result
}

fn start_record(args: &RunArgs, loaded: &Loaded) -> Result<RunRecord, CliError> {
    let layout = RunLayout::choose(args.run_dir.as_deref(), &current_dir()?, &loaded.pipeline.name);
    Ok(RunRecord::start(layout, &loaded.pipeline, loaded.resources.threads)?)
}

fn plan_and_run(loaded: &Loaded, record: &mut RunRecord, cancel: &AtomicBool) -> Result<(), CliError> {
    let planner = loaded.planner(&LocalWorkers, record.layout().plans(), cancel);
    let mut screen = Screen::on_stderr();
    let planned = planner.pipeline()?;
    plan::show_findings(&planned, &mut screen);
    screen.note(&plan_table(&planned));
    plan::refuse(&planned)?;
    Ok(Dispatcher::new(&planner, record, &mut screen).run(&planned)?)
}
