//! Rows of one tensor: as they lie where nothing changes them, else merged in `f32`.

use std::borrow::Cow;
use std::ops::Range;

use blocks::{BlockError, Decoder, GroupAffineDecoder, GroupAffineRows, first_not_finite, first_not_finite_value};
use model::description::StoredTensor;
use model::expr::{Expr, Pointwise};
use model::row_map::{Leaf, RowSegment, RowSource, Rows};
use model::{GroupAffine, RowMap, StoredType};

use super::delta::Delta;
use super::runs::{Run, runs};
use super::{ModelView, ViewError};

/// Reads a tensor by ranges of rows, from any number of threads at once.
#[derive(Debug)]
pub struct RowReader<'a> {
    name: String,
    map: RowMap,
    /// By source of the map.
    sources: Vec<Source<'a>>,
    delta: Option<Delta<'a>>,
}

/// Rows as they lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRows<'a> {
    /// How the values lie.
    pub stored_type: StoredType,
    /// Whole rows, one after the other.
    pub bytes: &'a [u8],
}

/// A run of a tensor's rows in what a file stores.
#[derive(Debug, Clone, Copy)]
pub struct StoredSegment<'a> {
    /// What the file stores.
    pub stored: StoredBytes<'a>,
    /// Which of its rows, in order.
    pub rows: &'a Rows,
}

/// All bytes of what a file stores as one, where they lie.
#[derive(Debug, Clone, Copy)]
pub enum StoredBytes<'a> {
    /// A tensor.
    Tensor {
        /// How the values lie.
        stored_type: StoredType,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// Packed integers with scales and biases.
    GroupAffine {
        /// How the values lie.
        decoder: &'a GroupAffineDecoder,
        /// The three tensors' bytes.
        bytes: GroupAffineRows<'a>,
    },
}

/// Where rows come from.
#[derive(Debug)]
enum Source<'a> {
    Stored {
        tensor: &'a StoredTensor,
        bytes: &'a [u8],
        row_bytes: usize,
        decoder: Option<&'static Decoder>,
    },
    GroupAffine {
        decoder: GroupAffineDecoder,
        bytes: GroupAffineRows<'a>,
    },
    /// Values that the family computed.
    Constant(Vec<f32>),
}

impl<'a> RowReader<'a> {
    pub(super) fn new(view: &'a ModelView, name: &str, expr: &Expr) -> Result<Self, ViewError> {
        for canonical in expr.tensors() {
            view.stored_expr(canonical)?;
        }
        let stored = expr.substitute(&|canonical| view.stored_expr(canonical).ok().map(Cow::into_owned));
        let shapes = |stored: &str| Some(view.stored(stored)?.0.shape.clone());
        let map = RowMap::compile(&stored, &shapes)
            .map_err(|error| ViewError::Expression { name: name.to_owned(), error })?;
        let sources = map.sources.iter().map(|source| Source::new(view, name, source, map.columns));
        let sources = sources.collect::<Result<_, _>>()?;
        let delta = Delta::new(view, name, expr)?;
        Ok(Self { name: name.to_owned(), map, sources, delta })
    }

    /// The name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[u64] {
        &self.map.shape
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.map.rows()
    }

    /// Values in a row: the innermost dimension, or 1 where the expression moves single values.
    pub fn columns(&self) -> usize {
        self.map.columns as usize
    }

    /// Whether the adapter changes any row.
    pub fn is_changed(&self) -> bool {
        self.delta.is_some()
    }

    /// Ranges of whole rows that cover the tensor, each of at most `max_values` values but at least one row.
    pub fn blocks(&self, max_values: usize) -> impl Iterator<Item = Range<u64>> + use<> {
        let (rows, step) = (self.rows(), (max_values / self.columns().max(1)).max(1) as u64);
        (0..rows).step_by(step as usize).map(move |start| start..(start + step).min(rows))
    }

    /// The type of all rows, where they are stored in one and nothing changes them: then they can be copied.
    pub fn stored_type(&self) -> Option<StoredType> {
        if self.delta.is_some() || !self.map.only_moves_rows() {
            return None;
        }
        let mut types = self.map.segments.iter().map(|segment| self.sources[segment.source].stored_type());
        let first = types.next()??;
        types.all(|other| other == Some(first)).then_some(first)
    }

    /// The rows of `range` as they lie, where they do lie one after the other in one tensor and nothing changes them.
    pub fn raw_rows(&self, range: Range<u64>) -> Option<RawRows<'a>> {
        if self.delta.is_some() || range.end > self.rows() {
            return None;
        }
        match runs(&self.map, range)[..] {
            [run] if self.map.sources[run.source].ops.is_empty() => self.sources[run.source].raw(run),
            _ => None,
        }
    }

    /// Copies the rows of `range` as they lie into `into`; an error where [`RowReader::stored_type`] gives none.
    pub fn copy_raw(&self, range: Range<u64>, into: &mut [u8]) -> Result<(), ViewError> {
        let not_raw = || ViewError::NotRaw { name: self.name.clone() };
        let stored_type = self.stored_type().ok_or_else(not_raw)?;
        let row_bytes = stored_type.row_bytes(self.map.columns).ok_or_else(not_raw)? as usize;
        self.check_range(&range, row_bytes, into.len())?;
        let mut rest = into;
        for run in runs(&self.map, range) {
            let rows = self.sources[run.source].raw(run).ok_or_else(not_raw)?;
            let (now, behind) = rest.split_at_mut(rows.bytes.len());
            now.copy_from_slice(rows.bytes);
            rest = behind;
        }
        Ok(())
    }

    /// What files store of the rows in order, where no function and no adapter changes them: what a mapped matrix is made
    /// of. Types may differ between segments.
    pub fn stored_segments(&self) -> Option<Vec<StoredSegment<'_>>> {
        if self.delta.is_some() {
            return None;
        }
        self.map.segments.iter().map(|segment| self.stored_segment(segment)).collect()
    }

    fn stored_segment<'s>(&'s self, segment: &'s RowSegment) -> Option<StoredSegment<'s>> {
        let stored = match &self.sources[segment.source] {
            Source::Stored { tensor, bytes, .. } => StoredBytes::Tensor { stored_type: tensor.stored_type, bytes },
            Source::GroupAffine { decoder, bytes } => StoredBytes::GroupAffine { decoder, bytes: *bytes },
            Source::Constant(_) => return None,
        };
        let passes = self.map.sources[segment.source].ops.is_empty();
        passes.then_some(StoredSegment { stored, rows: &segment.rows })
    }

    /// The rows of `range` in `f32`, the adapter merged in.
    pub fn read_f32(&self, range: Range<u64>, into: &mut [f32]) -> Result<(), ViewError> {
        let columns = self.columns();
        self.check_range(&range, columns, into.len())?;
        let mut rest = &mut *into;
        for run in runs(&self.map, range.clone()) {
            let (now, behind) = rest.split_at_mut(run.count as usize * columns);
            self.sources[run.source].decode(&self.name, run, columns, now)?;
            apply(&self.map.sources[run.source].ops, now);
            rest = behind;
        }
        if let Some(delta) = &self.delta {
            delta.add(range, into);
        }
        Ok(())
    }

    /// As [`RowReader::read_f32`]; a NaN or an infinity is an error that names its place.
    pub fn read_finite(&self, range: Range<u64>, into: &mut [f32]) -> Result<(), ViewError> {
        let start = range.start;
        self.read_f32(range, into)?;
        match first_not_finite_value(into) {
            None => Ok(()),
            Some(at) => Err(self.not_finite(start, at, into[at])),
        }
    }

    /// The same of rows as they lie, from row `start` on.
    pub fn check_finite(&self, start: u64, rows: RawRows<'_>) -> Result<(), ViewError> {
        let Some(at) = first_not_finite(rows.stored_type, rows.bytes) else { return Ok(()) };
        let size = rows.stored_type.block_bytes() as usize;
        let mut value = [f32::NAN];
        let decoded = blocks::decode_rows(rows.stored_type, &rows.bytes[at * size..(at + 1) * size], &mut value);
        decoded.map_err(|error| ViewError::Decode { name: self.name.clone(), error })?;
        Err(self.not_finite(start, at, value[0]))
    }

    fn not_finite(&self, start: u64, at: usize, value: f32) -> ViewError {
        let columns = self.columns().max(1);
        let (row, column) = (start + (at / columns) as u64, at % columns);
        ViewError::NotFinite { name: self.name.clone(), row, column, value }
    }

    fn check_range(&self, range: &Range<u64>, row_len: usize, got: usize) -> Result<(), ViewError> {
        let rows = self.rows();
        let expected = range.end.saturating_sub(range.start) as usize * row_len;
        if range.end > rows || range.start > range.end || got != expected {
            let (name, start, end) = (self.name.clone(), range.start, range.end);
            return Err(ViewError::Range { name, start, end, rows, got, expected });
        }
        Ok(())
    }
}

impl<'a> Source<'a> {
    fn new(view: &'a ModelView, name: &str, source: &RowSource, columns: u64) -> Result<Self, ViewError> {
        let stored = match &source.leaf {
            Leaf::Constant(values) => return Ok(Source::Constant(values.clone())),
            Leaf::GroupAffine(groups) => return Self::group_affine(view, name, groups),
            Leaf::Tensor(stored) => stored,
        };
        let (tensor, bytes) = view.stored(stored).ok_or_else(|| ViewError::Absent { name: stored.clone() })?;
        let stored_type = tensor.stored_type;
        let inside_blocks = || ViewError::InsideBlocks { name: name.to_owned(), stored: stored.clone(), stored_type };
        let row_bytes = stored_type.row_bytes(columns).ok_or_else(inside_blocks)? as usize;
        Ok(Source::Stored { tensor, bytes, row_bytes, decoder: blocks::decoder(stored_type) })
    }

    fn group_affine(view: &'a ModelView, name: &str, groups: &GroupAffine) -> Result<Self, ViewError> {
        let stored = |stored: &str| view.stored(stored).ok_or_else(|| ViewError::Absent { name: stored.to_owned() });
        let [(codes_tensor, codes), (scales_tensor, scales), (biases_tensor, biases)] =
            [stored(&groups.codes)?, stored(&groups.scales)?, stored(&groups.biases)?];
        if codes_tensor.stored_type != StoredType::U32 {
            return Err(ViewError::NotPacked { name: groups.codes.clone(), stored_type: codes_tensor.stored_type });
        }
        let types = [scales_tensor.stored_type, biases_tensor.stored_type];
        let decoder = GroupAffineDecoder::new(groups.bits, groups.group_size, types)
            .map_err(|error| ViewError::Decode { name: name.to_owned(), error })?;
        Ok(Source::GroupAffine { decoder, bytes: GroupAffineRows { codes, scales, biases } })
    }

    fn stored_type(&self) -> Option<StoredType> {
        match self {
            Source::Stored { tensor, .. } => Some(tensor.stored_type),
            Source::GroupAffine { .. } | Source::Constant(_) => None,
        }
    }

    /// The run's bytes.
    fn raw(&self, run: Run) -> Option<RawRows<'a>> {
        let Source::Stored { tensor, bytes, row_bytes, .. } = self else {
            return None;
        };
        let (start, len) = (run.row as usize * row_bytes, run.count as usize * row_bytes);
        Some(RawRows { stored_type: tensor.stored_type, bytes: bytes.get(start..start + len)? })
    }

    /// Fills `into` with the run's values; `name` is for messages.
    fn decode(&self, name: &str, run: Run, columns: usize, into: &mut [f32]) -> Result<(), ViewError> {
        match self {
            Source::Constant(values) => {
                let start = run.row as usize * columns;
                let too_short = || ViewError::ConstantTooShort { name: name.to_owned(), got: values.len() };
                into.copy_from_slice(values.get(start..start + into.len()).ok_or_else(too_short)?);
                Ok(())
            }
            Source::GroupAffine { decoder, bytes } => {
                let decoded = decoder.decode(rows_of(decoder, *bytes, run, columns), into);
                decoded.map_err(|error| ViewError::Decode { name: name.to_owned(), error })
            }
            Source::Stored { tensor, decoder, .. } => {
                let bytes = self.raw(run).map(|rows| rows.bytes).unwrap_or_default();
                let no_decoder = BlockError::NoDecoder { stored_type: tensor.stored_type };
                let decoded = decoder.ok_or(no_decoder).and_then(|decoder| decoder.decode(bytes, into));
                decoded.map_err(|error| ViewError::Decode { name: name.to_owned(), error })
            }
        }
    }
}

/// The run's bytes of all three tensors.
fn rows_of<'a>(
    decoder: &GroupAffineDecoder,
    bytes: GroupAffineRows<'a>,
    run: Run,
    columns: usize,
) -> GroupAffineRows<'a> {
    let (starts, lens) = (decoder.bytes_of(run.row as usize * columns), decoder.bytes_of(run.count as usize * columns));
    let part = |bytes: &'a [u8], i: usize| bytes.get(starts[i]..starts[i] + lens[i]).unwrap_or_default();
    GroupAffineRows { codes: part(bytes.codes, 0), scales: part(bytes.scales, 1), biases: part(bytes.biases, 2) }
}

fn apply(ops: &[Pointwise], values: &mut [f32]) {
    for op in ops {
        values.iter_mut().for_each(|value| *value = op.apply(*value));
    }
}
