//! What moves whole tokens: looking up, selecting, putting back.

use super::activations::{Activations, width_of};
use super::linear::Mapped;
use super::pool::with_scratch;
use super::{Fast, TILE};
use crate::error::Result;
use crate::mapped::MatrixError;

impl Fast {
    /// `scale · W[ids]`
    pub(super) fn embed_tokens(&self, table: &Mapped, ids: &[u32], scale: f32) -> Result<Activations> {
        let features = table.matrix().columns();
        let mut h = self.zeros(features, ids.len());
        let failed = std::sync::Mutex::new(None::<MatrixError>);
        self.tiles(&mut h, |t, h| {
            let width = width_of(ids.len() - t * TILE);
            with_scratch([features], |[row]| {
                for (i, id) in ids[t * TILE..].iter().take(TILE).enumerate() {
                    let id = *id as usize;
                    if let Err(error) = table.matrix().decode(id..id + 1, 0..features, row) {
                        failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).replace(error);
                        return;
                    }
                    row.iter().enumerate().for_each(|(f, value)| h[f * width + i] = value * scale);
                }
            });
        });
        match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(error) => Err(error.into()),
            None => Ok(h),
        }
    }

    /// Some tokens of `x`, in order.
    pub(super) fn select_tokens(&self, x: &Activations, tokens: &[usize]) -> Activations {
        let mut y = self.zeros(x.features(), tokens.len());
        self.tiles(&mut y, |t, y| {
            let width = width_of(tokens.len() - t * TILE);
            let columns: Vec<_> = tokens[t * TILE..].iter().take(TILE).map(|token| x.column(*token)).collect();
            for (feature, row) in y.chunks_exact_mut(width).enumerate() {
                for (value, (first, stride)) in row.iter_mut().zip(&columns) {
                    *value = x.values()[first + feature * stride];
                }
            }
        });
        y
    }

    /// Puts tokens back among `total`; the others are zero.
    pub(super) fn scatter_tokens(&self, x: &Activations, tokens: &[usize], total: usize) -> Activations {
        let mut from = vec![None; total];
        for (index, token) in tokens.iter().enumerate() {
            from[*token] = Some(index);
        }
        let mut y = self.zeros(x.features(), total);
        self.tiles(&mut y, |t, y| {
            let width = width_of(total - t * TILE);
            for (feature, row) in y.chunks_exact_mut(width).enumerate() {
                for (value, from) in row.iter_mut().zip(&from[t * TILE..]) {
                    if let Some(index) = from {
                        *value = x.values()[x.position(feature, *index)];
                    }
                }
            }
        });
        y
    }
}
