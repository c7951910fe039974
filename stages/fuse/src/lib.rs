//! Stage `fuse`: a model and an adapter written out as one Hugging Face checkpoint, in the published spelling.
//!
//! Every row is merged in `f32` and rounded once, by whoever writes it. Tensors that nobody changed and whose type stays
//! are copied as they lie.

mod target;
mod write;

use std::collections::BTreeMap;

use model::description::{Container, StoredTensor};
use model::{Expr, StoredType};
use schemars::JsonSchema;
use serde::Deserialize;
use stage_api::{Certainty, Context, Estimate, Outcome, Plan, Port, Result, Signature, Stage, kind};
use stage_model::{
    AdapterInput, ModelInput, PassThrough, RowStream, adapter_memory, check_adapter, check_model, describe_model,
    opened_memory, tokenizer_memory, untied_note,
};

use target::Target;

/// Parameters of `fuse`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// What tensors are written as: `auto` keeps each tensor's type, and writes `f32` for quantized ones.
    #[serde(default)]
    dtype: Dtype,
    /// Files are split beyond this size, in gigabytes.
    #[serde(default = "five")]
    #[schemars(range(min = 0.001))]
    max_shard_gb: f64,
}

fn five() -> f64 {
    5.0
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Dtype {
    #[default]
    Auto,
    F32,
    F16,
    Bf16,
}

impl Dtype {
    fn fixed(self) -> Option<StoredType> {
        match self {
            Dtype::Auto => None,
            Dtype::F32 => Some(StoredType::F32),
            Dtype::F16 => Some(StoredType::F16),
            Dtype::Bf16 => Some(StoredType::Bf16),
        }
    }
}

struct Fuse;

impl Stage for Fuse {
    fn signature(&self) -> Signature {
        Signature {
            id: "fuse".into(),
            summary: "writes a model with its adapter merged in as a Hugging Face checkpoint".into(),
            revision: Some(2),
            inputs: vec![
                Port::new("model", kind::MODEL, "the base, whatever holds it"),
                Port::new("adapter", kind::ADAPTER, "what to merge in")
                    .requires("container", &["safetensors"])
                    .optional(),
            ],
            outputs: vec![Port::new("model", kind::MODEL, "a directory as transformers loads it")],
            params: schemars::schema_for!(Params).into(),
        }
    }

    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let params: Params = ctx.params()?;
        let base = ModelInput::of(ctx, "model")?;
        let adapter = AdapterInput::optional(ctx, "adapter")?;
        let mut findings = check_model(&base);
        let model = base.clone().changed_by(ctx, adapter.as_ref())?;
        findings.extend(untied_note(&base, &model));
        findings.extend(adapter.iter().flat_map(|a| check_adapter(&model, &a.description)));
        if findings.iter().any(|f| f.severity == stage_api::Severity::Error) {
            return Ok(Plan { findings, ..Plan::default() });
        }
        let target = Target::new(ctx, &model, params.dtype.fixed())?;
        let bytes = target.description.tensor_bytes();
        let estimate = Estimate {
            memory: Some(memory(ctx, &model, adapter.as_ref(), &target)),
            mapped: Some(model.description.tensor_bytes()),
            disk: Some(bytes + SIDE_FILES),
            seconds: Some((model.description.tensor_bytes() + bytes) as f64 / 1e9),
            ..Estimate::default()
        };
        let output = describe_model(&target.description, &model.reading.family)?.with_certainty(Certainty::Exact);
        Ok(Plan { outputs: BTreeMap::from([("model".into(), output)]), estimate, findings, ..Plan::default() })
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let params: Params = ctx.params()?;
        let adapter = AdapterInput::optional(ctx, "adapter")?;
        let model = ModelInput::of(ctx, "model")?.changed_by(ctx, adapter.as_ref())?;
        let target = Target::new(ctx, &model, params.dtype.fixed())?;
        let made = write::write(ctx, &model, adapter.as_ref(), &target, (params.max_shard_gb * 1e9) as u64)?;
        let output = describe_model(&made, &model.reading.family)?;
        Ok(Outcome { outputs: BTreeMap::from([("model".into(), output)]), ..Outcome::default() })
    }
}

/// Peak memory. A GGUF's tokenizer is rebuilt and written first, and its memory serves the tensors; those that pass
/// through are not held.
fn memory(ctx: &Context, model: &ModelInput, adapter: Option<&AdapterInput>, target: &Target) -> u64 {
    let gguf = model.description.container == Container::Gguf;
    let tokenizer = if gguf { tokenizer_memory(model) } else { 0 };
    let pass_through = PassThrough::new(model, adapter);
    let passes = |t: &StoredTensor| pass_through.stored_type(&Expr::tensor(&t.name)) == Some(t.stored_type);
    let encoded = target.description.tensors.iter().filter(|t| !passes(t));
    let factors = adapter.map_or(0, |a| adapter_memory(&a.description));
    opened_memory(model) + factors + RowStream::memory(ctx.threads(), encoded).max(tokenizer)
}

/// Tokenizer files beside the weights: a generous guess for the disk estimate.
const SIDE_FILES: u64 = 32 << 20;

stage_api::plugin![stage(Fuse)];
