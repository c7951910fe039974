//! Where a module's tensors lie, in every spelling.

use model::Expr;
use model::expr::{Pointwise, halves_from_interleaved, interleave_halves};
use model::inventory::Heads;

/// A module's published and GGUF names, and how the one's rows become the other's.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) module: String,
    pub(crate) gguf: String,
    pub(crate) layer: Option<u32>,
    /// (heads, head_dim) where llama.cpp interleaves the halves of each head.
    rotary: Option<(u64, u64)>,
    /// What a GGUF's weights have more than the published ones.
    offset: f32,
    fused: Option<FusedRows>,
    /// The dimension of heads of the weight.
    pub(crate) heads: Option<Heads>,
    /// The module in a checkpoint of mlx-lm, where it has another name there.
    mlx: Option<String>,
    /// Path of the parameter that transformers has in place of a linear.
    pub(crate) parameter: Option<String>,
}

/// Rows of a fused GGUF matrix.
#[derive(Debug, Clone)]
struct FusedRows {
    name: String,
    first: u64,
    rows: u64,
}

impl Place {
    /// A module outside the layers.
    pub fn model(module: &str, gguf: &str) -> Place {
        let (module, gguf) = (module.into(), gguf.into());
        Place {
            module,
            gguf,
            layer: None,
            rotary: None,
            offset: 0.0,
            fused: None,
            heads: None,
            mlx: None,
            parameter: None,
        }
    }

    /// A module of layer `i`: `model.layers.{i}.{module}` and `blk.{i}.{gguf}`.
    pub fn layer(i: u32, module: &str, gguf: &str) -> Place {
        let (module, gguf) = (format!("model.layers.{i}.{module}"), format!("blk.{i}.{gguf}"));
        Place { layer: Some(i), ..Place::model(&module, &gguf) }
    }

    /// Dimension `axis` of the weight is `count` heads.
    pub fn heads(self, axis: usize, count: u64) -> Place {
        Place { heads: Some(Heads { axis, count }), ..self }
    }

    /// The GGUF has the halves of each head interleaved.
    pub fn rotary(self, heads: u64, head_dim: u64) -> Place {
        Place { rotary: Some((heads, head_dim)), ..self }
    }

    /// The GGUF has `offset` added to each value.
    pub fn offset(self, offset: f32) -> Place {
        Place { offset, ..self }
    }

    /// Some GGUFs have the tensors as `rows` of a matrix called `name`, from row `first` on.
    pub fn fused(self, name: &str, first: u64, rows: u64) -> Place {
        Place { fused: Some(FusedRows { name: name.into(), first, rows }), ..self }
    }

    /// mlx-lm calls the module `model.layers.{i}.{module}`, or what it is called outside the layers.
    pub(crate) fn mlx(self, module: &str) -> Place {
        let module = self.layer.map_or_else(|| module.to_owned(), |i| format!("model.layers.{i}.{module}"));
        Place { mlx: Some(module), ..self }
    }

    /// The tensor `part` of mlx-lm's module, where that has another name.
    pub(crate) fn stored_by_mlx(&self, part: &str) -> Option<Expr> {
        Some(Expr::tensor(format!("{}.{part}", self.mlx.as_ref()?)))
    }

    /// transformers has the weight as a parameter of that path.
    pub(crate) fn parameter(self, path: String) -> Place {
        Place { parameter: Some(path), ..self }
    }

    /// The published tensor `part` of what a GGUF stores: alone, or in a fused matrix.
    pub(crate) fn published(&self, part: &str, columns: Option<u64>) -> Vec<Expr> {
        let alone = Expr::tensor(format!("{}.{part}", self.gguf));
        let fused = |f: &FusedRows| Expr::tensor(format!("{}.{part}", f.name)).slice(0, f.first, f.rows);
        let stored = std::iter::once(alone).chain(self.fused.as_ref().map(fused));
        stored.map(|expr| self.add(self.swap(expr, columns, halves_from_interleaved), -self.offset)).collect()
    }

    /// The GGUF's tensor of the published one.
    pub(crate) fn gguf(&self, name: &str, columns: Option<u64>) -> Expr {
        self.add(self.swap(Expr::tensor(name), columns, interleave_halves), self.offset)
    }

    fn add(&self, expr: Expr, offset: f32) -> Expr {
        if offset == 0.0 { expr } else { expr.map(Pointwise::Add(offset)) }
    }

    fn swap(&self, expr: Expr, columns: Option<u64>, swap: impl Fn(Expr, u64, u64, Option<u64>) -> Expr) -> Expr {
        match self.rotary {
            Some((heads, head_dim)) => swap(expr, heads, head_dim, columns),
            None => expr,
        }
    }
}
