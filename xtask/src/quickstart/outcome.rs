//! What the pipeline found out, read from the host's report and from the evaluations' own.

use serde::Deserialize;

use crate::host::{HostError, RunReport, StageReport, read_json};

/// An evaluation's `report.json`, as far as it is shown here.
#[derive(Deserialize)]
pub struct Evaluation {
    pub model: Sizes,
    /// From the trained model's logits, in llama.cpp.
    pub divergence: Option<Divergence>,
    /// Of the file's weights alone, computed with `f32` activations.
    pub weights: Option<Divergence>,
    /// Of neutral text.
    pub text: Option<Perplexity>,
    /// Of held-out chats.
    pub chats: Option<Perplexity>,
    pub answers: Option<Answers>,
}

#[derive(Deserialize)]
pub struct Sizes {
    pub bytes: Option<u64>,
    pub adapter_bytes: Option<u64>,
}

#[derive(Deserialize)]
pub struct Divergence {
    /// Nats a token.
    pub mean: f64,
}

#[derive(Deserialize)]
pub struct Perplexity {
    pub perplexity: f64,
}

#[derive(Deserialize)]
pub struct Answers {
    pub hits: usize,
    pub total: usize,
    pub answers: Vec<Answer>,
}

#[derive(Deserialize)]
pub struct Answer {
    pub question: String,
    pub answer: String,
    pub hit: bool,
}

/// One way to ship the model, or the base before training.
pub struct Shipped {
    /// The column's head.
    pub name: &'static str,
    pub evaluation: Evaluation,
}

/// What the pipeline found out.
pub struct Outcome<'a> {
    pub training: &'a StageReport,
    /// The base first, then each way to ship.
    pub shipped: Vec<Shipped>,
}

/// Columns of the table: its head, and the stage that evaluates in llama.cpp.
const SHIPPED: [(&str, &str); 3] =
    [("base", "evaluate-base"), ("merged", "evaluate-merged"), ("base + adapter", "evaluate-lora")];

impl<'a> Outcome<'a> {
    /// Reads the report of `pipelines/quickstart.toml`.
    pub fn read(run: &'a RunReport) -> Result<Self, HostError> {
        let shipped = SHIPPED.iter().map(|&(name, evaluate)| {
            let evaluation = read_json(&run.output(evaluate, "report")?.join("report.json"))?;
            Ok(Shipped { name, evaluation })
        });
        let shipped = shipped.collect::<Result<_, HostError>>()?;
        Ok(Self { training: run.stage("train")?, shipped })
    }
}
