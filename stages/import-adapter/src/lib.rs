//! Stage `import-adapter`: an adapter that PEFT, Unsloth, mlx-lm or llama.cpp's tools made, as the adapter of the model
//! that is connected.
//!
//! Files are recognised by what is in them, factors by their names and never by their shapes, and both are held against
//! the model's inventory: its expressions say which rows of which stored matrix a module is.

mod assemble;
mod change;
mod config;
mod error;
mod found;
mod gguf;
mod mlx;
mod names;
mod params;
mod peft;
mod place;
mod problem;
mod report;
mod saved;
mod source;
mod tie;
mod weights;

use std::collections::BTreeMap;

use checkpoint::adapter::Adapter;
use model::description::Container;
use model::{AdapterDescription, Inventory};
use stage_api::serde_json::json;
use stage_api::{Context, Description, Error, Estimate, Outcome, Plan, Port, Result, Severity, Signature, Stage, kind};
use stage_model::{ModelInput, PROCESS_MEMORY, adapter_memory, check_model, describe_adapter, stage_error};

use found::Found;
use params::Params;
use place::Placed;

const MODEL: &str = "model";
const ADAPTER: &str = "adapter";

struct ImportAdapter;

impl Stage for ImportAdapter {
    fn signature(&self) -> Signature {
        Signature {
            id: "import-adapter".into(),
            summary: "brings an adapter of PEFT, Unsloth, mlx-lm or llama.cpp into the pipeline".into(),
            revision: Some(1),
            inputs: vec![Port::new(MODEL, kind::MODEL, "the base that the adapter was made for")],
            outputs: vec![Port::new(ADAPTER, kind::ADAPTER, "a PEFT directory")],
            params: schemars::schema_for!(Params).into(),
        }
    }

    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let params: Params = ctx.params()?;
        let model = ModelInput::of(ctx, MODEL)?;
        let mut findings = check_model(&model);
        let files = source::locate(&params.source, &ctx.request().base_dir)?;
        let mut found = Found::read(&files, &params, &model)?;
        let model = tie::as_meant(ctx, model, &mut found)?;
        let (placed, mut problems) = place::place(&model, &found);
        problems.extend(saved::problems(&model, &found));
        findings.extend(problems.iter().map(report::problem));
        findings.push(report::what_was_found(&found, &placed, &model));
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Ok(Plan { findings, ..Plan::default() });
        }
        let adapter = described(&model, &found, &placed);
        let bytes = adapter_memory(&adapter);
        let estimate = Estimate {
            // What was assembled, and one module's factors as they are read or written; the head's to be compared, too.
            memory: Some(PROCESS_MEMORY + if found.repeated.is_some() { 3 } else { 2 } * bytes + rows(&placed)),
            disk: Some(bytes + HEADER_BYTES),
            seconds: Some(bytes as f64 / 5e8),
            ..Estimate::default()
        };
        let outputs = BTreeMap::from([(ADAPTER.into(), describe(ctx, &adapter)?)]);
        let digests = files.digests()?;
        source::hold(&digests, params.sha256.as_ref())?;
        let resolved = BTreeMap::from([("sha256".to_owned(), json!(digests))]);
        Ok(Plan { outputs, estimate, findings, resolved, ..Plan::default() })
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let params: Params = ctx.params()?;
        let model = ModelInput::of(ctx, MODEL)?;
        let files = source::locate(&params.source, &ctx.request().base_dir)?;
        let mut found = Found::read(&files, &params, &model)?;
        let model = tie::as_meant(ctx, model, &mut found)?;
        let (placed, mut problems) = place::place(&model, &found);
        problems.extend(saved::problems(&model, &found));
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem.into());
        }
        tie::hold(&found, &model)?;
        saved::hold(ctx, &model, &found)?;
        let output = describe(ctx, &described(&model, &found, &placed))?;
        write(ctx, &model.reading.inventory, &found, &placed)?;
        source::hold(&files.digests()?, params.sha256.as_ref())?; // what was written goes by what was planned
        Ok(Outcome { outputs: BTreeMap::from([(ADAPTER.into(), output)]), ..Outcome::default() })
    }
}

/// What comes out, known from headers alone.
fn described(model: &ModelInput, found: &Found, placed: &[Placed]) -> AdapterDescription {
    let modules = placed.iter().map(|placed| (placed.module.clone(), placed.describe())).collect();
    let (container, keeps_tie) = (Container::Safetensors, found.keeps_tie);
    AdapterDescription { container, modules, keeps_tie, base: Some(model.description.clone()) }
}

/// As certain as what is known of the base.
fn describe(ctx: &Context, adapter: &AdapterDescription) -> Result<Description> {
    let certainty = ctx.input(MODEL)?.description.certainty;
    Ok(describe_adapter(adapter)?.with_certainty(certainty))
}

fn write(ctx: &Context, inventory: &Inventory, found: &Found, placed: &[Placed]) -> Result<()> {
    let (mut modules, total) = (BTreeMap::new(), placed.len() as u64);
    for (done, placed) in placed.iter().enumerate() {
        ctx.check_cancelled()?;
        modules.insert(placed.module.clone(), assemble::assemble(found, placed)?);
        ctx.progress("modules", done as u64 + 1, total);
    }
    let directory = ctx.output(ADAPTER)?;
    std::fs::create_dir_all(&directory)
        .map_err(|e| Error::from_source("io", &e).with_cause(directory.display().to_string()))?;
    let adapter = Adapter { config: config::of(found, &modules, inventory), modules };
    adapter.write_for(inventory, &directory).map_err(stage_error("unwritable_adapter"))
}

/// What it takes to know where each row comes from: an embedding has many.
fn rows(placed: &[Placed]) -> u64 {
    placed.iter().map(|placed| size_of_val(placed.rows.as_slice()) as u64).sum()
}

/// Names of tensors and the configuration: a generous guess for the disk estimate.
const HEADER_BYTES: u64 = 1 << 20;

stage_api::plugin![stage(ImportAdapter)];
