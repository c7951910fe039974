//! Stage `logits`: what a model says about a text, token by token, in f32: computed once, streamed to disk row by row,
//! and what every conversion of the model is held against.

mod artifact;
mod error;
mod params;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::adapter::Adapter;
use decoder::from_view::adapters_of;
use decoder::{Adapters, Batch, plan};
use model::adapter::AdaptedModule;
use serde_json::json;
use sha2::{Digest, Sha256};
use stage_api::{
    Certainty, Context, Description, Estimate, Finding, Outcome, Plan, Port, Result, Severity, Signature, Stage, kind,
};
use stage_model::{AdapterInput, ModelInput, check_adapter, check_model};

use crate::base::{Base, MODEL, numeric_mode};
use crate::resources;
use artifact::{Contents, Writer};
use error::LogitsError;
use params::Params;

/// The input's name.
const ADAPTER: &str = "adapter";
/// The output's name.
const LOGITS: &str = "logits";

/// Computes reference logits.
pub struct Logits;

impl Stage for Logits {
    fn signature(&self) -> Signature {
        Signature {
            id: "logits".into(),
            summary: "computes a model's logits of a text, to hold its conversions against".into(),
            revision: Some(2),
            inputs: vec![
                Port::new(MODEL, kind::MODEL, "the model: a Hugging Face directory or a GGUF"),
                Port::new(
                    ADAPTER,
                    kind::ADAPTER,
                    "a PEFT directory, computed beside the model, or merged where it is DoRA",
                )
                .requires("container", &["safetensors"])
                .optional(),
            ],
            outputs: vec![Port::new(LOGITS, kind::LOGITS, "token ids and one row of f32 logits a token")],
            params: schemars::schema_for!(Params).into(),
        }
    }

    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let params: Params = ctx.params()?;
        let adapter = AdapterInput::optional(ctx, ADAPTER)?;
        let model = ModelInput::of(ctx, MODEL)?.changed_by(ctx, adapter.as_ref())?;
        let mut findings = check_model(&model);
        findings.extend(adapter.iter().flat_map(|a| check_adapter(&model, &a.description)));
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Ok(Plan { findings, ..Plan::default() });
        }
        let (output, bytes) = match Base::open_if_made(ctx, &model)? {
            Some(base) => {
                let contents = contents(&params, &model, &base)?;
                (describe(&params, &contents), contents.bytes())
            }
            None => {
                findings.push(not_made_yet(&params));
                at_most(&params, &model)
            }
        };
        Ok(Plan {
            outputs: BTreeMap::from([(LOGITS.into(), output)]),
            estimate: estimate(ctx, &params, &model, adapter.as_ref(), bytes)?,
            findings,
            numeric_mode: Some(numeric_mode(&model)),
            ..Plan::default()
        })
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let params: Params = ctx.params()?;
        let adapter = AdapterInput::optional(ctx, ADAPTER)?;
        let model = ModelInput::of(ctx, MODEL)?.changed_by(ctx, adapter.as_ref())?;
        let weights = adapter.as_ref().map(|adapter| adapter.open(ctx, ADAPTER, &model.reading)).transpose()?;
        let (merged, beside) = weights.map(|weights| parted(weights, &model)).unzip();
        let base = Base::merged(ctx, &model, merged)?;
        let contents = contents(&params, &model, &base)?;
        compute(ctx, &model, &base, beside.as_ref(), &contents)?;
        Ok(Outcome {
            outputs: BTreeMap::from([(LOGITS.into(), describe(&params, &contents))]),
            metrics: BTreeMap::from([("tokens".to_owned(), contents.tokens() as f64)]),
            ..Outcome::default()
        })
    }
}

/// Whether a module's change is merged into its matrix: DoRA changes the base's own part of a sum, and nothing is computed
/// beside an embedding or a head. `known` are the modules of the layers.
fn is_merged(known: &BTreeSet<&str>, module: &str, dora: bool) -> bool {
    dora || !known.contains(module)
}

fn modules_of(model: &ModelInput) -> BTreeSet<&str> {
    model.reading.architecture.modules().into_iter().map(|module| module.path).collect()
}

/// What of an adapter is merged, and what is computed beside its base.
fn parted(adapter: Adapter, model: &ModelInput) -> (Adapter, Adapter) {
    let known = modules_of(model);
    let Adapter { config, modules } = adapter;
    let (merged, beside) =
        modules.into_iter().partition(|(name, lora)| is_merged(&known, name, lora.magnitude.is_some()));
    (Adapter { config: config.clone(), modules: merged }, Adapter { config, modules: beside })
}

fn contents(params: &Params, model: &ModelInput, base: &Base) -> Result<Contents, LogitsError> {
    Ok(Contents {
        windows: windows::windows(params, &base.tokenizer)?,
        vocab_size: model.reading.architecture.vocab_size as usize,
        text_sha256: format!("{:x}", Sha256::digest(windows::read(&params.text)?)),
    })
}

fn describe(params: &Params, contents: &Contents) -> Description {
    let body = json!({
        "tokens": contents.tokens(),
        "windows": contents.windows.len(),
        "window": params.window,
        "vocab_size": contents.vocab_size,
        "dtype": "f32",
        "text_sha256": contents.text_sha256,
    });
    Description::exact(kind::LOGITS, body).with_bytes(contents.bytes())
}

/// Of a model without a tokenizer yet: no more than the tokens asked for, nor than the text has bytes.
fn at_most(params: &Params, model: &ModelInput) -> (Description, u64) {
    let vocab_size = model.reading.architecture.vocab_size;
    let tokens = params.tokens as u64;
    // An id takes at most ten digits and a comma; brackets, counts and digests take the rest.
    let bytes = tokens.saturating_mul(4 * vocab_size + 11) + 4 * tokens + 1024;
    let body = json!({ "tokens": tokens, "window": params.window, "vocab_size": vocab_size, "dtype": "f32" });
    (Description::exact(kind::LOGITS, body).with_bytes(bytes).with_certainty(Certainty::Bounded), bytes)
}

fn not_made_yet(params: &Params) -> Finding {
    let message =
        format!("the model is not made yet, so the text is not tokenized: {} tokens are planned", params.tokens);
    Finding::new(Severity::Note, "bounded", message)
}

fn estimate(
    ctx: &Context,
    params: &Params,
    model: &ModelInput,
    adapter: Option<&AdapterInput>,
    bytes: u64,
) -> Result<Estimate, LogitsError> {
    let architecture = &model.reading.architecture;
    let known = modules_of(model);
    let modules = adapter.into_iter().flat_map(|adapter| &adapter.description.modules);
    let (merged, beside): (Vec<_>, Vec<_>) = modules.partition(|(name, m)| is_merged(&known, name, m.dora));
    let merged = merged.into_iter().map(|(_, module)| merged_bytes(module)).sum::<u64>();
    let rank = beside.iter().map(|(_, module)| module.rank).max().unwrap_or(0) as usize;
    let modules: BTreeSet<String> = beside.into_iter().map(|(name, _)| name.clone()).collect();
    let window = params.window.min(params.tokens);
    let needs = plan::logits(architecture, &modules, rank, &[window], ctx.threads())?;
    let flops = needs.flops * params.tokens as f64 / window as f64;
    // The adapter's values exist twice: as read, and as computed with.
    let memory = needs.bytes() + needs.adapters + merged + resources::base(model);
    Ok(Estimate {
        memory: Some(memory),
        mapped: Some(model.description.tensor_bytes()),
        disk: Some(bytes),
        flops: Some(flops),
        seconds: resources::seconds(flops, ctx.threads()),
        ..Estimate::default()
    })
}

/// The factors as read, and the matrix that they change, in `f32`.
fn merged_bytes(module: &AdaptedModule) -> u64 {
    let AdaptedModule { rank, experts, in_features, out_features, .. } = *module;
    4 * experts * (rank * (in_features + out_features) + in_features * out_features)
}

/// Window by window: the logits of one exist at a time, a few rows of them.
fn compute(
    ctx: &Context,
    model: &ModelInput,
    base: &Base,
    adapter: Option<&Adapter>,
    contents: &Contents,
) -> Result<(), LogitsError> {
    let network = base.network(ctx.threads())?;
    let adapters = match adapter {
        Some(adapter) => adapters_of(&model.reading.architecture, adapter)?,
        None => Adapters::none(),
    };
    let mut writer = Writer::create(&ctx.output(LOGITS)?, contents)?;
    let (mut done, total) = (0, contents.tokens() as u64);
    for (number, window) in contents.windows.iter().enumerate() {
        ctx.check_cancelled()?;
        let batch = Batch::read_only(&[window])?;
        let mut broken = None;
        let computed = network.logits(&adapters, &batch, &mut |first, rows| {
            broken = rows.iter().position(|value| !value.is_finite()).map(|at| LogitsError::NotFinite {
                window: number,
                token: first + at / contents.vocab_size,
                value: rows[at],
            });
            if broken.is_some() { Err(std::io::ErrorKind::InvalidData.into()) } else { writer.append(rows) }
        });
        match broken {
            Some(error) => return Err(error),
            None => computed?,
        }
        done += window.len() as u64;
        ctx.progress("tokens", done, total);
    }
    writer.finish(contents)
}

#[cfg(test)]
mod stage_tests;
