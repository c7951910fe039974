//! A Granite from a GGUF: what llama.cpp's graphs of its three architectures compute from it.

use model::ModelDescription;
use model::description::{MetaValue, Reading};
use model::inventory::Dialect;
use model_api::FamilyError;
use serde_json::{Value, json};
use transformer::keys::{self, Keys};
use transformer::{Mamba2Part, Shape, config, divided, rope_scaling};

use crate::shape::{Granite, Kind, Mixer, Mixture, Multipliers};

/// Keys beside those that every transformer has.
const OWN: &[&str] = &[
    "attention.scale",
    "embedding_scale",
    "expert_count",
    "expert_shared_feed_forward_length",
    "expert_used_count",
    "logit_scale",
    "residual_scale",
    "ssm.conv_kernel",
    "ssm.group_count",
    "ssm.inner_size",
    "ssm.state_size",
    "ssm.time_step_rank",
];

pub fn read(model: &ModelDescription) -> Result<Reading, FamilyError> {
    let keys = Keys::of(model)?;
    let granite = granite(model, &keys)?;
    let (architecture, inventory) = granite.build(keys::ignored());
    let mut assumed = vec![keys.hard_coded("hidden_act", json!("silu"))];
    if granite.is_hybrid() {
        assumed.push(keys.hard_coded("time_step_limit", json!([0.0, null])));
    }
    Ok(Reading {
        family: crate::ID.into(),
        dialect: Dialect::Gguf,
        architecture,
        inventory,
        config: published(&granite, model),
        gguf: granite.gguf(),
        assumed,
        lost_in_gguf: granite.lost(),
        notes: keys.notes(OWN),
    })
}

fn granite(model: &ModelDescription, keys: &Keys<'_>) -> Result<Granite, FamilyError> {
    let shape = Shape::from_gguf(model, keys)?;
    let has = |name: &str| model.tensor(name).is_some();
    let experts = keys.size("expert_count")?.unwrap_or(0);
    let mixture = match experts {
        0 => None,
        num_experts => {
            let key = "expert_used_count";
            Some(Mixture::new(num_experts, &keys.name(key), keys.required(key)?)?)
        }
    };
    let shared = keys.size("expert_shared_feed_forward_length")?.filter(|size| *size > 0);
    let four = keys.get("ssm.conv_kernel").is_some() || shared.is_some();
    let kind = match (four, &mixture) {
        (true, _) => Kind::MoeHybrid,
        (false, Some(_)) => Kind::Moe,
        (false, None) => Kind::Dense,
    };
    // Absent or zero means that the graph does not multiply; of scores it is then the usual root.
    let scale = |key: &str| match keys.float(key)? {
        None | Some(0.0) => Ok(None),
        Some(_) => keys.positive(key),
    };
    let usual = (shape.head_dim as f64).powf(-0.5) as f32;
    let rotates = keys.get("rope.scaling.finetuned").and_then(MetaValue::as_bool).unwrap_or(true);
    Ok(Granite {
        kind,
        rope: keys.rope(shape.head_dim)?,
        has_positions: rotates || keys.architecture() == "granitemoe",
        multipliers: Multipliers {
            embedding: scale("embedding_scale")?.unwrap_or(1.0),
            attention: scale("attention.scale")?.unwrap_or(usual),
            residual: scale("residual_scale")?.unwrap_or(1.0),
            logits_scaling: config::divisor(&keys.name("logit_scale"), scale("logit_scale")?.unwrap_or(1.0))?,
        },
        attention_bias: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
        mlp_bias: kind == Kind::Dense && has("blk.0.ffn_down.bias"),
        shared_intermediate_size: match (kind, &mixture) {
            (Kind::MoeHybrid, None) => Some(shape.intermediate_size),
            (Kind::MoeHybrid, Some(_)) => shared,
            _ => None,
        },
        mixture,
        mixers: mixers(keys, &shape)?,
        mamba: if keys.get("ssm.conv_kernel").is_some() { Some(mamba(model, keys)?) } else { None },
        shape,
    })
}

/// A layer without key and value heads is a Mamba layer, in the one architecture that has any.
fn mixers(keys: &Keys<'_>, shape: &Shape) -> Result<Vec<Mixer>, FamilyError> {
    let layers = shape.num_hidden_layers as usize;
    let heads = keys.by_layer("attention.head_count_kv")?.unwrap_or_default();
    if keys.architecture() != "granitehybrid" || heads.len() <= 1 {
        return Ok(vec![Mixer::Attention; layers]);
    }
    if heads.len() != layers {
        return Err(keys.bad("attention.head_count_kv", heads.len(), &format!("one for each of {layers} layers")));
    }
    Ok(heads.iter().map(|heads| if *heads == 0 { Mixer::Mamba } else { Mixer::Attention }).collect())
}

fn mamba(model: &ModelDescription, keys: &Keys<'_>) -> Result<Mamba2Part, FamilyError> {
    let (inner, num_heads) = (keys.required("ssm.inner_size")?, keys.required("ssm.time_step_rank")?);
    let (inner_key, heads_key) = (keys.name("ssm.inner_size"), keys.name("ssm.time_step_rank"));
    Ok(Mamba2Part {
        num_heads,
        head_dim: divided(&inner_key, inner, &heads_key, num_heads)?,
        state_size: keys.required("ssm.state_size")?,
        num_groups: keys.required("ssm.group_count")?,
        kernel_size: keys.required("ssm.conv_kernel")?,
        conv_bias: model.tensors.iter().any(|t| t.name.ends_with("ssm_conv1d.bias")),
        proj_bias: false,
        time_step: (None, None),
    })
}

/// The published configuration of a GGUF's numbers.
fn published(granite: &Granite, model: &ModelDescription) -> Value {
    let (shape, rope, m) = (&granite.shape, &granite.rope, &granite.multipliers);
    let four = granite.kind == Kind::MoeHybrid;
    let mixture = (granite.kind != Kind::Dense).then(|| {
        let m = granite.mixture.unwrap_or(Mixture { num_experts: 0, experts_per_token: 0 });
        json!({ "num_local_experts": m.num_experts, "num_experts_per_tok": m.experts_per_token })
    });
    let own = json!({
        "architectures": [granite.kind.class()],
        "attention_bias": granite.attention_bias,
        "attention_multiplier": config::shortest(m.attention),
        "embedding_multiplier": config::shortest(m.embedding),
        "hidden_act": "silu",
        "logits_scaling": config::shortest(m.logits_scaling),
        "mlp_bias": (granite.kind == Kind::Dense).then_some(granite.mlp_bias),
        "model_type": granite.kind.model_type(),
        "position_embedding_type": four.then_some(if granite.has_positions { "rope" } else { "nope" }),
        "residual_multiplier": config::shortest(m.residual),
        "rope_scaling": rope_scaling::write(rope, shape.head_dim),
        "rope_theta": config::shortest(rope.theta),
        "shared_intermediate_size": granite.shared_intermediate_size,
    });
    let layers = four.then(|| {
        let name = |mixer: &Mixer| if *mixer == Mixer::Mamba { "mamba" } else { "attention" };
        json!({ "layer_types": granite.mixers.iter().map(name).collect::<Vec<_>>() })
    });
    let mamba = granite.mamba.as_ref().map(|mamba| {
        json!({
            "mamba_conv_bias": mamba.conv_bias,
            "mamba_d_conv": mamba.kernel_size,
            "mamba_d_head": mamba.head_dim,
            "mamba_d_state": mamba.state_size,
            "mamba_expand": mamba.num_heads * mamba.head_dim / shape.hidden_size,
            "mamba_n_groups": mamba.num_groups,
            "mamba_n_heads": mamba.num_heads,
            "mamba_proj_bias": mamba.proj_bias,
        })
    });
    let parts = [Some(own), mixture, layers, mamba].into_iter().flatten();
    let all = parts.filter_map(|part| match part {
        Value::Object(keys) => Some(keys),
        _ => None,
    });
    config::write(shape, model, Value::Object(all.flatten().collect()))
}
