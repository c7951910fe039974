//! Books of memory and work: what there is of it, and how activations come and go.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::Needs;
use crate::adapters::Adapters;
use crate::backend::{AttentionShape, Side};
use crate::fast::{self, TILE};
use crate::state_space::ScanShape;

/// Bytes of a value.
const F32: u64 = 4;

/// A backend that computes nothing.
#[derive(Debug)]
pub(super) struct Shapes {
    pub(super) threads: usize,
    pub(super) books: Rc<RefCell<Books>>,
}

/// What has been taken so far.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Buffers that nobody uses, by length: how many.
    free: BTreeMap<usize, usize>,
    /// Values of all buffers there are.
    values: usize,
    /// The most scratch that a task of any operation takes, in values.
    scratch: usize,
    pub(super) gradients: usize,
    flops: f64,
}

/// Activations without values.
#[derive(Debug)]
pub(super) struct TensorShape {
    pub(super) features: usize,
    pub(super) tokens: usize,
    len: usize,
    books: Rc<RefCell<Books>>,
}

/// A matrix without values.
#[derive(Debug, Clone, Copy)]
pub(super) struct MatrixShape {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// A frozen matrix without values.
#[derive(Debug)]
pub(super) struct LinearShape {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) granularity: usize,
}

impl Drop for TensorShape {
    fn drop(&mut self) {
        *self.books.borrow_mut().free.entry(self.len).or_default() += 1;
    }
}

impl Shapes {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads: threads.max(1), books: Rc::default() }
    }

    /// What has been taken, with these adapters.
    pub(super) fn needs(&self, adapters: &Adapters<MatrixShape>) -> Needs {
        let books = self.books.borrow();
        let size = |m: &MatrixShape| m.rows * m.columns;
        let trained: usize = adapters.iter().map(|adapter| size(&adapter.a) + size(&adapter.b)).sum();
        Needs {
            activations: books.values as u64 * F32,
            scratch: (books.scratch * self.threads) as u64 * F32,
            adapters: trained as u64 * F32,
            gradients: books.gradients as u64 * F32,
            flops: books.flops,
        }
    }

    pub(super) fn take(&self, features: usize, tokens: usize) -> TensorShape {
        self.take_values(features, tokens, fast::padded_len(features, tokens))
    }

    /// As [`fast::Fast`] takes buffers: one of the same length, or a new one.
    pub(super) fn take_values(&self, features: usize, tokens: usize, len: usize) -> TensorShape {
        let len = len.next_multiple_of(16);
        let mut books = self.books.borrow_mut();
        match books.free.get_mut(&len).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => books.values += len,
        }
        TensorShape { features, tokens, len, books: Rc::clone(&self.books) }
    }

    pub(super) fn scratch(&self, values: usize) {
        let mut books = self.books.borrow_mut();
        books.scratch = books.scratch.max(values);
    }

    pub(super) fn product(&self, tokens: usize, inputs: usize, outputs: usize) {
        self.books.borrow_mut().flops += 2.0 * tokens as f64 * inputs as f64 * outputs as f64;
    }

    /// Products of queries and keys that see each other, `times` for every head.
    pub(super) fn scores(&self, shape: &AttentionShape, segments: &[Range<usize>], times: usize) {
        let seen = |segment: &Range<usize>| (0..segment.len()).map(|query| shape.visible(query).len()).sum::<usize>();
        let pairs: usize = segments.iter().map(seen).sum();
        self.product(pairs, times * shape.head_dim, shape.heads);
    }

    /// Products of a scan, by what is summed or has a result for every pair of tokens: state columns, once for heads that
    /// share them and once a head, and a head's features; and those of tokens and states.
    pub(super) fn scan_products(&self, shape: &ScanShape, segments: &[Range<usize>], times: [usize; 4]) {
        let [shared, by_state, by_head, states] = times;
        for segment in segments {
            for chunk in (0..segment.len()).step_by(TILE).map(|start| TILE.min(segment.len() - start)) {
                self.product(chunk * chunk, shared * shape.state_size, fast::scan_parts(shape));
                self.product(chunk * chunk, by_state * shape.state_size, shape.heads);
                self.product(chunk * chunk, by_head * shape.head_dim, shape.heads);
                self.product(chunk, states * shape.state_size, shape.inner());
            }
        }
    }

    pub(super) fn side(&self, side: &Option<Side<'_, Self>>) {
        if let Some(side) = side {
            self.product(side.input.tokens, side.factor.rows, side.factor.columns);
        }
    }
}
