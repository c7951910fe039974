//! The smallest plugin that uses the whole border: a stage that writes a text, said by an extension that any plugin
//! may offer.

mod refer;
mod voice;
mod write;

stage_api::plugin![stage(write::ToyWrite), stage(refer::ToyRefer), extension(voice::Shout)];
