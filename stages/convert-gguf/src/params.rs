//! Parameters of `convert-gguf`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use stage_api::Result;

use model_api::quantizer::Choice;

/// Parameters of `convert-gguf`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// What tensors become: a preset (`q8_0`), `plugin/preset`, or `{ use = "plugin/preset", … }` with the
    /// quantizer's own parameters.
    #[serde(default = "f16")]
    #[schemars(extend("type" = ["string", "object"]))]
    quantizer: Value,
    /// `general.name`, and the file's name; the pipeline's where left out.
    pub name: Option<String>,
    /// llama.cpp's name of the pre-tokenizer, for a tokenizer whose structure is not recognised, or a GGUF that names
    /// none or a wrong one.
    pub pre: Option<String>,
}

fn f16() -> Value {
    "f16".into()
}

impl Params {
    /// The quantizer asked for.
    pub fn quantizer(&self) -> Result<Choice> {
        Choice::parse(&self.quantizer)
    }
}
