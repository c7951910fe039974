//! Stage `fetch`: brings a model into the pipeline, as it is.
//!
//! `path:` makes a reference, to every part of a split GGUF: no copy, no link. `hf:` brings files into the hub's cache
//! and refers to them there. The bytes are verified whenever they are used.

mod described;
mod hub;
mod local;
mod source;

use schemars::JsonSchema;
use serde::Deserialize;
use stage_api::{Context, Error, Outcome, Plan, Port, Result, Signature, Stage, kind};

use source::Source;

/// Parameters of `fetch`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Where the model is: `path:` and a directory or a GGUF file, relative to the pipeline file; or
    /// `hf:org/name[@revision]`, with `:Q4_K_M` behind it for one quantization of a repository of GGUFs.
    source: String,
    /// Name of the pre-tokenizer, for a GGUF whose own is missing or wrong.
    pre: Option<String>,
    /// The commit that a hub's revision means; looked up while planning where it is left out.
    #[schemars(regex(pattern = r"^[0-9a-f]{40}$"))]
    commit: Option<String>,
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
        match source_of(ctx, &params)? {
            Source::Path(path) => local::plan(ctx, &path, params.pre.as_deref()),
            Source::Hub(model) => hub::plan(ctx, &model, &params),
        }
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let params: Params = ctx.params()?;
        match source_of(ctx, &params)? {
            Source::Path(path) => local::run(ctx, &path, params.pre.as_deref()),
            Source::Hub(model) => hub::run(ctx, &model, &params),
        }
    }
}

fn source_of(ctx: &Context, params: &Params) -> Result<Source> {
    source::parse(&params.source, &ctx.request().base_dir).map_err(|e| {
        let help = e.help();
        Error::from_source("bad_source", &e).with_help(help)
    })
}

stage_api::plugin![stage(Fetch)];
