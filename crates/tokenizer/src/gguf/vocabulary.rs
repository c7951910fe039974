//! The vocabulary of a GGUF as plain data.

use crate::hf_files::NamedTemplate;
use crate::special_tokens::Role;

/// How a vocabulary cuts text into tokens. Open: more kinds will be supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum VocabularyKind {
    /// Merges over bytes that are written as printable characters (GPT-2, Llama 3, Qwen, SmolLM, Granite).
    ByteLevelBpe,
    /// SentencePiece: pieces with scores and byte fallback (Llama 2, Mistral, Gemma).
    Spm,
    /// SentencePiece's unigram model (T5).
    Unigram,
    /// Something else.
    Other,
}

impl VocabularyKind {
    /// By `tokenizer.ggml.model`.
    pub fn of_gguf(model: &str) -> Self {
        match model {
            "gpt2" => Self::ByteLevelBpe,
            "llama" => Self::Spm,
            "t5" => Self::Unigram,
            _ => Self::Other,
        }
    }

    /// By the structure of a `tokenizer.json`.
    pub fn of_tokenizer_json(tokenizer: &serde_json::Value) -> Self {
        let model = &tokenizer["model"];
        let byte_fallback = model["byte_fallback"].as_bool().unwrap_or(false);
        let mentions = |part: &str, what: &str| {
            let json = &tokenizer[part];
            json["type"] == what
                || ["pretokenizers", "decoders"]
                    .iter()
                    .filter_map(|members| json[members].as_array())
                    .flatten()
                    .any(|member| member["type"] == what)
        };
        // Files from before the field existed hold BPE models, which have merges.
        let kind = model["type"].as_str().unwrap_or(if model["merges"].is_array() { "BPE" } else { "" });
        match kind {
            "BPE" if mentions("decoder", "ByteLevel") || mentions("pre_tokenizer", "ByteLevel") => Self::ByteLevelBpe,
            "BPE" if byte_fallback => Self::Spm,
            "Unigram" => Self::Unigram,
            _ => Self::Other,
        }
    }

    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::ByteLevelBpe => "byte-level BPE",
            Self::Spm => "SPM",
            Self::Unigram => "unigram",
            Self::Other => "unknown",
        }
    }
}

/// `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum TokenType {
    /// A piece of text.
    Normal = 1,
    /// Stands for what the vocabulary lacks.
    Unknown = 2,
    /// Steers the model; never text.
    Control = 3,
    /// Text that is always one token.
    UserDefined = 4,
    /// A row of the embedding without a token.
    Unused = 5,
    /// One byte.
    Byte = 6,
}

impl TokenType {
    /// The stored number's meaning; llama.cpp takes numbers that it does not know for tokens without one.
    pub fn from_stored(stored: i32) -> Option<Self> {
        [Self::Normal, Self::Unknown, Self::Control, Self::UserDefined, Self::Unused, Self::Byte]
            .into_iter()
            .find(|kind| *kind as i32 == stored)
    }
}

/// A vocabulary as the `tokenizer.*` keys of a GGUF hold it. Lists are as long as the vocabulary; ids are positions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufVocabulary {
    /// `tokenizer.ggml.model`: `gpt2` for byte-level BPE.
    pub model: String,
    /// `tokenizer.ggml.pre`: llama.cpp's name of the pre-tokenizer.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`: texts; bytes as printable characters, special tokens as they are.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type`, see [`TokenType`]; empty where the file has none.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.scores`, for kinds that have them.
    pub scores: Option<Vec<f32>>,
    /// `tokenizer.ggml.merges`: `"a b"`, a space inside a piece written `Ġ`.
    pub merges: Vec<String>,
    /// Special token ids in the order in which they are written.
    pub special_ids: Vec<(Role, u32)>,
    /// `add_bos_token` and kin in the order in which they are written.
    pub add_special: Vec<(Role, bool)>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// The usual template under the name `default`, and others.
    pub chat_templates: Vec<NamedTemplate>,
    /// `tokenizer.huggingface.json`: a whole `tokenizer.json`, which then goes before all else.
    pub huggingface_json: Option<String>,
    /// Other `tokenizer.*` keys, kept as they came.
    pub other: Vec<(String, super::VocabValue)>,
}

impl GgufVocabulary {
    /// How this vocabulary cuts text.
    pub fn kind(&self) -> VocabularyKind {
        VocabularyKind::of_gguf(&self.model)
    }

    /// The id of a role.
    pub fn special_id(&self, role: Role) -> Option<u32> {
        self.special_ids.iter().find(|(named, _)| *named == role).map(|(_, id)| *id)
    }

    /// Whether a special token is put round every text.
    pub fn adds(&self, role: Role) -> Option<bool> {
        self.add_special.iter().find(|(named, _)| *named == role).map(|(_, add)| *add)
    }

    /// The type of a token. Without types every token is text, as in llama.cpp.
    pub fn token_type(&self, id: usize) -> Option<TokenType> {
        match self.token_types.get(id) {
            Some(stored) => TokenType::from_stored(*stored),
            None => Some(TokenType::Normal),
        }
    }

    /// The template of the name `default`.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_templates.iter().find(|template| template.name == "default").map(|template| template.source.as_str())
    }
}
