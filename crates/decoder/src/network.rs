//! The whole network: embedding, layers, head; its loss, its gradients, its logits.
//!
//! A step is undivided: [`Network::gradients`] gives gradient sums, the loss sum and how much was learned, so that
//! accumulation, clipping and sums over machines need nothing else.

use std::collections::BTreeSet;

use model::Architecture;

use crate::adapters::Adapters;
use crate::backend::{Backend, HeadWeights, NormWeights, Sink};
use crate::batch::Batch;
use crate::error::{DecoderError, Result};
use crate::norm;
use crate::pass::{Gathered, Pass};
use crate::random::Dropout;
use crate::rope::Ropes;
use crate::sublayer::{self, SublayerBlock};
use crate::weights::Weights;

/// A decoder-only language model with a frozen base.
pub struct Network<B: Backend> {
    backend: B,
    /// Everything that may have an adapter.
    modules: BTreeSet<String>,
    vocab_size: usize,
    /// `None` where the head's matrix serves.
    embedding: Option<B::Linear>,
    embedding_scale: f32,
    sublayers: Vec<SublayerBlock<B>>,
    ropes: Ropes,
    final_norm: NormWeights<B::Vector>,
    head: HeadWeights<B::Linear>,
}

/// What a batch says about the adapters: sums, not means.
#[derive(Debug, Clone, PartialEq)]
pub struct Step<M> {
    /// The derivative of `loss_sum` by every A and B.
    pub gradients: Adapters<M>,
    /// The loss.
    pub loss: LossSum,
}

/// A loss before it is divided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossSum {
    /// `Σ weight · -log p(token)`
    pub loss_sum: f64,
    /// `Σ weight`: the number of learned tokens where weights are 0 and 1.
    pub learned: f64,
}

impl<B: Backend> Network<B> {
    /// Puts the network together; weights stay where they lie.
    ///
    /// # Errors
    /// Where the architecture has a layer kind that is not computed here, or a tensor is missing or of another shape.
    pub fn new(backend: B, architecture: &Architecture, weights: &dyn Weights) -> Result<Self> {
        let hidden_size = architecture.hidden_size as usize;
        let vocab_size = architecture.vocab_size as usize;
        let mut ropes = Ropes::default();
        let layers = architecture.layers.iter().enumerate();
        let sublayers = layers.flat_map(|(i, layer)| layer.sublayers.iter().map(move |sublayer| (i, sublayer)));
        let sublayers = sublayers
            .map(|(i, sublayer)| SublayerBlock::load(&backend, sublayer, (i, hidden_size), &mut ropes, weights))
            .collect::<Result<_>>()?;
        let table = |name: &str| backend.linear(weights.matrix(name, [vocab_size, hidden_size])?);
        let tied = architecture.is_tied();
        Ok(Self {
            modules: architecture.modules().iter().map(|module| module.path.to_owned()).collect(),
            vocab_size,
            embedding: if tied { None } else { Some(table(&architecture.embedding.weight)?) },
            embedding_scale: architecture.embedding.scale,
            sublayers,
            ropes,
            final_norm: norm::load(&backend, &architecture.final_norm, hidden_size, weights)?,
            head: HeadWeights {
                weight: table(&architecture.head.weight)?,
                logit_scale: architecture.head.logit_scale,
                soft_cap: architecture.head.soft_cap,
            },
            backend,
        })
    }

    /// What computes.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Loss and gradients of one batch.
    ///
    /// # Errors
    /// Where nothing is learned, a token is unknown, or the loss is no number.
    pub fn gradients(
        &self,
        adapters: &Adapters<B::Matrix>,
        batch: &Batch,
        dropout: Option<Dropout>,
    ) -> Result<Step<B::Matrix>> {
        let pass = self.pass(adapters, batch, dropout)?;
        let mut saved = Vec::with_capacity(self.sublayers.len());
        let h = self.forward(&pass, |layer| saved.push(layer))?;
        let (loss, dh) = self.loss_of(&pass, &h, true)?;
        drop(h);
        let mut gathered = Gathered::new(adapters.len());
        if let Some(mut dh) = dh {
            for (sublayer, saved) in self.sublayers.iter().zip(saved).rev() {
                dh = sublayer.backward(&pass, saved, dh, &mut gathered)?;
            }
        }
        Ok(Step { gradients: gathered.finish(adapters), loss })
    }

    /// The loss of one batch, without gradients or dropout.
    ///
    /// # Errors
    /// As [`Network::gradients`].
    pub fn loss(&self, adapters: &Adapters<B::Matrix>, batch: &Batch) -> Result<LossSum> {
        let pass = self.pass(adapters, batch, None)?;
        let h = self.forward(&pass, drop)?;
        Ok(self.loss_of(&pass, &h, false)?.0)
    }

    /// Logits of every token of a batch, handed out run by run in order: the first token's index, and
    /// `(tokens, vocab_size)` values.
    ///
    /// # Errors
    /// Where a token is unknown, or the sink refuses.
    pub fn logits(&self, adapters: &Adapters<B::Matrix>, batch: &Batch, sink: &mut Sink<'_>) -> Result<()> {
        let pass = self.pass(adapters, batch, None)?;
        let h = self.forward(&pass, drop)?;
        let x = self.backend.norm(&h, &self.final_norm)?;
        drop(h);
        self.backend.logits(&self.head, &x, sink)
    }

    fn pass<'a>(
        &'a self,
        adapters: &'a Adapters<B::Matrix>,
        batch: &'a Batch,
        dropout: Option<Dropout>,
    ) -> Result<Pass<'a, B>> {
        let vocab_size = self.vocab_size;
        if let Some(position) = batch.ids().iter().position(|id| *id as usize >= vocab_size) {
            return Err(DecoderError::UnknownToken { token: batch.ids()[position], position, vocab_size });
        }
        if let Some(adapter) = adapters.iter().find(|adapter| !self.modules.contains(&adapter.module)) {
            let known = self.modules.iter().cloned().collect();
            return Err(DecoderError::UnknownModule { module: adapter.module.clone(), known });
        }
        self.backend.begin(batch);
        let segments: Vec<_> = batch.segments().collect();
        let rotations = self.ropes.rotations(&self.backend, &segments)?;
        Ok(Pass { backend: &self.backend, adapters, batch, segments, rotations, dropout })
    }

    /// The residual stream after the last layer; `keep` gets what each sublayer saved.
    fn forward(&self, pass: &Pass<'_, B>, mut keep: impl FnMut(sublayer::Saved<B>)) -> Result<B::Tensor> {
        let table = self.embedding.as_ref().unwrap_or(&self.head.weight);
        let mut h = self.backend.embed(table, pass.batch.ids(), self.embedding_scale)?;
        for sublayer in &self.sublayers {
            let (next, saved) = sublayer.forward(pass, h)?;
            keep(saved);
            h = next;
        }
        Ok(h)
    }

    /// The loss, and its derivative by the residual stream. Only tokens that predict something learned reach the head.
    fn loss_of(&self, pass: &Pass<'_, B>, h: &B::Tensor, want_gradient: bool) -> Result<(LossSum, Option<B::Tensor>)> {
        let (batch, backend) = (pass.batch, &self.backend);
        let (targets, tokens) = (batch.targets(), batch.tokens());
        if targets.is_empty() {
            return Err(DecoderError::NothingLearned { tokens });
        }
        let positions: Vec<usize> = targets.iter().map(|target| target.position).collect();
        let picked = backend.select(h, &positions)?;
        let x = backend.norm(&picked, &self.final_norm)?;
        let (loss, dx) = backend.cross_entropy(&self.head, x, targets, want_gradient)?;
        if !loss.is_finite() {
            return Err(DecoderError::NonFiniteLoss { loss });
        }
        let dh = match dx {
            Some(dx) => {
                let dpicked = backend.norm_backward(&picked, &self.final_norm, dx)?;
                Some(backend.scatter(&dpicked, &positions, tokens)?)
            }
            None => None,
        };
        Ok((LossSum { loss_sum: loss, learned: batch.learned() }, dh))
    }
}

#[cfg(test)]
impl Network<crate::Reference> {
    /// The loss as a tensor that candle can differentiate by the adapters' variables: the tests' oracle.
    pub(crate) fn loss_tensor(
        &self,
        adapters: &Adapters<candle_core::Tensor>,
        batch: &Batch,
        dropout: Option<Dropout>,
    ) -> Result<candle_core::Tensor> {
        let pass = self.pass(adapters, batch, dropout)?;
        let h = self.forward(&pass, drop)?;
        let positions: Vec<usize> = batch.targets().iter().map(|target| target.position).collect();
        let x = self.backend.norm(&self.backend.select(&h, &positions)?, &self.final_norm)?;
        Ok(self.backend.head_loss_tensor(&self.head, &x, batch.targets(), false)?.0)
    }
}
