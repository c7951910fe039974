//! A stage's parameters against its JSON Schema, every mistake at its own place.

use std::path::Path;

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value as Json;

use super::node::{Table, Value};
use super::problem::Problem;
use super::schema;
use super::source::{Located, Span};

/// Checks one stage's `with` and returns it as JSON with absolute paths.
pub struct ParamsCheck<'a> {
    /// The stage's name in `uses`.
    pub uses: &'a str,
    /// Its parameter schema.
    pub schema: &'a Json,
    /// What the pipeline gives.
    pub with: &'a Located<Table>,
    /// Where relative paths start.
    pub base_dir: &'a Path,
}

impl ParamsCheck<'_> {
    /// The parameters, and what is wrong with them.
    pub fn run(&self) -> (Json, Vec<Located<Problem>>) {
        let mut params = self.with.value.to_json();
        let validator = match jsonschema::validator_for(self.schema) {
            Ok(validator) => validator,
            Err(error) => {
                let problem = Problem::BadSchema { uses: self.uses.into(), message: error.to_string() };
                return (params, vec![Located::new(problem, self.with.span.clone())]);
            }
        };
        let mut problems = self.violations(&validator, &params);
        if problems.is_empty() {
            problems = self.resolve_paths(&mut params);
        }
        (params, problems)
    }

    fn violations(&self, validator: &Validator, params: &Json) -> Vec<Located<Problem>> {
        let mut problems = Vec::new();
        for error in validator.iter_errors(params) {
            self.translate(&error, &mut problems);
        }
        problems
    }

    fn translate(&self, error: &ValidationError<'_>, problems: &mut Vec<Located<Problem>>) {
        let pointer = error.instance_path().to_string();
        let expected = match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                return problems.extend(unexpected.iter().map(|name| self.unknown(&pointer, name)));
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default().to_owned();
                let summary = self.summary(&format!("{pointer}/{name}"));
                let problem = Problem::MissingParameter { uses: self.uses.into(), name, summary };
                return problems.push(Located::new(problem, self.span(&pointer, false)));
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => match relevant(context) {
                Some(branch) => return branch.iter().for_each(|e| self.translate(e, problems)),
                None => either(context),
            },
            Kind::Type { kind } => type_names(kind),
            Kind::Enum { options } => {
                let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
                format!("one of {}", options.iter().map(shown).collect::<Vec<_>>().join(", "))
            }
            Kind::Constant { expected_value } => shown(expected_value),
            Kind::Minimum { limit } => format!("at least {limit}"),
            Kind::Maximum { limit } => format!("at most {limit}"),
            Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
            Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
            Kind::MinItems { limit } => format!("at least {limit} items"),
            Kind::MinLength { limit } => format!("at least {limit} characters"),
            Kind::Pattern { pattern } => format!("text that matches `{pattern}`"),
            _ => format!("something else: {error}"),
        };
        let name = dotted(&pointer);
        let problem = Problem::BadParameter { name, got: shown(error.instance()), expected };
        problems.push(Located::new(problem, self.span(&pointer, false)));
    }

    fn unknown(&self, pointer: &str, name: &str) -> Located<Problem> {
        let schemas = schema::at(self.schema, pointer);
        let known = schemas.iter().flat_map(|s| schema::properties(self.schema, s));
        let mut known: Vec<String> = known.collect();
        known.dedup();
        let problem = Problem::UnknownParameter { uses: self.uses.into(), name: name.into(), known };
        Located::new(problem, self.span(&format!("{pointer}/{name}"), true))
    }

    fn summary(&self, pointer: &str) -> String {
        let schemas = schema::at(self.schema, pointer);
        let text = schemas.iter().find_map(|s| s.get("description")?.as_str()).unwrap_or_default();
        text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
    }

    fn resolve_paths(&self, params: &mut Json) -> Vec<Located<Problem>> {
        let mut problems = Vec::new();
        for pointer in schema::marked(self.schema, params, schema::is_path) {
            let Some(Json::String(text)) = params.pointer_mut(&pointer) else { continue };
            let path = self.base_dir.join(&*text);
            match path.canonicalize() {
                // Its content is hashed before anything runs: a pipe would wait for ever, and a device never ends.
                Ok(found) if !found.is_file() && !found.is_dir() => {
                    problems.push(Located::new(Problem::NoFile { path }, self.span(&pointer, false)));
                }
                Ok(found) => *text = found.to_string_lossy().into_owned(),
                Err(_) => problems.push(Located::new(Problem::MissingPath { path }, self.span(&pointer, false))),
            }
        }
        problems
    }

    /// Where the value (or key) at `pointer` was written: the innermost part of it that was.
    fn span(&self, pointer: &str, of_key: bool) -> Span {
        let mut span = self.with.span.clone();
        let mut table = Some(&self.with.value);
        let mut items = None;
        for part in pointer.split('/').skip(1) {
            let name = part.replace("~1", "/").replace("~0", "~");
            let node = match (table, items) {
                (Some(t), _) => t.get(&name).map(|e| {
                    span = if of_key { e.key.span.clone() } else { e.node.span.clone() };
                    &e.node
                }),
                (None, Some(nodes)) => name.parse().ok().and_then(|i: usize| {
                    let nodes: &[super::node::Node] = nodes;
                    nodes.get(i).inspect(|n| span = n.span.clone())
                }),
                (None, None) => None,
            };
            table = None;
            items = None;
            match node.map(|n| &n.value) {
                Some(Value::Table(t)) => table = Some(t),
                Some(Value::Array(a)) => items = Some(a.as_slice()),
                _ => {}
            }
        }
        span
    }
}

/// Of several alternatives the one that was meant: the only one whose type fits, so that its own complaint says more
/// than "fits none".
fn relevant<'a>(context: &'a [Vec<ValidationError<'static>>]) -> Option<&'a [ValidationError<'static>]> {
    let top_level =
        |e: &ValidationError<'_>| matches!(e.kind(), Kind::Type { .. } | Kind::Constant { .. } | Kind::Enum { .. });
    let depth = |e: &ValidationError<'_>| e.instance_path().to_string().matches('/').count();
    let shallowest = context.iter().flatten().map(depth).min()?;
    let fitting: Vec<_> =
        context.iter().filter(|errors| !errors.iter().any(|e| top_level(e) && depth(e) == shallowest)).collect();
    match fitting.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

fn either(context: &[Vec<ValidationError<'static>>]) -> String {
    let mut choices: Vec<String> = Vec::new();
    for error in context.iter().flatten() {
        let choice = match error.kind() {
            Kind::Type { kind } => type_names(kind),
            Kind::Constant { expected_value } => shown(expected_value),
            Kind::Enum { options } => {
                options.as_array().into_iter().flatten().map(shown).collect::<Vec<_>>().join(" or ")
            }
            _ => continue,
        };
        if choice != "null" && !choices.contains(&choice) {
            choices.push(choice);
        }
    }
    choices.join(" or ")
}

fn type_names(kind: &TypeKind) -> String {
    let article = |name: String| match name.as_str() {
        "null" => name,
        "integer" | "array" | "object" => format!("an {name}"),
        _ => format!("a {name}"),
    };
    match kind {
        TypeKind::Single(one) => article(one.to_string()),
        TypeKind::Multiple(set) => {
            let names = set.iter().map(|t| article(t.to_string())).filter(|n| n != "null");
            names.collect::<Vec<_>>().join(" or ")
        }
    }
}

/// `/targets/1` as a person writes it: `targets[1]`.
fn dotted(pointer: &str) -> String {
    let mut out = String::new();
    for part in pointer.split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(index) => out += &format!("[{index}]"),
            Err(_) if out.is_empty() => out += part,
            Err(_) => out += &format!(".{part}"),
        }
    }
    out
}

fn shown(value: &Json) -> String {
    format!("`{value}`")
}
