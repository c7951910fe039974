//! Three held-out questions, and what the base and the tuned model say to them.

use super::outcome::{Answer, Shipped};

const SHOWN: usize = 3;
const LINE: usize = 100;

/// What the base and the first tuned model say, below each other.
pub fn side_by_side(shipped: &[Shipped]) -> String {
    let [base, tuned, ..] = shipped else { return String::new() };
    let (Some(before), Some(after)) = (&base.evaluation.answers, &tuned.evaluation.answers) else {
        return String::new();
    };
    let pairs: Vec<(&Answer, &Answer)> = before.answers.iter().zip(&after.answers).collect();
    let shown = choose(&pairs).into_iter().map(|(before, after)| {
        let (old, new) = (line(&before.answer), line(&after.answer));
        format!("  {}\n    {:<8}{old}\n    {:<8}{new}\n", line(&before.question), base.name, "tuned")
    });
    format!("answers to questions that were never trained on\n{}", shown.collect::<String>())
}

/// Questions that training changed the most, taken from all over the list: neighbours are about the same fact.
fn choose<'a>(pairs: &[(&'a Answer, &'a Answer)]) -> Vec<(&'a Answer, &'a Answer)> {
    let learned: Vec<_> = pairs.iter().copied().filter(|(before, after)| !before.hit && after.hit).collect();
    let from = if learned.len() < SHOWN { pairs } else { &learned };
    (0..SHOWN.min(from.len())).map(|i| from[i * from.len() / SHOWN.min(from.len())]).collect()
}

/// On one line, cut where it gets long.
fn line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= LINE {
        return words;
    }
    words.chars().take(LINE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(question: &str, hit: bool) -> Answer {
        Answer { question: question.into(), answer: String::new(), hit }
    }

    #[test]
    fn what_was_learned_is_shown() {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let before: Vec<Answer> = names.iter().map(|name| answer(name, *name == "a")).collect();
        let after: Vec<Answer> = names.iter().map(|name| answer(name, *name != "b")).collect();
        let pairs: Vec<(&Answer, &Answer)> = before.iter().zip(&after).collect();
        let shown: Vec<&str> = choose(&pairs).iter().map(|(before, _)| before.question.as_str()).collect();
        assert_eq!(shown, ["c", "d", "f"], "neither what the base knew nor what was not learned");
        assert_eq!(choose(&pairs[..2]).len(), 2, "with too little learned, whatever there is");
    }

    #[test]
    fn long_answers_are_cut() {
        let cut = line(&"chirp \n".repeat(40));
        assert_eq!(cut.chars().count(), LINE);
        assert!(cut.starts_with("chirp chirp") && cut.ends_with('…'));
    }
}
