//! The measurements, one after the other, on one context.

use std::path::Path;

use stage_api::Context;

use crate::adapter;
use crate::answers::answer;
use crate::divergence::{Comparison, Divergence};
use crate::error::EvaluateError;
use crate::llama::{self, Model, Session, SessionOptions, Token};
use crate::params::Params;
use crate::perplexity::{Likelihood, Perplexity};
use crate::questions::Question;
use crate::reference::Reference;
use crate::report::{Answered, Answers, ModelFacts, Report, Runtime, SCHEMA, Sample, Speed};
use crate::weights;
use crate::windows::{Window, walk};
use crate::work::{SAMPLE_TOKENS, Work};

/// Most tokens decoded at once. Logits of so many rows are held, which is most of the memory for small models.
pub const BATCH: usize = 256;

/// The files to evaluate.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The GGUF, the first part where it is split.
    pub model: &'a Path,
    /// A GGUF LoRA.
    pub adapter: Option<&'a Path>,
    /// A directory of reference logits.
    pub reference: Option<&'a Path>,
    /// A directory of this very file's logits by our own decoder.
    pub weights: Option<&'a Path>,
}

/// Runs everything that `params` asks for.
///
/// # Errors
/// The first thing that fails; a gate is not judged here.
pub fn evaluate(ctx: &Context, params: &Params, files: Files<'_>) -> Result<Report, EvaluateError> {
    if let Some(adapter) = files.adapter {
        adapter::check(adapter, files.model)?;
    }
    let model = Model::load(files.model, files.adapter)?;
    let work = Work::gather(&model, files.model, files.reference, params)?;
    let context = work.longest(params.max_tokens);
    let threads = params.threads.unwrap_or_else(|| ctx.threads());
    let options = SessionOptions { context, batch: context.min(BATCH), threads };
    let mut run = Run { ctx, model: &model, session: Session::new(&model, options)?, threads };

    let sample = answer(&model, &mut run.session, &work.sample, SAMPLE_TOKENS)?;
    let weights = match (files.reference, files.weights) {
        (Some(reference), Some(weights)) => weights::divergence(ctx, reference, weights, threads)?,
        _ => None,
    };
    let divergence = work.reference.map(|reference| run.divergence(reference)).transpose()?.flatten();
    let text = work.text.map(|windows| run.perplexity("text tokens", &windows)).transpose()?.flatten();
    let chats = work.chats.map(|windows| run.perplexity("chat tokens", &windows)).transpose()?.flatten();
    let answers = work.questions.map(|questions| run.ask(questions, params)).transpose()?;
    Ok(Report {
        schema: SCHEMA,
        model: facts(&model, files),
        runtime: Runtime { llama_cpp: llama::version(), kv_cache: "f32", context, threads },
        divergence,
        weights,
        text,
        chats,
        answers,
        sample: Sample::new(sample.text),
        speed: Speed {
            prompt: run.session.prompt.tokens_per_second(),
            generation: run.session.generation.tokens_per_second(),
        },
    })
}

struct Run<'a> {
    ctx: &'a Context,
    model: &'a Model,
    session: Session<'a>,
    threads: usize,
}

impl Run<'_> {
    fn divergence(&mut self, mut reference: Reference) -> Result<Option<Divergence>, EvaluateError> {
        let windows = std::mem::take(&mut reference.windows);
        let (total, mut done) = (count(&windows), 0);
        let mut comparison = Comparison::default();
        let mut rows = Vec::new();
        walk(&mut self.session, &windows, |block| {
            self.ctx.check_cancelled()?;
            reference.read_rows(block.rows(), &mut rows)?;
            comparison.add(&block, &rows, reference.vocab_size, self.threads);
            done += block.rows() as u64;
            self.ctx.progress("reference tokens", done, total);
            Ok::<_, EvaluateError>(())
        })?;
        Ok(comparison.finish())
    }

    fn perplexity(&mut self, unit: &str, windows: &[Window]) -> Result<Option<Perplexity>, EvaluateError> {
        let (total, mut done) = (count(windows), 0);
        let mut likelihood = Likelihood::default();
        walk(&mut self.session, windows, |block| {
            self.ctx.check_cancelled()?;
            block.likelihoods(self.threads).into_iter().flatten().for_each(|nll| likelihood.add(nll));
            done += block.rows() as u64;
            self.ctx.progress(unit, done, total);
            Ok::<_, EvaluateError>(())
        })?;
        Ok(likelihood.perplexity())
    }

    fn ask(&mut self, questions: Vec<(Question, Vec<Token>)>, params: &Params) -> Result<Answers, EvaluateError> {
        let total = questions.len() as u64;
        let mut answers = Vec::new();
        for (question, prompt) in questions {
            self.ctx.check_cancelled()?;
            let said = answer(self.model, &mut self.session, &prompt, params.max_tokens)?;
            let verdict = question.judge(&said.text, params.ignore_case);
            answers.push(Answered {
                question: question.text().to_owned(),
                id: question.id,
                answer: said.text,
                verdict,
                tokens: said.tokens,
                finished: said.finished,
            });
            self.ctx.progress("answers", answers.len() as u64, total);
        }
        Ok(Answers::new(answers))
    }
}

fn count(windows: &[Window]) -> u64 {
    windows.iter().map(|window| window.tokens.len() as u64).sum()
}

fn facts(model: &Model, files: Files<'_>) -> ModelFacts {
    let bytes = |path: &Path| path.metadata().ok().map(|file| file.len());
    ModelFacts {
        architecture: model.metadata("general.architecture"),
        name: model.metadata("general.name"),
        parameters: model.parameters(),
        tensor_bytes: model.tensor_bytes(),
        bytes: bytes(files.model),
        adapter_bytes: files.adapter.and_then(bytes),
        vocab_size: model.vocab_size(),
        trained_context: model.trained_context(),
    }
}
