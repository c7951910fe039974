//! The Mamba-2 mixer (`mamba`, in a GGUF `ssm_*`).

use model::Expr;
use model::architecture::{Branch, Mamba2, Norm};
use model::expr::Pointwise;
use model::inventory::{Dialect, Form, GgufTensor, Role};

use crate::builder::LayerBuilder;
use crate::parts::Mamba2Part;
use crate::place::Place;
use crate::tensors::Canonical;

/// A small tensor that has another shape, or other values, in a GGUF.
struct Small<'a> {
    part: &'a str,
    gguf: &'a str,
    shape: &'a [u64],
    gguf_shape: &'a [u64],
    /// What a GGUF has of each value.
    stored: Option<Pointwise>,
}

impl LayerBuilder<'_, '_> {
    /// `mamba`, in a GGUF `ssm_*`; `eps` is that of its norm.
    pub fn mamba2(&mut self, part: &Mamba2Part, eps: f32) -> Branch {
        let Mamba2Part { num_heads, head_dim, state_size, num_groups, kernel_size, .. } = *part;
        let (hidden, layer) = (self.hidden_size(), self.index());
        let inner = num_heads * head_dim;
        let channels = inner + 2 * num_groups * state_size;
        let place = |module: &str, gguf: &str| Place::layer(layer, &format!("mamba.{module}"), gguf);
        let in_proj = place("in_proj", "ssm_in");
        let in_proj = self.linear(&in_proj, Role::MambaIn, [inner + channels + num_heads, hidden], part.proj_bias);
        let (vector, column) = ([num_heads], [num_heads, 1]);
        let same = |part, gguf, shape| Small { part, gguf, shape, gguf_shape: shape, stored: None };
        let (conv_shape, of_channels) = ([channels, 1, kernel_size], [channels]);
        let conv_weight = self.small(Small {
            gguf_shape: &[channels, kernel_size],
            ..same("conv1d.weight", "ssm_conv1d.weight", &conv_shape)
        });
        let conv_bias = part.conv_bias.then(|| self.small(same("conv1d.bias", "ssm_conv1d.bias", &of_channels)));
        let dt_bias = self.small(same("dt_bias", "ssm_dt.bias", &vector));
        let a = same("A_log", "ssm_a", &vector);
        let a_log = self.small(Small { gguf_shape: &column, stored: Some(Pointwise::NegExp), ..a });
        let d = self.small(Small { gguf_shape: &column, ..same("D", "ssm_d", &vector) });
        let by_group = [num_groups, inner / num_groups.max(1)];
        let of_inner = [inner];
        let norm = self.small(Small { gguf_shape: &by_group, ..same("norm.weight", "ssm_norm.weight", &of_inner) });
        let out_proj = place("out_proj", "ssm_out");
        let out_proj = self.linear(&out_proj, Role::MambaOut, [hidden, inner], part.proj_bias);
        let (time_step_min, time_step_max) = part.time_step;
        Branch::Mamba2(Mamba2 {
            in_proj,
            conv_weight,
            conv_bias,
            kernel_size,
            a_log,
            d,
            dt_bias,
            time_step_min,
            time_step_max,
            num_heads,
            head_dim,
            state_size,
            num_groups,
            norm: Norm { weight: norm, eps, weight_offset: 0.0 },
            out_proj,
        })
    }

    /// Adds the tensor and gives its name.
    fn small(&mut self, small: Small<'_>) -> String {
        let index = self.index();
        let (name, layer) = (format!("model.layers.{index}.mamba.{}", small.part), Some(index));
        let (gguf, role) = (format!("blk.{index}.{}", small.gguf), Role::StateSpace);
        let map = |expr: Expr, op: Option<Pointwise>| op.map_or(expr.clone(), |op| expr.map(op));
        let reshaped = |expr: Expr, from: &[u64], to: &[u64]| if from == to { expr } else { expr.reshape(to) };
        let back = map(Expr::tensor(&gguf), small.stored.map(Pointwise::inverse));
        let forms = vec![Form { dialect: Dialect::Gguf, expr: reshaped(back, small.gguf_shape, small.shape) }];
        let there = reshaped(Expr::tensor(&name), small.shape, small.gguf_shape);
        let expr = map(there, small.stored);
        let tensors = self.tensors();
        tensors.canonical(Canonical {
            name: &name,
            layer,
            role,
            shape: small.shape,
            adapter: None,
            heads: None,
            forms,
        });
        tensors.gguf(GgufTensor { name: gguf, shape: small.gguf_shape.to_vec(), role, layer, expr });
        name
    }
}
