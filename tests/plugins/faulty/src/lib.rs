//! A plugin that does wrong on request, for the tests of everything that must survive it.

mod fault;
mod stage;
mod whisper;

stage_api::plugin![stage(stage::Faulty), extension(whisper::Whisper)];
