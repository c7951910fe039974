//! The backend of shapes: books of memory and work.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use model::architecture::Activation;

use super::Needs;
use crate::adapters::Adapters;
use crate::backend::{Attended, AttentionShape, Backend, FrozenLinear, HeadWeights, NormWeights, Side, Sink, Turn};
use crate::batch::Target;
use crate::error::Result;
use crate::fast::{self, TILE};
use crate::mapped::MappedMatrix;
use crate::matrix::Matrix;
use crate::random::Mask;

/// Bytes of a value.
const F32: u64 = 4;

/// A backend that computes nothing.
#[derive(Debug)]
pub(super) struct Shapes {
    threads: usize,
    books: Rc<RefCell<Books>>,
}

/// What has been taken so far.
#[derive(Debug, Default)]
struct Books {
    /// Buffers that nobody uses, by length: how many.
    free: BTreeMap<usize, usize>,
    /// Values of all buffers there are.
    values: usize,
    /// The most scratch that a task of any operation takes, in values.
    scratch: usize,
    gradients: usize,
    flops: f64,
}

/// Activations without values.
#[derive(Debug)]
pub(super) struct TensorShape {
    features: usize,
    tokens: usize,
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
    rows: usize,
    columns: usize,
    granularity: usize,
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

    fn take(&self, features: usize, tokens: usize) -> TensorShape {
        self.take_values(features, tokens, fast::padded_len(features, tokens))
    }

    /// As [`fast::Fast`] takes buffers: one of the same length, or a new one.
    fn take_values(&self, features: usize, tokens: usize, len: usize) -> TensorShape {
        let len = len.next_multiple_of(16);
        let mut books = self.books.borrow_mut();
        match books.free.get_mut(&len).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => books.values += len,
        }
        TensorShape { features, tokens, len, books: Rc::clone(&self.books) }
    }

    fn scratch(&self, values: usize) {
        let mut books = self.books.borrow_mut();
        books.scratch = books.scratch.max(values);
    }

    fn product(&self, tokens: usize, inputs: usize, outputs: usize) {
        self.books.borrow_mut().flops += 2.0 * tokens as f64 * inputs as f64 * outputs as f64;
    }

    /// Products of queries and keys that see each other, `times` for every head.
    fn scores(&self, shape: &AttentionShape, segments: &[Range<usize>], times: usize) {
        let seen = |segment: &Range<usize>| (0..segment.len()).map(|query| shape.visible(query).len()).sum::<usize>();
        let pairs: usize = segments.iter().map(seen).sum();
        self.product(pairs, times * shape.head_dim, shape.heads);
    }

    fn side(&self, side: &Option<Side<'_, Self>>) {
        if let Some(side) = side {
            self.product(side.input.tokens, side.factor.rows, side.factor.columns);
        }
    }
}

impl FrozenLinear<Shapes> for LinearShape {
    fn forward(&self, shapes: &Shapes, x: &TensorShape, side: Option<Side<'_, Shapes>>) -> Result<TensorShape> {
        shapes.scratch(fast::forward_panel(self.rows, self.columns, shapes.threads) * self.columns);
        shapes.product(x.tokens, self.columns, self.rows);
        shapes.side(&side);
        Ok(shapes.take(self.rows, x.tokens))
    }

    fn backward(
        &self,
        shapes: &Shapes,
        dy: &TensorShape,
        side: Option<Side<'_, Shapes>>,
        onto: Option<TensorShape>,
    ) -> Result<TensorShape> {
        let chunk = fast::backward_chunk(self.columns, self.granularity, shapes.threads);
        shapes.scratch(fast::SUMMED_ROWS.min(self.rows) * chunk);
        shapes.product(dy.tokens, self.rows, self.columns);
        shapes.side(&side);
        Ok(onto.unwrap_or_else(|| shapes.take(self.columns, dy.tokens)))
    }
}

impl Backend for Shapes {
    type Tensor = TensorShape;
    type Matrix = MatrixShape;
    type Vector = ();
    type Linear = LinearShape;
    type Rotation = [TensorShape; 2];

    fn linear(&self, matrix: MappedMatrix) -> Result<LinearShape> {
        let granularity = matrix.granularity();
        Ok(LinearShape { rows: matrix.rows(), columns: matrix.columns(), granularity })
    }

    fn vector(&self, _: Vec<f32>) -> Result<()> {
        Ok(())
    }

    fn rotation(&self, cos: Matrix, sin: Matrix) -> Result<[TensorShape; 2]> {
        Ok([self.take(cos.columns(), cos.rows()), self.take(sin.columns(), sin.rows())])
    }

    fn embed(&self, table: &LinearShape, ids: &[u32], _: f32) -> Result<TensorShape> {
        Ok(self.take(table.columns, ids.len()))
    }

    fn add(&self, onto: TensorShape, _: &TensorShape, _: f32) -> Result<TensorShape> {
        Ok(onto)
    }

    fn scale(&self, x: &TensorShape, _: f32) -> Result<TensorShape> {
        Ok(self.take(x.features, x.tokens))
    }

    fn add_bias(&self, x: TensorShape, (): &()) -> Result<TensorShape> {
        Ok(x)
    }

    fn dropout(&self, x: &TensorShape, _: &Mask) -> Result<TensorShape> {
        Ok(self.take(x.features, x.tokens))
    }

    fn project(&self, x: &TensorShape, a: &MatrixShape, _: f32) -> Result<TensorShape> {
        self.product(x.tokens, a.columns, a.rows);
        Ok(self.take(a.rows, x.tokens))
    }

    fn project_back(&self, y: &TensorShape, b: &MatrixShape, _: f32) -> Result<TensorShape> {
        self.product(y.tokens, b.rows, b.columns);
        Ok(self.take(b.columns, y.tokens))
    }

    fn sum_outer(&self, y: &TensorShape, x: &TensorShape) -> Result<MatrixShape> {
        self.product(y.tokens, y.features, x.features);
        self.books.borrow_mut().gradients += y.features * x.features;
        Ok(MatrixShape { rows: y.features, columns: x.features })
    }

    fn norm(&self, x: &TensorShape, _: &NormWeights<()>) -> Result<TensorShape> {
        Ok(self.take(x.features, x.tokens))
    }

    fn norm_backward(&self, _: &TensorShape, _: &NormWeights<()>, dy: TensorShape) -> Result<TensorShape> {
        Ok(dy)
    }

    fn rotate(&self, x: TensorShape, _: &[TensorShape; 2], _: Turn) -> Result<TensorShape> {
        Ok(x)
    }

    fn attention(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        [q, _, _]: [&TensorShape; 3],
    ) -> Result<(TensorShape, TensorShape)> {
        self.scores(shape, segments, 2);
        Ok((self.take(q.features, q.tokens), self.take(shape.heads, q.tokens)))
    }

    fn attention_backward(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        _: Attended<'_, TensorShape>,
        dout: &TensorShape,
    ) -> Result<[TensorShape; 3]> {
        self.scores(shape, segments, 5);
        let longest = segments.iter().map(Range::len).max().unwrap_or(0);
        let head = fast::padded_head(shape.head_dim);
        self.scratch(fast::backward_scratch(longest, head).iter().sum());
        let [dq, dk, dv] = [(); 3].map(|()| self.take(dout.features, dout.tokens));
        if shape.heads == shape.kv_heads {
            return Ok([dq, dk, dv]);
        }
        let sums = |by_head: TensorShape| {
            let sums = self.take(shape.kv_heads * shape.head_dim, by_head.tokens);
            drop(by_head);
            sums
        };
        Ok([dq, sums(dk), sums(dv)])
    }

    fn glu(&self, gate: &TensorShape, _: &TensorShape, _: Activation) -> Result<TensorShape> {
        Ok(self.take(gate.features, gate.tokens))
    }

    fn glu_backward(
        &self,
        gate: TensorShape,
        up: TensorShape,
        _: Activation,
        _: &TensorShape,
    ) -> Result<(TensorShape, TensorShape)> {
        Ok((gate, up))
    }

    fn split(&self, x: TensorShape, at: usize) -> Result<(TensorShape, TensorShape)> {
        Ok((self.take(at, x.tokens), self.take(x.features - at, x.tokens)))
    }

    fn concat(&self, a: TensorShape, b: TensorShape) -> Result<TensorShape> {
        Ok(self.take(a.features + b.features, a.tokens))
    }

    fn select(&self, x: &TensorShape, tokens: &[usize]) -> Result<TensorShape> {
        Ok(self.take(x.features, tokens.len()))
    }

    fn scatter(&self, x: &TensorShape, _: &[usize], total: usize) -> Result<TensorShape> {
        Ok(self.take(x.features, total))
    }

    fn cross_entropy(
        &self,
        head: &HeadWeights<LinearShape>,
        x: TensorShape,
        targets: &[Target],
        want_gradient: bool,
    ) -> Result<(f64, Option<TensorShape>)> {
        let dx = want_gradient.then(|| self.take(x.features, x.tokens));
        for targets in targets.chunks(fast::chunk_tokens(head.weight.rows, x.tokens).max(1)) {
            let part = self.take(x.features, targets.len());
            let logits = head.weight.forward(self, &part, None)?;
            drop(part);
            if want_gradient {
                head.weight.backward(self, &logits, None, None)?;
            }
        }
        Ok((0.0, dx))
    }

    fn logits(&self, head: &HeadWeights<LinearShape>, x: &TensorShape, sink: &mut Sink<'_>) -> Result<()> {
        for start in (0..x.tokens).step_by(TILE) {
            let tokens = TILE.min(x.tokens - start);
            let logits = head.weight.forward(self, &self.take(x.features, tokens), None)?;
            drop(self.take_values(logits.features, tokens, logits.features * tokens));
            drop(sink(start, &[]));
        }
        Ok(())
    }
}
