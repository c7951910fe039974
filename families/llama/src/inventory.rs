//! Every tensor of a Llama, as published and as GGUF.

use model::expr::{halves_from_interleaved, interleave_halves};
use model::inventory::{AdapterFacts, Dialect, Form, GgufTensor, IgnoredTensor, Presence, Role, TensorSpec};
use model::{Expr, Inventory};

use crate::shape::Shape;

pub fn inventory(shape: &Shape, ignored: &[IgnoredTensor]) -> Inventory {
    let mut list = List { tensors: Vec::new(), gguf: Vec::new() };
    if !shape.rope.factors.is_empty() {
        let half = vec![shape.head_dim / 2];
        let expr = Expr::Constant { shape: half.clone(), values: shape.rope.factors.clone() };
        let name = "rope_freqs.weight".into();
        list.gguf.push(GgufTensor { name, shape: half, role: Role::Frequencies, layer: None, expr });
    }
    let (vocab, hidden) = (shape.vocab_size, shape.hidden_size);
    list.add(Place::model("model.embed_tokens", "token_embd"), Role::Embedding, &[vocab, hidden]);
    for i in 0..shape.num_hidden_layers {
        layer(&mut list, shape, i as u32);
    }
    list.add(Place::model("model.norm", "output_norm"), Role::Norm, &[hidden]);
    if !shape.tied {
        list.add(Place::model("lm_head", "output"), Role::Head, &[vocab, hidden]);
    }
    Inventory { tensors: list.tensors, ignored: ignored.to_vec(), gguf: list.gguf }
}

fn layer(list: &mut List, shape: &Shape, i: u32) {
    let at = |module: &str, gguf: &str| Place::layer(i, module, gguf);
    let (hidden, intermediate) = (shape.hidden_size, shape.intermediate_size);
    let (heads, kv_heads, head_dim) = (shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim);
    let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
    // In a fused matrix the rows of queries, keys and values follow one another.
    let fused = |first, rows| FusedRows { name: format!("blk.{i}.attn_qkv"), first, rows };

    list.add(at("input_layernorm", "attn_norm"), Role::Norm, &[hidden]);
    let q = at("self_attn.q_proj", "attn_q").rotary(heads, head_dim).fused(fused(0, queries));
    list.linear(q, Role::AttentionQuery, [queries, hidden], shape.qkv_bias);
    let k = at("self_attn.k_proj", "attn_k").rotary(kv_heads, head_dim).fused(fused(queries, keys));
    list.linear(k, Role::AttentionKey, [keys, hidden], shape.qkv_bias);
    let v = at("self_attn.v_proj", "attn_v").fused(fused(queries + keys, keys));
    list.linear(v, Role::AttentionValue, [keys, hidden], shape.qkv_bias);
    list.linear(at("self_attn.o_proj", "attn_output"), Role::AttentionOutput, [hidden, queries], shape.o_bias);
    list.add(at("post_attention_layernorm", "ffn_norm"), Role::Norm, &[hidden]);
    list.linear(at("mlp.gate_proj", "ffn_gate"), Role::GluGate, [intermediate, hidden], shape.mlp_bias);
    list.linear(at("mlp.up_proj", "ffn_up"), Role::GluUp, [intermediate, hidden], shape.mlp_bias);
    list.linear(at("mlp.down_proj", "ffn_down"), Role::GluDown, [hidden, intermediate], shape.mlp_bias);
}

/// Where a module's tensors are, in both spellings.
struct Place {
    module: String,
    gguf: String,
    layer: Option<u32>,
    /// (heads, head_dim) where llama.cpp interleaves the halves of each head.
    rotary: Option<(u64, u64)>,
    fused: Option<FusedRows>,
}

/// Rows of a fused GGUF matrix.
struct FusedRows {
    name: String,
    first: u64,
    rows: u64,
}

impl Place {
    fn model(module: &str, gguf: &str) -> Place {
        Place { module: module.into(), gguf: gguf.into(), layer: None, rotary: None, fused: None }
    }

    fn layer(i: u32, module: &str, gguf: &str) -> Place {
        let (module, gguf) = (format!("model.layers.{i}.{module}"), format!("blk.{i}.{gguf}"));
        Place { module, gguf, layer: Some(i), rotary: None, fused: None }
    }

    fn rotary(self, heads: u64, head_dim: u64) -> Place {
        Place { rotary: Some((heads, head_dim)), ..self }
    }

    fn fused(self, rows: FusedRows) -> Place {
        Place { fused: Some(rows), ..self }
    }

    /// From GGUF's row order to the published one.
    fn published_rows(&self, expr: Expr, columns: Option<u64>) -> Expr {
        match self.rotary {
            Some((heads, head_dim)) => halves_from_interleaved(expr, heads, head_dim, columns),
            None => expr,
        }
    }

    /// From the published row order to GGUF's.
    fn gguf_rows(&self, expr: Expr, columns: Option<u64>) -> Expr {
        match self.rotary {
            Some((heads, head_dim)) => interleave_halves(expr, heads, head_dim, columns),
            None => expr,
        }
    }
}

struct List {
    tensors: Vec<TensorSpec>,
    gguf: Vec<GgufTensor>,
}

impl List {
    /// A projection of a layer, with its bias where it has one; adapters may change the weight.
    fn linear(&mut self, place: Place, role: Role, shape: [u64; 2], bias: bool) {
        let adapter = AdapterFacts { module: place.module.clone(), input_axis: 1, output_axis: 0, expert_axis: None };
        self.push(&place, "weight", role, &shape, Some(adapter));
        if bias {
            self.push(&place, "bias", Role::Bias, &shape[..1], None);
        }
    }

    /// Any other tensor, always called `weight`.
    fn add(&mut self, place: Place, role: Role, shape: &[u64]) {
        self.push(&place, "weight", role, shape, None);
    }

    fn push(&mut self, place: &Place, part: &str, role: Role, shape: &[u64], adapter: Option<AdapterFacts>) {
        let name = format!("{}.{part}", place.module);
        let gguf = format!("{}.{part}", place.gguf);
        let columns = shape.get(1).copied();
        let mut forms = vec![
            Form { dialect: Dialect::Published, expr: Expr::tensor(&name) },
            Form { dialect: Dialect::Gguf, expr: place.published_rows(Expr::tensor(&gguf), columns) },
        ];
        if let Some(fused) = &place.fused {
            let rows = Expr::tensor(format!("{}.{part}", fused.name)).slice(0, fused.first, fused.rows);
            forms.push(Form { dialect: Dialect::Gguf, expr: place.published_rows(rows, columns) });
        }
        let expr = place.gguf_rows(Expr::tensor(&name), columns);
        let (layer, shape) = (place.layer, shape.to_vec());
        self.gguf.push(GgufTensor { name: gguf, shape: shape.clone(), role, layer, expr });
        self.tensors.push(TensorSpec { name, shape, role, layer, presence: Presence::Required, adapter, forms });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::RowMap;
    use model::architecture::Rope;

    use super::*;

    fn shape() -> Shape {
        Shape {
            vocab_size: 10,
            hidden_size: 8,
            intermediate_size: 12,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 4,
            max_position_embeddings: 16,
            rms_norm_eps: 1e-5,
            rope: Rope { theta: 1e4, factors: vec![1.0, 2.0], attention_factor: 1.0 },
            tied: false,
            qkv_bias: true,
            o_bias: true,
            mlp_bias: true,
        }
    }

    #[test]
    fn every_tensor_comes_back_from_gguf_unchanged() {
        let inventory = inventory(&shape(), &[]);
        let stored = |name: &str| inventory.get(name).map(|t| t.shape.clone());
        let gguf = |name: &str| inventory.gguf.iter().find(|t| t.name == name);
        for tensor in &inventory.tensors {
            let form = tensor.form(true, &|name| gguf(name).is_some()).unwrap();
            let back = form.expr.substitute(&|name| gguf(name).map(|t| t.expr.clone()));
            let map = RowMap::compile(&back, &stored).unwrap();
            assert_eq!(map.identity(&stored), Some(tensor.name.as_str()));
        }
        assert_eq!(inventory.gguf.len(), inventory.tensors.len() + 1, "and the RoPE factors");
    }

    #[test]
    fn a_fused_matrix_holds_queries_keys_and_values() {
        let inventory = inventory(&shape(), &[]);
        let fused = |name: &str| name.starts_with("blk.0.attn_qkv");
        let k = inventory.get("model.layers.0.self_attn.k_proj.weight").unwrap();
        let form = k.form(true, &fused).unwrap();
        let map = RowMap::compile(&form.expr, &|_| Some(vec![32, 8])).unwrap();
        let rows: Vec<u64> = (0..map.rows()).map(|i| map.locate(i).unwrap().1).collect();
        assert_eq!(rows, [16, 18, 17, 19, 20, 22, 21, 23]);
    }
}
