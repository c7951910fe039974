//! The stage as the host sees it.

use std::path::{Path, PathBuf};

use model::ModelDescription;
use stage_api::{
    Context, Description, Estimate, Finding, Outcome, Plan, Port, Result, Severity, Signature, Stage, kind,
};

use stage_model::{AdapterInput, ModelInput, check_adapter};

use crate::error::EvaluateError;
use crate::evaluate::{Files, evaluate};
use crate::memory::Shape;
use crate::params::Params;
use crate::report::Report;
use crate::{chats, questions};

/// Runs a GGUF in llama.cpp and reports what comes out.
pub struct EvaluateGguf;

/// The report's file in the output directory.
const REPORT_FILE: &str = "report.json";
/// A first guess, floating-point operations a second and thread.
const FLOPS_PER_THREAD: f64 = 2e10;
/// Bytes of a token of text, roughly.
const BYTES_PER_TOKEN: u64 = 4;

impl Stage for EvaluateGguf {
    fn signature(&self) -> Signature {
        Signature {
            id: "evaluate-gguf".into(),
            summary: "runs a GGUF in llama.cpp: perplexity, divergence from reference logits, answers, speed".into(),
            revision: Some(1),
            inputs: vec![
                Port::new("model", kind::MODEL, "the GGUF to prove").requires("container", &["gguf"]),
                Port::new("adapter", kind::ADAPTER, "a GGUF LoRA shipped beside it")
                    .requires("container", &["gguf"])
                    .optional(),
                Port::new("reference", kind::LOGITS, "logits of the model that it was made from").optional(),
                Port::new(
                    "weights",
                    kind::LOGITS,
                    "logits of this very file, by `logits`: what its weights alone lost",
                )
                .optional(),
            ],
            outputs: vec![Port::new("report", kind::REPORT, "figures and answers, `report.json`")],
            params: schemars::schema_for!(Params).to_value(),
        }
    }

    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let params: Params = ctx.params()?;
        let findings = [unmet_gates(ctx, &params), unreadable_data(&params), unfit_adapter(ctx)?].concat();
        Ok(Plan {
            outputs: [("report".to_owned(), Description::unknown(kind::REPORT))].into(),
            estimate: estimate(ctx, &params)?,
            findings,
            numeric_mode: Some("f32".into()),
            ..Plan::default()
        })
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let params: Params = ctx.params()?;
        let (report, bytes) = measure(ctx, &params)?;
        for (name, value) in report.metrics() {
            ctx.metric(name, 0, value);
        }
        check_gates(&report, &params)?;
        let description = Description::unknown(kind::REPORT).with_bytes(bytes);
        Ok(Outcome {
            outputs: [("report".to_owned(), description)].into(),
            metrics: report.metrics().into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            findings: beyond_training(&report),
        })
    }
}

/// An adapter that was made for another base. A GGUF that no family claims runs in llama.cpp all the same, and then it is
/// llama.cpp that refuses.
fn unfit_adapter(ctx: &Context) -> Result<Vec<Finding>> {
    let (model, adapter) = (ModelInput::of(ctx, "model"), AdapterInput::optional(ctx, "adapter")?);
    let Some((model, adapter)) = model.ok().zip(adapter) else { return Ok(Vec::new()) };
    let mut findings = check_adapter(&model, &adapter.description);
    findings.extend(other_architecture(ctx, &model, &adapter));
    Ok(findings)
}

/// Sizes may agree by chance, but llama.cpp holds the names of the architectures against each other.
fn other_architecture(ctx: &Context, model: &ModelInput, adapter: &AdapterInput) -> Option<Finding> {
    let base = ModelInput::read(ctx, adapter.description.base.clone()?).ok()?;
    let (got, expected) = (&base.reading.gguf.architecture, &model.reading.gguf.architecture);
    let message = format!("the adapter was made for a model of the architecture `{got}`, this one is `{expected}`");
    let finding = Finding::new(Severity::Error, "unfit_adapter", message);
    (got != expected).then(|| finding.with_help("evaluate it beside the GGUF of its own base"))
}

/// Evaluates and writes the report; gives its size.
fn measure(ctx: &Context, params: &Params) -> Result<(Report, u64), EvaluateError> {
    let gguf = |port| -> Result<PathBuf, EvaluateError> { Ok(stage_model::model_path(ctx.input_path(port)?)?) };
    let optional = |port| ctx.optional_input(port).is_some();
    let model = gguf("model")?;
    let adapter = if optional("adapter") { Some(gguf("adapter")?) } else { None };
    let reference = if optional("reference") { Some(ctx.input_path("reference")?) } else { None };
    let weights = if optional("weights") { Some(ctx.input_path("weights")?) } else { None };
    let report = evaluate(ctx, params, Files { model: &model, adapter: adapter.as_deref(), reference, weights })?;
    let bytes = write_report(&ctx.output("report")?, &report)?;
    Ok((report, bytes))
}

fn write_report(directory: &Path, report: &Report) -> Result<u64, EvaluateError> {
    let path = directory.join(REPORT_FILE);
    let failed = |source| EvaluateError::Write { path: path.clone(), source };
    let mut text = serde_json::to_string_pretty(report).map_err(|error| failed(error.into()))?;
    text.push('\n');
    std::fs::create_dir_all(directory).map_err(failed)?;
    std::fs::write(&path, &text).map_err(failed)?;
    Ok(text.len() as u64)
}

fn check_gates(report: &Report, params: &Params) -> Result<(), EvaluateError> {
    if let (Some(bound), Some(answers)) = (params.min_accuracy, &report.answers)
        && answers.accuracy < bound
    {
        let (figure, parameter) = ("accuracy", "min_accuracy");
        return Err(EvaluateError::Gate { figure, got: answers.accuracy, parameter, demand: "least", bound });
    }
    if let (Some(bound), Some(divergence)) = (params.max_kl, report.divergence)
        && divergence.mean > bound
    {
        let (figure, parameter) = ("the mean divergence", "max_kl");
        return Err(EvaluateError::Gate { figure, got: divergence.mean, parameter, demand: "most", bound });
    }
    Ok(())
}

/// A gate that nothing feeds would pass in silence.
fn unmet_gates(ctx: &Context, params: &Params) -> Vec<Finding> {
    let mut findings = Vec::new();
    if params.min_accuracy.is_some() && params.questions.is_none() {
        findings.push(
            Finding::new(Severity::Error, "gate_without_figure", "`min_accuracy` is set, but there are no `questions`")
                .with_help("give `questions`, or take `min_accuracy` away"),
        );
    }
    if ctx.optional_input("weights").is_some() && ctx.optional_input("reference").is_none() {
        let message = "input `weights` is connected, but there is no `reference` to hold it against";
        findings.push(
            Finding::new(Severity::Error, "gate_without_figure", message)
                .with_help("connect a `logits` stage of the unrounded model to `reference`"),
        );
    }
    if params.max_kl.is_some() && ctx.optional_input("reference").is_none() {
        findings.push(
            Finding::new(Severity::Error, "gate_without_figure", "`max_kl` is set, but there is no input `reference`")
                .with_help("connect a `logits` stage to `reference`, or take `max_kl` away"),
        );
    }
    findings
}

/// Bad lines are found before anything is trained for hours, not after.
fn unreadable_data(params: &Params) -> Vec<Finding> {
    let questions = params.questions.as_deref().and_then(|path| questions::read(path).err().map(EvaluateError::from));
    let chats = params.chats.as_deref().and_then(|path| chats::read(path).err().map(EvaluateError::from));
    let errors = questions.into_iter().chain(chats).map(stage_api::Error::from);
    errors.map(|error| Finding::new(Severity::Error, &error.code, error.to_string())).collect()
}

fn beyond_training(report: &Report) -> Vec<Finding> {
    let (used, trained) = (report.runtime.context, report.model.trained_context);
    if trained == 0 || used <= trained {
        return Vec::new();
    }
    let message = format!("texts of up to {used} tokens were decoded, but the model was trained for {trained}");
    vec![
        Finding::new(Severity::Warning, "beyond_trained_context", message)
            .with_help("lower `window` or `max_tokens`, or shorten the prompts"),
    ]
}

fn estimate(ctx: &Context, params: &Params) -> Result<Estimate> {
    let input = ctx.input("model")?;
    let mut estimate = Estimate { mapped: input.description.bytes, disk: Some(64 << 10), ..Estimate::default() };
    let Ok(model) = serde_json::from_value::<ModelDescription>(input.description.body.clone()) else {
        return Ok(estimate);
    };
    if let Some(shape) = Shape::read(&model) {
        let context = params.window.max(2 * params.max_tokens) as u64;
        let reference = ctx.optional_input("reference");
        let flops = 2.0 * shape.parameters as f64 * tokens(ctx, params) as f64;
        estimate.memory = Some(shape.memory(context, reference.is_some()));
        estimate.flops = Some(flops);
        let threads = params.threads.unwrap_or_else(|| ctx.threads());
        estimate.seconds = Some(flops / (FLOPS_PER_THREAD * threads as f64));
    }
    Ok(estimate)
}

/// About how many tokens will be decoded.
fn tokens(ctx: &Context, params: &Params) -> u64 {
    let size = |path: &Option<PathBuf>| path.as_deref().and_then(|p| p.metadata().ok()).map_or(0, |m| m.len());
    let texts = (size(&params.text) + size(&params.chats) + size(&params.questions)) / BYTES_PER_TOKEN;
    let asked = params.questions.as_deref().and_then(|path| questions::read(path).ok()).map_or(0, |q| q.len());
    let reference = ctx.optional_input("reference").and_then(|input| input.description.body["tokens"].as_u64());
    texts + (asked * params.max_tokens) as u64 + reference.unwrap_or(0)
}
