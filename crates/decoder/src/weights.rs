//! Where a network's frozen weights come from.

use crate::error::{DecoderError, Result};
use crate::mapped::MappedMatrix;

/// Gives tensors by their canonical names. A checkpoint's view implements it; so does whoever only plans.
pub trait Weights {
    /// The matrix `name`, `(rows, columns)`.
    ///
    /// # Errors
    /// Where there is none of that name and shape, or no codec for its type.
    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<MappedMatrix>;

    /// The matrices, `(rows, columns)` each, that lie one after the other in the tensor `name`,
    /// `(count, rows, columns)`.
    ///
    /// # Errors
    /// As [`Weights::matrix`].
    fn stacked(&self, name: &str, [count, rows, columns]: [usize; 3]) -> Result<Vec<MappedMatrix>> {
        let whole = self.matrix(name, [count * rows, columns])?;
        Ok((0..count).map(|i| whole.of_rows(i * rows..(i + 1) * rows)).collect())
    }

    /// The vector `name`, `(len)`.
    ///
    /// # Errors
    /// As [`Weights::matrix`].
    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>>;
}

/// Holds the shape that was found against the one that was asked for.
///
/// # Errors
/// Where they differ.
pub fn check_shape(name: &str, got: &[usize], expected: &[usize]) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(DecoderError::Shape { name: name.to_owned(), got: got.to_vec(), expected: expected.to_vec() })
}
