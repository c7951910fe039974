//! The metadata of a GGUF under its architecture's name.

use model::ModelDescription;
use model::architecture::Rope;
use model::description::{Assumed, MetaValue};
use model::inventory::IgnoredTensor;
use model_api::FamilyError;
use serde_json::Value;

use crate::config;

/// Keys that every architecture's graph reads and that a [`crate::Shape`] and [`Keys::rope`] account for, or that
/// change nothing.
pub const COMMON: &[&str] = &[
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "tensor_data_layout",
    "vocab_size",
];

/// The metadata under `{architecture}.`.
pub struct Keys<'a> {
    model: &'a ModelDescription,
    architecture: &'a str,
}

impl<'a> Keys<'a> {
    /// The keys of a GGUF that says what its architecture is.
    ///
    /// # Errors
    /// Where it does not.
    pub fn of(model: &'a ModelDescription) -> Result<Self, FamilyError> {
        let key = "general.architecture";
        let architecture = model.metadata.get(key).and_then(MetaValue::as_str);
        let architecture = architecture.ok_or_else(|| FamilyError::MissingKey { key: key.into() })?;
        Ok(Self { model, architecture })
    }

    /// `general.architecture`.
    pub fn architecture(&self) -> &'a str {
        self.architecture
    }

    /// The key's whole name.
    pub fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// The value, of whatever kind.
    pub fn get(&self, key: &str) -> Option<&'a MetaValue> {
        self.model.metadata.get(&self.name(key))
    }

    /// A whole number.
    ///
    /// # Errors
    /// Where the value is another kind.
    pub fn size(&self, key: &str) -> Result<Option<u64>, FamilyError> {
        self.convert(key, "a whole number", MetaValue::as_u64)
    }

    /// A whole number, or the greatest of an array with one a layer.
    ///
    /// # Errors
    /// Where the value is another kind.
    pub fn heads(&self, key: &str) -> Result<Option<u64>, FamilyError> {
        Ok(self.by_layer(key)?.and_then(|heads| heads.into_iter().max()))
    }

    /// A whole number for every layer, or one for all of them.
    ///
    /// # Errors
    /// Where the value is another kind.
    pub fn by_layer(&self, key: &str) -> Result<Option<Vec<u64>>, FamilyError> {
        self.convert(key, "a whole number, or one a layer", |value| match value {
            MetaValue::Array(values) => values.iter().map(MetaValue::as_u64).collect(),
            one => Some(vec![one.as_u64()?]),
        })
    }

    /// A positive whole number that must be there.
    ///
    /// # Errors
    /// Where it is missing or another kind.
    pub fn required(&self, key: &str) -> Result<u64, FamilyError> {
        match self.size(key)? {
            Some(0) => Err(self.bad(key, 0, "a positive whole number")),
            Some(n) => Ok(n),
            None => Err(FamilyError::MissingKey { key: self.name(key) }),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// Where the value is another kind.
    pub fn float(&self, key: &str) -> Result<Option<f32>, FamilyError> {
        self.convert(key, "a number", MetaValue::as_f32)
    }

    /// A number that scales or divides.
    ///
    /// # Errors
    /// Where the value is another kind, or not positive.
    pub fn positive(&self, key: &str) -> Result<Option<f32>, FamilyError> {
        self.float(key)?.map(|value| config::positive(&self.name(key), f64::from(value))).transpose()
    }

    /// Text, where it is text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// The error of a key.
    pub fn bad(&self, key: &str, got: impl std::fmt::Display, expected: &str) -> FamilyError {
        FamilyError::BadKey { key: self.name(key), got: got.to_string(), expected: expected.into() }
    }

    fn convert<T>(
        &self,
        key: &str,
        expected: &str,
        take: impl Fn(&MetaValue) -> Option<T>,
    ) -> Result<Option<T>, FamilyError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        take(value).map(Some).ok_or_else(|| self.bad(key, format!("{value:?}"), expected))
    }

    /// The rotary embedding: base, linear scaling and the divisors of `rope_freqs.weight`.
    ///
    /// # Errors
    /// Where a scaling rule is not known or the divisors do not fit the head.
    pub fn rope(&self, head_dim: u64) -> Result<Rope, FamilyError> {
        let half = (head_dim / 2) as usize;
        let linear = match self.text("rope.scaling.type") {
            Some("none") => 1.0,
            None | Some("linear") => {
                let factor = self.float("rope.scaling.factor")?;
                factor.or(self.float("rope.scale_linear")?).filter(|factor| *factor != 0.0).unwrap_or(1.0)
            }
            Some(other) => {
                return Err(FamilyError::Unsupported {
                    what: format!("`{} = {other}`", self.name("rope.scaling.type")),
                    hint: "known: none, linear, and the factors of `rope_freqs.weight`".into(),
                });
            }
        };
        let mut factors = self.divisors(half)?;
        if linear != 1.0 {
            let scaled = || factors.iter().map(|f| f * linear).collect();
            factors = if factors.is_empty() { vec![linear; half] } else { scaled() };
        }
        let theta = self.positive("rope.freq_base")?.unwrap_or(10_000.0);
        let attention_factor = self.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
        Ok(Rope { theta, factors, attention_factor })
    }

    fn divisors(&self, half: usize) -> Result<Vec<f32>, FamilyError> {
        let name = "rope_freqs.weight";
        match (self.model.tensor(name), self.model.small.get(name)) {
            (None, _) => Ok(Vec::new()),
            (Some(_), Some(values)) if values.len() == half => {
                match values.iter().position(|value| !value.recip().is_finite()) {
                    None => Ok(values.clone()),
                    Some(i) => Err(FamilyError::BadKey {
                        key: format!("{name}[{i}]"),
                        got: values[i].to_string(),
                        expected: "a divisor".into(),
                    }),
                }
            }
            (Some(stored), _) => Err(FamilyError::BadKey {
                key: name.into(),
                got: format!("{:?}", stored.shape),
                expected: format!("[{half}]"),
            }),
        }
    }

    /// What is worth saying: keys that the graph does not read, so that the file means the same without them, and a
    /// head that is stored although the embedding could serve.
    pub fn notes(&self, own: &[&str]) -> Vec<String> {
        let prefix = format!("{}.", self.architecture);
        let known = |rest: &str| COMMON.contains(&rest) || own.contains(&rest);
        let unknown = |key: &&String| key.strip_prefix(&prefix).is_some_and(|rest| !known(rest));
        let say = |key: &String| {
            format!("`{key}` is not read by llama.cpp's graph of `{}` and means nothing here", self.architecture)
        };
        self.model.metadata.keys().filter(unknown).map(say).chain(self.untied_head()).collect()
    }

    fn untied_head(&self) -> Option<String> {
        let (head, embedding) = (self.model.tensor("output.weight")?, self.model.tensor("token_embd.weight")?);
        (head.stored_type != embedding.stored_type).then(|| {
            format!(
                "`output.weight` ({}) is stored beside `token_embd.weight` ({}): the head counts as untied",
                head.stored_type, embedding.stored_type
            )
        })
    }

    /// A fact that the file does not say and llama.cpp's graph hard-codes.
    pub fn hard_coded(&self, fact: &str, value: Value) -> Assumed {
        let reason = format!("a GGUF does not say it; llama.cpp's graph of `{}` computes this", self.architecture);
        Assumed { fact: fact.into(), value, reason }
    }
}

/// The RoPE factors, which the architecture holds.
pub fn ignored() -> Vec<IgnoredTensor> {
    vec![IgnoredTensor {
        name: "rope_freqs.weight".into(),
        reason: "its values are the RoPE factors of the architecture".into(),
        copy_of: None,
    }]
}
