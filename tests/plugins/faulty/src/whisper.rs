//! A second voice of the kind `toy`, in another plugin than the stage that asks for it.

use std::collections::BTreeMap;

use stage_api::serde_json::{Value, json};
use stage_api::{Error, Extension, Result};

pub struct Whisper;

impl Extension for Whisper {
    fn kind(&self) -> &str {
        "toy"
    }

    fn id(&self) -> &str {
        "whisper"
    }

    fn claims(&self) -> BTreeMap<String, Vec<String>> {
        BTreeMap::new()
    }

    fn call(&self, op: &str, input: Value) -> Result<Value> {
        match (op, input.as_str()) {
            ("say", Some("panic")) => panic!("too quiet"),
            ("say", Some(text)) => Ok(json!(text.to_lowercase())),
            _ => Err(Error::new(Error::UNSUPPORTED, format!("`whisper` has no operation `{op}` on {input}"))),
        }
    }
}
