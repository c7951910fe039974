//! Plans and runs pipelines of plugin stages. Knows no model family, no quantizer, no tensor.

pub mod pipeline;
