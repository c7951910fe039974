//! What a Gemma 2 is, whoever wrote it down.

use model::architecture::{Activation, Rope};
use model::description::{GgufHeader, LostFact, MetaValue, VocabularyKeys};
use model::inventory::IgnoredTensor;
use model::{Architecture, Inventory};
use serde_json::json;
use transformer::{AttentionPart, Builder, GluPart, LayerBuilder, Shape, config};

/// The base of RoPE that llama.cpp takes for every Gemma 2.
pub const ROPE_THETA: f32 = 10_000.0;

/// Layers of the 27B model, whose scores llama.cpp divides otherwise.
const LAYERS_OF_27B: u64 = 46;

/// The numbers of one Gemma 2.
pub struct Gemma2 {
    pub shape: Shape,
    pub rope: Rope,
    /// Scores are divided by its square root.
    pub query_pre_attn_scalar: f64,
    /// Keys that a query of a sliding layer sees.
    pub sliding_window: u64,
    /// Which layers slide; published models: the first, the third, …
    pub slides: Vec<bool>,
    pub attn_logit_softcapping: Option<f32>,
    pub final_logit_softcapping: Option<f32>,
}

/// The published pattern: the first layer slides, then every other one.
pub fn alternating(layers: u64) -> Vec<bool> {
    (0..layers).map(|i| i % 2 == 0).collect()
}

/// What llama.cpp's graph takes for `query_pre_attn_scalar`.
pub fn hard_coded_scalar(shape: &Shape) -> f64 {
    if shape.num_hidden_layers == LAYERS_OF_27B {
        return shape.hidden_size as f64 / shape.num_attention_heads as f64;
    }
    shape.head_dim as f64
}

impl Gemma2 {
    /// What it computes and every tensor of it.
    pub fn build(&self, ignored: Vec<IgnoredTensor>) -> (Architecture, Inventory) {
        let attention = AttentionPart {
            scale: self.query_pre_attn_scalar.powf(-0.5) as f32,
            soft_cap: self.attn_logit_softcapping,
            ..AttentionPart::usual(&self.shape, &self.rope)
        };
        let intermediate_size = self.shape.intermediate_size;
        let glu = GluPart { intermediate_size, activation: Activation::GeluTanh, bias: false };
        let mut model = Builder::new(&self.shape, None)
            .norm_offset(1.0)
            .embedding_scale((self.shape.hidden_size as f64).sqrt() as f32)
            .logits(1.0, self.final_logit_softcapping);
        for slides in &self.slides {
            let window = slides.then_some(self.sliding_window);
            layer(model.layer(), &AttentionPart { window, ..attention.clone() }, &glu);
        }
        model.finish(ignored)
    }

    /// The keys that llama.cpp's converter writes.
    pub fn gguf(&self) -> GgufHeader {
        let own = [
            ("attn_logit_softcapping", self.attn_logit_softcapping.map(MetaValue::F32)),
            ("final_logit_softcapping", self.final_logit_softcapping.map(MetaValue::F32)),
            ("attention.sliding_window", Some(MetaValue::U32(self.sliding_window as u32))),
        ];
        let own = own.into_iter().filter_map(|(key, value)| Some((key, value?)));
        self.shape.gguf_header("gemma2", None, VocabularyKeys::Plain, own)
    }

    /// Facts that a GGUF of the architecture `gemma2` has no key for.
    pub fn lost(&self) -> Vec<LostFact> {
        let lost = |fact: &str, value, assumed| LostFact { fact: fact.into(), value, assumed, bound: None };
        let mut facts = Vec::new();
        let scalar = hard_coded_scalar(&self.shape);
        if self.query_pre_attn_scalar != scalar {
            facts.push(lost("query_pre_attn_scalar", json!(self.query_pre_attn_scalar), json!(scalar)));
        }
        if self.rope.theta != ROPE_THETA {
            facts.push(lost("rope_theta", json!(config::shortest(self.rope.theta)), json!(ROPE_THETA)));
        }
        if !self.rope.factors.is_empty() {
            facts.push(lost("rope_scaling", json!(self.rope.factors), json!(null)));
        }
        if self.slides != alternating(self.shape.num_hidden_layers) {
            facts.push(lost("layer_types", json!(self.slides), json!("every other layer slides")));
        }
        // The graph caps in any case, by these numbers where the file has none.
        for (fact, cap, taken) in [
            ("attn_logit_softcapping", self.attn_logit_softcapping, 50.0),
            ("final_logit_softcapping", self.final_logit_softcapping, 30.0),
        ] {
            if cap.is_none() {
                facts.push(lost(fact, json!(null), json!(taken)));
            }
        }
        facts
    }
}

/// A norm before and after each branch.
fn layer(mut layer: LayerBuilder<'_, '_>, attention: &AttentionPart, glu: &GluPart) {
    let before = layer.norm("input_layernorm", "attn_norm");
    let branch = layer.attention(attention);
    let after = layer.norm("post_attention_layernorm", "post_attention_norm");
    layer.sublayer(before, vec![branch], Some(after), 1.0);
    let before = layer.norm("pre_feedforward_layernorm", "ffn_norm");
    let branch = layer.glu(glu);
    let after = layer.norm("post_feedforward_layernorm", "post_ffw_norm");
    layer.sublayer(before, vec![branch], Some(after), 1.0);
}
