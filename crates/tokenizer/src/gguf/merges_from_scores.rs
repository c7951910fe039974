//! The list of merges that a SentencePiece vocabulary's scores amount to.
//!
//! Follows `generate_merges` of transformers' `convert_slow_tokenizer.py`: of every piece all cuts into two pieces, in
//! the order of their ids; then all by score, and by the lengths of left and right part, the highest first.

use std::collections::BTreeMap;

/// Pairs of texts in the order in which they are put together. Pieces are text, id and score, ascending by id.
///
/// Pieces that hold a space are no part of it: text never holds one when it is cut, and a merge is written as two
/// texts with a space between.
pub(super) fn merges_from_scores<'a>(pieces: &[(&'a str, usize, f32)]) -> Vec<(&'a str, &'a str)> {
    let usable = || pieces.iter().filter(|(text, ..)| !text.contains(' '));
    let ids: BTreeMap<&str, usize> = usable().map(|(text, id, _)| (*text, *id)).collect();
    let mut merges = Vec::new();
    for &(text, _, score) in usable() {
        let first = merges.len();
        let length = text.chars().count();
        for (left_length, (at, _)) in text.char_indices().enumerate().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some(left_id), Some(right_id)) = (ids.get(left), ids.get(right)) {
                // Adding zero makes one of the two zeros that floats have.
                let (ids, lengths) = ((*left_id, *right_id), (left_length, length - left_length));
                merges.push(Merge { left, right, ids, lengths, score: score + 0.0 });
            }
        }
        merges[first..].sort_by_key(|merge| merge.ids);
    }
    merges.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| b.lengths.cmp(&a.lengths)));
    merges.into_iter().map(|merge| (merge.left, merge.right)).collect()
}

struct Merge<'a> {
    left: &'a str,
    right: &'a str,
    ids: (usize, usize),
    /// In characters.
    lengths: (usize, usize),
    score: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_come_first_then_long_parts_then_ids() {
        let scores = [("a", -9.0), ("b", -9.0), ("▁", -9.0), ("ab", -2.0), ("▁a", -0.0), ("▁ab", -2.0), ("bab", 0.0)];
        let pieces: Vec<_> = scores.iter().enumerate().map(|(id, (text, score))| (*text, id, *score)).collect();
        let expected = [("b", "ab"), ("▁", "a"), ("▁a", "b"), ("▁", "ab"), ("a", "b")];
        assert_eq!(merges_from_scores(&pieces), expected);
    }

    #[test]
    fn pieces_with_a_space_are_left_out() {
        assert_eq!(merges_from_scores(&[(" ", 0, 0.0), ("a", 1, 0.0), (" a", 2, 0.0)]), []);
    }
}
