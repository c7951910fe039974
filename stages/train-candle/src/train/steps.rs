//! The training loop: gradients of some samples, one update, and again; figures on the way.
//!
//! A step's loss is `Σ loss / Σ learned tokens` over all of its batches, so how samples are cut into batches does not
//! change it.

use std::time::Instant;

use decoder::{Adapters, Batch, Dropout, Fast, LossSum, Network};
use stage_api::Context;
use tokenizer::conversation::Sample;

use super::adamw::{AdamW, AdamWOptions};
use super::clip;
use super::error::TrainError;
use super::params::Params;
use super::schedule::Schedule;
use crate::data::Order;

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

/// Figures of a finished training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens that went through the network forward and backward.
    pub tokens: u64,
    /// Tokens that were learned, each time that they were.
    pub learned_tokens: f64,
    /// Mean loss of the last epoch's steps, nats a learned token.
    pub loss: f64,
    /// Held-out loss before the first step and after the last.
    pub eval_loss: Option<[f64; 2]>,
    /// Training alone, without evaluations.
    pub seconds: f64,
}

/// How many steps there are and what they see.
pub struct Course {
    /// Which samples come when.
    pub order: Order,
    /// Optimizer steps.
    pub steps: u64,
}

impl Course {
    /// The parameters' course over `samples` samples.
    pub fn new(params: &Params, samples: usize) -> Self {
        let order = Order {
            samples,
            batch_size: params.batch_size,
            accumulation: params.gradient_accumulation_steps,
            shuffle: params.shuffle.then_some(params.seed),
        };
        Self { order, steps: params.steps.unwrap_or(params.epochs * order.steps_per_epoch()) }
    }

    /// Steps between two measurements of the held-out loss.
    pub fn eval_interval(&self, params: &Params) -> u64 {
        params.eval_interval.unwrap_or(self.order.steps_per_epoch()).max(1)
    }
}

impl Training<'_> {
    /// Trains `adapters` to the end.
    ///
    /// # Errors
    /// Where the run was asked to stop, or a loss or gradient is no number; `adapters` are worth nothing then.
    pub fn run(&self, adapters: &mut Adapters) -> Result<Figures, TrainError> {
        let Params { betas, eps, weight_decay, learning_rate, warmup_ratio, schedule, .. } = *self.params;
        let course = Course::new(self.params, self.samples.len());
        let steps = course.steps;
        let schedule = Schedule::new(learning_rate, warmup_ratio, steps, schedule);
        let mut optimizer = AdamW::new(AdamWOptions { betas, eps, weight_decay }, adapters);
        let tokens_of = |step: &Vec<Vec<usize>>| step.iter().flatten().map(|i| self.samples[*i].ids.len() as u64).sum();
        let total: u64 = course.order.steps(steps).map(|step| -> u64 { tokens_of(&step) }).sum();
        let eval_interval = course.eval_interval(self.params);
        let before = self.held_out_loss(adapters, 0)?;
        let mut after = before;
        let mut figures = Figures { steps, tokens: 0, learned_tokens: 0.0, loss: 0.0, eval_loss: None, seconds: 0.0 };
        let mut epoch = LossSum { loss_sum: 0.0, learned: 0.0 };
        for (step, batches) in (1..).zip(course.order.steps(steps)) {
            let (start, tokens) = (Instant::now(), tokens_of(&batches));
            let learning_rate = schedule.at(step - 1);
            let done = self.step(step, steps, &batches, adapters, &mut optimizer, learning_rate)?;
            let seconds = start.elapsed().as_secs_f64();
            figures.tokens += tokens;
            figures.learned_tokens += done.loss.learned;
            figures.seconds += seconds;
            if steps - step < course.order.steps_per_epoch() {
                epoch.loss_sum += done.loss.loss_sum;
                epoch.learned += done.loss.learned;
            }
            self.ctx.progress("tokens", figures.tokens, total);
            if step % self.params.log_interval == 0 || step == steps {
                self.ctx.metric("loss", step, done.loss.loss_sum / done.loss.learned);
                self.ctx.metric("learning_rate", step, learning_rate);
                self.ctx.metric("grad_norm", step, done.grad_norm);
                self.ctx.metric("tokens_per_second", step, tokens as f64 / seconds);
            }
            if step % eval_interval == 0 || step == steps {
                after = self.held_out_loss(adapters, step)?;
            }
        }
        figures.loss = epoch.loss_sum / epoch.learned;
        figures.eval_loss = before.zip(after).map(|(before, after)| [before, after]);
        Ok(figures)
    }

    /// One optimizer step over some batches.
    fn step(
        &self,
        step: u64,
        steps: u64,
        batches: &[Vec<usize>],
        adapters: &mut Adapters,
        optimizer: &mut AdamW,
        learning_rate: f64,
    ) -> Result<Done, TrainError> {
        let failed = |source| TrainError::Step { step, steps, source };
        let Params { dropout, seed, max_grad_norm, .. } = *self.params;
        let dropout = (dropout > 0.0).then_some(Dropout { probability: dropout as f32, seed, step });
        let mut sum: Option<decoder::Step<decoder::Matrix>> = None;
        for batch in batches {
            self.ctx.check_cancelled()?;
            let batch = batch_of(self.samples, batch).map_err(failed)?;
            let part = self.network.gradients(adapters, &batch, dropout).map_err(failed)?;
            match &mut sum {
                Some(sum) => {
                    sum.gradients.add(&part.gradients);
                    sum.loss.loss_sum += part.loss.loss_sum;
                    sum.loss.learned += part.loss.learned;
                }
                None => sum = Some(part),
            }
        }
        let Some(decoder::Step { mut gradients, loss }) = sum else {
            return Err(failed(decoder::DecoderError::NothingLearned { tokens: 0 }));
        };
        clip::scale(&mut gradients, 1.0 / loss.learned);
        let grad_norm = clip::norm(&gradients);
        if !grad_norm.is_finite() {
            return Err(TrainError::NonFiniteGradient { step, steps, norm: grad_norm });
        }
        clip::clip(&mut gradients, grad_norm, max_grad_norm);
        optimizer.update(learning_rate, adapters, &gradients);
        Ok(Done { loss, grad_norm })
    }

    /// Mean loss of the held-out samples; `None` where there are none.
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
            let part = self.network.loss(adapters, &batch).map_err(failed)?;
            sum.loss_sum += part.loss_sum;
            sum.learned += part.learned;
        }
        let loss = sum.loss_sum / sum.learned;
        self.ctx.metric("eval_loss", step, loss);
        Ok(Some(loss))
    }
}

/// What a step did.
struct Done {
    loss: LossSum,
    /// Before clipping.
    grad_norm: f64,
}

/// Samples as the network sees them.
fn batch_of(samples: &[Sample], indices: &[usize]) -> decoder::Result<Batch> {
    let weight = |learned: &bool| if *learned { 1.0 } else { 0.0 };
    let weights: Vec<Vec<f32>> = indices.iter().map(|i| samples[*i].learned.iter().map(weight).collect()).collect();
    let views: Vec<decoder::Sample<'_>> = indices
        .iter()
        .zip(&weights)
        .map(|(i, weights)| decoder::Sample { id: *i as u64, tokens: &samples[*i].ids, weights })
        .collect();
    Batch::new(&views)
}
