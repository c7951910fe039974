//! Activations that tasks write side by side.

use std::ops::Range;

use super::TILE;
use super::activations::{Activations, width_of};
use super::pool::Shared;

/// Activations that tasks write, each its own features of its own tokens.
pub(super) struct Target<'a> {
    features: usize,
    tokens: usize,
    values: Shared<'a>,
}

impl<'a> Target<'a> {
    pub(super) fn new(x: &'a mut Activations) -> Self {
        Self { features: x.features(), tokens: x.tokens(), values: Shared::new(x.values_mut()) }
    }

    /// A run of tokens of one feature, within a tile.
    ///
    /// # Safety
    /// Nobody else touches them while the slice lives.
    unsafe fn run(&self, feature: usize, token: usize, len: usize) -> &'a mut [f32] {
        let first = token / TILE * TILE;
        let start = first * self.features + feature * width_of(self.tokens - first) + token % TILE;
        // SAFETY: passed on to the caller.
        unsafe { self.values.slice(start, len) }
    }

    /// Writes rows of `stride` values, one a feature.
    ///
    /// # Safety
    /// Nobody else writes these features of these tokens.
    pub(super) unsafe fn write_rows(&self, features: Range<usize>, tokens: Range<usize>, from: &[f32], stride: usize) {
        for (row, feature) in features.enumerate() {
            let mut column = row * stride;
            for (token, len) in Activations::runs(tokens.clone()) {
                // SAFETY: passed on to the caller.
                unsafe { self.run(feature, token, len) }.copy_from_slice(&from[column..column + len]);
                column += len;
            }
        }
    }

    /// Writes rows of `stride` values, one a token.
    ///
    /// # Safety
    /// As for [`Target::write_rows`].
    pub(super) unsafe fn write_transposed(
        &self,
        features: Range<usize>,
        tokens: Range<usize>,
        from: &[f32],
        stride: usize,
    ) {
        let first = tokens.start;
        for (token, len) in Activations::runs(tokens) {
            for (column, feature) in features.clone().enumerate() {
                // SAFETY: passed on to the caller.
                let run = unsafe { self.run(feature, token, len) };
                for (i, value) in run.iter_mut().enumerate() {
                    *value = from[(token - first + i) * stride + column];
                }
            }
        }
    }
}
