//! A frozen matrix as a candle tensor.

use candle_core::Tensor;

use super::Reference;
use crate::backend::{FrozenLinear, Side};
use crate::error::Result;

/// `(out_features, in_features)` values on the backend's device.
#[derive(Debug, Clone)]
pub struct Dense {
    weight: Tensor,
}

impl Dense {
    pub(crate) fn new(weight: Tensor) -> Self {
        Self { weight }
    }

    pub(super) fn weight(&self) -> &Tensor {
        &self.weight
    }
}

impl FrozenLinear<Reference> for Dense {
    fn forward(&self, _: &Reference, x: &Tensor, side: Option<Side<'_, Reference>>) -> Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        match side {
            Some(side) => Ok((y + side.input.matmul(&side.factor.t()?)?)?),
            None => Ok(y),
        }
    }

    fn backward(
        &self,
        _: &Reference,
        dy: &Tensor,
        side: Option<Side<'_, Reference>>,
        onto: Option<Tensor>,
    ) -> Result<Tensor> {
        let mut dx = dy.matmul(&self.weight)?;
        if let Some(onto) = onto {
            dx = (onto + dx)?;
        }
        match side {
            Some(side) => Ok((dx + side.input.matmul(side.factor)?)?),
            None => Ok(dx),
        }
    }
}
