//! What was seen of one model on its way.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{MatrixError, logits};
use crate::host::{HostError, RunReport, read_json};

/// What `validate-arch` reports, as far as it is shown.
#[derive(Deserialize)]
struct Checked {
    family: String,
    gguf_architecture: String,
}

/// A finished run of `matrix.toml`, with logits still in files.
pub struct Seen {
    checked: Checked,
    /// Of the base, of base and adapter, and of what was fused of both.
    logits: [PathBuf; 3],
    kl: Divergences,
}

/// KL divergence of llama.cpp from our logits of base and adapter, nats a token.
#[derive(Clone, Copy)]
pub struct Divergences {
    /// Of the fused model in f32.
    pub f32: f64,
    /// Of the fused model in q8_0.
    pub q8_0: f64,
    /// Of a GGUF LoRA beside its base in f32.
    pub beside: f64,
}

/// What the table shows of a model.
pub struct Figures {
    pub family: String,
    pub gguf_architecture: String,
    /// The base's logits from transformers', as a share of their standard deviation.
    pub transformers: f64,
    /// The same of the fused model from base and adapter.
    pub fused: f64,
    /// The same of base and adapter from the base: what training changed.
    pub changed: f64,
    pub kl: Divergences,
}

impl Seen {
    /// Reads the report.
    ///
    /// # Errors
    /// Where it lacks something.
    pub fn of(run: &RunReport) -> Result<Self, HostError> {
        let kl = |stage: &str| run.stage(stage)?.metric("kl_mean");
        let logits = |stage: &str| Ok::<_, HostError>(run.output(stage, "logits")?.to_owned());
        Ok(Self {
            checked: read_json(&run.output("check", "report")?.join("report.json"))?,
            logits: [logits("logits")?, logits("tuned")?, logits("fused")?],
            kl: Divergences { f32: kl("evaluate-f32")?, q8_0: kl("evaluate-q8_0")?, beside: kl("evaluate-beside")? },
        })
    }

    /// Compares logits, the base's with those in `golden`.
    ///
    /// # Errors
    /// Where some cannot be read, or are not equally many.
    pub fn figures(self, golden: &Path) -> Result<Figures, MatrixError> {
        let [base, tuned, fused] = &self.logits;
        let [ours, with_adapter] = [logits::ours(base)?, logits::ours(tuned)?];
        Ok(Figures {
            family: self.checked.family,
            gguf_architecture: self.checked.gguf_architecture,
            transformers: logits::apart(&ours, &logits::golden(golden)?, golden)?,
            fused: logits::apart(&logits::ours(fused)?, &with_adapter, tuned)?,
            changed: logits::apart(&with_adapter, &ours, base)?,
            kl: self.kl,
        })
    }
}
