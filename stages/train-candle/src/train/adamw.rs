//! AdamW (Loshchilov and Hutter, <https://arxiv.org/abs/1711.05101>), with PyTorch's order of operations.
//!
//! ```text
//! w ← w · (1 - lr · weight_decay)
//! m ← m + (g - m) · (1 - β₁)
//! v ← v · β₂ + (1 - β₂) · g²
//! w ← w - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)
//! ```

use decoder::{Adapters, Matrix};

/// What does not change from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWOptions {
    /// β₁ and β₂.
    pub betas: [f64; 2],
    /// ε.
    pub eps: f64,
    /// Decoupled decay, in units of the learning rate.
    pub weight_decay: f64,
}

/// The optimizer with its two averages for every trained value, f32.
#[derive(Debug)]
pub struct AdamW {
    options: AdamWOptions,
    step: i32,
    /// (m, v) of each matrix in the adapters' order.
    moments: Vec<(Vec<f32>, Vec<f32>)>,
}

impl AdamW {
    /// Averages at zero.
    pub fn new(options: AdamWOptions, adapters: &Adapters) -> Self {
        let zeros = |matrix: &Matrix| (vec![0.0; matrix.values().len()], vec![0.0; matrix.values().len()]);
        Self { options, step: 0, moments: adapters.matrices().map(zeros).collect() }
    }

    /// One update of `adapters` by `gradients` of the same shapes.
    pub fn update(&mut self, learning_rate: f64, adapters: &mut Adapters, gradients: &Adapters) {
        self.step += 1;
        let step = Step::new(&self.options, learning_rate, self.step);
        let matrices = adapters.matrices_mut().zip(gradients.matrices()).zip(&mut self.moments);
        for ((weights, gradient), (m, v)) in matrices {
            step.update(weights.values_mut(), gradient.values(), m, v);
        }
    }
}

/// The scalars of one step.
struct Step {
    keep: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    bias_correction2_sqrt: f32,
    eps: f32,
    step_size: f32,
}

impl Step {
    fn new(options: &AdamWOptions, learning_rate: f64, step: i32) -> Self {
        let [beta1, beta2] = options.betas;
        Self {
            keep: (1.0 - learning_rate * options.weight_decay) as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            bias_correction2_sqrt: (1.0 - beta2.powi(step)).sqrt() as f32,
            eps: options.eps as f32,
            step_size: (learning_rate / (1.0 - beta1.powi(step))) as f32,
        }
    }

    fn update(&self, weights: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(m).zip(v) {
            *w *= self.keep;
            *m += (g - *m) * self.one_minus_beta1;
            *v = *v * self.beta2 + self.one_minus_beta2 * g * g;
            let denominator = v.sqrt() / self.bias_correction2_sqrt + self.eps;
            *w -= self.step_size * (*m / denominator);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use decoder::Adapter;
    use serde::Deserialize;

    use super::*;
    use crate::train::clip;

    #[derive(Deserialize)]
    struct Golden {
        options: Options,
        before: [Vec<f32>; 2],
        steps: Vec<Step>,
    }

    #[derive(Deserialize)]
    struct Options {
        betas: [f64; 2],
        eps: f64,
        weight_decay: f64,
        max_norm: f64,
    }

    #[derive(Deserialize)]
    struct Step {
        lr: f64,
        gradients: [Vec<f32>; 2],
        norm: f64,
        after: [Vec<f32>; 2],
    }

    /// One adapter of rank 2 on a linear of 3 to 3 features.
    fn adapter([a, b]: &[Vec<f32>; 2]) -> Adapters {
        let mut architecture = crate::tiny::architecture();
        architecture.layers.truncate(1);
        let module = "model.layers.0.self_attn.q_proj".to_owned();
        for sublayer in &mut architecture.layers[0].sublayers {
            if let [model::architecture::Branch::Attention(attention)] = sublayer.branches.as_mut_slice() {
                (attention.q.in_features, attention.q.out_features) = (3, 3);
            }
        }
        let (a, b) = (Matrix::new(2, 3, a.clone()).unwrap(), Matrix::new(3, 2, b.clone()).unwrap());
        Adapters::new(&architecture, vec![Adapter { module, a, b, scale: 1.0, experts: 1 }]).unwrap()
    }

    #[test]
    fn steps_are_pytorchs() {
        let golden: Golden = serde_json::from_str(include_str!("../../tests/data/adamw.json")).unwrap();
        let Options { betas, eps, weight_decay, max_norm } = golden.options;
        let mut adapters = adapter(&golden.before);
        let mut optimizer = AdamW::new(AdamWOptions { betas, eps, weight_decay }, &adapters);
        for step in golden.steps {
            let mut gradients = adapter(&step.gradients);
            let norm = clip::norm(&gradients);
            assert!((norm - step.norm).abs() < 1e-6 * norm, "{norm} is not {}", step.norm);
            clip::clip(&mut gradients, norm, max_norm);
            optimizer.update(step.lr, &mut adapters, &gradients);
            for (got, want) in adapters.matrices().zip(&step.after) {
                let close = |(got, want): (&f32, &f32)| (got - want).abs() <= 2e-7 * want.abs().max(0.1);
                assert!(got.values().iter().zip(want).all(close), "{:?} is not {want:?}", got.values());
            }
        }
    }

    #[test]
    fn no_limit_clips_nothing() {
        let mut gradients = adapter(&[vec![3.0; 6], vec![4.0; 6]]);
        let before = gradients.clone();
        let norm = clip::norm(&gradients);
        assert!((norm - 150f64.sqrt()).abs() < 1e-12);
        clip::clip(&mut gradients, norm, 0.0);
        clip::clip(&mut gradients, norm, 13.0);
        assert_eq!(gradients, before);
        assert!(clip::norm(&adapter(&[vec![f32::NAN; 6], vec![0.0; 6]])).is_nan());
    }
}
