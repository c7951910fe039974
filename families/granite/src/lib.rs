//! The Granite family: 3.x dense and mixtures of experts, 4.0 dense, hybrids of Mamba-2 and attention, and hybrid
//! mixtures with a shared network. Four multipliers tell them from a Llama: of the embedding, the scores, each branch
//! and the logits.

mod build;
mod from_config;
mod from_gguf;
mod headers;
mod shape;

use model::ModelDescription;
use model::description::{Container, Reading};
use model_api::{Family, FamilyError};

const ID: &str = "granite";

struct GraniteFamily;

impl Family for GraniteFamily {
    fn id(&self) -> &str {
        ID
    }

    fn model_types(&self) -> Vec<String> {
        shape::Kind::ALL.map(|kind| kind.model_type().to_owned()).to_vec()
    }

    fn gguf_architectures(&self) -> Vec<String> {
        ["granite", "granitemoe", "granitehybrid"].map(str::to_owned).to_vec()
    }

    fn read(&self, model: &ModelDescription) -> Result<Reading, FamilyError> {
        match model.container {
            Container::Safetensors => from_config::read(model),
            Container::Gguf => from_gguf::read(model),
        }
    }
}

model_api::plugin![family(GraniteFamily)];
