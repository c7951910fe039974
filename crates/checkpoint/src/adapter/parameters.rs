//! Modules that PEFT adapts as parameters (`target_parameters`): weights that transformers has in a module with others,
//! such as those of all experts, and not in linears.
//!
//! PEFT puts a wrapper around the module for each parameter, in the order in which the module has them. The last one is
//! outermost and has the module's name, each one before it lies a `base_layer` deeper. Its A is (experts · r, in), one
//! expert after the other; its B is (out, r · experts), and there the experts of one rank lie side by side.

use std::collections::BTreeMap;

use model::Inventory;
use model::inventory::TensorSpec;

use super::{AdapterConfig, LoraModule, Matrix, Problem};

/// What PEFT calls the inside of a wrapper.
pub(super) const INNER: &str = ".base_layer";

/// A module that an adapter has as a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedParameter {
    /// The module.
    pub module: String,
    /// The parameter's path; patterns of ranks and alphas are held against it.
    pub parameter: String,
    /// What PEFT's names of the factors begin with.
    pub path: String,
    /// Linears with factors of their own.
    pub experts: usize,
}

impl AdapterConfig {
    /// The modules of a model that this configuration has as parameters, named as transformers 5 has them or, where
    /// experts are linears of their own there, as the published weights are.
    pub fn wrapped(&self, inventory: &Inventory) -> Vec<WrappedParameter> {
        let mut by_holder: BTreeMap<String, Vec<WrappedParameter>> = BTreeMap::new();
        for (spec, parameter) in inventory.tensors.iter().filter_map(|spec| Some((spec, self.targeted(spec)?))) {
            let (Some(facts), Some((holder, _))) = (&spec.adapter, parameter.rsplit_once('.')) else { continue };
            let experts = facts.expert_axis.and_then(|axis| spec.shape.get(axis)).map_or(1, |n| *n as usize);
            let (module, path) = (facts.module.clone(), holder.to_owned());
            let wrapped = WrappedParameter { module, parameter: parameter.clone(), path, experts };
            by_holder.entry(holder.to_owned()).or_default().push(wrapped);
        }
        for wrappers in by_holder.values_mut() {
            let count = wrappers.len();
            wrappers.iter_mut().enumerate().for_each(|(i, w)| w.path.push_str(&INNER.repeat(count - 1 - i)));
        }
        by_holder.into_values().flatten().collect()
    }

    /// The name by which the configuration has a tensor as a parameter.
    fn targeted(&self, spec: &TensorSpec) -> Option<String> {
        let named = [spec.adapter.as_ref()?.parameter.as_ref(), Some(&spec.name)];
        named.into_iter().flatten().find(|path| self.target_parameters.iter().any(|name| is_named(path, name))).cloned()
    }
}

/// PEFT's rule: the name is the whole path, or the end of it behind a dot.
pub(super) fn is_named(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

impl WrappedParameter {
    /// Of the factors as PEFT stores them.
    pub(super) fn read(&self, a: Matrix, b: Matrix, config: &AdapterConfig) -> Result<LoraModule, Problem> {
        let (rank, experts) = (config.rank_of(&self.parameter)?, self.experts);
        let all = rank.checked_mul(experts);
        if Some(a.rows) != all || Some(b.columns) != all {
            let (a, b) = ([a.rows, a.columns], [b.rows, b.columns]);
            return Err(Problem::Rank { module: self.parameter.clone(), a, b, rank, experts });
        }
        let scale = config.scale_of(&self.parameter)?;
        Ok(LoraModule { experts, ..LoraModule::new(a, by_expert(&b, experts, rank), scale) })
    }

    /// B as PEFT stores it.
    pub(super) fn stored_b(&self, b: &Matrix) -> Matrix {
        let (rows, rank, experts) = (b.rows / self.experts, b.columns, self.experts);
        let value = |i: usize| {
            let (row, rank_and_expert) = (i / (rank * experts), i % (rank * experts));
            b.row(rank_and_expert % experts * rows + row)[rank_and_expert / experts]
        };
        Matrix { rows, columns: rank * experts, values: (0..b.values.len()).map(value).collect() }
    }
}

/// B as PEFT stores it, (out, rank · experts), as (experts · out, rank).
///
/// # Panics
/// Where B has other columns.
pub fn by_expert(b: &Matrix, experts: usize, rank: usize) -> Matrix {
    assert_eq!(b.columns, rank * experts, "a B of all experts has the ranks of all");
    let value = |i: usize| {
        let (row, k) = (i / rank, i % rank);
        b.row(row % b.rows)[k * experts + row / b.rows]
    };
    Matrix { rows: experts * b.rows, columns: rank, values: (0..b.values.len()).map(value).collect() }
}
