//! The frozen linears of all experts with an adapter beside each: `y = x·W_eᵀ + s·(x·A_eᵀ)·B_eᵀ` for a slot of expert e.
//!
//! The gradients are those of [`crate::lora`], summed over each expert's slots. Nothing is dropped of the inputs: PEFT has
//! no dropout there either.

use model::architecture::StackedLinear;

use crate::backend::{Backend, Side};
use crate::error::Result;
use crate::pass::{Gathered, Pass};
use crate::routing::Routing;
use crate::weights::Weights;

/// One linear an expert.
pub(crate) struct AdaptedExperts<B: Backend> {
    module: String,
    weights: Vec<B::Linear>,
}

/// `z = s·x·A_eᵀ` of every slot, where there are adapters.
pub(crate) struct Saved<T> {
    z: Option<T>,
}

/// Gradients of which A's still needs the input.
pub(crate) struct Half<B: Backend> {
    adapter: usize,
    db: B::Matrix,
    /// `s·dy·B_e` of every slot.
    dz: B::Tensor,
}

impl<B: Backend> AdaptedExperts<B> {
    pub(crate) fn load(backend: &B, linear: &StackedLinear, weights: &dyn Weights) -> Result<Self> {
        let shape = [linear.num_experts, linear.out_features, linear.in_features].map(|n| n as usize);
        let matrices = weights.stacked(&linear.weight(), shape)?;
        let weights = matrices.into_iter().map(|matrix| backend.linear(matrix)).collect::<Result<_>>()?;
        Ok(Self { module: linear.module.clone(), weights })
    }

    /// How many experts there are.
    pub(crate) fn count(&self) -> usize {
        self.weights.len()
    }

    pub(crate) fn forward(
        &self,
        pass: &Pass<'_, B>,
        x: &B::Tensor,
        routing: &Routing,
    ) -> Result<(B::Tensor, Saved<B::Tensor>)> {
        let (backend, adapter) = (pass.backend, pass.adapter(&self.module).map(|(_, adapter)| adapter));
        let z = adapter.map(|adapter| backend.expert_project(x, &adapter.a, adapter.scale, routing)).transpose()?;
        let side = adapter.zip(z.as_ref()).map(|(adapter, input)| Side { factor: &adapter.b, input });
        let y = backend.expert_products(&self.weights, x, side, routing)?;
        Ok((y, Saved { z }))
    }

    /// `dx`, and what becomes the adapter's gradients. What the forward pass saw is zero in slots that nobody has, or
    /// `dy` is.
    pub(crate) fn backward(
        &self,
        pass: &Pass<'_, B>,
        saved: Saved<B::Tensor>,
        dy: &B::Tensor,
        routing: &Routing,
    ) -> Result<(B::Tensor, Option<Half<B>>)> {
        let backend = pass.backend;
        let Some(((number, adapter), z)) = pass.adapter(&self.module).zip(saved.z) else {
            return Ok((backend.expert_products_back(&self.weights, dy, None, routing)?, None));
        };
        let db = backend.expert_sum_outer(dy, &z, routing)?;
        drop(z);
        let dz = backend.expert_project_back(dy, &adapter.b, adapter.scale, routing)?;
        let side = Some(Side { factor: &adapter.a, input: &dz });
        let dx = backend.expert_products_back(&self.weights, dy, side, routing)?;
        Ok((dx, Some(Half { adapter: number, db, dz })))
    }
}

impl<B: Backend> Half<B> {
    /// With another `dz`.
    pub(crate) fn map(self, dz: impl FnOnce(B::Tensor) -> Result<B::Tensor>) -> Result<Self> {
        Ok(Self { dz: dz(self.dz)?, ..self })
    }

    /// Puts the gradients where they belong; `x` is what the forward pass saw.
    pub(crate) fn gather(
        self,
        backend: &B,
        x: &B::Tensor,
        routing: &Routing,
        gathered: &mut Gathered<B::Matrix>,
    ) -> Result<()> {
        let da = backend.expert_sum_outer(&self.dz, x, routing)?;
        gathered.put(self.adapter, da, self.db);
        Ok(())
    }
}
