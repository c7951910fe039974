//! A tensor that a header describes, and where its bytes lie.

use model::description::StoredTensor;

/// A tensor and the range of its file that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedTensor {
    /// Name, stored type and shape.
    pub tensor: StoredTensor,
    /// First byte of the data, counted from the start of the file.
    pub offset: u64,
    /// Bytes of the data.
    pub bytes: u64,
}

impl LocatedTensor {
    /// The tensor's bytes in the whole file's bytes.
    ///
    /// Every header reader has checked that the range lies inside the file it read, so a slice of that same file
    /// always has it; of another, shorter slice nothing is returned.
    pub fn slice<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        let range = usize::try_from(self.offset).ok().zip(usize::try_from(self.bytes).ok());
        range.and_then(|(start, len)| file.get(start..start.checked_add(len)?)).unwrap_or_default()
    }
}

/// Values in a row, the innermost dimension; 1 for a scalar.
pub(crate) fn columns(tensor: &StoredTensor) -> u64 {
    tensor.shape.last().copied().unwrap_or(1)
}

/// Bytes of the data; `None` where a row fills no whole number of blocks or the product overflows.
pub(crate) fn byte_len(tensor: &StoredTensor) -> Option<u64> {
    tensor.stored_type.tensor_bytes(&tensor.shape)
}
