//! The numbers and frozen vectors of a Mamba-2 layer, as [`crate::Backend`] computes with them.

/// A causal convolution along tokens, one filter a channel: `y_t = bias + Σ_k weight[k] · x_{t - kernel_size + 1 + k}`.
/// What lies before a sequence is zero.
#[derive(Debug)]
pub struct ConvWeights<V> {
    /// `(channels, kernel_size)`, row by row.
    pub weight: V,
    /// `(channels)`
    pub bias: Option<V>,
    /// Tokens that an output sees, the present one included.
    pub kernel_size: usize,
}

/// The numbers of a state-space scan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScanShape {
    /// Heads.
    pub heads: usize,
    /// Features of a head.
    pub head_dim: usize,
    /// Columns of a head's state.
    pub state_size: usize,
    /// Groups of heads that share B and C.
    pub groups: usize,
    /// Bounds of Δ.
    pub time_step: (f32, f32),
}

impl ScanShape {
    /// Features of all heads.
    pub fn inner(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Features of x, B and C together.
    pub fn channels(&self) -> usize {
        self.inner() + 2 * self.groups * self.state_size
    }
}

/// The frozen vectors of a scan, `(heads)` each.
#[derive(Debug)]
pub struct ScanWeights<V> {
    /// `A = -exp(A_log)`
    pub a: V,
    /// The skip: `y += D·x`.
    pub d: V,
    /// Added to `dt`.
    pub dt_bias: V,
}
