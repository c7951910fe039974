//! A Llama from a GGUF of the architecture `llama`: what llama.cpp's graph of that name computes from it.

use model::ModelDescription;
use model::description::Reading;
use model::inventory::Dialect;
use model_api::FamilyError;
use serde_json::json;
use transformer::keys::{self, Keys};
use transformer::{Shape, config, rope_scaling};

use crate::shape::Llama;

pub fn read(model: &ModelDescription) -> Result<Reading, FamilyError> {
    let keys = Keys::of(model)?;
    if keys.size("expert_count")?.unwrap_or(0) > 0 {
        return Err(FamilyError::Unsupported {
            what: "a mixture of experts in the architecture `llama`".into(),
            hint: "dense Llama models are supported".into(),
        });
    }
    let shape = Shape::from_gguf(model, &keys)?;
    let has = |name: &str| model.tensor(name).is_some();
    let llama = Llama {
        rope: keys.rope(shape.head_dim)?,
        shape,
        qkv_bias: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
        o_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_down.bias"),
    };
    let (architecture, inventory) = llama.build(keys::ignored());
    Ok(Reading {
        family: crate::ID.into(),
        dialect: Dialect::Gguf,
        architecture,
        inventory,
        config: published(&llama, model),
        gguf: llama.shape.llama_header(&llama.rope),
        assumed: vec![keys.hard_coded("hidden_act", json!("silu"))],
        lost_in_gguf: Vec::new(),
        notes: keys.notes(&["expert_count", "expert_used_count"]),
    })
}

/// The published configuration of a GGUF's numbers.
fn published(llama: &Llama, model: &ModelDescription) -> serde_json::Value {
    let (shape, rope) = (&llama.shape, &llama.rope);
    let own = json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": llama.qkv_bias,
        "head_dim": shape.head_dim_is_said.then_some(shape.head_dim),
        "hidden_act": "silu",
        "mlp_bias": llama.mlp_bias,
        "model_type": "llama",
        "rope_scaling": rope_scaling::write(rope, shape.head_dim),
        "rope_theta": config::shortest(rope.theta),
    });
    config::write(shape, model, own)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::StoredType;
    use model::architecture::Branch;
    use model::description::{Container, MetaValue, StoredTensor};

    use super::*;

    fn model(more: &[(&str, MetaValue)]) -> ModelDescription {
        let sizes =
            ["embedding_length", "feed_forward_length", "block_count", "context_length", "attention.head_count"];
        let mut metadata = sizes.map(|key| (format!("llama.{key}"), MetaValue::U32(8))).to_vec();
        metadata.push(("general.architecture".into(), MetaValue::String("llama".into())));
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
        let Branch::Attention(attention) = &seen.architecture.layers[0].sublayers[0].branches[0] else {
            panic!("a layer begins with attention");
        };
        assert_eq!(attention.rope.as_ref().unwrap().attention_factor, 1.25);
        assert_eq!(seen.notes, [""; 0]);
        assert_eq!(seen.config["rope_scaling"]["attention_factor"], 1.25);
        let written = seen.gguf.metadata;
        assert!(written.contains(&(format!("llama.{}", factor.0), factor.1)), "{written:?}");
        let plain = read(&model(&[])).unwrap().gguf.metadata;
        assert!(plain.iter().all(|(key, _)| !key.contains("attn_factor")), "{plain:?}");
    }

    #[test]
    fn what_the_graph_does_not_read_is_said() {
        let seen = read(&model(&[("invented", MetaValue::Bool(true))])).unwrap();
        assert!(seen.notes.iter().any(|note| note.starts_with("`llama.invented` is not read")), "{:?}", seen.notes);
    }
}
