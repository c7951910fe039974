//! The two traits that a plugin implements.

use serde_json::Value;

use crate::{Context, Error, Outcome, Plan, Result, Signature};

/// A step of a pipeline. `plan` works on descriptions, `run` on the data.
pub trait Stage: Send + Sync + 'static {
    /// What the stage takes and gives.
    fn signature(&self) -> Signature;

    /// Describes the outputs from the descriptions of the inputs, with bounded reading and nothing written.
    ///
    /// Problems that the user can fix are findings, so that all of them show at once; an `Err` is for what stops
    /// planning itself.
    fn plan(&self, ctx: &Context) -> Result<Plan>;

    /// Writes the outputs into `ctx.output(port)` and returns their true descriptions.
    fn run(&self, ctx: &Context) -> Result<Outcome>;

    /// Answers `preview`, `fit`, … with a document of text, tables and series.
    fn action(&self, name: &str, _ctx: &Context) -> Result<Value> {
        Err(Error::new(Error::UNSUPPORTED, format!("this stage has no action `{name}`")))
    }
}

/// Something that stages look up by kind and id: a model family, a quantizer, whatever a crate defines.
pub trait Extension: Send + Sync + 'static {
    /// `family`, `quantizer`, …
    fn kind(&self) -> &str;

    /// The name within the kind.
    fn id(&self) -> &str;

    /// What the catalogue should know without loading anybody: names in classes, e.g.
    /// `{"model_type": ["llama"], "gguf_architecture": ["llama"]}`.
    fn claims(&self) -> std::collections::BTreeMap<String, Vec<String>>;

    /// An operation on JSON, defined by the kind.
    fn call(&self, op: &str, input: Value) -> Result<Value>;

    /// Encodes whole rows of `f32` into `dst`; `op` names the codec, `importance` is empty or one weight a column.
    /// Called from several threads at once.
    fn encode(&self, op: &str, _src: &[f32], _importance: &[f32], _dst: &mut [u8]) -> Result<()> {
        Err(Error::new(Error::UNSUPPORTED, format!("`{}` encodes no `{op}`", self.id())))
    }

    /// Decodes whole rows into `f32`; `op` names the codec. Called from several threads at once.
    fn decode(&self, op: &str, _src: &[u8], _dst: &mut [f32]) -> Result<()> {
        Err(Error::new(Error::UNSUPPORTED, format!("`{}` decodes no `{op}`", self.id())))
    }
}
