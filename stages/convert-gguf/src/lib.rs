//! Stage `convert-gguf`: a model, perhaps with an adapter, as one GGUF; or an adapter alone as llama.cpp's `--lora`.
//!
//! Names, shapes and row orders come from the inventory, types from a quantizer. Rows are merged in `f32` and rounded
//! once. A tensor that nobody changed and whose type stays is copied bit for bit.

mod header;
mod lora;
mod matrices;
mod model_file;
mod naming;
mod ollama;
mod params;
mod target;

use std::collections::BTreeMap;

use stage_api::{Context, Error, Estimate, Outcome, Plan, Port, Result, Severity, Signature, Stage, kind};
use stage_model::{
    AdapterInput, ModelInput, PassThrough, RowStream, adapter_memory, check_adapter, check_model, describe_adapter,
    describe_model, lost_in_gguf, opened_memory, untied_note, vocabulary_memory,
};

use params::Params;
use target::Target;

struct ConvertGguf;

impl Stage for ConvertGguf {
    fn signature(&self) -> Signature {
        Signature {
            id: "convert-gguf".into(),
            summary: "writes a model as a GGUF, or an adapter alone as a GGUF LoRA".into(),
            revision: Some(4),
            inputs: vec![
                Port::new("model", kind::MODEL, "the model; left out, the adapter is converted alone").optional(),
                Port::new("adapter", kind::ADAPTER, "merged into the model, or converted alone")
                    .requires("container", &["safetensors"])
                    .optional(),
            ],
            outputs: vec![
                Port::new("model", kind::MODEL, "the GGUF with an Ollama `Modelfile`").optional(),
                Port::new("adapter", kind::ADAPTER, "the GGUF LoRA with an Ollama `Modelfile`").optional(),
            ],
            params: schemars::schema_for!(Params).into(),
        }
    }

    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let params: Params = ctx.params()?;
        let name = naming::name(ctx, &params);
        let mut plan = match Inputs::of(ctx)? {
            Inputs::Model(model, adapter) => plan_model(ctx, &params, &model, adapter.as_deref(), &name)?,
            Inputs::Adapter(adapter) => lora::plan(ctx, &adapter)?,
        };
        // The name is in the file, so it belongs to the key.
        plan.resolved.insert("name".into(), name.into());
        Ok(plan)
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let params: Params = ctx.params()?;
        let name = naming::name(ctx, &params);
        let mut findings = Vec::new();
        let (port, output) = match Inputs::of(ctx)? {
            Inputs::Model(model, adapter) => {
                let target = Target::new(ctx, &params, &model, &name)?;
                let (made, found) = model_file::write(ctx, &params, &model, adapter.as_deref(), &target, &name)?;
                findings = found;
                ("model", describe_model(&made, &model.reading.family)?)
            }
            Inputs::Adapter(adapter) => ("adapter", describe_adapter(&lora::write(ctx, &adapter, &name)?)?),
        };
        Ok(Outcome { outputs: BTreeMap::from([(port.into(), output)]), findings, ..Outcome::default() })
    }
}

/// What the pipeline connected.
enum Inputs {
    Model(Box<ModelInput>, Option<Box<AdapterInput>>),
    Adapter(Box<AdapterInput>),
}

impl Inputs {
    fn of(ctx: &Context) -> Result<Inputs> {
        match (ModelInput::optional(ctx, "model")?, AdapterInput::optional(ctx, "adapter")?) {
            (Some(model), adapter) => {
                let model = model.changed_by(ctx, adapter.as_ref())?;
                Ok(Inputs::Model(Box::new(model), adapter.map(Box::new)))
            }
            (None, Some(adapter)) => Ok(Inputs::Adapter(Box::new(adapter))),
            (None, None) => Err(Error::new("missing_input", "`convert-gguf` has neither a model nor an adapter")
                .with_help("add `inputs = { model = \"…\" }`, `inputs = { adapter = \"…\" }`, or both")),
        }
    }
}

fn plan_model(
    ctx: &Context,
    params: &Params,
    model: &ModelInput,
    adapter: Option<&AdapterInput>,
    name: &str,
) -> Result<Plan> {
    let mut findings = check_model(model);
    if adapter.is_some() {
        findings.extend(untied_note(&ModelInput::of(ctx, "model")?, model));
    }
    findings.extend(lost_in_gguf(model));
    findings.extend(adapter.iter().flat_map(|a| check_adapter(model, &a.description)));
    if findings.iter().any(|f| f.severity == Severity::Error) {
        return Ok(Plan { findings, ..Plan::default() });
    }
    let target = Target::new(ctx, params, model, name)?;
    findings.extend(target.findings());
    findings.extend(ollama::findings(model));
    let bytes = target.description.tensor_bytes();
    let estimate = Estimate {
        memory: Some(memory(ctx, model, adapter, &target)),
        mapped: Some(model.description.tensor_bytes()),
        disk: Some(bytes + HEADER_BYTES),
        seconds: Some((model.description.tensor_bytes() + bytes) as f64 / 5e8),
        ..Estimate::default()
    };
    let output = describe_model(&target.description, &model.reading.family)?;
    Ok(Plan { outputs: BTreeMap::from([("model".into(), output)]), estimate, findings, ..Plan::default() })
}

/// Peak memory. The vocabulary is written first, and its memory serves the tensors; those that pass through are not
/// held.
fn memory(ctx: &Context, model: &ModelInput, adapter: Option<&AdapterInput>, target: &Target) -> u64 {
    let pass_through = PassThrough::new(model, adapter);
    let tensors = target.sources.iter().zip(&target.description.tensors);
    let encoded = tensors.filter(|(source, t)| pass_through.stored_type(&source.expr) != Some(t.stored_type));
    let stream = RowStream::memory(ctx.threads(), encoded.map(|(_, tensor)| tensor));
    let factors = adapter.map_or(0, |a| adapter_memory(&a.description));
    opened_memory(model) + factors + stream.max(vocabulary_memory(model))
}

/// Metadata with the vocabulary: a generous guess for the disk estimate.
const HEADER_BYTES: u64 = 16 << 20;

stage_api::plugin![stage(ConvertGguf)];
