//! What the pipeline found out, read from `host run --json` and from the evaluations' own reports.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::QuickstartError;

/// What `host run --json` prints, as far as it is shown here.
#[derive(Deserialize)]
struct Run {
    run_dir: PathBuf,
    seconds: f64,
    stages: Vec<Stage>,
}

#[derive(Deserialize)]
struct Stage {
    stage: String,
    outputs: BTreeMap<String, Output>,
    metrics: BTreeMap<String, f64>,
    seconds: f64,
    memory: Option<u64>,
}

#[derive(Deserialize)]
struct Output {
    path: PathBuf,
}

/// An evaluation's `report.json`, as far as it is shown here.
#[derive(Deserialize)]
pub struct Evaluation {
    pub model: Sizes,
    /// From the trained model's logits.
    pub divergence: Option<Divergence>,
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
    /// Divergence of the file's weights alone, computed in f32 by our decoder; nats a token.
    pub weights_divergence: Option<f64>,
}

/// How training went.
pub struct Training {
    pub metrics: BTreeMap<String, f64>,
    pub seconds: f64,
    /// Anonymous memory at most, bytes.
    pub memory: Option<u64>,
}

/// What the pipeline found out.
pub struct Outcome {
    pub training: Training,
    /// The base first, then each way to ship.
    pub shipped: Vec<Shipped>,
    pub run_dir: PathBuf,
    pub seconds: f64,
}

/// Columns of the table: its head, the stage that evaluates in llama.cpp, and the one that measures the weights alone.
const SHIPPED: [(&str, &str, Option<&str>); 3] = [
    ("base", "evaluate-base", None),
    ("merged", "evaluate-merged", Some("weights-merged")),
    ("base + adapter", "evaluate-lora", Some("weights-lora")),
];

impl Outcome {
    /// Reads the report of `pipelines/quickstart.toml`.
    pub fn read(json: &[u8]) -> Result<Self, QuickstartError> {
        let run: Run = parse(json, "the run's report")?;
        let train = run.stage("train")?;
        let training = Training { metrics: train.metrics.clone(), seconds: train.seconds, memory: train.memory };
        let shipped = SHIPPED.iter().map(|&(name, evaluate, weights)| {
            let weights = weights.and_then(|stage| run.metric(stage, "kl_mean"));
            Ok(Shipped { name, evaluation: run.evaluation(evaluate)?, weights_divergence: weights })
        });
        let shipped = shipped.collect::<Result<_, QuickstartError>>()?;
        Ok(Self { training, shipped, run_dir: run.run_dir, seconds: run.seconds })
    }
}

impl Run {
    fn stage(&self, name: &str) -> Result<&Stage, QuickstartError> {
        let missing = || QuickstartError::Missing { what: format!("stage `{name}`") };
        self.stages.iter().find(|stage| stage.stage == name).ok_or_else(missing)
    }

    fn metric(&self, stage: &str, name: &str) -> Option<f64> {
        self.stage(stage).ok()?.metrics.get(name).copied()
    }

    fn evaluation(&self, stage: &str) -> Result<Evaluation, QuickstartError> {
        let missing = || QuickstartError::Missing { what: format!("output `report` of stage `{stage}`") };
        let path = self.stage(stage)?.outputs.get("report").ok_or_else(missing)?.path.join("report.json");
        let text = fs::read(&path).map_err(|source| QuickstartError::Io { path: path.clone(), source })?;
        parse(&text, &format!("`{}`", path.display()))
    }
}

fn parse<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<T, QuickstartError> {
    serde_json::from_slice(json).map_err(|source| QuickstartError::Report { what: what.to_owned(), source })
}
