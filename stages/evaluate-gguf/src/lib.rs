//! Stage `evaluate-gguf`: what llama.cpp, the runtime that GGUF files are made for, makes of a file.
//!
//! Perplexity of texts, divergence from the reference's logits, greedy answers to given questions and speed, of a GGUF
//! as it is or with a GGUF LoRA beside it. [`llama`] is the only module that knows llama.cpp.

mod adapter;
mod answers;
mod chats;
mod distribution;
mod divergence;
mod error;
mod evaluate;
mod llama;
mod memory;
mod params;
mod perplexity;
mod prompts;
mod questions;
mod reference;
mod report;
mod stage;
mod weights;
mod windows;
mod work;

stage_api::plugin![stage(stage::EvaluateGguf)];

#[cfg(test)]
mod stage_tests;
#[cfg(test)]
mod tiny;
