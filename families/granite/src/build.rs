//! What a Granite computes and every tensor of it.

use model::architecture::{Activation, Branch};
use model::inventory::IgnoredTensor;
use model::{Architecture, Inventory};
use transformer::{AttentionPart, Builder, ExpertsPart, GluPart, LayerBuilder};

use crate::shape::{Granite, Kind, Mixer};

impl Granite {
    pub fn build(&self, ignored: Vec<IgnoredTensor>) -> (Architecture, Inventory) {
        let mut model = Builder::new(&self.shape, self.has_positions.then_some(&self.rope))
            .embedding_scale(self.multipliers.embedding)
            .logits((1.0 / f64::from(self.multipliers.logits_scaling)) as f32, None);
        for mixer in &self.mixers {
            self.layer(model.layer(), *mixer);
        }
        model.finish(ignored)
    }

    fn layer(&self, mut layer: LayerBuilder<'_, '_>, mixer: Mixer) {
        let residual = self.multipliers.residual;
        let norm = layer.norm("input_layernorm", "attn_norm");
        let branch = match (mixer, &self.mamba) {
            (Mixer::Mamba, Some(mamba)) => layer.mamba2(mamba, self.shape.rms_norm_eps),
            _ => layer.attention(&self.attention()),
        };
        layer.sublayer(norm, vec![branch], None, residual);
        let norm = layer.norm("post_attention_layernorm", "ffn_norm");
        let branches = self.feed_forward(&mut layer);
        layer.sublayer(norm, branches, None, residual);
    }

    fn attention(&self) -> AttentionPart {
        AttentionPart {
            scale: self.multipliers.attention,
            rope: self.has_positions.then(|| self.rope.clone()),
            interleaved: true,
            qkv_bias: self.attention_bias,
            o_bias: self.attention_bias,
            ..AttentionPart::usual(&self.shape, &self.rope)
        }
    }

    fn feed_forward(&self, layer: &mut LayerBuilder<'_, '_>) -> Vec<Branch> {
        let glu = |intermediate_size, bias| GluPart { intermediate_size, activation: Activation::Silu, bias };
        if self.kind == Kind::Dense {
            return vec![layer.glu(&glu(self.shape.intermediate_size, self.mlp_bias))];
        }
        let mut branches = Vec::new();
        if let Some(mixture) = self.mixture {
            branches.push(layer.experts(&ExpertsPart {
                num_experts: mixture.num_experts,
                experts_per_token: mixture.experts_per_token,
                intermediate_size: self.shape.intermediate_size,
                activation: Activation::Silu,
            }));
        }
        if let Some(shared) = self.shared_intermediate_size {
            let suffix = if self.mixture.is_some() { "_shexp" } else { "" };
            branches.push(layer.shared_glu(&glu(shared, false), suffix));
        }
        branches
    }
}
