//! Activations as the fast path holds them: feature by feature, tokens side by side, in tiles of 64 tokens.
//!
//! A tile is `features × width` values, row-major, so that every operation on a token is vector arithmetic over
//! neighbouring tokens, a matrix product reads its right operand in order, and a tile of any layer fits a core's cache.
//! The last tile is as wide as its tokens, rounded up to a vector; what is beyond the last token is finite and ignored.

use std::ops::Range;

use super::buffer::Buffer;

/// Tokens of a whole tile.
pub(crate) const TILE: usize = 64;

/// Tokens of the narrowest tile.
const VECTOR: usize = 16;

/// `features` values for each of `tokens` tokens.
#[derive(Debug)]
pub struct Activations {
    features: usize,
    tokens: usize,
    buffer: Buffer,
}

/// The width of the last tile of `tokens`, and of any other that begins where `remaining` tokens are left.
pub(crate) fn width_of(remaining: usize) -> usize {
    remaining.min(TILE).next_multiple_of(VECTOR)
}

/// How many values `features × tokens` take, the rest of the last tile included.
pub(crate) fn padded_len(features: usize, tokens: usize) -> usize {
    features * (tokens / TILE * TILE + (tokens % TILE).next_multiple_of(VECTOR))
}

impl Activations {
    /// Takes `buffer`, of [`padded_len`] values.
    pub(crate) fn new(features: usize, tokens: usize, buffer: Buffer) -> Self {
        debug_assert_eq!(buffer.len(), padded_len(features, tokens));
        Self { features, tokens, buffer }
    }

    /// Values of a token.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The number of tiles.
    pub(crate) fn tiles(&self) -> usize {
        self.tokens.div_ceil(TILE)
    }

    /// Tokens that tile `t` has room for.
    pub(crate) fn width(&self, t: usize) -> usize {
        width_of(self.tokens - t * TILE)
    }

    /// Where tile `t` begins among the values.
    pub(crate) fn tile_start(&self, t: usize) -> usize {
        t * TILE * self.features
    }

    /// Tile `t`, `features × width` values.
    pub(crate) fn tile(&self, t: usize) -> &[f32] {
        let start = self.tile_start(t);
        &self.buffer[start..start + self.features * self.width(t)]
    }

    /// All tiles, one after the other.
    pub(crate) fn values(&self) -> &[f32] {
        &self.buffer
    }

    /// All tiles, to be changed; `chunks_mut(features · TILE)` are the tiles.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.buffer
    }

    /// Where the value of `feature` and `token` lies.
    pub(crate) fn position(&self, feature: usize, token: usize) -> usize {
        let t = token / TILE;
        self.tile_start(t) + feature * self.width(t) + token % TILE
    }

    /// Where a token's values lie: the first, and the distance of one to the next.
    pub(crate) fn column(&self, token: usize) -> (usize, usize) {
        (self.position(0, token), self.width(token / TILE))
    }

    /// The parts of `tokens` that lie in one tile each: (first token, tokens).
    pub(crate) fn runs(tokens: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let mut at = tokens.start;
        std::iter::from_fn(move || {
            let len = (tokens.end - at).min(TILE - at % TILE);
            let run = (at, len);
            at += len;
            (len > 0).then_some(run)
        })
    }

    /// Copies `features` of `tokens` into rows of `stride` values.
    pub(crate) fn copy_rows(&self, features: Range<usize>, tokens: Range<usize>, into: &mut [f32], stride: usize) {
        for (row, feature) in features.enumerate() {
            let mut column = row * stride;
            for (token, len) in Self::runs(tokens.clone()) {
                let from = self.position(feature, token);
                into[column..column + len].copy_from_slice(&self.buffer[from..from + len]);
                column += len;
            }
        }
    }

    /// Copies `features` of `tokens` token by token: row `t` of `stride` values holds the token's features.
    pub(crate) fn copy_transposed(
        &self,
        features: Range<usize>,
        tokens: Range<usize>,
        into: &mut [f32],
        stride: usize,
    ) {
        let first = tokens.start;
        for (token, len) in Self::runs(tokens) {
            for (column, feature) in features.clone().enumerate() {
                let from = self.position(feature, token);
                for (i, value) in self.buffer[from..from + len].iter().enumerate() {
                    into[(token - first + i) * stride + column] = *value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::buffer::Arena;
    use super::*;

    #[test]
    fn tiles_positions_and_copies_agree() {
        let (features, tokens) = (3, 150);
        let arena = Arc::new(Arena::default());
        let mut x = Activations::new(features, tokens, arena.take_zeroed(padded_len(features, tokens)));
        assert_eq!((x.tiles(), x.width(0), x.width(2)), (3, 64, 32));
        assert_eq!(x.values().len(), x.tile_start(2) + x.tile(2).len());
        for feature in 0..features {
            for token in 0..tokens {
                let at = x.position(feature, token);
                x.values_mut()[at] = (feature * 1000 + token) as f32;
            }
        }
        let mut rows = vec![0.0; 2 * 80];
        x.copy_rows(1..3, 60..140, &mut rows, 80);
        assert_eq!((rows[0], rows[79], rows[80]), (1060.0, 1139.0, 2060.0));
        let mut turned = vec![0.0; 80 * 2];
        x.copy_transposed(1..3, 60..140, &mut turned, 2);
        assert!((0..80).all(|t| turned[2 * t] == rows[t] && turned[2 * t + 1] == rows[80 + t]));
    }
}
