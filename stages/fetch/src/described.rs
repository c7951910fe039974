//! A model's headers, wherever they were read, as what stands on the output port.

use std::collections::BTreeMap;

use model::ModelDescription;
use stage_api::{Context, Description, Finding, Result};
use stage_model::{
    ModelInput, check_model, describe_model, describe_tokenizer, model_notes, opened_memory, tokenizer_memory,
};
use tokenizer::Tokenizer;

/// What files say about themselves.
pub struct Headers {
    /// Without the tokenizer's summary and provenance.
    pub description: ModelDescription,
    pub tokenizer: Tokenizer,
    pub findings: Vec<Finding>,
}

/// A described model.
pub struct Described {
    pub output: Description,
    pub findings: Vec<Finding>,
    /// Bytes that describing it takes.
    pub memory: u64,
}

impl Headers {
    /// Lets the model's family read them; `provenance` is what only the source knows.
    pub fn describe(self, ctx: &Context, provenance: BTreeMap<String, String>) -> Result<Described> {
        let Self { mut description, tokenizer, mut findings } = self;
        description.tokenizer = Some(describe_tokenizer(&tokenizer)?);
        description.provenance = provenance;
        let model = ModelInput::read(ctx, description)?;
        findings.extend(model_api::family::findings(&model.reading));
        findings.extend(model_notes(&model));
        findings.extend(check_model(&model));
        let output = describe_model(&model.description, &model.reading.family)?;
        let memory = opened_memory(&model) + tokenizer_memory(&model);
        Ok(Described { output, findings, memory })
    }
}
