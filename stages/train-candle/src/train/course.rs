//! How many steps there are, and what each of them sees.

use super::params::Params;
use crate::data::Order;

/// The way of a training through its samples.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Optimizer steps.
    pub steps: u64,
    /// Those of an epoch.
    pub steps_per_epoch: u64,
    /// Steps between two measurements of the held-out loss.
    eval_interval: u64,
    order: Order,
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
        let steps_per_epoch = order.steps_per_epoch();
        Self {
            steps: params.steps.unwrap_or(params.epochs * steps_per_epoch),
            steps_per_epoch,
            eval_interval: params.eval_interval.unwrap_or(steps_per_epoch).max(1),
            order,
        }
    }

    /// The samples of each step, as its batches.
    pub fn batches(&self) -> impl Iterator<Item = Vec<Vec<usize>>> {
        self.order.steps(self.steps)
    }

    /// Whether the held-out loss is measured after step `step`, counted from 1.
    pub fn evaluates_after(&self, step: u64) -> bool {
        step.is_multiple_of(self.eval_interval) || step == self.steps
    }

    /// How often the held-out loss is measured, before the first step too.
    pub fn evaluations(&self) -> u64 {
        1 + self.steps.div_ceil(self.eval_interval)
    }

    /// Whether step `step` is one of the last epoch's.
    pub fn ends_with(&self, step: u64) -> bool {
        self.steps - step < self.steps_per_epoch
    }
}
