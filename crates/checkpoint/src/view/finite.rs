//! Finds values that are no numbers, at the speed of memory where there is none.

use blocks::Vectorized;

/// Where the first NaN or infinity is.
pub(super) fn first_not_finite(values: &[f32]) -> Option<usize> {
    if blocks::widest(LargestMagnitude(values)) < f32::INFINITY.to_bits() {
        return None;
    }
    values.iter().position(|value| !value.is_finite())
}

/// The largest value but for its sign, as bits, which are in the order of the values with infinity and NaN behind all.
struct LargestMagnitude<'a>(&'a [f32]);

impl Vectorized for LargestMagnitude<'_> {
    type Output = u32;

    #[inline(always)]
    fn run(self) -> u32 {
        const SIGN: u32 = 1 << 31;
        let mut largest = 0;
        for value in self.0 {
            largest = largest.max(value.to_bits() & !SIGN);
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_and_kind_is_found() {
        let mut values = vec![-1.0, f32::MIN, f32::MAX, 0.0, f32::MIN_POSITIVE, -1e-42];
        values.resize(67, -0.0);
        assert_eq!(first_not_finite(&values), None);
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..values.len() {
                let mut values = values.clone();
                values[at] = bad;
                assert_eq!(first_not_finite(&values), Some(at));
            }
        }
        assert_eq!(first_not_finite(&[]), None);
    }
}
