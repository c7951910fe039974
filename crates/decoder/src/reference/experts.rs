//! A mixture of experts, one expert after the other.

use std::ops::Range;

use candle_core::{D, DType, Tensor};

use super::Reference;
use crate::error::Result;
use crate::routing::{self, GROUP, Group, Routing};

impl Reference {
    pub(super) fn choose_experts(&self, logits: &Tensor, count: usize) -> Result<Vec<u32>> {
        let mut chosen = Vec::new();
        for own in logits.to_dtype(DType::F64)?.to_vec2::<f64>()? {
            routing::choose(&own, count, &mut chosen);
        }
        Ok(chosen)
    }

    pub(super) fn softmax_chosen(&self, logits: &Tensor, routing: &Routing) -> Result<Tensor> {
        let chosen = logits.gather(&self.chosen(routing)?, 1)?;
        let greatest = chosen.max_keepdim(D::Minus1)?.detach();
        let exponentials = chosen.broadcast_sub(&greatest)?.exp()?;
        Ok(exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)?)
    }

    pub(super) fn softmax_chosen_backward(
        &self,
        weights: &Tensor,
        routing: &Routing,
        dweights: &Tensor,
    ) -> Result<Tensor> {
        let along = (weights * dweights)?.sum_keepdim(D::Minus1)?;
        let dchosen = (weights * dweights.broadcast_sub(&along)?)?;
        let zeros = Tensor::zeros((weights.dim(0)?, routing.experts()), self.dtype, &self.device)?;
        Ok(zeros.scatter_add(&self.chosen(routing)?, &dchosen, 1)?)
    }

    /// `(tokens, experts of a token)` numbers of experts.
    fn chosen(&self, routing: &Routing) -> Result<Tensor> {
        let count = routing.per_token();
        Ok(Tensor::from_slice(routing.chosen(), (routing.choices() / count, count), &self.device)?)
    }

    /// Each slot's weight, `(slots, 1)`; 0 where nobody has the slot.
    fn slot_weights(&self, weights: &Tensor, routing: &Routing) -> Result<Tensor> {
        let zero = Tensor::zeros(1, self.dtype, &self.device)?;
        let of_choices = Tensor::cat(&[weights.flatten_all()?, zero], 0)?;
        let choices: Vec<usize> =
            routing.choice_of_slots().into_iter().map(|choice| choice.unwrap_or(routing.choices())).collect();
        Ok(of_choices.index_select(&self.indices(&choices)?, 0)?.unsqueeze(1)?)
    }

    pub(super) fn weighed(&self, x: &Tensor, weights: &Tensor, routing: &Routing) -> Result<Tensor> {
        Ok(x.broadcast_mul(&self.slot_weights(weights, routing)?)?)
    }

    pub(super) fn weighed_backward(
        &self,
        x: &Tensor,
        weights: &Tensor,
        routing: &Routing,
        dy: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let of_slots = (x * dy)?.sum(1)?;
        let dweights = of_slots.index_select(&self.slots(routing)?, 0)?.reshape(weights.shape())?;
        Ok((self.weighed(dy, weights, routing)?, dweights))
    }

    pub(super) fn combine_slots(&self, x: &Tensor, routing: &Routing) -> Result<Tensor> {
        let (count, features) = (routing.per_token(), x.dim(1)?);
        let by_choice = x.index_select(&self.slots(routing)?, 0)?;
        Ok(by_choice.reshape((routing.choices() / count, count, features))?.sum(1)?)
    }

    fn slots(&self, routing: &Routing) -> Result<Tensor> {
        Ok(Tensor::from_slice(routing.slots(), routing.choices(), &self.device)?)
    }

    /// Each expert's `product`, given its number and its slots, one after the other; zeros, `features` wide, for the slots
    /// behind them.
    pub(super) fn by_expert(
        &self,
        routing: &Routing,
        features: usize,
        product: impl Fn(usize, Range<usize>) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor> {
        let (mut parts, mut at) = (Vec::new(), 0);
        for group in routing.groups() {
            let end = at + group.slots.len().next_multiple_of(GROUP);
            parts.push(product(group.expert, at..end)?);
            at = end;
        }
        if at < routing.slot_count() {
            parts.push(Tensor::zeros((routing.slot_count() - at, features), self.dtype, &self.device)?);
        }
        Ok(Tensor::cat(&parts, 0)?)
    }

    pub(super) fn sum_outer_by_expert(&self, y: &Tensor, x: &Tensor, routing: &Routing) -> Result<Tensor> {
        let none = Tensor::zeros((y.dim(1)?, x.dim(1)?), self.dtype, &self.device)?;
        let mut sums = vec![none; routing.experts()];
        for Group { expert, slots } in routing.groups() {
            sums[*expert] = rows(y, slots)?.t()?.matmul(&rows(x, slots)?)?;
        }
        Ok(Tensor::cat(&sums, 0)?)
    }
}

/// Some rows of `x`.
pub(super) fn rows(x: &Tensor, rows: &Range<usize>) -> candle_core::Result<Tensor> {
    x.narrow(0, rows.start, rows.len())
}

/// An expert's rows of a factor that holds those of all.
pub(super) fn own(factor: &Tensor, expert: usize, routing: &Routing) -> candle_core::Result<Tensor> {
    let count = factor.dim(0)? / routing.experts();
    factor.narrow(0, expert * count, count)
}
