//! What routes tokens to experts and brings them back.

use super::activations::Activations;
use super::{Fast, TILE};
use crate::routing::{self, Routing};
use crate::simd::{self, exp};

/// Features whose products are summed before they join the total: shorter sums round less.
const BLOCK: usize = 64;

impl Fast {
    /// The `count` greatest logits of every token.
    pub(super) fn choose_experts(&self, logits: &Activations, count: usize) -> Vec<u32> {
        let mut chosen = Vec::with_capacity(count * logits.tokens());
        let mut own = vec![0.0; logits.features()];
        for token in 0..logits.tokens() {
            let value = |feature| f64::from(logits.values()[logits.position(feature, token)]);
            own.iter_mut().enumerate().for_each(|(feature, logit)| *logit = value(feature));
            routing::choose(&own, count, &mut chosen);
        }
        chosen
    }

    /// Softmax over the chosen logits, `(tokens, experts of a token)`.
    pub(super) fn softmax_chosen(&self, logits: &Activations, routing: &Routing) -> Activations {
        let count = routing.per_token();
        let mut weights = self.zeros(count, logits.tokens());
        self.tiles(&mut weights, |t, weights| {
            let (logits, width) = (logits.tile(t), logits.width(t));
            for (i, chosen) in routing.chosen().chunks_exact(count).skip(t * TILE).take(TILE).enumerate() {
                let logit = |expert: u32| logits[expert as usize * width + i];
                let exponentials = chosen.iter().map(|expert| exp(logit(*expert) - logit(chosen[0])));
                let sum: f32 = exponentials.clone().sum();
                exponentials.enumerate().for_each(|(j, exponential)| weights[j * width + i] = exponential / sum);
            }
        });
        weights
    }

    /// The derivative of [`Fast::softmax_chosen`]: `dl = w ⊙ (dw - Σ w ⊙ dw)` for the chosen, 0 for the others.
    pub(super) fn softmax_chosen_backward(
        &self,
        weights: &Activations,
        routing: &Routing,
        dweights: &Activations,
    ) -> Activations {
        let count = routing.per_token();
        let mut dlogits = self.zeros(routing.experts(), weights.tokens());
        self.tiles(&mut dlogits, |t, dlogits| {
            let (w, dw, width) = (weights.tile(t), dweights.tile(t), weights.width(t));
            for (i, chosen) in routing.chosen().chunks_exact(count).skip(t * TILE).take(TILE).enumerate() {
                let along: f32 = (0..count).map(|j| w[j * width + i] * dw[j * width + i]).sum();
                for (j, expert) in chosen.iter().enumerate() {
                    dlogits[*expert as usize * width + i] = w[j * width + i] * (dw[j * width + i] - along);
                }
            }
        });
        dlogits
    }

    /// Every slot of `x` times its weight; 0 where nobody has the slot.
    pub(super) fn weighed(&self, mut x: Activations, weights: &Activations, routing: &Routing) -> Activations {
        let of_slots = routing.choice_of_slots();
        self.tiles(&mut x, |t, x| {
            let own = &of_slots[t * TILE..of_slots.len().min((t + 1) * TILE)];
            let factors: Vec<f32> = own.iter().map(|choice| weight(weights, routing, *choice)).collect();
            simd::run(|| {
                for row in x.chunks_exact_mut(factors.len()) {
                    row.iter_mut().zip(&factors).for_each(|(x, factor)| *x *= factor);
                }
            });
        });
        x
    }

    /// The derivative of [`Fast::weighed`] by `x`, in the memory of `dy`, and by the weights.
    pub(super) fn weighed_backward(
        &self,
        x: &Activations,
        weights: &Activations,
        routing: &Routing,
        dy: Activations,
    ) -> (Activations, Activations) {
        let mut of_slots = self.take(1, x.tokens());
        self.tiles(&mut of_slots, |t, sums| simd::run(|| row_products(x.tile(t), dy.tile(t), sums)));
        let mut dweights = self.zeros(routing.per_token(), weights.tokens());
        for (choice, slot) in routing.slots().iter().enumerate() {
            let at = dweights.position(choice % routing.per_token(), choice / routing.per_token());
            dweights.values_mut()[at] = of_slots.values()[*slot as usize];
        }
        (self.weighed(dy, weights, routing), dweights)
    }

    /// `Σ` of each token's slots, in the order of its choices.
    pub(super) fn combine_slots(&self, x: &Activations, routing: &Routing) -> Activations {
        let count = routing.per_token();
        let mut y = self.zeros(x.features(), routing.choices() / count);
        self.tiles(&mut y, |t, y| {
            let width = y.len() / x.features();
            let slots = routing.slots().chunks_exact(count).skip(t * TILE).take(TILE);
            let columns: Vec<(usize, usize)> = slots.flatten().map(|slot| x.column(*slot as usize)).collect();
            for (feature, row) in y.chunks_exact_mut(width).enumerate() {
                for (y, columns) in row.iter_mut().zip(columns.chunks_exact(count)) {
                    *y = columns.iter().map(|(first, stride)| x.values()[first + feature * stride]).sum();
                }
            }
        });
        y
    }
}

fn weight(weights: &Activations, routing: &Routing, choice: Option<usize>) -> f32 {
    let count = routing.per_token();
    choice.map_or(0.0, |choice| weights.values()[weights.position(choice % count, choice / count)])
}

/// `Σ_features a ⊙ b` of each token of a tile.
#[inline(always)]
fn row_products(a: &[f32], b: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    sums.fill(0.0);
    for (a, b) in a.chunks(BLOCK * width).zip(b.chunks(BLOCK * width)) {
        let mut block = [0.0; TILE];
        for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
            (0..width).for_each(|i| block[i] += a[i] * b[i]);
        }
        sums.iter_mut().zip(&block).for_each(|(sum, block)| *sum += block);
    }
}
