//! Greedy answers.

use crate::distribution::most_likely;
use crate::llama::{LlamaError, Model, Outputs, Session, Token};

/// What a model says after a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text, special tokens left out.
    pub text: String,
    /// Tokens said, the one that ended it not counted.
    pub tokens: usize,
    /// Whether the model ended by itself.
    pub finished: bool,
}

/// Continues `prompt` with the most likely token each time, until the model ends or has said `max_tokens`.
///
/// # Errors
/// What llama.cpp says; the prompt and `max_tokens` must fit the session's context.
pub fn answer(
    model: &Model,
    session: &mut Session<'_>,
    prompt: &[Token],
    max_tokens: usize,
) -> Result<Answer, LlamaError> {
    session.reset();
    for chunk in prompt.chunks(session.batch()) {
        session.feed(chunk, Outputs::Last)?;
    }
    let mut said: Vec<Token> = Vec::new();
    let finished = loop {
        let token = most_likely(session.logits()) as Token;
        if model.ends_generation(token) {
            break true;
        }
        if said.len() == max_tokens {
            break false;
        }
        said.push(token);
        session.feed(&[token], Outputs::Last)?;
    };
    Ok(Answer { text: model.detokenize(&said), tokens: said.len(), finished })
}
