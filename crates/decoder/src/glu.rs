//! A gated linear unit: `y = down(act(gate(x)) ⊙ up(x))`, <https://arxiv.org/abs/2002.05202>.
//!
//! Kept for the backward pass: gate and up; their product is computed again.

use model::architecture::{Activation, Glu, GluInput};

use crate::backend::Backend;
use crate::error::{DecoderError, Result};
use crate::lora::{self, AdaptedLinear};
use crate::pass::{Gathered, Pass};
use crate::weights::Weights;

/// A gated linear unit of the network.
pub(crate) struct GluBlock<B: Backend> {
    input: Input<B>,
    down: AdaptedLinear<B>,
    activation: Activation,
}

/// Gate and up: two matrices, or one.
enum Input<B: Backend> {
    Separate { gate: AdaptedLinear<B>, up: AdaptedLinear<B> },
    Fused { gate_up: AdaptedLinear<B>, intermediate_size: usize },
}

enum SavedInput<T> {
    Separate { gate: lora::Saved<T>, up: lora::Saved<T> },
    Fused { gate_up: lora::Saved<T> },
}

/// What the backward pass needs beside the block's input.
pub(crate) struct Saved<T> {
    gate: T,
    up: T,
    input: SavedInput<T>,
    down: lora::Saved<T>,
}

impl<B: Backend> GluBlock<B> {
    pub(crate) fn load(backend: &B, glu: &Glu, weights: &dyn Weights) -> Result<Self> {
        let size = glu.down.in_features;
        let expect = |linear: &model::architecture::Linear, expected: u64| {
            let (module, got) = (linear.module.clone(), linear.out_features);
            let error =
                DecoderError::Inconsistent { module, what: "out_features", got, expected: expected.to_string() };
            if got == expected { AdaptedLinear::load(backend, linear, weights) } else { Err(error) }
        };
        let input = match &glu.input {
            GluInput::Separate { gate, up } => Input::Separate { gate: expect(gate, size)?, up: expect(up, size)? },
            GluInput::Fused { gate_up } => {
                Input::Fused { gate_up: expect(gate_up, 2 * size)?, intermediate_size: size as usize }
            }
        };
        Ok(Self { input, down: AdaptedLinear::load(backend, &glu.down, weights)?, activation: glu.activation })
    }

    pub(crate) fn forward(&self, pass: &Pass<'_, B>, x: &B::Tensor) -> Result<(B::Tensor, Saved<B::Tensor>)> {
        let (gate, up, input) = self.input.forward(pass, x)?;
        let inner = pass.backend.glu(&gate, &up, self.activation)?;
        let (y, down) = self.down.forward(pass, &inner)?;
        Ok((y, Saved { gate, up, input, down }))
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
        let Saved { gate, up, input, down } = saved;
        let inner = pass.backend.glu(&gate, &up, self.activation)?;
        let dinner = self.down.backward(pass, &inner, down, dy, gathered, None)?;
        drop(inner);
        let (dgate, dup) = pass.backend.glu_backward(gate, up, self.activation, &dinner)?;
        drop(dinner);
        self.input.backward(pass, x, input, (dgate, dup), gathered)
    }
}

impl<B: Backend> Input<B> {
    #[allow(clippy::type_complexity)]
    fn forward(&self, pass: &Pass<'_, B>, x: &B::Tensor) -> Result<(B::Tensor, B::Tensor, SavedInput<B::Tensor>)> {
        match self {
            Input::Separate { gate, up } => {
                let (gate, saved_gate) = gate.forward(pass, x)?;
                let (up, saved_up) = up.forward(pass, x)?;
                Ok((gate, up, SavedInput::Separate { gate: saved_gate, up: saved_up }))
            }
            Input::Fused { gate_up, intermediate_size } => {
                let (y, saved) = gate_up.forward(pass, x)?;
                let (gate, up) = pass.backend.split(y, *intermediate_size)?;
                Ok((gate, up, SavedInput::Fused { gate_up: saved }))
            }
        }
    }

    fn backward(
        &self,
        pass: &Pass<'_, B>,
        x: &B::Tensor,
        saved: SavedInput<B::Tensor>,
        (dgate, dup): (B::Tensor, B::Tensor),
        gathered: &mut Gathered<B::Matrix>,
    ) -> Result<B::Tensor> {
        match (self, saved) {
            (Input::Separate { gate, up }, SavedInput::Separate { gate: saved_gate, up: saved_up }) => {
                let dx = gate.backward(pass, x, saved_gate, &dgate, gathered, None)?;
                drop(dgate);
                up.backward(pass, x, saved_up, &dup, gathered, Some(dx))
            }
            (Input::Fused { gate_up, .. }, SavedInput::Fused { gate_up: saved }) => {
                let dy = pass.backend.concat(dgate, dup)?;
                gate_up.backward(pass, x, saved, &dy, gathered, None)
            }
            _ => unreachable!("a block's backward pass gets what its own forward pass saved"),
        }
    }
}
