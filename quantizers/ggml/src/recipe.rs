//! Which tensor becomes what.
//!
//! The rules are those of `convert_hf_to_gguf.py` (`f32`, `f16`, `bf16`, `q8_0`) and of `llama-quantize`
//! (`llama_tensor_get_type` in `llama-quant.cpp`: `q4_0`, `q4_1`), with one difference: where `llama-quantize` gives the
//! head Q6_K, it becomes Q8_0, whose bytes `--output-tensor-type q8_0` makes there.

use model::StoredType;
use model::description::{GgufHeader, MetaValue};
use model::inventory::Role;
use model_api::quantizer::{Recipe, TensorFacts, TensorRecipe};

use crate::preset::Preset;

/// A model of so many experts has keys and values that are small beside them: `llama-quantize` tests for this number
/// alone, Mixtral's.
const FEW_EXPERTS: u64 = 8;

/// Gives every tensor its type.
pub(crate) fn recipe(preset: Preset, header: &GgufHeader, tensors: &[TensorFacts]) -> Recipe {
    let few_experts = experts(header) == Some(FEW_EXPERTS);
    let tensors = tensors.iter().map(|tensor| tensor_recipe(preset.stored_type, few_experts, tensor)).collect();
    Recipe { tensors, file_type: preset.file_type }
}

/// `{arch}.expert_count`, where llama.cpp reads it too.
fn experts(header: &GgufHeader) -> Option<u64> {
    let key = format!("{}.expert_count", header.architecture);
    header.metadata.iter().find(|(name, _)| *name == key).and_then(|(_, value)| MetaValue::as_u64(value))
}

fn tensor_recipe(wanted: StoredType, few_experts: bool, tensor: &TensorFacts) -> TensorRecipe {
    let (stored_type, reason, fallback) = choose(wanted, few_experts, tensor);
    TensorRecipe { name: tensor.name.clone(), stored_type, codec: stored_type.name().to_owned(), reason, fallback }
}

/// The type, why, and whether it stands in for one that doesn't fit the tensor's rows.
fn choose(wanted: StoredType, few_experts: bool, tensor: &TensorFacts) -> (StoredType, String, bool) {
    let columns = match tensor.shape[..] {
        [.., _, columns] if tensor.role.is_matrix() => columns,
        _ => return (StoredType::F32, kept(tensor), false),
    };
    let lossy = wanted.is_quantized() && wanted != StoredType::Q8_0;
    let small_beside_experts = few_experts && matches!(tensor.role, Role::AttentionKey | Role::AttentionValue);
    let (fitting, reason) = if lossy && is_head(tensor) {
        (StoredType::Q8_0, format!("the head decides every token: `q8_0` rather than `{wanted}`"))
    } else if lossy && small_beside_experts {
        (StoredType::Q8_0, format!("small beside {FEW_EXPERTS} experts: `q8_0` rather than `{wanted}`"))
    } else {
        (wanted, format!("the preset's type for matrices: `{wanted}`"))
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
    use model::description::VocabularyKeys;

    use super::*;
    use crate::preset;

    fn facts(name: &str, role: Role, shape: &[u64]) -> TensorFacts {
        TensorFacts { name: name.into(), shape: shape.into(), role, layer: None, tied_head: false }
    }

    fn header(metadata: &[(&str, u32)]) -> GgufHeader {
        let metadata = metadata.iter().map(|(key, value)| ((*key).into(), MetaValue::U32(*value))).collect();
        GgufHeader { architecture: "granitemoe".into(), metadata, vocabulary: VocabularyKeys::Llama }
    }

    fn types_of(preset: &str, header: &GgufHeader, tensors: &[TensorFacts]) -> Vec<&'static str> {
        let recipe = recipe(preset::named(preset).unwrap_or_else(|e| panic!("{e}")), header, tensors);
        recipe.tensors.iter().map(|t| t.stored_type.name()).collect()
    }

    fn types(preset: &str, tensors: &[TensorFacts]) -> Vec<&'static str> {
        types_of(preset, &header(&[]), tensors)
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

    /// `llama-quantize`'s rule: eight experts and no other number.
    #[test]
    fn keys_and_values_beside_eight_experts() {
        let tensors = [
            facts("blk.0.attn_q.weight", Role::AttentionQuery, &[64, 64]),
            facts("blk.0.attn_k.weight", Role::AttentionKey, &[32, 64]),
            facts("blk.0.attn_v.weight", Role::AttentionValue, &[32, 64]),
            facts("blk.0.attn_output.weight", Role::AttentionOutput, &[64, 64]),
            facts("blk.0.ffn_down_exps.weight", Role::ExpertsDown, &[8, 64, 32]),
            facts("blk.0.ffn_gate_inp.weight", Role::Router, &[8, 64]),
        ];
        let [eight, forty] = [8, 40].map(|count| header(&[("granitemoe.expert_count", count)]));
        assert_eq!(types_of("q4_0", &eight, &tensors), ["q4_0", "q8_0", "q8_0", "q4_0", "q4_0", "f32"]);
        assert_eq!(types_of("q4_1", &eight, &tensors), ["q4_1", "q8_0", "q8_0", "q4_1", "q4_1", "f32"]);
        assert_eq!(types_of("q8_0", &eight, &tensors), ["q8_0", "q8_0", "q8_0", "q8_0", "q8_0", "f32"]);
        assert_eq!(types_of("bf16", &eight, &tensors), ["bf16", "bf16", "bf16", "bf16", "bf16", "f32"]);
        assert_eq!(types_of("q4_0", &forty, &tensors), ["q4_0", "q4_0", "q4_0", "q4_0", "q4_0", "f32"]);
        let of_another = header(&[("mixtral.expert_count", 8)]);
        assert_eq!(types_of("q4_0", &of_another, &tensors)[1], "q4_0");
    }

    #[test]
    fn a_stand_in_is_marked_and_explained() {
        let recipe = recipe(preset::named("q4_0").unwrap_or_else(|e| panic!("{e}")), &header(&[]), &untied());
        let marked: Vec<_> = recipe.tensors.iter().filter(|t| t.fallback).collect();
        assert_eq!(marked.len(), 1);
        assert_eq!(marked[0].reason, "rows of 48 values fill no blocks of 32: `f16` stands in for `q4_0`");
        assert_eq!((recipe.file_type, marked[0].codec.as_str()), (2, "f16"));
    }
}
