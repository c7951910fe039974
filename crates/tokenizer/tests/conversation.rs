//! Masks: what of a chat is learned, told by decoding it.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use serde_json::{Value, json};
use tokenizer::Tokenizer;
use tokenizer::chat_template::{ChatTemplate, Clock};
use tokenizer::conversation::{Record, Sample, SampleBuilder};
use tokenizer::finding::Finding;
use tokenizer::gguf::{Convention, GgufOptions, RebuildOptions};
use tokenizer::hf_files::HfFiles;

fn golden(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

/// SmolLM2's tokenizer, cut; BOS `<|im_start|>` is not added.
fn smollm2() -> Tokenizer {
    Tokenizer::from_directory(&golden("smollm2-cut")).unwrap()
}

/// The same pieces with Llama 3's special tokens; BOS is added.
fn llama3() -> Tokenizer {
    let bytes = std::fs::read(golden("converter/llama3-like.json")).unwrap();
    let variant: Value = serde_json::from_slice(&bytes).unwrap();
    let files = variant["files"].as_object().unwrap().iter();
    let files = files.map(|(name, value)| (name.clone(), value.to_string().into_bytes()));
    Tokenizer::from_files(HfFiles::from_files(files).unwrap()).unwrap()
}

fn template(name: &str, tokenizer: &Tokenizer) -> ChatTemplate {
    let source = std::fs::read_to_string(golden(&format!("templates/{name}.jinja"))).unwrap();
    let clock = Clock::fixed_date(2024, 7, 26).unwrap();
    ChatTemplate::new(&source, tokenizer.special_tokens().template_variables()).unwrap().with_clock(clock)
}

fn build(
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    record: Value,
) -> Result<(Sample, Vec<Finding>), String> {
    let builder = SampleBuilder { tokenizer, template, max_tokens: None };
    builder.build(&Record::from_json(&record).unwrap()).map_err(|error| error.to_string())
}

/// The learned tokens' text, one entry for each run of them.
fn learned(tokenizer: &Tokenizer, sample: &Sample) -> Vec<String> {
    assert_eq!(sample.ids.len(), sample.learned.len());
    let runs = sample.learned.chunk_by(|a, b| a == b);
    let mut at = 0;
    let mut texts = Vec::new();
    for run in runs {
        if run[0] {
            texts.push(tokenizer.decode(&sample.ids[at..at + run.len()], false).unwrap());
        }
        at += run.len();
    }
    texts
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn chat(turns: &[(&str, &str)]) -> Value {
    let messages: Vec<Value> = turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    json!({ "messages": messages })
}

const TURNS: &[(&str, &str)] = &[
    ("system", "Be brief."),
    ("user", "Hello there"),
    ("assistant", "Hi, how are you?"),
    ("user", "Fine"),
    ("assistant", "Good to know."),
];

#[test]
fn every_turn_of_the_assistant_is_learned_with_its_end() {
    let tokenizer = smollm2();
    let (sample, findings) = build(&tokenizer, None, chat(TURNS)).unwrap();
    assert_eq!(learned(&tokenizer, &sample), ["Hi, how are you?<|im_end|>", "Good to know.<|im_end|>"]);
    assert!(findings.is_empty(), "{findings:?}");
    let text = tokenizer.chat_template().unwrap().render(&conversation(chat(TURNS)), false).unwrap();
    assert_eq!(sample.ids, tokenizer.encode(&text, false).unwrap().ids);

    let tokenizer = llama3();
    let llama = template("llama-3.2", &tokenizer);
    let (sample, findings) = build(&tokenizer, Some(&llama), chat(TURNS)).unwrap();
    assert_eq!(learned(&tokenizer, &sample), ["Hi, how are you?<|eot_id|>", "Good to know.<|eot_id|>"]);
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(tokenizer.id_to_token(sample.ids[0]).unwrap(), "<|begin_of_text|>");
    assert_ne!(sample.ids[1], sample.ids[0], "the template writes BOS, and nobody adds another");
}

fn conversation(record: Value) -> tokenizer::chat_template::Conversation {
    match Record::from_json(&record).unwrap() {
        Record::Chat { conversation, .. } => conversation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn generation_blocks_give_the_same_mask_as_two_renderings() {
    let tokenizer = smollm2();
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n\
                  {% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\
                  {% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}\
                  {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let marked = ChatTemplate::new(source, Vec::new()).unwrap();
    let unmarked = source.replace("{% generation %}", "").replace("{% endgeneration %}", "");
    let unmarked = ChatTemplate::new(&unmarked, Vec::new()).unwrap();
    assert!(marked.has_generation_blocks() && !unmarked.has_generation_blocks());
    let by_blocks = build(&tokenizer, Some(&marked), chat(TURNS)).unwrap();
    assert_eq!(learned(&tokenizer, &by_blocks.0), ["Hi, how are you?<|im_end|>", "Good to know.<|im_end|>"]);
    assert_eq!(by_blocks, build(&tokenizer, Some(&unmarked), chat(TURNS)).unwrap());
}

#[test]
fn a_template_that_moves_text_trains_the_last_turn_only_and_is_named() {
    let tokenizer = smollm2();
    let mistral = template("mistral-nemo", &tokenizer);
    let (sample, findings) = build(&tokenizer, Some(&mistral), chat(TURNS)).unwrap();
    assert_eq!(learned(&tokenizer, &sample), ["Good to know.<|im_end|>"]);
    assert_eq!(codes(&findings), ["prompt-not-a-prefix"]);
    assert!(findings[0].message.contains(&mistral.label()), "{findings:?}");
}

#[test]
fn a_refused_system_message_is_an_error_with_the_fix() {
    let tokenizer = smollm2();
    let gemma = template("gemma-2", &tokenizer);
    let error = build(&tokenizer, Some(&gemma), chat(TURNS)).unwrap_err();
    assert!(error.contains("refuses `system`") && error.contains("first `user` message"), "{error}");
    let error = build(&tokenizer, Some(&gemma), chat(&[("assistant", "first")])).unwrap_err();
    assert!(error.contains("must alternate") && !error.contains("`system`"), "{error}");
}

#[test]
fn tool_calls_are_learned_whole() {
    let tokenizer = smollm2();
    let qwen = template("qwen-2.5", &tokenizer);
    let call = json!({"type": "function", "function": {"name": "now", "arguments": {"zone": "CET"}}});
    let record = json!({"messages": [
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "12:00"},
        {"role": "assistant", "content": "Noon."},
    ], "tools": [{"type": "function", "function": {"name": "now", "parameters": {}}}]});
    let (sample, findings) = build(&tokenizer, Some(&qwen), record).unwrap();
    let call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"zone\": \"CET\"}}\n</tool_call><|im_end|>";
    assert_eq!(learned(&tokenizer, &sample), [call, "Noon.<|im_end|>"]);
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn a_token_across_the_start_is_masked() {
    let tokenizer = smollm2();
    let (sample, findings) = build(&tokenizer, None, chat(&[("user", "Hi"), ("assistant", "\n\nYes")])).unwrap();
    let merged = tokenizer.encode("\n\n", false).unwrap().ids;
    assert_eq!(merged.len(), 1, "the vocabulary has a token for two line ends");
    let at = sample.ids.iter().position(|id| *id == merged[0]).unwrap();
    assert!(!sample.learned[at]);
    assert_eq!(learned(&tokenizer, &sample), ["\nYes<|im_end|>"]);
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn a_turn_without_an_end_is_said() {
    let tokenizer = smollm2();
    let source = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
                  {% if add_generation_prompt %}assistant: {% endif %}";
    let plain = ChatTemplate::new(source, Vec::new()).unwrap();
    let (sample, findings) = build(&tokenizer, Some(&plain), chat(&TURNS[1..])).unwrap();
    assert_eq!(codes(&findings), ["no-end-of-turn", "no-end-of-turn"]);
    let texts = learned(&tokenizer, &sample);
    assert!(texts[0].contains("how are you?") && !texts[0].contains("Fine"), "{texts:?}");
}

#[test]
fn nothing_to_learn_is_an_error() {
    let tokenizer = smollm2();
    let error = build(&tokenizer, None, chat(&[("user", "Hi")])).unwrap_err();
    assert!(error.contains("no `assistant` message"), "{error}");
    let error = build(&tokenizer, None, json!({"text": "a"})).unwrap_err();
    assert!(error.contains("two tokens"), "{error}");
    let silent = ChatTemplate::new("{{ messages[0].content }}", Vec::new()).unwrap();
    let error = build(&tokenizer, Some(&silent), chat(&[("user", "Hi all"), ("assistant", "Yes")])).unwrap_err();
    assert!(error.contains("leaves the assistant's words out"), "{error}");
}

#[test]
fn cutting_says_what_it_drops_and_refuses_to_drop_all() {
    let tokenizer = smollm2();
    let record = Record::from_json(&chat(&[("user", "Hi"), ("assistant", "one two three four")])).unwrap();
    let whole = SampleBuilder { tokenizer: &tokenizer, template: None, max_tokens: None };
    let (sample, _) = whole.build(&record).unwrap();
    let cut = |max_tokens| SampleBuilder { max_tokens: Some(max_tokens), ..whole }.build(&record);

    // The line end behind the turn's end is nobody's to learn.
    let (kept, findings) = cut(sample.ids.len() - 1).unwrap();
    assert_eq!((kept.learned_tokens(), findings.len()), (sample.learned_tokens(), 0));
    let (kept, findings) = cut(sample.ids.len() - 3).unwrap();
    assert_eq!(kept.learned_tokens(), sample.learned_tokens() - 2);
    assert_eq!(codes(&findings), ["learned-tokens-dropped"]);
    assert!(findings[0].message.contains("2 learned tokens"), "{findings:?}");
    let error = cut(5).unwrap_err().to_string();
    assert!(error.contains("cut at 5"), "{error}");
}

#[test]
fn completions_and_texts_begin_and_end_as_the_base_does() {
    let smollm2 = smollm2();
    let record = json!({"prompt": "Question: why?\nAnswer:", "completion": " because."});
    let (sample, _) = build(&smollm2, None, record.clone()).unwrap();
    assert_eq!(learned(&smollm2, &sample), [" because.<|im_end|>"]);
    let text = json!({"text": "Some words to learn."});
    let (sample, _) = build(&smollm2, None, text.clone()).unwrap();
    assert_eq!(sample.learned_tokens(), sample.ids.len() - 1);
    assert_eq!(smollm2.decode(&sample.ids, false).unwrap(), "Some words to learn.");

    let llama3 = llama3();
    let (sample, _) = build(&llama3, None, record).unwrap();
    assert_eq!(learned(&llama3, &sample), [" because.<|eot_id|>"]);
    assert_eq!(llama3.decode(&sample.ids[..1], false).unwrap(), "<|begin_of_text|>");
    let (sample, _) = build(&llama3, None, text).unwrap();
    assert_eq!(learned(&llama3, &sample), ["Some words to learn."]);
    let with_bos = json!({"text": "<|begin_of_text|>Some words to learn."});
    assert_eq!(build(&llama3, None, with_bos).unwrap().0, sample, "BOS is not put in twice");
}

#[test]
fn a_prompt_and_completion_of_messages_learn_the_completion_alone() {
    let tokenizer = smollm2();
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    let record = json!({
        "prompt": [message("user", "a"), message("assistant", "b"), message("user", "c")],
        "completion": [message("assistant", "dear")],
    });
    let (sample, _) = build(&tokenizer, None, record).unwrap();
    assert_eq!(learned(&tokenizer, &sample), ["dear<|im_end|>"]);
}

#[test]
fn a_line_that_is_no_record_says_why() {
    let error = |line: Value| Record::from_json(&line).unwrap_err().to_string();
    assert!(
        error(json!({"instruction": "x", "output": "y"})).contains("`messages`, `prompt` with `completion`, `text`")
    );
    assert!(error(json!({"messages": [{"content": "x"}]})).contains("`messages[0].role` is missing"));
    assert!(error(json!({"messages": "x"})).contains("`messages` is a text, expected a list"));
    assert!(error(json!({"prompt": "x", "completion": 3})).contains("`completion` is a number"));
    assert!(error(json!([1])).contains("expected an object"));
}

/// As it was published, and rebuilt from what a GGUF holds of it.
fn both(name: &str, convention: Convention) -> [Tokenizer; 2] {
    let original = Tokenizer::from_directory(&golden(name)).unwrap();
    let options = GgufOptions { convention, vocab_size: None, pre: None };
    let (vocabulary, _) = original.to_gguf(&options).unwrap();
    let (rebuilt, _) = Tokenizer::from_gguf(&vocabulary, &RebuildOptions::default()).unwrap();
    [original, rebuilt]
}

#[test]
fn sentencepiece_answers_are_learned_from_the_first_piece_to_the_end() {
    // Mistral's template puts a space before an answer, which is one piece with its first word.
    for tokenizer in both("mistral-cut", Convention::Llama) {
        let (sample, findings) = build(&tokenizer, None, chat(&TURNS[1..])).unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        let texts = learned(&tokenizer, &sample);
        let texts: Vec<&str> = texts.iter().map(|text| text.trim_start()).collect();
        assert_eq!(texts, ["Hi, how are you?</s>", "Good to know.</s>"]);
        let first = sample.learned.iter().position(|learned| *learned).unwrap();
        assert_eq!(tokenizer.id_to_token(sample.ids[first - 1]).unwrap(), "[/INST]");
    }
    for tokenizer in both("gemma-like", Convention::Plain) {
        let (sample, findings) = build(&tokenizer, None, chat(&TURNS[1..])).unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(learned(&tokenizer, &sample), ["Hi, how are you?<end_of_turn>", "Good to know.<end_of_turn>"]);
        let refusal = build(&tokenizer, None, chat(TURNS)).unwrap_err();
        assert!(refusal.contains("refuses `system` messages"), "{refusal}");
    }
}

#[test]
fn a_completion_in_bytes_is_learned_and_its_prompt_is_not() {
    for (name, convention) in [("mistral-cut", Convention::Llama), ("gemma-like", Convention::Plain)] {
        for tokenizer in both(name, convention) {
            let record = json!({"prompt": "the\u{1f9ff}", "completion": "\u{1f9ff}x"});
            let (sample, _) = build(&tokenizer, None, record).unwrap();
            let end = tokenizer.decode(sample.ids.last().map(std::slice::from_ref).unwrap(), false).unwrap();
            assert_eq!(learned(&tokenizer, &sample), [format!("\u{1f9ff}x{end}")], "{name}");
            assert!(tokenizer.is_end_of_turn(*sample.ids.last().unwrap()));
        }
    }
}
