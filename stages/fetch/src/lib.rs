//! Stage `fetch`: brings a model into the pipeline, as it is.
//!
//! `path:` makes a reference: no copy, no link. The bytes are verified whenever they are used.

mod local;
mod source;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use stage_api::{Context, Error, Outcome, Plan, Port, Result, Signature, Stage, kind};

use source::Source;

/// Parameters of `fetch`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Where the model is: `path:` and a directory or a GGUF file, relative to the pipeline file.
    source: String,
    /// Name of the pre-tokenizer, for a GGUF whose own is missing or wrong.
    pre: Option<String>,
}

struct Fetch;

impl Stage for Fetch {
    fn signature(&self) -> Signature {
        Signature {
            id: "fetch".into(),
            summary: "brings a model into the pipeline: a Hugging Face directory or a GGUF".into(),
            revision: Some(1),
            inputs: Vec::new(),
            outputs: vec![Port::new("model", kind::MODEL, "the model as it lies")],
            params: schemars::schema_for!(Params).into(),
        }
    }

    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let params: Params = ctx.params()?;
        match source::parse(&params.source, &ctx.request().base_dir).map_err(bad_source)? {
            Source::Path(path) => local::plan(ctx, &path, params.pre.as_deref()),
        }
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let params: Params = ctx.params()?;
        match source::parse(&params.source, &ctx.request().base_dir).map_err(bad_source)? {
            Source::Path(path) => {
                let described = local::describe(ctx, &path, params.pre.as_deref())?;
                ctx.output_reference("model", &path)?;
                let outputs = BTreeMap::from([("model".into(), described.output)]);
                Ok(Outcome { outputs, ..Outcome::default() })
            }
        }
    }
}

fn bad_source(e: source::SourceError) -> Error {
    let help = e.help();
    Error::from_source("bad_source", &e).with_help(help)
}

stage_api::plugin![stage(Fetch)];
