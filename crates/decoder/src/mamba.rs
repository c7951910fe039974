//! Mamba-2, <https://arxiv.org/abs/2405.21060>: `out_proj(norm(y ⊙ silu(z)))` with `y` the scan of a convolved input.
//!
//! Kept for the backward pass: the parts of `in_proj`'s result, the scan's result and its states at the borders of chunks;
//! convolution, gate, norm and what happens within a chunk are computed again.

use model::architecture::{Activation, Mamba2};

use crate::backend::{Backend, NormWeights};
use crate::error::{DecoderError, Result};
use crate::lora::{self, AdaptedLinear};
use crate::norm;
use crate::pass::{Gathered, Pass};
use crate::state_space::{ConvWeights, ScanShape, ScanWeights};
use crate::weights::Weights;

/// The longest convolution: an output sees at most one tile before its own.
const LONGEST_KERNEL: u64 = 64;

/// A Mamba-2 of the network.
pub(crate) struct Mamba2Block<B: Backend> {
    in_proj: AdaptedLinear<B>,
    conv: ConvWeights<B::Vector>,
    shape: ScanShape,
    scan: ScanWeights<B::Vector>,
    norm: NormWeights<B::Vector>,
    out_proj: AdaptedLinear<B>,
}

/// What the backward pass needs beside the block's input.
pub(crate) struct Saved<B: Backend> {
    in_proj: lora::Saved<B::Tensor>,
    z: B::Tensor,
    /// Before the convolution.
    xbc: B::Tensor,
    dt: B::Tensor,
    y: B::Tensor,
    states: B::States,
    out_proj: lora::Saved<B::Tensor>,
}

impl<B: Backend> Mamba2Block<B> {
    pub(crate) fn load(backend: &B, mamba: &Mamba2, weights: &dyn Weights) -> Result<Self> {
        let shape = shape(mamba)?;
        let (channels, kernel_size) = (shape.channels(), mamba.kernel_size as usize);
        let bias = mamba.conv_bias.as_ref();
        let vector = |name: &str| weights.vector(name, shape.heads);
        let a = vector(&mamba.a_log)?.into_iter().map(|a_log| -a_log.exp()).collect();
        let mut norm = norm::load(backend, &mamba.norm, shape.inner(), weights)?;
        norm.features = shape.inner() / shape.groups;
        Ok(Self {
            in_proj: AdaptedLinear::load(backend, &mamba.in_proj, weights)?,
            conv: ConvWeights {
                weight: backend.vector(weights.vector(&mamba.conv_weight, channels * kernel_size)?)?,
                bias: bias.map(|name| backend.vector(weights.vector(name, channels)?)).transpose()?,
                kernel_size,
            },
            scan: ScanWeights {
                a: backend.vector(a)?,
                d: backend.vector(vector(&mamba.d)?)?,
                dt_bias: backend.vector(vector(&mamba.dt_bias)?)?,
            },
            shape,
            norm,
            out_proj: AdaptedLinear::load(backend, &mamba.out_proj, weights)?,
        })
    }

    pub(crate) fn forward(&self, pass: &Pass<'_, B>, x: &B::Tensor) -> Result<(B::Tensor, Saved<B>)> {
        let backend = pass.backend;
        let (projected, in_proj) = self.in_proj.forward(pass, x)?;
        let (z, rest) = backend.split(projected, self.shape.inner())?;
        let (xbc, dt) = backend.split(rest, self.shape.channels())?;
        let convolved = backend.convolve(&xbc, &self.conv, &pass.segments)?;
        let (y, states) = backend.scan(&self.shape, &self.scan, &pass.segments, [&convolved, &dt])?;
        drop(convolved);
        let gated = backend.glu(&z, &y, Activation::Silu)?;
        let normed = backend.norm(&gated, &self.norm)?;
        drop(gated);
        let (out, out_proj) = self.out_proj.forward(pass, &normed)?;
        Ok((out, Saved { in_proj, z, xbc, dt, y, states, out_proj }))
    }

    /// `dx`; `x` is what the forward pass saw.
    pub(crate) fn backward(
        &self,
        pass: &Pass<'_, B>,
        x: &B::Tensor,
        saved: Saved<B>,
        dout: &B::Tensor,
        gathered: &mut Gathered<B::Matrix>,
    ) -> Result<B::Tensor> {
        let backend = pass.backend;
        let Saved { in_proj, z, xbc, dt, y, states, out_proj } = saved;
        let gated = backend.glu(&z, &y, Activation::Silu)?;
        let normed = backend.norm(&gated, &self.norm)?;
        let dnormed = self.out_proj.backward(pass, &normed, out_proj, dout, gathered, None)?;
        drop(normed);
        let dgated = backend.norm_backward(&gated, &self.norm, dnormed)?;
        drop(gated);
        let (dz, dy) = backend.glu_backward(z, y, Activation::Silu, &dgated)?;
        drop(dgated);
        let convolved = backend.convolve(&xbc, &self.conv, &pass.segments)?;
        let saw = [&convolved, &dt];
        let [dconvolved, ddt] = backend.scan_backward(&self.shape, &self.scan, &pass.segments, saw, states, &dy)?;
        drop((convolved, dt, dy));
        let dxbc = backend.convolve_backward(&xbc, &self.conv, &pass.segments, dconvolved)?;
        drop(xbc);
        let dprojected = backend.concat(dz, backend.concat(dxbc, ddt)?)?;
        self.in_proj.backward(pass, x, in_proj, &dprojected, gathered, None)
    }
}

/// The numbers of a layer, held against its linears.
fn shape(mamba: &Mamba2) -> Result<ScanShape> {
    let Mamba2 { in_proj, out_proj, num_heads, head_dim, state_size, num_groups, kernel_size, .. } = mamba;
    let refuse = |module: &str, what, got, expected: String| {
        Err(DecoderError::Inconsistent { module: module.to_owned(), what, got, expected })
    };
    if *num_groups == 0 || !num_heads.is_multiple_of(*num_groups) {
        return refuse(&in_proj.module, "num_groups", *num_groups, format!("a divisor of {num_heads} heads"));
    }
    if !(1..=LONGEST_KERNEL).contains(kernel_size) {
        return refuse(&mamba.conv_weight, "kernel_size", *kernel_size, format!("1 to {LONGEST_KERNEL}"));
    }
    let shape = ScanShape {
        heads: *num_heads as usize,
        head_dim: *head_dim as usize,
        state_size: *state_size as usize,
        groups: *num_groups as usize,
        time_step: (mamba.time_step_min.unwrap_or(0.0), mamba.time_step_max.unwrap_or(f32::INFINITY)),
    };
    let outputs = (shape.inner() + shape.channels() + shape.heads) as u64;
    if in_proj.out_features != outputs {
        return refuse(&in_proj.module, "out_features", in_proj.out_features, outputs.to_string());
    }
    if out_proj.in_features != shape.inner() as u64 {
        return refuse(&out_proj.module, "in_features", out_proj.in_features, shape.inner().to_string());
    }
    Ok(shape)
}
