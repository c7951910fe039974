//! What a training has to say about itself.

use std::collections::BTreeMap;

use decoder::LossSum;

/// One optimizer step.
#[derive(Debug, Clone, Copy)]
pub struct StepFigures {
    /// Over all of its batches.
    pub loss: LossSum,
    /// Tokens that went through the network.
    pub tokens: u64,
    /// Norm of the gradient before it was shortened.
    pub grad_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// How long it took.
    pub seconds: f64,
}

impl StepFigures {
    /// By the names of their series.
    pub fn series(&self) -> [(&'static str, f64); 4] {
        [
            ("loss", mean(&self.loss)),
            ("learning_rate", self.learning_rate),
            ("grad_norm", self.grad_norm),
            ("tokens_per_second", self.tokens as f64 / self.seconds),
        ]
    }
}

/// A whole training.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Optimizer steps done.
    pub steps: u64,
    /// Tokens that went through the network forward and backward.
    pub tokens: u64,
    /// Tokens that were learned, each time that they were.
    pub learned_tokens: f64,
    /// Of the last epoch's steps.
    pub last_epoch: LossSum,
    /// Held-out loss before the first step and after the last, nats a learned token.
    pub eval_loss: Option<[f64; 2]>,
    /// Training alone, without evaluations.
    pub seconds: f64,
}

impl Figures {
    /// Before the first step.
    pub fn new(eval_loss: Option<f64>) -> Self {
        Self {
            steps: 0,
            tokens: 0,
            learned_tokens: 0.0,
            last_epoch: LossSum { loss_sum: 0.0, learned: 0.0 },
            eval_loss: eval_loss.map(|loss| [loss; 2]),
            seconds: 0.0,
        }
    }

    /// Counts a step.
    pub fn count(&mut self, step: &StepFigures, in_last_epoch: bool) {
        self.steps += 1;
        self.tokens += step.tokens;
        self.learned_tokens += step.loss.learned;
        self.seconds += step.seconds;
        if in_last_epoch {
            add(&mut self.last_epoch, &step.loss);
        }
    }

    /// By name, for the summary.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::from([
            ("steps".to_owned(), self.steps as f64),
            ("tokens".to_owned(), self.tokens as f64),
            ("learned_tokens".to_owned(), self.learned_tokens),
            ("loss".to_owned(), mean(&self.last_epoch)),
            ("tokens_per_second".to_owned(), self.tokens as f64 / self.seconds),
        ]);
        if let Some([before, after]) = self.eval_loss {
            metrics.extend([("eval_loss_before".to_owned(), before), ("eval_loss".to_owned(), after)]);
        }
        metrics
    }
}

/// Sums a loss over more samples.
pub fn add(sum: &mut LossSum, part: &LossSum) {
    sum.loss_sum += part.loss_sum;
    sum.learned += part.learned;
}

/// Nats a learned token.
pub fn mean(sum: &LossSum) -> f64 {
    sum.loss_sum / sum.learned
}
