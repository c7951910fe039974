//! Finds values of plain floats that are no numbers, at the speed of memory where there is none.

use model::StoredType;

use crate::isa::{Vectorized, widest};

/// Which of the values, as they lie, is the first NaN or infinity; `None` where there is none, and for types of blocks,
/// whose values are all made of the same scale.
pub fn first_not_finite(stored_type: StoredType, bytes: &[u8]) -> Option<usize> {
    match stored_type {
        StoredType::F32 => {
            let infinity = f32::INFINITY.to_bits();
            let is_it = |b: &[u8; 4]| u32::from_le_bytes(*b) & !(1 << 31) >= infinity;
            let values = bytes.as_chunks().0;
            (widest(Largest32(values)) >= infinity).then(|| values.iter().position(is_it)).flatten()
        }
        StoredType::F16 => in_halves(bytes, 0x7C00),
        StoredType::Bf16 => in_halves(bytes, 0x7F80),
        _ => None,
    }
}

/// The same of decoded values.
pub fn first_not_finite_value(values: &[f32]) -> Option<usize> {
    let is_bad = widest(Largest(values)) >= f32::INFINITY.to_bits();
    is_bad.then(|| values.iter().position(|value| !value.is_finite())).flatten()
}

fn in_halves(bytes: &[u8], infinity: u16) -> Option<usize> {
    let values = bytes.as_chunks().0;
    let is_it = |b: &[u8; 2]| u16::from_le_bytes(*b) & 0x7FFF >= infinity;
    (widest(Largest16(values)) >= infinity).then(|| values.iter().position(is_it)).flatten()
}

/// The largest magnitude as bits, which are in the order of the values, with infinity and NaN behind all.
struct Largest32<'a>(&'a [[u8; 4]]);

/// The same of two bytes.
struct Largest16<'a>(&'a [[u8; 2]]);

/// The same of decoded values.
struct Largest<'a>(&'a [f32]);

impl Vectorized for Largest<'_> {
    type Output = u32;

    #[inline(always)]
    fn run(self) -> u32 {
        let mut largest = 0;
        for value in self.0 {
            largest = largest.max(value.to_bits() & 0x7FFF_FFFF);
        }
        largest
    }
}

impl Vectorized for Largest32<'_> {
    type Output = u32;

    #[inline(always)]
    fn run(self) -> u32 {
        let mut largest = 0;
        for value in self.0 {
            largest = largest.max(u32::from_le_bytes(*value) & 0x7FFF_FFFF);
        }
        largest
    }
}

impl Vectorized for Largest16<'_> {
    type Output = u16;

    #[inline(always)]
    fn run(self) -> u16 {
        let mut largest = 0;
        for value in self.0 {
            largest = largest.max(u16::from_le_bytes(*value) & 0x7FFF);
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
