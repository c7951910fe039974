//! Head and cross-entropy with all logits at once.

use candle_core::{D, DType, Tensor};

use super::{Dense, Reference};
use crate::backend::{HeadWeights, Sink};
use crate::batch::Target;
use crate::error::{DecoderError, Result};

impl Reference {
    /// `Σ weight · (log Σ exp(l) - l[target])` as a tensor of no dimensions, so that candle can differentiate it; and
    /// its derivative by `x` if wanted.
    pub(crate) fn head_loss_tensor(
        &self,
        head: &HeadWeights<Dense>,
        x: &Tensor,
        targets: &[Target],
        want_gradient: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (logits, slope) = self.head_values(head, x)?;
        let greatest = logits.max_keepdim(D::Minus1)?.detach();
        let exponentials = logits.broadcast_sub(&greatest)?.exp()?;
        let sums = exponentials.sum_keepdim(D::Minus1)?;
        let ids: Vec<u32> = targets.iter().map(|target| target.token).collect();
        let ids = Tensor::from_slice(&ids, (ids.len(), 1), &self.device)?;
        let weights: Vec<f32> = targets.iter().map(|target| target.weight).collect();
        let weights = Tensor::from_slice(&weights, (weights.len(), 1), &self.device)?.to_dtype(self.dtype)?;
        let loss = ((sums.log()? + greatest)? - logits.gather(&ids, 1)?)?;
        let loss = (loss * &weights)?.sum_all()?;
        if !want_gradient {
            return Ok((loss, None));
        }
        let minus_one = (weights.ones_like()? * -1.0)?;
        let softmax = exponentials.broadcast_div(&sums)?;
        let dlogits = softmax.scatter_add(&ids, &minus_one, 1)?.broadcast_mul(&weights)?.mul(&slope)?;
        Ok((loss, Some(dlogits.matmul(head.weight.weight())?)))
    }

    pub(super) fn head_loss(
        &self,
        head: &HeadWeights<Dense>,
        x: &Tensor,
        targets: &[Target],
        want_gradient: bool,
    ) -> Result<(f64, Option<Tensor>)> {
        let (loss, dx) = self.head_loss_tensor(head, x, targets, want_gradient)?;
        Ok((loss.to_dtype(DType::F64)?.to_scalar()?, dx))
    }

    pub(super) fn head_logits(&self, head: &HeadWeights<Dense>, x: &Tensor, sink: &mut Sink<'_>) -> Result<()> {
        let tokens = 0..x.dim(0)?;
        let logits = self.head_values(head, x)?.0.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        sink(0, &logits).map_err(|source| DecoderError::Sink { tokens, source })
    }

    /// `cap(logit_scale · x·Wᵀ)` and its derivative by `x·Wᵀ`.
    fn head_values(&self, head: &HeadWeights<Dense>, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let scale = f64::from(head.logit_scale);
        let logits = (x.matmul(&head.weight.weight().t()?)? * scale)?;
        match head.soft_cap.map(f64::from) {
            Some(cap) => {
                let t = (logits / cap)?.tanh()?;
                Ok(((&t * cap)?, ((1.0 - t.sqr()?)? * scale)?))
            }
            None => {
                let slope = (logits.ones_like()? * scale)?;
                Ok((logits, slope))
            }
        }
    }
}
