//! The numbers that every transformer has.

use model::ModelDescription;
use model::architecture::Rope;
use model::description::{GgufHeader, MetaValue, VocabularyKeys};
use model_api::FamilyError;
use model_api::config::Config;

use crate::config::{check_sizes, positive, raw};
use crate::keys::Keys;

/// The numbers that every transformer has, whoever wrote them down.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Rows of the embedding.
    pub vocab_size: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Features between the two products of a dense feed-forward network.
    pub intermediate_size: u64,
    /// Layers.
    pub num_hidden_layers: u64,
    /// Query heads.
    pub num_attention_heads: u64,
    /// Key and value heads, of layers that have any.
    pub num_key_value_heads: u64,
    /// Features of a head.
    pub head_dim: u64,
    /// Whether `head_dim` was said rather than taken to be `hidden_size / num_attention_heads`: so it is in a GGUF.
    pub head_dim_is_said: bool,
    /// The longest position that the model was trained for.
    pub max_position_embeddings: u64,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f32,
    /// Whether the embedding serves as head.
    pub tied: bool,
}

/// Layers that are described whatever the file holds; with more than these, each must have a tensor.
const FEW_LAYERS: u64 = 1024;

/// A number of layers, before anything is as large as it says.
fn layers(model: &ModelDescription, key: &str, said: u64) -> Result<u64, FamilyError> {
    let stored = model.tensors.len() as u64;
    if said <= FEW_LAYERS.max(stored) {
        return Ok(said);
    }
    let expected = format!("no more layers than the {stored} tensors that are stored");
    Err(FamilyError::BadKey { key: key.into(), got: said.to_string(), expected })
}

impl Shape {
    /// Reads `config.json`; `tied` is what the family's configurations mean where they do not say.
    ///
    /// # Errors
    /// Where a key is missing or no such number, or heads do not divide what they share.
    pub fn from_config(model: &ModelDescription, config: &Config<'_>, tied: bool) -> Result<Shape, FamilyError> {
        check_sizes(raw(model)?)?;
        let hidden_size = config.size("hidden_size")?;
        let num_attention_heads = config.size("num_attention_heads")?;
        let num_key_value_heads = config.optional_size("num_key_value_heads")?.unwrap_or(num_attention_heads);
        let said = config.optional_size("head_dim")?;
        let head_dim = match said {
            Some(head_dim) => head_dim,
            None => divided("hidden_size", hidden_size, "num_attention_heads", num_attention_heads)?,
        };
        divided("num_attention_heads", num_attention_heads, "num_key_value_heads", num_key_value_heads)?;
        divided("head_dim", head_dim, "2", 2)?;
        Ok(Shape {
            vocab_size: config.size("vocab_size")?,
            hidden_size,
            intermediate_size: config.size("intermediate_size")?,
            num_hidden_layers: layers(model, "num_hidden_layers", config.size("num_hidden_layers")?)?,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            head_dim_is_said: said.is_some(),
            max_position_embeddings: config.size("max_position_embeddings")?,
            rms_norm_eps: positive("rms_norm_eps", config.number("rms_norm_eps")?)?,
            tied: config.flag("tie_word_embeddings", tied)?,
        })
    }

    /// Reads a GGUF's metadata; `num_key_value_heads` comes from the family where the key is an array.
    ///
    /// # Errors
    /// As [`Shape::from_config`].
    pub fn from_gguf(model: &ModelDescription, keys: &Keys<'_>) -> Result<Shape, FamilyError> {
        let hidden_size = keys.required("embedding_length")?;
        let num_attention_heads = keys.required("attention.head_count")?;
        let (head_count, embedding_length) = (keys.name("attention.head_count"), keys.name("embedding_length"));
        let said = keys.size("attention.key_length")?;
        let head_dim = match said {
            Some(head_dim) => head_dim,
            None => divided(&embedding_length, hidden_size, &head_count, num_attention_heads)?,
        };
        let rotary = keys.size("rope.dimension_count")?.unwrap_or(head_dim);
        if rotary != head_dim || !head_dim.is_multiple_of(2) {
            let expected = format!("the whole head ({head_dim}), an even number");
            return Err(keys.bad("rope.dimension_count", rotary, &expected));
        }
        let num_key_value_heads = keys.heads("attention.head_count_kv")?.unwrap_or(num_attention_heads);
        divided(&head_count, num_attention_heads, &keys.name("attention.head_count_kv"), num_key_value_heads)?;
        let missing = |key: &str| FamilyError::MissingKey { key: key.into() };
        let embedding = model.tensor("token_embd.weight").ok_or_else(|| missing("token_embd.weight"))?;
        let eps = "attention.layer_norm_rms_epsilon";
        Ok(Shape {
            vocab_size: embedding.shape.first().copied().unwrap_or(0),
            hidden_size,
            intermediate_size: keys.required("feed_forward_length")?,
            num_hidden_layers: layers(model, &keys.name("block_count"), keys.required("block_count")?)?,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            head_dim_is_said: said.is_some(),
            max_position_embeddings: keys.required("context_length")?,
            rms_norm_eps: keys.positive(eps)?.ok_or_else(|| missing(&keys.name(eps)))?,
            tied: model.tensor("output.weight").is_none(),
        })
    }

    /// The keys that llama.cpp's converter writes for every transformer, in its order, and the attention factor of its
    /// RoPE, which it never meets.
    pub fn gguf_metadata(&self, architecture: &str, rope: Option<&Rope>) -> Vec<(String, MetaValue)> {
        let u32 = |key: &str, value: u64| (format!("{architecture}.{key}"), MetaValue::U32(value as u32));
        let f32 = |key: &str, value: f32| (format!("{architecture}.{key}"), MetaValue::F32(value));
        let mut keys = vec![
            u32("block_count", self.num_hidden_layers),
            u32("context_length", self.max_position_embeddings),
            u32("embedding_length", self.hidden_size),
            u32("feed_forward_length", self.intermediate_size),
            u32("attention.head_count", self.num_attention_heads),
            u32("attention.head_count_kv", self.num_key_value_heads),
        ];
        keys.extend(rope.map(|rope| f32("rope.freq_base", rope.theta)));
        let factor = rope.map(|rope| rope.attention_factor).filter(|factor| *factor != 1.0);
        keys.extend(factor.map(|factor| f32("rope.scaling.attn_factor", factor)));
        keys.push(f32("attention.layer_norm_rms_epsilon", self.rms_norm_eps));
        if self.head_dim_is_said {
            keys.extend(["attention.key_length", "attention.value_length"].map(|key| u32(key, self.head_dim)));
        }
        keys
    }

    /// The header of the architecture `llama`, which several families write. It always has the size of a head:
    /// transformers fills it into these configurations before llama.cpp's converter reads them.
    pub fn llama_header(&self, rope: &Rope) -> GgufHeader {
        let shape = Shape { head_dim_is_said: true, ..self.clone() };
        let u32 = |value: u64| MetaValue::U32(value as u32);
        let own = [("vocab_size", u32(self.vocab_size)), ("rope.dimension_count", u32(self.head_dim))];
        shape.gguf_header("llama", Some(rope), VocabularyKeys::Llama, own)
    }

    /// A header of those keys and the family's own.
    pub fn gguf_header(
        &self,
        architecture: &str,
        rope: Option<&Rope>,
        vocabulary: VocabularyKeys,
        own: impl IntoIterator<Item = (&'static str, MetaValue)>,
    ) -> GgufHeader {
        let mut metadata = self.gguf_metadata(architecture, rope);
        metadata.extend(own.into_iter().map(|(key, value)| (format!("{architecture}.{key}"), value)));
        GgufHeader { architecture: architecture.into(), metadata, vocabulary }
    }
}

/// `whole / by`.
///
/// # Errors
/// Where something would be left over.
pub fn divided(whole_key: &str, whole: u64, by_key: &str, by: u64) -> Result<u64, FamilyError> {
    if by > 0 && whole.is_multiple_of(by) {
        return Ok(whole / by);
    }
    Err(FamilyError::BadKey {
        key: whole_key.into(),
        got: whole.to_string(),
        expected: format!("a multiple of {by_key} ({by})"),
    })
}
