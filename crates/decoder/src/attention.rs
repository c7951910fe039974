//! Grouped-query causal self-attention: `o(softmax(cap(scale · q·kᵀ) + mask) · v)`.
//!
//! Kept for the backward pass: queries, keys and values as they entered the scores, the result and one number a query
//! and head; the weights themselves are computed again.

use model::architecture::Attention;

use crate::backend::{Attended, AttentionShape, Backend, NormWeights, Turn};
use crate::error::{DecoderError, Result};
use crate::lora::{self, AdaptedLinear};
use crate::norm;
use crate::pass::{Gathered, Pass};
use crate::rope::Ropes;
use crate::weights::Weights;

/// An attention of the network.
pub(crate) struct AttentionBlock<B: Backend> {
    q: Projection<B>,
    k: Projection<B>,
    v: AdaptedLinear<B>,
    o: AdaptedLinear<B>,
    shape: AttentionShape,
    /// Index of the pass's rotations.
    rotation: Option<usize>,
}

/// Queries or keys: a linear, a norm per head in some families, a rotation.
struct Projection<B: Backend> {
    linear: AdaptedLinear<B>,
    head_norm: Option<NormWeights<B::Vector>>,
}

struct SavedProjection<T> {
    linear: lora::Saved<T>,
    /// What the norm per head saw.
    before_norm: Option<T>,
    /// What enters the scores.
    rotated: T,
}

/// What the backward pass needs beside the block's input.
pub(crate) struct Saved<T> {
    q: SavedProjection<T>,
    k: SavedProjection<T>,
    v: T,
    v_linear: lora::Saved<T>,
    out: T,
    log_sums: T,
    o_linear: lora::Saved<T>,
}

impl<B: Backend> AttentionBlock<B> {
    pub(crate) fn load(backend: &B, attention: &Attention, ropes: &mut Ropes, weights: &dyn Weights) -> Result<Self> {
        let shape = shape(attention)?;
        let head_dim = shape.head_dim;
        let projection = |linear, head_norm: &Option<_>| {
            let norm = head_norm.as_ref().map(|norm| norm::load(backend, norm, head_dim, weights)).transpose()?;
            Ok::<_, DecoderError>(Projection {
                linear: AdaptedLinear::load(backend, linear, weights)?,
                head_norm: norm,
            })
        };
        Ok(Self {
            q: projection(&attention.q, &attention.q_norm)?,
            k: projection(&attention.k, &attention.k_norm)?,
            v: AdaptedLinear::load(backend, &attention.v, weights)?,
            o: AdaptedLinear::load(backend, &attention.o, weights)?,
            rotation: attention.rope.as_ref().map(|rope| ropes.index(rope, head_dim)),
            shape,
        })
    }

    pub(crate) fn forward(&self, pass: &Pass<'_, B>, x: &B::Tensor) -> Result<(B::Tensor, Saved<B::Tensor>)> {
        let rotation = self.rotation.map(|index| &pass.rotations[index]);
        let q = self.q.forward(pass, x, rotation)?;
        let k = self.k.forward(pass, x, rotation)?;
        let (v, v_linear) = self.v.forward(pass, x)?;
        let (out, log_sums) = pass.backend.attention(&self.shape, &pass.segments, [&q.rotated, &k.rotated, &v])?;
        let (y, o_linear) = self.o.forward(pass, &out)?;
        Ok((y, Saved { q, k, v, v_linear, out, log_sums, o_linear }))
    }

    /// `dx`; `x` is what the forward pass saw.
    pub(crate) fn backward(
        &self,
        pass: &Pass<'_, B>,
        x: &B::Tensor,
        saved: Saved<B::Tensor>,
        dy: &B::Tensor,
        gathered: &mut Gathered<B::Matrix>,
    ) -> Result<B::Tensor> {
        let rotation = self.rotation.map(|index| &pass.rotations[index]);
        let Saved { q, k, v, v_linear, out, log_sums, o_linear } = saved;
        let dout = self.o.backward(pass, &out, o_linear, dy, gathered, None)?;
        let saw = Attended { q: &q.rotated, k: &k.rotated, v: &v, out: &out, log_sums: &log_sums };
        let [dq, dk, dv] = pass.backend.attention_backward(&self.shape, &pass.segments, saw, &dout)?;
        drop((v, out, log_sums, dout));
        let dx = self.v.backward(pass, x, v_linear, &dv, gathered, None)?;
        let dx = self.k.backward(pass, x, k, rotation, dk, gathered, dx)?;
        self.q.backward(pass, x, q, rotation, dq, gathered, dx)
    }
}

impl<B: Backend> Projection<B> {
    fn forward(
        &self,
        pass: &Pass<'_, B>,
        x: &B::Tensor,
        rotation: Option<&B::Rotation>,
    ) -> Result<SavedProjection<B::Tensor>> {
        let (y, linear) = self.linear.forward(pass, x)?;
        let (y, before_norm) = match &self.head_norm {
            Some(norm) => (pass.backend.norm(&y, norm)?, Some(y)),
            None => (y, None),
        };
        let rotated = match rotation {
            Some(rotation) => pass.backend.rotate(y, rotation, Turn::Forward)?,
            None => y,
        };
        Ok(SavedProjection { linear, before_norm, rotated })
    }

    #[allow(clippy::too_many_arguments)]
    fn backward(
        &self,
        pass: &Pass<'_, B>,
        x: &B::Tensor,
        saved: SavedProjection<B::Tensor>,
        rotation: Option<&B::Rotation>,
        mut dy: B::Tensor,
        gathered: &mut Gathered<B::Matrix>,
        onto: B::Tensor,
    ) -> Result<B::Tensor> {
        drop(saved.rotated);
        if let Some(rotation) = rotation {
            dy = pass.backend.rotate(dy, rotation, Turn::Back)?;
        }
        if let Some((norm, before)) = self.head_norm.as_ref().zip(saved.before_norm) {
            dy = pass.backend.norm_backward(&before, norm, dy)?;
        }
        self.linear.backward(pass, x, saved.linear, &dy, gathered, Some(onto))
    }
}

/// The numbers of an attention, held against its linears.
fn shape(attention: &Attention) -> Result<AttentionShape> {
    let Attention { q, k, v, o, num_heads, num_kv_heads, head_dim, .. } = attention;
    let expected = [
        (&q.module, "out_features", q.out_features, num_heads * head_dim),
        (&k.module, "out_features", k.out_features, num_kv_heads * head_dim),
        (&v.module, "out_features", v.out_features, num_kv_heads * head_dim),
        (&o.module, "in_features", o.in_features, num_heads * head_dim),
    ];
    for (module, what, got, expected) in expected {
        if got != expected {
            return Err(DecoderError::Inconsistent {
                module: module.clone(),
                what,
                got,
                expected: expected.to_string(),
            });
        }
    }
    let refuse =
        |what, got, expected: String| DecoderError::Inconsistent { module: q.module.clone(), what, got, expected };
    if *num_kv_heads == 0 || !num_heads.is_multiple_of(*num_kv_heads) {
        return Err(refuse("num_kv_heads", *num_kv_heads, format!("a divisor of {num_heads} heads")));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(refuse("head_dim", *head_dim, "an even number".to_owned()));
    }
    let factors = attention.rope.as_ref().map_or(0, |rope| rope.factors.len() as u64);
    if factors != 0 && factors != head_dim / 2 {
        return Err(refuse("rope factors", factors, format!("none or {}", head_dim / 2)));
    }
    if attention.window == Some(0) {
        return Err(refuse("window", 0, "at least 1".to_owned()));
    }
    Ok(AttentionShape {
        heads: *num_heads as usize,
        kv_heads: *num_kv_heads as usize,
        head_dim: *head_dim as usize,
        scale: attention.scale,
        window: attention.window.map(|window| window as usize),
        soft_cap: attention.soft_cap,
    })
}
