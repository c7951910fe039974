//! Writes a checkpoint row block by row block.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use checkpoint::Checkpoint;
use checkpoint::hf_directory::CONFIG_FILE;
use checkpoint::safetensors::ShardedWriter;
use checkpoint::view::ModelView;
use model::ModelDescription;
use model::description::StoredTensor;
use stage_api::{Context, Error, Result};
use stage_model::{AdapterInput, ModelInput, RowStream, stage_error, tokenizer_of};

use crate::target::Target;

/// Makes the output directory and returns what it holds, read back from its headers.
pub fn write(
    ctx: &Context,
    model: &ModelInput,
    adapter: Option<&AdapterInput>,
    target: &Target,
    max_shard_bytes: u64,
) -> Result<ModelDescription> {
    let out = ctx.output("model")?;
    fs::create_dir_all(&out).map_err(|e| io(&out, &e))?;
    let adapter = adapter.map(|a| a.open(ctx, "adapter", &model.reading)).transpose()?;
    let checkpoint = model.open(ctx, "model")?;
    write_side_files(&checkpoint, model, &out)?;
    write_config(target, &out)?;

    let view = ModelView::new(checkpoint, model.reading.inventory.clone(), adapter)
        .map_err(stage_error("unreadable_model"))?;
    let format = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let tensors = &target.description.tensors;
    let mut writer =
        ShardedWriter::create(&out, tensors, &format, max_shard_bytes).map_err(stage_error("unwritable_model"))?;
    let mut stream = RowStream::new(ctx.threads());
    for (done, tensor) in tensors.iter().enumerate() {
        write_tensor(ctx, &view, tensor, &mut stream, &mut writer)?;
        ctx.progress("tensors", done as u64 + 1, tensors.len() as u64);
    }
    writer.finish().map_err(stage_error("unwritable_model"))?;

    let made = Checkpoint::open(&out).map_err(stage_error("unreadable_model"))?;
    Ok(ModelDescription { tokenizer: model.description.tokenizer.clone(), ..made.describe() })
}

fn write_tensor(
    ctx: &Context,
    view: &ModelView,
    tensor: &StoredTensor,
    stream: &mut RowStream,
    writer: &mut ShardedWriter,
) -> Result<()> {
    let reader = view.rows(&tensor.name).map_err(stage_error("unreadable_tensor"))?;
    let mut put = |bytes: &[u8]| {
        ctx.check_cancelled()?;
        writer.write(&tensor.name, bytes).map_err(stage_error("unwritable_model"))
    };
    if reader.stored_type() == Some(tensor.stored_type) {
        return stream.raw(&reader, tensor.stored_type, &mut put);
    }
    let encode = |values: &[f32], bytes: &mut [u8]| {
        blocks::encode_rows(tensor.stored_type, values, bytes).map_err(stage_error("bad_values"))
    };
    stream.encoded(&reader, tensor.stored_type, &encode, &mut put)
}

/// Tokenizer and kin: copied from a directory, rebuilt from a GGUF's vocabulary.
fn write_side_files(checkpoint: &Checkpoint, model: &ModelInput, out: &Path) -> Result<()> {
    match checkpoint.directory() {
        Some(directory) => directory.copy_side_files(out, &[]).map_err(stage_error("unwritable_model")),
        None => {
            let pre = model.description.provenance.get("pre").map(String::as_str);
            let (tokenizer, _) = tokenizer_of(checkpoint, pre)?;
            tokenizer.write(out).map_err(stage_error("unwritable_tokenizer"))
        }
    }
}

fn write_config(target: &Target, out: &Path) -> Result<()> {
    let path = out.join(CONFIG_FILE);
    fs::write(&path, format!("{:#}\n", target.config)).map_err(|e| io(&path, &e))
}

fn io(path: &Path, e: &std::io::Error) -> Error {
    Error::from_source("io", e).with_cause(path.display().to_string())
}
