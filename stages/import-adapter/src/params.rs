//! Parameters of `import-adapter`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// Parameters of `import-adapter`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Where the adapter is: `path:` and a directory, or a `.safetensors` or `.gguf` file, relative to the pipeline file.
    pub source: String,
    /// What multiplies `B·A` of an mlx-lm adapter whose configuration does not say it, or says two things.
    pub scale: Option<f32>,
    /// SHA-256 of the adapter's files by what each is for, `config` and `weights`; planning fills it in, and no other files
    /// are taken.
    pub sha256: Option<BTreeMap<String, String>>,
}
