//! The training loop: gradients of some samples, one update, and again; figures on the way.
//!
//! A step's loss is `Σ loss / Σ learned tokens` over all of its batches, so how samples are cut into batches does not
//! change it.

use std::time::Instant;

use decoder::{Adapters, Batch, DecoderError, Dropout, Fast, LossSum, Matrix, Network, Step};
use stage_api::Context;
use tokenizer::conversation::Sample;

use super::adamw::{AdamW, AdamWOptions};
use super::clip;
use super::course::Course;
use super::error::TrainError;
use super::figures::{Figures, StepFigures, add, mean};
use super::params::Params;
use super::schedule::Schedule;

/// What is trained on what.
pub struct Training<'a> {
    /// Takes figures, says whether to stop.
    pub ctx: &'a Context,
    /// How.
    pub params: &'a Params,
    /// The frozen base.
    pub network: &'a Network<Fast>,
    /// Samples to learn from, at least one.
    pub samples: &'a [Sample],
    /// Samples whose loss is only measured.
    pub held_out: &'a [Sample],
}

/// What changes from step to step.
struct Learner<'a> {
    adapters: &'a mut Adapters,
    optimizer: AdamW,
    schedule: Schedule,
}

impl Training<'_> {
    /// Trains `adapters` to the end.
    ///
    /// # Errors
    /// Where the run was asked to stop, or a loss or gradient is no number; `adapters` are worth nothing then.
    pub fn run(&self, adapters: &mut Adapters) -> Result<Figures, TrainError> {
        let course = Course::new(self.params, self.samples.len());
        let mut learner = Learner::new(self.params, course.steps, adapters);
        let mut figures = Figures::new(self.held_out_loss(learner.adapters, 0)?);
        let total: u64 = course.batches().map(|step| self.tokens(&step)).sum();
        for (step, batches) in (1..).zip(course.batches()) {
            let done = self.step(step, &batches, &mut learner)?;
            figures.count(&done, course.ends_with(step));
            self.ctx.progress("tokens", figures.tokens, total);
            if step.is_multiple_of(self.params.log_interval) || step == course.steps {
                done.series().into_iter().for_each(|(name, value)| self.ctx.metric(name, step, value));
            }
            if course.evaluates_after(step) {
                let after = self.held_out_loss(learner.adapters, step)?;
                figures.eval_loss = figures.eval_loss.zip(after).map(|([before, _], after)| [before, after]);
            }
        }
        Ok(figures)
    }

    /// One optimizer step over some batches.
    fn step(&self, step: u64, batches: &[Vec<usize>], learner: &mut Learner<'_>) -> Result<StepFigures, TrainError> {
        let start = Instant::now();
        let steps = learner.schedule.steps;
        let failed = |source| TrainError::Step { step, steps, source };
        let Step { mut gradients, loss } = self.gradients(step, batches, learner.adapters, &failed)?;
        clip::scale(&mut gradients, 1.0 / loss.learned);
        let grad_norm = clip::norm(&gradients);
        if !grad_norm.is_finite() {
            return Err(TrainError::NonFiniteGradient { step, steps, norm: grad_norm });
        }
        clip::clip(&mut gradients, grad_norm, self.params.max_grad_norm);
        let learning_rate = learner.schedule.at(step - 1);
        learner.optimizer.update(learning_rate, learner.adapters, &gradients);
        let (tokens, seconds) = (self.tokens(batches), start.elapsed().as_secs_f64());
        Ok(StepFigures { loss, tokens, grad_norm, learning_rate, seconds })
    }

    /// Sums over all batches of a step.
    fn gradients(
        &self,
        step: u64,
        batches: &[Vec<usize>],
        adapters: &Adapters,
        failed: &dyn Fn(DecoderError) -> TrainError,
    ) -> Result<Step<Matrix>, TrainError> {
        let Params { dropout, seed, .. } = *self.params;
        let dropout = (dropout > 0.0).then_some(Dropout { probability: dropout as f32, seed, step });
        let mut sum: Option<Step<Matrix>> = None;
        for batch in batches {
            self.ctx.check_cancelled()?;
            let batch = batch_of(self.samples, batch).map_err(failed)?;
            let part = self.network.gradients(adapters, &batch, dropout).map_err(failed)?;
            match &mut sum {
                None => sum = Some(part),
                Some(sum) => {
                    sum.gradients.add(&part.gradients);
                    add(&mut sum.loss, &part.loss);
                }
            }
        }
        sum.ok_or_else(|| failed(DecoderError::NothingLearned { tokens: 0 }))
    }

    /// Mean loss of the held-out samples after `step` steps; `None` where there are none.
    fn held_out_loss(&self, adapters: &Adapters, step: u64) -> Result<Option<f64>, TrainError> {
        if self.held_out.is_empty() {
            return Ok(None);
        }
        let failed = |source| TrainError::Evaluation { step, source };
        let mut sum = LossSum { loss_sum: 0.0, learned: 0.0 };
        let all: Vec<usize> = (0..self.held_out.len()).collect();
        for batch in all.chunks(self.params.batch_size) {
            self.ctx.check_cancelled()?;
            let batch = batch_of(self.held_out, batch).map_err(failed)?;
            add(&mut sum, &self.network.loss(adapters, &batch).map_err(failed)?);
        }
        self.ctx.metric("eval_loss", step, mean(&sum));
        Ok(Some(mean(&sum)))
    }

    fn tokens(&self, batches: &[Vec<usize>]) -> u64 {
        batches.iter().flatten().map(|i| self.samples[*i].ids.len() as u64).sum()
    }
}

impl<'a> Learner<'a> {
    fn new(params: &Params, steps: u64, adapters: &'a mut Adapters) -> Self {
        let Params { betas, eps, weight_decay, learning_rate, warmup_ratio, schedule, .. } = *params;
        let optimizer = AdamW::new(AdamWOptions { betas, eps, weight_decay }, adapters);
        Self { adapters, optimizer, schedule: Schedule::new(learning_rate, warmup_ratio, steps, schedule) }
    }
}

/// Samples as the network sees them.
fn batch_of(samples: &[Sample], indices: &[usize]) -> decoder::Result<Batch> {
    let weights: Vec<Vec<f32>> = indices
        .iter()
        .map(|i| samples[*i].learned.iter().map(|learned| if *learned { 1.0 } else { 0.0 }).collect())
        .collect();
    let views: Vec<decoder::Sample<'_>> = indices
        .iter()
        .zip(&weights)
        .map(|(i, weights)| decoder::Sample { id: *i as u64, tokens: &samples[*i].ids, weights })
        .collect();
    Batch::new(&views)
}
