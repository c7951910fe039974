//! Which tensor becomes what.
//!
//! The rules are those of `convert_hf_to_gguf.py` (`f32`, `f16`, `bf16`, `q8_0`) and of `llama-quantize`
//! (`llama_tensor_get_type` in `llama-quant.cpp`: `q4_0`, `q4_1`), with one difference: where `llama-quantize` gives the
//! head Q6_K, it becomes Q8_0, whose bytes `--output-tensor-type q8_0` makes there.

use model::StoredType;
use model::inventory::Role;
use model_api::quantizer::{Recipe, TensorFacts, TensorRecipe};

use crate::preset::Preset;

/// Gives every tensor its type.
pub(crate) fn recipe(preset: Preset, tensors: &[TensorFacts]) -> Recipe {
    let tensors = tensors.iter().map(|tensor| tensor_recipe(preset.stored_type, tensor)).collect();
    Recipe { tensors, file_type: preset.file_type }
}

fn tensor_recipe(wanted: StoredType, tensor: &TensorFacts) -> TensorRecipe {
    let (stored_type, reason, fallback) = choose(wanted, tensor);
    TensorRecipe { name: tensor.name.clone(), stored_type, codec: stored_type.name().to_owned(), reason, fallback }
}

/// The type, why, and whether it stands in for one that doesn't fit the tensor's rows.
fn choose(wanted: StoredType, tensor: &TensorFacts) -> (StoredType, String, bool) {
    let columns = match tensor.shape[..] {
        [.., _, columns] if tensor.role.is_matrix() => columns,
        _ => return (StoredType::F32, kept(tensor), false),
    };
    let (fitting, reason) = match is_head(tensor) && wanted.is_quantized() && wanted != StoredType::Q8_0 {
        true => (StoredType::Q8_0, format!("the head decides every token: `q8_0` rather than `{wanted}`")),
        false => (wanted, format!("the preset's type for matrices: `{wanted}`")),
    };
    let block = fitting.block_len();
    if columns.is_multiple_of(block) {
        return (fitting, reason, false);
    }
    let reason = format!("rows of {columns} values fill no blocks of {block}: `f16` stands in for `{fitting}`");
    (StoredType::F16, reason, true)
}

/// Why a tensor is no matter of presets.
fn kept(tensor: &TensorFacts) -> String {
    let what = match tensor.role {
        Role::Norm => "norms",
        Role::Bias => "biases",
        Role::Frequencies => "RoPE frequencies",
        _ => "vectors and small tensors",
    };
    format!("{what} stay `f32`: llama.cpp computes with them so, and they are small")
}

fn is_head(tensor: &TensorFacts) -> bool {
    tensor.role == Role::Head || (tensor.role == Role::Embedding && tensor.tied_head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset;

    fn facts(name: &str, role: Role, shape: &[u64]) -> TensorFacts {
        TensorFacts { name: name.into(), shape: shape.into(), role, layer: None, tied_head: false }
    }

    fn types(preset: &str, tensors: &[TensorFacts]) -> Vec<&'static str> {
        let recipe = recipe(preset::named(preset).unwrap_or_else(|e| panic!("{e}")), tensors);
        recipe.tensors.iter().map(|t| t.stored_type.name()).collect()
    }

    fn untied() -> [TensorFacts; 5] {
        [
            facts("token_embd.weight", Role::Embedding, &[512, 64]),
            facts("blk.0.attn_norm.weight", Role::Norm, &[64]),
            facts("blk.0.attn_q.weight", Role::AttentionQuery, &[64, 64]),
            facts("blk.0.ffn_down.weight", Role::GluDown, &[64, 48]),
            facts("output.weight", Role::Head, &[512, 64]),
        ]
    }

    #[test]
    fn an_untied_model() {
        assert_eq!(types("f32", &untied()), ["f32"; 5]);
        assert_eq!(types("f16", &untied()), ["f16", "f32", "f16", "f16", "f16"]);
        assert_eq!(types("bf16", &untied()), ["bf16", "f32", "bf16", "bf16", "bf16"]);
        assert_eq!(types("q8_0", &untied()), ["q8_0", "f32", "q8_0", "f16", "q8_0"]);
        assert_eq!(types("q4_0", &untied()), ["q4_0", "f32", "q4_0", "f16", "q8_0"]);
        assert_eq!(types("q4_1", &untied()), ["q4_1", "f32", "q4_1", "f16", "q8_0"]);
    }

    #[test]
    fn a_tied_embedding_is_the_head() {
        let tied = TensorFacts { tied_head: true, ..facts("token_embd.weight", Role::Embedding, &[512, 64]) };
        assert_eq!(types("q4_1", std::slice::from_ref(&tied)), ["q8_0"]);
        assert_eq!(types("bf16", std::slice::from_ref(&tied)), ["bf16"]);
    }

    #[test]
    fn a_stand_in_is_marked_and_explained() {
        let recipe = recipe(preset::named("q4_0").unwrap_or_else(|e| panic!("{e}")), &untied());
        let marked: Vec<_> = recipe.tensors.iter().filter(|t| t.fallback).collect();
        assert_eq!(marked.len(), 1);
        assert_eq!(marked[0].reason, "rows of 48 values fill no blocks of 32: `f16` stands in for `q4_0`");
        assert_eq!((recipe.file_type, marked[0].codec.as_str()), (2, "f16"));
    }
}
