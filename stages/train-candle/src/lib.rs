//! Everything that needs the decoder, as one plugin: `train-candle` teaches a model by LoRA, `logits` writes what a
//! model says about a text, for others to be held against.

mod base;
mod data;
mod logits;
mod resources;
mod train;

stage_api::plugin![stage(train::TrainCandle), stage(logits::Logits)];

#[cfg(test)]
mod tiny;
