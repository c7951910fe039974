//! From a record to ids and a mask.

use std::ops::Range;

use super::Record;
use super::spans::{self, Turn};
use crate::chat_template::{ChatTemplate, ChatTemplateError, Conversation};
use crate::finding::Finding;
use crate::special_tokens::Role;
use crate::tokenizer::{Encoding, Tokenizer, TokenizerError};

/// Token ids, and for each whether the model is to learn to say it after those before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Token ids.
    pub ids: Vec<u32>,
    /// As long as `ids`; never true for the first.
    pub learned: Vec<bool>,
}

impl Sample {
    /// How many tokens are learned; a loss is divided by the sum over a batch.
    pub fn learned_tokens(&self) -> usize {
        self.learned.iter().filter(|learned| **learned).count()
    }
}

/// Why a record gives no sample.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// A chat needs a template.
    #[error("the tokenizer has no chat template (hint: give one, or train on `prompt` and `completion` or on `text`)")]
    NoChatTemplate,
    /// The template takes no system message.
    #[error(
        "chat template {template} refuses `system` messages: {message} (hint: put the system text at the start of the first `user` message)"
    )]
    SystemRefused {
        /// Which template.
        template: String,
        /// Its own words.
        message: String,
    },
    /// The template failed or refused.
    #[error("chat template {template}: {source}")]
    Template {
        /// Which template.
        template: String,
        /// Why.
        source: ChatTemplateError,
    },
    /// Encoding failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Nobody speaks whom the model could learn from.
    #[error("none of {tokens} tokens is learned: {reason}")]
    NothingLearned {
        /// Tokens of the sample.
        tokens: usize,
        /// Why.
        reason: &'static str,
    },
    /// The limit cuts off everything that is learned.
    #[error(
        "the first learned token is number {first}, but samples are cut at {max_tokens} (hint: raise `max_tokens` or drop the record)"
    )]
    NothingLeft {
        /// Position of the first learned token.
        first: usize,
        /// The limit.
        max_tokens: usize,
    },
}

/// Makes samples for one model.
#[derive(Debug, Clone, Copy)]
pub struct SampleBuilder<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The template for chats, e.g. with a clock that stands still; [`Tokenizer::chat_template`] where `None`.
    pub template: Option<&'a ChatTemplate>,
    /// Longer samples are cut behind this many tokens.
    pub max_tokens: Option<usize>,
}

impl SampleBuilder<'_> {
    /// Makes a sample, with findings about what it could not do as one would expect.
    ///
    /// # Errors
    /// [`SampleError`].
    pub fn build(&self, record: &Record) -> Result<(Sample, Vec<Finding>), SampleError> {
        let mut findings = Vec::new();
        let sample = match record {
            Record::Chat { conversation, learn_from } => self.chat(conversation, *learn_from, &mut findings)?,
            Record::PromptCompletion { prompt, completion } => self.prompt_completion(prompt, completion)?,
            Record::Text { text } => self.text(text)?,
        };
        let sample = self.truncate(sample, &mut findings)?;
        Ok((sample, findings))
    }

    fn chat(
        &self,
        conversation: &Conversation,
        learn_from: usize,
        findings: &mut Vec<Finding>,
    ) -> Result<Sample, SampleError> {
        let template = self.template.or_else(|| self.tokenizer.chat_template()).ok_or(SampleError::NoChatTemplate)?;
        let failed = |source| refusal(template, conversation, source);
        let rendered = template.render_with_spans(conversation).map_err(failed)?;
        let text = rendered.text;
        let encoding = self.tokenizer.encode(&text, false)?;
        let messages = spans::assistant_messages(conversation, learn_from);
        let mut turns = match rendered.generation {
            // Blocks name no message: the last ones belong to the messages that are learned.
            Some(blocks) => {
                let skipped = blocks.len().saturating_sub(messages.len());
                let skipped = if learn_from == 0 { 0 } else { skipped };
                blocks[skipped..].iter().map(|span| Turn { message: None, span: span.clone(), limit: None }).collect()
            }
            None => {
                let find = |index: &usize| spans::find_turn(template, conversation, *index, &text).map_err(failed);
                messages.iter().map(find).collect::<Result<Vec<_>, _>>()?
            }
        };
        if let Some(finding) = self.prompt_mismatch(template, conversation, &messages, &text, &encoding)? {
            findings.push(finding);
            turns.drain(..turns.len().saturating_sub(1));
        }
        let mut learned = vec![false; encoding.ids.len()];
        for turn in &turns {
            if !self.learn_turn(turn, &text, &encoding, &mut learned) {
                findings.push(no_end(template, turn));
            }
        }
        let reason = if messages.is_empty() {
            "there is no `assistant` message to learn from"
        } else {
            "the chat template leaves the assistant's words out"
        };
        finish(encoding.ids, learned, reason)
    }

    /// Whether some turn's prompt, as a deployed model gets it, is not how the whole conversation begins.
    fn prompt_mismatch(
        &self,
        template: &ChatTemplate,
        conversation: &Conversation,
        messages: &[usize],
        text: &str,
        encoding: &Encoding,
    ) -> Result<Option<Finding>, SampleError> {
        for index in messages.iter().copied().filter(|index| *index > 0) {
            let prompt = spans::prompt_before(template, conversation, index);
            let same = match prompt.filter(|prompt| text.starts_with(prompt.as_str())) {
                Some(prompt) => {
                    let ids = self.tokenizer.encode(&prompt, false)?.ids;
                    begins_with(encoding, &ids, prompt.len())
                }
                None => false,
            };
            if !same {
                let message = format!(
                    "chat template {}: the prompt of message {index} is not how the whole conversation begins, so \
                     only the last turn is learned (hint: one record a turn teaches them all)",
                    template.label()
                );
                return Ok(Some(Finding::warning("prompt-not-a-prefix", message)));
            }
        }
        Ok(None)
    }

    /// Marks a turn's tokens and the token that ends it; false where none ends it.
    fn learn_turn(&self, turn: &Turn, text: &str, encoding: &Encoding, learned: &mut [bool]) -> bool {
        // A token that begins before the turn is part of the prompt's.
        let begins_in = |offsets: &Range<usize>| offsets.start >= turn.span.start && offsets.start < turn.span.end;
        let mut ended = false;
        for (token, offsets) in encoding.offsets.iter().enumerate().filter(|(_, offsets)| begins_in(offsets)) {
            learned[token] = true;
            ended = offsets.end >= turn.span.end && self.tokenizer.is_end_of_turn(encoding.ids[token]);
        }
        if ended {
            return true;
        }
        let behind = encoding.offsets.iter().position(|offsets| offsets.start >= turn.span.end);
        let behind = behind.unwrap_or(encoding.ids.len());
        let within = |offsets: &Range<usize>| match turn.limit {
            Some(limit) => offsets.start < limit,
            None => text.get(offsets.clone()).is_some_and(|between| between.trim().is_empty()),
        };
        for token in behind..encoding.ids.len() {
            if self.tokenizer.is_end_of_turn(encoding.ids[token]) {
                learned[behind..=token].fill(true);
                return true;
            }
            if !within(&encoding.offsets[token]) {
                break;
            }
        }
        false
    }

    fn prompt_completion(&self, prompt: &str, completion: &str) -> Result<Sample, SampleError> {
        let encoding = self.encode_text(&format!("{prompt}{completion}"))?;
        let starts_in = |offsets: &Range<usize>| offsets.start >= prompt.len() && !offsets.is_empty();
        let mut learned: Vec<bool> = encoding.offsets.iter().map(starts_in).collect();
        let mut ids = encoding.ids;
        let ended = ids.last().is_some_and(|id| self.tokenizer.is_end_of_turn(*id));
        match (ended, self.tokenizer.special_id(Role::Eos)) {
            (true, _) => learned.iter_mut().next_back().into_iter().for_each(|last| *last = true),
            (false, Some(eos)) => {
                ids.push(eos);
                learned.push(true);
            }
            (false, None) => {}
        }
        finish(ids, learned, "the completion is empty and the tokenizer has no end token")
    }

    fn text(&self, text: &str) -> Result<Sample, SampleError> {
        let encoding = self.encode_text(text)?;
        let learned = vec![true; encoding.ids.len()];
        finish(encoding.ids, learned, "a text needs two tokens, since nothing predicts the first")
    }

    /// Encodes as the base does, with BOS where it puts one, and never with two.
    fn encode_text(&self, text: &str) -> Result<Encoding, TokenizerError> {
        let bos = self.tokenizer.special_tokens().get(Role::Bos);
        let has_bos = bos.is_some_and(|bos| !bos.is_empty() && text.starts_with(bos));
        self.tokenizer.encode(text, !has_bos)
    }

    fn truncate(&self, mut sample: Sample, findings: &mut Vec<Finding>) -> Result<Sample, SampleError> {
        let Some(max_tokens) = self.max_tokens.filter(|max_tokens| sample.ids.len() > *max_tokens) else {
            return Ok(sample);
        };
        let dropped = sample.learned[max_tokens..].iter().filter(|learned| **learned).count();
        let tokens = sample.ids.len();
        let first = sample.learned.iter().position(|learned| *learned).unwrap_or(0);
        sample.ids.truncate(max_tokens);
        sample.learned.truncate(max_tokens);
        if sample.learned_tokens() == 0 {
            return Err(SampleError::NothingLeft { first, max_tokens });
        }
        if dropped > 0 {
            let message = format!(
                "a sample of {tokens} tokens was cut at {max_tokens}: {dropped} learned tokens were dropped, the end \
                 among them (hint: raise `max_tokens` or shorten the record)"
            );
            findings.push(Finding::warning("learned-tokens-dropped", message));
        }
        Ok(sample)
    }
}

/// Whether `ids` begin the encoding. At the border one token may reach from the prompt into the turn: it is masked,
/// and no reason to distrust the template.
fn begins_with(encoding: &Encoding, ids: &[u32], prompt_bytes: usize) -> bool {
    let same = encoding.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
    let straddles = |offsets: &Range<usize>| offsets.start < prompt_bytes && offsets.end > prompt_bytes;
    same == ids.len() || encoding.offsets.get(same).is_some_and(straddles)
}

fn no_end(template: &ChatTemplate, turn: &Turn) -> Finding {
    let whose = turn.message.map_or("a turn".into(), |index| format!("message {index}"));
    let label = template.label();
    Finding::warning(
        "no-end-of-turn",
        format!(
            "chat template {label} ends {whose} with no token that stops generation: the model will not learn to stop there"
        ),
    )
}

/// A refusal of `system` messages has a known remedy.
fn refusal(template: &ChatTemplate, conversation: &Conversation, source: ChatTemplateError) -> SampleError {
    let label = template.label();
    let ChatTemplateError::Raised { message } = source else {
        return SampleError::Template { template: label, source };
    };
    let mut without = conversation.clone();
    without.messages.retain(|message| message["role"] != "system");
    let had_system = without.messages.len() < conversation.messages.len();
    if had_system && template.render(&without, false).is_ok() {
        return SampleError::SystemRefused { template: label, message };
    }
    SampleError::Template { template: label, source: ChatTemplateError::Raised { message } }
}

fn finish(ids: Vec<u32>, mut learned: Vec<bool>, reason: &'static str) -> Result<Sample, SampleError> {
    if let Some(first) = learned.first_mut() {
        *first = false;
    }
    let sample = Sample { ids, learned };
    match sample.learned_tokens() {
        0 => Err(SampleError::NothingLearned { tokens: sample.ids.len(), reason }),
        _ => Ok(sample),
    }
}
