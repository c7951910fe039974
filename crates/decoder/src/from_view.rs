//! A checkpoint's view as a network's weights, and its adapters as ours.
//!
//! Matrices stay in their mapped files. Only what a view has to compute (a function of each value, a constant) is held
//! in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use checkpoint::adapter::LoraModule;
use checkpoint::view::{ModelView, RowReader, StoredBytes};
use model::Architecture;

use crate::adapters::{Adapter, Adapters};
use crate::error::{DecoderError, Result};
use crate::mapped::{MappedMatrix, MatrixError, Segment};
use crate::matrix::Matrix;
use crate::rows::{Bytes, PackedRows, RowSource, StoredRows};
use crate::weights::{Weights, check_shape};

/// The matrices of a view.
///
/// A view without adapter is the base where it lies; [`adapters_of`] makes an adapter a network's, to be computed beside
/// the base. What the view's own adapter changes is merged into memory.
#[derive(Debug, Clone)]
pub struct ViewWeights {
    view: Arc<ModelView>,
}

impl ViewWeights {
    /// Weights of this view; the network that is made of them keeps it alive.
    pub fn new(view: Arc<ModelView>) -> Self {
        Self { view }
    }

    fn rows(&self, name: &str) -> Result<RowReader<'_>> {
        self.view.rows(name).map_err(|source| weight(name, source))
    }

    fn in_place(&self, name: &str, columns: usize) -> Result<Option<MappedMatrix>> {
        let reader = self.rows(name)?;
        let Some(stored) = reader.stored_segments() else { return Ok(None) };
        let segments = stored.into_iter().map(|segment| {
            let source = self.source(segment.stored, columns)?;
            Ok(Segment { source, rows: segment.rows.clone() })
        });
        let segments = segments.collect::<Result<_, MatrixError>>().map_err(|source| weight(name, source))?;
        Ok(Some(MappedMatrix::new(columns, segments).map_err(|source| weight(name, source))?))
    }

    fn source(&self, stored: StoredBytes<'_>, columns: usize) -> Result<Arc<dyn RowSource>, MatrixError> {
        let mapped = |bytes: &[u8]| -> Bytes { Arc::new(ViewBytes::new(&self.view, bytes)) };
        Ok(match stored {
            StoredBytes::Tensor { stored_type, bytes } => {
                Arc::new(StoredRows::new(mapped(bytes), 0..bytes.len(), stored_type, columns, Vec::new())?)
            }
            StoredBytes::GroupAffine { decoder, bytes } => {
                let bytes = [bytes.codes, bytes.scales, bytes.biases].map(mapped);
                Arc::new(PackedRows::new(bytes, decoder.clone(), columns)?)
            }
        })
    }
}

impl Weights for ViewWeights {
    fn matrix(&self, name: &str, [rows, columns]: [usize; 2]) -> Result<MappedMatrix> {
        let reader = self.rows(name)?;
        check_shape(name, &[reader.rows() as usize, reader.columns()], &[rows, columns])?;
        if let Some(matrix) = self.in_place(name, columns)? {
            return Ok(matrix);
        }
        let values = self.view.values(name).map_err(|source| weight(name, source))?;
        MappedMatrix::of_values(columns, values).map_err(|source| weight(name, source))
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        let values = self.view.values(name).map_err(|source| weight(name, source))?;
        check_shape(name, &[values.len()], &[len])?;
        Ok(values)
    }
}

/// The adapter of a checkpoint, in canonical order.
///
/// # Errors
/// Where it has a module that the architecture lacks, a matrix of another shape, or DoRA's lengths: such a module is
/// merged, by a view that has the adapter.
pub fn adapters_of(architecture: &Architecture, adapter: &checkpoint::adapter::Adapter) -> Result<Adapters> {
    let matrix = |module: &str, m: &checkpoint::adapter::Matrix| {
        let shape = || DecoderError::Shape {
            name: module.to_owned(),
            got: vec![m.values.len()],
            expected: vec![m.rows, m.columns],
        };
        Matrix::new(m.rows, m.columns, m.values.clone()).ok_or_else(shape)
    };
    let of = |(module, lora): (&String, &LoraModule)| {
        if lora.magnitude.is_some() {
            return Err(DecoderError::Dora { module: module.clone() });
        }
        Ok(Adapter {
            module: module.clone(),
            a: matrix(module, &lora.a)?,
            b: matrix(module, &lora.b)?,
            scale: lora.scale,
            experts: lora.experts,
        })
    };
    Adapters::new(architecture, adapter.modules.iter().map(of).collect::<Result<_>>()?)
}

/// Our adapters as a checkpoint writes them.
pub fn lora_modules(adapters: &Adapters) -> BTreeMap<String, LoraModule> {
    let matrix =
        |m: &Matrix| checkpoint::adapter::Matrix { rows: m.rows(), columns: m.columns(), values: m.values().to_vec() };
    let of = |x: &Adapter| LoraModule { experts: x.experts, ..LoraModule::new(matrix(&x.a), matrix(&x.b), x.scale) };
    adapters.iter().map(|x| (x.module.clone(), of(x))).collect()
}

fn weight(name: &str, source: impl std::error::Error + Send + Sync + 'static) -> DecoderError {
    DecoderError::Weight { name: name.to_owned(), source: Box::new(source) }
}

/// Bytes of a mapped file, with the view that keeps it mapped.
struct ViewBytes {
    /// Lives as long as `view`, and is lent no longer than `self`.
    bytes: &'static [u8],
    _view: Arc<ModelView>,
}

impl ViewBytes {
    fn new(view: &Arc<ModelView>, bytes: &[u8]) -> Self {
        // SAFETY: `bytes` lies in a file that `view` keeps mapped at one address for as long as it lives; the struct
        // holds the view, and `as_ref` lends the bytes no longer than the struct.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
        Self { bytes, _view: Arc::clone(view) }
    }
}

impl AsRef<[u8]> for ViewBytes {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}
