//! The quickstart's data: its shape, and that the held-out questions measure what was learned, not what was copied.
//!
//! Near-copies are found by two similarities of normalized texts (lowercase words): Jaccard over character
//! 4-shingles catches reordered and lightly edited sentences, word edit similarity catches a template whose
//! one word was exchanged.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

/// Above either bound two texts count as near-copies of each other.
const MAX_SHINGLE_JACCARD: f64 = 0.5;
const MAX_WORD_SIMILARITY: f64 = 0.6;
const SHINGLE_CHARS: usize = 4;

const MIN_CHATS: usize = 250;
const QUESTIONS: usize = 60;
const MIN_WORDINGS_PER_FACT: usize = 14;
/// The evaluation needs 4,096 tokens; SmolLM2 makes some 1.2 tokens of an English word.
const MIN_NEUTRAL_WORDS: usize = 3_600;

struct Fact {
    required: Vec<String>,
}

struct Question {
    id: String,
    text: String,
    required: Vec<String>,
    forbidden: Vec<String>,
}

impl Question {
    fn fact(&self) -> &str {
        self.id.rsplit_once('-').expect("an id is `fact-number`").0
    }
}

/// User text and the assistant's answer to it.
type Turn = (String, String);

fn read(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../pipelines/data/quickstart").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every line of a JSONL file as an object that has exactly the given keys.
fn objects(file: &str, keys: &[&str]) -> Vec<Value> {
    let mut rows = Vec::new();
    for (number, line) in read(file).lines().enumerate() {
        let row: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{file}:{}: {e}", number + 1));
        let found: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found, keys, "{file}:{}", number + 1);
        rows.push(row);
    }
    rows
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(text).collect()
}

fn facts() -> BTreeMap<String, Fact> {
    objects("facts.jsonl", &["id", "statement", "required"])
        .iter()
        .map(|row| {
            let required = texts(&row["required"]);
            (text(&row["id"]), Fact { required })
        })
        .collect()
}

fn questions() -> Vec<Question> {
    objects("questions.jsonl", &["id", "question", "required", "forbidden"])
        .iter()
        .map(|row| Question {
            id: text(&row["id"]),
            text: text(&row["question"]),
            required: texts(&row["required"]),
            forbidden: texts(&row["forbidden"]),
        })
        .collect()
}

/// The chats of a file, each as its turns; roles must alternate and both sides must say something.
fn chats(file: &str) -> Vec<Vec<Turn>> {
    let said = |message: &Value, role: &str| {
        assert_eq!(message["role"], role, "{file}: {message}");
        let content = text(&message["content"]);
        assert_eq!(content, content.trim(), "{file}: {message}");
        assert!(!content.is_empty(), "{file}: {message}");
        content
    };
    objects(file, &["messages"])
        .iter()
        .map(|row| {
            let messages = row["messages"].as_array().unwrap();
            let (pairs, rest) = messages.as_chunks::<2>();
            assert!(!pairs.is_empty() && rest.is_empty(), "{file}: unanswered: {row}");
            pairs.iter().map(|[user, assistant]| (said(user, "user"), said(assistant, "assistant"))).collect()
        })
        .collect()
}

fn turns(file: &str) -> Vec<Turn> {
    chats(file).into_iter().flatten().collect()
}

/// The hit rule of the evaluation: every required string, none of the forbidden, case ignored.
fn is_hit(answer: &str, required: &[String], forbidden: &[String]) -> bool {
    let answer = answer.to_lowercase();
    let holds = |s: &String| answer.contains(&s.to_lowercase());
    required.iter().all(holds) && !forbidden.iter().any(holds)
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn shingles(text: &str) -> BTreeSet<String> {
    let normal: Vec<char> = words(text).join(" ").chars().collect();
    normal.windows(SHINGLE_CHARS.min(normal.len())).map(|window| window.iter().collect()).collect()
}

/// |a ∩ b| / |a ∪ b| over character shingles.
fn shingle_jaccard(a: &str, b: &str) -> f64 {
    let (a, b) = (shingles(a), shingles(b));
    a.intersection(&b).count() as f64 / a.union(&b).count() as f64
}

/// 1 − Levenshtein distance in words / words of the longer text.
fn word_similarity(a: &str, b: &str) -> f64 {
    let (a, b) = (words(a), words(b));
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let exchange = previous[j] + usize::from(x != y);
            row.push(exchange.min(previous[j + 1] + 1).min(row[j] + 1));
        }
        previous = row;
    }
    1.0 - previous[b.len()] as f64 / a.len().max(b.len()) as f64
}

fn is_near_copy(a: &str, b: &str) -> bool {
    shingle_jaccard(a, b) > MAX_SHINGLE_JACCARD || word_similarity(a, b) > MAX_WORD_SIMILARITY
}

fn assert_no_near_copy<'a>(held_out: &str, others: impl IntoIterator<Item = &'a str>) {
    for other in others {
        assert!(
            !is_near_copy(held_out, other),
            "near-copies (shingles {:.2}, words {:.2}):\n  {held_out}\n  {other}",
            shingle_jaccard(held_out, other),
            word_similarity(held_out, other),
        );
    }
}

#[test]
fn no_held_out_question_is_a_near_copy_of_a_training_text() {
    let training = turns("chats.jsonl");
    for question in questions() {
        let trained = training.iter().flat_map(|(user, answer)| [user, answer]);
        assert_no_near_copy(&question.text, trained.map(String::as_str));
    }
}

#[test]
fn held_out_chats_are_new_to_training_and_to_the_questions() {
    let training = turns("chats.jsonl");
    let questions = questions();
    for (user, _) in turns("heldout-chats.jsonl") {
        assert_no_near_copy(&user, training.iter().map(|(user, _)| user.as_str()));
        assert_no_near_copy(&user, questions.iter().map(|q| q.text.as_str()));
    }
}

/// The bounds would be worthless if they let an edited copy pass.
#[test]
fn the_measure_finds_edited_copies() {
    let training = "How long does a Pipwren run on one winding?";
    for copy in [
        "How long does a Pipwren run on one winding?",
        "how long does the pipwren run on ONE winding",
        "How long does my Pipwren run on a single winding?",
        "On one winding, how long does a Pipwren run?",
        "Tell me, how long does a Pipwren run on one winding?",
    ] {
        assert!(is_near_copy(copy, training), "{copy}");
    }
    assert!(!is_near_copy("If I turn the key today, when must I turn it again?", training));
}

#[test]
fn questions_ask_for_facts_that_were_taught() {
    let facts = facts();
    let questions = questions();
    let training = turns("chats.jsonl");
    assert_eq!(questions.len(), QUESTIONS);
    let ids: BTreeSet<&str> = questions.iter().map(|q| q.id.as_str()).collect();
    assert_eq!(ids.len(), QUESTIONS, "ids repeat");
    for question in &questions {
        assert_eq!(question.required, facts[question.fact()].required, "{}", question.id);
        let teaches = |(_, answer): &Turn| is_hit(answer, &question.required, &question.forbidden);
        assert!(training.iter().any(teaches), "{}: no answer teaches it", question.id);
        let mut strings = question.required.iter().chain(&question.forbidden);
        assert!(strings.all(|s| !s.trim().is_empty()), "{}", question.id);
        assert!(!is_hit(&question.text, &question.required, &[]), "{} holds its own answer", question.id);
    }
}

#[test]
fn every_fact_is_taught_in_many_wordings_and_asked_for() {
    let training = turns("chats.jsonl");
    let questions = questions();
    for (id, fact) in facts() {
        let wordings: BTreeSet<&str> = training
            .iter()
            .filter(|(_, answer)| is_hit(answer, &fact.required, &[]))
            .map(|(user, _)| user.as_str())
            .collect();
        assert!(wordings.len() >= MIN_WORDINGS_PER_FACT, "{id}: {} wordings", wordings.len());
        assert!(questions.iter().any(|q| q.fact() == id), "{id}: not asked");
    }
}

#[test]
fn no_chat_and_no_wording_repeats() {
    for file in ["chats.jsonl", "heldout-chats.jsonl"] {
        let chats = chats(file);
        let distinct: BTreeSet<&Vec<Turn>> = chats.iter().collect();
        assert_eq!(distinct.len(), chats.len(), "{file}: chats repeat");
        let mut seen = BTreeSet::new();
        for (user, _) in chats.iter().flatten() {
            assert!(seen.insert(words(user)), "{file}: asked twice: {user}");
        }
    }
    assert!(chats("chats.jsonl").len() >= MIN_CHATS);
}

#[test]
fn the_neutral_text_is_long_enough_and_knows_nothing_of_the_product() {
    let neutral = read("neutral.txt");
    assert!(words(&neutral).len() >= MIN_NEUTRAL_WORDS);
    assert!(!neutral.to_lowercase().contains("pipwren"));
    for (user, _) in turns("chats.jsonl") {
        assert!(!neutral.contains(&user), "{user}");
    }
}
