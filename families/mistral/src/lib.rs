//! The Mistral family: Mistral 7B v0.1 with its window, v0.2 and v0.3 without.
//!
//! Its GGUFs are of the architecture `llama`, which the family Llama owns.

mod from_config;

use model::ModelDescription;
use model::description::Reading;
use model_api::{Family, FamilyError};

struct MistralFamily;

impl Family for MistralFamily {
    fn id(&self) -> &str {
        "mistral"
    }

    fn model_types(&self) -> Vec<String> {
        vec!["mistral".into()]
    }

    fn gguf_architectures(&self) -> Vec<String> {
        Vec::new()
    }

    fn read(&self, model: &ModelDescription) -> Result<Reading, FamilyError> {
        from_config::read(model)
    }
}

model_api::plugin![family(MistralFamily)];
