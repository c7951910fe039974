//! What can be wrong with an adapter.

use std::io;

use super::ModuleShape;
use crate::file_error::FileError;
use crate::safetensors;

/// A problem and the file that has it.
pub type Error = FileError<Problem>;

/// What is wrong with an adapter directory, or with an adapter for a model.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not the JSON that a configuration is.
    #[error("configuration is not valid: {0}")]
    Json(serde_json::Error),
    /// The matrices' file.
    #[error(transparent)]
    Weights(Box<safetensors::Problem>),
    /// Another method than LoRA.
    #[error("`peft_type` is {got}, only \"LORA\" is read")]
    NotLora {
        /// The value as JSON.
        got: String,
    },
    /// A key that every adapter has.
    #[error("`{key}` is {got}, expected {expected}")]
    Key {
        /// The key.
        key: &'static str,
        /// The value as JSON; `null` where the key is missing.
        got: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A part of LoRA that is known and not supported.
    #[error("`{key}` is {got}, which is not supported yet; only {supported} is")]
    NotYet {
        /// The key.
        key: String,
        /// The value as JSON.
        got: String,
        /// The one that is.
        supported: &'static str,
    },
    /// A switched-on key that nobody here knows.
    #[error("unknown key `{key}` is set to {got} and may change what the adapter computes; train without it")]
    UnknownKey {
        /// The key.
        key: String,
        /// The value as JSON.
        got: String,
    },
    /// Nothing that is adapted is named.
    #[error("`target_modules` names no module, and which PEFT takes then goes by a table of its own")]
    NoTargets,
    /// Factors of a module that PEFT would not adapt.
    #[error("`{module}` has factors, and `{key}` leaves it out: PEFT would compute without them")]
    LeftOut {
        /// The module.
        module: String,
        /// The key.
        key: &'static str,
    },
    /// A pattern that is no regular expression here.
    #[error("pattern `{pattern}` of `{key}` is not understood: {reason}")]
    Pattern {
        /// Such as `rank_pattern`.
        key: &'static str,
        /// The pattern.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// A tensor that belongs to no LoRA matrix.
    #[error(
        "tensor `{name}` is no factor, as `base_model.model.<module>.lora_A.weight` and `.lora_B.weight` or, of an \
         embedding, `.lora_embedding_A` and `_B`; whole weights beside them are told from trained ones by the stage \
         `import-adapter`"
    )]
    UnexpectedTensor {
        /// The tensor.
        name: String,
    },
    /// One half of a pair.
    #[error("module `{module}` has no `{missing}`")]
    MissingHalf {
        /// The module.
        module: String,
        /// `lora_A` or `lora_B`, of an embedding `lora_embedding_A` or `_B`.
        missing: &'static str,
    },
    /// Something else than a matrix of numbers, or a vector of them for DoRA's lengths.
    #[error("tensor `{name}` is {got}, expected a matrix of f32, f16 or bf16")]
    NotMatrix {
        /// The tensor.
        name: String,
        /// Its type and shape.
        got: String,
    },
    /// A and B that do not multiply, or not with the configured rank.
    #[error("module `{module}`: A is {a:?} and B is {b:?}, expected [{0}, in] and [out, {0}]", experts.saturating_mul(*rank))]
    Rank {
        /// The module.
        module: String,
        /// Shape of A.
        a: [usize; 2],
        /// Shape of B.
        b: [usize; 2],
        /// The rank that the configuration gives the module.
        rank: usize,
        /// Linears with factors of their own.
        experts: usize,
    },
    /// Lengths of rows where the configuration has none, or none where it has them, or another number of them.
    #[error("module `{module}` has {got} in `lora_magnitude_vector`, expected {expected}")]
    Magnitude {
        /// The module.
        module: String,
        /// How many there are.
        got: usize,
        /// Rows of B with `use_dora`, none without.
        expected: usize,
    },
    /// Adapted parameters, of which only the model knows what they are.
    #[error(
        "`target_parameters` names parameters, and only the model that they are of says which; give it beside the adapter"
    )]
    ParametersNeedModel,
    /// Factors of a parameter that nobody named.
    #[error(
        "`{module}` has factors of a parameter that the model lacks or `target_parameters` does not name: the adapter was \
         trained on another model"
    )]
    UnknownParameter {
        /// What PEFT calls it.
        module: String,
    },
    /// Factors of experts that the configuration does not have as a parameter.
    #[error("`{module}` has factors of {experts} experts, and `target_parameters` does not name it so")]
    NotAParameter {
        /// The module.
        module: String,
        /// How many it has.
        experts: usize,
    },
    /// Factors of an embedding under a linear's names, or the other way round.
    /// Where a table is square, no shape tells.
    #[error("module `{module}` has factors, but no `{expected}`: they were made for another kind of module")]
    Lookup {
        /// The module.
        module: String,
        /// What its kind of module has.
        expected: &'static str,
    },
    /// Factors of an embedding, of which only the model knows that it is one.
    #[error(
        "`{module}` has factors of an embedding, and only the model says whether it is one; give it beside the adapter"
    )]
    LookupNeedsModel {
        /// The module.
        module: String,
    },
    /// Lengths beside factors of an embedding, which PEFT has by column.
    #[error("`{module}` is an embedding with DoRA, which is not supported; merge with PEFT's `merge_and_unload`")]
    LookupDora {
        /// The module.
        module: String,
    },
    /// No matrix at all.
    #[error("holds no module")]
    Empty,
    /// A module that the model does not have.
    #[error("the model has no module `{module}`; {}", similar_modules(similar))]
    UnknownModule {
        /// The module.
        module: String,
        /// Modules of the same last name.
        similar: Vec<String>,
    },
    /// Matrices for a linear of another size.
    #[error("module `{module}` is {got} in the adapter, {expected} in the model: it was trained on another model")]
    ModuleShape {
        /// The module.
        module: String,
        /// Of the adapter.
        got: ModuleShape,
        /// Of the model.
        expected: ModuleShape,
    },
    /// A scale by which nothing is learned, or nothing is a number.
    #[error(
        "`lora_alpha` {alpha} and rank {rank} give module `{module}` the scale {scale}, by which nothing is learned"
    )]
    NoScale {
        /// The module.
        module: String,
        /// The numerator.
        alpha: f64,
        /// The rank.
        rank: usize,
        /// What multiplies `B·A`.
        scale: f32,
    },
    /// Values that are no numbers.
    #[error("module `{module}` has factors that are NaN or infinite: its training diverged, or the file is damaged")]
    NotFinite {
        /// The module.
        module: String,
    },
    /// A scale that the configuration does not give.
    #[error("module `{module}` has scale {got}, the configuration gives {expected}")]
    Scale {
        /// The module.
        module: String,
        /// The module's scale.
        got: f32,
        /// `lora_alpha / r`.
        expected: f32,
    },
}

impl Problem {
    /// A problem of the matrices' file, as one of the adapter.
    pub(super) fn of_weights(safetensors::Error { file, problem }: safetensors::Error) -> Error {
        Error { file, problem: Problem::Weights(Box::new(problem)) }
    }
}

fn similar_modules(similar: &[String]) -> String {
    match similar {
        [] => "no module has such a last name".into(),
        names => format!("it has {}, …", names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")),
    }
}
