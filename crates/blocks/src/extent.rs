//! What a quantizer asks about the values of a block as a whole.

/// The largest magnitude; NaN where a value is.
///
/// Magnitudes order as their bits do, and a maximum of integers can be vectorized.
#[inline(always)]
pub(crate) fn largest_magnitude<const LEN: usize>(values: &[f32; LEN]) -> f32 {
    f32::from_bits(values.iter().fold(0, |largest, value| value.abs().to_bits().max(largest)))
}

/// The least and the greatest value as C's comparisons find them one after the other: of zeros of both signs the first.
#[inline(always)]
pub(crate) fn range(values: &[f32; 32]) -> (f32, f32) {
    const LANES: usize = 8;
    let (mut least, mut greatest) = ([f32::MAX; LANES], [-f32::MAX; LANES]);
    for some in values.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            let v = some[lane];
            least[lane] = if v < least[lane] { v } else { least[lane] };
            greatest[lane] = if v > greatest[lane] { v } else { greatest[lane] };
        }
    }
    let min = least.into_iter().fold(f32::MAX, |min, v| if v < min { v } else { min });
    let max = greatest.into_iter().fold(-f32::MAX, |max, v| if v > max { v } else { max });
    let first = |extreme: f32| match extreme == 0.0 {
        true => values.iter().copied().find(|v| *v == 0.0).unwrap_or(extreme),
        false => extreme,
    };
    (first(min), first(max))
}

/// Whether no value is NaN or infinite. Comparisons alone pass over a NaN in silence.
#[inline(always)]
pub(crate) fn all_finite<const LEN: usize>(values: &[f32; LEN]) -> bool {
    values.iter().fold(true, |all, value| all & value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_zeros_counts() {
        for (a, b) in [(0.0f32, -0.0f32), (-0.0, 0.0)] {
            let mut values = [b; 32];
            values[0] = a;
            let (min, max) = range(&values);
            assert_eq!((min.to_bits(), max.to_bits()), (a.to_bits(), a.to_bits()));
            values[7] = 3.0;
            let (min, max) = range(&values);
            assert_eq!((min.to_bits(), max), (a.to_bits(), 3.0));
            values[7] = -3.0;
            let (min, max) = range(&values);
            assert_eq!((min, max.to_bits()), (-3.0, a.to_bits()));
        }
    }

    #[test]
    fn every_lane_is_seen() {
        for at in 0..32 {
            let mut values = [1.0; 32];
            values[at] = 2.0;
            assert_eq!(range(&values), (1.0, 2.0));
            values[at] = 0.5;
            assert_eq!(range(&values), (0.5, 1.0));
        }
    }
}
