//! Puts a model together: what is computed and every tensor of it, from one description.

use model::architecture::{
    Architecture, Attention, Branch, Embedding, Glu, GluInput, Head, Layer, Linear, Norm, Rope, Sublayer,
};
use model::inventory::{GgufTensor, IgnoredTensor, Role};
use model::{Expr, Inventory};

use crate::parts::{AttentionPart, GluPart};
use crate::place::Place;
use crate::shape::Shape;
use crate::tensors::Tensors;

const EMBEDDING: &str = "model.embed_tokens";
const HEAD: &str = "lm_head";

/// A model that is being put together, embedding first and head last.
pub struct Builder<'a> {
    shape: &'a Shape,
    norm_offset: f32,
    embedding_scale: f32,
    logit_scale: f32,
    logit_soft_cap: Option<f32>,
    layers: Vec<Layer>,
    tensors: Tensors,
}

impl<'a> Builder<'a> {
    /// Begins with the embedding; `factors` of RoPE become the tensor `rope_freqs` of a GGUF.
    pub fn new(shape: &'a Shape, rope: Option<&Rope>) -> Self {
        let mut tensors = Tensors::default();
        if let Some(rope) = rope.filter(|rope| !rope.factors.is_empty()) {
            let of_half = vec![rope.factors.len() as u64];
            tensors.gguf(GgufTensor {
                name: "rope_freqs.weight".into(),
                shape: of_half.clone(),
                role: Role::Frequencies,
                layer: None,
                expr: Expr::Constant { shape: of_half, values: rope.factors.clone() },
            });
        }
        let table = [shape.vocab_size, shape.hidden_size];
        tensors.table(&Place::model(EMBEDDING, "token_embd"), Role::Embedding, table);
        let (norm_offset, embedding_scale, logit_scale, logit_soft_cap) = (0.0, 1.0, 1.0, None);
        Self { shape, norm_offset, embedding_scale, logit_scale, logit_soft_cap, layers: Vec::new(), tensors }
    }

    /// Norms are stored as a difference from `offset`, and a GGUF has it added.
    pub fn norm_offset(self, offset: f32) -> Self {
        Self { norm_offset: offset, ..self }
    }

    /// The embedding's multiplier.
    pub fn embedding_scale(self, scale: f32) -> Self {
        Self { embedding_scale: scale, ..self }
    }

    /// The head's multiplier and soft cap.
    pub fn logits(self, scale: f32, soft_cap: Option<f32>) -> Self {
        Self { logit_scale: scale, logit_soft_cap: soft_cap, ..self }
    }

    /// The next layer.
    pub fn layer(&mut self) -> LayerBuilder<'_, 'a> {
        let index = self.layers.len();
        self.layers.push(Layer { sublayers: Vec::new() });
        LayerBuilder { model: self, index }
    }

    /// Ends with the last norm and the head.
    pub fn finish(mut self, ignored: Vec<IgnoredTensor>) -> (Architecture, Inventory) {
        let final_norm = self.norm(&Place::model("model.norm", "output_norm"), self.shape.hidden_size);
        let shape = self.shape;
        if !shape.tied {
            self.tensors.table(&Place::model(HEAD, "output"), Role::Head, [shape.vocab_size, shape.hidden_size]);
        }
        let weight = |module: &str| format!("{module}.weight");
        let architecture = Architecture {
            vocab_size: shape.vocab_size,
            hidden_size: shape.hidden_size,
            max_position_embeddings: shape.max_position_embeddings,
            embedding: Embedding { weight: weight(EMBEDDING), scale: self.embedding_scale },
            layers: self.layers,
            final_norm,
            head: Head {
                weight: weight(if shape.tied { EMBEDDING } else { HEAD }),
                logit_scale: self.logit_scale,
                soft_cap: self.logit_soft_cap,
            },
        };
        (architecture, self.tensors.finish(ignored))
    }

    fn norm(&mut self, place: &Place, features: u64) -> Norm {
        self.tensors.weight(&place.clone().offset(self.norm_offset), Role::Norm, &[features]);
        let (eps, weight_offset) = (self.shape.rms_norm_eps, self.norm_offset);
        Norm { weight: format!("{}.weight", place.module), eps, weight_offset }
    }

    fn linear(&mut self, place: &Place, role: Role, [out_features, in_features]: [u64; 2], bias: bool) -> Linear {
        self.tensors.linear(place, role, [out_features, in_features], bias);
        Linear { module: place.module.clone(), in_features, out_features, bias }
    }
}

/// A layer that is being put together; tensors come in the order of the calls.
pub struct LayerBuilder<'b, 'a> {
    model: &'b mut Builder<'a>,
    index: usize,
}

impl LayerBuilder<'_, '_> {
    fn at(&self, module: &str, gguf: &str) -> Place {
        Place::layer(self.index(), module, gguf)
    }

    pub(crate) fn index(&self) -> u32 {
        self.index as u32
    }

    pub(crate) fn hidden_size(&self) -> u64 {
        self.model.shape.hidden_size
    }

    pub(crate) fn tensors(&mut self) -> &mut Tensors {
        &mut self.model.tensors
    }

    pub(crate) fn linear(&mut self, place: &Place, role: Role, shape: [u64; 2], bias: bool) -> Linear {
        self.model.linear(place, role, shape, bias)
    }

    /// A norm over the residual stream.
    pub fn norm(&mut self, module: &str, gguf: &str) -> Norm {
        let place = self.at(module, gguf);
        self.model.norm(&place, self.model.shape.hidden_size)
    }

    /// Adds a sublayer of parts made before.
    pub fn sublayer(
        &mut self,
        input_norm: Norm,
        branches: Vec<Branch>,
        output_norm: Option<Norm>,
        residual_scale: f32,
    ) {
        self.model.layers[self.index].sublayers.push(Sublayer { input_norm, branches, output_norm, residual_scale });
    }

    /// Attention, then a gated linear unit, each behind a norm of its own.
    pub fn pre_norm(mut self, attention: &AttentionPart, glu: &GluPart, residual_scale: f32) {
        let (norm, branch) = (self.norm("input_layernorm", "attn_norm"), self.attention(attention));
        self.sublayer(norm, vec![branch], None, residual_scale);
        let (norm, branch) = (self.norm("post_attention_layernorm", "ffn_norm"), self.glu(glu));
        self.sublayer(norm, vec![branch], None, residual_scale);
    }

    /// `self_attn`, in a GGUF `attn_*`.
    pub fn attention(&mut self, part: &AttentionPart) -> Branch {
        let AttentionPart { num_heads, num_kv_heads, head_dim, .. } = *part;
        let (hidden, i) = (self.model.shape.hidden_size, self.index);
        let (queries, keys) = (num_heads * head_dim, num_kv_heads * head_dim);
        // In a fused matrix the rows of queries, keys and values follow one another.
        let fused = format!("blk.{i}.attn_qkv");
        let rotary = |place: Place, heads| if part.interleaved { place.rotary(heads, head_dim) } else { place };
        let q = rotary(self.at("self_attn.q_proj", "attn_q"), num_heads).fused(&fused, 0, queries);
        let k = rotary(self.at("self_attn.k_proj", "attn_k"), num_kv_heads).fused(&fused, queries, keys);
        let v = self.at("self_attn.v_proj", "attn_v").fused(&fused, queries + keys, keys);
        let o = self.at("self_attn.o_proj", "attn_output").heads(1, num_heads);
        let (q, k, v) = (q.heads(0, num_heads), k.heads(0, num_kv_heads), v.heads(0, num_kv_heads));
        let q = self.model.linear(&q, Role::AttentionQuery, [queries, hidden], part.qkv_bias);
        let q_norm = part.head_norms.then(|| self.head_norm("self_attn.q_norm", "attn_q_norm", head_dim));
        let k = self.model.linear(&k, Role::AttentionKey, [keys, hidden], part.qkv_bias);
        let k_norm = part.head_norms.then(|| self.head_norm("self_attn.k_norm", "attn_k_norm", head_dim));
        let v = self.model.linear(&v, Role::AttentionValue, [keys, hidden], part.qkv_bias);
        let o = self.model.linear(&o, Role::AttentionOutput, [hidden, queries], part.o_bias);
        let AttentionPart { scale, window, soft_cap, .. } = *part;
        let rope = part.rope.clone();
        let attention =
            Attention { q, k, v, o, num_heads, num_kv_heads, head_dim, scale, rope, window, soft_cap, q_norm, k_norm };
        Branch::Attention(attention)
    }

    fn head_norm(&mut self, module: &str, gguf: &str, head_dim: u64) -> Norm {
        let place = self.at(module, gguf);
        self.model.norm(&place, head_dim)
    }

    /// `mlp` with separate matrices, in a GGUF `ffn_*`.
    pub fn glu(&mut self, part: &GluPart) -> Branch {
        let (hidden, intermediate) = (self.model.shape.hidden_size, part.intermediate_size);
        let mut linear = |module: &str, gguf: &str, role, shape| {
            let place = self.at(module, gguf);
            self.model.linear(&place, role, shape, part.bias)
        };
        let gate = linear("mlp.gate_proj", "ffn_gate", Role::GluGate, [intermediate, hidden]);
        let up = linear("mlp.up_proj", "ffn_up", Role::GluUp, [intermediate, hidden]);
        let down = linear("mlp.down_proj", "ffn_down", Role::GluDown, [hidden, intermediate]);
        Branch::Glu(Glu { input: GluInput::Separate { gate, up }, down, activation: part.activation })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::RowMap;
    use model::architecture::Activation;

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
            head_dim_is_said: true,
            max_position_embeddings: 16,
            rms_norm_eps: 1e-5,
            tied: false,
        }
    }

    /// Everything that a dense transformer can have.
    fn inventory() -> Inventory {
        let (shape, rope) = (shape(), Rope { theta: 1e4, factors: vec![1.0, 2.0], attention_factor: 1.0 });
        let usual = AttentionPart::usual(&shape, &rope);
        let attention = AttentionPart { interleaved: true, qkv_bias: true, o_bias: true, head_norms: true, ..usual };
        let glu = GluPart { intermediate_size: 12, activation: Activation::Silu, bias: true };
        let mut model = Builder::new(&shape, Some(&rope)).norm_offset(1.0);
        for _ in 0..2 {
            model.layer().pre_norm(&attention, &glu, 1.0);
        }
        model.finish(Vec::new()).1
    }

    #[test]
    fn every_tensor_comes_back_from_gguf_unchanged() {
        let inventory = inventory();
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
        let inventory = inventory();
        let fused = |name: &str| name.starts_with("blk.0.attn_qkv");
        let k = inventory.get("model.layers.0.self_attn.k_proj.weight").unwrap();
        let form = k.form(true, &fused).unwrap();
        let map = RowMap::compile(&form.expr, &|_| Some(vec![32, 8])).unwrap();
        let rows: Vec<u64> = (0..map.rows()).map(|i| map.locate(i).unwrap().1).collect();
        assert_eq!(rows, [16, 18, 17, 19, 20, 22, 21, 23]);
    }
}
