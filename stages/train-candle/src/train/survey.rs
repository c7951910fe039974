//! The data of a training: loaded whole to be trained on, or looked at to plan.

use decoder::plan::Length;
use stage_api::{Context, Error, Finding, Result, Severity};
use stage_model::ModelInput;
use tokenizer::Tokenizer;
use tokenizer::conversation::Sample;

use super::params::Params;
use crate::base::Base;
use crate::data::{Dataset, Extent, Preparation, check, split};

/// Planning reads no more of a file.
const PLANNED_BYTES: u64 = 16 << 20;

/// Samples of both sides.
pub struct Data {
    /// To learn from.
    pub samples: Vec<Sample>,
    /// Whose loss is only measured.
    pub held_out: Vec<Sample>,
    /// How much of the training file was read.
    extent: Extent,
    findings: Vec<Finding>,
}

impl Data {
    /// All of it.
    pub fn load(params: &Params, tokenizer: &Tokenizer) -> Result<Self> {
        Self::load_part(params, tokenizer, u64::MAX)
    }

    fn load_part(params: &Params, tokenizer: &Tokenizer, limit: u64) -> Result<Self> {
        let choice = (params.learn, params.system);
        let preparation = Preparation::new(tokenizer, choice, params.max_length, &params.date)?;
        let train = Dataset::load(&params.data, &preparation, limit)?;
        let mut findings = train.findings();
        let extent = train.extent;
        let (samples, held_out) = match &params.eval_data {
            Some(path) => {
                let held_out = Dataset::load(path, &preparation, limit)?;
                findings.extend(held_out.findings());
                (train.samples, held_out.samples)
            }
            None => split(train.samples, params.eval_split, params.seed),
        };
        Ok(Self { samples, held_out, extent, findings })
    }
}

/// What planning knows about the data.
pub struct Survey {
    /// Lengths of the samples to learn from, as far as they were read.
    pub samples: Vec<Length>,
    /// Lengths of the held-out ones.
    pub held_out: Vec<Length>,
    /// How much of the training file they are.
    pub extent: Extent,
    /// What the user should know.
    pub findings: Vec<Finding>,
}

impl Survey {
    /// Tokenizes the data where the model is there; of a model that is only planned, lines are checked for their form
    /// and lengths are bounds.
    ///
    /// # Errors
    /// Where the data is bad, or the model cannot be opened.
    pub fn take(ctx: &Context, params: &Params, model: &ModelInput) -> Result<Self> {
        if params.eval_data.is_some() && params.eval_split > 0.0 {
            let message = "`eval_data` and `eval_split` both say what is held out";
            return Err(Error::new("bad_parameter", message).with_help("leave one of them out"));
        }
        let Some(base) = Base::open_if_made(ctx, model)? else { return Self::at_most(params) };
        let data = Data::load_part(params, &base.tokenizer, PLANNED_BYTES)?;
        let lengths = |samples: &[Sample]| samples.iter().map(length).collect();
        let (samples, held_out) = (lengths(&data.samples), lengths(&data.held_out));
        Ok(Self { samples, held_out, extent: data.extent, findings: data.findings })
    }

    /// A token takes at least a byte of its text, and what a template adds is shorter than the JSON around it.
    fn at_most(params: &Params) -> Result<Self> {
        let length = |bytes: usize| {
            let tokens = bytes.clamp(2, params.max_length);
            Length { tokens, learned: tokens - 1 }
        };
        let lengths = |records: Vec<usize>| records.into_iter().map(length).collect::<Vec<_>>();
        let (records, extent) = check(&params.data, PLANNED_BYTES)?;
        let (samples, mut held_out) = split(lengths(records), params.eval_split, params.seed);
        if let Some(path) = &params.eval_data {
            held_out = lengths(check(path, PLANNED_BYTES)?.0);
        }
        let message = "the model is not made yet, so the data is not tokenized: it is planned as one token a byte";
        let findings = vec![Finding::new(Severity::Note, "bounded", message)];
        Ok(Self { samples, held_out, extent, findings })
    }
}

fn length(sample: &Sample) -> Length {
    Length { tokens: sample.ids.len(), learned: sample.learned_tokens() }
}
