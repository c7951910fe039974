//! Text from files, made harmless for a terminal.

use std::borrow::Cow;

/// Control characters as escapes, but for line breaks and tabs, and those that turn the direction of text: names in a file
/// that somebody else made could move the cursor, clear the screen, or show another name.
pub fn visible(text: &str) -> Cow<'_, str> {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let acts = |c: char| turns(c) || c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_the_terminal() {
        assert_eq!(visible("a\tb\nü `x`"), "a\tb\nü `x`");
        assert_eq!(visible("\u{1b}[2J\r\u{9b}31m\u{7f}"), r"\u{1b}[2J\u{d}\u{9b}31m\u{7f}");
        assert_eq!(visible("a\u{202e}b"), r"a\u{202e}b");
    }
}
