//! What the output is called: the pipeline says it, never a directory.

use model::inventory::{GgufTensor, Role};
use stage_api::Context;

use crate::params::Params;

/// `general.name`.
pub fn name(ctx: &Context, params: &Params) -> String {
    params.name.clone().unwrap_or_else(|| ctx.request().pipeline.clone())
}

/// A file name without separators and spaces.
pub fn file_stem(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let stem: String = name.chars().map(safe).collect();
    if stem.trim_matches('.').is_empty() { "model".into() } else { stem }
}

/// `general.size_label` as llama.cpp writes it: `135M`, `3.2B`, and of a model with experts `8x3.2M`, where with one of
/// the eight it would have 3.2M weights.
pub fn size_label(tensors: &[GgufTensor]) -> String {
    let (mut weights, mut experts) = (0, None);
    for tensor in tensors {
        let size = tensor.shape.iter().product::<u64>();
        match (tensor.role, &tensor.shape[..]) {
            (Role::ExpertsGate | Role::ExpertsUp | Role::ExpertsGateUp | Role::ExpertsDown, [count, ..]) => {
                weights += size / count.max(&1);
                experts = Some(*count);
            }
            _ => weights += size,
        }
    }
    let weights = rounded(weights);
    experts.map_or_else(|| weights.clone(), |count| format!("{count}x{weights}"))
}

fn rounded(count: u64) -> String {
    let count = count as f64;
    let (scaled, suffix) = match count {
        c if c > 1e12 => (c * 1e-12, "T"),
        c if c > 1e9 => (c * 1e-9, "B"),
        c if c > 1e6 => (c * 1e-6, "M"),
        c => (c * 1e-3, "K"),
    };
    // At least two significant digits, and no decimals from ten on.
    let digits = format!("{}", scaled.round() as u64).len();
    let decimals = 2usize.saturating_sub(digits);
    format!("{scaled:.decimals$}{suffix}")
}

#[cfg(test)]
mod tests {
    use model::Expr;

    use super::*;

    fn tensor(role: Role, shape: &[u64]) -> GgufTensor {
        let name = "blk.0.weight".to_owned();
        GgufTensor { expr: Expr::tensor(&name), name, shape: shape.into(), role, layer: None }
    }

    #[test]
    fn labels_are_those_of_llama_cpp() {
        for (parameters, label) in
            [(134_515_008, "135M"), (8_392_512, "8.4M"), (3_212_749_824, "3.2B"), (7_000, "7.0K")]
        {
            assert_eq!(size_label(&[tensor(Role::Embedding, &[parameters])]), label);
        }
    }

    #[test]
    fn experts_are_counted_beside_a_model_of_one() {
        let tensors = [
            tensor(Role::Embedding, &[1_000, 3_000]),
            tensor(Role::ExpertsUp, &[8, 200, 500]),
            tensor(Role::ExpertsDown, &[8, 500, 200]),
        ];
        assert_eq!(size_label(&tensors), "8x3.2M");
    }

    #[test]
    fn file_names_stay_in_their_directory() {
        assert_eq!(file_stem("../my model"), "..-my-model");
        assert_eq!(file_stem(".."), "model");
    }
}
