//! Attention, a segment at a time, with all its scores: `softmax(cap(scale · q·kᵀ) + mask) · v`.

use std::ops::Range;

use candle_core::{D, DType, Tensor};

use super::Reference;
use crate::backend::{Attended, AttentionShape};
use crate::error::Result;

/// A segment's weights, `(heads, queries, keys)`, and what the backward pass needs of the scores.
struct Scores {
    weights: Tensor,
    /// The derivative of the capped scores by `q·kᵀ`.
    slope: Tensor,
    /// `(heads, queries, 1)`
    log_sums: Tensor,
}

impl Reference {
    pub(super) fn attend(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        [q, k, v]: [&Tensor; 3],
    ) -> Result<(Tensor, Tensor)> {
        let (mut outs, mut sums) = (Vec::new(), Vec::new());
        for tokens in segments {
            let [q, k, v] = heads(shape, tokens, [q, k, v])?;
            let scores = self.scores(shape, &q, &k)?;
            outs.push(flat(&scores.weights.matmul(&v)?)?);
            sums.push(flat(&scores.log_sums)?);
        }
        Ok((Tensor::cat(&outs, 0)?, Tensor::cat(&sums, 0)?))
    }

    pub(super) fn attend_backward(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        saw: &Attended<'_, Tensor>,
        dout: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let mut gradients: [Vec<Tensor>; 3] = Default::default();
        for tokens in segments {
            let [q, k, v] = heads(shape, tokens, [saw.q, saw.k, saw.v])?;
            let scores = self.scores(shape, &q, &k)?;
            let dout = by_head(dout, tokens, shape.heads)?;
            let dv = scores.weights.transpose(1, 2)?.matmul(&dout)?;
            let dweights = dout.matmul(&v.transpose(1, 2)?.contiguous()?)?;
            let along = (&dweights * &scores.weights)?.sum_keepdim(D::Minus1)?;
            let ds = ((dweights.broadcast_sub(&along)? * &scores.weights)? * &scores.slope)?;
            let dq = ds.matmul(&k)?;
            let dk = ds.transpose(1, 2)?.contiguous()?.matmul(&q)?;
            for (all, own) in gradients.iter_mut().zip([dq, group_sums(shape, &dk)?, group_sums(shape, &dv)?]) {
                all.push(flat(&own)?);
            }
        }
        let [dq, dk, dv] = gradients.map(|parts| Tensor::cat(&parts, 0));
        Ok([dq?, dk?, dv?])
    }

    fn scores(&self, shape: &AttentionShape, q: &Tensor, k: &Tensor) -> Result<Scores> {
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * f64::from(shape.scale))?;
        let (scores, slope) = match shape.soft_cap.map(f64::from) {
            Some(cap) => {
                let t = (scores / cap)?.tanh()?;
                ((&t * cap)?, ((1.0 - t.sqr()?)? * f64::from(shape.scale))?)
            }
            None => {
                let slope = (scores.ones_like()? * f64::from(shape.scale))?;
                (scores, slope)
            }
        };
        let scores = scores.broadcast_add(&self.hidden(shape, q.dim(1)?)?)?;
        let greatest = scores.max_keepdim(D::Minus1)?.detach();
        let exponentials = scores.broadcast_sub(&greatest)?.exp()?;
        let sums = exponentials.sum_keepdim(D::Minus1)?;
        Ok(Scores { weights: exponentials.broadcast_div(&sums)?, slope, log_sums: (sums.log()? + greatest)? })
    }

    /// 0 where a query sees a key, a large negative number where it doesn't.
    fn hidden(&self, shape: &AttentionShape, tokens: usize) -> Result<Tensor> {
        let of = |query: usize, key: usize| if shape.visible(query).contains(&key) { 0.0 } else { -1e30 };
        let mask: Vec<f32> = (0..tokens).flat_map(|query| (0..tokens).map(move |key| of(query, key))).collect();
        Ok(Tensor::from_vec(mask, (tokens, tokens), &self.device)?.to_dtype(self.dtype)?)
    }

    pub(super) fn indices(&self, tokens: &[usize]) -> Result<Tensor> {
        let tokens: Vec<u32> = tokens.iter().map(|token| *token as u32).collect();
        Ok(Tensor::from_slice(&tokens, tokens.len(), &self.device)?.to_dtype(DType::U32)?)
    }
}

/// Queries, keys and values of a segment, `(heads, tokens, head_dim)`: keys and values once for every query head.
fn heads(shape: &AttentionShape, tokens: &Range<usize>, [q, k, v]: [&Tensor; 3]) -> Result<[Tensor; 3]> {
    let repeated = |x: &Tensor| -> Result<Tensor> {
        let (group, head_dim) = (shape.heads / shape.kv_heads, shape.head_dim);
        let shared = by_head(x, tokens, shape.kv_heads)?.unsqueeze(1)?;
        let copies = shared.repeat((1, group, 1, 1))?;
        Ok(copies.reshape((shape.heads, tokens.len(), head_dim))?)
    };
    Ok([by_head(q, tokens, shape.heads)?, repeated(k)?, repeated(v)?])
}

/// A segment's features by head: `(heads, tokens, head_dim)`.
fn by_head(x: &Tensor, tokens: &Range<usize>, heads: usize) -> Result<Tensor> {
    let x = x.narrow(0, tokens.start, tokens.len())?;
    let head_dim = x.dim(1)? / heads;
    Ok(x.reshape((tokens.len(), heads, head_dim))?.transpose(0, 1)?.contiguous()?)
}

/// `(heads, tokens, features)` as `(tokens, heads · features)`.
fn flat(x: &Tensor) -> Result<Tensor> {
    let (heads, tokens, features) = x.dims3()?;
    Ok(x.transpose(0, 1)?.contiguous()?.reshape((tokens, heads * features))?)
}

/// Adds up what the query heads of a group say about the keys or values that they share.
fn group_sums(shape: &AttentionShape, x: &Tensor) -> Result<Tensor> {
    let (heads, tokens, head_dim) = x.dims3()?;
    Ok(x.reshape((shape.kv_heads, heads / shape.kv_heads, tokens, head_dim))?.sum(1)?)
}
