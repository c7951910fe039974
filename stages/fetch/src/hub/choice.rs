//! Which files of a repository are the model: a Hugging Face directory, or one quantization among GGUFs.

use checkpoint::hf_directory::{CONFIG_FILE, SIDE_FILES};
use checkpoint::safetensors::{INDEX_FILE, SINGLE_FILE, ShardIndex};
use tokenizer::hf_files;

use super::HubError;
use super::gguf_name::GgufName;

/// The files that make up a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// A directory: configuration, tokenizer and licence beside safetensors.
    Directory {
        /// Everything but the weights.
        side_files: Vec<String>,
        /// Where the weights are in several files.
        index: Option<ShardIndex>,
        /// Weights in the order of their names.
        weights: Vec<String>,
    },
    /// One GGUF.
    Gguf {
        /// All of its parts in order.
        parts: Vec<String>,
        /// The other quantizations that could have been meant, where none was named.
        unnamed: Option<Vec<String>>,
    },
}

impl Choice {
    /// Every file, in the order in which they are brought: small ones first, so that what is wrong shows early.
    pub fn files(&self) -> Vec<&str> {
        match self {
            Choice::Directory { side_files, index, weights } => {
                let index = index.iter().map(|_| INDEX_FILE);
                side_files.iter().map(String::as_str).chain(index).chain(weights.iter().map(String::as_str)).collect()
            }
            Choice::Gguf { parts, .. } => parts.iter().map(String::as_str).collect(),
        }
    }

    /// The GGUF's name, that of its first part.
    pub fn gguf(&self) -> Option<&str> {
        match self {
            Choice::Directory { .. } => None,
            Choice::Gguf { parts, .. } => parts.first().map(String::as_str),
        }
    }

    /// What is opened: the directory itself, or the first part.
    pub fn entry(&self) -> &str {
        self.gguf().unwrap_or("")
    }
}

/// Chooses among the files of `repository`, called `names`; `read` brings a small one.
pub fn choose(
    repository: &str,
    names: &[&str],
    quantization: Option<&str>,
    read: impl Fn(&str) -> Result<Vec<u8>, HubError>,
) -> Result<Choice, HubError> {
    let has = |name: &str| names.contains(&name);
    if quantization.is_none() && has(CONFIG_FILE) && (has(SINGLE_FILE) || has(INDEX_FILE)) {
        return directory(names, read);
    }
    let ggufs: Vec<GgufName<'_>> = names.iter().filter_map(|name| GgufName::parse(name)).collect();
    gguf(repository, names, &ggufs, quantization)
}

/// `model.safetensors` goes before an index, as for whoever opens the directory.
fn directory(names: &[&str], read: impl Fn(&str) -> Result<Vec<u8>, HubError>) -> Result<Choice, HubError> {
    let (index, weights) = if names.contains(&SINGLE_FILE) {
        (None, vec![SINGLE_FILE.to_owned()])
    } else {
        let index = ShardIndex::parse(&read(INDEX_FILE)?).map_err(|problem| HubError::Index { problem })?;
        let weights = index.shards().into_keys().map(str::to_owned).collect();
        (Some(index), weights)
    };
    let side_files = names.iter().filter(|name| is_side_file(name)).map(|name| (*name).to_owned()).collect();
    Ok(Choice::Directory { side_files, index, weights })
}

/// Not `*.bin`, `*.pth`, `original/`, `onnx/`: other forms of the same weights.
fn is_side_file(name: &str) -> bool {
    let template = |rest: &str| rest.starts_with('/') && rest.ends_with(".jinja");
    name == CONFIG_FILE
        || SIDE_FILES.contains(&name)
        || hf_files::FILES.contains(&name)
        || name.strip_prefix(hf_files::ADDITIONAL_CHAT_TEMPLATES).is_some_and(template)
}

/// What llama.cpp takes where `-hf` names no quantization.
const UNNAMED: [&str; 2] = ["Q4_K_M", "Q8_0"];

fn gguf(
    repository: &str,
    names: &[&str],
    ggufs: &[GgufName<'_>],
    quantization: Option<&str>,
) -> Result<Choice, HubError> {
    let first = |tag: &str| ggufs.iter().find(|gguf| gguf.is_model() && gguf.is_first() && gguf.has_tag(tag));
    let mut known: Vec<String> = ggufs.iter().filter(|gguf| gguf.is_model()).map(GgufName::quantization).collect();
    known.sort();
    known.dedup();
    let found = match quantization {
        Some(tag) => first(tag),
        None => UNNAMED.into_iter().find_map(first).or_else(|| ggufs.iter().find(|g| g.is_model() && g.is_first())),
    };
    let repository = || repository.to_owned();
    match (found, quantization) {
        (Some(found), _) => {
            let parts: Vec<String> = ggufs.iter().filter(|g| g.is_part_of(found)).map(|g| g.path.to_owned()).collect();
            if parts.len() as u64 != found.count {
                let (first, got) = (found.path.to_owned(), parts.len());
                return Err(HubError::Parts { repository: repository(), first, count: found.count, got });
            }
            known.retain(|other| *other != found.quantization());
            Ok(Choice::Gguf { parts, unnamed: quantization.is_none().then_some(known) })
        }
        (None, Some(wanted)) if !known.is_empty() => {
            Err(HubError::NoQuantization { repository: repository(), wanted: wanted.into(), known })
        }
        (None, _) => Err(HubError::NoModel { repository: repository(), found: other_weights(names) }),
    }
}

fn other_weights(names: &[&str]) -> Vec<String> {
    let others = [".bin", ".pt", ".pth", ".safetensors", ".npz", ".h5", ".onnx"];
    let is_other = |name: &&&str| others.iter().any(|ending| name.ends_with(ending));
    names.iter().filter(is_other).map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chosen(names: &[&str], quantization: Option<&str>) -> Result<Choice, HubError> {
        let index =
            br#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
        choose("org/name", names, quantization, |_| Ok(index.to_vec()))
    }

    fn files(names: &[&str], quantization: Option<&str>) -> Vec<String> {
        chosen(names, quantization).unwrap().files().into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_directory_is_what_its_index_names_and_what_belongs_to_it() {
        let names = [
            ".gitattributes",
            "LICENSE",
            "README.md",
            "additional_chat_templates/tools.jinja",
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "onnx/model.onnx",
            "original/consolidated.00.pth",
            "pytorch_model.bin",
            "tokenizer.json",
        ];
        let expected = [
            "LICENSE",
            "additional_chat_templates/tools.jinja",
            "config.json",
            "tokenizer.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        assert_eq!(files(&names, None), expected);
        let single = ["config.json", "model-Q4_K_M.gguf", "model.safetensors"];
        assert_eq!(files(&single, None), ["config.json", "model.safetensors"]);
        assert_eq!(files(&single, Some("q4_k_m")), ["model-Q4_K_M.gguf"]);
    }

    #[test]
    fn a_quantization_is_found_as_llama_cpp_finds_it() {
        let names = [
            "Q8_0/m-Q8_0-00001-of-00002.gguf",
            "Q8_0/m-Q8_0-00002-of-00002.gguf",
            "imatrix_unsloth.gguf",
            "m-Q4_K_M.gguf",
            "m-UD-Q4_K_XL.gguf",
            "mmproj-F16.gguf",
        ];
        assert_eq!(files(&names, Some("q4_k_m")), ["m-Q4_K_M.gguf"]);
        assert_eq!(files(&names, Some("Q8_0")), names[..2]);
        assert_eq!(files(&names, Some("UD-Q4_K_XL")), ["m-UD-Q4_K_XL.gguf"]);
        let Choice::Gguf { parts, unnamed } = chosen(&names, None).unwrap() else { panic!("no GGUF") };
        assert_eq!(parts, ["m-Q4_K_M.gguf"]);
        assert_eq!(unnamed.unwrap(), ["Q4_K_XL", "Q8_0"]);
        let error = chosen(&names, Some("F16")).unwrap_err().to_string();
        assert!(error.ends_with("no quantization `F16`; there are `Q4_K_M`, `Q4_K_XL`, `Q8_0`"), "{error}");
    }

    #[test]
    fn what_is_no_model_says_what_is_there() {
        let error = chosen(&["config.json", "pytorch_model.bin"], None).unwrap_err().to_string();
        assert!(error.ends_with("; it holds `pytorch_model.bin`, which are not read"), "{error}");
        let error = chosen(&["m-Q8_0-00001-of-00002.gguf"], Some("Q8_0")).unwrap_err();
        assert!(matches!(error, HubError::Parts { count: 2, got: 1, .. }), "{error}");
    }
}
