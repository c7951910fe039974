//! Rendering against transformers' own, byte for byte. Provenance: `golden/README.md`.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use serde_json::{Map, Value};
use tokenizer::chat_template::{ChatTemplate, ChatTemplateError, Clock, Conversation, ollama_template};

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read_json(path: PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

fn conversation(cases: &Value, name: &str) -> Conversation {
    let case = &cases["conversations"][name];
    Conversation {
        messages: list(&case["messages"]),
        tools: case["tools"].as_bool().map(|_| list(&cases["tools"])),
        documents: case["documents"].as_bool().map(|_| list(&cases["documents"])),
        variables: case["variables"].as_object().cloned().unwrap_or_default(),
    }
}

fn template(source: &str, cases: &Value) -> ChatTemplate {
    let special_tokens = cases["special_tokens"].as_object().unwrap().clone().into_iter().collect();
    let clock = Clock::parse("2024-07-26T12:34:56").unwrap();
    ChatTemplate::new(source, special_tokens).unwrap().with_clock(clock)
}

/// What is wrong with one rendering, if anything.
fn difference(template: &ChatTemplate, conversation: &Conversation, prompt: bool, expected: &Value) -> Option<String> {
    let given = template.render(conversation, prompt);
    match (expected.as_object().unwrap(), &given) {
        (e, Ok(text)) if e.get("text").and_then(Value::as_str) == Some(text) => {}
        (e, Err(ChatTemplateError::Raised { message })) if e.get("raised").and_then(Value::as_str) == Some(message) => {
        }
        (e, Err(ChatTemplateError::Render { .. })) if e.contains_key("failed") => {}
        (e, given) => return Some(format!("expected {e:?}\n   given {given:?}")),
    }
    if let (false, Some(spans)) = (prompt, expected.get("spans")) {
        let rendered = template.render_with_spans(conversation).unwrap();
        let spans_given: Vec<Vec<usize>> =
            rendered.generation.unwrap_or_default().iter().map(|span| vec![span.start, span.end]).collect();
        if serde_json::to_value(&spans_given).unwrap() != *spans {
            return Some(format!("expected spans {spans}, given {spans_given:?}"));
        }
    }
    None
}

fn differences(templates: PathBuf, rendered: &Map<String, Value>) -> Vec<String> {
    let cases = read_json(golden().join("chat_cases.json"));
    let mut wrong = Vec::new();
    for (name, by_case) in rendered {
        let source = std::fs::read_to_string(templates.join(format!("{name}.jinja"))).unwrap();
        let special_tokens = cases["special_tokens"].as_object().unwrap().clone().into_iter().collect();
        if let Err(error) = ChatTemplate::new(&source, special_tokens) {
            wrong.push(format!("{name}: {error}"));
            continue;
        }
        let template = template(&source, &cases);
        for (case, expected) in by_case.as_object().unwrap() {
            let conversation = conversation(&cases, case);
            for prompt in [false, true] {
                let expected = &expected[if prompt { "true" } else { "false" }];
                if let Some(what) = difference(&template, &conversation, prompt, expected) {
                    wrong.push(format!("{name}, {case}, prompt {prompt}: {what}"));
                }
            }
        }
    }
    wrong
}

#[test]
fn renders_what_transformers_renders() {
    let rendered = read_json(golden().join("chat_rendered.json"));
    let wrong = differences(golden().join("templates"), rendered.as_object().unwrap());
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

/// The same over any directory of templates: set `CHAT_TEMPLATES` to the directory and `CHAT_RENDERED` to what
/// `golden/scripts/chat_templates.py DIRECTORY FILE` wrote. Without them there is nothing to compare.
#[test]
fn renders_other_templates_where_asked() {
    let (Ok(templates), Ok(rendered)) = (std::env::var("CHAT_TEMPLATES"), std::env::var("CHAT_RENDERED")) else {
        return;
    };
    let rendered = read_json(rendered.into());
    let wrong = differences(templates.into(), rendered.as_object().unwrap());
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

/// The Go templates were run by Go itself, see `golden/scripts/ollama.go`. With `BLESS` set they are written anew.
#[test]
fn known_styles_are_written_for_ollama() {
    let cases = read_json(golden().join("chat_cases.json"));
    let recognised = ["llama-3.2", "qwen-2.5", "qwen-3", "smollm2", "smollm3"];
    for path in std::fs::read_dir(golden().join("templates")).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let go = ollama_template(&template(&std::fs::read_to_string(&path).unwrap(), &cases));
        assert_eq!(go.is_some(), recognised.contains(&name), "{name}");
        let Some(go) = go else { continue };
        let expected = golden().join(format!("ollama/{name}.tmpl"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &go.template).unwrap();
        }
        assert_eq!(go.template, std::fs::read_to_string(expected).unwrap(), "{name}");
        assert!(go.stop.iter().any(|stop| stop == "<|im_end|>" || stop == "<|eot_id|>"), "{name}");
    }
}

#[test]
fn refusals_and_mistakes_are_told_apart() {
    let chat =
        Conversation { messages: vec![serde_json::json!({"role": "user", "content": "a"})], ..Default::default() };
    let render =
        |source: &str| ChatTemplate::new(source, Vec::new()).and_then(|template| template.render(&chat, false));
    assert!(matches!(render("{% if %}"), Err(ChatTemplateError::Syntax { .. })));
    assert!(matches!(render("{{ messages[0].content.nothing() }}"), Err(ChatTemplateError::Render { .. })));
    let raised = render("{% for m in messages %}{{ raise_exception('not ' ~ m.role) }}{% endfor %}").unwrap_err();
    assert_eq!(raised.to_string(), "chat template refuses the conversation: not user");
    let endless = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}";
    assert!(matches!(render(endless), Err(ChatTemplateError::Render { .. })), "a template cannot run for ever");
}

#[test]
fn spans_need_text_without_the_marks() {
    let source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
    let template = ChatTemplate::new(source, Vec::new()).unwrap();
    let chat = |content: &str| Conversation {
        messages: vec![serde_json::json!({"role": "assistant", "content": content})],
        ..Default::default()
    };
    let rendered = template.render_with_spans(&chat("été")).unwrap();
    let spans: Vec<&str> = rendered.generation.iter().flatten().map(|span| &rendered.text[span.clone()]).collect();
    assert_eq!((rendered.text.as_str(), spans), ("été", vec!["été"]));
    assert!(matches!(template.render_with_spans(&chat("\u{fdd0}")), Err(ChatTemplateError::Noncharacter)));
    // A block whose text is cut afterwards shows its text, but no longer where it lies.
    let cut = "{% set all %}{% generation %}{{ messages[0].content }}{% endgeneration %}{% endset %}{{ all[:2] }}";
    let rendered = ChatTemplate::new(cut, Vec::new()).unwrap().render_with_spans(&chat("abc")).unwrap();
    assert_eq!((rendered.text.as_str(), rendered.generation), ("ab", None));
}
