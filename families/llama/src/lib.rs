//! The Llama family: Llama 3.x with its RoPE scaling, SmolLM, and whatever a GGUF calls `llama`.
//!
//! A configuration or a GGUF header becomes a [`shape::Shape`]; the network, the inventory and the headers of both
//! containers are made from that alone.

mod from_config;
mod from_gguf;
mod headers;
mod inventory;
mod network;
mod rope_scaling;
mod shape;

use model::ModelDescription;
use model::description::{Container, Reading};
use model_api::{Family, FamilyError};

struct Llama;

impl Family for Llama {
    fn id(&self) -> &str {
        "llama"
    }

    fn model_types(&self) -> Vec<String> {
        vec!["llama".into()]
    }

    fn gguf_architectures(&self) -> Vec<String> {
        vec!["llama".into()]
    }

    fn read(&self, model: &ModelDescription) -> Result<Reading, FamilyError> {
        let seen = match model.container {
            Container::Safetensors => from_config::read(model)?,
            Container::Gguf => from_gguf::read(model)?,
        };
        Ok(Reading {
            family: self.id().into(),
            dialect: seen.dialect,
            architecture: network::architecture(&seen.shape),
            inventory: inventory::inventory(&seen.shape, &seen.ignored),
            config: seen.config,
            gguf: headers::gguf(&seen.shape),
            assumed: seen.assumed,
            lost_in_gguf: Vec::new(),
            notes: seen.notes,
        })
    }
}

model_api::plugin![family(Llama)];
