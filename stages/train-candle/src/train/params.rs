//! The parameters of `train-candle`, as pipelines write them under `with`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{Learn, SystemText};

/// What to learn, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["data"]))]
pub struct Params {
    /// Training data, one JSON object a line: `messages` (with `tools`), `prompt` and `completion`, or `text`.
    #[serde(skip_serializing_if = "is_left_out")]
    #[schemars(extend("format" = "path"))]
    pub data: PathBuf,
    /// Held-out data in the same forms, whose loss is measured.
    #[schemars(extend("format" = "path"))]
    pub eval_data: Option<PathBuf>,
    /// Share of `data` that is held out, where there is no `eval_data`.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub eval_split: f64,
    /// Optimizer steps between two measurements of the held-out loss; once an epoch where left out.
    #[schemars(range(min = 1))]
    pub eval_interval: Option<u64>,

    /// Rank of the adapter's matrices.
    #[schemars(range(min = 1, max = 1024))]
    pub rank: usize,
    /// Numerator of the adapter's scale, `alpha / rank`; twice the rank where left out.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub alpha: Option<f64>,
    /// Divide `alpha` by the root of the rank.
    pub use_rslora: bool,
    /// Share of the adapter's inputs that are dropped in a step.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub dropout: f64,
    /// Linears that get an adapter, by the last part of their names (`q_proj`) or by whole names; all where left out.
    pub target_modules: Option<Vec<String>>,
    /// Experts that get an adapter beside them, as PEFT names parameters (`experts.gate_up_proj`, `experts.down_proj`) or
    /// by the ends of their modules' names; none where left out.
    #[schemars(length(min = 1))]
    pub target_parameters: Option<Vec<String>>,
    /// A PEFT directory to go on from; rank, scale and modules are that adapter's.
    #[schemars(extend("format" = "path"))]
    pub init_adapter: Option<PathBuf>,

    /// Times that the data is gone through.
    #[schemars(range(min = 1))]
    pub epochs: u64,
    /// Optimizer steps, in place of `epochs`.
    #[schemars(range(min = 1))]
    pub steps: Option<u64>,
    /// Samples that are computed together.
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// Batches whose gradients are summed for one optimizer step.
    #[schemars(range(min = 1))]
    pub gradient_accumulation_steps: usize,
    /// Tokens that longer samples are cut to.
    #[schemars(range(min = 2))]
    pub max_length: usize,
    /// Whether each epoch has an order of its own; else the file's.
    pub shuffle: bool,

    /// Highest learning rate.
    #[schemars(range(min = 0.0))]
    pub learning_rate: f64,
    /// How the learning rate goes on after the warm-up.
    pub schedule: Decay,
    /// Share of the steps in which the learning rate rises from zero.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_ratio: f64,
    /// Decay of the averages of the gradient and of its square.
    #[schemars(extend("items" = { "type": "number", "minimum": 0, "exclusiveMaximum": 1 }))]
    pub betas: [f64; 2],
    /// Added to the root of the squares' average.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub eps: f64,
    /// Decoupled decay of the adapter's values, in units of the learning rate.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Gradients of a greater norm are shortened to it; 0 lets all pass.
    #[schemars(range(min = 0.0))]
    pub max_grad_norm: f64,
    /// Names the run's random numbers: initial adapter, order, dropout.
    pub seed: u64,

    /// Which tokens of a chat are learned.
    pub learn: Learn,
    /// What becomes of `system` messages.
    pub system: SystemText,
    /// The date that chat templates show, so that samples are the same tomorrow.
    #[schemars(extend("format" = "date"))]
    pub date: String,

    /// Optimizer steps between two points of the metrics.
    #[schemars(range(min = 1), extend("x-execution" = true))]
    pub log_interval: u64,
}

/// How the learning rate falls from its highest value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Half a cosine down to zero.
    Cosine,
    /// A straight line down to zero.
    Linear,
    /// Not at all.
    Constant,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            eval_data: None,
            eval_split: 0.0,
            eval_interval: None,
            rank: 16,
            alpha: None,
            use_rslora: false,
            dropout: 0.0,
            target_modules: None,
            target_parameters: None,
            init_adapter: None,
            epochs: 3,
            steps: None,
            batch_size: 8,
            gradient_accumulation_steps: 1,
            max_length: 1024,
            shuffle: true,
            learning_rate: 2e-4,
            schedule: Decay::Cosine,
            warmup_ratio: 0.03,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            seed: 42,
            learn: Learn::Assistant,
            system: SystemText::Keep,
            date: "2024-07-26".into(),
            log_interval: 1,
        }
    }
}

impl Params {
    /// Numerator of the scale.
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(2.0 * self.rank as f64)
    }
}

fn is_left_out(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_schema_marks_paths_and_what_cannot_change_results() {
        let schema = serde_json::to_value(schemars::schema_for!(Params)).unwrap();
        for path in ["data", "eval_data", "init_adapter"] {
            assert_eq!(schema["properties"][path]["format"], "path");
        }
        assert_eq!(schema["required"], serde_json::json!(["data"]));
        assert_eq!(schema["additionalProperties"], false);
        let execution: Vec<&String> = schema["properties"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, property)| property["x-execution"] == true)
            .map(|(name, _)| name)
            .collect();
        assert_eq!(execution, ["log_interval"]);
        assert_eq!(schema["properties"]["rank"]["default"], 16);
        assert!(schema["properties"]["data"]["default"].is_null());
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let params: Params = serde_json::from_str(r#"{"data": "x.jsonl", "rank": 8, "schedule": "linear"}"#).unwrap();
        assert_eq!((params.rank, params.alpha(), params.schedule), (8, 16.0, Decay::Linear));
        assert_eq!(params.batch_size, Params::default().batch_size);
    }
}
