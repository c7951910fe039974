//! `toy-refer`: an output that only points at a file of somebody else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use stage_api::serde_json::json;
use stage_api::{Context, Description, Error, Outcome, Plan, Port, Result, Signature, Stage, kind};

pub struct ToyRefer;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Relative to the pipeline file; not in the key by content, unlike a parameter marked as a path.
    target: PathBuf,
}

impl Stage for ToyRefer {
    fn signature(&self) -> Signature {
        Signature {
            id: "toy-refer".into(),
            summary: "points at a text".into(),
            revision: Some(1),
            inputs: Vec::new(),
            outputs: vec![Port::new("note", kind::REPORT, "the text, where it lies")],
            params: json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["target"],
                "properties": { "target": { "type": "string" } },
            }),
        }
    }

    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let outputs = BTreeMap::from([("note".into(), described(&target(ctx)?)?)]);
        Ok(Plan { outputs, ..Plan::default() })
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let target = target(ctx)?;
        ctx.output_reference("note", &target)?;
        let outputs = BTreeMap::from([("note".into(), described(&target)?)]);
        Ok(Outcome { outputs, ..Outcome::default() })
    }
}

fn target(ctx: &Context) -> Result<PathBuf> {
    let params: Params = ctx.params()?;
    Ok(ctx.request().base_dir.join(params.target))
}

fn described(target: &std::path::Path) -> Result<Description> {
    let bytes = target.metadata().map_err(|e| Error::from_source("io", &e))?.len();
    Ok(Description::exact(kind::REPORT, json!({ "format": "text" })).with_bytes(bytes).with_fact("format", "text"))
}
