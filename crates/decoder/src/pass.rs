//! What one pass over a batch shares: the adapters, the segments, the rotations, the gradients.

use std::ops::Range;

use crate::adapters::{Adapter, Adapters};
use crate::backend::Backend;
use crate::batch::Batch;
use crate::random::{Dropout, Mask};

/// One pass over one batch.
pub(crate) struct Pass<'a, B: Backend> {
    pub backend: &'a B,
    pub adapters: &'a Adapters<B::Matrix>,
    pub batch: &'a Batch,
    pub segments: Vec<Range<usize>>,
    /// By index of [`crate::rope::Ropes`].
    pub rotations: Vec<B::Rotation>,
    pub dropout: Option<Dropout>,
}

impl<B: Backend> Pass<'_, B> {
    /// The mask of the inputs of adapter number `adapter`; `None` where nothing is dropped.
    pub(crate) fn mask(&self, adapter: usize) -> Option<Mask> {
        let dropout = self.dropout.filter(|dropout| dropout.probability > 0.0)?;
        Some(dropout.mask(adapter as u64, self.batch.places()))
    }

    /// The adapter of a module, with its number.
    pub(crate) fn adapter(&self, module: &str) -> Option<(usize, &Adapter<B::Matrix>)> {
        self.adapters.of(module)
    }
}

/// Gradients while they are gathered, by the adapter's number: of A, and of B.
pub(crate) struct Gathered<M> {
    by_adapter: Vec<Option<(M, M)>>,
}

impl<M> Gathered<M> {
    pub(crate) fn new(adapters: usize) -> Self {
        Self { by_adapter: (0..adapters).map(|_| None).collect() }
    }

    /// Every linear is computed once a pass, so each adapter's gradient comes once.
    pub(crate) fn put(&mut self, adapter: usize, a: M, b: M) {
        self.by_adapter[adapter] = Some((a, b));
    }

    /// All of them, under the names of `adapters`.
    pub(crate) fn finish(mut self, adapters: &Adapters<M>) -> Adapters<M> {
        adapters.map(|i| self.by_adapter[i].take().unwrap_or_else(|| unreachable!("every adapted linear is computed")))
    }
}
