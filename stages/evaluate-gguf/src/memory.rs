//! What an evaluation takes, from the file's header alone.

use model::ModelDescription;
use model::description::MetaValue;

use crate::evaluate::BATCH;

/// The shape of a transformer as GGUF metadata says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the output.
    pub vocab_size: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Width of the feed-forward network.
    pub intermediate_size: u64,
    /// Query heads.
    pub num_heads: u64,
    /// Keys and values of one token, all layers, f32 values.
    pub kv_values: u64,
    /// Weights.
    pub parameters: u64,
}

/// The process itself: llama.cpp, its compute threads, two tokenizers of a small vocabulary.
const BASE: u64 = 24 << 20;
/// Both tokenizers, a token: texts, merges, hash maps.
const PER_TOKEN: u64 = 700;

impl Shape {
    /// Reads the shape; `None` where a key is missing, as in a file that is only described by its kind.
    pub fn read(model: &ModelDescription) -> Option<Self> {
        let (_, arch) = model.claim()?;
        let value = |key: &str| model.metadata.get(&format!("{arch}.{key}"));
        let number = |key: &str| value(key)?.as_u64();
        let (hidden_size, num_heads) = (number("embedding_length")?, number("attention.head_count")?);
        let head_dim = number("attention.key_length").or_else(|| hidden_size.checked_div(num_heads))?;
        let kv_heads = match value("attention.head_count_kv") {
            Some(MetaValue::Array(layers)) => layers.iter().filter_map(MetaValue::as_u64).sum(),
            Some(all) => all.as_u64()?.checked_mul(number("block_count")?)?,
            None => num_heads.checked_mul(number("block_count")?)?,
        };
        Some(Self {
            vocab_size: *model.tensor("token_embd.weight")?.shape.first()?,
            hidden_size,
            intermediate_size: number("feed_forward_length").unwrap_or(0),
            num_heads,
            kv_values: kv_heads.checked_mul(head_dim)?.checked_mul(2)?,
            parameters: model.tensors.iter().map(|tensor| tensor.values()).sum(),
        })
    }

    /// Peak anonymous bytes with a context of `context` tokens; the weights are mapped.
    ///
    /// Logits of a batch exist three times: in the graph, in llama.cpp's output buffer, and as the reference's rows.
    /// The graph's buffer is as large as its largest moment: the logits, or a layer's scores and activations.
    pub fn memory(&self, context: u64, with_reference: bool) -> u64 {
        let batch = context.min(BATCH as u64);
        let padded = context.next_multiple_of(256);
        let row = |values: u64| batch.saturating_mul(values).saturating_mul(4);
        let logits = row(self.vocab_size);
        let scores = row(self.num_heads.saturating_mul(padded));
        let layer = scores.saturating_mul(2).saturating_add(row(3 * self.intermediate_size + 6 * self.hidden_size));
        let kv = padded.saturating_mul(self.kv_values).saturating_mul(4);
        let reference = if with_reference { logits } else { 0 };
        [BASE, self.vocab_size * PER_TOKEN, kv, logits, logits.max(layer), reference]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use model::StoredType;
    use model::description::{Container, StoredTensor};

    use super::*;

    /// SmolLM2-135M's header.
    fn smollm2() -> ModelDescription {
        let keys = [
            ("llama.embedding_length", 576),
            ("llama.block_count", 30),
            ("llama.feed_forward_length", 1536),
            ("llama.attention.head_count", 9),
            ("llama.attention.head_count_kv", 3),
        ];
        let mut metadata: BTreeMap<String, MetaValue> =
            keys.into_iter().map(|(key, value)| (key.to_owned(), MetaValue::U32(value))).collect();
        metadata.insert("general.architecture".into(), MetaValue::String("llama".into()));
        ModelDescription {
            container: Container::Gguf,
            config: None,
            metadata,
            tensors: vec![StoredTensor {
                name: "token_embd.weight".into(),
                stored_type: StoredType::F32,
                shape: vec![49152, 576],
            }],
            small: BTreeMap::new(),
            tokenizer: None,
            provenance: BTreeMap::new(),
        }
    }

    #[test]
    fn the_shape_is_read_from_metadata() {
        let mut model = smollm2();
        let shape = Shape::read(&model).unwrap();
        assert_eq!(shape.kv_values, 30 * 3 * 64 * 2);
        assert_eq!((shape.vocab_size, shape.parameters), (49152, 49152 * 576));
        // hybrids say the heads of each layer, none for those without attention
        let layers = [3, 0, 3].map(MetaValue::U32).to_vec();
        model.metadata.insert("llama.attention.head_count_kv".into(), MetaValue::Array(layers));
        assert_eq!(Shape::read(&model).unwrap().kv_values, 6 * 64 * 2);
        model.metadata.remove("llama.embedding_length");
        assert_eq!(Shape::read(&model), None);
    }

    #[test]
    fn a_reference_costs_its_rows() {
        let shape = Shape::read(&smollm2()).unwrap();
        assert_eq!(shape.memory(512, true) - shape.memory(512, false), 256 * 49152 * 4);
        assert!(shape.memory(4096, false) > shape.memory(512, false));
    }
}
