//! Files that lie. Whatever a tokenizer's files, a GGUF's vocabulary or a chat template say, the answer is a tokenizer,
//! a text or an error, and neither a panic nor the end of the process.
#![allow(clippy::unwrap_used)]

mod nasty;

use std::collections::BTreeMap;
use std::path::PathBuf;

use nasty::Random;
use serde_json::{Map, Value, json};
use tokenizer::Tokenizer;
use tokenizer::chat_template::{ChatTemplate, Clock, Conversation, ollama_template};
use tokenizer::gguf::{Convention, GgufOptions, GgufVocabulary, RebuildOptions, VocabValue};
use tokenizer::hf_files::HfFiles;

const LLAMA: GgufOptions<'static> = GgufOptions { convention: Convention::Llama, vocab_size: None, pre: None };

/// The cut tokenizer with fewer pieces, so that it loads in no time.
fn files() -> BTreeMap<String, Value> {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/smollm2-cut");
    let mut files: BTreeMap<String, Value> = BTreeMap::new();
    for entry in std::fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.insert(name, serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap());
    }
    let model = &mut files.get_mut("tokenizer.json").unwrap()["model"];
    let vocab: Map<String, Value> =
        model["vocab"].as_object().unwrap().iter().take(400).map(|(text, id)| (text.clone(), id.clone())).collect();
    let is_known = |merge: &Value| {
        let merge = merge.as_str().unwrap();
        let (left, right) = merge.split_once(' ').unwrap();
        [left, right, &merge.replace(' ', "")].iter().all(|piece| vocab.contains_key(*piece))
    };
    let merges: Vec<Value> = model["merges"].as_array().unwrap().iter().filter(|m| is_known(m)).cloned().collect();
    (model["vocab"], model["merges"]) = (vocab.into(), merges.into());
    let bos = json!({"SpecialToken": {"id": "<|im_start|>", "type_id": 0}});
    let [a, b] = ["A", "B"].map(|id| json!({"Sequence": {"id": id, "type_id": 0}}));
    files.get_mut("tokenizer.json").unwrap()["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        {"type": "TemplateProcessing", "single": [bos, a], "pair": [bos, a, b],
         "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}},
    ]});
    files
}

/// Places inside a document, of long lists and objects the first few.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().take(5).enumerate().for_each(|(i, item)| places(item, &format!("{at}/{i}"), found));
        }
        Value::Object(fields) => {
            for (name, field) in fields.iter().take(24) {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(field, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

fn strange(random: &mut Random) -> Value {
    let deep = (0..100).fold(json!("<|im_end|>"), |inner, _| json!([inner]));
    let all = [
        Value::Null,
        json!(true),
        json!(false),
        json!(-1),
        json!(0),
        json!(1),
        json!(4_294_967_295_u32),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!(" "),
        json!("\u{0}é\u{1f600}"),
        json!("<|im_end|>"),
        json!("{{ messages }}{% for m in messages %}{{ m }}{% endfor %}"),
        json!("(((("),
        json!("A"),
        json!("B"),
        json!("ByteLevel"),
        json!("Sequence"),
        json!("TemplateProcessing"),
        json!([]),
        json!({}),
        json!([[]]),
        json!({"type": "Sequence", "processors": []}),
        deep,
    ];
    all[random.below(all.len())].clone()
}

/// One place changed to something strange, to what stands in another place, or taken out.
fn change(document: &mut Value, random: &mut Random) {
    let mut found = Vec::new();
    places(document, "", &mut found);
    let place = found[random.below(found.len())].clone();
    let other = document.pointer(&found[random.below(found.len())]).cloned().unwrap();
    match random.below(4) {
        0 => {
            let Some((parent, name)) = place.rsplit_once('/') else { return };
            match document.pointer_mut(parent).unwrap() {
                Value::Array(items) => drop(items.remove(name.parse().unwrap())),
                Value::Object(fields) => drop(fields.shift_remove(&name.replace("~1", "/").replace("~0", "~"))),
                _ => unreachable!("only lists and objects have places"),
            }
        }
        1 => *document.pointer_mut(&place).unwrap() = other,
        _ => *document.pointer_mut(&place).unwrap() = strange(random),
    }
}

fn chat() -> Conversation {
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    Conversation { messages: vec![message("user", "é a"), message("assistant", "b")], ..Conversation::default() }
}

/// Everything that is done with a tokenizer. What comes of it does not matter here.
fn use_tokenizer(tokenizer: &Tokenizer, texts: &[String]) {
    let _ = tokenizer.summary();
    let _ = tokenizer.to_gguf(&LLAMA);
    for text in texts {
        if let Ok(encoding) = tokenizer.encode(text, true) {
            assert_eq!(encoding.ids.len(), encoding.offsets.len(), "{text:?}");
            let _ = tokenizer.decode(&encoding.ids, false);
        }
    }
    if let Some(template) = tokenizer.chat_template() {
        let _ = template.render(&chat(), true);
        let _ = template.render_with_spans(&chat());
    }
}

#[test]
fn changed_files_give_a_tokenizer_or_an_error() {
    let whole = files();
    let mut random = Random(7);
    let texts = nasty::texts(&["<|im_start|>".to_owned(), "Ġthe".to_owned()], 12);
    let mut loaded = 0;
    for _ in 0..rounds() {
        let mut changed = whole.clone();
        for _ in 0..=random.below(3) {
            // The tokenizer itself has the most to say.
            let name = match random.below(2) {
                0 => "tokenizer.json".to_owned(),
                _ => changed.keys().nth(random.below(changed.len())).unwrap().clone(),
            };
            change(changed.get_mut(&name).unwrap(), &mut random);
        }
        let bytes = changed.into_iter().map(|(name, value)| (name, value.to_string().into_bytes()));
        let Ok(files) = HfFiles::from_files(bytes) else { continue };
        let _ = GgufVocabulary::from_hf(&files, &LLAMA);
        if let Ok(tokenizer) = Tokenizer::from_files(files) {
            loaded += 1;
            use_tokenizer(&tokenizer, &texts);
        }
    }
    assert!(loaded > rounds() / 10, "only {loaded} of {} were worth loading", rounds());
}

/// More where somebody has the time.
fn rounds() -> usize {
    std::env::var("HOSTILE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(400)
}

fn strange_text(random: &mut Random) -> String {
    let all =
        ["", " ", "a", "é é", "  b", "Ġ Ġ", "\u{0}", "<|im_end|>", "[PAD3]", "[EMPTY_4]", "</s>", "{% if", "{{ 1 }}"];
    all[random.below(all.len())].to_owned()
}

fn change_value(value: &mut VocabValue, random: &mut Random) {
    match value {
        VocabValue::StringArray(texts) if !texts.is_empty() => {
            let at = random.below(texts.len());
            match random.below(3) {
                0 => drop(texts.remove(at)),
                1 => texts[at] = texts[random.below(texts.len())].clone(),
                _ => texts[at] = strange_text(random),
            }
        }
        VocabValue::I32Array(numbers) if !numbers.is_empty() => {
            let at = random.below(numbers.len());
            numbers[at] = [-1, 0, 1, 2, 3, 4, 5, 6, 7, i32::MAX][random.below(10)];
        }
        VocabValue::U32(id) => *id = [0, 1, 5, 300, u32::MAX][random.below(5)],
        VocabValue::Bool(flag) => *flag = !*flag,
        VocabValue::String(text) => *text = strange_text(random),
        other => *other = VocabValue::Bool(true),
    }
}

#[test]
fn a_changed_vocabulary_gives_a_tokenizer_or_an_error() {
    let bytes = files().into_iter().map(|(name, value)| (name, value.to_string().into_bytes()));
    let options = GgufOptions { vocab_size: Some(4104), ..LLAMA };
    let (vocabulary, _) = GgufVocabulary::from_hf(&HfFiles::from_files(bytes).unwrap(), &options).unwrap();
    let mut key_values = vocabulary.to_key_values();
    // Rows without a token are most of the list otherwise.
    for (_, value) in &mut key_values {
        match value {
            VocabValue::StringArray(texts) => texts.truncate(420),
            VocabValue::I32Array(types) => types.truncate(420),
            _ => {}
        }
    }
    let texts = nasty::texts(&vocabulary.tokens[..420], 12);
    let mut random = Random(8);
    let mut loaded = 0;
    for _ in 0..rounds() {
        let mut changed = key_values.clone();
        for _ in 0..=random.below(6) {
            let at = random.below(changed.len());
            match random.below(8) {
                0 => drop(changed.remove(at)),
                1 => changed[at].1 = VocabValue::I32Array(Vec::new()),
                _ => change_value(&mut changed[at].1, &mut random),
            }
        }
        let Ok(vocabulary) = GgufVocabulary::from_key_values(changed) else { continue };
        if let Ok((tokenizer, _)) = Tokenizer::from_gguf(&vocabulary, &RebuildOptions::default()) {
            loaded += 1;
            use_tokenizer(&tokenizer, &texts);
        }
    }
    assert!(loaded > rounds() / 10, "only {loaded} of {} were worth loading", rounds());
}

#[test]
fn a_template_can_neither_take_the_stack_nor_all_memory() {
    let deep = "{% set ns = namespace(x=[]) %}{% for i in range(2000) %}{% set ns.x = [ns.x] %}{% endfor %}";
    let inside = |text: &str, times: usize, behind: &str| text.repeat(times) + &behind.repeat(times);
    let sources = [
        format!("{deep}{{{{ ns.x }}}}"),
        format!("{deep}{{{{ ns.x | tojson }}}}"),
        format!("{deep}{{{{ ns.x | string | length }}}}"),
        inside("{% if 1 %}", 100_000, "{% endif %}"),
        format!("{{{{ {} }}}}", inside("(", 100_000, ")")),
        format!("{{{{ {} }}}}", inside("[", 100_000, "]")),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{{ 'x' * 1000000000000 }}".to_owned(),
        "{{ 'x'.ljust(1000000000000) }}".to_owned(),
        "{{ range(1000000000000) | list }}".to_owned(),
        "{{ [1] | tojson(indent=1000000000000) }}".to_owned(),
        "{{ 1 | tojson(separators=[1, 2, 3]) }}".to_owned(),
        "{{ strftime_now('%') }}{{ strftime_now('%999999999999d') }}".to_owned(),
        "{% generation %}{% generation %}".to_owned(),
        "{% generation %}{# {% endgeneration %}".to_owned(),
        "{{ messages[0].content[1:100] }}{{ messages[-9].content }}".to_owned(),
    ];
    for source in sources {
        let shown: String = source.chars().take(60).collect();
        println!("{shown}");
        let Ok(template) = ChatTemplate::new(&source, Vec::new()) else { continue };
        let template = template.with_clock(Clock::fixed_date(2024, 7, 26).unwrap());
        if let Ok(text) = template.render(&chat(), true) {
            assert!(text.len() < 1 << 20, "{shown}: {} bytes", text.len());
        }
        let _ = template.render_with_spans(&chat());
        let _ = ollama_template(&template);
    }
}
