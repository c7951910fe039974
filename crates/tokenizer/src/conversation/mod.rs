//! Training samples: token ids, and which of them the model is to learn.
//!
//! A record of a data set is a chat, a prompt with its completion, or plain text ([`Record`]). [`SampleBuilder`] makes
//! a [`Sample`] of it:
//!
//! - A chat is rendered whole, once, and tokenized once without adding special tokens, so its ids are those of the
//!   deployed model's prompt. What the assistant says is learned, up to and with the token that ends its turn.
//! - A completion is learned with the end token that follows it; its prompt is not.
//! - Of a text every token is learned but the first, which nothing predicts.

mod record;
mod sample;
mod spans;

pub use record::{Record, RecordError};
pub use sample::{Sample, SampleBuilder, SampleError};
