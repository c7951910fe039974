//! The reference path: plain candle operations, on any device and in any float type.
//!
//! It is slow, simple and differentiable: tests hold its explicit backward pass against candle's own differentiation and
//! against finite differences in f64, and the fast path against it. Only candle operations that have a derivative are
//! used, so no fused ones.

mod attention;
mod dense;
mod experts;
mod head;
mod state_space;

use std::ops::Range;

use candle_core::{D, DType, Device, Tensor};
use model::architecture::Activation;

use crate::backend::{Attended, AttentionShape, Backend, HeadWeights, NormWeights, Side, Sink, Turn};
use crate::batch::Target;
use crate::error::Result;
use crate::mapped::MappedMatrix;
use crate::matrix::Matrix;
use crate::random::Mask;
use crate::routing::Routing;
use crate::state_space::{ConvWeights, ScanShape, ScanWeights};

pub use dense::Dense;
use experts::{own, rows};

/// The reference path on one device, in one float type.
#[derive(Debug, Clone)]
pub struct Reference {
    device: Device,
    dtype: DType,
}

/// Cosines and sines, `(tokens, 1, head_dim / 2)`.
#[derive(Debug, Clone)]
pub struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Reference {
    /// A backend whose tensors lie on `device` as `dtype`.
    pub fn new(device: Device, dtype: DType) -> Self {
        Self { device, dtype }
    }

    /// A matrix as this backend holds it.
    ///
    /// # Errors
    /// Where the device refuses.
    pub fn matrix(&self, matrix: &Matrix) -> Result<Tensor> {
        let shape = (matrix.rows(), matrix.columns());
        Ok(Tensor::from_slice(matrix.values(), shape, &self.device)?.to_dtype(self.dtype)?)
    }

    fn mask(&self, mask: &Mask, (tokens, features): (usize, usize)) -> Result<Tensor> {
        let factors = (0..tokens).flat_map(|token| (0..features).map(move |feature| mask.factor(token, feature)));
        let factors: Vec<f32> = factors.collect();
        Ok(Tensor::from_vec(factors, (tokens, features), &self.device)?.to_dtype(self.dtype)?)
    }

    /// `x` cut into groups that are normed together, `(tokens, groups, features)`, with `1 / sqrt(mean(x²) + eps)`.
    fn groups(&self, x: &Tensor, norm: &NormWeights<Tensor>) -> Result<(Tensor, Tensor)> {
        let (tokens, features) = x.dims2()?;
        let x = x.reshape((tokens, features / norm.features, norm.features))?;
        let inverse = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(norm.eps))?.sqrt()?.recip()?;
        Ok((x, inverse))
    }
}

/// `(1, features)` where groups share their weights, `(groups, features)` where each has its own.
fn group_weights(norm: &NormWeights<Tensor>) -> Result<Tensor> {
    Ok(norm.weight.reshape((norm.weight.dim(0)? / norm.features, norm.features))?)
}

/// `x · σ(x)` or `x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³)))`, and its derivative.
fn activate(x: &Tensor, activation: Activation) -> Result<(Tensor, Tensor)> {
    match activation {
        Activation::Silu => {
            let s = ((x.neg()?.exp()? + 1.0)?).recip()?;
            let slope = (&s * ((x * (1.0 - &s)?)? + 1.0)?)?;
            Ok(((x * s)?, slope))
        }
        Activation::GeluTanh => {
            let factor = (2.0 / std::f64::consts::PI).sqrt();
            let t = ((x + (x.powf(3.0)? * 0.044_715)?)? * factor)?.tanh()?;
            let inner = (((x.sqr()? * (3.0 * 0.044_715))? + 1.0)? * factor)?;
            let slope = (((&t + 1.0)? * 0.5)? + (((x * 0.5)? * (1.0 - t.sqr()?)?)? * inner)?)?;
            Ok((((x * 0.5)? * (t + 1.0)?)?, slope))
        }
    }
}

impl Backend for Reference {
    type Tensor = Tensor;
    type Matrix = Tensor;
    type Vector = Tensor;
    type Linear = Dense;
    type Rotation = Rotation;
    /// States are computed again.
    type States = ();

    fn linear(&self, matrix: MappedMatrix) -> Result<Dense> {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let mut values = Matrix::zeros(rows, columns);
        matrix.decode(0..rows, 0..columns, values.values_mut())?;
        Ok(Dense::new(self.matrix(&values)?))
    }

    fn vector(&self, values: Vec<f32>) -> Result<Tensor> {
        let len = values.len();
        Ok(Tensor::from_vec(values, len, &self.device)?.to_dtype(self.dtype)?)
    }

    fn rotation(&self, cos: Matrix, sin: Matrix) -> Result<Rotation> {
        Ok(Rotation { cos: self.matrix(&cos)?.unsqueeze(1)?, sin: self.matrix(&sin)?.unsqueeze(1)? })
    }

    fn embed(&self, table: &Dense, ids: &[u32], scale: f32) -> Result<Tensor> {
        let ids = Tensor::from_slice(ids, ids.len(), &self.device)?;
        Ok((table.weight().index_select(&ids, 0)? * f64::from(scale))?)
    }

    fn add(&self, onto: Tensor, x: &Tensor, scale: f32) -> Result<Tensor> {
        Ok((onto + (x * f64::from(scale))?)?)
    }

    fn scale(&self, x: &Tensor, scale: f32) -> Result<Tensor> {
        Ok((x * f64::from(scale))?)
    }

    fn add_bias(&self, x: Tensor, bias: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_add(bias)?)
    }

    fn dropout(&self, x: &Tensor, mask: &Mask) -> Result<Tensor> {
        Ok((x * self.mask(mask, x.dims2()?)?)?)
    }

    fn project(&self, x: &Tensor, a: &Tensor, scale: f32) -> Result<Tensor> {
        Ok((x.matmul(&a.t()?)? * f64::from(scale))?)
    }

    fn project_back(&self, y: &Tensor, b: &Tensor, scale: f32) -> Result<Tensor> {
        Ok((y.matmul(b)? * f64::from(scale))?)
    }

    fn sum_outer(&self, y: &Tensor, x: &Tensor) -> Result<Tensor> {
        Ok(y.t()?.matmul(x)?)
    }

    fn norm(&self, x: &Tensor, norm: &NormWeights<Tensor>) -> Result<Tensor> {
        let (groups, inverse) = self.groups(x, norm)?;
        Ok(groups.broadcast_mul(&inverse)?.broadcast_mul(&group_weights(norm)?)?.reshape(x.shape())?)
    }

    fn norm_backward(&self, x: &Tensor, norm: &NormWeights<Tensor>, dy: Tensor) -> Result<Tensor> {
        let (groups, inverse) = self.groups(x, norm)?;
        let weighted = dy.reshape(groups.shape())?.broadcast_mul(&group_weights(norm)?)?;
        let along = (&groups * &weighted)?.mean_keepdim(D::Minus1)?.mul(&inverse.powf(3.0)?)?;
        let dx = (weighted.broadcast_mul(&inverse)? - groups.broadcast_mul(&along)?)?;
        Ok(dx.reshape(x.shape())?)
    }

    fn rotate(&self, x: Tensor, rotation: &Rotation, turn: Turn) -> Result<Tensor> {
        let half = rotation.cos.dim(D::Minus1)?;
        let (tokens, features) = x.dims2()?;
        let heads = x.reshape((tokens, features / (2 * half), 2 * half))?;
        let (a, b) = (heads.narrow(D::Minus1, 0, half)?, heads.narrow(D::Minus1, half, half)?);
        let sin = if turn == Turn::Forward { rotation.sin.clone() } else { rotation.sin.neg()? };
        let first = (a.broadcast_mul(&rotation.cos)? - b.broadcast_mul(&sin)?)?;
        let second = (b.broadcast_mul(&rotation.cos)? + a.broadcast_mul(&sin)?)?;
        Ok(Tensor::cat(&[first, second], D::Minus1)?.reshape((tokens, features))?)
    }

    fn attention(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        [q, k, v]: [&Tensor; 3],
    ) -> Result<(Tensor, Tensor)> {
        self.attend(shape, segments, [q, k, v])
    }

    fn attention_backward(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        saw: Attended<'_, Tensor>,
        dout: &Tensor,
    ) -> Result<[Tensor; 3]> {
        self.attend_backward(shape, segments, &saw, dout)
    }

    fn glu(&self, gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
        Ok((activate(gate, activation)?.0 * up)?)
    }

    fn glu_backward(&self, gate: Tensor, up: Tensor, activation: Activation, dy: &Tensor) -> Result<(Tensor, Tensor)> {
        let (value, slope) = activate(&gate, activation)?;
        Ok((((dy * up)? * slope)?, (dy * value)?))
    }

    fn split(&self, x: Tensor, at: usize) -> Result<(Tensor, Tensor)> {
        let features = x.dim(1)?;
        Ok((x.narrow(1, 0, at)?, x.narrow(1, at, features - at)?))
    }

    fn concat(&self, a: Tensor, b: Tensor) -> Result<Tensor> {
        Ok(Tensor::cat(&[a, b], 1)?)
    }

    fn select(&self, x: &Tensor, tokens: &[usize]) -> Result<Tensor> {
        Ok(x.index_select(&self.indices(tokens)?, 0)?)
    }

    fn scatter(&self, x: &Tensor, tokens: &[usize], total: usize) -> Result<Tensor> {
        let zeros = Tensor::zeros((total, x.dim(1)?), self.dtype, &self.device)?;
        Ok(zeros.index_add(&self.indices(tokens)?, x, 0)?)
    }

    fn choose(&self, logits: &Tensor, count: usize) -> Result<Vec<u32>> {
        self.choose_experts(logits, count)
    }

    fn expert_weights(&self, logits: &Tensor, routing: &Routing) -> Result<Tensor> {
        self.softmax_chosen(logits, routing)
    }

    fn expert_weights_backward(&self, weights: &Tensor, routing: &Routing, dweights: &Tensor) -> Result<Tensor> {
        self.softmax_chosen_backward(weights, routing, dweights)
    }

    fn expert_products(
        &self,
        experts: &[Dense],
        x: &Tensor,
        side: Option<Side<'_, Self>>,
        routing: &Routing,
    ) -> Result<Tensor> {
        let features = experts.first().map_or(Ok(0), |expert| expert.weight().dim(0))?;
        self.by_expert(routing, features, |expert, slots| {
            let y = rows(x, &slots)?.matmul(&experts[expert].weight().t()?)?;
            let Some(Side { factor, input }) = &side else { return Ok(y) };
            y + rows(input, &slots)?.matmul(&own(factor, expert, routing)?.t()?)?
        })
    }

    fn expert_products_back(
        &self,
        experts: &[Dense],
        dy: &Tensor,
        side: Option<Side<'_, Self>>,
        routing: &Routing,
    ) -> Result<Tensor> {
        let features = experts.first().map_or(Ok(0), |expert| expert.weight().dim(1))?;
        self.by_expert(routing, features, |expert, slots| {
            let dx = rows(dy, &slots)?.matmul(experts[expert].weight())?;
            let Some(Side { factor, input }) = &side else { return Ok(dx) };
            dx + rows(input, &slots)?.matmul(&own(factor, expert, routing)?)?
        })
    }

    fn expert_project(&self, x: &Tensor, a: &Tensor, scale: f32, routing: &Routing) -> Result<Tensor> {
        self.by_expert(routing, a.dim(0)? / routing.experts(), |expert, slots| {
            rows(x, &slots)?.matmul(&own(a, expert, routing)?.t()?)? * f64::from(scale)
        })
    }

    fn expert_project_back(&self, y: &Tensor, b: &Tensor, scale: f32, routing: &Routing) -> Result<Tensor> {
        self.by_expert(routing, b.dim(1)?, |expert, slots| {
            rows(y, &slots)?.matmul(&own(b, expert, routing)?)? * f64::from(scale)
        })
    }

    fn expert_sum_outer(&self, y: &Tensor, x: &Tensor, routing: &Routing) -> Result<Tensor> {
        self.sum_outer_by_expert(y, x, routing)
    }

    fn weigh(&self, x: Tensor, weights: &Tensor, routing: &Routing) -> Result<Tensor> {
        self.weighed(&x, weights, routing)
    }

    fn weigh_backward(&self, x: &Tensor, weights: &Tensor, routing: &Routing, dy: Tensor) -> Result<(Tensor, Tensor)> {
        self.weighed_backward(x, weights, routing, &dy)
    }

    fn combine(&self, x: &Tensor, routing: &Routing) -> Result<Tensor> {
        self.combine_slots(x, routing)
    }

    fn convolve(&self, x: &Tensor, conv: &ConvWeights<Tensor>, segments: &[Range<usize>]) -> Result<Tensor> {
        Ok(activate(&self.convolved(x, conv, segments)?, Activation::Silu)?.0)
    }

    fn convolve_backward(
        &self,
        x: &Tensor,
        conv: &ConvWeights<Tensor>,
        segments: &[Range<usize>],
        dy: Tensor,
    ) -> Result<Tensor> {
        let slope = activate(&self.convolved(x, conv, segments)?, Activation::Silu)?.1;
        self.convolved_backward(&(dy * slope)?, conv, segments)
    }

    fn scan(
        &self,
        shape: &ScanShape,
        weights: &ScanWeights<Tensor>,
        segments: &[Range<usize>],
        xbc_dt: [&Tensor; 2],
    ) -> Result<(Tensor, ())> {
        Ok((self.scanned(shape, weights, segments, xbc_dt)?, ()))
    }

    fn scan_backward(
        &self,
        shape: &ScanShape,
        weights: &ScanWeights<Tensor>,
        segments: &[Range<usize>],
        xbc_dt: [&Tensor; 2],
        (): (),
        dy: &Tensor,
    ) -> Result<[Tensor; 2]> {
        self.scanned_backward(shape, weights, segments, xbc_dt, dy)
    }

    fn cross_entropy(
        &self,
        head: &HeadWeights<Dense>,
        x: Tensor,
        targets: &[Target],
        want_gradient: bool,
    ) -> Result<(f64, Option<Tensor>)> {
        self.head_loss(head, &x, targets, want_gradient)
    }

    fn logits(&self, head: &HeadWeights<Dense>, x: &Tensor, sink: &mut Sink<'_>) -> Result<()> {
        self.head_logits(head, x, sink)
    }
}
