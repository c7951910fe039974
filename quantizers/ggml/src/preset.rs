//! The presets and llama.cpp's numbers for them.

use model::StoredType;
use model_api::QuantizerError;

/// A type for the matrices of a model, and the file type that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Preset {
    /// What matrices become, and by its name the preset's.
    pub stored_type: StoredType,
    /// `general.file_type`: `enum llama_ftype` in `llama.h`.
    pub file_type: u32,
}

const PRESETS: [Preset; 6] = [
    Preset { stored_type: StoredType::F32, file_type: 0 },
    Preset { stored_type: StoredType::F16, file_type: 1 },
    Preset { stored_type: StoredType::Bf16, file_type: 32 },
    Preset { stored_type: StoredType::Q8_0, file_type: 7 },
    Preset { stored_type: StoredType::Q4_0, file_type: 2 },
    Preset { stored_type: StoredType::Q4_1, file_type: 3 },
];

/// The names that a pipeline may write.
pub(crate) fn names() -> Vec<String> {
    PRESETS.iter().map(|preset| preset.stored_type.name().to_owned()).collect()
}

/// The preset of that name.
pub(crate) fn named(name: &str) -> Result<Preset, QuantizerError> {
    let preset = PRESETS.into_iter().find(|preset| preset.stored_type.name() == name);
    preset.ok_or_else(|| QuantizerError::UnknownPreset { preset: name.to_owned(), known: names() })
}
