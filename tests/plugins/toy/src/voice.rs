//! The extension kind `toy`: `call("say", text)` gives the text as it is said, and the codec `tone` keeps the whole
//! part of each number.

use std::collections::BTreeMap;

use stage_api::serde_json::{Value, json};
use stage_api::{Error, Extension, Result};

pub struct Shout;

impl Extension for Shout {
    fn kind(&self) -> &str {
        "toy"
    }

    fn id(&self) -> &str {
        "shout"
    }

    fn claims(&self) -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([("volume".into(), vec!["loud".into()])])
    }

    fn call(&self, op: &str, input: Value) -> Result<Value> {
        match (op, input.as_str()) {
            ("say", Some(text)) => Ok(json!(text.to_uppercase())),
            ("say", None) => Err(Error::new("bad_text", format!("`say` takes a text, got {input}"))),
            _ => Err(Error::new(Error::UNSUPPORTED, format!("`shout` has no operation `{op}`"))),
        }
    }

    fn encode(&self, _op: &str, src: &[f32], _importance: &[f32], dst: &mut [u8]) -> Result<()> {
        if src.len() != dst.len() {
            return Err(Error::new("bad_length", format!("{} numbers do not fill {} bytes", src.len(), dst.len())));
        }
        for (out, x) in dst.iter_mut().zip(src) {
            // `as` saturates, which is what a byte can hold.
            *out = *x as u8;
        }
        Ok(())
    }

    fn decode(&self, _op: &str, src: &[u8], dst: &mut [f32]) -> Result<()> {
        for (out, x) in dst.iter_mut().zip(src) {
            *out = f32::from(*x);
        }
        Ok(())
    }
}
