//! Which rows of an adapter's matrices are which rows of the model's.
//!
//! The forms of an inventory make a canonical weight of the matrices that a dialect stores, and most only move rows. Row
//! `i` of the canonical one then changes by `B[row(i), :] · A` of the matrix that it comes from: a split shares A and
//! splits B, a permutation permutes B, and where several matrices are one, their ranks are laid side by side.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::adapter::ModuleShape;
use checkpoint::gguf::{EMBEDDING, HEAD};
use checkpoint::view::module_shape;
use model::adapter::AdaptedModule;
use model::inventory::{Inventory, Role, TensorSpec};
use model::row_map::Leaf;
use model::{Expr, RowMap};
use stage_model::ModelInput;

use crate::change::Change;
use crate::found::{Found, Kind};
use crate::problem::Problem;

/// A module of the model, and where its factors come from.
#[derive(Debug)]
pub struct Placed {
    /// The canonical path.
    pub module: String,
    pub shape: ModuleShape,
    /// Ranks of the pieces together; of the expert that has most.
    pub rank: u64,
    pub scale: f32,
    pub dora: bool,
    /// By expert: what its factors are made of.
    pub pieces: Vec<Vec<Piece>>,
    /// By row of the module: the piece of its expert, and the row there; `None` for rows that nothing changes.
    pub rows: Vec<Option<(usize, u64)>>,
}

/// Factors of one stored matrix that become part of a module's.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Of [`Found::changes`].
    pub change: String,
    /// Whose factors, where the stored matrix has experts.
    pub expert: u64,
    /// Where its ranks begin.
    pub first: u64,
    /// What its B is multiplied by, where pieces have scales of their own.
    pub bake: f32,
}

impl Placed {
    /// Without values.
    pub fn describe(&self) -> AdaptedModule {
        let ModuleShape { experts, in_features, out_features } = self.shape;
        AdaptedModule { rank: self.rank, experts, in_features, out_features, scale: self.scale, dora: self.dora }
    }
}

/// Places every change, in the inventory's order; all problems at once.
pub fn place(model: &ModelInput, found: &Found) -> (Vec<Placed>, Vec<Problem>) {
    let inventory = &model.reading.inventory;
    let (names, mut problems) = Names::new(found);
    let (mut placed, mut used) = (Vec::new(), BTreeSet::new());
    for spec in &inventory.tensors {
        let Some(facts) = &spec.adapter else { continue };
        let Some(expr) = names.expr(spec) else { continue };
        let changes: Vec<_> = expr.tensors().into_iter().filter_map(|leaf| names.change(leaf)).collect();
        used.extend(changes.iter().map(|(name, _)| *name));
        let is_embedding = spec.role == Role::Embedding;
        let others = changes.iter().filter(|(_, change)| change.is_lookup() != is_embedding);
        let others: Vec<Problem> =
            others.map(|(name, _)| Problem::OtherKind { name: (*name).to_owned(), is_embedding }).collect();
        if !others.is_empty() {
            problems.extend(others);
            continue;
        }
        match names.place(inventory, spec, &facts.module, &expr) {
            Ok(module) => placed.push(module),
            Err(problem) => problems.push(problem),
        }
    }
    let tied = tied_in_gguf(model, found);
    let unknown = found.changes.keys().filter(|name| !used.contains(name.as_str()));
    let unknown = unknown.filter(|name| tied.is_empty() || *name != HEAD);
    problems.extend(unknown.map(|name| Problem::unknown(name, found, model)));
    problems.extend(tied);
    placed.sort_by(|a, b| a.module.cmp(&b.module));
    (placed, problems)
}

/// A GGUF LoRA of an embedding that is the head too: nobody can have run it.
fn tied_in_gguf(model: &ModelInput, found: &Found) -> Vec<Problem> {
    let tied = found.kind == Kind::Gguf && model.reading.architecture.is_tied();
    let changed = [EMBEDDING, HEAD].into_iter().filter(|name| tied && found.changes.contains_key(*name));
    changed.map(|name| Problem::TiedGguf { name: name.to_owned() }).collect()
}

/// An adapter's changes by the names of stored tensors.
struct Names<'a> {
    kind: Kind,
    changes: BTreeMap<&'a str, (&'a str, &'a Change)>,
}

impl<'a> Names<'a> {
    fn new(found: &'a Found) -> (Self, Vec<Problem>) {
        let (mut changes, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, change) in &found.changes {
            if let Some((other, _)) = changes.insert(found.kind.key_of(name), (name.as_str(), change)) {
                problems.push(Problem::Same { names: [other.to_owned(), name.clone()] });
            }
        }
        (Self { kind: found.kind, changes }, problems)
    }

    /// What changes a stored tensor.
    fn change(&self, stored: &str) -> Option<(&'a str, &'a Change)> {
        self.changes.get(self.kind.key_of(self.kind.name_of(stored)?)).copied()
    }

    /// How the weight is made of matrices that the adapter changes: of all those forms the one that leaves fewest of its
    /// matrices alone.
    fn expr(&self, spec: &TensorSpec) -> Option<Expr> {
        let known = spec.forms.iter().filter(|form| self.kind.dialects().contains(&form.dialect));
        let alone = |expr: &Expr| expr.tensors().iter().filter(|leaf| self.change(leaf).is_none()).count();
        let forms = known.map(|form| matrices(&form.expr)).map(|expr| (alone(&expr), expr));
        let changed = forms.filter(|(alone, expr)| *alone < expr.tensors().len());
        changed.min_by_key(|(alone, _)| *alone).map(|(_, expr)| expr)
    }

    fn place(&self, inventory: &Inventory, spec: &TensorSpec, module: &str, expr: &Expr) -> Result<Placed, Problem> {
        let unfit = |got: Vec<u64>| Problem::Shape { module: module.to_owned(), got, expected: spec.shape.clone() };
        let shapes = |leaf: &str| self.shape(inventory, expr, leaf);
        let map = RowMap::compile(expr, &shapes)
            .map_err(|source| Problem::Unplaceable { module: module.to_owned(), source })?;
        if map.shape != spec.shape {
            return Err(unfit(map.shape));
        }
        let moved = Problem::Computed { module: module.to_owned() };
        if !map.only_moves_rows() {
            return Err(moved);
        }
        let shape = module_shape(spec).ok_or(moved)?;
        self.gather(module, shape, &map)
    }

    /// The shape of a stored tensor: as its factors have it, else as the model's GGUF has it, else as large as what lies
    /// beside it in the expression.
    fn shape(&self, inventory: &Inventory, expr: &Expr, leaf: &str) -> Option<Vec<u64>> {
        let changed = |leaf: &str| self.change(leaf).map(|(_, change)| change.size.shape());
        let in_gguf = || inventory.gguf.iter().find(|t| t.name == leaf).map(|t| t.shape.clone());
        changed(leaf).or_else(in_gguf).or_else(|| expr.tensors().into_iter().find_map(changed))
    }

    fn gather(&self, module: &str, shape: ModuleShape, map: &RowMap) -> Result<Placed, Problem> {
        let mut pieces: Vec<Vec<Piece>> = vec![Vec::new(); shape.experts as usize];
        let mut rows = Vec::with_capacity(map.rows() as usize);
        for segment in &map.segments {
            let Leaf::Tensor(stored) = &map.sources[segment.source].leaf else { continue };
            let change = self.change(stored);
            for i in 0..segment.rows.count() {
                let Some((name, change)) = change else {
                    rows.push(None);
                    continue;
                };
                let (row, out) = (segment.rows.get(i), change.size.out_features);
                let expert = &mut pieces[(rows.len() as u64 / shape.out_features) as usize];
                let is_it = |piece: &Piece| piece.change == name && piece.expert == row / out;
                let at = expert.iter().position(is_it).unwrap_or_else(|| {
                    let first = expert.iter().map(|piece| self.rank(piece)).sum();
                    expert.push(Piece { change: name.to_owned(), expert: row / out, first, bake: 1.0 });
                    expert.len() - 1
                });
                rows.push(Some((at, row % out)));
            }
        }
        let rank = pieces.iter().map(|e| e.iter().map(|piece| self.rank(piece)).sum()).max().unwrap_or(0);
        let dora = self.lengths(module, &pieces, &rows)?;
        let scale = self.common_scale(&mut pieces);
        Ok(Placed { module: module.to_owned(), shape, rank, scale, dora, pieces, rows })
    }

    fn of(&self, piece: &Piece) -> Option<&Change> {
        self.changes.get(self.kind.key_of(&piece.change)).map(|(_, change)| *change)
    }

    fn rank(&self, piece: &Piece) -> u64 {
        self.of(piece).map_or(0, |change| change.size.rank)
    }

    /// Whether rows have lengths: all of a module's or none, for a row without one would need the base's own.
    fn lengths(&self, module: &str, pieces: &[Vec<Piece>], rows: &[Option<(usize, u64)>]) -> Result<bool, Problem> {
        let all = || pieces.iter().flatten();
        let has = |piece: &&Piece| self.of(piece).is_some_and(|change| change.magnitude.is_some());
        let Some(with) = all().find(has) else { return Ok(false) };
        let without = all().find(|piece| !has(piece)).map(|piece| piece.change.clone());
        if without.is_some() || rows.contains(&None) {
            return Err(Problem::HalfDora { module: module.to_owned(), with: with.change.clone(), without });
        }
        Ok(true)
    }

    /// The scale of all pieces; where they have several, each one's goes into its B.
    fn common_scale(&self, pieces: &mut [Vec<Piece>]) -> f32 {
        let scales: Vec<f32> = pieces.iter().flatten().filter_map(|piece| Some(self.of(piece)?.scale)).collect();
        match scales.first() {
            Some(first) if scales.iter().all(|scale| scale == first) => *first,
            _ => {
                for (piece, scale) in pieces.iter_mut().flatten().zip(scales) {
                    piece.bake = scale;
                }
                1.0
            }
        }
    }
}

/// The same expression over matrices: what is stored as several tensors, packed, is adapted as the one that they are, and
/// the first of them has its name.
fn matrices(expr: &Expr) -> Expr {
    let one = |of: &Expr| Box::new(matrices(of));
    let all = |parts: &[Expr]| parts.iter().map(matrices).collect();
    match expr {
        Expr::Constant { .. } | Expr::Custom { .. } => expr.clone(),
        Expr::Concat { axis, parts } => Expr::Concat { axis: *axis, parts: all(parts) },
        Expr::Stack { parts } => Expr::Stack { parts: all(parts) },
        Expr::Slice { of, axis, start, len } => Expr::Slice { of: one(of), axis: *axis, start: *start, len: *len },
        Expr::Reshape { of, shape } => Expr::Reshape { of: one(of), shape: shape.clone() },
        Expr::Permute { of, axes } => Expr::Permute { of: one(of), axes: axes.clone() },
        Expr::Pointwise { of, op } => Expr::Pointwise { of: one(of), op: *op },
        stored => stored.tensors().first().map_or_else(|| stored.clone(), |name| Expr::tensor(*name)),
    }
}
