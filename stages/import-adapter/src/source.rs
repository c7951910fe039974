//! Which files an adapter is, told by what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::adapter::{CONFIG_FILE, WEIGHTS_FILE};
use checkpoint::gguf::MAGIC;
use checkpoint::read_small_file;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use stage_api::{Error, Result};

use crate::error::ImportError;

/// The matrices' file name of mlx-lm.
pub const MLX_WEIGHTS_FILE: &str = "adapters.safetensors";
/// PEFT's older file, a program rather than data.
const PICKLE_FILE: &str = "adapter_model.bin";

/// An adapter's files.
#[derive(Debug)]
pub enum Files {
    /// `adapter_config.json` of PEFT, and the matrices.
    Peft { config: PathBuf, weights: PathBuf },
    /// `adapter_config.json` of mlx-lm, and the matrices.
    Mlx { config: PathBuf, weights: PathBuf },
    /// A GGUF LoRA.
    Gguf(PathBuf),
}

/// Finds the files of `source`; relative paths start from `base_dir`.
pub fn locate(source: &str, base_dir: &Path) -> Result<Files, ImportError> {
    let unknown = || ImportError::UnknownScheme { given: source.to_owned() };
    let path = base_dir.join(source.strip_prefix("path:").ok_or_else(unknown)?);
    match fs::metadata(&path) {
        Err(_) => Err(ImportError::NotFound { path }),
        Ok(metadata) if metadata.is_dir() => in_directory(&path),
        Ok(_) if is_gguf(&path)? => Ok(Files::Gguf(path)),
        Ok(_) => match path.extension() {
            Some(extension) if extension == "safetensors" => {
                let directory = path.parent().unwrap_or(Path::new(""));
                with_config(directory.join(CONFIG_FILE), Some(path.clone()))
            }
            _ => Err(ImportError::NoAdapter { path, has: "neither a GGUF nor a `.safetensors` file".into() }),
        },
    }
}

fn in_directory(directory: &Path) -> Result<Files, ImportError> {
    let config = directory.join(CONFIG_FILE);
    if config.exists() {
        return with_config(config, None);
    }
    let names = names_in(directory)?;
    let ggufs: Vec<&String> = names.iter().filter(|name| name.ends_with(".gguf")).collect();
    match ggufs[..] {
        [only] => Ok(Files::Gguf(directory.join(only))),
        _ => Err(ImportError::NoAdapter { path: directory.to_owned(), has: listed(&names) }),
    }
}

/// PEFT or mlx-lm, as the configuration has it; `weights` where a file was named.
fn with_config(config: PathBuf, weights: Option<PathBuf>) -> Result<Files, ImportError> {
    let keys = read_keys(&config)?;
    let directory = config.parent().unwrap_or(Path::new("")).to_owned();
    let file = |name: &str| match &weights {
        Some(named) => Ok(named.clone()),
        None if directory.join(name).exists() => Ok(directory.join(name)),
        None if directory.join(PICKLE_FILE).exists() => {
            Err(ImportError::Pickle { path: directory.join(PICKLE_FILE), expected: name.to_owned() })
        }
        None => Err(ImportError::NoWeights { directory: directory.clone(), expected: name.to_owned() }),
    };
    if keys.contains_key("peft_type") {
        return Ok(Files::Peft { weights: file(WEIGHTS_FILE)?, config });
    }
    if ["fine_tune_type", "lora_parameters", "lora_layers"].iter().any(|key| keys.contains_key(*key)) {
        return Ok(Files::Mlx { weights: file(MLX_WEIGHTS_FILE)?, config });
    }
    Err(ImportError::UnknownConfig { path: config, keys: keys.keys().take(8).cloned().collect() })
}

/// The bytes of an `adapter_config.json`.
pub fn read_config(path: &Path) -> Result<Vec<u8>, ImportError> {
    read_small_file(path).map_err(|source| ImportError::Io { path: path.to_owned(), source })
}

/// Its keys.
pub fn read_keys(path: &Path) -> Result<Map<String, Value>, ImportError> {
    let json = read_config(path)?;
    serde_json::from_slice(&json).map_err(|source| ImportError::Json { path: path.to_owned(), source })
}

fn is_gguf(path: &Path) -> Result<bool, ImportError> {
    let io = |source| ImportError::Io { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(ImportError::NoFile { path: path.to_owned() });
    }
    let mut file = fs::File::open(path).map_err(io)?;
    let mut magic = [0; 4];
    Ok(std::io::Read::read(&mut file, &mut magic).map_err(io)? == 4 && magic == MAGIC)
}

fn names_in(directory: &Path) -> Result<Vec<String>, ImportError> {
    let io = |source| ImportError::Io { path: directory.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn listed(names: &[String]) -> String {
    let some: Vec<String> = names.iter().take(6).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "nothing".into(),
        count if count > some.len() => format!("{}, …", some.join(", ")),
        _ => some.join(", "),
    }
}

impl Files {
    /// Digests of the contents, by what each file is for: wherever the adapter lies, it is the same one.
    pub fn digests(&self) -> Result<BTreeMap<String, String>> {
        let files: &[(&str, &PathBuf)] = match self {
            Files::Peft { config, weights } | Files::Mlx { config, weights } => {
                &[("config", config), ("weights", weights)]
            }
            Files::Gguf(weights) => &[("weights", weights)],
        };
        files.iter().map(|(name, path)| Ok(((*name).to_owned(), digest(path)?))).collect()
    }
}

/// Holds files against the digests that were planned with.
pub fn hold(got: &BTreeMap<String, String>, expected: Option<&BTreeMap<String, String>>) -> Result<(), ImportError> {
    match expected {
        Some(expected) if expected != got => {
            Err(ImportError::Changed { got: format!("{got:?}"), expected: format!("{expected:?}") })
        }
        _ => Ok(()),
    }
}

fn digest(path: &Path) -> Result<String> {
    let io = |e: std::io::Error| Error::from_source("io", &e).with_cause(path.display().to_string());
    let mut hash = Sha256::new();
    std::io::copy(&mut fs::File::open(path).map_err(io)?, &mut hash).map_err(io)?;
    Ok(format!("sha256:{:x}", hash.finalize()))
}
