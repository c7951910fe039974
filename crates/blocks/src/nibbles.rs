//! 4-bit integers in bytes, in the order that Q4, Q5 and IQ4 blocks share.
//!
//! Packing and arithmetic are two loops over bytes in memory, and [`black_box`] keeps the compiler from merging them:
//! merged, they are unrolled before they are vectorized, and run at a quarter of the speed.

use std::hint::black_box;

/// The 32 integers of 16 bytes: all low nibbles, then all high ones.
#[inline(always)]
pub(crate) fn unpack(qs: &[u8; 16]) -> [u8; 32] {
    let mut quants = [0; 32];
    for j in 0..16 {
        quants[j] = qs[j] & 0x0F;
        quants[j + 16] = qs[j] >> 4;
    }
    black_box(quants)
}

/// The inverse of [`unpack`], for integers below 16.
#[inline(always)]
pub(crate) fn pack(quants: [u8; 32]) -> [u8; 16] {
    let quants = black_box(quants);
    let mut qs = [0; 16];
    for j in 0..16 {
        qs[j] = quants[j] | quants[j + 16] << 4;
    }
    qs
}
