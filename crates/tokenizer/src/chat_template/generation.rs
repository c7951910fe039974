//! `{% generation %} … {% endgeneration %}`: transformers' tag round what the assistant says.
//!
//! jinja knows no such tag. It is rewritten into a filter block with a scope of its own, which keeps the tag's white
//! space control and its scoping. The filter passes the text through, or puts it between two marks from which the
//! byte spans are read. The marks are Unicode noncharacters, which no text may contain.

use std::borrow::Cow;
use std::ops::Range;

/// Name of the filter that stands in for the tag.
pub const FILTER: &str = "generation_block";
/// Mark before a block's text.
pub const START: char = '\u{fdd0}';
/// Mark after a block's text.
pub const END: char = '\u{fdd1}';

/// Whether the template says itself what the assistant's text is.
pub fn has_blocks(source: &str) -> bool {
    matches!(replace_tags(source), Cow::Owned(_))
}

/// The template with its generation tags rewritten; borrowed where it has none.
pub fn replace_tags(source: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = source[at..].find('{') {
        let open = at + found;
        let rest = &source[open..];
        if rest.starts_with("{#") {
            at = rest.find("#}").map_or(source.len(), |end| open + end + 2);
        } else if let Some(tag) = parse_tag(rest) {
            out.push_str(&source[copied..open]);
            out.push_str(&tag.replacement());
            copied = open + tag.length;
            at = copied;
        } else {
            at = open + 1;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(source);
    }
    out.push_str(&source[copied..]);
    Cow::Owned(out)
}

/// One tag: its length in the source and the white space controls at its ends.
struct Tag<'a> {
    length: usize,
    opens: bool,
    before: &'a str,
    after: &'a str,
}

impl Tag<'_> {
    fn replacement(&self) -> String {
        let Self { before, after, .. } = self;
        match self.opens {
            true => format!("{{%{before} filter {FILTER} %}}{{% with {after}%}}"),
            false => format!("{{%{before} endwith %}}{{% endfilter {after}%}}"),
        }
    }
}

/// Reads `{%[-+] [end]generation [-+]%}` at the start of `text`.
fn parse_tag(text: &str) -> Option<Tag<'_>> {
    let (before, rest) = control(text.strip_prefix("{%")?);
    let rest = rest.trim_start();
    let (opens, rest) = match rest.strip_prefix("endgeneration") {
        Some(rest) => (false, rest),
        None => (true, rest.strip_prefix("generation")?),
    };
    let (after, rest) = control(rest.trim_start());
    let rest = rest.strip_prefix("%}")?;
    Some(Tag { length: text.len() - rest.len(), opens, before, after })
}

fn control(text: &str) -> (&str, &str) {
    let width = usize::from(text.starts_with(['-', '+']));
    text.split_at(width)
}

/// Takes the marks out of `marked` and returns the text with the byte spans that lay between them.
pub fn take_marks(marked: &str) -> (String, Vec<Range<usize>>) {
    let mut text = String::with_capacity(marked.len());
    let mut spans = Vec::new();
    let mut open = None;
    for c in marked.chars() {
        match c {
            START => open = Some(text.len()),
            END => spans.extend(open.take().map(|start| start..text.len())),
            c => text.push(c),
        }
    }
    (text, spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_keep_their_white_space_control() {
        let source = "a{%- generation -%}b{%endgeneration%}{# {% generation %} #}";
        let expected = "a{%- filter generation_block %}{% with -%}b{% endwith %}{% endfilter %}{# {% generation %} #}";
        assert_eq!(replace_tags(source), expected);
        assert!(!has_blocks("{{ generation }}{% if generation %}{% endif %}"));
    }

    #[test]
    fn spans_are_bytes_of_the_text_without_marks() {
        let (text, spans) = take_marks("é\u{fdd0}ab\u{fdd1}c\u{fdd0}\u{fdd1}");
        assert_eq!((text.as_str(), spans), ("éabc", vec![2..4, 5..5]));
    }
}
