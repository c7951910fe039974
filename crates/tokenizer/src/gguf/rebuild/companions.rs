//! What lies beside `tokenizer.json`: tokens by role, templates, where generation stops.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::RebuildOptions;
use crate::eog::is_end_text;
use crate::gguf::{GgufVocabulary, TokenType};
use crate::special_tokens::Role;

/// `bos_token` and kin, for the roles that transformers knows.
pub(super) fn role_texts(vocabulary: &GgufVocabulary, tokens: &[String]) -> Map<String, Value> {
    let mut texts = Map::new();
    for role in Role::NAMED {
        if let Some(text) = vocabulary.special_id(role).and_then(|id| tokens.get(id as usize)) {
            texts.insert(format!("{}_token", role.name()), text.as_str().into());
        }
    }
    texts
}

pub(super) fn tokenizer_config(
    vocabulary: &GgufVocabulary,
    tokens: &[String],
    options: &RebuildOptions<'_>,
    clean_spaces: bool,
    add_bos: bool,
) -> Value {
    let mut config = Map::new();
    let bos = vocabulary.adds(Role::Bos).or(add_bos.then_some(true));
    let rest = [Role::Eos, Role::Sep].map(|role| (role, vocabulary.adds(role)));
    for (role, add) in [(Role::Bos, bos)].into_iter().chain(rest) {
        if let Some(add) = add {
            config.insert(format!("add_{}_token", role.name()), add.into());
        }
    }
    if let Some(add) = vocabulary.add_space_prefix {
        config.insert("add_prefix_space".into(), add.into());
    }
    config.extend(role_texts(vocabulary, tokens));
    let templates = &vocabulary.chat_templates;
    match (templates.as_slice(), vocabulary.chat_template()) {
        ([], _) => {}
        ([_], Some(source)) => drop(config.insert("chat_template".into(), source.into())),
        (named, _) => {
            let named: Vec<Value> = named.iter().map(|t| json!({"name": t.name, "template": t.source})).collect();
            config.insert("chat_template".into(), named.into());
        }
    }
    config.insert("clean_up_tokenization_spaces".into(), clean_spaces.into());
    if let Some(length) = options.context_length {
        config.insert("model_max_length".into(), length.into());
    }
    // The generic class takes `tokenizer.json` as it is; the classes of single models rebuild parts of it.
    config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    Value::Object(config)
}

/// Where generation starts and stops. The GGUF names few end tokens; the others are those that llama.cpp stops at by
/// their text, without the separators of fill-in-the-middle prompts.
pub(super) fn generation_config(vocabulary: &GgufVocabulary, tokens: &[String]) -> Value {
    let id = |role: Role| vocabulary.special_id(role).map(Value::from);
    let control = |id: &usize| vocabulary.token_type(*id) == Some(TokenType::Control) && is_end_text(&tokens[*id]);
    let mut ends: BTreeSet<usize> = (0..tokens.len()).filter(control).collect();
    let named = [Role::Eos, Role::Eot, Role::Eom].into_iter().filter_map(|role| vocabulary.special_id(role));
    ends.extend(named.map(|id| id as usize));
    let ends = match ends.len() {
        0 | 1 => ends.first().map(|id| Value::from(*id)),
        _ => Some(ends.into_iter().collect::<Vec<_>>().into()),
    };
    let keys = [("bos_token_id", id(Role::Bos)), ("eos_token_id", ends), ("pad_token_id", id(Role::Pad))];
    keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}
