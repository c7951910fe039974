//! The matrices of a GGUF that an adapter changes, as rows of canonical ones.
//!
//! llama.cpp finds an adapter's tensors by the names of the base's. A base that is a GGUF has its own matrices, and may
//! hold queries, keys and values in one: there the forms that read them are turned round. Any other base is yet to be
//! converted, and the inventory says into what.

use std::collections::BTreeMap;

use checkpoint::resolve::{Resolved, resolve};
use model::RowMap;
use model::description::Container;
use model::inventory::{Inventory, TensorSpec};
use model::row_map::{Leaf, RowSegment, RowSource, Rows};
use stage_api::{Error, Result};
use stage_model::{ModelInput, stage_error};

/// A matrix of a GGUF.
#[derive(Debug, PartialEq)]
pub struct GgufMatrix {
    /// The GGUF name.
    pub name: String,
    /// Over canonical tensors; it only moves rows.
    pub map: RowMap,
}

impl GgufMatrix {
    /// How many experts have a matrix of their own in it; `None` for a matrix that is one.
    pub fn experts(&self) -> Option<u64> {
        match self.map.shape.as_slice() {
            [experts, _, _] => Some(*experts),
            _ => None,
        }
    }
}

/// Those that hold a row of a canonical tensor that `is_changed`.
pub fn changed(base: &ModelInput, is_changed: &dyn Fn(&TensorSpec) -> bool) -> Result<Vec<GgufMatrix>> {
    match base.description.container {
        Container::Gguf => stored(base, is_changed),
        Container::Safetensors => converted(&base.reading.inventory, is_changed),
    }
}

fn converted(inventory: &Inventory, is_changed: &dyn Fn(&TensorSpec) -> bool) -> Result<Vec<GgufMatrix>> {
    let shapes = |name: &str| inventory.get(name).map(|t| t.shape.clone());
    let reads_changed = |name: &str| inventory.get(name).is_some_and(is_changed);
    let changed = inventory.gguf.iter().filter(|t| t.expr.tensors().into_iter().any(reads_changed));
    let matrix = |t: &model::inventory::GgufTensor| {
        let map = RowMap::compile(&t.expr, &shapes).map_err(stage_error("bad_inventory"))?;
        if map.only_moves_rows() { Ok(GgufMatrix { name: t.name.clone(), map }) } else { Err(computed(&t.name)) }
    };
    changed.map(matrix).collect()
}

fn stored(base: &ModelInput, is_changed: &dyn Fn(&TensorSpec) -> bool) -> Result<Vec<GgufMatrix>> {
    let inventory = &base.reading.inventory;
    let shapes = |name: &str| base.description.tensor(name).map(|t| t.shape.clone());
    let mut found: BTreeMap<String, Placed> = BTreeMap::new();
    for spec in inventory.tensors.iter().filter(|spec| spec.adapter.is_some()) {
        let Resolved::Stored(expr) = resolve(inventory, spec, Container::Gguf, &shapes) else { continue };
        let map = RowMap::compile(&expr, &shapes).map_err(stage_error("bad_inventory"))?;
        if is_changed(spec) && !map.only_moves_rows() {
            return Err(computed(&spec.name));
        }
        for (name, rows) in rows_of(&map) {
            let placed = found.entry(name.to_owned()).or_insert_with(|| Placed::new(shapes(name), map.columns));
            placed.add(&spec.name, is_changed(spec), rows);
        }
    }
    found.into_iter().filter(|(_, placed)| placed.is_changed).map(|(name, placed)| placed.finish(name)).collect()
}

fn computed(name: &str) -> Error {
    unadaptable(name, "is computed from its values, not only moved")
}

/// A matrix that llama.cpp has no adapter for.
pub fn unadaptable(name: &str, reason: &str) -> Error {
    Error::new("unadaptable", format!("`{name}` {reason}")).with_help("merge the adapter into the model instead")
}

/// By stored tensor: (stored row, row of the map).
fn rows_of(map: &RowMap) -> BTreeMap<&str, Vec<(u64, u32)>> {
    let mut rows: BTreeMap<&str, Vec<(u64, u32)>> = BTreeMap::new();
    let mut first = 0;
    for segment in &map.segments {
        if let Leaf::Tensor(name) = &map.sources[segment.source].leaf {
            let row = |i| (segment.rows.get(i), (first + i) as u32);
            rows.entry(name).or_default().extend((0..segment.rows.count()).map(row));
        }
        first += segment.rows.count();
    }
    rows
}

/// A stored matrix with the canonical row that each of its rows is.
struct Placed {
    shape: Vec<u64>,
    columns: u64,
    sources: Vec<String>,
    /// (source, its row).
    rows: Vec<Option<(usize, u32)>>,
    is_changed: bool,
}

impl Placed {
    fn new(shape: Option<Vec<u64>>, columns: u64) -> Self {
        let shape = shape.unwrap_or_default();
        let rows = shape.iter().product::<u64>() / columns.max(1);
        Self { shape, columns, sources: Vec::new(), rows: vec![None; rows as usize], is_changed: false }
    }

    fn add(&mut self, canonical: &str, is_changed: bool, rows: Vec<(u64, u32)>) {
        let source = self.sources.len();
        self.sources.push(canonical.to_owned());
        self.is_changed |= is_changed;
        for (stored, row) in rows {
            if let Some(place) = self.rows.get_mut(stored as usize) {
                *place = Some((source, row));
            }
        }
    }

    fn finish(self, name: String) -> Result<GgufMatrix> {
        let unknown = || unadaptable(&name, "has rows that belong to no matrix an adapter can change");
        let mut segments: Vec<RowSegment> = Vec::new();
        for place in self.rows {
            let (source, row) = place.ok_or_else(unknown)?;
            match segments.last_mut() {
                Some(RowSegment { source: last, rows: Rows::List(rows) }) if *last == source => rows.push(row),
                _ => segments.push(RowSegment { source, rows: Rows::List(vec![row]) }),
            }
        }
        let sources = self.sources.into_iter().map(|tensor| RowSource { leaf: Leaf::Tensor(tensor), ops: Vec::new() });
        let map = RowMap { shape: self.shape, columns: self.columns, sources: sources.collect(), segments };
        Ok(GgufMatrix { name, map })
    }
}
