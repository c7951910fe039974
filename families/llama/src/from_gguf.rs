//! A shape from a GGUF of the architecture `llama`: what llama.cpp's graph of that name computes from it.

use model::ModelDescription;
use model::architecture::Rope;
use model::description::{Assumed, MetaValue};
use model::inventory::{Dialect, IgnoredTensor};
use model_api::FamilyError;
use serde_json::json;

use crate::headers;
use crate::shape::{Seen, Shape};

/// Keys under `llama.` that llama.cpp's graph reads and that are accounted for here, or that change nothing.
const KNOWN: &[&str] = &[
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
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

pub fn read(model: &ModelDescription) -> Result<Seen, FamilyError> {
    let keys = Keys(model);
    if keys.size("expert_count")?.unwrap_or(0) > 0 {
        return Err(FamilyError::Unsupported {
            what: "a mixture of experts in the architecture `llama`".into(),
            hint: "dense Llama models are supported".into(),
        });
    }
    let (shape, assumed) = shape(model, &keys)?;
    let mut notes = unknown_keys(model);
    if let (Some(head), Some(embedding)) = (model.tensor("output.weight"), model.tensor("token_embd.weight"))
        && head.stored_type != embedding.stored_type
    {
        notes.push(format!(
            "`output.weight` ({}) is stored beside `token_embd.weight` ({}): the head counts as untied",
            head.stored_type, embedding.stored_type
        ));
    }
    let ignored = vec![IgnoredTensor {
        name: "rope_freqs.weight".into(),
        reason: "its values are the RoPE factors of the architecture".into(),
    }];
    let config = headers::published_config(&shape, model);
    Ok(Seen { shape, dialect: Dialect::Gguf, config, ignored, assumed, notes })
}

fn shape(model: &ModelDescription, keys: &Keys<'_>) -> Result<(Shape, Vec<Assumed>), FamilyError> {
    let mut assumed = Vec::new();
    let hidden_size = keys.required("embedding_length")?;
    let num_attention_heads = keys.required("attention.head_count")?;
    let head_dim = match keys.size("attention.key_length")? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(num_attention_heads) => hidden_size / num_attention_heads,
        None => return Err(bad("attention.head_count", num_attention_heads, "a divisor of embedding_length")),
    };
    let rotary = keys.size("rope.dimension_count")?.unwrap_or(head_dim);
    if rotary != head_dim || !head_dim.is_multiple_of(2) {
        return Err(bad("rope.dimension_count", rotary, &format!("the whole head ({head_dim}), an even number")));
    }
    let num_key_value_heads = keys.size("attention.head_count_kv")?.unwrap_or(num_attention_heads);
    if num_key_value_heads == 0 || !num_attention_heads.is_multiple_of(num_key_value_heads) {
        return Err(bad("attention.head_count_kv", num_key_value_heads, "a divisor of attention.head_count"));
    }
    let embedding =
        model.tensor("token_embd.weight").ok_or_else(|| FamilyError::MissingKey { key: "token_embd.weight".into() })?;
    assumed.push(Assumed {
        fact: "hidden_act".into(),
        value: json!("silu"),
        reason: "a GGUF does not say it; llama.cpp's graph of `llama` computes silu".into(),
    });
    let has = |name: &str| model.tensor(name).is_some();
    let shape = Shape {
        vocab_size: embedding.shape.first().copied().unwrap_or(0),
        hidden_size,
        intermediate_size: keys.required("feed_forward_length")?,
        num_hidden_layers: keys.required("block_count")?,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        max_position_embeddings: keys.required("context_length")?,
        rms_norm_eps: keys
            .float("attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| FamilyError::MissingKey { key: "llama.attention.layer_norm_rms_epsilon".into() })?,
        rope: rope(model, keys, head_dim)?,
        tied: !has("output.weight"),
        qkv_bias: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
        o_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_down.bias"),
    };
    Ok((shape, assumed))
}

fn rope(model: &ModelDescription, keys: &Keys<'_>, head_dim: u64) -> Result<Rope, FamilyError> {
    let half = (head_dim / 2) as usize;
    let linear = match keys.text("rope.scaling.type") {
        Some("none") => 1.0,
        None | Some("linear") => keys.float("rope.scaling.factor")?.or(keys.float("rope.scale_linear")?).unwrap_or(1.0),
        Some(other) => {
            return Err(FamilyError::Unsupported {
                what: format!("`llama.rope.scaling.type = {other}`"),
                hint: "known: none, linear, and the factors of `rope_freqs.weight`".into(),
            });
        }
    };
    let linear = if linear == 0.0 { 1.0 } else { linear };
    let mut factors = match (model.tensor("rope_freqs.weight"), model.small.get("rope_freqs.weight")) {
        (None, _) => Vec::new(),
        (Some(_), Some(values)) if values.len() == half => values.clone(),
        (Some(stored), _) => return Err(bad("rope_freqs.weight", format!("{:?}", stored.shape), &format!("[{half}]"))),
    };
    if linear != 1.0 {
        factors = if factors.is_empty() { vec![linear; half] } else { factors.iter().map(|f| f * linear).collect() };
    }
    let theta = keys.float("rope.freq_base")?.unwrap_or(10_000.0);
    let attention_factor = keys.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
    Ok(Rope { theta, factors, attention_factor })
}

fn bad(key: &str, got: impl std::fmt::Display, expected: &str) -> FamilyError {
    FamilyError::BadKey { key: key.into(), got: got.to_string(), expected: expected.into() }
}

/// llama.cpp ignores what its graph does not read, so these files mean the same without the key; it is said.
fn unknown_keys(model: &ModelDescription) -> Vec<String> {
    let unknown = |key: &&String| key.strip_prefix("llama.").is_some_and(|rest| !KNOWN.contains(&rest));
    let say = |key: &String| format!("`{key}` is not read by llama.cpp's graph of `llama` and means nothing here");
    model.metadata.keys().filter(unknown).map(say).collect()
}

/// The metadata under `llama.`.
struct Keys<'a>(&'a ModelDescription);

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&MetaValue> {
        self.0.metadata.get(&format!("llama.{key}"))
    }

    fn size(&self, key: &str) -> Result<Option<u64>, FamilyError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| bad(&format!("llama.{key}"), format!("{value:?}"), "a whole number"))
    }

    fn required(&self, key: &str) -> Result<u64, FamilyError> {
        let full = || format!("llama.{key}");
        match self.size(key)? {
            Some(0) => Err(bad(&full(), 0, "a positive whole number")),
            Some(n) => Ok(n),
            None => Err(FamilyError::MissingKey { key: full() }),
        }
    }

    fn float(&self, key: &str) -> Result<Option<f32>, FamilyError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f32().map(Some).ok_or_else(|| bad(&format!("llama.{key}"), format!("{value:?}"), "a number"))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::StoredType;
    use model::description::{Container, StoredTensor};

    use super::*;

    fn model(more: &[(&str, MetaValue)]) -> ModelDescription {
        let sizes =
            ["embedding_length", "feed_forward_length", "block_count", "context_length", "attention.head_count"];
        let mut metadata = sizes.map(|key| (format!("llama.{key}"), MetaValue::U32(8))).to_vec();
        metadata.push(("llama.attention.layer_norm_rms_epsilon".into(), MetaValue::F32(1e-5)));
        metadata.push(("llama.attention.key_length".into(), MetaValue::U32(4)));
        metadata.extend(more.iter().map(|(key, value)| (format!("llama.{key}"), value.clone())));
        let embedding =
            StoredTensor { name: "token_embd.weight".into(), stored_type: StoredType::F32, shape: vec![16, 8] };
        ModelDescription {
            container: Container::Gguf,
            config: None,
            metadata: metadata.into_iter().collect(),
            tensors: vec![embedding],
            small: Default::default(),
            tokenizer: None,
            provenance: Default::default(),
        }
    }

    #[test]
    fn the_attention_factor_is_computed_with_and_written_again() {
        let factor = ("rope.scaling.attn_factor", MetaValue::F32(1.25));
        let seen = read(&model(std::slice::from_ref(&factor))).unwrap();
        assert_eq!(seen.shape.rope.attention_factor, 1.25);
        assert_eq!(seen.notes, [""; 0]);
        assert_eq!(seen.config["rope_scaling"]["attention_factor"], 1.25);
        let written = headers::gguf(&seen.shape).metadata;
        assert!(written.contains(&(format!("llama.{}", factor.0), factor.1)), "{written:?}");
        let plain = headers::gguf(&read(&model(&[])).unwrap().shape).metadata;
        assert!(plain.iter().all(|(key, _)| !key.contains("attn_factor")), "{plain:?}");
    }

    #[test]
    fn what_the_graph_does_not_read_is_said() {
        let seen = read(&model(&[("invented", MetaValue::Bool(true))])).unwrap();
        assert!(seen.notes.iter().any(|note| note.starts_with("`llama.invented` is not read")), "{:?}", seen.notes);
    }
}
