//! What a GGUF says about a Granite, and what it cannot.

use model::description::{GgufHeader, LostFact, MetaValue, VocabularyKeys};
use serde_json::json;

use crate::shape::{Granite, Kind, Mixer};

/// The context length that llama.cpp's converter gives every model without positions.
const ENDLESS: u64 = 1 << 20;

impl Granite {
    /// The keys that llama.cpp's converter writes.
    pub fn gguf(&self) -> GgufHeader {
        // The graphs know no other head than `hidden_size / num_attention_heads`.
        let mut shape = transformer::Shape { head_dim_is_said: false, ..self.shape.clone() };
        if self.kind == Kind::MoeHybrid && !self.has_positions {
            shape.max_position_embeddings = ENDLESS;
        }
        if let (None, Some(shared)) = (self.mixture, self.shared_intermediate_size) {
            // The dense graphs take the width of the one network that there is from this key.
            shape.intermediate_size = shared;
        }
        let vocabulary = if self.kind == Kind::MoeHybrid { VocabularyKeys::Plain } else { VocabularyKeys::Llama };
        let mut header = shape.gguf_header(self.gguf_architecture(), Some(&self.rope), vocabulary, self.own_keys());
        if self.kind == Kind::MoeHybrid {
            let key = format!("{}.attention.head_count_kv", header.architecture);
            header.metadata.retain(|(name, _)| *name != key);
            header.metadata.push((key, self.key_value_heads()));
        }
        header
    }

    fn own_keys(&self) -> Vec<(&'static str, MetaValue)> {
        let u32 = |value: u64| MetaValue::U32(value as u32);
        let m = &self.multipliers;
        let mut keys = vec![
            ("vocab_size", u32(self.shape.vocab_size)),
            ("rope.dimension_count", u32(self.shape.head_dim)),
            ("attention.scale", MetaValue::F32(m.attention)),
            ("embedding_scale", MetaValue::F32(m.embedding)),
            ("residual_scale", MetaValue::F32(m.residual)),
            ("logit_scale", MetaValue::F32(m.logits_scaling)),
        ];
        if self.kind != Kind::Dense {
            keys.push(("expert_count", u32(self.mixture.map_or(0, |m| m.num_experts))));
            keys.push(("expert_used_count", u32(self.mixture.map_or(0, |m| m.experts_per_token))));
        }
        keys.extend(self.shared_intermediate_size.map(|size| ("expert_shared_feed_forward_length", u32(size))));
        if let Some(mamba) = &self.mamba {
            keys.push(("ssm.conv_kernel", u32(mamba.kernel_size)));
            keys.push(("ssm.state_size", u32(mamba.state_size)));
            keys.push(("ssm.group_count", u32(mamba.num_groups)));
            keys.push(("ssm.inner_size", u32(mamba.num_heads * mamba.head_dim)));
            keys.push(("ssm.time_step_rank", u32(mamba.num_heads)));
            keys.push(("rope.scaling.finetuned", MetaValue::Bool(self.has_positions)));
        }
        keys
    }

    /// One a layer; a layer without any is a Mamba layer.
    fn key_value_heads(&self) -> MetaValue {
        let heads = |mixer: &Mixer| match mixer {
            Mixer::Attention => MetaValue::I32(self.shape.num_key_value_heads as i32),
            Mixer::Mamba => MetaValue::I32(0),
        };
        MetaValue::Array(self.mixers.iter().map(heads).collect())
    }

    /// Facts that these GGUF architectures have no key for.
    pub fn lost(&self) -> Vec<LostFact> {
        let lost = |fact: &str, value, assumed| LostFact { fact: fact.into(), value, assumed, bound: None };
        let mut facts = Vec::new();
        if self.shape.head_dim * self.shape.num_attention_heads != self.shape.hidden_size {
            let assumed = json!(self.shape.hidden_size / self.shape.num_attention_heads);
            facts.push(lost("head_dim", json!(self.shape.head_dim), assumed));
        }
        if let Some(mamba) = self.mamba.as_ref().filter(|_| self.is_hybrid())
            && mamba.time_step != (None, None)
        {
            let (min, max) = mamba.time_step;
            facts.push(lost("time_step_limit", json!([min, max]), json!([null, null])));
        }
        if !self.is_hybrid() && self.kind == Kind::Moe && !self.has_positions {
            facts.push(lost("position_embedding_type", json!("nope"), json!("rope")));
        }
        facts
    }
}
