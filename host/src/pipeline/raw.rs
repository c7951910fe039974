//! The pipeline as written: typed, every value with its place, nothing looked up yet.

use super::node::{Entry, Node, Table, Value};
use super::problem::Problem;
use super::source::{Located, Span};

/// The only version of the file format so far.
pub const SCHEMA: i64 = 1;

/// Keys of a stage; the classic mistake is one of them under `with`.
const STAGE_KEYS: [&str; 4] = ["uses", "inputs", "after", "with"];

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RawPipeline {
    /// `pipeline.name`.
    pub name: Option<String>,
    /// `pipeline.plugins`: where else to look for plugins.
    pub plugins: Vec<String>,
    /// `[stages.…]`, in the order of the file.
    pub stages: Vec<RawStage>,
}

/// One `[stages.…]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct RawStage {
    /// The key under `stages`.
    pub name: Located<String>,
    /// `uses`.
    pub uses: Located<String>,
    /// Input port and where it comes from.
    pub inputs: Vec<(Located<String>, Located<String>)>,
    /// Stages that must be done before.
    pub after: Vec<Located<String>>,
    /// `with`, and where it stands.
    pub with: Located<Table>,
}

/// Reads typed values out of the tree and collects what does not fit.
pub struct Reader<'a> {
    problems: &'a mut Vec<Located<Problem>>,
}

/// Checks `schema`, without which nothing else in the file can be judged.
pub fn check_schema(root: &Table, whole: Span) -> Option<Located<Problem>> {
    let example = || format!("schema = {SCHEMA}");
    match root.get("schema").map(|e| &e.node) {
        None => {
            let missing = Problem::MissingKey { key: "schema".into(), table: "a pipeline".into(), example: example() };
            Some(Located::new(missing, Span { range: 0..0, ..whole }))
        }
        Some(node) if node.value == Value::Integer(SCHEMA) => None,
        Some(node) => {
            let got = node.value.to_json().to_string();
            Some(Located::new(Problem::SchemaVersion { got }, node.span.clone()))
        }
    }
}

impl<'a> Reader<'a> {
    /// A reader that adds to `problems`.
    pub fn new(problems: &'a mut Vec<Located<Problem>>) -> Self {
        Self { problems }
    }

    /// Reads the whole tree.
    pub fn pipeline(&mut self, root: &Table) -> RawPipeline {
        self.known_keys(root, "the pipeline", &["schema", "pipeline", "vars", "stages", "matrix"]);
        if let Some(entry) = root.get("matrix") {
            self.not_yet(
                "`[matrix]`",
                "put one value under `[vars]`, and choose it with `--set vars.…`",
                &entry.key.span,
            );
        }
        let mut raw = RawPipeline::default();
        if let Some(table) = root.get("pipeline").and_then(|e| self.table(e)) {
            self.known_keys(&table.value, "`[pipeline]`", &["name", "plugins"]);
            raw.name = table.value.get("name").and_then(|e| self.string(&e.key.value, &e.node)).map(|n| n.value);
            let plugins = table.value.get("plugins").map(|e| self.strings(e)).unwrap_or_default();
            raw.plugins = plugins.into_iter().map(|p| p.value).collect();
        }
        if let Some(table) = root.get("stages").and_then(|e| self.table(e)) {
            raw.stages = table.value.0.iter().filter_map(|e| self.stage(e)).collect();
        }
        raw
    }

    fn stage(&mut self, entry: &Entry) -> Option<RawStage> {
        let name = entry.key.clone();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.value.is_empty() || !name.value.chars().all(plain) {
            self.report(Problem::BadStageName { name: name.value.clone() }, &name.span);
        }
        let table = self.table(entry)?.value;
        let title = format!("`[stages.{}]`", name.value);
        self.known_keys(&table, &title, &STAGE_KEYS);
        let inputs = table.get("inputs").map(|e| self.inputs(e)).unwrap_or_default();
        let after = table.get("after").map(|e| self.strings(e)).unwrap_or_default();
        let with = match table.get("with") {
            Some(e) => self.with(&name.value, e),
            None => Located::new(Table::default(), name.span.clone()),
        };
        let Some(uses) = table.get("uses") else {
            let example = "uses = \"…\"".into();
            self.report(Problem::MissingKey { key: "uses".into(), table: title, example }, &name.span);
            return None;
        };
        let uses = self.string("uses", &uses.node)?;
        Some(RawStage { name, uses, inputs, after, with })
    }

    fn inputs(&mut self, entry: &Entry) -> Vec<(Located<String>, Located<String>)> {
        let Some(table) = self.table(entry) else { return Vec::new() };
        let mut inputs = Vec::new();
        for Entry { key, node } in &table.value.0 {
            let collects = match &node.value {
                Value::Array(_) => true,
                Value::String(text) => text.ends_with("[*]"),
                _ => false,
            };
            if collects {
                self.not_yet(
                    "an input that collects several stages",
                    "name one stage, or `\"stage.output\"`",
                    &node.span,
                );
            } else if let Some(from) = self.string(&key.value, node) {
                inputs.push((key.clone(), from));
            }
        }
        inputs
    }

    fn with(&mut self, stage: &str, entry: &Entry) -> Located<Table> {
        let Some(mut with) = self.table(entry) else {
            return Located::new(Table::default(), entry.node.span.clone());
        };
        with.value.0.retain(|e| {
            let key = e.key.value.clone();
            let misplaced = STAGE_KEYS.contains(&key.as_str());
            if misplaced {
                self.report(Problem::StageKeyUnderWith { stage: stage.into(), key }, &e.key.span);
            }
            !misplaced
        });
        with
    }

    fn known_keys(&mut self, table: &Table, title: &str, known: &[&str]) {
        for entry in table.0.iter().filter(|e| !known.contains(&e.key.value.as_str())) {
            let known = known.iter().map(|k| (*k).to_owned()).collect();
            let problem = Problem::UnknownKey { key: entry.key.value.clone(), table: title.into(), known };
            self.report(problem, &entry.key.span);
        }
    }

    fn table(&mut self, entry: &Entry) -> Option<Located<Table>> {
        match &entry.node.value {
            Value::Table(table) => Some(Located::new(table.clone(), entry.key.span.clone())),
            _ => self.wrong_type(&entry.key.value, &entry.node, "a table"),
        }
    }

    fn string(&mut self, key: &str, node: &Node) -> Option<Located<String>> {
        match &node.value {
            Value::String(text) => Some(Located::new(text.clone(), node.span.clone())),
            _ => self.wrong_type(key, node, "a string"),
        }
    }

    fn strings(&mut self, entry: &Entry) -> Vec<Located<String>> {
        match &entry.node.value {
            Value::Array(items) => items.iter().filter_map(|n| self.string(&entry.key.value, n)).collect(),
            _ => {
                self.wrong_type::<()>(&entry.key.value, &entry.node, "an array of strings");
                Vec::new()
            }
        }
    }

    fn wrong_type<T>(&mut self, key: &str, node: &Node, expected: &'static str) -> Option<T> {
        self.report(Problem::WrongType { key: key.into(), got: node.value.type_name(), expected }, &node.span);
        None
    }

    fn not_yet(&mut self, what: &str, help: &str, span: &Span) {
        self.report(Problem::NotYet { what: what.into(), help: help.into() }, span);
    }

    fn report(&mut self, problem: Problem, span: &Span) {
        self.problems.push(Located::new(problem, span.clone()));
    }
}
