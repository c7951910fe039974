//! Mamba-2's convolution and scan, a sequence at a time, in the quadratic form of
//! <https://arxiv.org/abs/2405.21060> (section 7): `y = (L ⊙ C·Bᵀ)·(Δ ⊙ x) + D ⊙ x` with `L_tj = e^{s_t - s_j}` for
//! `j ≤ t` and `s` the running sum of `Δ·A`.

use std::ops::Range;

use candle_core::Tensor;

use super::Reference;
use crate::error::Result;
use crate::state_space::{ConvWeights, ScanShape, ScanWeights};

/// What a sequence's scan is made of; heads come first.
struct Scan {
    /// `(heads, tokens, head_dim)`
    x: Tensor,
    /// `(heads, tokens, state_size)`
    b: Tensor,
    c: Tensor,
    /// `(heads, tokens)`
    delta: Tensor,
    /// `dΔ/ddt`
    slope: Tensor,
    /// L, `(heads, tokens, tokens)`
    decay: Tensor,
    /// `C·Bᵀ`
    scores: Tensor,
}

impl Reference {
    /// The convolution of every sequence, before its non-linearity.
    pub(super) fn convolved(
        &self,
        x: &Tensor,
        conv: &ConvWeights<Tensor>,
        segments: &[Range<usize>],
    ) -> Result<Tensor> {
        let (taps, past) = (taps(x, conv)?, conv.kernel_size - 1);
        let nothing = Tensor::zeros((past, x.dim(1)?), self.dtype, &self.device)?;
        let mut all = Vec::new();
        for tokens in segments {
            let own = x.narrow(0, tokens.start, tokens.len())?;
            let seen = if past > 0 { Tensor::cat(&[&nothing, &own], 0)? } else { own };
            all.push(filter(&seen, &taps, tokens.len())?);
        }
        let y = Tensor::cat(&all, 0)?;
        match &conv.bias {
            Some(bias) => Ok(y.broadcast_add(bias)?),
            None => Ok(y),
        }
    }

    /// The derivative by the convolution's input, given that by its result.
    pub(super) fn convolved_backward(
        &self,
        dy: &Tensor,
        conv: &ConvWeights<Tensor>,
        segments: &[Range<usize>],
    ) -> Result<Tensor> {
        let (mut taps, future) = (taps(dy, conv)?, conv.kernel_size - 1);
        taps.reverse();
        let nothing = Tensor::zeros((future, dy.dim(1)?), self.dtype, &self.device)?;
        let mut all = Vec::new();
        for tokens in segments {
            let own = dy.narrow(0, tokens.start, tokens.len())?;
            let seen = if future > 0 { Tensor::cat(&[&own, &nothing], 0)? } else { own };
            all.push(filter(&seen, &taps, tokens.len())?);
        }
        Ok(Tensor::cat(&all, 0)?)
    }

    pub(super) fn scanned(
        &self,
        shape: &ScanShape,
        weights: &ScanWeights<Tensor>,
        segments: &[Range<usize>],
        [xbc, dt]: [&Tensor; 2],
    ) -> Result<Tensor> {
        let skip = weights.d.reshape((shape.heads, 1, 1))?;
        let mut all = Vec::new();
        for tokens in segments {
            let scan = self.scan_of(shape, weights, tokens, [xbc, dt])?;
            let steps = scan.x.broadcast_mul(&scan.delta.unsqueeze(2)?)?;
            let mixed = (&scan.decay * &scan.scores)?.matmul(&steps)?;
            all.push(flat(&(mixed + scan.x.broadcast_mul(&skip)?)?)?);
        }
        Ok(Tensor::cat(&all, 0)?)
    }

    /// The derivatives by x, B and C together, and by `dt`.
    pub(super) fn scanned_backward(
        &self,
        shape: &ScanShape,
        weights: &ScanWeights<Tensor>,
        segments: &[Range<usize>],
        [xbc, dt]: [&Tensor; 2],
        dy: &Tensor,
    ) -> Result<[Tensor; 2]> {
        let (skip, a) = (weights.d.reshape((shape.heads, 1, 1))?, weights.a.reshape((shape.heads, 1))?);
        let (mut all_dxbc, mut all_ddt) = (Vec::new(), Vec::new());
        for tokens in segments {
            let scan = self.scan_of(shape, weights, tokens, [xbc, dt])?;
            let dy = by_head(&dy.narrow(0, tokens.start, tokens.len())?, shape.heads)?;
            let delta = scan.delta.unsqueeze(2)?;
            let steps = scan.x.broadcast_mul(&delta)?;
            let mixing = (&scan.decay * &scan.scores)?;
            let dmixing = dy.matmul(&steps.transpose(1, 2)?.contiguous()?)?;
            let dscores = (&dmixing * &scan.decay)?;
            let dc = dscores.matmul(&scan.b)?;
            let db = dscores.transpose(1, 2)?.contiguous()?.matmul(&scan.c)?;
            let dsteps = mixing.transpose(1, 2)?.contiguous()?.matmul(&dy)?;
            let dx = (dsteps.broadcast_mul(&delta)? + dy.broadcast_mul(&skip)?)?;
            // A running sum counts for its own row, and against its own column.
            let along = (dmixing * mixing)?;
            let dsums = (along.sum(2)? - along.sum(1)?)?;
            let later = (dsums.sum_keepdim(1)?.broadcast_sub(&dsums.cumsum(1)?)? + &dsums)?;
            let ddelta = ((dsteps * &scan.x)?.sum(2)? + later.broadcast_mul(&a)?)?;
            let parts = [flat(&dx)?, group_sums(shape, &db)?, group_sums(shape, &dc)?];
            all_dxbc.push(Tensor::cat(&parts, 1)?);
            all_ddt.push((ddelta * scan.slope)?.t()?.contiguous()?);
        }
        Ok([Tensor::cat(&all_dxbc, 0)?, Tensor::cat(&all_ddt, 0)?])
    }

    fn scan_of(
        &self,
        shape: &ScanShape,
        weights: &ScanWeights<Tensor>,
        tokens: &Range<usize>,
        [xbc, dt]: [&Tensor; 2],
    ) -> Result<Scan> {
        let (xbc, dt) = (xbc.narrow(0, tokens.start, tokens.len())?, dt.narrow(0, tokens.start, tokens.len())?);
        let (inner, shared) = (shape.inner(), shape.groups * shape.state_size);
        let x = by_head(&xbc.narrow(1, 0, inner)?, shape.heads)?;
        let b = of_heads(shape, &xbc.narrow(1, inner, shared)?)?;
        let c = of_heads(shape, &xbc.narrow(1, inner + shared, shared)?)?;
        let raw = dt.broadcast_add(&weights.dt_bias)?.t()?.contiguous()?;
        let softplus = (raw.relu()? + (raw.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
        let (least, greatest) = (f64::from(shape.time_step.0), f64::from(shape.time_step.1));
        let delta = softplus.clamp(least, greatest)?;
        let free = (softplus.ge(least)?.to_dtype(self.dtype)? * softplus.le(greatest)?.to_dtype(self.dtype)?)?;
        let slope = ((raw.neg()?.exp()? + 1.0)?.recip()? * free)?;
        let sums = delta.broadcast_mul(&weights.a.reshape((shape.heads, 1))?)?.cumsum(1)?;
        let decay = sums.unsqueeze(2)?.broadcast_sub(&sums.unsqueeze(1)?)?;
        let decay = decay.broadcast_add(&self.later(tokens.len())?)?.exp()?;
        let scores = c.matmul(&b.transpose(1, 2)?.contiguous()?)?;
        Ok(Scan { x, b, c, delta, slope, decay, scores })
    }

    /// 0 where column `j` is not later than row `t`, a large negative number where it is.
    fn later(&self, tokens: usize) -> Result<Tensor> {
        let of = |t: usize, j: usize| if j <= t { 0.0 } else { -1e30 };
        let mask: Vec<f32> = (0..tokens).flat_map(|t| (0..tokens).map(move |j| of(t, j))).collect();
        Ok(Tensor::from_vec(mask, (tokens, tokens), &self.device)?.to_dtype(self.dtype)?)
    }
}

/// The filter's weights, tap by tap: `(channels)` each.
fn taps(x: &Tensor, conv: &ConvWeights<Tensor>) -> Result<Vec<Tensor>> {
    let weight = conv.weight.reshape((x.dim(1)?, conv.kernel_size))?;
    (0..conv.kernel_size).map(|k| Ok(weight.narrow(1, k, 1)?.squeeze(1)?)).collect()
}

/// `Σ_k taps[k] ⊙ seen[t + k]` for `tokens` tokens.
fn filter(seen: &Tensor, taps: &[Tensor], tokens: usize) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (k, tap) in taps.iter().enumerate() {
        let term = seen.narrow(0, k, tokens)?.broadcast_mul(tap)?;
        sum = Some(match sum {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    sum.map_or_else(|| Ok(seen.zeros_like()?), Ok)
}

/// `(tokens, heads · features)` as `(heads, tokens, features)`.
fn by_head(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (tokens, features) = x.dims2()?;
    Ok(x.contiguous()?.reshape((tokens, heads, features / heads))?.transpose(0, 1)?.contiguous()?)
}

/// What groups share, once for every head.
fn of_heads(shape: &ScanShape, x: &Tensor) -> Result<Tensor> {
    let tokens = x.dim(0)?;
    let of_groups = by_head(x, shape.groups)?.unsqueeze(1)?.repeat((1, shape.heads / shape.groups, 1, 1))?;
    Ok(of_groups.reshape((shape.heads, tokens, shape.state_size))?)
}

/// Adds up what the heads of a group say, `(tokens, groups · state_size)`.
fn group_sums(shape: &ScanShape, x: &Tensor) -> Result<Tensor> {
    let (heads, tokens, state_size) = x.dims3()?;
    flat(&x.reshape((shape.groups, heads / shape.groups, tokens, state_size))?.sum(1)?)
}

/// `(heads, tokens, features)` as `(tokens, heads · features)`.
fn flat(x: &Tensor) -> Result<Tensor> {
    let (heads, tokens, features) = x.dims3()?;
    Ok(x.transpose(0, 1)?.contiguous()?.reshape((tokens, heads * features))?)
}
