//! The one seam through which every matrix product goes, dispatched at run time.
//!
//! Activations lie feature by feature with tokens side by side ([`crate::fast::Activations`]), so the right operand's
//! rows are always vectors of tokens, and a frozen matrix is read row by row as its codec writes it, forward
//! (`C = A·B`) and backward (`C = Aᵀ·B`). Nothing is transposed or packed.

mod kernel;
mod lanes;

use crate::simd::{Isa, Set};
use kernel::{Outer, Product};

/// Columns of the right operand come in multiples of this.
pub const COLUMN_MULTIPLE: usize = 16;

/// A row-major matrix: row `i` begins at `i · stride`.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The values.
    pub data: &'a [f32],
    /// Distance of rows.
    pub stride: usize,
}

/// A row-major matrix that is written.
#[derive(Debug)]
pub struct RowsMut<'a> {
    /// The values.
    pub data: &'a mut [f32],
    /// Distance of rows.
    pub stride: usize,
}

/// What becomes of the values that the result holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// They are overwritten.
    Replace,
    /// The product is added to them.
    Add,
}

/// How the left operand is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// `(m × k)`: `C = A·B`.
    Plain,
    /// `(k × m)`: `C = Aᵀ·B`.
    Transposed,
}

/// `C (m × n) = A·B` or `Aᵀ·B`, with `B (k × n)` and `n` a multiple of [`COLUMN_MULTIPLE`].
///
/// # Panics
/// Where an operand is smaller than the dimensions say.
pub fn product(dims: (usize, usize, usize), left: Left, a: Rows<'_>, b: Rows<'_>, c: RowsMut<'_>, store: Store) {
    product_with(Isa::best(), dims, left, a, b, c, store);
}

fn product_with(
    isa: Isa,
    (m, n, k): (usize, usize, usize),
    left: Left,
    a: Rows<'_>,
    b: Rows<'_>,
    c: RowsMut<'_>,
    store: Store,
) {
    assert!(n.is_multiple_of(COLUMN_MULTIPLE), "{n} columns are no multiple of {COLUMN_MULTIPLE}");
    let (a_rows, a_columns) = if left == Left::Plain { (m, k) } else { (k, m) };
    assert!(holds(a.data.len(), a.stride, a_rows, a_columns), "left operand is smaller than {a_rows} × {a_columns}");
    assert!(holds(b.data.len(), b.stride, k, n), "right operand is smaller than {k} × {n}");
    assert!(holds(c.data.len(), c.stride, m, n), "result is smaller than {m} × {n}");
    let p = Product {
        m,
        n,
        k,
        a: a.data.as_ptr(),
        a_stride: a.stride,
        b: b.data.as_ptr(),
        b_stride: b.stride,
        c: c.data.as_mut_ptr(),
        c_stride: c.stride,
        accumulate: store == Store::Add,
    };
    // SAFETY: an `Isa` exists only where the CPU has its instructions; bounds were checked above.
    unsafe {
        match (isa.0, left) {
            (Set::Portable, Left::Plain) => kernel::product::<lanes::Portable, false>(p),
            (Set::Portable, Left::Transposed) => kernel::product::<lanes::Portable, true>(p),
            #[cfg(target_arch = "x86_64")]
            (Set::Avx2, Left::Plain) => avx2::<false>(p),
            #[cfg(target_arch = "x86_64")]
            (Set::Avx2, Left::Transposed) => avx2::<true>(p),
            #[cfg(target_arch = "x86_64")]
            (Set::Avx512, Left::Plain) => avx512::<false>(p),
            #[cfg(target_arch = "x86_64")]
            (Set::Avx512, Left::Transposed) => avx512::<true>(p),
        }
    }
}

/// Whether `rows × columns` values at distance `stride` fit into `len`.
fn holds(len: usize, stride: usize, rows: usize, columns: usize) -> bool {
    rows == 0 || (columns <= stride || rows == 1) && (rows - 1) * stride + columns <= len
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const TRANSPOSED: bool>(p: Product) {
    // SAFETY: the caller vouches for the view; the instructions are those of this function.
    unsafe { kernel::product::<lanes::Avx2, TRANSPOSED>(p) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn avx512<const TRANSPOSED: bool>(p: Product) {
    // SAFETY: the caller vouches for the view; the instructions are those of this function.
    unsafe { kernel::product::<lanes::Avx512, TRANSPOSED>(p) }
}

/// Tokens of both operands of [`sum_over_tokens`] that lie side by side.
#[derive(Debug, Clone, Copy)]
pub struct TilePair {
    /// Where A's first row begins.
    pub a: usize,
    /// Where B's first row begins.
    pub b: usize,
    /// Distance of rows, of either.
    pub stride: usize,
    /// How many tokens.
    pub width: usize,
}

/// `C (m × n) = Σ_tokens A·Bᵀ`, A and B given as tiles in which each row is a vector of tokens.
///
/// # Panics
/// Where a tile reaches past its operand or its width is no multiple of [`COLUMN_MULTIPLE`].
pub fn sum_over_tokens((m, n): (usize, usize), tiles: &[TilePair], a: &[f32], b: &[f32], c: RowsMut<'_>) {
    sum_over_tokens_with(Isa::best(), (m, n), tiles, a, b, c);
}

fn sum_over_tokens_with(isa: Isa, (m, n): (usize, usize), tiles: &[TilePair], a: &[f32], b: &[f32], c: RowsMut<'_>) {
    for &TilePair { a: at_a, b: at_b, stride, width } in tiles {
        assert!(width.is_multiple_of(COLUMN_MULTIPLE), "a tile is {width} tokens wide");
        let within = |len: usize, first, rows| first <= len && holds(len - first, stride, rows, width);
        assert!(within(a.len(), at_a, m) && within(b.len(), at_b, n), "a tile reaches past its operand");
    }
    assert!(holds(c.data.len(), c.stride, m, n), "result is smaller than {m} × {n}");
    let p = Outer { tiles, m, n, a: a.as_ptr(), b: b.as_ptr(), c: c.data.as_mut_ptr(), c_stride: c.stride };
    // SAFETY: an `Isa` exists only where the CPU has its instructions; bounds were checked above.
    unsafe {
        match isa.0 {
            Set::Portable => kernel::outer::<lanes::Portable>(p),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => outer_avx2(p),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => outer_avx512(p),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn outer_avx2(p: Outer<'_>) {
    // SAFETY: as in `avx2`.
    unsafe { kernel::outer::<lanes::Avx2>(p) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn outer_avx512(p: Outer<'_>) {
    // SAFETY: as in `avx512`.
    unsafe { kernel::outer::<lanes::Avx512>(p) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values in [-1, 1) that depend on `seed` and position only.
    fn values(seed: u32, n: usize) -> Vec<f32> {
        let hash = |i: u32| (i ^ seed).wrapping_mul(0x9E37_79B9).rotate_left(13).wrapping_mul(0x85EB_CA6B);
        (0..n as u32).map(|i| (hash(i) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    fn close(got: f32, want: f64, scale: usize) -> bool {
        (f64::from(got) - want).abs() <= 1e-6 * scale as f64
    }

    #[test]
    fn every_set_and_form_agrees_with_f64() {
        for isa in Isa::available() {
            for (m, n, k) in [(1, 16, 1), (6, 64, 9), (7, 80, 33), (13, 48, 5), (5, 112, 64), (16, 32, 100)] {
                let (a, b) = (values(1, m * k), values(2, k * (n + 3)));
                for left in [Left::Plain, Left::Transposed] {
                    let at = |i: usize, j: usize| a[if left == Left::Plain { i * k + j } else { j * m + i }];
                    let a = Rows { data: &a, stride: if left == Left::Plain { k } else { m } };
                    for store in [Store::Replace, Store::Add] {
                        let mut c = vec![0.5f32; m * n];
                        let view = RowsMut { data: &mut c, stride: n };
                        product_with(isa, (m, n, k), left, a, Rows { data: &b, stride: n + 3 }, view, store);
                        for (index, got) in c.iter().enumerate() {
                            let (i, j) = (index / n, index % n);
                            let sum = |l| f64::from(at(i, l)) * f64::from(b[l * (n + 3) + j]);
                            let want = (0..k).map(sum).sum::<f64>() + if store == Store::Add { 0.5 } else { 0.0 };
                            assert!(close(*got, want, k), "{isa:?} {left:?} ({i}, {j}): {got}, expected {want}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn sums_over_tokens_agree_with_f64() {
        for isa in Isa::available() {
            for (m, n) in [(1, 1), (4, 6), (16, 13), (5, 7)] {
                // A whole tile, and a part of a narrower one.
                let tile = |a, b, stride, width| TilePair { a, b, stride, width };
                let tiles = [tile(0, 0, 64, 64), tile(64 * m + 16, 64 * n + 16, 48, 16)];
                let (a, b) = (values(3, 112 * m), values(4, 112 * n));
                let mut c = vec![0.0; m * n];
                sum_over_tokens_with(isa, (m, n), &tiles, &a, &b, RowsMut { data: &mut c, stride: n });
                for (index, got) in c.iter().enumerate() {
                    let (i, j) = (index / n, index % n);
                    let dot = |tile: &TilePair| -> f64 {
                        let (of_a, of_b) = (tile.a + i * tile.stride, tile.b + j * tile.stride);
                        (0..tile.width).map(|t| f64::from(a[of_a + t]) * f64::from(b[of_b + t])).sum()
                    };
                    assert!(close(*got, tiles.iter().map(dot).sum(), 80), "{isa:?} {m} × {n} at ({i}, {j})");
                }
            }
        }
    }
}
