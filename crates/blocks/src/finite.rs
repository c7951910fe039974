//! Finds values of plain floats that are no numbers, at the speed of memory where there is none.

use model::StoredType;

use crate::isa::{Vectorized, widest};

/// Which of the values, as they lie, is the first NaN or infinity. Types of blocks are not looked into: whether their
/// scales are numbers shows when they are decoded.
pub fn first_not_finite(stored_type: StoredType, bytes: &[u8]) -> Option<usize> {
    match stored_type {
        StoredType::F32 => first_from::<[u8; 4]>(bytes.as_chunks().0, f32::INFINITY.to_bits()),
        StoredType::F16 => first_from::<[u8; 2]>(bytes.as_chunks().0, 0x7C00),
        StoredType::Bf16 => first_from::<[u8; 2]>(bytes.as_chunks().0, 0x7F80),
        _ => None,
    }
}

/// The same of decoded values.
pub fn first_not_finite_value(values: &[f32]) -> Option<usize> {
    first_from(values, f32::INFINITY.to_bits())
}

/// The first value whose magnitude is that of infinity, or behind it, as NaN is.
fn first_from<F: Float>(values: &[F], infinity: F::Bits) -> Option<usize> {
    let is_it = |value: &F| value.magnitude() >= infinity;
    (widest(LargestMagnitude(values)) >= infinity).then(|| values.iter().position(is_it)).flatten()
}

/// A float, decoded or as it lies in little-endian bytes.
trait Float {
    /// Unsigned.
    type Bits: Copy + Default + Ord;

    /// Its bits without the sign, which are in the order of the magnitudes.
    fn magnitude(&self) -> Self::Bits;
}

impl Float for f32 {
    type Bits = u32;

    #[inline(always)]
    fn magnitude(&self) -> u32 {
        self.to_bits() & 0x7FFF_FFFF
    }
}

impl Float for [u8; 4] {
    type Bits = u32;

    #[inline(always)]
    fn magnitude(&self) -> u32 {
        u32::from_le_bytes(*self) & 0x7FFF_FFFF
    }
}

impl Float for [u8; 2] {
    type Bits = u16;

    #[inline(always)]
    fn magnitude(&self) -> u16 {
        u16::from_le_bytes(*self) & 0x7FFF
    }
}

struct LargestMagnitude<'a, F>(&'a [F]);

impl<F: Float> Vectorized for LargestMagnitude<'_, F> {
    type Output = F::Bits;

    #[inline(always)]
    fn run(self) -> F::Bits {
        let mut largest = F::Bits::default();
        for value in self.0 {
            largest = largest.max(value.magnitude());
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::encode_rows;

    #[test]
    fn every_place_and_kind_is_found() {
        for stored_type in [StoredType::F32, StoredType::F16, StoredType::Bf16] {
            let bytes = stored_type.block_bytes() as usize;
            let found = |values: &[f32]| {
                let mut encoded = vec![0; values.len() * bytes];
                encode_rows(stored_type, values, &mut encoded).unwrap();
                first_not_finite(stored_type, &encoded)
            };
            let mut good = vec![-1.0, 65504.0, -65504.0, 0.0, -0.0, 6e-8];
            good.resize(67, 1.0);
            assert_eq!((found(&good), first_not_finite_value(&good)), (None, None));
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in 0..good.len() {
                    let mut values = good.clone();
                    values[at] = bad;
                    assert_eq!(found(&values), Some(at), "{stored_type}");
                    assert_eq!(first_not_finite_value(&values), Some(at));
                }
            }
        }
        assert_eq!(first_not_finite(StoredType::F32, &[]), None);
        assert_eq!(first_not_finite(StoredType::Q8_0, &[0xFF; 34]), None);
    }
}
