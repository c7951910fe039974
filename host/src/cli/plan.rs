//! `host plan`

use super::args::PipelineArgs;
use super::error::CliError;
use super::load::Loaded;
use super::{interrupt, print, print_json};
use crate::planning::PipelinePlan;
use crate::report::{Screen, plan_table};
use crate::schedule::LocalWorkers;

/// Plans a pipeline and shows the plan. Nothing is made: what planning workers leave goes to a temporary directory.
pub fn plan(args: &PipelineArgs) -> Result<(), CliError> {
    let result = plan_and_print(args);
    match &result {
        // The plan itself was printed and says why.
        Ok(()) | Err(CliError::Refused { .. }) => {}
        Err(error) if args.json => print_json(&serde_json::json!({ "schema": 1, "error": error.to_json() }))?,
        Err(_) => {}
    }
    result
}

fn plan_and_print(args: &PipelineArgs) -> Result<(), CliError> {
    let cancel = interrupt::watch()?;
    let loaded = Loaded::load(args, &cancel)?;
    let jobs = tempfile::tempdir().map_err(CliError::WorkingDir)?;
    let plan = loaded.planner(&LocalWorkers, jobs.path().into(), &cancel).pipeline()?;
    let mut screen = Screen::on_stderr();
    show_findings(&plan, &mut screen);
    if args.json {
        print_json(&plan)?;
    } else {
        print(&plan_table(&plan))?;
    }
    refuse(&plan)
}

/// Prints every finding of a plan.
pub fn show_findings(plan: &PipelinePlan, screen: &mut Screen) {
    for stage in &plan.stages {
        screen.findings(&stage.stage, &stage.plan.findings);
    }
    screen.findings("", &plan.findings);
}

/// Fails where a plan forbids a run.
pub fn refuse(plan: &PipelinePlan) -> Result<(), CliError> {
    let is_error = |f: &stage_api::Finding| f.severity == stage_api::Severity::Error;
    let errors: Vec<_> = plan.findings().filter(|(_, f)| is_error(f)).collect();
    if errors.is_empty() {
        return Ok(());
    }
    Err(CliError::Refused { errors: errors.into_iter().map(|(s, f)| (s.map(str::to_owned), f.clone())).collect() })
}
