//! Every tensor is mapped, ignored by name, or a finding: headers held against the inventory.

use std::collections::{BTreeMap, BTreeSet};

use model::description::{Container, StoredTensor};
use model::expr::ExprError;
use model::inventory::{Dialect, Inventory, TensorSpec};
use model::{Expr, GroupAffine, RowMap, StoredType};

use crate::resolve::{Resolved, resolve};
use crate::stored_shape::{Refusal, Respelling, respelling};

/// One disagreement between a file's headers and the architecture.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Finding {
    /// A tensor that must be there.
    #[error("tensor `{name}` is missing; looked for {}", list(looked_for))]
    Missing {
        /// The canonical name.
        name: String,
        /// The stored names that would make it, those that are absent.
        looked_for: Vec<String>,
    },
    /// A tensor that nothing maps.
    #[error("tensor `{name}` ({stored_type}, {shape:?}) belongs to nothing in this architecture")]
    Unexpected {
        /// The stored name.
        name: String,
        /// Its type.
        stored_type: StoredType,
        /// Its shape, outermost first.
        shape: Vec<u64>,
    },
    /// A tensor of another shape than the architecture gives it.
    #[error("tensor `{name}` has shape {got:?}, the configuration asks for {expected:?}{}", refusal.reason())]
    WrongShape {
        /// The canonical name.
        name: String,
        /// The stored tensors that make it.
        stored: Vec<String>,
        /// The shape that they make, outermost first.
        got: Vec<u64>,
        /// The shape that the architecture gives it.
        expected: Vec<u64>,
        /// Why the one does not stand for the other.
        refusal: Refusal,
    },
    /// Stored tensors that do not make the canonical one.
    #[error("tensor `{name}` cannot be made of {}: {error}", list(stored))]
    DoesNotFit {
        /// The canonical name.
        name: String,
        /// The stored tensors that should make it.
        stored: Vec<String>,
        /// Why not.
        error: ExprError,
    },
    /// One of the three tensors that make a packed one, of a type that it cannot have.
    #[error("tensor `{name}` is `{stored_type}`, {expected}")]
    WrongPart {
        /// The stored name.
        name: String,
        /// Its type.
        stored_type: StoredType,
        /// What it should be.
        expected: &'static str,
    },
    /// A tensor of a type that cannot be read.
    #[error("tensor `{name}` is `{stored_type}`, which is not decoded; decoded are {}", list(&decodable()))]
    WrongType {
        /// The stored name.
        name: String,
        /// Its type.
        stored_type: StoredType,
    },
}

impl Finding {
    /// A stable identifier for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Finding::Missing { .. } => "missing_tensor",
            Finding::Unexpected { .. } => "unexpected_tensor",
            Finding::WrongShape { .. } => "wrong_shape",
            Finding::DoesNotFit { .. } => "tensors_do_not_fit",
            Finding::WrongPart { .. } | Finding::WrongType { .. } => "wrong_type",
        }
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Finding::Missing { .. } => "the checkpoint is incomplete or its configuration is another model's: compare \
                the file list with where it came from and fetch it again"
                .into(),
            Finding::Unexpected { name, .. } => format!(
                "check that the configuration is this checkpoint's (number of layers, biases, tied embeddings); if \
                 `{name}` is known to carry nothing, its family must ignore it by name"
            ),
            Finding::WrongShape { refusal: Refusal::Transposed, .. } => {
                "store weights as [out, in]; dimensions of 1 may stand anywhere".into()
            }
            Finding::WrongShape {
                refusal: Refusal::HeadsElsewhere { .. } | Refusal::Ambiguous { .. },
                expected,
                ..
            } => {
                format!("store it as {expected:?}")
            }
            Finding::WrongShape { .. } | Finding::DoesNotFit { .. } => "the configuration is another model's, or the \
                checkpoint was pruned or resized without it: take both from the same place"
                .into(),
            Finding::WrongPart { .. } => {
                "the configuration's `quantization` is another checkpoint's, or another program \
                wrote it than mlx-lm"
                    .into()
            }
            Finding::WrongType { stored_type: StoredType::U32, .. } => "packed integers need `quantization` in \
                `config.json`, as mlx-lm writes it, and scales and biases beside them"
                .into(),
            Finding::WrongType { .. } => {
                "convert the checkpoint to one of these types, bf16 where nothing speaks against it".into()
            }
        }
    }
}

/// All disagreements, first those of canonical tensors in the inventory's order, then those of stored ones in file order.
pub fn coverage(inventory: &Inventory, container: Container, tensors: &[StoredTensor]) -> Vec<Finding> {
    let stored: BTreeMap<&str, &StoredTensor> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let shapes = |name: &str| stored.get(name).map(|tensor| tensor.shape.clone());
    let mut used = BTreeSet::new();
    let mut parts = BTreeMap::new();
    let mut findings = Vec::new();
    for spec in &inventory.tensors {
        match resolve(inventory, spec, container, &shapes) {
            Resolved::Stored(expr) => {
                used.extend(expr.tensors().into_iter().map(str::to_owned));
                parts.extend(expr.group_affine().into_iter().flat_map(parts_of));
                let map = RowMap::compile(&expr, &shapes);
                findings.extend(misfit(spec, expr.tensors(), map));
            }
            Resolved::Tied { .. } | Resolved::Absent => {}
            Resolved::Missing => {
                let looked_for = absent_names(spec, container, &|name| stored.contains_key(name));
                findings.push(Finding::Missing { name: spec.name.clone(), looked_for });
            }
        }
    }
    for tensor in tensors {
        let StoredTensor { name, stored_type, shape } = tensor.clone();
        if inventory.ignored.iter().any(|ignored| ignored.name == name) {
            continue;
        }
        if !used.contains(&name) {
            findings.push(Finding::Unexpected { name, stored_type, shape });
        } else if let Some(part) = parts.get(&name) {
            findings.extend(part.misfit(&name, stored_type));
        } else if blocks::decoder(stored_type).is_none() {
            findings.push(Finding::WrongType { name, stored_type });
        }
    }
    findings
}

/// A tensor that is stored under another shape than its own, with the same values in the same order.
#[derive(Debug, Clone, PartialEq)]
pub struct Respelled {
    /// The canonical name.
    pub name: String,
    /// The shape that it has.
    pub stored: Vec<u64>,
    /// Its own.
    pub canonical: Vec<u64>,
    /// In what they differ.
    pub respelling: Respelling,
}

/// Every tensor that is read under another shape than it is stored in, in the inventory's order.
pub fn respelled(inventory: &Inventory, container: Container, tensors: &[StoredTensor]) -> Vec<Respelled> {
    let stored: BTreeMap<&str, &StoredTensor> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let shapes = |name: &str| stored.get(name).map(|tensor| tensor.shape.clone());
    let of = |spec: &TensorSpec| {
        let Resolved::Stored(expr) = resolve(inventory, spec, container, &shapes) else { return None };
        let Expr::Reshape { of, .. } = expr.as_ref() else { return None };
        let Expr::Tensor(name) = of.as_ref() else { return None };
        let stored = shapes(name)?;
        let respelling = respelling(spec, &stored).ok()??;
        Some(Respelled { name: spec.name.clone(), stored, canonical: spec.shape.clone(), respelling })
    };
    match container {
        Container::Safetensors => inventory.tensors.iter().filter_map(of).collect(),
        Container::Gguf => Vec::new(),
    }
}

/// What a stored tensor is of a packed one.
enum Part {
    Codes,
    Scales,
}

fn parts_of(groups: &GroupAffine) -> [(String, Part); 3] {
    let GroupAffine { codes, scales, biases, .. } = groups.clone();
    [(codes, Part::Codes), (scales, Part::Scales), (biases, Part::Scales)]
}

impl Part {
    fn misfit(&self, name: &str, stored_type: StoredType) -> Option<Finding> {
        let (fits, expected) = match self {
            Part::Codes => (stored_type == StoredType::U32, "but has scales and biases: packed integers are `u32`"),
            Part::Scales => (
                matches!(stored_type, StoredType::F32 | StoredType::F16 | StoredType::Bf16),
                "scales and biases of packed integers are `f16`, `bf16` or `f32`",
            ),
        };
        (!fits).then(|| Finding::WrongPart { name: name.to_owned(), stored_type, expected })
    }
}

/// Whether what the stored tensors make is not what the architecture asks for.
fn misfit(spec: &TensorSpec, stored: Vec<&str>, map: Result<RowMap, ExprError>) -> Option<Finding> {
    let name = spec.name.clone();
    let stored = stored.into_iter().map(str::to_owned).collect();
    match map {
        // A custom operation gives the shape that its family says; what it reads is checked by running it.
        Err(ExprError::NotRows { .. }) => None,
        Err(error) => Some(Finding::DoesNotFit { name, stored, error }),
        Ok(map) if map.shape != spec.shape => {
            let (got, expected) = (map.shape, spec.shape.clone());
            let refusal = respelling(spec, &got).err().unwrap_or(Refusal::Other);
            Some(Finding::WrongShape { name, stored, got, expected, refusal })
        }
        Ok(_) => None,
    }
}

/// Of the form that comes closest in this container, the stored names that are absent.
fn absent_names(spec: &TensorSpec, container: Container, is_stored: &dyn Fn(&str) -> bool) -> Vec<String> {
    let here = spec.forms.iter().filter(|form| (form.dialect == Dialect::Gguf) == (container == Container::Gguf));
    let absent = here.map(|form| {
        let names = form.expr.tensors().into_iter().filter(|name| !is_stored(name));
        names.map(str::to_owned).collect::<Vec<_>>()
    });
    absent.min_by_key(Vec::len).unwrap_or_default()
}

fn decodable() -> Vec<String> {
    blocks::decodable().map(|stored_type| stored_type.name().to_owned()).collect()
}

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing: this family cannot read it from here".into(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}
