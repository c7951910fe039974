//! The model on a stage's port, ready to compute.

use std::collections::BTreeSet;
use std::sync::Arc;

use checkpoint::adapter::Adapter;
use checkpoint::view::ModelView;
use decoder::from_view::ViewWeights;
use decoder::{Fast, Network};
use stage_api::{Context, Result};
use stage_model::{ModelInput, stage_error, tokenizer_of};
use tokenizer::Tokenizer;

/// The port's name.
pub const MODEL: &str = "model";

/// A model whose files are there.
pub struct Base {
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    view: Arc<ModelView>,
    model: ModelInput,
}

impl Base {
    /// Maps the model on the port [`MODEL`].
    pub fn open(ctx: &Context, model: &ModelInput) -> Result<Self> {
        Self::merged(ctx, model, None)
    }

    /// As [`Base::open`], with an adapter in it: the matrices that it changes are held in memory.
    pub fn merged(ctx: &Context, model: &ModelInput, adapter: Option<Adapter>) -> Result<Self> {
        let checkpoint = model.open(ctx, MODEL)?;
        // A pre-tokenizer that was named when the model was fetched goes on being its; findings were told then.
        let pre = model.description.provenance.get("pre");
        let (tokenizer, _) = tokenizer_of(&checkpoint, pre.map(String::as_str))?;
        let view = ModelView::new(checkpoint, model.reading.inventory.clone(), adapter);
        let view = Arc::new(view.map_err(stage_error("unreadable_model"))?);
        Ok(Self { tokenizer, view, model: model.clone() })
    }

    /// The model on the port, where it is there already and not only planned.
    pub fn open_if_made(ctx: &Context, model: &ModelInput) -> Result<Option<Self>> {
        ctx.input(MODEL)?.path.is_some().then(|| Self::open(ctx, model)).transpose()
    }

    /// The network over the mapped weights.
    pub fn network(&self, threads: usize) -> Result<Network<Fast>> {
        let backend = Fast::new(threads).map_err(stage_error("no_threads"))?;
        let weights = ViewWeights::new(self.view.clone());
        Network::new(backend, &self.model.reading.architecture, &weights).map_err(stage_error("unfit_model"))
    }
}

/// Compute dtype and the types in which the base is stored: `f32/bf16`, `f32/f32+q4_1`.
pub fn numeric_mode(model: &ModelInput) -> String {
    let stored: BTreeSet<&str> = model.description.tensors.iter().map(|tensor| tensor.stored_type.name()).collect();
    format!("f32/{}", stored.into_iter().collect::<Vec<_>>().join("+"))
}
