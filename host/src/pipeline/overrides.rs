//! `--set key.path=value`: one more TOML document, laid over the pipeline file.

use toml::de::DeTable;

use super::node::{Node, Table, Value};
use super::problem::Problem;
use super::source::{Located, Sources, Span};

/// Parses one flag. The value is TOML; what is no TOML value and opens no quote or bracket is a string, so that
/// `--set vars.quantizer=q8_0` needs no quotes inside quotes.
pub fn parse_flag(flag: &str, sources: &mut Sources) -> Result<Table, Box<Located<Problem>>> {
    let source = sources.add("--set", flag);
    let problem = |problem, range| Box::new(Located::new(problem, Span { source, range }));
    let Some(equals) = flag.find('=') else {
        return Err(problem(Problem::FlagWithoutValue { text: flag.into() }, 0..flag.len()));
    };
    match DeTable::parse(flag) {
        Ok(table) => Ok(Table::from_toml(table.into_inner(), source)),
        Err(error) => {
            let text = flag[equals + 1..].trim();
            let wants_toml = text.is_empty() || text.starts_with(['"', '\'', '[', '{']);
            let key = format!("{}=0", &flag[..equals]);
            match DeTable::parse(&key) {
                Ok(table) if !wants_toml => {
                    let node = Node::new(Value::String(text.into()), Span { source, range: equals + 1..flag.len() });
                    Ok(with_value(Table::from_toml(table.into_inner(), source), &node))
                }
                _ => Err(problem(
                    Problem::Syntax { message: error.message().into() },
                    error.span().unwrap_or(0..flag.len()),
                )),
            }
        }
    }
}

/// The same nested keys with `node` in the innermost place.
fn with_value(table: Table, node: &Node) -> Table {
    let entries = table.0.into_iter().map(|mut entry| {
        match entry.node.value {
            Value::Table(inner) => entry.node.value = Value::Table(with_value(inner, node)),
            _ => entry.node = node.clone(),
        }
        entry
    });
    Table(entries.collect())
}

/// A flag may change what the file has and add parameters; it may not invent stages or variables, where a typo would
/// change nothing and say nothing.
pub fn check_flag(flag: &Table, file: &Table) -> Vec<Located<Problem>> {
    let mut problems = Vec::new();
    for (room, what) in [("stages", "stage"), ("vars", "variable")] {
        let (Some(Value::Table(set)), known) = (child(flag, room), child(file, room)) else { continue };
        let known = if let Some(Value::Table(table)) = known { table.keys() } else { Vec::new() };
        for entry in set.0.iter().filter(|e| !known.contains(&e.key.value)) {
            let name = entry.key.value.clone();
            let known = known.clone();
            let problem = match what {
                "stage" => Problem::UnknownStage { name, known },
                _ => Problem::UnknownVariable { name, known },
            };
            problems.push(Located::new(problem, entry.key.span.clone()));
        }
    }
    problems
}

fn child<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    table.get(key).map(|e| &e.node.value)
}
