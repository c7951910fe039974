//! Gate and up in one matrix: a shared network (`shared_mlp`) and experts (`block_sparse_moe`), as Granite has them.

use model::Expr;
use model::architecture::{Branch, Experts, Glu, GluInput, Linear, StackedLinear};
use model::inventory::{AdapterFacts, Dialect, Form, GgufTensor, Role};

use crate::builder::LayerBuilder;
use crate::parts::{ExpertsPart, GluPart};
use crate::place::Place;
use crate::tensors::{Canonical, linear_adapter};

/// Both halves of a matrix with gate and up, as a GGUF and mlx-lm store them.
struct Halves<'a> {
    module: &'a str,
    /// The whole, the dimension of rows included.
    shape: &'a [u64],
    /// The dimension of rows.
    axis: usize,
    layer: u32,
    adapter: AdapterFacts,
    roles: [Role; 3],
    /// GGUF names of gate and up.
    gguf: [String; 2],
    /// Further ways to store the whole.
    forms: Vec<Form>,
}

impl LayerBuilder<'_, '_> {
    /// `shared_mlp`, in a GGUF `ffn_gate`, `ffn_up` and `ffn_down` with `suffix`.
    pub fn shared_glu(&mut self, part: &GluPart, suffix: &str) -> Branch {
        let (hidden, inner, layer) = (self.hidden_size(), part.intermediate_size, self.index());
        let at = |module: &str| format!("model.layers.{layer}.shared_mlp.{module}");
        let module = at("input_linear");
        // So mlx-lm calls the network where it has no experts beside it.
        let mlx = |half: &str| Expr::tensor(format!("model.layers.{layer}.mlp.{half}_proj.weight"));
        let apart = Expr::Concat { axis: 0, parts: vec![mlx("gate"), mlx("up")] };
        self.halves(Halves {
            module: &module,
            shape: &[2 * inner, hidden],
            axis: 0,
            layer,
            adapter: linear_adapter(&module),
            roles: [Role::GluGateUp, Role::GluGate, Role::GluUp],
            gguf: ["gate", "up"].map(|half| format!("blk.{layer}.ffn_{half}{suffix}.weight")),
            forms: vec![Form { dialect: Dialect::Mlx, expr: apart }],
        });
        let down = Place::layer(layer, "shared_mlp.output_linear", &format!("ffn_down{suffix}")).mlx("mlp.down_proj");
        let down = self.linear(&down, Role::GluDown, [hidden, inner], false);
        let gate_up = Linear { module, in_features: hidden, out_features: 2 * inner, bias: false };
        Branch::Glu(Glu { input: GluInput::Fused { gate_up }, down, activation: part.activation })
    }

    /// `block_sparse_moe`, in a GGUF `ffn_*_exps` with the router `ffn_gate_inp`.
    pub fn experts(&mut self, part: &ExpertsPart) -> Branch {
        let ExpertsPart { num_experts, experts_per_token, intermediate_size: inner, activation } = *part;
        let (hidden, layer) = (self.hidden_size(), self.index());
        let at = |module: &str| format!("model.layers.{layer}.block_sparse_moe.{module}");
        let facts = |module: &str, parameter: &str| AdapterFacts {
            module: module.into(),
            input_axis: 2,
            output_axis: 1,
            expert_axis: Some(0),
            parameter: Some(at(parameter)),
        };
        let mlx = |half: &str| Expr::tensor(format!("{}.weight", at(&format!("switch_mlp.{half}_proj"))));
        let of_mlx = |expr| Form { dialect: Dialect::Mlx, expr };
        let router = Place::layer(layer, "block_sparse_moe.router.layer", "ffn_gate_inp");
        let router = router.parameter(at("router.weight"));
        let router = self.linear(&router, Role::Router, [num_experts, hidden], false);
        let fused = Expr::tensor(format!("blk.{layer}.ffn_gate_up_exps.weight"));
        let (gate_up, down) = (at("input_linear"), at("output_linear"));
        self.halves(Halves {
            module: &gate_up,
            shape: &[num_experts, 2 * inner, hidden],
            axis: 1,
            layer,
            adapter: facts(&gate_up, "experts.gate_up_proj"),
            roles: [Role::ExpertsGateUp, Role::ExpertsGate, Role::ExpertsUp],
            gguf: ["gate", "up"].map(|half| format!("blk.{layer}.ffn_{half}_exps.weight")),
            forms: vec![
                of_mlx(Expr::Concat { axis: 1, parts: vec![mlx("gate"), mlx("up")] }),
                Form { dialect: Dialect::Gguf, expr: fused },
            ],
        });
        let name = format!("{down}.weight");
        let gguf = format!("blk.{layer}.ffn_down_exps.weight");
        let forms = vec![Form { dialect: Dialect::Gguf, expr: Expr::tensor(&gguf) }, of_mlx(mlx("down"))];
        let (shape, role, adapter) =
            ([num_experts, hidden, inner], Role::ExpertsDown, Some(facts(&down, "experts.down_proj")));
        let tensors = self.tensors();
        tensors.canonical(Canonical {
            name: &name,
            layer: Some(layer),
            role,
            shape: &shape,
            adapter,
            heads: None,
            forms,
        });
        let expr = Expr::tensor(&name);
        tensors.gguf(GgufTensor { name: gguf, shape: shape.to_vec(), role, layer: Some(layer), expr });
        let stacked = |module: String, in_features, out_features| StackedLinear {
            module,
            num_experts,
            in_features,
            out_features,
        };
        Branch::Experts(Experts {
            router,
            experts_per_token,
            gate_up: stacked(gate_up, hidden, 2 * inner),
            down: stacked(down, inner, hidden),
            activation,
        })
    }

    fn halves(&mut self, halves: Halves<'_>) {
        let Halves { module, shape, axis, layer, adapter, roles: [whole, gate, up], gguf, forms } = halves;
        let (name, layer, rows) = (format!("{module}.weight"), Some(layer), shape[axis] / 2);
        let parts = gguf.iter().map(Expr::tensor).collect();
        let apart = Form { dialect: Dialect::Gguf, expr: Expr::Concat { axis, parts } };
        let forms = std::iter::once(apart).chain(forms).collect();
        let adapter = Some(adapter);
        let tensors = self.tensors();
        tensors.canonical(Canonical { name: &name, layer, role: whole, shape, adapter, heads: None, forms });
        let mut half = shape.to_vec();
        half[axis] = rows;
        for (i, (gguf, role)) in gguf.into_iter().zip([gate, up]).enumerate() {
            let expr = Expr::tensor(&name).slice(axis, i as u64 * rows, rows);
            tensors.gguf(GgufTensor { name: gguf, shape: half.clone(), role, layer, expr });
        }
    }
}
