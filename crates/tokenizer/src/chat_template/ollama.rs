//! Ollama's Go templates for chat templates that are recognised by what they render.
//!
//! Ollama does not run jinja. A template is rendered with a few short chats; where the text is that of a known style,
//! up to a default system message and words round the system text, the same is written in Go's `text/template`. Text
//! chats only: tools are not translated. Whatever date the template's clock shows is written as it stands.

use serde_json::json;

use super::{ChatTemplate, Conversation};

/// A template in Ollama's dialect, for a `Modelfile`'s `TEMPLATE` and `PARAMETER stop`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoTemplate {
    /// Go `text/template` source. Ollama puts BOS in front itself, where the GGUF says so.
    pub template: String,
    /// Texts at which generation stops.
    pub stop: Vec<String>,
}

/// How a style writes one message: `open role infix content close`.
struct Style {
    open: &'static str,
    infix: &'static str,
    close: &'static str,
    stop: &'static [&'static str],
}

const STYLES: [Style; 2] = [
    Style { open: "<|im_start|>", infix: "\n", close: "<|im_end|>\n", stop: &["<|im_start|>", "<|im_end|>"] },
    Style {
        open: "<|start_header_id|>",
        infix: "<|end_header_id|>\n\n",
        close: "<|eot_id|>",
        stop: &["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    },
];

/// What a style leaves open and a template fills in.
struct SystemTexts {
    /// Whole text before the first message where there is no system message.
    default: String,
    /// Words before the system text inside its message.
    before: String,
    /// Words after it.
    after: String,
}

/// The template in Ollama's dialect; `None` where its style is not known.
pub fn ollama_template(template: &ChatTemplate) -> Option<GoTemplate> {
    STYLES.iter().find_map(|style| {
        let system = style.recognise(template)?;
        Some(GoTemplate {
            template: style.to_go(&system),
            stop: style.stop.iter().map(|stop| (*stop).to_owned()).collect(),
        })
    })
}

const SYSTEM: &str = "Probe-system";
const CHAT: [(&str, &str); 3] = [("user", "Probe-one"), ("assistant", "Probe-two"), ("user", "Probe-three")];

impl Style {
    fn message(&self, role: &str, content: &str) -> String {
        [self.open, role, self.infix, content, self.close].concat()
    }

    fn prompt(&self) -> String {
        [self.open, "assistant", self.infix].concat()
    }

    fn recognise(&self, template: &ChatTemplate) -> Option<SystemTexts> {
        let expected = |turns: &[(&str, &str)]| {
            let turns: String = turns.iter().map(|(role, content)| self.message(role, content)).collect();
            turns + &self.prompt()
        };
        let short = render(template, &CHAT[..1])?;
        let default = self.without_bos(template, short.strip_suffix(&expected(&CHAT[..1]))?);
        let long = render(template, &CHAT)?;
        let same_default = self.without_bos(template, long.strip_suffix(&expected(&CHAT))?);
        let with_system: Vec<(&str, &str)> = [("system", SYSTEM)].into_iter().chain(CHAT).collect();
        let with_system = render(template, &with_system)?;
        let block = self.without_bos(template, with_system.strip_suffix(&expected(&CHAT))?);
        let inside = block.strip_prefix(&[self.open, "system", self.infix].concat())?.strip_suffix(self.close)?;
        let (before, after) = inside.split_once(SYSTEM)?;
        let default_is_a_message = default.is_empty() || default.starts_with(self.open);
        (default == same_default && default_is_a_message).then(|| SystemTexts {
            default: default.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    /// Cuts a BOS off that stands before the first message. In some vocabularies BOS is what opens every message.
    fn without_bos<'a>(&self, template: &ChatTemplate, text: &'a str) -> &'a str {
        let bos = template.special_tokens.iter().find(|(name, _)| name == "bos_token");
        match bos.and_then(|(_, bos)| bos.as_str()).filter(|bos| !bos.starts_with(self.open)) {
            Some(bos) => text.strip_prefix(bos).unwrap_or(text),
            None => text,
        }
    }

    /// Texts are Go string constants, so that no white space is lost to `{{-`.
    fn to_go(&self, system: &SystemTexts) -> String {
        let open_system = go_text(&[self.open, "system", self.infix, &system.before].concat());
        let close_system = go_text(&[&system.after, self.close].concat());
        let default = match system.default.as_str() {
            "" => String::new(),
            text => format!("{{{{- else -}}}}\n{}\n", go_text(text)),
        };
        let (open, infix, close) = (go_text(self.open), go_text(self.infix), go_text(self.close));
        let prompt = go_text(&self.prompt());
        // A last message of the assistant is to be continued: it is not closed, and no new one is opened.
        format!(
            r#"{{{{- $last := "" -}}}}
{{{{- if .System -}}}}
{open_system}{{{{ .System }}}}{close_system}
{default}{{{{- end -}}}}
{{{{- range $i, $message := .Messages -}}}}
{{{{- $last = .Role -}}}}
{{{{- if ne .Role "system" -}}}}
{open}{{{{ .Role }}}}{infix}{{{{ .Content }}}}
{{{{- if or (ne .Role "assistant") (gt (len (slice $.Messages $i)) 1) -}}}}
{close}
{{{{- end -}}}}
{{{{- end -}}}}
{{{{- end -}}}}
{{{{- if ne $last "assistant" -}}}}
{prompt}
{{{{- end -}}}}"#
        )
    }
}

fn render(template: &ChatTemplate, turns: &[(&str, &str)]) -> Option<String> {
    let messages = turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    template.render(&Conversation { messages, ..Conversation::default() }, true).ok()
}

/// An action that prints a text. Go reads JSON's escapes.
fn go_text(text: &str) -> String {
    format!("{{{{ {} }}}}", serde_json::Value::from(text))
}
