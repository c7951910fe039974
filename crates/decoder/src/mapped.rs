//! A frozen matrix where it lies: rows of files, in the types and the order that the files have.
//!
//! A matrix is a list of segments, each some rows of one source. So gate and up of different types are one matrix, and
//! a permuted or split one is no copy. Rows are decoded into the caller's scratch whenever they are needed, forward and
//! backward alike.

use std::ops::Range;
use std::sync::Arc;

use blocks::BlockError;
use model::StoredType;
use model::row_map::Rows;

use crate::rows::{RowSource, ValueRows};

/// Why a matrix could not be put together or read.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// A type without codec.
    #[error("cannot decode rows")]
    Codec(#[from] BlockError),
    /// A row that fills no whole number of blocks.
    #[error("rows of {columns} values fill no whole number of `{stored_type}` blocks")]
    PartialBlock {
        /// The type.
        stored_type: StoredType,
        /// Values in a row.
        columns: usize,
    },
    /// A row that is no whole number of groups.
    #[error("rows of {columns} values are no whole number of groups of {group_size}")]
    PartialGroup {
        /// Values of a group.
        group_size: usize,
        /// Values in a row.
        columns: usize,
    },
    /// A segment that names rows which its source lacks.
    #[error("row {row} is asked for, but its source has {rows} rows")]
    MissingRow {
        /// The greatest row asked for.
        row: u64,
        /// How many there are.
        rows: u64,
    },
    /// A source of another width than the matrix.
    #[error("a source has {got} columns, expected {expected}")]
    Columns {
        /// Of the source.
        got: usize,
        /// Of the matrix.
        expected: usize,
    },
    /// Rows of a matrix that is only planned.
    #[error("the matrix is only planned: it has a shape and no values")]
    Unread,
    /// A reader that is not ours, such as an extension's.
    #[error("cannot decode rows")]
    Foreign(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Some rows of one source.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Where they lie.
    pub source: Arc<dyn RowSource>,
    /// Which, in order.
    pub rows: Rows,
}

/// `rows × columns` values, decoded by the row.
#[derive(Debug, Clone)]
pub struct MappedMatrix {
    rows: usize,
    columns: usize,
    granularity: usize,
    /// Each with the matrix's row at which it begins.
    segments: Vec<(usize, Segment)>,
}

impl MappedMatrix {
    /// The rows of `segments`, one after the other.
    ///
    /// # Errors
    /// Where a source is not `columns` wide, or lacks a row that its segment names.
    pub fn new(columns: usize, segments: Vec<Segment>) -> Result<Self, MatrixError> {
        let mut matrix = Self { rows: 0, columns, granularity: 1, segments: Vec::with_capacity(segments.len()) };
        for segment in segments {
            if segment.source.columns() != columns {
                return Err(MatrixError::Columns { got: segment.source.columns(), expected: columns });
            }
            let greatest = match &segment.rows {
                Rows::Range { first, count } => (*count > 0).then(|| first.saturating_add(*count - 1)),
                Rows::List(rows) => rows.iter().max().map(|row| u64::from(*row)),
            };
            let rows = segment.source.rows();
            if let Some(row) = greatest.filter(|row| *row >= rows) {
                return Err(MatrixError::MissingRow { row, rows });
            }
            matrix.granularity = least_common_multiple(matrix.granularity, segment.source.granularity());
            let first = matrix.rows;
            matrix.rows += segment.rows.count() as usize;
            matrix.segments.push((first, segment));
        }
        Ok(matrix)
    }

    /// A matrix of values in memory, row after row.
    ///
    /// # Errors
    /// As [`MappedMatrix::new`].
    pub fn of_values(columns: usize, values: Vec<f32>) -> Result<Self, MatrixError> {
        let source = ValueRows::new(values, columns);
        let rows = Rows::Range { first: 0, count: source.rows() };
        Self::new(columns, vec![Segment { source: Arc::new(source), rows }])
    }

    /// Some of the rows, which lie within the matrix, as a matrix of their own.
    pub fn of_rows(&self, rows: Range<usize>) -> Self {
        let mut part = Self { rows: rows.len(), columns: self.columns, granularity: 1, segments: Vec::new() };
        for (first, segment) in &self.segments {
            let end = first + segment.rows.count() as usize;
            let own = rows.start.max(*first)..rows.end.min(end);
            if own.is_empty() {
                continue;
            }
            let within = own.start - first..own.end - first;
            let source = Arc::clone(&segment.source);
            part.granularity = least_common_multiple(part.granularity, source.granularity());
            part.segments.push((own.start - rows.start, Segment { source, rows: some_of(&segment.rows, within) }));
        }
        part
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Parts of rows begin and end at multiples of this.
    pub fn granularity(&self) -> usize {
        self.granularity
    }

    /// Decodes `columns` of `rows`, one row after the other; both ranges lie within the matrix, and `columns` begins
    /// and ends at multiples of [`MappedMatrix::granularity`].
    ///
    /// # Errors
    /// Where a codec that is not ours fails.
    pub fn decode(&self, rows: Range<usize>, columns: Range<usize>, into: &mut [f32]) -> Result<(), MatrixError> {
        if rows.is_empty() || columns.is_empty() {
            return Ok(());
        }
        let mut at = self.segments.partition_point(|(first, _)| *first <= rows.start) - 1;
        for (row, into) in rows.zip(into.chunks_exact_mut(columns.len())) {
            while self.segments.get(at + 1).is_some_and(|(first, _)| *first <= row) {
                at += 1;
            }
            let (first, segment) = &self.segments[at];
            segment.source.decode(segment.rows.get((row - first) as u64), columns.clone(), into)?;
        }
        Ok(())
    }
}

fn some_of(rows: &Rows, range: Range<usize>) -> Rows {
    match rows {
        Rows::Range { first, .. } => Rows::Range { first: first + range.start as u64, count: range.len() as u64 },
        Rows::List(rows) => Rows::List(rows[range].to_vec()),
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use blocks::GroupAffineDecoder;

    use super::*;
    use crate::rows::{Bytes, PackedRows, StoredRows};

    fn stored(stored_type: StoredType, columns: usize, values: &[f32]) -> Arc<dyn RowSource> {
        let mut bytes = vec![0; stored_type.row_bytes(values.len() as u64).unwrap() as usize];
        blocks::encode_rows(stored_type, values, &mut bytes).unwrap();
        let place = 0..bytes.len();
        Arc::new(StoredRows::new(Arc::new(bytes), place, stored_type, columns, Vec::new()).unwrap())
    }

    #[test]
    fn segments_of_different_types_are_one_matrix() {
        let values: Vec<f32> = (0..64 * 4).map(|i| (i % 16) as f32).collect();
        let (gate, up) = (stored(StoredType::Q8_0, 64, &values), stored(StoredType::Bf16, 64, &values));
        let rows = [Rows::List(vec![3, 1]), Rows::Range { first: 2, count: 2 }];
        let segments = [gate, up].into_iter().zip(rows).map(|(source, rows)| Segment { source, rows }).collect();
        let matrix = MappedMatrix::new(64, segments).unwrap();
        assert_eq!((matrix.rows(), matrix.granularity()), (4, 32));
        let mut part = vec![0.0; 3 * 32];
        matrix.decode(1..4, 32..64, &mut part).unwrap();
        for (i, row) in [1, 2, 3].into_iter().enumerate() {
            let want = &values[row * 64 + 32..row * 64 + 64];
            assert!(part[i * 32..i * 32 + 32].iter().zip(want).all(|(a, b)| (a - b).abs() < 0.1));
        }
        for rows in [0..1, 1..3, 2..4, 0..4] {
            let own = matrix.of_rows(rows.clone());
            let (mut got, mut want) = (vec![0.0; rows.len() * 64], vec![0.0; rows.len() * 64]);
            own.decode(0..rows.len(), 0..64, &mut got).unwrap();
            matrix.decode(rows.clone(), 0..64, &mut want).unwrap();
            assert_eq!((own.rows(), own.granularity()), (rows.len(), if rows.start < 2 { 32 } else { 1 }));
            assert_eq!(got, want, "{rows:?}");
        }
    }

    #[test]
    fn packed_rows_are_decoded_in_part() {
        // Two rows of 64 values in groups of 32; of 4 bits, integer i is i % 16, scaled by the number of its group.
        let codes: Vec<u8> = (0..64).map(|i| (2 * i % 16) | ((2 * i + 1) % 16) << 4).collect();
        let f32s = |values: [f32; 4]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let parts = [codes, f32s([1.0, 2.0, 3.0, 4.0]), f32s([0.5; 4])].map(|bytes| -> Bytes { Arc::new(bytes) });
        let decoder = GroupAffineDecoder::new(4, 32, [StoredType::F32; 2]).unwrap();
        let rows = PackedRows::new(parts.clone(), decoder.clone(), 64).unwrap();
        let segment = Segment { source: Arc::new(rows), rows: Rows::List(vec![1, 0]) };
        let matrix = MappedMatrix::new(64, vec![segment]).unwrap();
        assert_eq!((matrix.rows(), matrix.granularity()), (2, 32));
        let mut part = vec![0.0; 2 * 32];
        matrix.decode(0..2, 32..64, &mut part).unwrap();
        let want = |scale: f32| (0..32).map(move |i| scale * (i % 16) as f32 + 0.5);
        assert_eq!(part, want(4.0).chain(want(2.0)).collect::<Vec<f32>>());
        let partial = PackedRows::new(parts, decoder, 48);
        assert!(matches!(partial, Err(MatrixError::PartialGroup { group_size: 32, columns: 48 })));
    }

    #[test]
    fn what_a_file_lacks_is_an_error() {
        let source = stored(StoredType::Q8_0, 64, &[0.0; 64]);
        let segment = Segment { source: source.clone(), rows: Rows::Range { first: 0, count: 2 } };
        assert!(matches!(MappedMatrix::new(64, vec![segment]), Err(MatrixError::MissingRow { row: 1, rows: 1 })));
        let segment = Segment { source, rows: Rows::List(vec![]) };
        assert!(matches!(MappedMatrix::new(32, vec![segment]), Err(MatrixError::Columns { got: 64, expected: 32 })));
        let short: Bytes = Arc::new(vec![0u8; 10]);
        let partial = StoredRows::new(short, 0..10, StoredType::Q4K, 64, Vec::new());
        assert!(matches!(partial, Err(MatrixError::PartialBlock { columns: 64, .. })));
    }
}
