//! A sparse mixture of gated linear units, <https://arxiv.org/abs/1701.06538>:
//! `y = Σ_{e ∈ T} w_e · down_e(act(gate_e(x)) ⊙ up_e(x))` with `w = softmax(l[T])` over the greatest router logits.
//!
//! A token's weight is multiplied in before `down`, which is linear: what is kept for the backward pass is then no wider
//! than an expert. Kept are gate and up, sorted by expert, the weights and the choice itself; the choice has no
//! derivative, its weights have. Inputs of adapters are gathered or computed again, for they are many times a rank wide.

use model::architecture::{Activation, Experts};

use crate::backend::Backend;
use crate::error::{DecoderError, Result};
use crate::lora::{self, AdaptedLinear};
use crate::pass::{Gathered, Pass};
use crate::routing::Routing;
use crate::stacked::{self, AdaptedExperts};
use crate::weights::Weights;

/// A mixture of the network.
pub(crate) struct ExpertsBlock<B: Backend> {
    router: AdaptedLinear<B>,
    gate_up: AdaptedExperts<B>,
    down: AdaptedExperts<B>,
    per_token: usize,
    intermediate_size: usize,
    activation: Activation,
}

/// What the backward pass needs beside the block's input.
pub(crate) struct Saved<T> {
    router: lora::Saved<T>,
    routing: Routing,
    /// `(tokens, experts of a token)`
    weights: T,
    /// Of every slot.
    gate: T,
    up: T,
    gate_up: stacked::Saved<T>,
    down: stacked::Saved<T>,
}

impl<B: Backend> ExpertsBlock<B> {
    pub(crate) fn load(backend: &B, experts: &Experts, weights: &dyn Weights) -> Result<Self> {
        check(experts)?;
        Ok(Self {
            router: AdaptedLinear::load(backend, &experts.router, weights)?,
            gate_up: AdaptedExperts::load(backend, &experts.gate_up, weights)?,
            down: AdaptedExperts::load(backend, &experts.down, weights)?,
            per_token: experts.experts_per_token as usize,
            intermediate_size: experts.down.in_features as usize,
            activation: experts.activation,
        })
    }

    pub(crate) fn forward(&self, pass: &Pass<'_, B>, x: &B::Tensor) -> Result<(B::Tensor, Saved<B::Tensor>)> {
        let backend = pass.backend;
        let (logits, router) = self.router.forward(pass, x)?;
        let routing = Routing::new(backend.choose(&logits, self.per_token)?, self.per_token, self.down.count());
        let weights = backend.expert_weights(&logits, &routing)?;
        drop(logits);
        let sorted = backend.select(x, &routing.tokens_of_slots())?;
        let (both, gate_up) = self.gate_up.forward(pass, &sorted, &routing)?;
        drop(sorted);
        let (gate, up) = backend.split(both, self.intermediate_size)?;
        let inner = backend.glu(&gate, &up, self.activation)?;
        let weighed = backend.weigh(inner, &weights, &routing)?;
        let (outputs, down) = self.down.forward(pass, &weighed, &routing)?;
        drop(weighed);
        let y = backend.combine(&outputs, &routing)?;
        Ok((y, Saved { router, routing, weights, gate, up, gate_up, down }))
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
        let backend = pass.backend;
        let Saved { router, routing, weights, gate, up, gate_up, down } = saved;
        let doutputs = backend.select(dy, &routing.tokens_of_slots())?;
        let (dweighed, down) = self.down.backward(pass, down, &doutputs, &routing)?;
        drop(doutputs);
        let inner = backend.glu(&gate, &up, self.activation)?;
        let (dinner, dweights) = backend.weigh_backward(&inner, &weights, &routing, dweighed)?;
        if let Some(down) = down {
            // The input was `w · inner`; the narrow side takes the factor.
            let down = down.map(|dz| backend.weigh(dz, &weights, &routing))?;
            down.gather(backend, &inner, &routing, gathered)?;
        }
        drop(inner);
        let (dgate, dup) = backend.glu_backward(gate, up, self.activation, &dinner)?;
        drop(dinner);
        let dgate_up = backend.concat(dgate, dup)?;
        let (dsorted, gate_up) = self.gate_up.backward(pass, gate_up, &dgate_up, &routing)?;
        drop(dgate_up);
        if let Some(gate_up) = gate_up {
            gate_up.gather(backend, &backend.select(x, &routing.tokens_of_slots())?, &routing, gathered)?;
        }
        let dx = backend.combine(&dsorted, &routing)?;
        drop(dsorted);
        let dlogits = backend.expert_weights_backward(&weights, &routing, &dweights)?;
        drop((weights, dweights));
        self.router.backward(pass, x, router, &dlogits, gathered, Some(dx))
    }
}

/// Holds a mixture's numbers against each other.
fn check(experts: &Experts) -> Result<()> {
    let Experts { router, experts_per_token, gate_up, down, .. } = experts;
    let count = router.out_features;
    let expected = [
        (gate_up, "num_experts", gate_up.num_experts, count),
        (down, "num_experts", down.num_experts, count),
        (gate_up, "in_features", gate_up.in_features, router.in_features),
        (gate_up, "out_features", gate_up.out_features, 2 * down.in_features),
        (down, "out_features", down.out_features, router.in_features),
    ];
    for (linear, what, got, expected) in expected {
        if got != expected {
            let (module, expected) = (linear.module.clone(), expected.to_string());
            return Err(DecoderError::Inconsistent { module, what, got, expected });
        }
    }
    if !(1..=count).contains(experts_per_token) {
        let (module, got) = (router.module.clone(), *experts_per_token);
        let expected = format!("1 to {count}");
        return Err(DecoderError::Inconsistent { module, what: "experts_per_token", got, expected });
    }
    Ok(())
}
