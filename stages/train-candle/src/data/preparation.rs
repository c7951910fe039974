//! How a record becomes a sample: what of it is learned, what is done with the system's words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stage_api::{Error, Result};
use tokenizer::Tokenizer;
use tokenizer::chat_template::{ChatTemplate, Clock, Conversation};
use tokenizer::conversation::{Record, Sample, SampleBuilder};
use tokenizer::finding::Finding;

use super::error::LineProblem;

/// Which tokens of a chat are learned. Of a `prompt` with its `completion` it is the completion, of a `text` all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Learn {
    /// What the assistant says, in every turn.
    Assistant,
    /// The assistant's last turn.
    LastTurn,
    /// Every token, prompts too.
    All,
}

/// What becomes of `system` messages; some templates refuse them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SystemText {
    /// They stay.
    Keep,
    /// Their text goes to the start of the first `user` message.
    Merge,
    /// They are left out.
    Drop,
}

/// Makes samples of one model's data.
#[derive(Debug)]
pub struct Preparation<'a> {
    tokenizer: &'a Tokenizer,
    template: Option<ChatTemplate>,
    learn: Learn,
    system: SystemText,
    max_length: usize,
}

impl<'a> Preparation<'a> {
    /// Chats are rendered as on `date`; samples are cut to `max_length` tokens.
    ///
    /// # Errors
    /// Where `date` is none.
    pub fn new(
        tokenizer: &'a Tokenizer,
        (learn, system): (Learn, SystemText),
        max_length: usize,
        date: &str,
    ) -> Result<Self> {
        let clock = Clock::parse(date).map_err(|e| {
            Error::new("bad_parameter", format!("`date` is `{date}`: {e}")).with_help("write it as 2024-07-26")
        })?;
        let template = tokenizer.chat_template().cloned().map(|template| template.with_clock(clock));
        Ok(Self { tokenizer, template, learn, system, max_length })
    }

    /// The record's sample, with what the tokenizer has to say about it.
    pub fn sample(&self, mut record: Record) -> Result<(Sample, Vec<Finding>), LineProblem> {
        if let Record::Chat { conversation, learn_from } = &mut record {
            let before = conversation.messages.len();
            self.system.apply(conversation);
            *learn_from = learn_from.saturating_sub(before - conversation.messages.len());
            if self.learn == Learn::LastTurn {
                *learn_from = conversation.messages.iter().rposition(|m| m["role"] == "assistant").unwrap_or(0);
            }
        }
        let max_tokens = (self.learn != Learn::All).then_some(self.max_length);
        let builder = SampleBuilder { tokenizer: self.tokenizer, template: self.template.as_ref(), max_tokens };
        let (mut sample, findings) = builder.build(&record).map_err(LineProblem::of_sample)?;
        if self.learn == Learn::All {
            sample.ids.truncate(self.max_length);
            sample.learned = vec![true; sample.ids.len()];
            // Nothing predicts the first token.
            sample.learned[0] = false;
        }
        Ok((sample, findings.into_iter().map(|finding| self.in_our_terms(finding)).collect()))
    }

    /// The tokenizer knows a limit, but not what this stage calls it.
    fn in_our_terms(&self, finding: Finding) -> Finding {
        if finding.code != "learned-tokens-dropped" {
            return finding;
        }
        let message = format!(
            "longer than `max_length` = {}: learned tokens were cut off, the end among them (hint: raise it, or shorten \
             the records)",
            self.max_length
        );
        Finding { message, ..finding }
    }
}

impl SystemText {
    fn apply(self, conversation: &mut Conversation) {
        if self == SystemText::Keep {
            return;
        }
        let is_system = |message: &Value| message["role"] == "system";
        let (system, mut rest): (Vec<Value>, Vec<Value>) =
            std::mem::take(&mut conversation.messages).into_iter().partition(is_system);
        let texts: Vec<&str> = system.iter().filter_map(|message| message["content"].as_str()).collect();
        let user = rest.iter_mut().find(|message| message["role"] == "user");
        if let (SystemText::Merge, false, Some(user)) = (self, texts.is_empty(), user) {
            let text = texts.join("\n\n");
            match &mut user["content"] {
                Value::Array(parts) => parts.insert(0, serde_json::json!({ "type": "text", "text": text + "\n\n" })),
                content => *content = format!("{text}\n\n{}", content.as_str().unwrap_or_default()).into(),
            }
        }
        conversation.messages = rest;
    }
}
