//! Shortening of gradients: `g ← g · min(1, max_norm / (‖g‖₂ + 1e-6))` over all matrices together, as PyTorch's
//! `clip_grad_norm_` does (Pascanu et al., <https://arxiv.org/abs/1211.5063>).

use decoder::Adapters;

/// Added to the norm, so that nothing is divided by zero.
const EPS: f64 = 1e-6;

/// Multiplies every gradient.
pub fn scale(gradients: &mut Adapters, factor: f64) {
    let factor = factor as f32;
    gradients.matrices_mut().flat_map(|matrix| matrix.values_mut()).for_each(|g| *g *= factor);
}

/// The norm of all gradients; it is no number where one of them is none.
pub fn norm(gradients: &Adapters) -> f64 {
    let squares = gradients.matrices().flat_map(|matrix| matrix.values()).map(|g| f64::from(*g).powi(2));
    squares.sum::<f64>().sqrt()
}

/// Shortens gradients of norm `norm` to `max_norm`; 0 lets all pass.
pub fn clip(gradients: &mut Adapters, norm: f64, max_norm: f64) {
    let factor = max_norm / (norm + EPS);
    if max_norm > 0.0 && factor < 1.0 {
        scale(gradients, factor);
    }
}
