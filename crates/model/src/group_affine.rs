//! mlx's affine quantization: packed integers, with a scale and a bias for each group of a row.

use serde::{Deserialize, Serialize};

use crate::expr::ExprError;
use crate::row_map::Shapes;

/// Three stored tensors that are one: value `i` of a row is `scale[i / group_size] · q[i] + bias[i / group_size]`, in
/// `f32`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupAffine {
    /// Integers of `bits` each, packed from the lowest bit on: `u32`, `[…, columns · bits / 32]`.
    pub codes: String,
    /// `[…, columns / group_size]`.
    pub scales: String,
    /// As the scales.
    pub biases: String,
    /// Of an integer.
    pub bits: u32,
    /// Values that share a scale and a bias.
    pub group_size: u64,
}

impl GroupAffine {
    /// Bits of an integer that mlx knows.
    pub const BITS: [u32; 7] = [1, 2, 3, 4, 5, 6, 8];
    /// Sizes of groups that mlx knows.
    pub const GROUP_SIZES: [u64; 3] = [32, 64, 128];

    /// The names of the stored tensors.
    pub fn tensors(&self) -> [&str; 3] {
        [&self.codes, &self.scales, &self.biases]
    }

    /// The shape of the values, outermost first.
    ///
    /// # Errors
    /// Where a stored tensor is missing, or the three do not fit each other.
    pub fn shape(&self, shapes: &Shapes<'_>) -> Result<Vec<u64>, ExprError> {
        if !Self::BITS.contains(&self.bits) || !Self::GROUP_SIZES.contains(&self.group_size) {
            return Err(ExprError::UnknownGroups { bits: self.bits, group_size: self.group_size });
        }
        let stored = |name: &str| shapes(name).ok_or_else(|| ExprError::MissingTensor { name: name.to_owned() });
        let [codes, scales, biases] = [stored(&self.codes)?, stored(&self.scales)?, stored(&self.biases)?];
        self.joined(&codes, &scales, &biases).ok_or(ExprError::UnlikeGroups {
            bits: self.bits,
            group_size: self.group_size,
            codes,
            scales,
            biases,
        })
    }

    fn joined(&self, codes: &[u64], scales: &[u64], biases: &[u64]) -> Option<Vec<u64>> {
        let (words, outer) = codes.split_last()?;
        let (groups, of_scales) = scales.split_last()?;
        let columns = groups.checked_mul(self.group_size)?;
        let packed = columns.checked_mul(u64::from(self.bits))?;
        let fits = words.checked_mul(32) == Some(packed) && of_scales == outer && biases == scales;
        fits.then(|| [outer, &[columns]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(bits: u32, group_size: u64, shapes: [&[u64]; 3]) -> Result<Vec<u64>, ExprError> {
        let [codes, scales, biases] = ["w", "s", "b"].map(String::from);
        let of = |name: &str| Some(shapes["wsb".find(name)?].to_vec());
        GroupAffine { codes, scales, biases, bits, group_size }.shape(&of)
    }

    #[test]
    fn values_are_as_many_as_groups_hold() {
        assert_eq!(shape(4, 64, [&[6, 48], &[6, 6], &[6, 6]]), Ok(vec![6, 384]));
        assert_eq!(shape(3, 32, [&[2, 6, 36], &[2, 6, 12], &[2, 6, 12]]), Ok(vec![2, 6, 384]));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let unlike: [[&[u64]; 3]; 6] = [
            [&[6, 47], &[6, 6], &[6, 6]],
            [&[6, 48], &[5, 6], &[5, 6]],
            [&[6, 48], &[6, 6], &[6, 5]],
            [&[6, 48], &[36], &[36]],
            [&[], &[6, 6], &[6, 6]],
            [&[6, 48], &[6, u64::MAX], &[6, u64::MAX]],
        ];
        for shapes in unlike {
            assert!(matches!(shape(4, 64, shapes), Err(ExprError::UnlikeGroups { .. })), "{shapes:?}");
        }
        for (bits, group_size) in [(7, 64), (0, 64), (4, 0), (4, 48), (4, u64::MAX)] {
            let unknown = shape(bits, group_size, [&[6, 48], &[6, 6], &[6, 6]]);
            assert_eq!(unknown, Err(ExprError::UnknownGroups { bits, group_size }));
        }
    }
}
