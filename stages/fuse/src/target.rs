//! The checkpoint that fusing makes, known before it is made.

use checkpoint::safetensors::{self, published_order};
use model::description::StoredTensor;
use model::{ModelDescription, StoredType};
use serde_json::{Value, json};
use stage_api::{Context, Error, Result};
use stage_model::{ModelInput, check_model};

/// Headers of the output.
pub struct Target {
    pub description: ModelDescription,
    /// `config.json`.
    pub config: Value,
}

impl Target {
    /// `dtype` is what every tensor is written as; without one each keeps its own, and quantized ones become `f32`.
    ///
    /// # Errors
    /// Where the published configuration does not describe what is written, as a Llama with biases on queries alone,
    /// which a GGUF can hold.
    pub fn new(ctx: &Context, model: &ModelInput, dtype: Option<StoredType>) -> Result<Self> {
        let mut tensors = Vec::new();
        for spec in &model.reading.inventory.tensors {
            let Some(stored) = model.stored_type(spec) else { continue };
            let kept = if stored.is_float() { stored } else { StoredType::F32 };
            let stored_type = dtype.unwrap_or(kept);
            tensors.push(StoredTensor { name: spec.name.clone(), stored_type, shape: spec.shape.clone() });
        }
        published_order(&mut tensors);
        let mut config = model.reading.config.clone();
        set_dtype(&mut config, &tensors, &model.reading.architecture.embedding.weight)?;
        let mut description = safetensors::describe(config.clone(), tensors);
        description.tokenizer = model.description.tokenizer.clone();
        check_config(ctx, &description)?;
        Ok(Self { description, config })
    }
}

/// Reads the checkpoint as whoever loads it will: configuration and tensors must be of one model.
fn check_config(ctx: &Context, description: &ModelDescription) -> Result<()> {
    let unwritable = |why: String| {
        let message = format!("no `config.json` describes this model as a Hugging Face checkpoint: {why}");
        Error::new("unwritable_config", message).with_help(
            "the family's configuration has no word for what is special in this network; `convert-gguf` takes the \
             model, and an adapter beside it, without one",
        )
    };
    let written = ModelInput::read(ctx, description.clone()).map_err(|error| unwritable(error.to_string()))?;
    let problems = check_model(&written);
    problems.first().map_or(Ok(()), |problem| {
        let others = problems.len() - 1;
        Err(unwritable(format!("{}; {others} more like it", problem.message)))
    })
}

/// `torch_dtype` is what transformers computes in unless told otherwise: the type of the matrices.
fn set_dtype(config: &mut Value, tensors: &[StoredTensor], embedding: &str) -> Result<()> {
    let embedding = tensors.iter().find(|t| t.name == embedding).map(|t| t.stored_type);
    let name = match embedding {
        Some(StoredType::F32) => "float32",
        Some(StoredType::F16) => "float16",
        Some(StoredType::Bf16) => "bfloat16",
        other => {
            return Err(Error::new(
                "bad_dtype",
                format!("the embedding is {other:?}, which is no type of a checkpoint"),
            )
            .with_help("set `dtype` to f32, f16 or bf16"));
        }
    };
    if let Some(keys) = config.as_object_mut() {
        keys.insert("torch_dtype".into(), json!(name));
        keys.sort_keys();
    }
    Ok(())
}
