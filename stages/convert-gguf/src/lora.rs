//! An adapter alone as the GGUF that llama.cpp's `--lora` takes.
//!
//! A matrix of the base's GGUF is rows of canonical ones, so row `i` changes by `B[row(i), :] · A` of its source: B's
//! rows move as the weight's do, and where several adapted matrices become one, their ranks are laid side by side.
//! llama.cpp scales by `alpha / rank` with one alpha for the file; where modules differ, scales are baked into B.

use std::collections::BTreeMap;
use std::fs;

use checkpoint::adapter::{Adapter, LoraModule};
use checkpoint::gguf::{Metadata, Value, Writer};
use model::description::{Container, StoredTensor};
use model::inventory::{GgufTensor, Inventory};
use model::row_map::Leaf;
use model::{AdapterDescription, RowMap, StoredType};
use stage_api::{Context, Error, Estimate, Plan, Result};
use stage_model::{
    AdapterInput, ModelInput, PROCESS_MEMORY, adapter_memory, check_adapter, describe_adapter, stage_error,
};

use crate::naming::file_stem;
use crate::ollama;

pub fn plan(ctx: &Context, adapter: &AdapterInput) -> Result<Plan> {
    let base = base(ctx, adapter)?;
    let findings = check_adapter(&base, &adapter.description);
    let bytes = adapter_memory(&adapter.description);
    // The factors are held whole; what is moved of them is one tensor's.
    let estimate =
        Estimate { memory: Some(PROCESS_MEMORY + bytes), disk: Some(bytes + (1 << 20)), ..Estimate::default() };
    let output = describe_adapter(&described(&adapter.description))?;
    Ok(Plan { outputs: BTreeMap::from([("adapter".into(), output)]), estimate, findings, ..Plan::default() })
}

/// The same changes in the other container.
fn described(adapter: &AdapterDescription) -> AdapterDescription {
    AdapterDescription { container: Container::Gguf, ..adapter.clone() }
}

/// The model that the adapter was made for.
fn base(ctx: &Context, adapter: &AdapterInput) -> Result<ModelInput> {
    let base = adapter.description.base.clone().ok_or_else(|| {
        Error::new("unknown_base", "the adapter does not say which model it was made for")
            .with_help("connect the base as `model` of the stage that made the adapter")
    })?;
    ModelInput::read(ctx, base)
}

/// Writes the GGUF LoRA and returns its description.
pub fn write(ctx: &Context, adapter: &AdapterInput, name: &str) -> Result<AdapterDescription> {
    let base = base(ctx, adapter)?;
    let weights = adapter.open(ctx, "adapter", &base.reading)?;
    let factors = factors(&base.reading.inventory, &weights)?;
    let out = ctx.output("adapter")?;
    fs::create_dir_all(&out).map_err(|e| Error::from_source("io", &e).with_cause(out.display().to_string()))?;

    let alpha = common_alpha(&weights);
    let text = |value: &str| Value::String(value.into());
    let pairs = [
        ("general.type", text("adapter")),
        ("general.architecture", text(&base.reading.gguf.architecture)),
        ("general.name", text(name)),
        ("adapter.type", text("lora")),
        // Zero means "as the factors are", which is how baked scales are read.
        ("adapter.lora.alpha", Value::F32(alpha.unwrap_or(0.0))),
    ];
    let metadata: Metadata = pairs.into_iter().collect();
    let tensors: Vec<StoredTensor> = factors.iter().flat_map(Factors::headers).collect();
    let file = format!("{}-lora.gguf", file_stem(name));
    let path = out.join(&file);
    let mut writer = Writer::create(&path, &metadata, &tensors).map_err(stage_error("unwritable_gguf"))?;
    for factor in &factors {
        let bake = alpha.is_none();
        let values = factor.values(bake);
        for (header, values) in factor.headers().iter().zip(values) {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            writer.write(&header.name, &bytes).map_err(stage_error("unwritable_gguf"))?;
        }
    }
    writer.finish().map_err(stage_error("unwritable_gguf"))?;
    ollama::write_adapter(&out, &file, &base.description)?;
    Ok(described(&adapter.description))
}

/// The one alpha behind every module's scale, where there is one.
fn common_alpha(adapter: &Adapter) -> Option<f32> {
    let alpha = |m: &LoraModule| m.scale * m.a.rows as f32;
    let first = alpha(adapter.modules.values().next()?);
    (first != 0.0 && adapter.modules.values().all(|m| alpha(m) == first)).then_some(first)
}

/// The change of one GGUF matrix.
struct Factors<'a> {
    name: &'a str,
    map: RowMap,
    /// By source of the map: the module that changes it.
    modules: Vec<Option<&'a LoraModule>>,
}

/// Every GGUF matrix that the adapter changes, in file order.
fn factors<'a>(inventory: &'a Inventory, adapter: &'a Adapter) -> Result<Vec<Factors<'a>>> {
    let shapes = |name: &str| inventory.get(name).map(|t| t.shape.clone());
    let module = |name: &str| adapter.modules.get(&inventory.get(name)?.adapter.as_ref()?.module);
    let changed = inventory.gguf.iter().filter(|t| t.expr.tensors().into_iter().any(|name| module(name).is_some()));
    let factor = |tensor: &'a GgufTensor| {
        let map = RowMap::compile(&tensor.expr, &shapes).map_err(stage_error("bad_inventory"))?;
        if !map.only_moves_rows() {
            return Err(Error::new(
                "unadaptable",
                format!("`{}` is computed from its values, not only moved", tensor.name),
            )
            .with_help("merge the adapter into the model instead"));
        }
        let of = |source: &model::row_map::RowSource| match &source.leaf {
            Leaf::Tensor(name) => module(name),
            Leaf::Constant(_) => None,
        };
        let modules = map.sources.iter().map(of).collect();
        Ok(Factors { name: &tensor.name, modules, map })
    };
    changed.map(factor).collect()
}

impl Factors<'_> {
    fn rank(&self) -> usize {
        self.modules.iter().flatten().map(|m| m.a.rows).sum()
    }

    /// A `(rank, in)` and B `(out, rank)` as llama.cpp names them.
    fn headers(&self) -> [StoredTensor; 2] {
        let header = |part: &str, shape| StoredTensor {
            name: format!("{}.{part}", self.name),
            stored_type: StoredType::F32,
            shape,
        };
        let rank = self.rank() as u64;
        [header("lora_a", vec![rank, self.map.columns]), header("lora_b", vec![self.map.rows(), rank])]
    }

    /// The values of both factors; `bake` multiplies each module's scale into B.
    fn values(&self, bake: bool) -> [Vec<f32>; 2] {
        let rank = self.rank();
        let a = self.modules.iter().flatten().flat_map(|m| m.a.values.iter().copied()).collect();
        let mut b = vec![0.0; self.map.rows() as usize * rank];
        let mut rows = b.chunks_exact_mut(rank);
        let first_rank = |source: usize| self.modules[..source].iter().flatten().map(|m| m.a.rows).sum::<usize>();
        for segment in &self.map.segments {
            let first = first_rank(segment.source);
            for (i, row) in (0..segment.rows.count()).zip(&mut rows) {
                let Some(module) = self.modules[segment.source] else { continue };
                let scale = if bake { module.scale } else { 1.0 };
                let from = module.b.row(segment.rows.get(i) as usize);
                row[first..first + from.len()].iter_mut().zip(from).for_each(|(to, from)| *to = scale * from);
            }
        }
        [a, b]
    }
}
