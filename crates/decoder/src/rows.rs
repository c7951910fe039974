//! Where rows of frozen matrices come from: bytes of a stored type, values in memory, or nothing but a shape.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use blocks::{BlockError, GroupAffineDecoder, GroupAffineRows};
use model::StoredType;
use model::expr::Pointwise;

use crate::mapped::MatrixError;

/// Rows of equal width that can be decoded, whole or in part.
pub trait RowSource: Send + Sync + fmt::Debug {
    /// The number of rows.
    fn rows(&self) -> u64;

    /// Values in a row.
    fn columns(&self) -> usize;

    /// Parts of a row begin and end at multiples of this.
    fn granularity(&self) -> usize;

    /// Decodes `columns` of `row` into `into`, which is as long as the range.
    fn decode(&self, row: u64, columns: Range<usize>, into: &mut [f32]) -> Result<(), MatrixError>;
}

/// Bytes that somebody keeps in memory or mapped.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Rows of a stored type, as they lie in a file.
#[derive(Clone)]
pub struct StoredRows {
    bytes: Bytes,
    start: usize,
    rows: u64,
    columns: usize,
    stored_type: StoredType,
    decoder: &'static blocks::Decoder,
    ops: Vec<Pointwise>,
}

impl StoredRows {
    /// Rows of `columns` values that fill `place` of `bytes`; `ops` are applied to each value in order.
    ///
    /// # Errors
    /// Where the type has no decoder or a row fills no whole number of blocks.
    pub fn new(
        bytes: Bytes,
        place: Range<usize>,
        stored_type: StoredType,
        columns: usize,
        ops: Vec<Pointwise>,
    ) -> Result<Self, MatrixError> {
        let decoder = blocks::decoder(stored_type).ok_or(BlockError::NoDecoder { stored_type })?;
        let row_bytes = stored_type.row_bytes(columns as u64).filter(|bytes| *bytes > 0);
        let row_bytes = row_bytes.ok_or(MatrixError::PartialBlock { stored_type, columns })?;
        let available = (*bytes).as_ref().get(place.clone()).map_or(0, <[u8]>::len) as u64;
        Ok(Self { bytes, start: place.start, rows: available / row_bytes, columns, stored_type, decoder, ops })
    }

    /// Bytes that `values` of a row take.
    fn bytes_of(&self, values: usize) -> usize {
        values / self.granularity() * self.stored_type.block_bytes() as usize
    }
}

impl fmt::Debug for StoredRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} {}", self.rows, self.columns, self.stored_type)
    }
}

impl RowSource for StoredRows {
    fn rows(&self) -> u64 {
        self.rows
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn granularity(&self) -> usize {
        self.stored_type.block_len() as usize
    }

    fn decode(&self, row: u64, columns: Range<usize>, into: &mut [f32]) -> Result<(), MatrixError> {
        let start = self.start + row as usize * self.bytes_of(self.columns) + self.bytes_of(columns.start);
        let bytes = &(*self.bytes).as_ref()[start..start + self.bytes_of(columns.len())];
        self.decoder.decode(bytes, into)?;
        for op in &self.ops {
            into.iter_mut().for_each(|value| *value = op.apply(*value));
        }
        Ok(())
    }
}

/// Rows of packed integers with scales and biases, as they lie in a file.
#[derive(Clone)]
pub struct PackedRows {
    /// Packed integers, scales, biases.
    bytes: [Bytes; 3],
    decoder: GroupAffineDecoder,
    rows: u64,
    columns: usize,
}

impl PackedRows {
    /// Rows of `columns` values that fill the bytes of packed integers, scales and biases.
    ///
    /// # Errors
    /// Where a row is no whole number of groups.
    pub fn new(bytes: [Bytes; 3], decoder: GroupAffineDecoder, columns: usize) -> Result<Self, MatrixError> {
        let group_size = decoder.group_size();
        if columns == 0 || !columns.is_multiple_of(group_size) {
            return Err(MatrixError::PartialGroup { group_size, columns });
        }
        let of_row = decoder.bytes_of(columns);
        let available = bytes.iter().zip(of_row).map(|(bytes, of_row)| (**bytes).as_ref().len() / of_row);
        let rows = available.min().unwrap_or(0) as u64;
        Ok(Self { bytes, decoder, rows, columns })
    }
}

impl fmt::Debug for PackedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} packed in groups of {}", self.rows, self.columns, self.decoder.group_size())
    }
}

impl RowSource for PackedRows {
    fn rows(&self) -> u64 {
        self.rows
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn granularity(&self) -> usize {
        self.decoder.group_size()
    }

    fn decode(&self, row: u64, columns: Range<usize>, into: &mut [f32]) -> Result<(), MatrixError> {
        let starts = self.decoder.bytes_of(row as usize * self.columns + columns.start);
        let lens = self.decoder.bytes_of(columns.len());
        let part = |i: usize| &(*self.bytes[i]).as_ref()[starts[i]..starts[i] + lens[i]];
        Ok(self.decoder.decode(GroupAffineRows { codes: part(0), scales: part(1), biases: part(2) }, into)?)
    }
}

/// Rows that are in memory as f32: constants of a view, and tests.
#[derive(Debug, Clone)]
pub struct ValueRows {
    values: Vec<f32>,
    columns: usize,
}

impl ValueRows {
    /// Rows of `columns` values, one after the other.
    pub fn new(values: Vec<f32>, columns: usize) -> Self {
        Self { values, columns }
    }
}

impl RowSource for ValueRows {
    fn rows(&self) -> u64 {
        self.values.len().checked_div(self.columns).unwrap_or(0) as u64
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn granularity(&self) -> usize {
        1
    }

    fn decode(&self, row: u64, columns: Range<usize>, into: &mut [f32]) -> Result<(), MatrixError> {
        let start = row as usize * self.columns;
        into.copy_from_slice(&self.values[start + columns.start..start + columns.end]);
        Ok(())
    }
}

/// Rows that have a shape and no values: a plan's.
#[derive(Debug, Clone)]
pub struct UnreadRows {
    /// The number of rows.
    pub rows: u64,
    /// Values in a row.
    pub columns: usize,
}

impl RowSource for UnreadRows {
    fn rows(&self) -> u64 {
        self.rows
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn granularity(&self) -> usize {
        1
    }

    fn decode(&self, _: u64, _: Range<usize>, _: &mut [f32]) -> Result<(), MatrixError> {
        Err(MatrixError::Unread)
    }
}
