//! Which special tokens llama.cpp's converter writes, and in which order.
//!
//! Follows `SpecialVocab` of gguf-py's `vocab.py`: ids by the roles of `tokenizer_config.json`, looked up among the
//! added tokens, then by `config.json` for roles still open; `add_*_token` from the post-processor, which goes before
//! the configuration.

use serde_json::Value;

use crate::finding::Finding;
use crate::hf_files::HfFiles;
use crate::special_tokens::{Role, token_text};

/// What the converter's `SpecialVocab` holds.
#[derive(Debug, Default)]
pub(super) struct SpecialVocab {
    pub ids: Vec<(Role, u32)>,
    pub add: Vec<(Role, bool)>,
    pub findings: Vec<Finding>,
}

impl SpecialVocab {
    /// Reads the files.
    pub fn read(files: &HfFiles) -> Self {
        let mut vocab = Self::default();
        let mut roles = RoleTexts::read(files.tokenizer_config());
        for processor in processors(&files.tokenizer()["post_processor"]) {
            vocab.read_processor(processor, &mut roles);
        }
        let config = files.tokenizer_config();
        for (role, text) in &roles.texts {
            if let Some(add) = config[format!("add_{}_token", role.name())].as_bool() {
                vocab.add_from_config(*role, add);
            }
            if let Some(id) = text.as_deref().and_then(|text| added_id(files.tokenizer(), text)) {
                vocab.set_id(*role, id);
            }
        }
        for (role, _) in &roles.texts {
            let key = format!("{}_token_id", role.name());
            let model_config = files.model_config();
            let id = [model_config.get(&key), model_config["text_config"].get(&key)];
            if let Some(id) = id.into_iter().flatten().find_map(Value::as_u64) {
                vocab.set_id(*role, u32::try_from(id).unwrap_or(u32::MAX));
            }
        }
        vocab
    }

    fn set_id(&mut self, role: Role, id: u32) {
        if !self.ids.iter().any(|(named, _)| *named == role) {
            self.ids.push((role, id));
        }
    }

    fn set_add(&mut self, role: Role, add: bool) {
        match self.add.iter_mut().find(|(named, _)| *named == role) {
            Some(entry) => entry.1 = add,
            None => self.add.push((role, add)),
        }
    }

    fn add_from_config(&mut self, role: Role, add: bool) {
        match self.add.iter().find(|(named, _)| *named == role) {
            None => self.add.push((role, add)),
            Some((_, processor)) if *processor != add => {
                let name = role.name();
                self.findings.push(Finding::warning(
                    "add-special-mismatch",
                    format!(
                        "`add_{name}_token` is {add} in `tokenizer_config.json`, but the post-processor of \
                         `tokenizer.json` does the opposite; the post-processor is what counts"
                    ),
                ));
            }
            Some(_) => {}
        }
    }

    fn read_processor(&mut self, processor: &Value, roles: &mut RoleTexts) {
        match processor["type"].as_str() {
            Some("ByteLevel") => {
                for role in [Role::Bos, Role::Eos] {
                    if !self.add.iter().any(|(named, _)| *named == role) {
                        self.add.push((role, false));
                    }
                }
            }
            Some("RobertaProcessing") => {
                for role in [Role::Bos, Role::Eos, Role::Sep] {
                    self.set_add(role, true);
                }
                for (role, key) in [(Role::Cls, "cls"), (Role::Sep, "sep")] {
                    roles.set_if_open(role, processor[key][0].as_str());
                }
            }
            Some("TemplateProcessing") => self.read_template(processor, roles),
            _ => {}
        }
    }

    /// `[BOS] A [EOS]` and `A [SEP] B`: whether the ends of the template are the special tokens of those roles.
    fn read_template(&mut self, processor: &Value, roles: &mut RoleTexts) {
        let single = processor["single"].as_array().map_or(&[][..], Vec::as_slice);
        let (mut first, mut last) = (None, None);
        if let [start, .., end] = single {
            first = special_id(start);
            last = special_id(end);
        }
        if let Some(first) = first {
            if !roles.is(Role::Bos, first) && !roles.is(Role::Cls, first) {
                roles.set_if_open(Role::Bos, Some(first));
                roles.set_if_open(Role::Cls, Some(first));
            }
            self.set_add(Role::Bos, roles.is(Role::Bos, first) || roles.is(Role::Cls, first));
        }
        if let Some(last) = last {
            roles.replace_eos(last);
            self.set_add(Role::Eos, true);
        }
        let pair = processor["pair"].as_array().map_or(&[][..], Vec::as_slice);
        if let Some(middle) = between_sequences(pair, first, last) {
            let ends = |token: &Value| {
                special_id(token).is_some_and(|token| roles.is(Role::Sep, token) || roles.is(Role::Eos, token))
            };
            let separates = middle.first().is_some_and(|token| ends(token) && last.is_none())
                || (middle.len() == 2 && ends(&middle[1]));
            self.set_add(Role::Sep, separates);
            if separates {
                let eos = roles.get(Role::Eos).map(str::to_owned);
                roles.set_if_open(Role::Sep, eos.as_deref());
            }
        }
    }
}

/// What a pair's template puts between its two sequences; `None` where it is nothing or has another form.
fn between_sequences<'a>(pair: &'a [Value], first: Option<&str>, last: Option<&str>) -> Option<&'a [Value]> {
    let mut pair = pair;
    if first.is_some() && pair.first().and_then(special_id) == first {
        pair = &pair[1..];
    }
    if last.is_some() && pair.last().and_then(special_id) == last {
        pair = &pair[..pair.len() - 1];
    }
    match pair {
        [a, middle @ .., b] if a["Sequence"]["id"] == "A" && b["Sequence"]["id"] == "B" && !middle.is_empty() => {
            Some(middle)
        }
        _ => None,
    }
}

fn special_id(token: &Value) -> Option<&str> {
    token["SpecialToken"]["id"].as_str()
}

fn processors(post_processor: &Value) -> Vec<&Value> {
    match post_processor["processors"].as_array() {
        Some(members) => members.iter().collect(),
        None if post_processor.is_object() => vec![post_processor],
        None => Vec::new(),
    }
}

fn added_id(tokenizer: &Value, text: &str) -> Option<u32> {
    let added = tokenizer["added_tokens"].as_array()?.iter().find(|token| token["content"] == text)?;
    u32::try_from(added["id"].as_u64()?).ok()
}

/// Token texts by role while the post-processor fills in what the configuration leaves open.
struct RoleTexts {
    texts: Vec<(Role, Option<String>)>,
}

impl RoleTexts {
    fn read(tokenizer_config: &Value) -> Self {
        let text = |role: Role| token_text(&tokenizer_config[format!("{}_token", role.name())]).map(str::to_owned);
        let mut roles = Self { texts: Role::NAMED.into_iter().map(|role| (role, text(role))).collect() };
        for (open, other) in [(Role::Bos, Role::Cls), (Role::Eos, Role::Sep)] {
            let text = roles.get(other).map(str::to_owned);
            roles.set_if_open(open, text.as_deref());
        }
        roles
    }

    fn get(&self, role: Role) -> Option<&str> {
        self.texts.iter().find(|(named, _)| *named == role)?.1.as_deref()
    }

    fn is(&self, role: Role, text: &str) -> bool {
        self.get(role) == Some(text)
    }

    fn set(&mut self, role: Role, text: Option<String>) {
        match self.texts.iter_mut().find(|(named, _)| *named == role) {
            Some(entry) => entry.1 = text,
            None => self.texts.push((role, text)),
        }
    }

    fn set_if_open(&mut self, role: Role, text: Option<&str>) {
        if let (None, Some(text)) = (self.get(role), text) {
            self.set(role, Some(text.to_owned()));
        }
    }

    /// A text ends with another token than the configuration's: that one becomes `eos`, the former `eot` or `eom`.
    fn replace_eos(&mut self, last: &str) {
        if self.is(Role::Eos, last) {
            return;
        }
        let former = self.get(Role::Eos).map(str::to_owned);
        let free = [Role::Eot, Role::Eom].into_iter().find(|role| !self.texts.iter().any(|(named, _)| named == role));
        if let Some(role) = free {
            self.set(role, former);
        }
        self.set(Role::Eos, Some(last.to_owned()));
    }
}
