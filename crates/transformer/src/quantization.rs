//! Checkpoints that mlx-lm quantized: `quantization` of `config.json`, and what it makes of the tensors.
//!
//! `{"bits": 4, "group_size": 64, "mode": "affine"}` with one entry more for every module that differs: its own numbers,
//! or `false`. A matrix `X.weight` is then packed integers with `X.scales` and `X.biases` beside it. mlx-lm packs
//! whatever has scales, so the stored tensors decide which matrices are packed, and the configuration how.

use std::collections::{BTreeMap, BTreeSet};

use model::description::{Reading, StoredTensor};
use model::inventory::{Dialect, Form, IgnoredTensor};
use model::{Expr, GroupAffine, ModelDescription, StoredType};
use model_api::FamilyError;
use model_api::config::Config;
use serde_json::{Map, Value};

const KEY: &str = "quantization";
/// Where Hugging Face's hub looks: mlx-lm writes the same there.
const COPY: &str = "quantization_config";

/// The keys of a configuration that say how its checkpoint is quantized; what is written has none of them.
pub(crate) const KEYS: [&str; 2] = [KEY, COPY];

/// How mlx-lm quantized a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantization {
    usual: Groups,
    /// Modules that differ; `None` where one is not quantized.
    modules: BTreeMap<String, Option<Groups>>,
}

/// Integers of `bits` in groups of `group_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Groups {
    bits: u32,
    group_size: u64,
}

impl std::fmt::Display for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bits in groups of {}", self.bits, self.group_size)
    }
}

impl Quantization {
    /// Reads what the configuration says; `None` where it says nothing.
    ///
    /// # Errors
    /// Where another program quantized the checkpoint, or mlx-lm in a way that is not affine.
    pub fn read(config: &Config<'_>) -> Result<Option<Self>, FamilyError> {
        match (config.optional(KEY), config.optional(COPY)) {
            (None, None) => Ok(None),
            (Some(own), Some(copy)) if own != copy => Err(FamilyError::BadKey {
                key: COPY.into(),
                got: copy.to_string(),
                expected: format!("the same as `{KEY}`, {own}"),
            }),
            (Some(own), _) => Self::of(KEY, own).map(Some),
            (None, Some(copy)) => match copy.get("quant_method").and_then(Value::as_str) {
                Some(method) => Err(FamilyError::Unsupported {
                    what: format!("a quantized checkpoint ({method})"),
                    hint: "use the 16-bit checkpoint, a GGUF of it, or one that mlx-lm quantized".into(),
                }),
                None => Self::of(COPY, copy).map(Some),
            },
        }
    }

    fn of(key: &str, value: &Value) -> Result<Self, FamilyError> {
        let keys = object(key, value)?;
        let usual = Groups::read(key, keys)?;
        let mut modules = BTreeMap::new();
        for (path, own) in keys.iter().filter(|(path, _)| !Groups::KEYS.contains(&path.as_str())) {
            let place = format!("{key}.{path}");
            let groups = match own {
                Value::Bool(false) => None,
                own => {
                    let keys = object(&place, own)?;
                    if let Some(other) = keys.keys().find(|key| !Groups::KEYS.contains(&key.as_str())) {
                        let (unknown, known) = (vec![format!("{place}.{other}")], Groups::KEYS.map(String::from));
                        return Err(FamilyError::UnknownKeys { unknown, known: known.to_vec() });
                    }
                    Some(Groups::read(&place, keys)?)
                }
            };
            modules.insert(path.clone(), groups);
        }
        Ok(Self { usual, modules })
    }

    /// How `module` is packed; `None` where it is said not to be.
    fn groups(&self, module: &str) -> Option<Groups> {
        self.modules.get(module).copied().unwrap_or(Some(self.usual))
    }

    /// The same reading over packed tensors.
    fn pack(&self, mut reading: Reading, model: &ModelDescription) -> Reading {
        let stored: BTreeMap<&str, &StoredTensor> = model.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        let packed = |name: &str| self.packed(name, &stored);
        for spec in reading.inventory.tensors.iter_mut().filter(|spec| spec.shape.len() > 1) {
            for form in spec.forms.iter_mut().filter(|form| form.dialect != Dialect::Gguf) {
                let expr = form.expr.substitute(&|name| packed(name).map(Expr::GroupAffine));
                if expr != form.expr {
                    *form = Form { dialect: Dialect::Mlx, expr };
                }
            }
        }
        let beside = reading.inventory.ignored.iter().filter_map(|ignored| {
            let module = ignored.name.strip_suffix(".weight")?;
            let original = ignored.copy_of.as_deref().and_then(|name| name.strip_suffix(".weight"));
            let part = |part: &str| IgnoredTensor {
                name: format!("{module}.{part}"),
                reason: ignored.reason.clone(),
                copy_of: original.map(|module| format!("{module}.{part}")),
            };
            Some([part("scales"), part("biases")])
        });
        let beside: Vec<_> = beside.flatten().collect();
        reading.inventory.ignored.extend(beside);
        reading.notes.push(self.note(&stored));
        reading.notes.extend(self.without_module(&stored));
        reading
    }

    /// The three tensors that make `name`, where it is stored packed.
    fn packed(&self, name: &str, stored: &BTreeMap<&str, &StoredTensor>) -> Option<GroupAffine> {
        let module = name.strip_suffix(".weight")?;
        let [scales, biases] = ["scales", "biases"].map(|part| format!("{module}.{part}"));
        let tensor = stored.get(name)?;
        let is_packed = tensor.stored_type == StoredType::U32 || stored.contains_key(scales.as_str());
        let Groups { bits, group_size } = self.groups(module).filter(|_| is_packed)?;
        Some(GroupAffine { codes: name.to_owned(), scales, biases, bits, group_size })
    }

    /// The dialect that was seen, with every way in which a module is packed.
    fn note(&self, stored: &BTreeMap<&str, &StoredTensor>) -> String {
        let modules = stored.keys().filter_map(|name| name.strip_suffix(".scales"));
        let packed: BTreeSet<String> =
            modules.filter_map(|m| self.groups(m)).map(|groups| groups.to_string()).collect();
        if packed.is_empty() {
            return format!("the configuration has `{KEY}`, but no tensor is packed: all are read as they lie");
        }
        let usual = self.usual.to_string();
        let others: String = packed.iter().filter(|g| **g != usual).map(|g| format!(", some of {g}")).collect();
        format!(
            "the dialect is mlx-lm, {usual}{others}: a value is scale · q + bias in f32, which mlx-lm itself rounds to the \
             type of the scales"
        )
    }

    /// What is said of modules that are not there.
    fn without_module(&self, stored: &BTreeMap<&str, &StoredTensor>) -> Option<String> {
        let absent = |module: &&String| !stored.contains_key(format!("{module}.weight").as_str());
        let absent: Vec<String> = self.modules.keys().filter(absent).map(|module| format!("`{module}`")).collect();
        (!absent.is_empty())
            .then(|| format!("`{KEY}` speaks of modules that are not in the checkpoint: {}", absent.join(", ")))
    }
}

impl Groups {
    const KEYS: [&str; 3] = ["bits", "group_size", "mode"];

    fn read(place: &str, keys: &Map<String, Value>) -> Result<Self, FamilyError> {
        match keys.get("mode") {
            None => {}
            Some(Value::String(mode)) if mode == "affine" => {}
            Some(mode) => {
                return Err(FamilyError::Unsupported {
                    what: format!("a checkpoint that mlx-lm quantized in the mode {mode} (`{place}.mode`)"),
                    hint: "`mlx_lm.convert -q` with the mode `affine`, its usual one, is read; so is the 16-bit \
                           checkpoint"
                        .into(),
                });
            }
        }
        let one_of = |key: &str, known: &[u64]| {
            let place = format!("{place}.{key}");
            let value = keys.get(key).ok_or_else(|| FamilyError::MissingKey { key: place.clone() })?;
            value.as_u64().filter(|n| known.contains(n)).ok_or_else(|| FamilyError::BadKey {
                key: place,
                got: value.to_string(),
                expected: format!("one of {known:?}"),
            })
        };
        let bits = one_of("bits", &GroupAffine::BITS.map(u64::from))? as u32;
        Ok(Self { bits, group_size: one_of("group_size", &GroupAffine::GROUP_SIZES)? })
    }
}

fn object<'a>(key: &str, value: &'a Value) -> Result<&'a Map<String, Value>, FamilyError> {
    value.as_object().ok_or_else(|| FamilyError::BadKey {
        key: key.into(),
        got: value.to_string(),
        expected: "an object with `bits` and `group_size`, or false for a module".into(),
    })
}

/// The reading of a checkpoint with what its stored tensors tell, whatever the family: packed ones are read as such, and
/// the dialect is mlx-lm's where its spelling is.
pub fn as_stored(reading: Reading, quantization: Option<&Quantization>, model: &ModelDescription) -> Reading {
    let mut reading = match quantization {
        Some(quantization) => quantization.pack(reading, model),
        None => reading,
    };
    let names: BTreeSet<&str> = model.tensors.iter().map(|t| t.name.as_str()).collect();
    let is_mlx = |form: &Form| form.dialect == Dialect::Mlx;
    let mut used = reading.inventory.tensors.iter().filter_map(|spec| spec.form(false, &|name| names.contains(name)));
    if quantization.is_some() || used.any(is_mlx) {
        reading.dialect = Dialect::Mlx;
    }
    reading
}
