//! Head and cross-entropy, some tokens at a time: `loss = Σ weight · (log Σ exp(l) - l[target])` over logits
//! `l = cap(logit_scale · x·Wᵀ)`, and `dl = weight · (softmax(l) - onehot(target))`.
//!
//! Logits of a chunk of tokens exist, never those of a batch: with 128,256 words a token's logits take half a megabyte.

use super::activations::{Activations, padded_len};
use super::linear::Mapped;
use super::{Fast, TILE};
use crate::backend::{FrozenLinear, HeadWeights, Sink};
use crate::batch::Target;
use crate::error::{DecoderError, Result};
use crate::simd::{self, exp, tanh};

/// Values of logits that exist at once: 64 MB.
const CHUNK_VALUES: usize = 16 << 20;

/// Words whose exponentials one task sums. Part of the result: sums are rounded block by block.
const WORDS: usize = 1024;

/// Tokens whose logits exist at once: whole tiles.
pub(crate) fn chunk_tokens(vocab_size: usize, tokens: usize) -> usize {
    (CHUNK_VALUES / vocab_size.max(1) / TILE).max(1).saturating_mul(TILE).min(tokens)
}

impl Fast {
    /// The loss, and its derivative by `x` if wanted.
    pub(super) fn head_loss(
        &self,
        head: &HeadWeights<Mapped>,
        x: &Activations,
        targets: &[Target],
        want_gradient: bool,
    ) -> Result<(f64, Option<Activations>)> {
        let mut dx = want_gradient.then(|| self.take(x.features(), x.tokens()));
        let mut loss = 0.0;
        let chunk = chunk_tokens(head.weight.matrix().rows(), x.tokens());
        for (index, targets) in targets.chunks(chunk.max(1)).enumerate() {
            let (start, part) = (index * chunk, self.part(x, index * chunk, targets.len()));
            let mut logits = self.head_values(head, &part)?;
            drop(part);
            let log_sums = self.log_sums(&logits);
            for (token, target) in targets.iter().enumerate() {
                let logit = logits.values()[logits.position(target.token as usize, token)];
                loss += f64::from(target.weight) * (f64::from(log_sums[token]) - f64::from(logit));
            }
            if let Some(dx) = &mut dx {
                self.logit_derivatives(head, &mut logits, targets, &log_sums);
                let dpart = head.weight.backward(self, &logits, None, None)?;
                let at = padded_len(x.features(), start);
                dx.values_mut()[at..at + dpart.values().len()].copy_from_slice(dpart.values());
            }
        }
        Ok((loss, dx))
    }

    /// Hands out logits, some tokens at a time.
    pub(super) fn head_logits(&self, head: &HeadWeights<Mapped>, x: &Activations, sink: &mut Sink<'_>) -> Result<()> {
        let words = head.weight.matrix().rows();
        let chunk = chunk_tokens(words, x.tokens()).min(TILE);
        for start in (0..x.tokens()).step_by(chunk.max(1)) {
            let tokens = start..x.tokens().min(start + chunk);
            let logits = self.head_values(head, &self.part(x, tokens.start, tokens.len()))?;
            let mut rows = self.arena.take(tokens.len() * words);
            // Tokens of a cache line are turned together, so that it is read once.
            const LINE: usize = 16;
            self.pool.chunks(&mut rows, LINE * words, |group, rows| {
                let width = logits.width(0);
                for (word, values) in logits.tile(0).chunks_exact(width).enumerate() {
                    let values = values[group * LINE..].iter();
                    rows[word..].iter_mut().step_by(words).zip(values).for_each(|(to, value)| *to = *value);
                }
            });
            sink(tokens.start, &rows).map_err(|source| DecoderError::Sink { tokens, source })?;
        }
        Ok(())
    }

    /// A copy of whole tiles.
    fn part(&self, x: &Activations, start: usize, tokens: usize) -> Activations {
        let mut part = self.take(x.features(), tokens);
        let at = padded_len(x.features(), start);
        let len = part.values().len();
        part.values_mut().copy_from_slice(&x.values()[at..at + len]);
        part
    }

    /// `cap(logit_scale · x·Wᵀ)`
    fn head_values(&self, head: &HeadWeights<Mapped>, x: &Activations) -> Result<Activations> {
        let mut logits = head.weight.forward(self, x, None)?;
        if head.logit_scale != 1.0 || head.soft_cap.is_some() {
            self.pool.chunks(logits.values_mut(), WORDS * TILE, |_, logits| {
                simd::run(|| match head.soft_cap {
                    Some(cap) => logits.iter_mut().for_each(|l| *l = cap * tanh(*l * head.logit_scale / cap)),
                    None => logits.iter_mut().for_each(|l| *l *= head.logit_scale),
                });
            });
        }
        Ok(logits)
    }

    /// `log Σ exp` of each token's logits: of each block of words first, then of the blocks in order.
    fn log_sums(&self, logits: &Activations) -> Vec<f32> {
        let blocks = logits.features().div_ceil(WORDS);
        let mut partial = vec![0.0; logits.tiles() * blocks * 2 * TILE];
        self.pool.chunks(&mut partial, 2 * TILE, |task, partial| {
            let (tile, width) = (logits.tile(task / blocks), logits.width(task / blocks));
            let start = task % blocks * WORDS * width;
            let block = &tile[start..tile.len().min(start + WORDS * width)];
            let (greatest, sums) = partial.split_at_mut(TILE);
            simd::run(|| exponentials(block, width, greatest, sums));
        });
        let of_token = |token: usize| {
            let at = |block: usize| (token / TILE * blocks + block) * 2 * TILE + token % TILE;
            let greatest = (0..blocks).map(|block| partial[at(block)]).fold(f32::MIN, f32::max);
            let sum: f32 = (0..blocks).map(|b| partial[at(b) + TILE] * (partial[at(b)] - greatest).exp()).sum();
            greatest + sum.ln()
        };
        (0..logits.tokens()).map(of_token).collect()
    }

    /// Overwrites logits with the loss's derivative by `x·Wᵀ`: tile by tile, blocks of words side by side.
    fn logit_derivatives(
        &self,
        head: &HeadWeights<Mapped>,
        logits: &mut Activations,
        targets: &[Target],
        log_sums: &[f32],
    ) {
        let words = logits.features();
        for (t, (targets, log_sums)) in targets.chunks(TILE).zip(log_sums.chunks(TILE)).enumerate() {
            let (width, start) = (logits.width(t), logits.tile_start(t));
            let (mut sums, mut weights) = ([0.0; TILE], [0.0; TILE]);
            sums[..log_sums.len()].copy_from_slice(log_sums);
            weights.iter_mut().zip(targets).for_each(|(weight, target)| *weight = target.weight * head.logit_scale);
            let tile = &mut logits.values_mut()[start..start + words * width];
            self.pool.chunks(tile, WORDS * width, |block, logits| {
                let place = |(i, target): (usize, &Target)| {
                    let row = (target.token as usize).checked_sub(block * WORDS)?;
                    let at = row * width + i;
                    Some((at, weights[i] * cap_slope(*logits.get(at)?, head.soft_cap)))
                };
                let hits: Vec<(usize, f32)> = targets.iter().enumerate().filter_map(place).collect();
                simd::run(|| match head.soft_cap {
                    Some(_) => softmax(logits, width, &sums, &weights, |logit| cap_slope(logit, head.soft_cap)),
                    None => softmax(logits, width, &sums, &weights, |_| 1.0),
                });
                hits.into_iter().for_each(|(at, share)| logits[at] -= share);
            });
        }
    }
}

/// The derivative of `cap(x)`, given `cap(x)`.
#[inline(always)]
fn cap_slope(capped: f32, soft_cap: Option<f32>) -> f32 {
    soft_cap.map_or(1.0, |cap| 1.0 - (capped / cap) * (capped / cap))
}

/// Overwrites logits with `weight · exp(l - log Σ exp) · slope(l)`.
#[inline(always)]
fn softmax(
    logits: &mut [f32],
    width: usize,
    log_sums: &[f32; TILE],
    weights: &[f32; TILE],
    slope: impl Fn(f32) -> f32,
) {
    for row in logits.chunks_exact_mut(width) {
        (0..width).for_each(|i| row[i] = weights[i] * exp(row[i] - log_sums[i]) * slope(row[i]));
    }
}

/// The greatest logit of each token, and the sum of `exp(l - greatest)`.
#[inline(always)]
fn exponentials(block: &[f32], width: usize, greatest: &mut [f32], sums: &mut [f32]) {
    greatest.fill(f32::MIN);
    sums.fill(0.0);
    for row in block.chunks_exact(width) {
        (0..width).for_each(|i| greatest[i] = greatest[i].max(row[i]));
    }
    for row in block.chunks_exact(width) {
        (0..width).for_each(|i| sums[i] += exp(row[i] - greatest[i]));
    }
}
