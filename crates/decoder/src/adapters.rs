//! LoRA adapters, <https://arxiv.org/abs/2106.09685>: what is trained, by module path.

use std::collections::{BTreeMap, BTreeSet};

use model::Architecture;
use model::architecture::Linear;

use crate::error::{DecoderError, Result};
use crate::matrix::Matrix;
use crate::random;

/// `y += scale · (x · Aᵀ) · Bᵀ` for one linear.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter<M = Matrix> {
    /// The linear's module path: `model.layers.0.self_attn.q_proj`.
    pub module: String,
    /// A, `(rank, in_features)`.
    pub a: M,
    /// B, `(out_features, rank)`.
    pub b: M,
    /// `lora_alpha / rank`, or by its square root.
    pub scale: f32,
}

/// Adapters in the order in which their linears are computed; the same shape holds their gradients.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapters<M = Matrix> {
    adapters: Vec<Adapter<M>>,
    by_module: BTreeMap<String, usize>,
}

impl<M> Adapters<M> {
    /// No adapter at all: the base.
    pub fn none() -> Self {
        Self { adapters: Vec::new(), by_module: BTreeMap::new() }
    }

    fn in_order(adapters: Vec<Adapter<M>>) -> Self {
        let by_module = adapters.iter().enumerate().map(|(i, adapter)| (adapter.module.clone(), i)).collect();
        Self { adapters, by_module }
    }

    /// Adapters for `modules`; `matrices` makes A and B, given the linear and its number among all of the network.
    pub(crate) fn of_modules(
        architecture: &Architecture,
        modules: &BTreeSet<String>,
        scale: f32,
        mut matrices: impl FnMut(usize, &Linear) -> (M, M),
    ) -> Result<Self> {
        let linears = architecture.linears();
        if let Some(module) = modules.iter().find(|module| linears.iter().all(|linear| linear.module != **module)) {
            return Err(unknown(architecture, module.clone()));
        }
        let chosen = linears.iter().enumerate().filter(|(_, linear)| modules.contains(&linear.module));
        let adapters = chosen.map(|(i, linear)| {
            let (a, b) = matrices(i, linear);
            Adapter { module: linear.module.clone(), a, b, scale }
        });
        Ok(Self::in_order(adapters.collect()))
    }

    /// In canonical order.
    pub fn iter(&self) -> impl Iterator<Item = &Adapter<M>> {
        self.adapters.iter()
    }

    /// In canonical order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Adapter<M>> {
        self.adapters.iter_mut()
    }

    /// How many linears have one.
    pub fn len(&self) -> usize {
        self.adapters.len()
    }

    /// Whether this is the base alone.
    pub fn is_empty(&self) -> bool {
        self.adapters.is_empty()
    }

    /// The adapter of a module, with its place in the order.
    pub(crate) fn of(&self, module: &str) -> Option<(usize, &Adapter<M>)> {
        self.by_module.get(module).map(|i| (*i, &self.adapters[*i]))
    }

    /// Adapters of the same modules with other matrices, A and B given by the adapter's number.
    pub(crate) fn map<N>(&self, mut matrices: impl FnMut(usize) -> (N, N)) -> Adapters<N> {
        let mapped = self.adapters.iter().enumerate().map(|(i, adapter)| {
            let (a, b) = matrices(i);
            Adapter { module: adapter.module.clone(), a, b, scale: adapter.scale }
        });
        Adapters { adapters: mapped.collect(), by_module: self.by_module.clone() }
    }
}

impl Adapters<Matrix> {
    /// Puts adapters into canonical order and holds their shapes against the architecture.
    ///
    /// # Errors
    /// Where a module is unknown or a matrix doesn't fit it.
    pub fn new(architecture: &Architecture, adapters: Vec<Adapter>) -> Result<Self> {
        let mut by_name: BTreeMap<String, Adapter> = adapters.into_iter().map(|a| (a.module.clone(), a)).collect();
        let linears = architecture.linears();
        let ordered: Vec<Adapter> = linears.iter().filter_map(|linear| by_name.remove(&linear.module)).collect();
        if let Some(module) = by_name.into_keys().next() {
            return Err(unknown(architecture, module));
        }
        for adapter in &ordered {
            let linear = linears.iter().find(|linear| linear.module == adapter.module);
            let (inputs, outputs) = linear.map_or((0, 0), |l| (l.in_features as usize, l.out_features as usize));
            let rank = adapter.a.rows();
            for (matrix, part, expected) in [(&adapter.a, "A", [rank, inputs]), (&adapter.b, "B", [outputs, rank])] {
                if [matrix.rows(), matrix.columns()] != expected {
                    let got = vec![matrix.rows(), matrix.columns()];
                    let name = format!("{}.lora_{part}", adapter.module);
                    return Err(DecoderError::Shape { name, got, expected: expected.to_vec() });
                }
            }
        }
        Ok(Self::in_order(ordered))
    }

    /// Fresh adapters for `modules`: A uniform in ±1/√in_features (PEFT's Kaiming initialization with a = √5), B zero,
    /// so that training begins at the base.
    ///
    /// # Errors
    /// Where a module is unknown.
    pub fn initialize(
        architecture: &Architecture,
        modules: &BTreeSet<String>,
        rank: usize,
        scale: f32,
        seed: u64,
    ) -> Result<Self> {
        Self::of_modules(architecture, modules, scale, |i, linear| {
            let (inputs, outputs) = (linear.in_features as usize, linear.out_features as usize);
            let bound = 1.0 / (inputs as f32).sqrt();
            (random::uniform(rank, inputs, bound, &[seed, i as u64]), Matrix::zeros(outputs, rank))
        })
    }

    /// Zeros of the same shapes: where gradients are summed.
    pub fn zeros_like(&self) -> Self {
        let zeros = |m: &Matrix| Matrix::zeros(m.rows(), m.columns());
        let zeroed = |x: &Adapter| Adapter { module: x.module.clone(), a: zeros(&x.a), b: zeros(&x.b), scale: x.scale };
        Self { adapters: self.adapters.iter().map(zeroed).collect(), by_module: self.by_module.clone() }
    }

    /// Adds other gradients of the same adapters.
    ///
    /// # Panics
    /// Where the two are of different adapters.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(self.by_module, other.by_module, "gradients of different adapters don't add");
        for (mine, other) in self.adapters.iter_mut().zip(&other.adapters) {
            mine.a.add(&other.a);
            mine.b.add(&other.b);
        }
    }

    /// All trained matrices in canonical order: A, then B, module by module.
    pub fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.adapters.iter().flat_map(|adapter| [&adapter.a, &adapter.b])
    }

    /// All trained matrices in canonical order, to be changed.
    pub fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Matrix> {
        self.adapters.iter_mut().flat_map(|adapter| [&mut adapter.a, &mut adapter.b])
    }

    /// The number of trained values.
    pub fn parameters(&self) -> usize {
        self.matrices().map(|m| m.values().len()).sum()
    }
}

fn unknown(architecture: &Architecture, module: String) -> DecoderError {
    let known = architecture.linears().iter().map(|linear| linear.module.clone()).collect();
    DecoderError::UnknownModule { module, known }
}

/// The kinds of modules among paths (`q_proj`, …): a list that fits an error message.
pub(crate) fn kinds(modules: &[String]) -> String {
    let kinds: BTreeSet<&str> = modules.iter().filter_map(|module| module.rsplit('.').next()).collect();
    let quoted: Vec<String> = kinds.into_iter().map(|kind| format!("`{kind}`")).collect();
    quoted.join(", ")
}
