//! The Qwen family: Qwen 2 and 2.5, with biases of queries, keys and values, and Qwen 3, with norms per head instead.

mod from_config;
mod from_gguf;
mod shape;

use model::ModelDescription;
use model::description::{Container, Reading};
use model_api::{Family, FamilyError};

const ID: &str = "qwen";

struct QwenFamily;

impl Family for QwenFamily {
    fn id(&self) -> &str {
        ID
    }

    fn model_types(&self) -> Vec<String> {
        vec!["qwen2".into(), "qwen3".into()]
    }

    fn gguf_architectures(&self) -> Vec<String> {
        vec!["qwen2".into(), "qwen3".into()]
    }

    fn read(&self, model: &ModelDescription) -> Result<Reading, FamilyError> {
        match model.container {
            Container::Safetensors => from_config::read(model),
            Container::Gguf => from_gguf::read(model),
        }
    }
}

model_api::plugin![family(QwenFamily)];
