//! Chat templates: jinja2 programs that turn messages into the text a model was trained on.
//!
//! [`ChatTemplate::render`] gives what transformers' `apply_chat_template(…, tokenize=False)` gives, byte for byte, or
//! the template's own refusal as [`ChatTemplateError::Raised`]. `{% generation %}` blocks also yield the byte spans of
//! what the assistant says. [`ollama_template`] writes a recognised template in Ollama's Go dialect.

mod clock;
mod environment;
mod generation;
mod ollama;
mod python;

use std::error::Error as _;
use std::ops::Range;
use std::sync::Arc;

use minijinja::value::{Serde, merge_maps};
use minijinja::{Environment, Error, Value, context};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

pub use clock::Clock;
pub use ollama::{GoTemplate, ollama_template};

use environment::{Marks, Raised, TEMPLATE};

/// Why a chat template gave no text.
#[derive(Debug, thiserror::Error)]
pub enum ChatTemplateError {
    /// The template is no valid jinja, or uses what this engine lacks.
    #[error("chat template does not compile: {source}")]
    Syntax {
        /// minijinja's message, with the line.
        source: Error,
    },
    /// The template called `raise_exception`: it refuses these messages.
    #[error("chat template refuses the conversation: {message}")]
    Raised {
        /// The template author's own words.
        message: String,
    },
    /// The template failed while it ran.
    #[error("chat template failed: {source}")]
    Render {
        /// minijinja's message, with the line.
        source: Error,
    },
    /// Marks in the text would be taken for the assistant's spans.
    #[error("messages contain U+FDD0 or U+FDD1, which are no characters (hint: remove them from the data)")]
    Noncharacter,
}

/// What a template is rendered with.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    /// Objects with `role` and `content`, and whatever else the template reads.
    pub messages: Vec<Json>,
    /// JSON schemas of functions.
    pub tools: Option<Vec<Json>>,
    /// Objects with `title` and `text`.
    pub documents: Option<Vec<Json>>,
    /// More variables for the template, e.g. `enable_thinking`.
    pub variables: serde_json::Map<String, Json>,
}

/// Rendered text and, where the template has `{% generation %}` blocks, the bytes that the assistant says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The prompt.
    pub text: String,
    /// Byte spans of `text`, in order; `None` where the template has no such blocks.
    pub generation: Option<Vec<Range<usize>>>,
}

/// A compiled chat template.
#[derive(Clone)]
pub struct ChatTemplate {
    source: Arc<str>,
    plain: Arc<Environment<'static>>,
    /// The same template with marks; only where it has generation blocks.
    marked: Option<Arc<Environment<'static>>>,
    special_tokens: Vec<(String, Json)>,
    clock: Clock,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("source", &self.source).finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// `special_tokens` are variables such as `("bos_token", "<s>")`.
    ///
    /// # Errors
    /// [`ChatTemplateError::Syntax`].
    pub fn new(source: &str, special_tokens: Vec<(String, Json)>) -> Result<Self, ChatTemplateError> {
        let compile = |marks| environment::build(source, marks).map_err(|source| ChatTemplateError::Syntax { source });
        let marked = if generation::has_blocks(source) { Some(Arc::new(compile(Marks::On)?)) } else { None };
        let plain = Arc::new(compile(Marks::Off)?);
        Ok(Self { source: source.into(), plain, marked, special_tokens, clock: Clock::System })
    }

    /// The same template with another present.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The jinja source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// A short name for messages: the digest's start and the source's.
    pub fn label(&self) -> String {
        let digest = Sha256::digest(self.source.as_bytes());
        let digest: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let line: String = self.source.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{digest} (`{line}…`)")
    }

    /// Whether the template marks the assistant's text itself.
    pub fn has_generation_blocks(&self) -> bool {
        self.marked.is_some()
    }

    /// Whether what the template writes depends on the date.
    pub fn uses_clock(&self) -> bool {
        self.source.contains("strftime_now")
    }

    /// Renders a conversation; with `add_generation_prompt` up to where the assistant's next answer begins.
    ///
    /// # Errors
    /// [`ChatTemplateError::Raised`] where the template refuses, else [`ChatTemplateError::Render`].
    pub fn render(
        &self,
        conversation: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<String, ChatTemplateError> {
        self.run(&self.plain, conversation, add_generation_prompt)
    }

    /// Renders a conversation and finds what its `{% generation %}` blocks cover.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`], and [`ChatTemplateError::Noncharacter`].
    pub fn render_with_spans(&self, conversation: &Conversation) -> Result<Rendered, ChatTemplateError> {
        let text = self.render(conversation, false)?;
        let Some(environment) = &self.marked else { return Ok(Rendered { text, generation: None }) };
        if text.contains([generation::START, generation::END]) {
            return Err(ChatTemplateError::Noncharacter);
        }
        let (unmarked, spans) = generation::take_marks(&self.run(environment, conversation, false)?);
        // A template that cuts or measures a block's text would see the marks; its spans are then unknown.
        let generation = (unmarked == text).then_some(spans);
        Ok(Rendered { text, generation })
    }

    fn run(
        &self,
        environment: &Environment<'static>,
        conversation: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<String, ChatTemplateError> {
        let render = || {
            let template = environment.get_template(TEMPLATE)?;
            template.render(self.variables(conversation, add_generation_prompt))
        };
        render().map_err(|source| match raised_message(&source) {
            Some(message) => ChatTemplateError::Raised { message },
            None => ChatTemplateError::Render { source },
        })
    }

    fn variables(&self, conversation: &Conversation, add_generation_prompt: bool) -> Value {
        let clock = self.clock;
        let strftime_now = Value::from_function(move |format: &str| {
            clock.strftime(format).map_err(|source| {
                Error::new(minijinja::ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {source}"))
            })
        });
        let messages: Vec<Json> = conversation.messages.iter().map(alias_reasoning).collect();
        let special_tokens: serde_json::Map<String, Json> = self.special_tokens.iter().cloned().collect();
        let given = context! {
            messages => Serde(messages),
            tools => Serde(&conversation.tools),
            documents => Serde(&conversation.documents),
            add_generation_prompt => add_generation_prompt,
            strftime_now => strftime_now,
        };
        let variables = Value::from(Serde(&conversation.variables));
        merge_maps([given, variables, Value::from(Serde(special_tokens))])
    }
}

/// transformers shows a message's reasoning under all the names that templates know.
fn alias_reasoning(message: &Json) -> Json {
    let Json::Object(fields) = message else { return message.clone() };
    let named = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let Some(reasoning) = ["reasoning_content", "thinking", "reasoning"].into_iter().find_map(named) else {
        return message.clone();
    };
    let mut aliased = serde_json::Map::new();
    aliased.insert("thinking".into(), reasoning.clone());
    aliased.extend(fields.clone());
    aliased.insert("reasoning_content".into(), reasoning.clone());
    Json::Object(aliased)
}

fn raised_message(error: &Error) -> Option<String> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return Some(message.clone());
        }
        source = cause.source();
    }
    None
}
