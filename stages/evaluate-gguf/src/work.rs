//! What there is to decode, gathered before the context is made, since its longest text says how large that must be.

use std::path::Path;

use crate::error::EvaluateError;
use crate::llama::{Model, Token};
use crate::params::Params;
use crate::prompts::Prompts;
use crate::questions::{self, Question};
use crate::reference::Reference;
use crate::windows::{Window, cut};
use crate::{chats, report::Sample};

/// Tokens of the sample; enough to see whether a model speaks or stammers.
pub const SAMPLE_TOKENS: usize = 32;

/// The sample's beginning.
pub const SAMPLE_PROMPT: &str = "The capital of France is";

/// Everything that was asked for, as tokens.
#[derive(Debug)]
pub struct Work {
    /// Reference logits and their windows.
    pub reference: Option<Reference>,
    /// Windows of the plain text.
    pub text: Option<Vec<Window>>,
    /// Chats, scored on their last answers.
    pub chats: Option<Vec<Window>>,
    /// Questions and their prompts.
    pub questions: Option<Vec<(Question, Vec<Token>)>>,
    /// The sample's prompt.
    pub sample: Vec<Token>,
}

impl Work {
    /// Reads and tokenizes all inputs.
    ///
    /// # Errors
    /// Where a file cannot be read, or our prompt for a chat is not what llama.cpp makes of its text.
    pub fn gather(
        model: &Model,
        gguf: &Path,
        reference: Option<&Path>,
        params: &Params,
    ) -> Result<Self, EvaluateError> {
        let chatty = params.chats.is_some() || params.questions.is_some();
        let prompts = if chatty { Some(Prompts::open(model, gguf, &params.date)?) } else { None };
        Ok(Self {
            reference: reference.map(Reference::open).transpose()?,
            text: params.text.as_deref().map(|path| text_windows(model, path, params.window)).transpose()?,
            chats: match (&prompts, &params.chats) {
                (Some(prompts), Some(path)) => Some(chat_windows(prompts, path)?),
                _ => None,
            },
            questions: match (&prompts, &params.questions) {
                (Some(prompts), Some(path)) => Some(asked(prompts, path)?),
                _ => None,
            },
            sample: model.start_token().into_iter().chain(model.tokenize(SAMPLE_PROMPT)?).collect(),
        })
    }

    /// Tokens of the longest text, with room for `max_tokens` of an answer.
    pub fn longest(&self, max_tokens: usize) -> usize {
        let reference = self.reference.iter().flat_map(|r| &r.windows);
        let windows = reference.chain(self.text.iter().flatten()).chain(self.chats.iter().flatten());
        let prompts = self.questions.iter().flatten().map(|(_, prompt)| prompt.len() + max_tokens);
        let sample = self.sample.len() + SAMPLE_TOKENS;
        windows.map(|window| window.tokens.len()).chain(prompts).chain([sample]).max().unwrap_or(sample)
    }
}

impl Sample {
    /// The sample with what a model made of it.
    pub fn new(continuation: String) -> Self {
        Self { prompt: SAMPLE_PROMPT, continuation }
    }
}

fn text_windows(model: &Model, path: &Path, window: usize) -> Result<Vec<Window>, EvaluateError> {
    let text = std::fs::read_to_string(path).map_err(|source| EvaluateError::Text { path: path.to_owned(), source })?;
    let windows = cut(&model.tokenize(&text)?, window, model.start_token());
    if windows.is_empty() {
        return Err(EvaluateError::TooShort { path: path.to_owned() });
    }
    Ok(windows)
}

fn chat_windows(prompts: &Prompts<'_>, path: &Path) -> Result<Vec<Window>, EvaluateError> {
    chats::read(path)?.iter().map(|messages| Ok(prompts.answered(messages)?)).collect()
}

fn asked(prompts: &Prompts<'_>, path: &Path) -> Result<Vec<(Question, Vec<Token>)>, EvaluateError> {
    let with_prompt = |question: Question| {
        let prompt = prompts.waiting(&question.messages)?;
        Ok((question, prompt))
    };
    questions::read(path)?.into_iter().map(with_prompt).collect()
}
