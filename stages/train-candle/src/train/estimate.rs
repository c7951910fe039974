//! What a training takes, from the decoder's books of its largest batch.

use std::collections::BTreeSet;

use decoder::plan::{self, Length, Needs};
use stage_api::{Context, Estimate};
use stage_model::ModelInput;

use super::error::TrainError;
use super::params::Params;
use super::start::Start;
use super::steps::Course;
use super::survey::Survey;
use crate::resources;

/// Estimates the run.
///
/// # Errors
/// Where the decoder does not compute this architecture.
pub fn estimate(
    ctx: &Context,
    params: &Params,
    model: &ModelInput,
    start: &Start,
    survey: &Survey,
) -> Result<Estimate, TrainError> {
    let architecture = &model.reading.architecture;
    let modules: BTreeSet<String> = start.modules().keys().cloned().collect();
    let rank = start.modules().values().map(|module| module.rank).max().unwrap_or(0) as usize;
    let course = Course::new(params, survey.samples.len());
    let largest = largest_batch(&course, survey);
    let threads = ctx.threads();
    let step = plan::step(architecture, &modules, rank, &largest, threads, params.dropout > 0.0)?;

    let read = survey.extent;
    let epochs =
        params.steps.map_or(params.epochs as f64, |steps| steps as f64 / course.order.steps_per_epoch() as f64);
    let trained = epochs * read.scale(tokens(&survey.samples)) as f64;
    let mut flops = per_token(&step, &largest) * trained;
    if !survey.held_out.is_empty() {
        let batch = &survey.held_out[..survey.held_out.len().min(params.batch_size)];
        let loss = plan::loss(architecture, &modules, rank, batch, threads)?;
        let evaluations = 2.0 + (course.steps / course.eval_interval(params)) as f64;
        flops += per_token(&loss, batch) * tokens(&survey.held_out) as f64 * evaluations;
    }
    let adapters = step.adapters;
    // Two averages of the optimizer, and the sum of several batches' gradients.
    let optimizer = adapters * if params.gradient_accumulation_steps > 1 { 3 } else { 2 };
    let samples = read.scale(resources::samples(&survey.samples)) + resources::samples(&survey.held_out);
    Ok(Estimate {
        memory: Some(step.bytes() + optimizer + samples + resources::process(architecture.vocab_size)),
        mapped: Some(model.description.tensor_bytes()),
        disk: Some(adapters + CONFIG_BYTES),
        flops: Some(flops),
        seconds: Some(resources::seconds(flops, threads)),
        ..Estimate::default()
    })
}

/// The adapter's header and configuration.
const CONFIG_BYTES: u64 = 64 << 10;

/// The batch with the most tokens of those that the course has.
fn largest_batch(course: &Course, survey: &Survey) -> Vec<Length> {
    let epoch = course.order.steps_per_epoch();
    let batches = course.order.steps(course.steps.min(EPOCHS * epoch)).flatten();
    let lengths = batches.map(|batch| batch.into_iter().map(|i| survey.samples[i]).collect::<Vec<_>>());
    lengths.max_by_key(|batch| tokens(batch)).unwrap_or_default()
}

/// Later epochs have no much larger batch than the first ones.
const EPOCHS: u64 = 8;

fn tokens(lengths: &[Length]) -> u64 {
    lengths.iter().map(|length| length.tokens as u64).sum()
}

fn per_token(needs: &Needs, batch: &[Length]) -> f64 {
    needs.flops / tokens(batch).max(1) as f64
}
