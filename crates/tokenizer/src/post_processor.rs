//! Templates of a post-processor that the tokenizers crate would panic on: it builds what `tokenizer.json` says without
//! looking and indexes by it when a text is encoded.

use serde_json::Value;

/// What is wrong with a template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A template for what another one made.
    #[error("the post-processor holds {got} templates, expected one at most")]
    Several {
        /// How many.
        got: usize,
    },
    /// A text that is left out, doubled, or of a pair.
    #[error("the post-processor's template for a single text holds the sequences {got:?}, expected one `A`")]
    Sequences {
        /// The sequences' names in order.
        got: Vec<String>,
    },
    /// A special token without ids.
    #[error("the post-processor's template names the special token `{token}`, which its `special_tokens` lack")]
    UnknownToken {
        /// The token.
        token: String,
    },
}

/// Looks at the templates of a post-processor as the tokenizers crate writes it, each by itself or in a sequence.
///
/// # Errors
/// [`TemplateError`].
pub fn check(post_processor: &Value) -> Result<(), TemplateError> {
    let mut templates = Vec::new();
    collect(post_processor, &mut templates);
    match templates.as_slice() {
        [] => Ok(()),
        [template] => check_template(template),
        several => Err(TemplateError::Several { got: several.len() }),
    }
}

fn collect<'a>(processor: &'a Value, templates: &mut Vec<&'a Value>) {
    if processor["type"] == "TemplateProcessing" {
        templates.push(processor);
    }
    processor["processors"].as_array().into_iter().flatten().for_each(|member| collect(member, templates));
}

fn check_template(template: &Value) -> Result<(), TemplateError> {
    let pieces = |part: &str| template[part].as_array().map_or(&[][..], Vec::as_slice);
    let got: Vec<String> = pieces("single").iter().filter_map(sequence).map(str::to_owned).collect();
    if got != ["A"] {
        return Err(TemplateError::Sequences { got });
    }
    let mut named = pieces("single").iter().filter_map(|piece| piece["SpecialToken"]["id"].as_str());
    match named.find(|token| template["special_tokens"].get(token).is_none()) {
        None => Ok(()),
        Some(token) => Err(TemplateError::UnknownToken { token: token.to_owned() }),
    }
}

fn sequence(piece: &Value) -> Option<&str> {
    piece["Sequence"]["id"].as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(single: Value) -> Value {
        let tokens = json!({"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}});
        let pair = json!([{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}]);
        json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens})
    }

    #[test]
    fn a_template_needs_its_text_once_and_its_tokens() {
        let (a, b) = (json!({"Sequence": {"id": "A", "type_id": 0}}), json!({"Sequence": {"id": "B", "type_id": 0}}));
        let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
        assert_eq!(check(&template(json!([special("<s>"), a]))), Ok(()));
        for wrong in [json!([]), json!([special("<s>")]), json!([a, a]), json!([a, b]), json!([b])] {
            let in_sequence = json!({"type": "Sequence", "processors": [template(wrong)]});
            assert!(matches!(check(&in_sequence), Err(TemplateError::Sequences { .. })), "{in_sequence}");
        }
        let whole = template(json!([a]));
        let twice = json!({"type": "Sequence", "processors": [whole, {"type": "Sequence", "processors": [whole]}]});
        assert_eq!(check(&twice), Err(TemplateError::Several { got: 2 }));
        let unknown = check(&template(json!([special("</s>"), a])));
        assert_eq!(unknown, Err(TemplateError::UnknownToken { token: "</s>".into() }));
    }
}
