//! What the stage found out, as `report.json` has it.

use serde::Serialize;

use crate::divergence::Divergence;
use crate::perplexity::Perplexity;
use crate::questions::Verdict;

/// The form of the report; raised when a key changes its meaning.
pub const SCHEMA: u32 = 1;

/// Everything measured. A part that was not asked for is `null`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The file.
    pub model: ModelFacts,
    /// How it was run.
    pub runtime: Runtime,
    /// Against the reference logits.
    pub divergence: Option<Divergence>,
    /// Of the file's weights alone, by our own decoder, against the reference logits.
    pub weights: Option<Divergence>,
    /// Of the plain text.
    pub text: Option<Perplexity>,
    /// Of the chats' last answers.
    pub chats: Option<Perplexity>,
    /// To the questions.
    pub answers: Option<Answers>,
    /// How a short text goes on: what one looks at first.
    pub sample: Sample,
    /// Tokens a second.
    pub speed: Speed,
}

/// What the file says about itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelFacts {
    /// `general.architecture`.
    pub architecture: Option<String>,
    /// `general.name`.
    pub name: Option<String>,
    /// Weights.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
    /// Bytes on disk of the model's file, of a split model's first one.
    pub bytes: Option<u64>,
    /// Bytes on disk of the adapter.
    pub adapter_bytes: Option<u64>,
    /// Rows of the output.
    pub vocab_size: usize,
    /// Tokens that it was trained for.
    pub trained_context: usize,
}

/// How the file was run; results do not depend on `threads`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Runtime {
    /// llama.cpp's version.
    pub llama_cpp: String,
    /// Of attention states.
    pub kv_cache: &'static str,
    /// Most tokens of one text.
    pub context: usize,
    /// Threads kept busy.
    pub threads: usize,
}

/// Answers and how many hit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answers {
    /// Share that hit.
    pub accuracy: f64,
    /// Number that hit.
    pub hits: usize,
    /// Questions.
    pub total: usize,
    /// One by one, in the file's order.
    pub answers: Vec<Answered>,
}

/// One question and what the model says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answered {
    /// From the file.
    pub id: String,
    /// What was asked last.
    pub question: String,
    /// What the model says.
    pub answer: String,
    /// Whether it hits, and why not.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Tokens said.
    pub tokens: usize,
    /// Whether the model ended by itself.
    pub finished: bool,
}

impl Answers {
    /// Counts the hits.
    pub fn new(answers: Vec<Answered>) -> Self {
        let (hits, total) = (answers.iter().filter(|a| a.verdict.hit).count(), answers.len());
        Self { accuracy: hits as f64 / (total as f64).max(1.0), hits, total, answers }
    }
}

/// A short text continued.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// What was given.
    pub prompt: &'static str,
    /// What the model makes of it.
    pub continuation: String,
}

/// Tokens a second; `None` where nothing of the kind was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// Many tokens at a time.
    pub prompt: Option<f64>,
    /// One token at a time.
    pub generation: Option<f64>,
}

impl Report {
    /// Figures by name, for the run's summary.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        let mut metrics = Vec::new();
        let mut add = |name, value: Option<f64>| metrics.extend(value.map(|value| (name, value)));
        add("kl_mean", self.divergence.map(|d| d.mean));
        add("kl_median", self.divergence.map(|d| d.median));
        add("kl_p99", self.divergence.map(|d| d.p99));
        add("kl_max", self.divergence.map(|d| d.max));
        add("top1_agreement", self.divergence.map(|d| d.top1_agreement));
        add("weights_kl_mean", self.weights.map(|d| d.mean));
        add("perplexity", self.text.map(|p| p.perplexity));
        add("chat_perplexity", self.chats.map(|p| p.perplexity));
        add("accuracy", self.answers.as_ref().map(|a| a.accuracy));
        add("prompt_tokens_per_second", self.speed.prompt);
        add("generation_tokens_per_second", self.speed.generation);
        metrics
    }
}
