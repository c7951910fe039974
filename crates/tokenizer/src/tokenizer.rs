//! A loaded tokenizer: text to ids and back, and everything that goes with it.
//!
//! Encoding is done by Hugging Face's own `tokenizers` crate, of the release line that transformers ships, with
//! Oniguruma as its regular expressions (feature `onig`): that is what transformers' wheels are built with, so the
//! ids are the same by construction. The pure-Rust alternative has another idea of some Unicode classes.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Encoding as HfEncoding, PostProcessor, PostProcessorWrapper};

use crate::chat_template::{ChatTemplate, ChatTemplateError, ollama_template};
use crate::eog;
use crate::finding::Finding;
use crate::gguf::{self, FromHfError, GgufOptions, GgufVocabulary, RebuildError, RebuildOptions, VocabularyKind};
use crate::hf_files::{HfFiles, HfFilesError};
use crate::post_processor::{self, TemplateError};
use crate::pre_tokenizer::PreTokenizer;
use crate::runtime_difference::{self, Pieces};
use crate::special_tokens::{Role, SpecialTokens};
use crate::summary::TokenizerSummary;

/// Why there is no tokenizer, or no ids.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The files.
    #[error(transparent)]
    Files(#[from] HfFilesError),
    /// The GGUF's vocabulary.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The tokenizers crate refuses `tokenizer.json`.
    #[error("`tokenizer.json` cannot be loaded: {message}")]
    Engine {
        /// Its message.
        message: String,
    },
    /// A post-processor that no text can be put through.
    #[error("`tokenizer.json` cannot be used: {0}")]
    PostProcessor(#[from] TemplateError),
    /// The rebuilt tokenizer has another id for a token than the GGUF.
    #[error("the rebuilt tokenizer has {got:?} at id {id}, the GGUF `{expected}`")]
    Renumbered {
        /// The id.
        id: u32,
        /// The rebuilt token.
        got: Option<String>,
        /// The GGUF's.
        expected: String,
    },
    /// A text could not be encoded.
    #[error("text of {bytes} bytes cannot be encoded: {message}")]
    Encode {
        /// The text's length.
        bytes: usize,
        /// The tokenizers crate's message.
        message: String,
    },
    /// Ids could not be decoded.
    #[error("{ids} ids cannot be decoded: {message}")]
    Decode {
        /// How many.
        ids: usize,
        /// The tokenizers crate's message.
        message: String,
    },
    /// The chat template.
    #[error(transparent)]
    ChatTemplate(#[from] ChatTemplateError),
}

/// Token ids of a text, and which bytes of it each came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Bytes of the text, one range an id, white space included. Tokens that share a character share its range; a
    /// token that was added round the text has an empty one.
    pub offsets: Vec<Range<usize>>,
    /// Whether a token was added round the text (BOS, EOS).
    pub added: Vec<bool>,
}

/// A tokenizer with its special tokens and chat templates.
#[derive(Clone)]
pub struct Tokenizer {
    files: HfFiles,
    engine: tokenizers::Tokenizer,
    /// Kept apart from the engine, because a byte-level post-processor cuts white space off the offsets.
    post_processor: Option<PostProcessorWrapper>,
    special_tokens: SpecialTokens,
    chat_template: Option<ChatTemplate>,
    end_tokens: EndTokens,
}

/// Ids at which generation stops, ascending.
#[derive(Debug, Clone, Default)]
struct EndTokens {
    /// Of a turn or a text.
    turn: Vec<u32>,
    /// Those, and the separators of fill-in-the-middle prompts, at which llama.cpp stops as well.
    generation: Vec<u32>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("summary", &self.summary()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Loads the tokenizer of a Hugging Face directory.
    ///
    /// # Errors
    /// Missing or broken files, a chat template that does not compile.
    pub fn from_directory(directory: &Path) -> Result<Self, TokenizerError> {
        Self::from_files(HfFiles::read(directory)?)
    }

    /// Loads a tokenizer from files in memory.
    ///
    /// # Errors
    /// A `tokenizer.json` that the tokenizers crate refuses, a chat template that does not compile.
    pub fn from_files(files: HfFiles) -> Result<Self, TokenizerError> {
        let mut engine = unpanicked(|| tokenizers::Tokenizer::from_bytes(files.tokenizer_bytes()))
            .map_err(|message| TokenizerError::Engine { message })?;
        let post_processor = engine.get_post_processor().cloned();
        let spelled = serde_json::to_value(&post_processor)
            .map_err(|error| TokenizerError::Engine { message: error.to_string() })?;
        post_processor::check(&spelled)?;
        engine.with_post_processor(None::<PostProcessorWrapper>);
        // A file may carry the batch options of whoever saved it; they would cut or fill every text.
        engine.with_padding(None);
        engine.with_truncation(None).map_err(|error| TokenizerError::Engine { message: error.to_string() })?;
        let special_tokens = files.special_tokens();
        let templates = files.chat_templates()?;
        let default = templates.iter().find(|template| template.name == "default");
        let chat_template = default
            .map(|template| ChatTemplate::new(&template.source, special_tokens.template_variables()))
            .transpose()?;
        let mut tokenizer =
            Self { files, engine, post_processor, special_tokens, chat_template, end_tokens: EndTokens::default() };
        tokenizer.end_tokens = tokenizer.find_end_tokens();
        Ok(tokenizer)
    }

    /// Loads the tokenizer that a GGUF's vocabulary describes; ids are llama.cpp's.
    ///
    /// # Errors
    /// A vocabulary that is not supported or not consistent.
    pub fn from_gguf(
        vocabulary: &GgufVocabulary,
        options: &RebuildOptions<'_>,
    ) -> Result<(Self, Vec<Finding>), TokenizerError> {
        let rebuilt = gguf::rebuild(vocabulary, options)?;
        let tokenizer = Self::from_files(rebuilt.files)?;
        for (id, expected) in (0..).zip(rebuilt.texts) {
            let unused = vocabulary.token_type(id as usize) == Some(gguf::TokenType::Unused);
            let got = tokenizer.engine.id_to_token(id);
            if !unused && got.as_ref() != Some(&expected) {
                return Err(TokenizerError::Renumbered { id, got, expected });
            }
        }
        Ok((tokenizer, rebuilt.findings))
    }

    /// The vocabulary as a GGUF stores it.
    ///
    /// # Errors
    /// [`FromHfError`].
    pub fn to_gguf(&self, options: &GgufOptions<'_>) -> Result<(GgufVocabulary, Vec<Finding>), FromHfError> {
        GgufVocabulary::from_hf(&self.files, options)
    }

    /// On which texts llama.cpp gives other ids for the GGUF of this tokenizer, by known classes.
    pub fn differences_from_llama_cpp(&self) -> Vec<Finding> {
        let added = self.engine.get_added_tokens_decoder();
        let plain = self.end_tokens.turn.iter().copied().filter(|id| !added.contains_key(id));
        let plain = plain.filter_map(|id| Some((id, self.id_to_token(id)?))).collect();
        let alphabet = ByteLevel::alphabet().into_iter();
        let missing_bytes = alphabet.filter(|byte| self.token_to_id(byte.encode_utf8(&mut [0; 4])).is_none()).count();
        runtime_difference::differences(self.files.tokenizer(), self.kind(), Pieces { plain, missing_bytes })
    }

    /// The files behind it.
    pub fn files(&self) -> &HfFiles {
        &self.files
    }

    /// Writes the tokenizer's files into a Hugging Face directory: as they came, or as they were rebuilt.
    ///
    /// # Errors
    /// [`HfFilesError::Io`].
    pub fn write(&self, directory: &Path) -> Result<(), HfFilesError> {
        self.files.write(directory)
    }

    /// Encodes a text. `add_special_tokens` puts BOS and EOS round it where the tokenizer does so.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Encoding, TokenizerError> {
        let failed = |message: String| TokenizerError::Encode { bytes: text.len(), message };
        let plain = unpanicked(|| self.engine.encode(text, false)).map_err(failed)?;
        let mut encoding = Encoding {
            ids: plain.get_ids().to_vec(),
            offsets: plain.get_offsets().iter().map(|(start, end)| *start..*end).collect(),
            added: vec![false; plain.len()],
        };
        if add_special_tokens {
            let (before, after) = unpanicked(|| self.added_tokens(plain)).map_err(failed)?;
            let end = text.len();
            encoding.offsets.splice(0..0, before.iter().map(|_| 0..0));
            encoding.offsets.extend(after.iter().map(|_| end..end));
            encoding.added.splice(0..0, before.iter().map(|_| true));
            encoding.added.extend(after.iter().map(|_| true));
            encoding.ids.splice(0..0, before);
            encoding.ids.extend(after);
        }
        Ok(encoding)
    }

    /// What the post-processor puts before and after a text.
    fn added_tokens(&self, plain: HfEncoding) -> tokenizers::Result<(Vec<u32>, Vec<u32>)> {
        let Some(post_processor) = &self.post_processor else { return Ok((Vec::new(), Vec::new())) };
        let length = plain.len();
        let whole = post_processor.process(plain, None, true)?;
        let is_special = whole.get_special_tokens_mask();
        let before = is_special.iter().take_while(|special| **special == 1).count().min(whole.len() - length);
        let ids = whole.get_ids();
        Ok((ids[..before].to_vec(), ids[before + length..].to_vec()))
    }

    /// Token ids back to text.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`].
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        unpanicked(|| self.engine.decode(ids, skip_special_tokens))
            .map_err(|message| TokenizerError::Decode { ids: ids.len(), message })
    }

    /// The id of a token's text as the vocabulary spells it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.engine.token_to_id(token)
    }

    /// The text of an id as the vocabulary spells it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.engine.id_to_token(id)
    }

    /// Highest token id plus one.
    pub fn vocab_size(&self) -> u64 {
        let ids = self.engine.get_vocab(true).into_values();
        ids.max().map_or(0, |id| u64::from(id) + 1)
    }

    /// How the tokenizer cuts text.
    pub fn kind(&self) -> VocabularyKind {
        VocabularyKind::of_tokenizer_json(self.files.tokenizer())
    }

    /// Special tokens by role, as text.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special_tokens
    }

    /// The id of a role's token.
    pub fn special_id(&self, role: Role) -> Option<u32> {
        self.token_to_id(self.special_tokens.get(role)?)
    }

    /// The usual chat template, compiled.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// Every id at which llama.cpp stops generating, ascending.
    pub fn end_of_generation_ids(&self) -> &[u32] {
        &self.end_tokens.generation
    }

    /// Whether this id ends a turn or a text: a model has to learn to say it.
    pub fn is_end_of_turn(&self, id: u32) -> bool {
        self.end_tokens.turn.binary_search(&id).is_ok()
    }

    fn find_end_tokens(&self) -> EndTokens {
        let vocab = self.engine.get_vocab(true);
        let stored: Vec<u32> = self.special_id(Role::Eos).into_iter().chain(stored_end_ids(&self.files)).collect();
        let tokens = vocab.iter().map(|(text, id)| (*id, text.as_str()));
        let generation = eog::end_of_generation_ids(tokens, stored.iter().copied());
        let ends_turn =
            |id: &u32| stored.contains(id) || self.id_to_token(*id).is_some_and(|text| eog::is_end_text(&text));
        EndTokens { turn: generation.iter().copied().filter(ends_turn).collect(), generation }
    }

    /// The tokenizer in a few facts.
    pub fn summary(&self) -> TokenizerSummary {
        let clean_spaces = self.files.tokenizer_config()["clean_up_tokenization_spaces"].as_bool().unwrap_or(true);
        let around = self.encode("a", true).unwrap_or_default();
        TokenizerSummary {
            kind: self.kind(),
            pre: PreTokenizer::recognise(self.files.tokenizer(), clean_spaces).ok().map(|pre| pre.name.to_owned()),
            vocab_size: self.vocab_size(),
            bos: self.special_id(Role::Bos),
            eos: self.special_id(Role::Eos),
            pad: self.special_id(Role::Pad),
            unk: self.special_id(Role::Unk),
            eog: self.end_tokens.generation.clone(),
            add_bos: around.added.first() == Some(&true),
            add_eos: around.added.last() == Some(&true),
            chat_templates: self.files.chat_templates().unwrap_or_default().into_iter().map(|t| t.name).collect(),
            ollama_template: self.chat_template().and_then(ollama_template).is_some(),
            sha256: digest(&self.files),
        }
    }
}

/// Runs the tokenizers crate, which trusts what it has loaded and panics where that contradicts itself.
fn unpanicked<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    // Nothing that was being written is used after a panic: the error ends what was asked for.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("its parts contradict one another, on which the tokenizers crate panicked".into()),
    }
}

/// End tokens that the model's own files name by id: one or a list.
fn stored_end_ids(files: &HfFiles) -> impl Iterator<Item = u32> {
    let listed = |config: &Value| match &config["eos_token_id"] {
        Value::Array(ids) => ids.clone(),
        one => vec![one.clone()],
    };
    let ids = listed(files.generation_config()).into_iter().chain(listed(files.model_config()));
    ids.filter_map(|id| u32::try_from(id.as_u64()?).ok())
}

/// Over names and contents, each with its length before it.
fn digest(files: &HfFiles) -> String {
    let mut sha256 = Sha256::new();
    for (name, bytes) in files.files() {
        for part in [name.as_bytes(), bytes] {
            sha256.update((part.len() as u64).to_le_bytes());
            sha256.update(part);
        }
    }
    sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
