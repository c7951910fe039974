//! The backend of shapes: every operation takes what the fast path takes.

use std::ops::Range;

use model::architecture::Activation;

use super::books::{LinearShape, MatrixShape, Shapes, TensorShape};
use crate::backend::{Attended, AttentionShape, Backend, FrozenLinear, HeadWeights, NormWeights, Side, Sink, Turn};
use crate::batch::Target;
use crate::error::Result;
use crate::fast::{self, TILE};
use crate::mapped::MappedMatrix;
use crate::matrix::Matrix;
use crate::random::Mask;
use crate::routing::Routing;
use crate::state_space::{ConvWeights, ScanShape, ScanWeights};

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
    type States = TensorShape;

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

    fn choose(&self, logits: &TensorShape, count: usize) -> Result<Vec<u32>> {
        // What is chosen changes neither memory nor work.
        Ok((0..logits.tokens * count).map(|i| (i % logits.features) as u32).collect())
    }

    fn expert_weights(&self, logits: &TensorShape, routing: &Routing) -> Result<TensorShape> {
        Ok(self.take(routing.per_token(), logits.tokens))
    }

    fn expert_weights_backward(
        &self,
        weights: &TensorShape,
        routing: &Routing,
        _: &TensorShape,
    ) -> Result<TensorShape> {
        Ok(self.take(routing.experts(), weights.tokens))
    }

    fn expert_products(
        &self,
        experts: &[LinearShape],
        x: &TensorShape,
        side: Option<Side<'_, Self>>,
        routing: &Routing,
    ) -> Result<TensorShape> {
        let (rows, columns) = experts.first().map_or((0, 0), |expert| (expert.rows, expert.columns));
        self.scratch(fast::experts_scratch(rows, columns).iter().sum());
        self.product(routing.choices(), columns + side.map_or(0, |side| side.input.features), rows);
        Ok(self.take(rows, x.tokens))
    }

    fn expert_products_back(
        &self,
        experts: &[LinearShape],
        dy: &TensorShape,
        side: Option<Side<'_, Self>>,
        routing: &Routing,
    ) -> Result<TensorShape> {
        let (rows, columns) = experts.first().map_or((0, 0), |expert| (expert.rows, expert.columns));
        let granularity = experts.iter().map(|expert| expert.granularity).max().unwrap_or(1);
        self.scratch(fast::experts_back_scratch(rows, columns, granularity).iter().sum());
        self.product(routing.choices(), rows + side.map_or(0, |side| side.input.features), columns);
        Ok(self.take(columns, dy.tokens))
    }

    fn expert_project(&self, x: &TensorShape, a: &MatrixShape, _: f32, routing: &Routing) -> Result<TensorShape> {
        let rank = a.rows / routing.experts();
        self.product(routing.choices(), a.columns, rank);
        Ok(self.take(rank, x.tokens))
    }

    fn expert_project_back(&self, y: &TensorShape, b: &MatrixShape, _: f32, routing: &Routing) -> Result<TensorShape> {
        self.product(routing.choices(), y.features, b.columns);
        Ok(self.take(b.columns, y.tokens))
    }

    fn expert_sum_outer(&self, y: &TensorShape, x: &TensorShape, routing: &Routing) -> Result<MatrixShape> {
        let rows = routing.experts() * y.features;
        self.product(routing.choices(), y.features, x.features);
        self.books.borrow_mut().gradients += rows * x.features;
        Ok(MatrixShape { rows, columns: x.features })
    }

    fn weigh(&self, x: TensorShape, _: &TensorShape, _: &Routing) -> Result<TensorShape> {
        Ok(x)
    }

    fn weigh_backward(
        &self,
        x: &TensorShape,
        weights: &TensorShape,
        routing: &Routing,
        dy: TensorShape,
    ) -> Result<(TensorShape, TensorShape)> {
        let _of_slots = self.take(1, x.tokens);
        Ok((dy, self.take(routing.per_token(), weights.tokens)))
    }

    fn combine(&self, x: &TensorShape, routing: &Routing) -> Result<TensorShape> {
        Ok(self.take(x.features, routing.choices() / routing.per_token()))
    }

    fn convolve(&self, x: &TensorShape, conv: &ConvWeights<()>, _: &[Range<usize>]) -> Result<TensorShape> {
        self.product(x.tokens, conv.kernel_size, x.features);
        Ok(self.take(x.features, x.tokens))
    }

    fn convolve_backward(
        &self,
        x: &TensorShape,
        conv: &ConvWeights<()>,
        _: &[Range<usize>],
        _: TensorShape,
    ) -> Result<TensorShape> {
        self.product(x.tokens, 2 * conv.kernel_size, x.features);
        Ok(self.take(x.features, x.tokens))
    }

    fn scan(
        &self,
        shape: &ScanShape,
        _: &ScanWeights<()>,
        segments: &[Range<usize>],
        [xbc, _]: [&TensorShape; 2],
    ) -> Result<(TensorShape, TensorShape)> {
        self.scratch(fast::scan_scratch(shape).iter().sum());
        self.scan_products(shape, segments, [1, 0, 1, 2]);
        let y = self.take(shape.inner(), xbc.tokens);
        Ok((y, self.take_values(1, 0, fast::kept_states(shape, segments))))
    }

    fn scan_backward(
        &self,
        shape: &ScanShape,
        _: &ScanWeights<()>,
        segments: &[Range<usize>],
        [xbc, _]: [&TensorShape; 2],
        _: TensorShape,
        _: &TensorShape,
    ) -> Result<[TensorShape; 2]> {
        self.scratch(fast::scan_back_scratch(shape).iter().sum());
        self.scan_products(shape, segments, [2, 2, 2, 4]);
        let gradients = [self.take(shape.channels(), xbc.tokens), self.take(shape.heads, xbc.tokens)];
        let _shared = self.take(2 * shape.state_size * fast::scan_parts(shape), xbc.tokens);
        Ok(gradients)
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
