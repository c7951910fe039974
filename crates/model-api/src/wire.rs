//! The strict JSON that families and quantizers exchange with stages.
//!
//! A field or variant that one side does not know is an error that names both sides' versions, never a default: a
//! multiplier that is dropped in silence gives another model.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage_api::{Error, Result};

/// The version of the vocabulary that this side was built with.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Deserialize)]
struct Envelope {
    model_api: String,
    body: Value,
}

pub(crate) fn seal<T: Serialize>(body: &T) -> Result<Value> {
    let body = serde_json::to_value(body).map_err(|e| Error::from_source("bad_json", &e))?;
    Ok(json!({ "model_api": VERSION, "body": body }))
}

pub(crate) fn open<T: DeserializeOwned>(value: Value, what: &str, from: &str) -> Result<T> {
    let envelope: Envelope = serde_json::from_value(value)
        .map_err(|e| Error::new("bad_exchange", format!("the {what} of {from} is no exchange of model-api: {e}")))?;
    serde_json::from_value(envelope.body).map_err(|e| {
        let theirs = envelope.model_api;
        Error::new("bad_exchange", format!("the {what} of {from} does not fit: {e}"))
            .with_help(format!("it was written by model-api {theirs}, this side has {VERSION}; build both with one"))
    })
}
