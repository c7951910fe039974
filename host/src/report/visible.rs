//! Text from files, made harmless for a terminal.

use std::borrow::Cow;

/// Control characters as escapes, but for line breaks and tabs: names in a file that somebody else made could move the
/// cursor, clear the screen or set the window's title.
pub fn visible(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) {
            true => shown.extend(c.escape_default()),
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
        assert_eq!(visible("\u{1b}[2J\r\u{9b}31m\u{7f}"), r"\u{1b}[2J\r\u{9b}31m\u{7f}");
    }
}
