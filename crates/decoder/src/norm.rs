//! RMSNorm's weights, <https://arxiv.org/abs/1910.07467>; the arithmetic is [`Backend::norm`].

use model::architecture::Norm;

use crate::backend::{Backend, NormWeights};
use crate::error::Result;
use crate::weights::Weights;

/// Reads the weights of a norm over `features` values.
pub(crate) fn load<B: Backend>(
    backend: &B,
    norm: &Norm,
    features: usize,
    weights: &dyn Weights,
) -> Result<NormWeights<B::Vector>> {
    let mut weight = weights.vector(&norm.weight, features)?;
    weight.iter_mut().for_each(|w| *w += norm.weight_offset);
    Ok(NormWeights { weight: backend.vector(weight)?, features, eps: norm.eps })
}
