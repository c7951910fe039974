//! Stage `train-candle`: LoRA fine-tuning on chats, completions and texts, over a base that stays where it lies.

mod adamw;
mod clip;
mod course;
mod error;
mod estimate;
mod figures;
mod params;
mod schedule;
mod start;
mod steps;
mod survey;
mod targets;

use std::collections::BTreeMap;

use stage_api::{Context, Description, Error, Finding, Outcome, Plan, Port, Result, Severity, Signature, Stage, kind};
use stage_model::{ModelInput, check_model, describe_adapter};

use crate::base::{Base, MODEL, numeric_mode};
use error::TrainError;
use figures::Figures;
use params::Params;
use start::Start;
use steps::Training;
use survey::{Data, Survey};

/// The output's name.
const ADAPTER: &str = "adapter";

/// Teaches a model by LoRA.
pub struct TrainCandle;

impl Stage for TrainCandle {
    fn signature(&self) -> Signature {
        Signature {
            id: "train-candle".into(),
            summary: "trains a LoRA adapter on chats, completions or texts, over a base of any type".into(),
            revision: Some(3),
            inputs: vec![Port::new(MODEL, kind::MODEL, "the base: a Hugging Face directory or a GGUF")],
            outputs: vec![Port::new(ADAPTER, kind::ADAPTER, "a PEFT directory")],
            params: schemars::schema_for!(Params).into(),
        }
    }

    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let params: Params = ctx.params()?;
        let model = ModelInput::of(ctx, MODEL)?;
        let mut findings = check_model(&model);
        let start = note(&mut findings, Start::new(&params, &model.reading).map_err(Error::from));
        let survey = note(&mut findings, Survey::take(ctx, &params, &model));
        findings.extend(survey.iter().flat_map(|survey| survey.findings.clone()));
        let (Some(start), Some(survey)) = (start, survey) else {
            return Ok(Plan { findings, ..Plan::default() });
        };
        let estimate = estimate::estimate(ctx, &params, &model, &start, &survey).map_err(Error::from);
        let Some(estimate) = note(&mut findings, estimate) else {
            return Ok(Plan { findings, ..Plan::default() });
        };
        Ok(Plan {
            outputs: BTreeMap::from([(ADAPTER.into(), describe(ctx, &model, &start)?)]),
            estimate,
            findings,
            numeric_mode: Some(numeric_mode(&model)),
            ..Plan::default()
        })
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let params: Params = ctx.params()?;
        let model = ModelInput::of(ctx, MODEL)?;
        let start = Start::new(&params, &model.reading)?;
        let output = describe(ctx, &model, &start)?;
        let figures = train(ctx, &params, &model, start)?;
        Ok(Outcome {
            outputs: BTreeMap::from([(ADAPTER.into(), output)]),
            metrics: figures.metrics(),
            ..Outcome::default()
        })
    }
}

/// What comes out; as certain as what is known of the base.
fn describe(ctx: &Context, model: &ModelInput, start: &Start) -> Result<Description> {
    let certainty = ctx.input(MODEL)?.description.certainty;
    Ok(describe_adapter(&start.description(&model.description))?.with_certainty(certainty))
}

fn train(ctx: &Context, params: &Params, model: &ModelInput, start: Start) -> Result<Figures> {
    let base = Base::open(ctx, model)?;
    let data = Data::load(params, &base.tokenizer)?;
    let network = base.network(ctx.threads())?;
    let mut adapters = start.adapters(&model.reading.architecture, params.seed)?;
    let (samples, held_out) = (&data.samples, &data.held_out);
    let (count, trained) = (samples.len(), adapters.parameters());
    stage_api::tracing::info!(samples = count, held_out = held_out.len(), trained, "training");
    let figures = Training { ctx, params, network: &network, samples, held_out }.run(&mut adapters)?;
    let directory = ctx.output(ADAPTER)?;
    std::fs::create_dir_all(&directory)
        .map_err(|e| Error::from_source("io", &e).with_cause(directory.display().to_string()))?;
    start.finish(&adapters).write_for(&model.reading.inventory, &directory).map_err(TrainError::Write)?;
    Ok(figures)
}

/// What went well; what did not becomes a finding beside the others.
fn note<T>(findings: &mut Vec<Finding>, result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let mut finding = Finding::new(Severity::Error, &error.code, error.to_string());
            finding.help = error.help;
            findings.push(finding);
            None
        }
    }
}

#[cfg(test)]
mod peft_tests;
#[cfg(test)]
mod stage_tests;
