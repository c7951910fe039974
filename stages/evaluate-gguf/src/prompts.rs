//! Chats as tokens: rendered by the file's own template in our engine, tokenized by ours and by llama.cpp.
//!
//! Training used our ids, deployment uses llama.cpp's. Where the two differ for one of these texts, the figures would
//! be about another model than the one that was trained, so that is an error that shows where.

use std::path::Path;

use checkpoint::gguf::Gguf;
use serde_json::Value;
use tokenizer::Tokenizer;
use tokenizer::chat_template::{ChatTemplate, ChatTemplateError, Clock, Conversation};

use crate::llama::{LlamaError, Model, Token};
use crate::windows::Window;

/// Why a chat has no prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error(transparent)]
    File(#[from] checkpoint::gguf::Error),
    /// Its vocabulary is broken, or of a kind that our tokenizer does not support.
    #[error(transparent)]
    Tokenizer(#[from] stage_api::Error),
    #[error(transparent)]
    Encode(#[from] tokenizer::TokenizerError),
    #[error(transparent)]
    Template(#[from] ChatTemplateError),
    #[error(transparent)]
    Llama(#[from] LlamaError),
    /// No template, no prompt.
    #[error("the file has no `tokenizer.chat_template`, so chats have no prompt; convert it from a model with one")]
    NoTemplate,
    /// `date` is none.
    #[error("`date` is `{got}`, which is no date like 2024-07-26")]
    Date { got: String },
    /// Two tokenizers, two results.
    #[error(
        "our tokenizer and llama.cpp differ at token {position} of a prompt: {ours:?} against {theirs:?}, in `{text}`"
    )]
    Differs { position: usize, ours: Option<Token>, theirs: Option<Token>, text: String },
    /// The prompt of a chat is not how the whole chat begins.
    #[error(
        "the file's chat template writes a chat's beginning differently once the answer is there, so the answer's \
         tokens cannot be told apart, in `{text}`"
    )]
    NoPrefix { text: String },
}

/// Makes prompts for one file.
pub struct Prompts<'m> {
    model: &'m Model,
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl<'m> Prompts<'m> {
    /// Reads template and vocabulary of the file that `model` was loaded from; `date` is what templates take for today.
    ///
    /// # Errors
    /// Where the file has no template, or a vocabulary that our tokenizer does not support.
    pub fn open(model: &'m Model, gguf: &Path, date: &str) -> Result<Self, PromptError> {
        let (tokenizer, findings) = stage_model::gguf_tokenizer(Gguf::open(gguf)?.metadata(), None)?;
        findings.iter().for_each(|finding| tracing::info!("{}", finding.message));
        let clock = Clock::parse(date).map_err(|_| PromptError::Date { got: date.to_owned() })?;
        let template = tokenizer.chat_template().ok_or(PromptError::NoTemplate)?.clone().with_clock(clock);
        Ok(Self { model, tokenizer, template })
    }

    /// The tokens up to where the answer to `messages` begins.
    ///
    /// # Errors
    /// Where the template refuses the chat, or the tokenizers differ.
    pub fn waiting(&self, messages: &[Value]) -> Result<Vec<Token>, PromptError> {
        self.tokens(&self.render(messages, true)?)
    }

    /// The whole chat, of which the last message's answer counts, up to the token that ends it.
    ///
    /// # Errors
    /// As [`Prompts::waiting`], and where the prompt is not how the whole begins.
    pub fn answered(&self, messages: &[Value]) -> Result<Window, PromptError> {
        let text = self.render(messages, false)?;
        let mut tokens = self.tokens(&text)?;
        let prompt = self.waiting(&messages[..messages.len().saturating_sub(1)])?;
        if !tokens.starts_with(&prompt) || prompt.is_empty() {
            return Err(PromptError::NoPrefix { text: excerpt(&text) });
        }
        let end = tokens[prompt.len()..].iter().rposition(|&token| self.model.ends_generation(token));
        if let Some(end) = end {
            tokens.truncate(prompt.len() + end + 1); // templates write a line break after it, which nobody generates
        }
        Ok(Window { tokens, scored_from: prompt.len() })
    }

    fn render(&self, messages: &[Value], add_generation_prompt: bool) -> Result<String, PromptError> {
        let chat = Conversation { messages: messages.to_vec(), ..Conversation::default() };
        Ok(self.template.render(&chat, add_generation_prompt)?)
    }

    fn tokens(&self, text: &str) -> Result<Vec<Token>, PromptError> {
        let ours = self.tokenizer.encode(text, false)?.ids;
        let theirs = self.model.tokenize(text)?;
        if ours == theirs {
            return Ok(ours);
        }
        let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        let (ours, theirs) = (ours.get(same).copied(), theirs.get(same).copied());
        Err(PromptError::Differs { position: same, ours, theirs, text: excerpt(text) })
    }
}

/// The beginning of a text, for messages.
fn excerpt(text: &str) -> String {
    const SHOWN: usize = 200;
    let shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}
