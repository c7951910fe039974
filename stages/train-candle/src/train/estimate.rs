//! What a training takes, from the decoder's books of its largest batch.

use std::collections::BTreeSet;

use decoder::plan::{self, Length, Needs};
use stage_api::{Context, Estimate};
use stage_model::ModelInput;

use super::course::Course;
use super::error::TrainError;
use super::params::Params;
use super::start::Start;
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
    let Survey { samples, held_out, extent, .. } = survey;
    let architecture = &model.reading.architecture;
    let modules: BTreeSet<String> = start.modules().keys().cloned().collect();
    let rank = start.modules().values().map(|module| module.rank).max().unwrap_or(0) as usize;
    let course = Course::new(params, samples.len());
    let largest = largest_batch(&course, samples);
    let step = plan::step(architecture, &modules, rank, &largest, ctx.threads(), params.dropout > 0.0)?;

    let mut flops = per_token(&step, &largest) * trained_tokens(params, &course, survey);
    if !held_out.is_empty() {
        let batch = &held_out[..held_out.len().min(params.batch_size)];
        let loss = plan::loss(architecture, &modules, rank, batch, ctx.threads())?;
        flops += per_token(&loss, batch) * (tokens(held_out) * course.evaluations()) as f64;
    }
    // Two averages of the optimizer, and the sum of several batches' gradients.
    let optimizer = step.adapters * if params.gradient_accumulation_steps > 1 { 3 } else { 2 };
    let data = extent.scale(resources::samples(samples)) + resources::samples(held_out);
    Ok(Estimate {
        memory: Some(step.bytes() + optimizer + data + resources::base(model)),
        mapped: Some(model.description.tensor_bytes()),
        disk: Some(step.adapters + CONFIG_BYTES),
        flops: Some(flops),
        seconds: resources::seconds(flops, ctx.threads()),
        ..Estimate::default()
    })
}

/// Tokens that go through the network forward and backward, judged by the part of the file that was read.
fn trained_tokens(params: &Params, course: &Course, survey: &Survey) -> f64 {
    let read = tokens(&survey.samples);
    match params.steps {
        Some(steps) => read as f64 * steps as f64 / course.steps_per_epoch.max(1) as f64,
        None => params.epochs as f64 * survey.extent.scale(read) as f64,
    }
}

/// The adapter's header and configuration.
const CONFIG_BYTES: u64 = 64 << 10;

/// The batch with the most tokens of those that the course has.
fn largest_batch(course: &Course, samples: &[Length]) -> Vec<Length> {
    let steps = course.steps.min(EPOCHS * course.steps_per_epoch) as usize;
    let batches = course.batches().take(steps).flatten();
    let lengths = batches.map(|batch| batch.into_iter().map(|i| samples[i]).collect::<Vec<_>>());
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
