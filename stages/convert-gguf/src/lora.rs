//! An adapter alone as the GGUF that llama.cpp's `--lora` takes.
//!
//! A matrix of the base's GGUF is rows of canonical ones, so row `i` changes by `B[row(i), :] · A` of its source: B's
//! rows move as the weight's do, and where several adapted matrices are one, their ranks are laid side by side. A matrix
//! of experts has factors of each, and so a third dimension: llama.cpp checks no more than two, and crashes without it.
//! llama.cpp scales by `alpha / rank` with one alpha for the file; where modules differ, scales are baked into B. Of an
//! embedding it looks up rows of one factor, so there they lie otherwise: `lora_a` is B, and `lora_b` is A transposed.

use std::collections::BTreeMap;
use std::fs;

use checkpoint::adapter::{Adapter, LoraModule, Matrix};
use checkpoint::gguf::{Metadata, Value, Writer};
use model::description::{Container, StoredTensor};
use model::inventory::TensorSpec;
use model::row_map::{Leaf, RowSource};
use model::{AdapterDescription, StoredType};
use serde_json::json;
use stage_api::{Context, Error, Estimate, Finding, Plan, Result, Severity};
use stage_model::{
    AdapterInput, ModelInput, PROCESS_MEMORY, adapter_memory, check_adapter, describe_adapter, stage_error,
};

use crate::matrices::{self, GgufMatrix};
use crate::naming::file_stem;
use crate::ollama;

/// Values that are written at a time.
const BLOCK: usize = 1 << 16;
/// Names and metadata, a generous guess.
const HEADER_BYTES: u64 = 1 << 20;

pub fn plan(ctx: &Context, adapter: &AdapterInput) -> Result<Plan> {
    let base = base(ctx, adapter)?;
    let as_changed = base.clone().changed_by(ctx, Some(adapter))?;
    let mut findings = check_adapter(&as_changed, &adapter.description);
    findings.extend(merge_only(&as_changed, base.reading.architecture.is_tied(), &adapter.description));
    let modules = &adapter.description.modules;
    let is_changed = |spec: &TensorSpec| spec.adapter.as_ref().is_some_and(|facts| modules.contains_key(&facts.module));
    let changed = matrices::changed(&base, &is_changed)?;
    let names: Vec<&str> = changed.iter().map(|matrix| matrix.name.as_str()).collect();
    // One adapter can come of several bases. What is written for it is the base's, so that belongs to the key.
    let of_base = json!({ "matrices": names, "from": ollama::from(&base.description) });
    let rank = |name: &str| {
        let facts = base.reading.inventory.get(name)?.adapter.as_ref()?;
        Some(modules.get(&facts.module)?.rank)
    };
    let disk = changed.iter().map(|matrix| file_bytes(matrix, &rank)).sum::<u64>() + HEADER_BYTES;
    // The factors are held whole, and what was moved of them for one matrix.
    let moved = changed.iter().map(|matrix| file_bytes(matrix, &rank)).max().unwrap_or(0);
    let memory = PROCESS_MEMORY + adapter_memory(&adapter.description) + moved;
    let estimate = Estimate { memory: Some(memory), disk: Some(disk), ..Estimate::default() };
    let output = describe_adapter(&described(&adapter.description))?;
    let (outputs, pins) = ([("adapter".into(), output)].into(), [("base".into(), of_base.to_string())].into());
    Ok(Plan { outputs, estimate, findings, pins, ..Plan::default() })
}

/// What no GGUF LoRA can say: llama.cpp adds `scale · B·A` to a product and knows no lengths of rows, and where embedding
/// and head are one matrix (`tied`) it takes factors of one for those of the other, and aborts.
fn merge_only(model: &ModelInput, tied: bool, adapter: &AdapterDescription) -> Vec<Finding> {
    let dora: Vec<&String> = adapter.modules.iter().filter(|(_, m)| m.dora).map(|(name, _)| name).collect();
    let dora = dora.first().map(|first| {
        let count = dora.len();
        format!("the adapter is DoRA ({count} modules, `{first}` the first), which llama.cpp's `--lora` cannot compute")
    });
    let pair = [&model.reading.architecture.embedding.weight, &model.reading.architecture.head.weight];
    let is_of_pair = |name: &&String| pair.iter().any(|weight| weight.strip_suffix(".weight") == Some(name.as_str()));
    let tied = tied.then(|| adapter.modules.keys().find(is_of_pair)).flatten().map(|name| {
        format!(
            "the adapter changes `{name}`, and embedding and head are one matrix in the base, for which llama.cpp's \
             `--lora` has no factors"
        )
    });
    let help = "merge it: connect the base as `model` beside `adapter`, or put the stage `fuse` before this one";
    let finding =
        |why: String| Finding::new(Severity::Error, "merge_only", format!("{why}: merge only")).with_help(help);
    dora.into_iter().chain(tied).map(finding).collect()
}

/// What both factors of a matrix take; gate and up have an A each that was one.
fn file_bytes(matrix: &GgufMatrix, rank: &dyn Fn(&str) -> Option<u64>) -> u64 {
    let of = |source: &RowSource| match &source.leaf {
        Leaf::Tensor(name) => rank(name),
        Leaf::GroupAffine(_) | Leaf::Constant(_) => None,
    };
    let rank: u64 = matrix.map.sources.iter().filter_map(of).sum();
    4 * rank * (matrix.experts().unwrap_or(1) * matrix.map.columns + matrix.map.rows())
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
    let factors = factors(&base, &weights)?;
    let out = ctx.output("adapter")?;
    fs::create_dir_all(&out).map_err(|e| Error::from_source("io", &e).with_cause(out.display().to_string()))?;

    let alpha = common_alpha(&factors);
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
        let values = factor.values(bake)?;
        for (header, values) in factor.headers().iter().zip(values) {
            for values in values.chunks(BLOCK) {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                writer.write(&header.name, &bytes).map_err(stage_error("unwritable_gguf"))?;
            }
        }
    }
    writer.finish().map_err(stage_error("unwritable_gguf"))?;
    ollama::write_adapter(&out, &file, &base.description)?;
    Ok(described(&adapter.description))
}

/// The one alpha that gives every module its scale, where there is one: llama.cpp divides it by a matrix's rank.
fn common_alpha(factors: &[Factors<'_>]) -> Option<f32> {
    let of = |f: &Factors<'_>| f.modules.iter().flatten().map(|m| m.scale * f.rank() as f32).collect::<Vec<_>>();
    let alphas: Vec<f32> = factors.iter().flat_map(of).collect();
    let first = *alphas.first()?;
    (first != 0.0 && alphas.iter().all(|alpha| *alpha == first)).then_some(first)
}

/// The change of one GGUF matrix.
struct Factors<'a> {
    matrix: GgufMatrix,
    /// By source of the matrix's map: the module that changes it.
    modules: Vec<Option<&'a LoraModule>>,
    /// Whether rows of it are looked up.
    is_embedding: bool,
}

/// Every GGUF matrix that the adapter changes.
fn factors<'a>(base: &ModelInput, adapter: &'a Adapter) -> Result<Vec<Factors<'a>>> {
    let module = |spec: &TensorSpec| adapter.modules.get(&spec.adapter.as_ref()?.module);
    let of = |source: &RowSource| match &source.leaf {
        Leaf::Tensor(name) => base.reading.inventory.get(name).and_then(module),
        Leaf::GroupAffine(_) | Leaf::Constant(_) => None,
    };
    let changed = matrices::changed(base, &|spec| module(spec).is_some())?;
    let embedding = Leaf::Tensor(base.reading.architecture.embedding.weight.clone());
    let factor = |matrix: GgufMatrix| Factors {
        modules: matrix.map.sources.iter().map(of).collect(),
        is_embedding: matrix.map.sources.iter().any(|source| source.leaf == embedding),
        matrix,
    };
    Ok(changed.into_iter().map(factor).collect())
}

impl Factors<'_> {
    fn rank(&self) -> usize {
        self.modules.iter().flatten().map(|m| m.rank()).sum()
    }

    /// A `(rank, in)` and B `(out, rank)`, of each expert where there are several, as llama.cpp names them; of an embedding
    /// B and then A transposed.
    fn headers(&self) -> [StoredTensor; 2] {
        let experts = self.matrix.experts();
        let header = |part: &str, shape: [u64; 2]| StoredTensor {
            name: format!("{}.{part}", self.matrix.name),
            stored_type: StoredType::F32,
            shape: experts.into_iter().chain(shape).collect(),
        };
        let (rank, columns) = (self.rank() as u64, self.matrix.map.columns);
        let rows = self.matrix.map.rows() / experts.unwrap_or(1).max(1);
        match self.is_embedding {
            false => [header("lora_a", [rank, columns]), header("lora_b", [rows, rank])],
            true => [header("lora_a", [rows, rank]), header("lora_b", [columns, rank])],
        }
    }

    /// The values of both factors; `bake` multiplies each module's scale into B.
    fn values(&self, bake: bool) -> Result<[Vec<f32>; 2]> {
        let (rank, rows) = (self.rank(), self.matrix.map.rows() as usize);
        let (experts, columns) = (self.matrix.experts().unwrap_or(1) as usize, self.matrix.map.columns as usize);
        let (mut a, mut b) = (vec![0.0; experts * rank * columns], vec![0.0; rows * rank]);
        let first_rank = |source: usize| self.modules[..source].iter().flatten().map(|m| m.rank()).sum::<usize>();
        // By expert of the matrix and source: the expert of the module whose rows they are.
        let mut experts_of: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let mut to = b.chunks_exact_mut(rank).enumerate();
        for segment in &self.matrix.map.segments {
            let first = first_rank(segment.source);
            for (i, (row, to)) in (0..segment.rows.count()).zip(&mut to) {
                let Some(module) = self.modules[segment.source] else { continue };
                let (scale, from) = (if bake { module.scale } else { 1.0 }, segment.rows.get(i) as usize);
                let (expert, theirs) = (row / (rows / experts), from / (module.b.rows / module.experts));
                if *experts_of.entry((expert, segment.source)).or_insert(theirs) != theirs {
                    return Err(matrices::unadaptable(&self.matrix.name, "has rows of several experts in one"));
                }
                let to = to[first..].iter_mut().zip(module.b.row(from));
                to.for_each(|(to, from)| *to = scale * from);
            }
        }
        for ((expert, source), theirs) in experts_of {
            let Some(module) = self.modules[source] else { continue };
            let len = module.rank() * columns;
            let to = (expert * rank + first_rank(source)) * columns;
            a[to..to + len].copy_from_slice(&module.a.values[theirs * len..][..len]);
        }
        if self.is_embedding {
            return Ok([b, Matrix { rows: rank, columns, values: a }.transposed().values]);
        }
        Ok([a, b])
    }
}
