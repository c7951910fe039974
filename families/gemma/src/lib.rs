//! The Gemma family: Gemma 2, with norms around every branch, capped scores and logits, and a window in every other
//! layer.

mod from_config;
mod from_gguf;
mod shape;

use model::ModelDescription;
use model::description::{Container, Reading};
use model_api::{Family, FamilyError};

const ID: &str = "gemma";

struct GemmaFamily;

impl Family for GemmaFamily {
    fn id(&self) -> &str {
        ID
    }

    fn model_types(&self) -> Vec<String> {
        vec!["gemma2".into()]
    }

    fn gguf_architectures(&self) -> Vec<String> {
        vec!["gemma2".into()]
    }

    fn read(&self, model: &ModelDescription) -> Result<Reading, FamilyError> {
        match model.container {
            Container::Safetensors => from_config::read(model),
            Container::Gguf => from_gguf::read(model),
        }
    }
}

model_api::plugin![family(GemmaFamily)];
