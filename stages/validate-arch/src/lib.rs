//! Stage `validate-arch`: whether a model is what its configuration says, before anything is spent on it.
//!
//! Planning walks the inventory over the headers: missing, unexpected and ill-shaped tensors, what is assumed, whether
//! it converts. Running reads every tensor once and looks for values that are no numbers.

mod report;

use std::collections::BTreeMap;

use checkpoint::view::ModelView;
use schemars::JsonSchema;
use serde::Deserialize;
use stage_api::{
    Certainty, Context, Description, Estimate, Finding, Outcome, Plan, Port, Result, Signature, Stage, kind,
};
use stage_model::{
    AdapterInput, ModelInput, check_adapter, check_model, lost_in_gguf, model_notes, opened_memory, stage_error,
};

use report::Report;

/// Parameters of `validate-arch`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Whether to read every value and look for NaN and infinities.
    #[serde(default = "yes")]
    read_values: bool,
}

fn yes() -> bool {
    true
}

struct ValidateArch;

impl Stage for ValidateArch {
    fn signature(&self) -> Signature {
        Signature {
            id: "validate-arch".into(),
            summary: "checks every tensor of a model against its architecture, and whether it converts".into(),
            revision: Some(1),
            inputs: vec![
                Port::new("model", kind::MODEL, "the model"),
                Port::new("adapter", kind::ADAPTER, "an adapter that should fit it").optional(),
            ],
            outputs: vec![Port::new("report", kind::REPORT, "what was found, as JSON")],
            params: schemars::schema_for!(Params).into(),
        }
    }

    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let model = ModelInput::of(ctx, "model")?;
        let adapter = AdapterInput::optional(ctx, "adapter")?;
        let estimate = Estimate {
            memory: Some(opened_memory(&model) + 4 * BLOCK_VALUES as u64),
            mapped: Some(model.description.tensor_bytes()),
            disk: Some(64 << 10),
            ..Estimate::default()
        };
        let outputs = BTreeMap::from([("report".into(), Description::unknown(kind::REPORT))]);
        Ok(Plan { outputs, estimate, findings: findings(&model, adapter.as_ref()), ..Plan::default() })
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let params: Params = ctx.params()?;
        let model = ModelInput::of(ctx, "model")?;
        let adapter = AdapterInput::optional(ctx, "adapter")?;
        let findings = findings(&model, adapter.as_ref());
        let view = ModelView::new(model.open(ctx, "model")?, model.reading.inventory.clone(), None)
            .map_err(stage_error("unreadable_model"))?;
        if params.read_values {
            read_values(ctx, &view)?;
        }
        let report = Report::new(&model, &findings, params.read_values);
        let facts = report.write(&ctx.output("report")?)?;
        let description = Description::exact(kind::REPORT, facts).with_certainty(Certainty::Exact);
        let metrics = BTreeMap::from([
            ("parameters".into(), report.parameters as f64),
            ("tensors".into(), model.description.tensors.len() as f64),
        ]);
        Ok(Outcome { outputs: BTreeMap::from([("report".into(), description)]), metrics, findings: Vec::new() })
    }
}

/// Values that are read at once: 4 MiB.
const BLOCK_VALUES: usize = 1 << 20;

fn findings(model: &ModelInput, adapter: Option<&AdapterInput>) -> Vec<Finding> {
    let mut findings = model_api::family::findings(&model.reading);
    findings.extend(model_notes(model));
    findings.extend(check_model(model));
    if let Some(adapter) = adapter {
        findings.extend(check_adapter(model, &adapter.description));
    }
    findings.extend(lost_in_gguf(model));
    findings
}

fn read_values(ctx: &Context, view: &ModelView) -> Result<()> {
    let names: Vec<String> = view.tensors().map(|t| t.name.clone()).collect();
    let mut values = Vec::new();
    for (done, name) in names.iter().enumerate() {
        let reader = view.rows(name).map_err(stage_error("unreadable_tensor"))?;
        for block in reader.blocks(BLOCK_VALUES) {
            ctx.check_cancelled()?;
            values.resize((block.end - block.start) as usize * reader.columns(), 0.0);
            reader.read_finite(block, &mut values).map_err(|e| {
                stage_error("bad_values")(e).with_help("the checkpoint is damaged, or its training diverged")
            })?;
        }
        ctx.progress("tensors", done as u64 + 1, names.len() as u64);
    }
    Ok(())
}

stage_api::plugin![stage(ValidateArch)];
