//! LoRA adapters, <https://arxiv.org/abs/2106.09685>: what is trained, by module path.

use std::collections::{BTreeMap, BTreeSet};

use model::Architecture;
use model::architecture::Module;

use crate::error::{DecoderError, Result};
use crate::matrix::Matrix;
use crate::random;

/// `y += scale · (x · Aᵀ) · Bᵀ` for one linear, or for each expert's: then A and B hold the factors of all experts, one
/// after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter<M = Matrix> {
    /// The module path: `model.layers.0.self_attn.q_proj`.
    pub module: String,
    /// A, `(experts · rank, in_features)`.
    pub a: M,
    /// B, `(experts · out_features, rank)`.
    pub b: M,
    /// `lora_alpha / rank`, or by its square root.
    pub scale: f32,
    /// Linears with factors of their own; 1 for most.
    pub experts: usize,
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

    /// Adapters for `modules`; `matrices` makes A and B, given the module and its number, which is the same with and
    /// without experts: linears come first.
    pub(crate) fn of_modules(
        architecture: &Architecture,
        modules: &BTreeSet<String>,
        scale: f32,
        mut matrices: impl FnMut(usize, &Module<'_>) -> (M, M),
    ) -> Result<Self> {
        let known = architecture.modules();
        if let Some(module) = modules.iter().find(|module| known.iter().all(|known| known.path != **module)) {
            return Err(unknown(architecture, module.clone()));
        }
        let numbers = numbers(&known);
        let chosen = known.iter().zip(numbers).filter(|(module, _)| modules.contains(module.path));
        let adapters = chosen.map(|(module, number)| {
            let (a, b) = matrices(number, module);
            Adapter { module: module.path.to_owned(), a, b, scale, experts: experts_of(module) }
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
            Adapter { module: adapter.module.clone(), a, b, scale: adapter.scale, experts: adapter.experts }
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
        let known = architecture.modules();
        let mut ordered = Vec::with_capacity(by_name.len());
        for module in &known {
            if let Some(adapter) = by_name.remove(module.path) {
                check_factors(module, &adapter)?;
                ordered.push(adapter);
            }
        }
        if let Some(module) = by_name.into_keys().next() {
            return Err(unknown(architecture, module));
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
        Self::of_modules(architecture, modules, scale, |number, module| {
            let [[rows, inputs], [outputs, rank]] = factor_shapes(module, rank);
            let bound = 1.0 / (inputs as f32).sqrt();
            (random::uniform(rows, inputs, bound, &[seed, number as u64]), Matrix::zeros(outputs, rank))
        })
    }

    /// Zeros of the same shapes: where gradients are summed.
    pub fn zeros_like(&self) -> Self {
        let zeros = |m: &Matrix| Matrix::zeros(m.rows(), m.columns());
        self.map(|i| (zeros(&self.adapters[i].a), zeros(&self.adapters[i].b)))
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
    let known = architecture.modules().iter().map(|module| module.path.to_owned()).collect();
    DecoderError::UnknownModule { module, known }
}

/// Shapes of A and B, of all experts.
pub(crate) fn factor_shapes(module: &Module<'_>, rank: usize) -> [[usize; 2]; 2] {
    let experts = experts_of(module);
    [[experts * rank, module.in_features as usize], [experts * module.out_features as usize, rank]]
}

fn experts_of(module: &Module<'_>) -> usize {
    module.experts.unwrap_or(1) as usize
}

fn check_factors(module: &Module<'_>, adapter: &Adapter) -> Result<()> {
    if adapter.experts != experts_of(module) {
        let (module, got, expected) = (module.path.to_owned(), adapter.experts as u64, experts_of(module).to_string());
        return Err(DecoderError::Inconsistent { module, what: "experts", got, expected });
    }
    let expected = factor_shapes(module, adapter.b.columns());
    for ((matrix, part), expected) in [(&adapter.a, "A"), (&adapter.b, "B")].into_iter().zip(expected) {
        if [matrix.rows(), matrix.columns()] != expected {
            let got = vec![matrix.rows(), matrix.columns()];
            let name = format!("{}.lora_{part}", adapter.module);
            return Err(DecoderError::Shape { name, got, expected: expected.to_vec() });
        }
    }
    Ok(())
}

/// Each module's number: linears in order, then those of experts.
fn numbers(modules: &[Module<'_>]) -> Vec<usize> {
    let linears = modules.iter().filter(|module| module.experts.is_none()).count();
    let (mut linear, mut stacked) = (0..linears, linears..);
    let number = |module: &Module<'_>| if module.experts.is_none() { linear.next() } else { stacked.next() };
    modules.iter().map(number).map(Option::unwrap_or_default).collect()
}

/// The kinds of modules among paths (`q_proj`, …): a list that fits an error message.
pub(crate) fn kinds(modules: &[String]) -> String {
    let kinds: BTreeSet<&str> = modules.iter().filter_map(|module| module.rsplit('.').next()).collect();
    let quoted: Vec<String> = kinds.into_iter().map(|kind| format!("`{kind}`")).collect();
    quoted.join(", ")
}
