//! The inner loops of the matrix product, written once over a vector register's lanes.
//!
//! A micro-kernel holds `M × V` vector registers of the result and walks the summed dimension once: one value of the
//! left operand is broadcast against `V` vectors of the right one. Sums run in order of the summed dimension, so a
//! value of the result depends neither on how rows and columns are divided nor on who computes them.

use super::TilePair;

/// A vector register of f32.
///
/// # Safety
/// Methods may only be called where the CPU has the register's instructions, with pointers that are valid for
/// [`Lanes::N`] values.
pub(super) trait Lanes: Copy {
    /// Values in a register.
    const N: usize;
    /// Rows of the result that a micro-kernel of [`Lanes::VECTORS`] vectors holds.
    const VECTORS: usize;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self + a · b`
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    unsafe fn sum(self) -> f32;
}

/// Rows of the result in one micro-kernel.
const M: usize = 6;

/// A view of a product `C (m × n) = A · B` in memory.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const f32,
    pub a_stride: usize,
    pub b: *const f32,
    pub b_stride: usize,
    pub c: *mut f32,
    pub c_stride: usize,
    /// Whether C keeps what it holds and the product is added.
    pub accumulate: bool,
}

/// `C = A·B`, or `C = Aᵀ·B` where `TRANSPOSED` (then A is stored `(k × m)`).
///
/// # Safety
/// The CPU has the instructions of `L`; pointers and strides of `p` are in bounds; `p.n` is a multiple of `L::N`.
#[inline(always)]
pub(super) unsafe fn product<L: Lanes, const TRANSPOSED: bool>(p: Product) {
    let mut column = 0;
    while column < p.n {
        let vectors = ((p.n - column) / L::N).min(L::VECTORS);
        // SAFETY: `column` stays below `n`; the caller vouches for the rest.
        unsafe {
            let part = Product { b: p.b.add(column), c: p.c.add(column), ..p };
            match vectors {
                1 => columns::<L, 1, TRANSPOSED>(part),
                2 => columns::<L, 2, TRANSPOSED>(part),
                3 => columns::<L, 3, TRANSPOSED>(part),
                _ => columns::<L, 4, TRANSPOSED>(part),
            }
        }
        column += vectors * L::N;
    }
}

/// All rows of `V` vectors of columns.
#[inline(always)]
unsafe fn columns<L: Lanes, const V: usize, const TRANSPOSED: bool>(p: Product) {
    let mut row = 0;
    while row < p.m {
        let rows = (p.m - row).min(M);
        // SAFETY: `row + rows` stays within `m`; the caller vouches for the rest.
        unsafe {
            let a = p.a.add(if TRANSPOSED { row } else { row * p.a_stride });
            let part = Product { a, c: p.c.add(row * p.c_stride), ..p };
            match rows {
                1 => micro::<L, 1, V, TRANSPOSED>(part),
                2 => micro::<L, 2, V, TRANSPOSED>(part),
                3 => micro::<L, 3, V, TRANSPOSED>(part),
                4 => micro::<L, 4, V, TRANSPOSED>(part),
                5 => micro::<L, 5, V, TRANSPOSED>(part),
                _ => micro::<L, M, V, TRANSPOSED>(part),
            }
        }
        row += rows;
    }
}

/// `ROWS × V` registers of the result.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
unsafe fn micro<L: Lanes, const ROWS: usize, const V: usize, const TRANSPOSED: bool>(p: Product) {
    // SAFETY: the caller vouches for the instructions and for `ROWS` rows and `V` vectors of columns in bounds.
    unsafe {
        let mut sums = [[L::splat(0.0); V]; ROWS];
        let (mut a, mut b) = (p.a, p.b);
        let (row, step) = if TRANSPOSED { (1, p.a_stride) } else { (p.a_stride, 1) };
        for _ in 0..p.k {
            let mut right = [L::splat(0.0); V];
            for v in 0..V {
                right[v] = L::load(b.add(v * L::N));
            }
            for r in 0..ROWS {
                let left = L::splat(*a.add(r * row));
                for v in 0..V {
                    sums[r][v] = sums[r][v].add_product(left, right[v]);
                }
            }
            a = a.add(step);
            b = b.add(p.b_stride);
        }
        for r in 0..ROWS {
            for v in 0..V {
                let c = p.c.add(r * p.c_stride + v * L::N);
                let sum = if p.accumulate { L::load(c).add_product(L::splat(1.0), sums[r][v]) } else { sums[r][v] };
                sum.store(c);
            }
        }
    }
}

/// Two tiled operands that share their tokens: `C (m × n) = A · Bᵀ`, summed over tokens.
#[derive(Clone, Copy)]
pub(super) struct Outer<'a> {
    pub tiles: &'a [TilePair],
    pub m: usize,
    pub n: usize,
    pub a: *const f32,
    pub b: *const f32,
    pub c: *mut f32,
    pub c_stride: usize,
}

/// Rows of A and of B whose products are summed side by side.
const OUTER_A: usize = 4;
const OUTER_B: usize = 6;

/// # Safety
/// As for [`product`]; each tile's width is a multiple of `L::N`.
#[inline(always)]
pub(super) unsafe fn outer<L: Lanes>(p: Outer<'_>) {
    let mut j = 0;
    while j < p.n {
        let columns = if p.n - j >= OUTER_B { OUTER_B } else { 1 };
        let mut i = 0;
        while i < p.m {
            let rows = if p.m - i >= OUTER_A { OUTER_A } else { 1 };
            // SAFETY: `i + rows` and `j + columns` stay within `m` and `n`; the caller vouches for the rest.
            unsafe {
                match (rows, columns) {
                    (OUTER_A, OUTER_B) => dots::<L, OUTER_A, OUTER_B>(p, i, j),
                    (OUTER_A, _) => dots::<L, OUTER_A, 1>(p, i, j),
                    (_, OUTER_B) => dots::<L, 1, OUTER_B>(p, i, j),
                    _ => dots::<L, 1, 1>(p, i, j),
                }
            }
            i += rows;
        }
        j += columns;
    }
}

/// `I × J` dot products over all tokens.
#[inline(always)]
unsafe fn dots<L: Lanes, const I: usize, const J: usize>(p: Outer<'_>, i: usize, j: usize) {
    // SAFETY: the caller vouches for the instructions and for rows `i..i + I` of A and `j..j + J` of B in each tile.
    unsafe {
        let mut sums = [[L::splat(0.0); J]; I];
        for &TilePair { a, b, stride, width } in p.tiles {
            let (a, b) = (p.a.add(a + i * stride), p.b.add(b + j * stride));
            let mut at = 0;
            while at < width {
                let mut right = [L::splat(0.0); J];
                for (c, value) in right.iter_mut().enumerate() {
                    *value = L::load(b.add(c * stride + at));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let left = L::load(a.add(r * stride + at));
                    for c in 0..J {
                        sums[c] = sums[c].add_product(left, right[c]);
                    }
                }
                at += L::N;
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (c, sum) in sums.iter().enumerate() {
                *p.c.add((i + r) * p.c_stride + j + c) = sum.sum();
            }
        }
    }
}
