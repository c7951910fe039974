//! Data sets: JSONL files as samples of token ids, each token learned or only read.

mod dataset;
mod error;
mod lines;
mod preparation;
mod split;

pub use dataset::{Dataset, Extent, check};
pub use preparation::{Learn, Preparation, SystemText};
pub use split::{Order, split};
