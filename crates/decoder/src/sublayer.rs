//! One step of the residual stream: `h ← h + residual_scale · output_norm(Σ branch(input_norm(h)))`.

use model::architecture::{Branch, Sublayer};

use crate::attention::{self, AttentionBlock};
use crate::backend::{Backend, NormWeights};
use crate::error::{DecoderError, Result};
use crate::experts::{self, ExpertsBlock};
use crate::glu::{self, GluBlock};
use crate::mamba::{self, Mamba2Block};
use crate::norm;
use crate::pass::{Gathered, Pass};
use crate::rope::Ropes;
use crate::weights::Weights;

/// A sublayer of the network.
pub(crate) struct SublayerBlock<B: Backend> {
    input_norm: NormWeights<B::Vector>,
    branches: Vec<BranchBlock<B>>,
    output_norm: Option<NormWeights<B::Vector>>,
    residual_scale: f32,
}

enum BranchBlock<B: Backend> {
    Attention(AttentionBlock<B>),
    Glu(GluBlock<B>),
    Experts(ExpertsBlock<B>),
    Mamba2(Mamba2Block<B>),
}

enum SavedBranch<B: Backend> {
    Attention(attention::Saved<B::Tensor>),
    Glu(glu::Saved<B::Tensor>),
    Experts(experts::Saved<B::Tensor>),
    Mamba2(mamba::Saved<B>),
}

/// What the backward pass needs.
pub(crate) struct Saved<B: Backend> {
    /// The residual stream before the sublayer.
    h: B::Tensor,
    branches: Vec<SavedBranch<B>>,
    /// What the output norm saw.
    sum: Option<B::Tensor>,
}

impl<B: Backend> SublayerBlock<B> {
    pub(crate) fn load(
        backend: &B,
        sublayer: &Sublayer,
        (layer, hidden_size): (usize, usize),
        ropes: &mut Ropes,
        weights: &dyn Weights,
    ) -> Result<Self> {
        let branch = |branch: &Branch| match branch {
            Branch::Attention(attention) => {
                Ok(BranchBlock::Attention(AttentionBlock::load(backend, attention, ropes, weights)?))
            }
            Branch::Glu(glu) => Ok(BranchBlock::Glu(GluBlock::load(backend, glu, weights)?)),
            Branch::Experts(experts) => Ok(BranchBlock::Experts(ExpertsBlock::load(backend, experts, weights)?)),
            Branch::Mamba2(mamba) => Ok(BranchBlock::Mamba2(Mamba2Block::load(backend, mamba, weights)?)),
            Branch::Other(other) => Err(DecoderError::Unsupported { layer, kind: other.kind.clone() }),
        };
        let branches = sublayer.branches.iter().map(branch).collect::<Result<Vec<_>>>()?;
        let norm = |weights_of| norm::load(backend, weights_of, hidden_size, weights);
        Ok(Self {
            input_norm: norm(&sublayer.input_norm)?,
            branches,
            output_norm: sublayer.output_norm.as_ref().map(norm).transpose()?,
            residual_scale: sublayer.residual_scale,
        })
    }

    /// The residual stream after the sublayer.
    pub(crate) fn forward(&self, pass: &Pass<'_, B>, h: B::Tensor) -> Result<(B::Tensor, Saved<B>)> {
        let backend = pass.backend;
        let x = backend.norm(&h, &self.input_norm)?;
        let (mut sum, mut branches) = (None, Vec::with_capacity(self.branches.len()));
        for branch in &self.branches {
            let (y, saved) = branch.forward(pass, &x)?;
            branches.push(saved);
            sum = Some(match sum {
                Some(sum) => backend.add(sum, &y, 1.0)?,
                None => y,
            });
        }
        drop(x);
        let Some(sum) = sum else {
            return Ok((backend.scale(&h, 1.0)?, Saved { h, branches, sum: None }));
        };
        let (y, sum) = match &self.output_norm {
            Some(norm) => (backend.norm(&sum, norm)?, Some(sum)),
            None => (sum, None),
        };
        let y = if self.residual_scale == 1.0 { y } else { backend.scale(&y, self.residual_scale)? };
        let next = backend.add(y, &h, 1.0)?;
        Ok((next, Saved { h, branches, sum }))
    }

    /// The derivative by the residual stream before the sublayer, given the one after it.
    pub(crate) fn backward(
        &self,
        pass: &Pass<'_, B>,
        saved: Saved<B>,
        dh: B::Tensor,
        gathered: &mut Gathered<B::Matrix>,
    ) -> Result<B::Tensor> {
        let backend = pass.backend;
        let Saved { h, branches, sum } = saved;
        let scaled = if self.residual_scale == 1.0 { None } else { Some(backend.scale(&dh, self.residual_scale)?) };
        let dy = match self.output_norm.as_ref().zip(sum) {
            Some((norm, sum)) => {
                let dy = scaled.map_or_else(|| backend.scale(&dh, 1.0), Ok)?;
                Some(backend.norm_backward(&sum, norm, dy)?)
            }
            None => scaled,
        };
        let x = backend.norm(&h, &self.input_norm)?;
        let mut total: Option<B::Tensor> = None;
        for (branch, saved) in self.branches.iter().zip(branches) {
            let dx = branch.backward(pass, &x, saved, dy.as_ref().unwrap_or(&dh), gathered)?;
            total = Some(match total {
                Some(total) => backend.add(total, &dx, 1.0)?,
                None => dx,
            });
        }
        drop((x, dy));
        match total {
            Some(dx) => backend.add(dh, &backend.norm_backward(&h, &self.input_norm, dx)?, 1.0),
            None => Ok(dh),
        }
    }
}

impl<B: Backend> BranchBlock<B> {
    fn forward(&self, pass: &Pass<'_, B>, x: &B::Tensor) -> Result<(B::Tensor, SavedBranch<B>)> {
        match self {
            BranchBlock::Attention(block) => {
                let (y, saved) = block.forward(pass, x)?;
                Ok((y, SavedBranch::Attention(saved)))
            }
            BranchBlock::Glu(block) => {
                let (y, saved) = block.forward(pass, x)?;
                Ok((y, SavedBranch::Glu(saved)))
            }
            BranchBlock::Experts(block) => {
                let (y, saved) = block.forward(pass, x)?;
                Ok((y, SavedBranch::Experts(saved)))
            }
            BranchBlock::Mamba2(block) => {
                let (y, saved) = block.forward(pass, x)?;
                Ok((y, SavedBranch::Mamba2(saved)))
            }
        }
    }

    fn backward(
        &self,
        pass: &Pass<'_, B>,
        x: &B::Tensor,
        saved: SavedBranch<B>,
        dy: &B::Tensor,
        gathered: &mut Gathered<B::Matrix>,
    ) -> Result<B::Tensor> {
        match (self, saved) {
            (BranchBlock::Attention(block), SavedBranch::Attention(saved)) => {
                block.backward(pass, x, saved, dy, gathered)
            }
            (BranchBlock::Glu(block), SavedBranch::Glu(saved)) => block.backward(pass, x, saved, dy, gathered),
            (BranchBlock::Experts(block), SavedBranch::Experts(saved)) => block.backward(pass, x, saved, dy, gathered),
            (BranchBlock::Mamba2(block), SavedBranch::Mamba2(saved)) => block.backward(pass, x, saved, dy, gathered),
            _ => unreachable!("a branch's backward pass gets what its own forward pass saved"),
        }
    }
}
