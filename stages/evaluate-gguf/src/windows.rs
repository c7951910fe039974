//! Texts cut into windows, and the walk that decodes them block by block.

use crate::distribution::{by_row, negative_log_likelihood};
use crate::llama::{LlamaError, Outputs, Session, Token};

/// Tokens that are decoded together, without memory of other windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The ids, in order.
    pub tokens: Vec<Token>,
    /// The first token whose likelihood counts, at least 1: the first token is predicted by nobody.
    pub scored_from: usize,
}

impl Window {
    /// A window of which every token but the first counts.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self { tokens, scored_from: 1 }
    }
}

/// Cuts a text into windows of at most `length` tokens, each led by the model's start token where it has one.
/// A rest in which nothing would count is left out.
pub fn cut(text: &[Token], length: usize, start: Option<Token>) -> Vec<Window> {
    let body = length.saturating_sub(usize::from(start.is_some())).max(1);
    text.chunks(body)
        .map(|chunk| Window::new(start.into_iter().chain(chunk.iter().copied()).collect()))
        .filter(|window| window.tokens.len() > window.scored_from)
        .collect()
}

/// Decoded rows: the logits that follow tokens `first..` of a window.
pub struct Block<'a> {
    /// The whole window.
    pub window: &'a Window,
    /// The token of the first row.
    pub first: usize,
    /// Row-major `[rows, vocab_size]`.
    pub logits: &'a [f32],
    /// Columns of a row.
    pub vocab_size: usize,
}

impl Block<'_> {
    /// Rows of the block.
    pub fn rows(&self) -> usize {
        self.logits.len() / self.vocab_size
    }

    /// One row of logits.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.logits[row * self.vocab_size..][..self.vocab_size]
    }

    /// The token that row `row` predicts, where it counts.
    pub fn target(&self, row: usize) -> Option<Token> {
        let next = self.first + row + 1;
        (next >= self.window.scored_from).then(|| self.window.tokens.get(next).copied()).flatten()
    }

    /// Negative log-likelihood of each row's target, nats, in order.
    pub fn likelihoods(&self, threads: usize) -> Vec<Option<f64>> {
        by_row(self.rows(), threads, |row| {
            self.target(row).map(|token| negative_log_likelihood(self.row(row), token as usize))
        })
    }
}

/// Decodes every window from an empty context and shows each block of logits once.
///
/// # Errors
/// What llama.cpp or `visit` say; either ends the walk.
pub fn walk<E: From<LlamaError>>(
    session: &mut Session<'_>,
    windows: &[Window],
    mut visit: impl FnMut(Block<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let vocab_size = session.vocab_size();
    for window in windows {
        session.reset();
        let mut first = 0;
        for chunk in window.tokens.chunks(session.batch()) {
            session.feed(chunk, Outputs::All)?;
            visit(Block { window, first, logits: session.logits(), vocab_size })?;
            first += chunk.len();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_and_a_lonely_rest_dropped() {
        let text: Vec<Token> = (10..17).collect();
        let cut_up = cut(&text, 3, None);
        assert_eq!(cut_up, [Window::new(vec![10, 11, 12]), Window::new(vec![13, 14, 15])]);
    }

    #[test]
    fn the_start_token_leads_every_window_and_takes_a_place() {
        let text: Vec<Token> = (10..13).collect();
        let cut_up = cut(&text, 3, Some(1));
        assert_eq!(cut_up, [Window::new(vec![1, 10, 11]), Window::new(vec![1, 12])]);
    }

    #[test]
    fn only_counted_tokens_are_targets() {
        let window = Window { tokens: vec![5, 6, 7, 8], scored_from: 2 };
        let block = Block { window: &window, first: 0, logits: &[0.0; 16], vocab_size: 4 };
        let targets: Vec<_> = (0..4).map(|row| block.target(row)).collect();
        assert_eq!(targets, [None, Some(7), Some(8), None]);
        let later = Block { window: &window, first: 2, logits: &[0.0; 8], vocab_size: 4 };
        assert_eq!(later.rows(), 2);
        assert_eq!((later.target(0), later.target(1)), (Some(8), None));
    }
}
