//! Writes the GGUF tensor by tensor.

use std::fs;
use std::path::Path;

use checkpoint::Checkpoint;
use checkpoint::gguf::{Gguf, Metadata, Value, Writer};
use checkpoint::view::ModelView;
use model::ModelDescription;
use model::description::VocabularyKeys;
use stage_api::{Context, Error, Finding, Result};
use stage_model::{
    AdapterInput, ModelInput, RowStream, key_values, stage_error, tokenizer_finding, tokenizer_of, vocabulary_of,
};
use tokenizer::gguf::{Convention, GgufOptions};

use crate::naming::file_stem;
use crate::ollama;
use crate::params::Params;
use crate::target::Target;

/// Makes the output directory and returns what its GGUF holds, read back from the headers, and what was found about
/// its vocabulary.
pub fn write(
    ctx: &Context,
    params: &Params,
    model: &ModelInput,
    adapter: Option<&AdapterInput>,
    target: &Target,
    name: &str,
) -> Result<(ModelDescription, Vec<Finding>)> {
    let out = ctx.output("model")?;
    fs::create_dir_all(&out).map_err(|e| io(&out, &e))?;
    let adapter = adapter.map(|a| a.open(ctx, "adapter", &model.reading)).transpose()?;
    let checkpoint = model.open(ctx, "model")?;
    let (metadata, findings) = metadata(params, model, target, &checkpoint)?;
    let file = format!("{}-{}.gguf", file_stem(name), target.quantizer.preset());
    ollama::write(&out, &file, &checkpoint, model)?;

    let view = ModelView::new(checkpoint, model.reading.inventory.clone(), adapter)
        .map_err(stage_error("unreadable_model"))?;
    let path = out.join(&file);
    let tensors = &target.description.tensors;
    let mut writer = Writer::create(&path, &metadata, tensors).map_err(stage_error("unwritable_gguf"))?;
    let mut stream = RowStream::new(ctx.threads());
    for (done, (tensor, recipe)) in target.sources.iter().zip(&target.recipe.tensors).enumerate() {
        let reader = view.evaluate(&tensor.name, &tensor.expr).map_err(stage_error("unreadable_tensor"))?;
        let mut put = |bytes: &[u8]| {
            ctx.check_cancelled()?;
            writer.write(&tensor.name, bytes).map_err(stage_error("unwritable_gguf"))
        };
        if reader.stored_type() == Some(recipe.stored_type) {
            stream.raw(&reader, recipe.stored_type, &mut put)?;
        } else {
            let encode = |values: &[f32], bytes: &mut [u8]| target.quantizer.encode(&recipe.codec, values, &[], bytes);
            stream.encoded(&reader, recipe.stored_type, &encode, &mut put)?;
        }
        ctx.progress("tensors", done as u64 + 1, tensors.len() as u64);
    }
    writer.finish().map_err(stage_error("unwritable_gguf"))?;
    Ok((read_back(&path, model)?, findings))
}

/// Names the pre-tokenizer.
const PRE: &str = "tokenizer.ggml.pre";

/// The header's pairs, then the vocabulary: a GGUF's own as it is, a tokenizer's as llama.cpp's converter writes it. A
/// pre-tokenizer that was named for a GGUF goes into the file that is made, so that llama.cpp cuts texts as we did.
fn metadata(
    params: &Params,
    model: &ModelInput,
    target: &Target,
    checkpoint: &Checkpoint,
) -> Result<(Metadata, Vec<Finding>)> {
    let (mut metadata, mut findings) = (Metadata::default(), Vec::new());
    for (key, value) in &target.metadata {
        metadata.set(key.clone(), Value::try_from(value).map_err(stage_error("bad_metadata"))?);
    }
    let vocabulary: Vec<(String, Value)> = match checkpoint.gguf() {
        Some(gguf) => {
            let own = gguf.metadata().iter().filter(|(key, _)| key.starts_with("tokenizer."));
            let named = params.pre.as_ref().or(model.description.provenance.get("pre"));
            let named = named.map(|pre| (PRE.to_owned(), Value::String(pre.as_str().into())));
            own.map(|(key, value)| (key.to_owned(), value.clone())).chain(named).collect()
        }
        None => {
            let (tokenizer, _) = tokenizer_of(checkpoint, None)?;
            let convention = match model.reading.gguf.vocabulary {
                VocabularyKeys::Llama => Convention::Llama,
                VocabularyKeys::Plain => Convention::Plain,
            };
            let vocab_size = Some(model.reading.architecture.vocab_size);
            let options = GgufOptions { convention, vocab_size, pre: params.pre.as_deref() };
            let (vocabulary, found) = tokenizer.to_gguf(&options).map_err(stage_error("unwritable_vocabulary"))?;
            findings.extend(found.into_iter().map(tokenizer_finding));
            key_values(&vocabulary)
        }
    };
    vocabulary.into_iter().for_each(|(key, value)| metadata.set(key, value));
    Ok((metadata, findings))
}

/// What was written, as any reader sees it; the vocabulary must be readable too.
fn read_back(path: &Path, model: &ModelInput) -> Result<ModelDescription> {
    let checkpoint = Checkpoint::open(path).map_err(stage_error("unreadable_gguf"))?;
    checkpoint.gguf().map(|gguf: &Gguf| vocabulary_of(gguf.metadata())).transpose()?;
    Ok(ModelDescription { tokenizer: model.description.tokenizer.clone(), ..checkpoint.describe() })
}

fn io(path: &Path, e: &std::io::Error) -> Error {
    Error::from_source("io", e).with_cause(path.display().to_string())
}
