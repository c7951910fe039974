//! `tokenizer.*` key-values: in the order and with the types that llama.cpp's converter writes.

use super::GgufVocabulary;
use crate::hf_files::NamedTemplate;
use crate::special_tokens::Role;

/// A GGUF value of the types that vocabularies use. A container's own value type maps onto it one to one.
#[derive(Debug, Clone, PartialEq)]
pub enum VocabValue {
    /// `uint32`
    U32(u32),
    /// `int32`
    I32(i32),
    /// `bool`
    Bool(bool),
    /// `string`
    String(String),
    /// `array` of `string`
    StringArray(Vec<String>),
    /// `array` of `int32`
    I32Array(Vec<i32>),
    /// `array` of `uint32`
    U32Array(Vec<u32>),
    /// `array` of `float32`
    F32Array(Vec<f32>),
    /// `array` of `uint8` or `int8`, by bytes
    U8Array(Vec<u8>),
}

impl VocabValue {
    /// The GGUF type's name, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U32(_) => "uint32",
            Self::I32(_) => "int32",
            Self::Bool(_) => "bool",
            Self::String(_) => "string",
            Self::StringArray(_) => "array of string",
            Self::I32Array(_) => "array of int32",
            Self::U32Array(_) => "array of uint32",
            Self::F32Array(_) => "array of float32",
            Self::U8Array(_) => "array of uint8",
        }
    }
}

/// Why key-values are no vocabulary.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyValueError {
    /// Without this key there is no vocabulary.
    #[error("`{key}` is missing (hint: this GGUF holds no vocabulary; take one that does)")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A key of another type than llama.cpp reads.
    #[error("`{key}` has type {got}, expected {expected}")]
    Type {
        /// The key.
        key: String,
        /// Type in the file.
        got: &'static str,
        /// Type that is read.
        expected: &'static str,
    },
    /// A list that does not go with the tokens.
    #[error("`{key}` has {got} entries, expected one for each of {expected} tokens")]
    Length {
        /// The key.
        key: &'static str,
        /// Entries in the file.
        got: usize,
        /// Tokens in the file.
        expected: usize,
    },
    /// A special token id outside the vocabulary.
    #[error("`{key}` is {id}, but there are {tokens} tokens")]
    OutOfRange {
        /// The key.
        key: String,
        /// The id.
        id: u32,
        /// Tokens in the file.
        tokens: usize,
    },
}

/// All vocabulary keys begin with this.
pub const PREFIX: &str = "tokenizer.";

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const HUGGINGFACE_JSON: &str = "tokenizer.huggingface.json";
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
const CHAT_TEMPLATES: &str = "tokenizer.chat_templates";

/// Keys of special token ids. GGUF spells some roles out, and one of them wrong.
const ID_KEYS: [(Role, &str); 8] = [
    (Role::Bos, "tokenizer.ggml.bos_token_id"),
    (Role::Eos, "tokenizer.ggml.eos_token_id"),
    (Role::Unk, "tokenizer.ggml.unknown_token_id"),
    (Role::Sep, "tokenizer.ggml.seperator_token_id"),
    (Role::Pad, "tokenizer.ggml.padding_token_id"),
    (Role::Mask, "tokenizer.ggml.mask_token_id"),
    (Role::Eot, "tokenizer.ggml.eot_token_id"),
    (Role::Eom, "tokenizer.ggml.eom_token_id"),
];

/// Keys that say which special tokens are put round a text.
const ADD_KEYS: [(Role, &str); 3] = [
    (Role::Bos, "tokenizer.ggml.add_bos_token"),
    (Role::Eos, "tokenizer.ggml.add_eos_token"),
    (Role::Sep, "tokenizer.ggml.add_sep_token"),
];

fn key_of(keys: &[(Role, &'static str)], role: Role) -> Option<&'static str> {
    keys.iter().find(|(named, _)| *named == role).map(|(_, key)| *key)
}

fn role_of(keys: &[(Role, &'static str)], key: &str) -> Option<Role> {
    keys.iter().find(|(_, named)| *named == key).map(|(role, _)| *role)
}

impl GgufVocabulary {
    /// The key-values in the order in which llama.cpp's converter writes them. (It puts an `add_bos_token` that it
    /// adds for the vocabulary's size alone, and Gemma's `add_space_prefix`, after the chat template; here each has one
    /// place.)
    pub fn to_key_values(&self) -> Vec<(String, VocabValue)> {
        let mut out: Vec<(String, VocabValue)> = Vec::new();
        let mut put = |key: &str, value: VocabValue| out.push((key.to_owned(), value));
        if let Some(add) = self.add_space_prefix {
            put(ADD_SPACE_PREFIX, VocabValue::Bool(add));
        }
        put(MODEL, VocabValue::String(self.model.clone()));
        if let Some(pre) = &self.pre {
            put(PRE, VocabValue::String(pre.clone()));
        }
        put(TOKENS, VocabValue::StringArray(self.tokens.clone()));
        if let Some(scores) = &self.scores {
            put(SCORES, VocabValue::F32Array(scores.clone()));
        }
        if !self.token_types.is_empty() {
            put(TOKEN_TYPE, VocabValue::I32Array(self.token_types.clone()));
        }
        if !self.merges.is_empty() {
            put(MERGES, VocabValue::StringArray(self.merges.clone()));
        }
        for (role, id) in &self.special_ids {
            if let Some(key) = key_of(&ID_KEYS, *role) {
                put(key, VocabValue::U32(*id));
            }
        }
        for (role, add) in &self.add_special {
            if let Some(key) = key_of(&ADD_KEYS, *role) {
                put(key, VocabValue::Bool(*add));
            }
        }
        self.put_templates(&mut put);
        if let Some(json) = &self.huggingface_json {
            put(HUGGINGFACE_JSON, VocabValue::String(json.clone()));
        }
        out.extend(self.other.iter().cloned());
        out
    }

    fn put_templates(&self, put: &mut impl FnMut(&str, VocabValue)) {
        let mut names = Vec::new();
        for template in self.chat_templates.iter().filter(|template| template.name != "default") {
            put(&format!("{CHAT_TEMPLATE}.{}", template.name), VocabValue::String(template.source.clone()));
            names.push(template.name.clone());
        }
        if !names.is_empty() {
            put(CHAT_TEMPLATES, VocabValue::StringArray(names));
        }
        if let Some(source) = self.chat_template() {
            put(CHAT_TEMPLATE, VocabValue::String(source.to_owned()));
        }
    }

    /// Reads the `tokenizer.*` key-values of a GGUF; keys of other prefixes are passed over.
    ///
    /// # Errors
    /// A missing list of tokens, a wrong type, lists of different lengths, an id out of range.
    pub fn from_key_values(key_values: impl IntoIterator<Item = (String, VocabValue)>) -> Result<Self, KeyValueError> {
        let mut vocabulary = Self::default();
        for (key, value) in key_values {
            if key.starts_with(PREFIX) {
                vocabulary.read(key, value)?;
            }
        }
        vocabulary.check()?;
        Ok(vocabulary)
    }

    fn read(&mut self, key: String, value: VocabValue) -> Result<(), KeyValueError> {
        if let Some(role) = role_of(&ID_KEYS, &key) {
            self.special_ids.push((role, id(&key, value)?));
            return Ok(());
        }
        if let Some(role) = role_of(&ADD_KEYS, &key) {
            self.add_special.push((role, flag(&key, value)?));
            return Ok(());
        }
        match key.as_str() {
            MODEL => self.model = text(&key, value)?,
            PRE => self.pre = Some(text(&key, value)?),
            TOKENS => self.tokens = texts(&key, value)?,
            MERGES => self.merges = texts(&key, value)?,
            ADD_SPACE_PREFIX => self.add_space_prefix = Some(flag(&key, value)?),
            HUGGINGFACE_JSON => self.huggingface_json = Some(text(&key, value)?),
            TOKEN_TYPE => self.token_types = types(&key, value)?,
            SCORES => self.scores = Some(scores(&key, value)?),
            CHAT_TEMPLATE => {
                self.chat_templates.push(NamedTemplate { name: "default".into(), source: text(&key, value)? });
            }
            // The list only repeats the names of the keys.
            CHAT_TEMPLATES => drop(texts(&key, value)?),
            _ => match key.strip_prefix(CHAT_TEMPLATE).and_then(|rest| rest.strip_prefix('.')) {
                Some(name) => {
                    let name = name.to_owned();
                    self.chat_templates.push(NamedTemplate { name, source: text(&key, value)? });
                }
                None => self.other.push((key, value)),
            },
        }
        Ok(())
    }

    fn check(&self) -> Result<(), KeyValueError> {
        let missing = |key| Err(KeyValueError::Missing { key });
        if self.model.is_empty() {
            return missing(MODEL);
        }
        if self.tokens.is_empty() {
            return missing(TOKENS);
        }
        let expected = self.tokens.len();
        let lists = [
            (TOKEN_TYPE, self.token_types.len(), self.token_types.is_empty()),
            (SCORES, self.scores.as_ref().map_or(0, Vec::len), self.scores.is_none()),
        ];
        for (key, got, absent) in lists {
            if !absent && got != expected {
                return Err(KeyValueError::Length { key, got, expected });
            }
        }
        for (role, id) in &self.special_ids {
            if *id as usize >= expected {
                let key = key_of(&ID_KEYS, *role).unwrap_or_default().into();
                return Err(KeyValueError::OutOfRange { key, id: *id, tokens: expected });
            }
        }
        Ok(())
    }
}

fn wrong(key: &str, got: &VocabValue, expected: &'static str) -> KeyValueError {
    KeyValueError::Type { key: key.into(), got: got.type_name(), expected }
}

fn text(key: &str, value: VocabValue) -> Result<String, KeyValueError> {
    match value {
        VocabValue::String(text) => Ok(text),
        other => Err(wrong(key, &other, "string")),
    }
}

fn texts(key: &str, value: VocabValue) -> Result<Vec<String>, KeyValueError> {
    match value {
        VocabValue::StringArray(texts) => Ok(texts),
        other => Err(wrong(key, &other, "array of string")),
    }
}

fn flag(key: &str, value: VocabValue) -> Result<bool, KeyValueError> {
    match value {
        VocabValue::Bool(flag) => Ok(flag),
        other => Err(wrong(key, &other, "bool")),
    }
}

fn id(key: &str, value: VocabValue) -> Result<u32, KeyValueError> {
    match value {
        VocabValue::U32(id) => Ok(id),
        VocabValue::I32(id) => u32::try_from(id).map_err(|_| wrong(key, &VocabValue::I32(id), "uint32")),
        other => Err(wrong(key, &other, "uint32")),
    }
}

fn types(key: &str, value: VocabValue) -> Result<Vec<i32>, KeyValueError> {
    match value {
        VocabValue::I32Array(types) => Ok(types),
        other => Err(wrong(key, &other, "array of int32")),
    }
}

fn scores(key: &str, value: VocabValue) -> Result<Vec<f32>, KeyValueError> {
    match value {
        VocabValue::F32Array(scores) => Ok(scores),
        // llama.cpp takes whole numbers too.
        VocabValue::I32Array(scores) => Ok(scores.into_iter().map(|score| score as f32).collect()),
        other => Err(wrong(key, &other, "array of float32")),
    }
}
