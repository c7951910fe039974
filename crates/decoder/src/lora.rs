//! A frozen linear with an adapter beside it: `y = x·Wᵀ + b + s·(dropout(x)·Aᵀ)·Bᵀ`, <https://arxiv.org/abs/2106.09685>.
//!
//! With `z = s·x̃·Aᵀ` and `dz = s·dy·B` the gradients are `dA = Σ dzᵀ·x̃`, `dB = Σ dyᵀ·z` and `dx = dy·W + mask ⊙ (dz·A)`.

use model::architecture::Linear;

use crate::backend::{Backend, FrozenLinear, Side};
use crate::error::Result;
use crate::pass::{Gathered, Pass};
use crate::weights::Weights;

/// A linear of the network.
pub(crate) struct AdaptedLinear<B: Backend> {
    module: String,
    weight: B::Linear,
    bias: Option<B::Vector>,
}

/// `z`, where the linear has an adapter.
pub(crate) struct Saved<T> {
    z: Option<T>,
}

impl<B: Backend> AdaptedLinear<B> {
    pub(crate) fn load(backend: &B, linear: &Linear, weights: &dyn Weights) -> Result<Self> {
        let shape = [linear.out_features as usize, linear.in_features as usize];
        let weight = backend.linear(weights.matrix(&linear.weight(), shape)?)?;
        let bias = linear.bias_name().map(|name| backend.vector(weights.vector(&name, shape[0])?)).transpose()?;
        Ok(Self { module: linear.module.clone(), weight, bias })
    }

    pub(crate) fn forward(&self, pass: &Pass<'_, B>, x: &B::Tensor) -> Result<(B::Tensor, Saved<B::Tensor>)> {
        let backend = pass.backend;
        let z = match pass.adapter(&self.module) {
            Some((number, adapter)) => Some(match pass.mask(number) {
                Some(mask) => backend.project(&backend.dropout(x, &mask)?, &adapter.a, adapter.scale)?,
                None => backend.project(x, &adapter.a, adapter.scale)?,
            }),
            None => None,
        };
        let adapter = pass.adapter(&self.module).map(|(_, adapter)| adapter);
        let side = adapter.zip(z.as_ref()).map(|(adapter, input)| Side { factor: &adapter.b, input });
        let mut y = self.weight.forward(backend, x, side)?;
        if let Some(bias) = &self.bias {
            y = backend.add_bias(y, bias)?;
        }
        Ok((y, Saved { z }))
    }

    /// `onto + dx`; `x` is what the forward pass saw.
    pub(crate) fn backward(
        &self,
        pass: &Pass<'_, B>,
        x: &B::Tensor,
        saved: Saved<B::Tensor>,
        dy: &B::Tensor,
        gathered: &mut Gathered<B::Matrix>,
        onto: Option<B::Tensor>,
    ) -> Result<B::Tensor> {
        let backend = pass.backend;
        let Some(((number, adapter), z)) = pass.adapter(&self.module).zip(saved.z) else {
            return self.weight.backward(backend, dy, None, onto);
        };
        let db = backend.sum_outer(dy, &z)?;
        let dz = backend.project_back(dy, &adapter.b, adapter.scale)?;
        let Some(mask) = pass.mask(number) else {
            gathered.put(number, backend.sum_outer(&dz, x)?, db);
            return self.weight.backward(backend, dy, Some(Side { factor: &adapter.a, input: &dz }), onto);
        };
        gathered.put(number, backend.sum_outer(&dz, &backend.dropout(x, &mask)?)?, db);
        let dx = self.weight.backward(backend, dy, None, onto)?;
        let through_adapter = backend.project_back(&dz, &adapter.a, 1.0)?;
        backend.add(dx, &backend.dropout(&through_adapter, &mask)?, 1.0)
    }
}
