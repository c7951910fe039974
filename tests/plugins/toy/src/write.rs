//! `toy-write`: repeats a text, in the voice of a `toy` extension, after what the input says.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use stage_api::serde_json::json;
use stage_api::{Context, Description, Error, Outcome, Plan, Port, Result, Signature, Stage, kind, tracing};

pub struct ToyWrite;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    text: String,
    #[serde(default = "once")]
    repeat: u64,
    voice: Option<String>,
    /// A file whose text comes first.
    file: Option<std::path::PathBuf>,
    /// Pause between repetitions.
    #[serde(default)]
    pause_ms: u64,
}

fn once() -> u64 {
    1
}

impl Stage for ToyWrite {
    fn signature(&self) -> Signature {
        Signature {
            id: "toy-write".into(),
            summary: "writes a text".into(),
            revision: Some(1),
            inputs: vec![Port::new("before", kind::REPORT, "a text that comes first").optional()],
            outputs: vec![Port::new("note", kind::REPORT, "the text")],
            params: json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["text"],
                "properties": {
                    "text": { "type": "string" },
                    "repeat": { "type": "integer", "minimum": 1 },
                    "voice": { "type": "string" },
                    "file": { "type": "string", "format": "path" },
                    "pause_ms": { "type": "integer", "minimum": 0, "x-execution": true },
                },
            }),
        }
    }

    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let params: Params = ctx.params()?;
        // The length of what comes first is only known once it is there, or was promised to the byte.
        let before = match ctx.optional_input("before") {
            None => Some(0),
            Some(input) => input.description.bytes,
        };
        let own = said(ctx, &params)?.len() as u64 * params.repeat;
        let note = match before {
            Some(bytes) => described(bytes + own),
            None => Description::unknown(kind::REPORT),
        };
        let mut plan = Plan { outputs: BTreeMap::from([("note".into(), note)]), ..Plan::default() };
        plan.estimate.disk = before.map(|bytes| bytes + own);
        plan.estimate.memory = Some(own);
        Ok(plan)
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let params: Params = ctx.params()?;
        let io = |e: std::io::Error| Error::from_source("io", &e);
        let mut text = match ctx.optional_input("before") {
            None => String::new(),
            Some(_) => std::fs::read_to_string(ctx.input_path("before")?).map_err(io)?,
        };
        let said = said(ctx, &params)?;
        tracing::info!(repeat = params.repeat, "writing");
        tracing::trace!("too fine for anybody");
        for i in 0..params.repeat {
            ctx.check_cancelled()?;
            ctx.progress("times", i + 1, params.repeat);
            ctx.metric("length", i, text.len() as f64);
            text += &said;
            std::thread::sleep(Duration::from_millis(params.pause_ms));
        }
        std::fs::write(ctx.output("note")?, &text).map_err(io)?;
        let outputs = BTreeMap::from([("note".into(), described(text.len() as u64))]);
        Ok(Outcome { outputs, ..Outcome::default() })
    }

    fn action(&self, name: &str, ctx: &Context) -> Result<stage_api::serde_json::Value> {
        match name {
            "preview" => Ok(json!({ "text": said(ctx, &ctx.params()?)? })),
            _ => Err(Error::new(Error::UNSUPPORTED, format!("`toy-write` has no action `{name}`"))),
        }
    }
}

fn described(bytes: u64) -> Description {
    Description::exact(kind::REPORT, json!({ "format": "text" })).with_bytes(bytes).with_fact("format", "text")
}

/// The text of one repetition.
fn said(ctx: &Context, params: &Params) -> Result<String> {
    let mut text = match &params.file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path).map_err(|e| Error::from_source("io", &e))?,
    };
    text += &params.text;
    let Some(voice) = &params.voice else { return Ok(text) };
    let said = ctx.extension("toy", voice)?.call("say", json!(text))?;
    said.as_str().map(str::to_owned).ok_or_else(|| Error::new("bad_text", format!("`{voice}` said {said}")))
}
