//! The learning rate of each step: a linear warm-up, then a decay.
//!
//! `lr(t) = lr · t / warmup` for `t < warmup`; then, with `p = (t - warmup) / (steps - warmup)`, cosine
//! `lr · ½ (1 + cos πp)` (Loshchilov and Hutter, <https://arxiv.org/abs/1608.03983>) or linear `lr · (1 - p)`. Steps
//! count from 0, as in transformers' `get_cosine_schedule_with_warmup`.

use std::f64::consts::PI;

use super::params::Decay;

/// A run's learning rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest.
    pub learning_rate: f64,
    /// Steps in which it rises.
    pub warmup_steps: u64,
    /// All steps.
    pub steps: u64,
    /// How it falls.
    pub decay: Decay,
}

impl Schedule {
    /// The warm-up is `warmup_ratio` of the steps, rounded up.
    pub fn new(learning_rate: f64, warmup_ratio: f64, steps: u64, decay: Decay) -> Self {
        Self { learning_rate, warmup_steps: (steps as f64 * warmup_ratio).ceil() as u64, steps, decay }
    }

    /// The rate of step `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * step as f64 / self.warmup_steps as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / rest as f64).min(1.0);
        let factor = match self.decay {
            Decay::Cosine => 0.5 * (1.0 + (PI * progress).cos()),
            Decay::Linear => 1.0 - progress,
            Decay::Constant => 1.0,
        };
        self.learning_rate * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_and_falls_as_transformers_does() {
        // transformers 5.23: get_cosine_schedule_with_warmup(optimizer with lr 1.0, 3, 10)
        let expected = [
            0.0,
            0.333_333_333_333_333_3,
            0.666_666_666_666_666_6,
            1.0,
            0.950_484_433_951_209_5,
            0.811_744_900_929_366_8,
            0.611_260_466_978_157_3,
            0.388_739_533_021_842_8,
            0.188_255_099_070_633_23,
            0.049_515_566_048_790_43,
        ];
        let schedule = Schedule::new(1.0, 0.21, 10, Decay::Cosine);
        assert_eq!(schedule.warmup_steps, 3);
        for (step, expected) in expected.into_iter().enumerate() {
            assert!((schedule.at(step as u64) - expected).abs() < 1e-15, "step {step}: {}", schedule.at(step as u64));
        }
    }

    #[test]
    fn without_warm_up_it_begins_at_the_top() {
        let at = |decay, step| Schedule::new(2.0, 0.0, 4, decay).at(step);
        assert_eq!([0, 1, 2, 3].map(|step| at(Decay::Linear, step)), [2.0, 1.5, 1.0, 0.5]);
        assert_eq!([0, 3].map(|step| at(Decay::Constant, step)), [2.0, 2.0]);
        assert_eq!(at(Decay::Cosine, 0), 2.0);
    }
}
