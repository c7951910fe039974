//! llama.cpp's own types as a quantizer: F32, F16, BF16, Q8_0, Q4_0 and Q4_1, with its rules and its bytes.

mod preset;
mod recipe;

use blocks::BlockError;
use model::StoredType;
use model_api::quantizer::{Recipe, RecipeRequest};
use model_api::{Quantizer, QuantizerError};
use serde_json::Value;

struct Ggml;

impl Quantizer for Ggml {
    fn id(&self) -> &str {
        "ggml"
    }

    fn presets(&self) -> Vec<String> {
        preset::names()
    }

    fn plan(&self, request: &RecipeRequest) -> Result<Recipe, QuantizerError> {
        let preset = preset::named(&request.preset)?;
        no_params(&request.params)?;
        Ok(recipe::recipe(preset, &request.header, &request.tensors))
    }

    fn encode(&self, codec: &str, src: &[f32], importance: &[f32], dst: &mut [u8]) -> Result<(), QuantizerError> {
        let encoder = StoredType::from_name(codec)
            .and_then(blocks::encoder)
            .ok_or_else(|| unknown_codec(codec, blocks::encodable()))?;
        // llama.cpp's Q4 codecs would weigh their rounding by it; ignoring it in silence would give other bytes.
        if !importance.is_empty() && matches!(encoder.stored_type(), StoredType::Q4_0 | StoredType::Q4_1) {
            return Err(QuantizerError::BadParams(format!("`{codec}` is written without importance here; give none")));
        }
        encoder.encode(src, dst).map_err(refused)
    }

    fn decode(&self, codec: &str, src: &[u8], dst: &mut [f32]) -> Result<(), QuantizerError> {
        let decoder = StoredType::from_name(codec)
            .and_then(blocks::decoder)
            .ok_or_else(|| unknown_codec(codec, blocks::decodable()))?;
        decoder.decode(src, dst).map_err(refused)
    }
}

/// The six presets have nothing to set.
fn no_params(params: &Value) -> Result<(), QuantizerError> {
    let given: Vec<String> = match params {
        Value::Null => Vec::new(),
        Value::Object(table) => table.keys().map(|key| format!("`{key}`")).collect(),
        other => vec![format!("`{other}`")],
    };
    if given.is_empty() {
        return Ok(());
    }
    Err(QuantizerError::BadParams(format!("presets of `ggml` take none, got {}", given.join(", "))))
}

fn unknown_codec(codec: &str, known: impl Iterator<Item = StoredType>) -> QuantizerError {
    QuantizerError::UnknownCodec { codec: codec.to_owned(), known: known.map(|t| t.name().to_owned()).collect() }
}

fn refused(error: BlockError) -> QuantizerError {
    QuantizerError::Values { message: error.to_string(), hint: error.hint().map(str::to_owned) }
}

model_api::plugin![quantizer(Ggml)];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::description::{GgufHeader, VocabularyKeys};
    use serde_json::json;

    use super::*;

    fn plan(preset: &str, params: Value) -> Result<Recipe, QuantizerError> {
        let header =
            GgufHeader { architecture: "llama".into(), metadata: Vec::new(), vocabulary: VocabularyKeys::Llama };
        Ggml.plan(&RecipeRequest { preset: preset.into(), params, header, tensors: Vec::new() })
    }

    #[test]
    fn every_preset_is_planned() {
        for preset in Ggml.presets() {
            assert!(plan(&preset, Value::Null).is_ok(), "{preset}");
            assert!(plan(&preset, json!({})).is_ok(), "{preset}");
        }
        let message = plan("q4_k_m", Value::Null).unwrap_err().to_string();
        assert_eq!(message, "no preset `q4_k_m`; known: f32, f16, bf16, q8_0, q4_0, q4_1");
        let message = plan("q8_0", json!({ "mix": 3 })).unwrap_err().to_string();
        assert_eq!(message, "bad parameters: presets of `ggml` take none, got `mix`");
    }

    #[test]
    fn rows_go_out_and_come_back() {
        let row: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
        for (codec, bytes) in [("f32", 256), ("f16", 128), ("bf16", 128), ("q8_0", 68), ("q4_0", 36), ("q4_1", 40)] {
            let (mut encoded, mut decoded) = (vec![0; bytes], vec![0.0; 64]);
            Ggml.encode(codec, &row, &[], &mut encoded).unwrap();
            Ggml.decode(codec, &encoded, &mut decoded).unwrap();
            assert!(row.iter().zip(&decoded).all(|(x, y)| (x - y).abs() < 0.07), "{codec}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let encode = |codec: &str, value: f32, importance: &[f32], bytes: usize| {
            Ggml.encode(codec, &[value; 32], importance, &mut vec![0; bytes]).unwrap_err()
        };
        assert!(encode("q6_k", 1.0, &[], 26).to_string().starts_with("no codec `q6_k`; known: f32, f16, bf16"));
        assert!(encode("q4_0", 1.0, &[1.0; 32], 18).to_string().contains("without importance"));
        let QuantizerError::Values { message, hint } = encode("f16", 1e6, &[], 64) else {
            panic!("an overflow is about values");
        };
        assert_eq!(message, "value 0 is 1000000, which overflows `f16`");
        assert!(hint.unwrap().contains("bf16"));
        assert!(Ggml.encode("q8_0", &[1.0; 32], &[1.0; 32], &mut [0; 34]).is_ok(), "q8_0 rounds alike with importance");
    }
}
