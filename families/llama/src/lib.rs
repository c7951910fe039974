//! The Llama family: Llama 3.x with its RoPE scaling, SmolLM, and whatever a GGUF calls `llama`.
//!
//! A configuration or a GGUF header becomes a [`shape::Llama`]; what is computed and every
//! tensor are made from that alone.

mod from_config;
mod from_gguf;
mod shape;

use model::ModelDescription;
use model::description::{Container, Reading};
use model_api::{Family, FamilyError};

const ID: &str = "llama";

struct LlamaFamily;

impl Family for LlamaFamily {
    fn id(&self) -> &str {
        ID
    }

    fn model_types(&self) -> Vec<String> {
        vec!["llama".into()]
    }

    fn gguf_architectures(&self) -> Vec<String> {
        vec!["llama".into()]
    }

    fn read(&self, model: &ModelDescription) -> Result<Reading, FamilyError> {
        match model.container {
            Container::Safetensors => from_config::read(model),
            Container::Gguf => from_gguf::read(model),
        }
    }
}

model_api::plugin![family(LlamaFamily)];
